"""Settings: environment variables first, `<data_dir>/briefcase.toml` for what has no variable; checked whole at start.

Every setting carries its unit in its name. A wrong value stops the daemon with the variable's or the key's name, what
was expected and what was found; a misspelt variable that would silently switch a protection off is refused as well.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from briefcase.adapters.disk.data_dir import data_dir_of, socket_path_of
from briefcase.adapters.net.urls import parse_url
from briefcase.adapters.telemetry.settings import OtelSettings, load_otel_settings
from briefcase.core.approvals.lifecycle import MAX_SHOWN_BYTES
from briefcase.core.calls.decisions import MAX_OPEN_DECISIONS, MAX_OPEN_DECISIONS_PER_PRINCIPAL
from briefcase.core.calls.ratelimits import PrincipalLimit
from briefcase.model.errors import ConfigError

CONFIG_FILE_NAME: Final = "briefcase.toml"
MAX_SOCKET_PATH_BYTES: Final = 107  # sun_path of unix(7), less its terminating zero

PROFILE_MODES: Final = ("reference", "staging", "ga")
SECRET_BACKENDS: Final = ("auto", "keyring", "file", "memory")
VC_UNKNOWN_MODES: Final = ("require_approval", "deny")

KNOWN_VARIABLES: Final = frozenset({
    "BRIEFCASE_DATA_DIR",
    "BRIEFCASE_PROFILE_MODE",
    "BRIEFCASE_STRICT_HOST",
    "BRIEFCASE_UNIX_SOCKET",
    "BRIEFCASE_AGENT_SOCKET",
    "BRIEFCASE_TCP_ADDR",
    "BRIEFCASE_NAMED_PIPE",
    "BRIEFCASE_SECRET_BACKEND",
    "BRIEFCASE_MASTER_PASSPHRASE",
    "BRIEFCASE_PROVIDER_BASE_URL",
    "BRIEFCASE_CONTROL_PLANE_SYNC_INTERVAL_SECS",
    "BRIEFCASE_CONTROL_PLANE_ADMIN_TOKEN",
    "BRIEFCASE_RISK_CLASSIFIER_URL",
    "BRIEFCASE_PAYMENT_HELPER",
    "BRIEFCASE_VC_STATUS_UNKNOWN_MODE",
    "BRIEFCASE_OTEL",
    "BRIEFCASE_MCP_HTTP_ADDR",
    "BRIEFCASE_MCP_HTTP_PATH",
    "BRIEFCASE_MCP_NO_STDIO",
    "BRIEFCASE_DAEMON_UNIX_SOCKET",
    "BRIEFCASE_DAEMON_BASE_URL",
    "BRIEFCASE_DAEMON_NAMED_PIPE",
    "BRIEFCASE_DAEMON_DID",
    "BRIEFCASE_DAEMON_UID",
    "BRIEFCASE_AUTH_TOKEN",
})  # fmt: skip

# The daemon knows these and serves none of them yet: what they ask for would silently not be done.
UNSERVED: Final[dict[str, str]] = {
    "BRIEFCASE_NAMED_PIPE": "no build serves Windows: use `BRIEFCASE_UNIX_SOCKET`",
    "BRIEFCASE_CONTROL_PLANE_SYNC_INTERVAL_SECS": "this build has no control plane",
    "BRIEFCASE_CONTROL_PLANE_ADMIN_TOKEN": "this build has no control plane",
    "BRIEFCASE_RISK_CLASSIFIER_URL": "this build asks no classifier; policies read `context.risk`",
    "BRIEFCASE_PAYMENT_HELPER": "this build pays over no helper",
}

_T = TypeVar("_T")
_PositiveInt = Annotated[int, msgspec.Meta(ge=1)]
_TCP_ADDRESS: Final = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]]+)):(\d{1,5})")


class CallLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[calls]`: rate of one agent on one tool, deadline of an execution, life and size of an approval, open decisions.

    A call that a person must approve and that is larger than `max_shown_bytes` is refused as `too_large_to_show`.
    """

    per_second: _PositiveInt = 1_000
    burst: _PositiveInt = 2_000
    deadline_ms: _PositiveInt = 30_000
    approval_ttl_s: _PositiveInt = 15 * 60
    max_open_decisions: _PositiveInt = MAX_OPEN_DECISIONS
    max_open_decisions_per_principal: _PositiveInt = MAX_OPEN_DECISIONS_PER_PRINCIPAL
    max_shown_bytes: _PositiveInt = MAX_SHOWN_BYTES


class ReceiptSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[receipts]`: what receipts keep of a call's arguments; where signed checkpoints are kept, if anywhere."""

    args: Literal["digest", "redacted", "full"] = "redacted"
    checkpoint_dir: str = ""
    checkpoint_interval_s: _PositiveInt = 3_600


class PolicySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[policy]`: one live decision in `shadow_every` is made again by the reference engine; 0 makes none."""

    shadow_every: Annotated[int, msgspec.Meta(ge=0)] = 0


class FileReadSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[file_read]`: the directories below which the built-in `file_read` may read; none by default."""

    prefixes: tuple[str, ...] = ()
    max_bytes: _PositiveInt = 1 << 20


class NetSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[net]`: upstreams on private addresses that are reached all the same, each as `host:port`."""

    allow_private: tuple[str, ...] = ()


class PrincipalSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[principal]`: what one principal may send, whatever it asks for."""

    per_second: Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)] = PrincipalLimit().per_second
    burst: _PositiveInt = PrincipalLimit().burst
    bytes_per_second: _PositiveInt = PrincipalLimit().bytes_per_second
    burst_bytes: _PositiveInt = PrincipalLimit().burst_bytes


class ServerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[server]`: bounds of the daemon's own HTTP; those of connections hold for each listener."""

    max_body_bytes: _PositiveInt = 1 << 20
    max_connections: _PositiveInt = 1_024
    max_connections_per_uid: _PositiveInt = 256
    max_connections_per_principal: _PositiveInt = 256
    operator_reserve: _PositiveInt = 32
    newcomer_reserve: _PositiveInt = 64
    max_unsent_bytes: _PositiveInt = 64 << 20
    drain_ms: _PositiveInt = 10_000


class FileConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The configuration file, every key optional."""

    calls: CallLimits = CallLimits()
    receipts: ReceiptSettings = ReceiptSettings()
    policy: PolicySettings = PolicySettings()
    file_read: FileReadSettings = FileReadSettings()
    net: NetSettings = NetSettings()
    server: ServerSettings = ServerSettings()
    principal: PrincipalSettings = PrincipalSettings()


class Settings(msgspec.Struct, frozen=True):
    """What the daemon starts with. Secrets are not in it: see `master_passphrase`."""

    data_dir: Path
    unix_socket: Path
    tcp_addr: tuple[str, int] | None = None
    profile_mode: str = "reference"
    strict_host: bool = False
    secret_backend: str = SECRET_BACKENDS[0]
    provider_base_url: str | None = None
    vc_unknown_mode: str = VC_UNKNOWN_MODES[0]
    file: FileConfig = FileConfig()
    otel: OtelSettings | None = None
    agent_socket: Path | None = None

    @property
    def is_ga(self) -> bool:
        """Whether the strictest profile is enforced."""
        return self.profile_mode == "ga"

    @property
    def unix_sockets(self) -> tuple[Path, ...]:
        """Every Unix socket the daemon listens on."""
        return (self.unix_socket,) if self.agent_socket is None else (self.unix_socket, self.agent_socket)

    @property
    def allow_private(self) -> tuple[str, ...]:
        """The private destinations the operator named: in the file, and the provider of this host, if it is one."""
        if self.provider_base_url is None:
            return self.file.net.allow_private
        url = parse_url(self.provider_base_url)
        is_here = url.host == "localhost" or (url.address is not None and url.address.is_loopback)
        return (*self.file.net.allow_private, *([url.authority] if is_here else []))


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the environment and the configuration file.

    Raises:
        ConfigError: a value, a key or a name is not as expected; the message names it.
    """
    check_variable_names(environ)
    check_served(environ)
    data_dir = data_dir_of(environ)
    strict_host = _boolean(environ, "BRIEFCASE_STRICT_HOST")
    socket_path = socket_path_of(environ)
    if len(os.fsencode(socket_path)) > MAX_SOCKET_PATH_BYTES:
        raise ConfigError(
            f"the socket path `{socket_path}` is too long: expected at most {MAX_SOCKET_PATH_BYTES} bytes",
            hint="set BRIEFCASE_UNIX_SOCKET to a shorter path",
        )
    if strict_host and data_dir not in socket_path.parents:
        raise ConfigError(
            f"strict host: expected the socket inside `{data_dir}`, got `{socket_path}`", code="insecure_host"
        )
    return Settings(
        data_dir=data_dir,
        unix_socket=socket_path,
        agent_socket=_agent_socket(environ, data_dir),
        tcp_addr=_parsed(environ, "BRIEFCASE_TCP_ADDR", parse_loopback_address),
        profile_mode=_chosen(environ, "BRIEFCASE_PROFILE_MODE", PROFILE_MODES),
        strict_host=strict_host,
        secret_backend=_chosen(environ, "BRIEFCASE_SECRET_BACKEND", SECRET_BACKENDS),
        provider_base_url=_base_url(environ, "BRIEFCASE_PROVIDER_BASE_URL"),
        vc_unknown_mode=_chosen(environ, "BRIEFCASE_VC_STATUS_UNKNOWN_MODE", VC_UNKNOWN_MODES),
        file=load_file(data_dir / CONFIG_FILE_NAME),
        otel=load_otel_settings(environ),
    )


def _agent_socket(environ: Mapping[str, str], data_dir: Path) -> Path | None:
    """Where agents of other users connect; None where the daemon has no such socket.

    Raises:
        ConfigError: it lies in the data directory, which those users cannot enter, or its path is too long.
    """
    named = environ.get("BRIEFCASE_AGENT_SOCKET")
    if not named:
        return None
    path = Path(named).absolute()
    if data_dir.resolve() in (path.parent.resolve() / path.name).parents:
        raise ConfigError(
            f"`BRIEFCASE_AGENT_SOCKET`: expected a path outside of `{data_dir}`, got `{path}`",
            hint="make a directory of its own for it, with the agents' group: docs/deploy/README.md",
        )
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        raise ConfigError(f"`BRIEFCASE_AGENT_SOCKET`: expected at most {MAX_SOCKET_PATH_BYTES} bytes, got `{path}`")
    return path


def master_passphrase(environ: Mapping[str, str]) -> bytes | None:
    """The passphrase of the encrypted secret file, if one was given. Never kept in `Settings`."""
    text = environ.get("BRIEFCASE_MASTER_PASSPHRASE")
    return text.encode() if text else None


def load_file(path: Path) -> FileConfig:
    """Read `briefcase.toml`; an absent file is all defaults.

    Raises:
        ConfigError: unreadable, not TOML, an unknown key or a value of another type.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return FileConfig()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"`{path}` cannot be read: {error}") from None
    try:
        config = msgspec.convert(tomllib.loads(text), FileConfig)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"`{path}`: {error}") from None
    if config.principal.burst_bytes < config.server.max_body_bytes:
        raise ConfigError(
            f"`{path}`: expected `principal.burst_bytes` of at least `max_body_bytes`, {config.server.max_body_bytes},"
            f" got `{config.principal.burst_bytes}`",
            hint="no request of that size would ever be taken",
        )
    return config


def check_variable_names(environ: Mapping[str, str]) -> None:
    """Refuse a variable that is one slip away from a known one.

    Raises:
        ConfigError: naming both.
    """
    for name in environ:
        if name.startswith("BRIEFCASE_") and name not in KNOWN_VARIABLES:
            near = difflib.get_close_matches(name, KNOWN_VARIABLES, n=1, cutoff=0.9)
            if near:
                raise ConfigError(f"unknown variable `{name}`", hint=f"did you mean `{near[0]}`?")


def check_served(environ: Mapping[str, str]) -> None:
    """Refuse a variable that this build knows and does not serve.

    Raises:
        ConfigError: naming it, and what to do instead.
    """
    for name, why in UNSERVED.items():
        if environ.get(name):
            raise ConfigError(f"`{name}` is not served by this build", hint=f"unset it: {why}")


def parse_loopback_address(text: str) -> tuple[str, int]:
    """Read `host:port` where host is a literal loopback address or `localhost`.

    Raises:
        ValueError: of another form, or not loopback.
    """
    match = _TCP_ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError("expected `host:port`, for example `127.0.0.1:7777`")
    host, port = match[1] or match[2], int(match[3])
    literal = "127.0.0.1" if host == "localhost" else host
    if not ipaddress.ip_address(literal).is_loopback:
        raise ValueError("expected a loopback address: the daemon is never reachable from another host")
    if port > 65_535:  # noqa: PLR2004 - the largest port there is
        raise ValueError("expected a port up to 65535")
    return literal, port


def _parsed(environ: Mapping[str, str], name: str, parse: Callable[[str], _T]) -> _T | None:
    text = environ.get(name)
    if not text:
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigError(f"`{name}`: {error}, got `{text}`") from None


def _base_url(environ: Mapping[str, str], name: str) -> str | None:
    """An address that paths are appended to, without its trailing slash. A wrong one may hold a password: not shown."""
    text = environ.get(name)
    if not text:
        return None
    try:
        parse_url(text)
    except ValueError as error:
        raise ConfigError(f"`{name}`: {error}") from None
    if "?" in text:
        raise ConfigError(f"`{name}`: expected a base URL without a query")
    return text.rstrip("/")


def _chosen(environ: Mapping[str, str], name: str, words: tuple[str, ...]) -> str:
    """One of the words, the first by default."""
    word = environ.get(name) or words[0]
    if word not in words:
        raise ConfigError(f"`{name}`: expected one of {', '.join(words)}, got `{word}`")
    return word


def _boolean(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name, "").lower()
    if text not in {"", "0", "1", "true", "false"}:
        raise ConfigError(f"`{name}`: expected 1, 0, true or false, got `{text}`")
    return text in {"1", "true"}
