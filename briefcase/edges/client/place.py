"""Where a program's boundary is: its address and its token, given or of the environment."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from briefcase.edges.client.verdicts import BoundaryFault

DEFAULT_PORT: Final = 80
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,512}")


class Place(NamedTuple):
    """A Unix socket, or a loopback host and port; `prefix` is a URL's path before the daemon's own."""

    socket_path: str = ""
    host: str = ""
    port: int = 0
    prefix: str = ""

    def __str__(self) -> str:
        return self.socket_path or f"http://{self.host}:{self.port}"


def place_of(address: str | None, environ: Mapping[str, str], default_socket: Callable[[], str]) -> Place:
    """Where the daemon is.

    Args:
        address: a socket's path or an http URL of a loopback address; None for what the environment says.
        environ: the process's variables.
        default_socket: gives where it listens where nothing says otherwise.

    Raises:
        BoundaryFault: it is neither (`configuration`).
    """
    named = environ.get("BRIEFCASE_AGENT_SOCKET") or environ.get("BRIEFCASE_DAEMON_UNIX_SOCKET")
    chosen = address or named or environ.get("BRIEFCASE_DAEMON_BASE_URL") or default_socket()
    if "://" not in chosen:
        return Place(chosen)
    try:
        parts = urlsplit(chosen)
        host, port = parts.hostname or "", parts.port or DEFAULT_PORT
    except ValueError:
        host, port, parts = "", 0, urlsplit("")
    host = "127.0.0.1" if host == "localhost" else host
    if parts.scheme != "http" or parts.username or parts.query or not _is_loopback(host):
        message = f"expected a socket's path or an http URL of a loopback address, got `{chosen}`"
        raise BoundaryFault("configuration", message)
    return Place(host=host, port=port, prefix=parts.path.rstrip("/"))


def token_of(token: str | None, environ: Mapping[str, str]) -> str:
    """The agent's token; no file is looked at, since the one beside the daemon is its operator's.

    Raises:
        BoundaryFault: there is none (`unauthorized`), or none that can be sent (`configuration`).
    """
    chosen = token or environ.get("BRIEFCASE_AUTH_TOKEN") or ""
    if not chosen:
        raise BoundaryFault(
            "unauthorized",
            "expected an agent's token, got none",
            "`briefcase agents add NAME` prints one; give it as `token`, or set BRIEFCASE_AUTH_TOKEN",
        )
    if not _TOKEN.fullmatch(chosen):
        raise BoundaryFault("configuration", "expected one token of visible ASCII characters")
    return chosen


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
