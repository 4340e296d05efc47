"""The sockets the daemon listens on, bound by itself, and who is at the other end of one.

A Unix socket is created with mode 0600 whatever the umask is, never in place of anything but our own stale socket.
A TCP socket is bound to a literal loopback address or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import stat
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from briefcase.adapters.disk.checks import (
    AGENT_DIRECTORY_MODE,
    AGENT_SOCKET_MODE,
    ALL_MODE_BITS,
    PRIVATE_FILE_MODE,
    way_problem,
)
from briefcase.adapters.peers import peer_uid
from briefcase.core.jose.identity_proof import authority_of
from briefcase.edges.http.tcp_peers import TcpPeers
from briefcase.model.errors import ConfigError

BACKLOG: Final = 1_024
PROBE_TIMEOUT_S: Final = 1.0

_AGENT_HINT: Final = "make a directory of its own for it, with the agents' group: `briefcase help deploy`"


class Peer(NamedTuple):
    """Who is at the other end, and where they came in.

    `uid` is their user, where the kernel says. Over TCP `hosts` are the `Host` values that name the listener, and
    `authority` is its `host:port`. Over a Unix socket `reads_tokens` says that this user can read the token files in
    the data directory: it is the daemon's own, or root. `is_for_agents` says that they came by the agents' socket.
    """

    is_unix: bool
    uid: int | None = None
    hosts: frozenset[bytes] = frozenset()
    authority: str = ""
    reads_tokens: bool = False
    is_for_agents: bool = False


class Listener(msgspec.Struct, frozen=True):
    """One bound, listening socket. `path` and `inode` name the file of a Unix socket.

    `is_for_agents` is the socket of the agents' group: whoever can connect to it may, and is heard as an agent only.
    """

    sock: socket.socket
    path: Path | None = None
    inode: int = 0
    is_for_agents: bool = False

    def close(self) -> None:
        """Stop listening, and remove the socket file if it is still ours."""
        self.sock.close()
        if self.path is not None:
            with contextlib.suppress(OSError):
                if self.path.lstat().st_ino == self.inode:
                    self.path.unlink()


def open_unix_listener(path: Path) -> Listener:
    """Listen on a Unix socket that only this user may connect to.

    Args:
        path: where to create it; its directory exists and is private to this user.

    Raises:
        ConfigError: the path is a link, another kind of file or another user's (`insecure_host`), somebody answers on
            it (`already_running`), or it could not be bound (`configuration`).
    """
    _clear_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Linux gives the file the mode of the socket's own inode, less the umask: there is no moment at which it is
        # open to others. Where that is refused (macOS), the private directory is what covers the moment until chmod.
        with contextlib.suppress(OSError):
            os.fchmod(sock.fileno(), PRIVATE_FILE_MODE)
        sock.bind(os.fspath(path))
        path.chmod(PRIVATE_FILE_MODE)
        inode = path.lstat().st_ino
        sock.listen(BACKLOG)
        sock.settimeout(0)  # non-blocking
    except OSError as error:
        sock.close()
        raise ConfigError(f"`{path}` cannot be listened on: {_reason(error)}") from error
    return Listener(sock, path, inode)


def open_agent_listener(path: Path) -> Listener:
    """Listen on a Unix socket that the group of its directory may connect to.

    Args:
        path: where to create it; its directory is ours or root's, with mode 0750 and the agents' group.

    Raises:
        ConfigError: the directory is another (`insecure_host`), or as `open_unix_listener`.
    """
    problem = agent_directory_problem(path.parent)
    if problem is not None:
        raise ConfigError(f"`BRIEFCASE_AGENT_SOCKET`: {problem}", code="insecure_host", hint=_AGENT_HINT)
    listener = open_unix_listener(path)
    try:
        os.chown(path, -1, path.parent.stat().st_gid, follow_symlinks=False)
        path.chmod(AGENT_SOCKET_MODE)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"`{path}` cannot be given to the group of its directory: {_reason(error)}",
            code="insecure_host",
            hint="put the daemon's user into that group",
        ) from error
    return msgspec.structs.replace(listener, is_for_agents=True)


def agent_directory_problem(directory: Path) -> str | None:
    """What is wrong with the directory of the agents' socket; None where it is as it must be."""
    try:
        found = directory.lstat()
    except OSError as error:
        return f"`{directory}` cannot be looked at: {_reason(error)}"
    mode = stat.S_IMODE(found.st_mode) & ALL_MODE_BITS
    if not stat.S_ISDIR(found.st_mode):
        return f"expected a directory at `{directory}`, got mode {stat.filemode(found.st_mode)}"
    if found.st_uid not in {0, os.geteuid()}:
        return f"expected `{directory}` to belong to uid {os.geteuid()} or root, got uid {found.st_uid}"
    if mode != AGENT_DIRECTORY_MODE:
        return f"expected `{directory}` to have mode {AGENT_DIRECTORY_MODE:04o}, got {mode:04o}"
    try:
        problem = way_problem(directory)  # an agent's user could take the tokens of the others there
    except OSError as error:
        return f"the way to `{directory}` cannot be looked at: {_reason(error)}"
    return None if problem is None else problem.message


def open_tcp_listener(host: str, port: int) -> Listener:
    """Listen on a loopback address.

    Args:
        host: a literal IPv4 or IPv6 loopback address.
        port: the port, 0 for any free one.

    Raises:
        ConfigError: the address is not loopback (`loopback_only`), or could not be bound (`configuration`).
    """
    address = _loopback_address(host)
    family = socket.AF_INET6 if isinstance(address, ipaddress.IPv6Address) else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Inherited by what is accepted: an ASGI answer is two writes, and must not wait for the client's delayed ACK.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family is socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((str(address), port))
        sock.listen(BACKLOG)
        sock.settimeout(0)  # non-blocking
    except OSError as error:
        sock.close()
        raise ConfigError(f"`{host}:{port}` cannot be listened on: {_reason(error)}") from error
    return Listener(sock)


def hosts_of(address: str, port: int) -> frozenset[bytes]:
    """The `Host` values that name a listener: a browser led here by another name (DNS rebinding) sends another."""
    return frozenset({authority_of(address, port).encode(), f"localhost:{port}".encode()})


def peer_of(sock: socket.socket, *, is_for_agents: bool = False, tcp_peers: TcpPeers | None = None) -> Peer:
    """The other end of an accepted connection; `is_for_agents` as its listener is, `tcp_peers` tells users over TCP."""
    if sock.family == socket.AF_UNIX:
        uid = peer_uid(sock)
        return Peer(is_unix=True, uid=uid, reads_tokens=uid in {0, os.geteuid()}, is_for_agents=is_for_agents)
    host, port, *_ = sock.getsockname()
    uid = None if tcp_peers is None else tcp_peers.uid_of(sock)
    return Peer(is_unix=False, uid=uid, hosts=hosts_of(host, port), authority=authority_of(host, port))


def _loopback_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ConfigError(f"expected a literal loopback address, got `{host}`", code="loopback_only") from None
    if not address.is_loopback or getattr(address, "ipv4_mapped", None) or getattr(address, "scope_id", None):
        raise ConfigError(
            f"expected a loopback address, got `{host}`",
            code="loopback_only",
            hint="the daemon is never reachable from another host: use `127.0.0.1` or `::1`",
        )
    return address


def _clear_stale(path: Path) -> None:
    """Remove what a killed daemon left behind, and nothing else."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"`{path}` cannot be looked at: {_reason(error)}") from error
    if not stat.S_ISSOCK(found.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else f"mode {stat.filemode(found.st_mode)}"
        raise ConfigError(
            f"expected a socket or nothing at `{path}`, got {kind}",
            code="insecure_host",
            hint="look at what it is and remove it, or choose another path with `BRIEFCASE_UNIX_SOCKET`",
        )
    if found.st_uid != os.geteuid():
        raise ConfigError(
            f"expected `{path}` to belong to uid {os.geteuid()}, got uid {found.st_uid}", code="insecure_host"
        )
    if _somebody_answers(path):
        raise ConfigError(
            f"another daemon answers on `{path}`",
            code="already_running",
            hint="stop it first, or choose another path with `BRIEFCASE_UNIX_SOCKET`",
        )
    path.unlink(missing_ok=True)


def _somebody_answers(path: Path) -> bool:
    """Whether a connection is accepted, or might be: only a plain refusal shows that nobody listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        return probe.connect_ex(os.fspath(path)) not in {errno.ECONNREFUSED, errno.ENOENT}


def _reason(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else str(error)
