"""Settings: the environment's variables as one value; `config_file` reads what has no variable.

Every setting carries its unit in its name. A wrong value stops the daemon with the variable's name, what was expected
and what was found; a misspelt variable that would silently switch a protection off is refused as well. Nothing here
looks at a file: the data directory is checked and locked first.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from briefcase.adapters.disk.data_dir import data_dir_of, named_path, socket_path_of
from briefcase.adapters.keys.opening import KeySettings
from briefcase.adapters.keys.places import IDENTITY_VARIABLE, PKCS11, PLACES, PROOF_VARIABLE, TPM
from briefcase.adapters.net.urls import parse_url
from briefcase.adapters.telemetry.settings import OtelSettings, load_otel_settings
from briefcase.edges.diagnostics.profile import MODES
from briefcase.model.errors import ConfigError
from briefcase.model.types import MAX_PORT
from briefcase.model.variables import BY_NAME, OWN_PREFIX

MAX_SOCKET_PATH_BYTES: Final = 107  # sun_path of unix(7), less its terminating zero

_PLACE_VARIABLES: Final = {
    PKCS11: ("BRIEFCASE_PKCS11_MODULE", "BRIEFCASE_PKCS11_TOKEN", "BRIEFCASE_PKCS11_PIN"),
    TPM: ("BRIEFCASE_TPM_TCTI",),
}
SECRET_BACKENDS: Final = ("auto", "keyring", "file", "memory")
VC_UNKNOWN_MODES: Final = ("require_approval", "deny")
SYNC_INTERVAL_S: Final = 60
MAX_SYNC_INTERVAL_S: Final = 7 * 86_400

# The daemon knows these and serves none of them yet: what they ask for would silently not be done.
UNSERVED: Final[dict[str, str]] = {
    "BRIEFCASE_NAMED_PIPE": "no build serves Windows: use `BRIEFCASE_UNIX_SOCKET`",
}

_T = TypeVar("_T")
_SECONDS: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
_TCP_ADDRESS: Final = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]]+)):(\d{1,5})")


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
    payment_helper: Path | None = None
    risk_classifier_url: str | None = None
    otel: OtelSettings | None = None
    agent_socket: Path | None = None
    ext_authz_addr: tuple[str, int] | None = None
    sync_interval_s: int = SYNC_INTERVAL_S
    log_file: Path | None = None
    keys: KeySettings = KeySettings()

    @property
    def is_ga(self) -> bool:
        """Whether the strictest profile is enforced."""
        return self.profile_mode == "ga"

    @property
    def unix_sockets(self) -> tuple[Path, ...]:
        """Every Unix socket the daemon listens on."""
        return (self.unix_socket,) if self.agent_socket is None else (self.unix_socket, self.agent_socket)

    @property
    def local_provider(self) -> tuple[str, ...]:
        """The provider of `BRIEFCASE_PROVIDER_BASE_URL` as `host:port`, where it is on this host."""
        if self.provider_base_url is None:
            return ()
        return _local(self.provider_base_url)

    @property
    def local_classifier(self) -> tuple[str, ...]:
        """The risk classifier as `host:port`, where it is on this host."""
        return () if self.risk_classifier_url is None else _local(self.risk_classifier_url)


def _local(address: str) -> tuple[str, ...]:
    url = parse_url(address)
    is_here = url.host == "localhost" or (url.address is not None and url.address.is_loopback)
    return (url.authority,) if is_here else ()


def parse_settings(environ: Mapping[str, str]) -> Settings:
    """Read the environment: the same variables make the same value, whatever is on the disk.

    Raises:
        ConfigError: a value or a name is not as expected; the message names the variable.
    """
    check_variable_names(environ)
    check_served(environ)
    data_dir = data_dir_of(environ)
    strict_host = _boolean(environ, "BRIEFCASE_STRICT_HOST")
    return Settings(
        data_dir=data_dir,
        unix_socket=_unix_socket(environ, data_dir, strict_host=strict_host),
        agent_socket=_agent_socket(environ, data_dir),
        tcp_addr=_parsed(environ, "BRIEFCASE_TCP_ADDR", parse_loopback_address),
        ext_authz_addr=_parsed(environ, "BRIEFCASE_EXT_AUTHZ_ADDR", parse_loopback_address),
        profile_mode=_chosen(environ, "BRIEFCASE_PROFILE_MODE", MODES),
        strict_host=strict_host,
        secret_backend=_chosen(environ, "BRIEFCASE_SECRET_BACKEND", SECRET_BACKENDS),
        provider_base_url=_base_url(environ, "BRIEFCASE_PROVIDER_BASE_URL"),
        vc_unknown_mode=_chosen(environ, "BRIEFCASE_VC_STATUS_UNKNOWN_MODE", VC_UNKNOWN_MODES),
        payment_helper=_program(environ, "BRIEFCASE_PAYMENT_HELPER"),
        risk_classifier_url=_parsed(environ, "BRIEFCASE_RISK_CLASSIFIER_URL", _classifier_url),
        otel=load_otel_settings(environ),
        sync_interval_s=_parsed(environ, "BRIEFCASE_CONTROL_PLANE_SYNC_INTERVAL_SECS", _sync_interval)
        or SYNC_INTERVAL_S,
        log_file=named_path(environ, "BRIEFCASE_LOG_FILE"),
        keys=_keys(environ),
    )


def _classifier_url(text: str) -> str:
    if parse_url(text).scheme != "https" and not _local(text):
        raise ValueError("expected an https URL, or one of this machine")
    return text


def _keys(environ: Mapping[str, str]) -> KeySettings:
    """Where the daemon's keys are to be; a place is named whole, and no part of one that is not."""
    identity, proofs = (_chosen(environ, name, PLACES) for name in (IDENTITY_VARIABLE, PROOF_VARIABLE))
    for place, names in _PLACE_VARIABLES.items():
        given = {name for name in names if environ.get(name)}
        is_named = place in {identity, proofs}
        if is_named and given != set(names):
            missing = next(name for name in names if name not in given)
            raise ConfigError(f"`{missing}`: expected it to be set, since keys are kept by `{place}`")
        if given and not is_named:
            raise ConfigError(
                f"`{min(given)}` is set, and no key is kept by `{place}`",
                hint=f"say which: {IDENTITY_VARIABLE}={place}, {PROOF_VARIABLE}={place}, or both",
            )
    return KeySettings(
        identity=identity,
        proofs=proofs,
        pkcs11_module=named_path(environ, "BRIEFCASE_PKCS11_MODULE") or Path(),
        pkcs11_token=environ.get("BRIEFCASE_PKCS11_TOKEN", ""),
        tpm_tcti=environ.get("BRIEFCASE_TPM_TCTI", ""),
    )


def _unix_socket(environ: Mapping[str, str], data_dir: Path, *, strict_host: bool) -> Path:
    path = socket_path_of(environ)
    _check_length("BRIEFCASE_UNIX_SOCKET", path)
    if strict_host and data_dir not in path.parents:
        raise ConfigError(
            f"`BRIEFCASE_UNIX_SOCKET`: strict host: expected the socket inside `{data_dir}`, got `{path}`",
            code="insecure_host",
            hint="unset it, or BRIEFCASE_STRICT_HOST",
        )
    return path


def _agent_socket(environ: Mapping[str, str], data_dir: Path) -> Path | None:
    """Where agents of other users connect; None where the daemon has no such socket."""
    named = named_path(environ, "BRIEFCASE_AGENT_SOCKET")
    if named is None:
        return None
    path = named.absolute()
    if data_dir in path.parents:
        raise agent_socket_inside(path, data_dir)
    _check_length("BRIEFCASE_AGENT_SOCKET", path)
    return path


def agent_socket_inside(path: Path, data_dir: Path) -> ConfigError:
    """What to raise where the agents' socket lies in the data directory, which their users cannot enter."""
    return ConfigError(
        f"`BRIEFCASE_AGENT_SOCKET`: expected a path outside of `{data_dir}`, got `{path}`",
        hint="make a directory of its own for it, with the agents' group: `briefcase help deploy`",
    )


def _program(environ: Mapping[str, str], name: str) -> Path | None:
    """A program, by its whole path: it is started without a shell, and looked for nowhere."""
    path = named_path(environ, name)
    if path is not None and not path.is_absolute():
        raise ConfigError(f"`{name}`: expected the whole path of a program, got `{environ[name]}`")
    return path


def _check_length(name: str, path: Path) -> None:
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        raise ConfigError(
            f"`{name}`: the path is too long, expected at most {MAX_SOCKET_PATH_BYTES} bytes, got `{path}`",
            hint=f"set {name} to a shorter path",
        )


def master_passphrase(environ: Mapping[str, str]) -> bytes | None:
    """The passphrase of the encrypted secret file, if one was given. Never kept in `Settings`."""
    text = environ.get("BRIEFCASE_MASTER_PASSPHRASE")
    return text.encode(errors="surrogateescape") if text else None  # the bytes that were given, whatever they are


def check_variable_names(environ: Mapping[str, str]) -> None:
    """Refuse a variable that is one slip away from a known one.

    Raises:
        ConfigError: naming both.
    """
    for name in environ:
        if name.startswith(OWN_PREFIX) and name not in BY_NAME:
            near = difflib.get_close_matches(name, BY_NAME, n=1, cutoff=0.9)
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
    if port > MAX_PORT:
        raise ValueError(f"expected a port up to {MAX_PORT}")
    return literal, port


def _sync_interval(text: str) -> int:
    if not _SECONDS.fullmatch(text) or not 1 <= int(text) <= MAX_SYNC_INTERVAL_S:
        raise ValueError(f"expected whole seconds from 1 to {MAX_SYNC_INTERVAL_S}")
    return int(text)


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
