"""`notifier.toml`: whom the notifier tells, of what, and when not. Only its owner may read it: addresses are secrets.

page_url = "http://localhost:8790"      # links lead there; without it, a command is told
token_file = "~/.config/briefcase/notifier.token"
summaries = true                        # whether a call's redacted summary goes out

[targets.ops]
url = "slack://…"                       # an address of Apprise
agents = ["scout"]                      # globs; an empty list is everything
tools = ["mail.*"]
severity = "medium"                     # and above
every_s = 10                            # one message in so many seconds; what comes meanwhile is one message

[targets.ops.quiet]
from = "22:00"
to = "07:00"
zone = "Europe/Berlin"
breaks_through = "high"                 # and above; the rest comes as one message afterwards

[targets.hook]
webhook = "https://hooks.example/briefcase"
secret = "whsec_…"                      # Standard Webhooks
"""

from __future__ import annotations

import datetime as dt
import fnmatch
import re
import tomllib
import zoneinfo
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec

from briefcase.adapters.disk.data_dir import named_path, path_of
from briefcase.adapters.disk.files import read_private
from briefcase.adapters.net.urls import parse_url
from briefcase.edges.notifier.events import SEVERITIES, Event, Severity
from briefcase.model.errors import ConfigError

CONFIG_VARIABLE: Final = "BRIEFCASE_NOTIFIER_CONFIG"
MAX_CONFIG_BYTES: Final = 1 << 20
MAX_TARGETS: Final = 64
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

_TARGET_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_SIGNING_SECRET: Final = re.compile(r"whsec_[A-Za-z0-9+/]{32,88}={0,2}")  # Standard Webhooks 1.0: 24 to 64 bytes
_TIME: Final = r"^([01]\d|2[0-3]):[0-5]\d$"

Globs = tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=200)], ...]


class Quiet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a target is left in peace; `breaks_through` says from which severity on it is not."""

    begins: Annotated[str, msgspec.Meta(pattern=_TIME)] = msgspec.field(name="from")
    ends: Annotated[str, msgspec.Meta(pattern=_TIME)] = msgspec.field(name="to")
    zone: str = "UTC"
    breaks_through: Severity = "high"

    def holds(self, now_s: float) -> bool:
        """Whether it is quiet at a moment; a time that ends before it begins goes over midnight.

        Args:
            now_s: seconds since 1970, UTC.
        """
        now = dt.datetime.fromtimestamp(now_s, zoneinfo.ZoneInfo(self.zone)).strftime("%H:%M")
        if self.begins <= self.ends:
            return self.begins <= now < self.ends
        return now >= self.begins or now < self.ends


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One place that is told. Either `url` (Apprise), or `webhook` and `secret` (Standard Webhooks)."""

    url: str = ""
    webhook: str = ""
    secret: str = ""
    agents: Globs = ()
    tools: Globs = ()
    severity: Severity = "low"
    every_s: Annotated[int, msgspec.Meta(ge=1, le=3_600)] = 10
    quiet: Quiet | None = None

    def wants(self, event: Event) -> bool:
        """Whether the target is told of an event; one of no agent or no tool passes that filter."""
        return (
            SEVERITIES.index(event.severity) >= SEVERITIES.index(self.severity)
            and _matches(self.agents, event.agent)
            and _matches(self.tools, event.tool)
        )


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `notifier.toml` says."""

    targets: dict[str, Target] = {}
    page_url: str = ""
    token_file: str = ""
    summaries: bool = True


def config_path(environ: Mapping[str, str]) -> Path:
    """Where `notifier.toml` is: `BRIEFCASE_NOTIFIER_CONFIG`, else `briefcase` below the XDG configuration home.

    Raises:
        ConfigError: the variable begins with the `~` of a user by name.
    """
    named = named_path(environ, CONFIG_VARIABLE)
    if named is not None:
        return named.absolute()
    shared = named_path(environ, "XDG_CONFIG_HOME") or path_of("~/.config", "XDG_CONFIG_HOME", environ)
    return shared.absolute() / "briefcase" / "notifier.toml"


def read_settings(path: Path) -> Settings:
    """Read and check `notifier.toml`.

    Raises:
        ConfigError: there is none, it is not its owner's alone, or something in it is not as expected; no message
            repeats an address.
        StoreError: it cannot be read.
    """
    text = read_text(path)
    if text is None:
        raise ConfigError(f"there is no file `{path}`", hint="`briefcase notify add NAME` makes it")
    return parse_settings(text, path)


def read_text(path: Path) -> str | None:
    """The text of `notifier.toml`, None where there is none. Raises as `read_settings`."""
    data = read_private(path, max_bytes=MAX_CONFIG_BYTES)
    try:
        return None if data is None else data.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"`{path}`: expected UTF-8") from None


def parse_settings(text: str, path: Path) -> Settings:
    """Read the text of `notifier.toml`. Raises as `read_settings`."""
    try:
        settings = msgspec.convert(tomllib.loads(text), Settings)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"`{path}` is no TOML: {str(error).lower()}") from None
    except msgspec.ValidationError as error:
        raise ConfigError(f"`{path}`: {str(error).lower()}") from None
    if len(settings.targets) > MAX_TARGETS:
        raise ConfigError(f"`{path}`: expected at most {MAX_TARGETS} targets, got {len(settings.targets)}")
    if settings.page_url:
        _check_address("page_url", settings.page_url)
    for name, target in settings.targets.items():
        check_target(name, target)
    return settings


def check_target(name: str, target: Target) -> None:
    """Check one target as far as that needs no library.

    Raises:
        ConfigError: what was expected; no address and no secret is repeated.
    """
    if not _TARGET_NAME.fullmatch(name):
        raise ConfigError(f"expected a target's name of a-z, 0-9, `_` and `-`, at most 32, got `{name[:64]}`")
    if bool(target.url) == bool(target.webhook):
        raise ConfigError(f"target `{name}`: expected one of `url` and `webhook`")
    if target.webhook:
        _check_address(f"target `{name}`: webhook", target.webhook)
    if bool(target.webhook) != bool(_SIGNING_SECRET.fullmatch(target.secret)) or (target.url and target.secret):
        raise ConfigError(
            f"target `{name}`: expected a `secret` of the form `whsec_BASE64` (24 to 64 bytes) beside a `webhook` alone"
        )
    if target.quiet is not None:
        try:
            zoneinfo.ZoneInfo(target.quiet.zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise ConfigError(f"target `{name}`: expected a time zone such as `Europe/Berlin`") from None


def quiet_of(begins: str, ends: str, zone: str) -> Quiet:
    """Quiet hours, as a person typed them.

    Raises:
        ConfigError: a time is not of the form `HH:MM`.
    """
    try:
        return msgspec.convert({"from": begins, "to": ends, "zone": zone}, Quiet)
    except msgspec.ValidationError:
        raise ConfigError("expected quiet hours such as `22:00-07:00`") from None


def token_path(settings: Settings, environ: Mapping[str, str]) -> Path | None:
    """The file that holds the notifier's token, where one is named. Raises as `config_path`."""
    return path_of(settings.token_file, "token_file", environ) if settings.token_file else None


def _check_address(what: str, text: str) -> None:
    try:
        url = parse_url(text)
    except ValueError as error:
        raise ConfigError(f"{what}: {error}") from None
    if url.scheme != "https" and url.host not in LOOPBACK:
        raise ConfigError(f"{what}: expected https, or a loopback address", hint="http would tell everybody on the way")


def _matches(globs: Globs, name: str) -> bool:
    return not globs or not name or any(fnmatch.fnmatchcase(name, one) for one in globs)
