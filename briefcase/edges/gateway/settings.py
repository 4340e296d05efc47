"""What the gateway starts with: where the daemon is, whose token it holds, where it listens.

Nothing here is a secret of the operator's: the token is an agent's, and an agent can approve nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from briefcase.adapters.disk.data_dir import named_path
from briefcase.adapters.store.tokens import named_token
from briefcase.adapters.telemetry.settings import OtelSettings, load_otel_settings
from briefcase.edges.client.expected import ExpectedDaemon, expected_daemon
from briefcase.model.errors import ConfigError
from briefcase.model.identifiers import BEARER_CHAR
from briefcase.model.types import MAX_PORT

DEFAULT_PATH: Final = "/mcp"
_ADDRESS: Final = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]]+)):(\d{1,5})")
_PATH: Final = re.compile(r"/[A-Za-z0-9._~/-]{0,127}")
_TOKEN: Final = re.compile(rf"{BEARER_CHAR}{{1,512}}")
_SECONDS: Final = re.compile(r"[0-9]{1,4}")
DEFAULT_HOLD_S: Final = 45  # many clients give up on a call after a minute
MAX_HOLD_S: Final = 600
_ORIGIN: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+")


class GatewaySettings(msgspec.Struct, frozen=True):
    """Where to find the daemon and where to be found. `server` narrows what is served to one MCP server.

    `keeps_ids`: tools have the daemon's own ids for names, which some clients do not take. `hold_s`: how long a call is
    held for a person.
    """

    daemon_socket: Path | None
    expected: ExpectedDaemon
    daemon_url: str | None = None
    token: str | None = None
    http_addr: tuple[str, int] | None = None
    http_path: str = DEFAULT_PATH
    stdio: bool = True
    server: str | None = None
    keeps_ids: bool = False
    allowed_origins: frozenset[str] = frozenset()
    otel: OtelSettings | None = None
    hold_s: float = 0.0


def load_gateway_settings(
    environ: Mapping[str, str],
    default_socket: Path,
    data_dir: Path,
    *,
    server: str | None = None,
    keeps_ids: bool = False,
    origins: tuple[str, ...] = (),
) -> GatewaySettings:
    """Read the environment.

    Args:
        environ: the process's variables.
        default_socket: the daemon's socket where no variable names another way to it.
        data_dir: the data directory of this environment: its owner may run the daemon.
        server: the one MCP server to present under its tools' own names, or None for everything.
        keeps_ids: whether tools are named by the daemon's ids.
        origins: web origins that may connect beside the gateway's own.

    Raises:
        ConfigError: a value is not as expected; the message names the variable.
    """
    url = environ.get("BRIEFCASE_DAEMON_BASE_URL")
    socket = named_path(environ, "BRIEFCASE_AGENT_SOCKET") or named_path(environ, "BRIEFCASE_DAEMON_UNIX_SOCKET")
    if url and not socket:
        _check_daemon_url(url)
    token = named_token(environ)
    if token is not None and not is_token(token):
        raise ConfigError("`BRIEFCASE_AUTH_TOKEN`: expected an agent's token, got other characters than a token has")
    address = environ.get("BRIEFCASE_MCP_HTTP_ADDR")
    path = environ.get("BRIEFCASE_MCP_HTTP_PATH") or DEFAULT_PATH
    if not _PATH.fullmatch(path) or "//" in path or (len(path) > 1 and path.endswith("/")):
        raise ConfigError(f"`BRIEFCASE_MCP_HTTP_PATH`: expected a plain path such as `/mcp`, got `{path}`")
    stdio = not _is_set(environ, "BRIEFCASE_MCP_NO_STDIO")
    if not stdio and not address:
        raise ConfigError(
            "`BRIEFCASE_MCP_NO_STDIO` is set and `BRIEFCASE_MCP_HTTP_ADDR` is not: nothing to serve",
            hint="set BRIEFCASE_MCP_HTTP_ADDR, for example to 127.0.0.1:7778",
        )
    if stdio and token is None:
        raise ConfigError(
            "`BRIEFCASE_AUTH_TOKEN`: expected the agent's token, got nothing",
            hint="`briefcase agents add NAME` makes an agent and prints its token once, or `briefcase setup CLIENT`",
        )
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ConfigError(f"expected a web origin such as `http://localhost:6274`, got `{origin}`")
    return GatewaySettings(
        daemon_socket=socket.absolute() if socket else None if url else default_socket,
        expected=expected_daemon(environ, lambda: data_dir),
        daemon_url=url if url and not socket else None,
        token=token,
        http_addr=_loopback(address) if address else None,
        http_path=path,
        stdio=stdio,
        server=server,
        keeps_ids=keeps_ids,
        allowed_origins=frozenset(origins),
        otel=load_otel_settings(environ, "briefcase-gateway"),
        hold_s=_hold_s(environ),
    )


def is_token(text: str) -> bool:
    """Whether a text can be sent as a bearer token."""
    return _TOKEN.fullmatch(text) is not None


def _loopback(text: str) -> tuple[str, int]:
    match = _ADDRESS.fullmatch(text)
    host = "" if match is None else match[1] or match[2]
    host = "127.0.0.1" if host == "localhost" else host
    port = -1 if match is None else int(match[3])
    if not _is_loopback(host) or not 0 <= port <= MAX_PORT:
        raise ConfigError(
            f"`BRIEFCASE_MCP_HTTP_ADDR`: expected a loopback address such as `127.0.0.1:7778`, got `{text}`",
            code="loopback_only",
        )
    return host, port


def _check_daemon_url(url: str) -> None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    is_loopback = host == "localhost" or _is_loopback(host)
    if parts.scheme != "http" or not is_loopback or parts.username or parts.query or parts.fragment:
        raise ConfigError(
            f"`BRIEFCASE_DAEMON_BASE_URL`: expected an http URL of a loopback address, got `{url}`",
            code="loopback_only",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _hold_s(environ: Mapping[str, str]) -> float:
    text = environ.get("BRIEFCASE_MCP_HOLD_SECS") or str(DEFAULT_HOLD_S)
    if not _SECONDS.fullmatch(text) or int(text) > MAX_HOLD_S:
        raise ConfigError(f"`BRIEFCASE_MCP_HOLD_SECS`: expected 0 to {MAX_HOLD_S} seconds, got `{text}`")
    return float(text)


def _is_set(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name, "").lower()
    if text not in {"", "0", "1", "true", "false"}:
        raise ConfigError(f"`{name}`: expected 1, 0, true or false, got `{text}`")
    return text in {"1", "true"}
