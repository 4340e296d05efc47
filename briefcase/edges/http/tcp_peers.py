"""Which user is at the other end of a TCP connection of this host: the kernel is asked for the other socket's owner.

sock_diag(7), one question for one connection: `inet_diag_req_v2` with the four numbers of the other end's socket, which
takes some 20 us and no privilege. Loopback never leaves the network namespace, so the socket is one of this kernel's;
whoever forwards connections (a container's port mapping) is the user that is found. Nothing is known where the kernel
does not say, of a connection that is over, whose socket counts as root's by then, and on other systems than Linux.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import Final

_SOCK_DIAG: Final = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY: Final = 20  # SOCK_DIAG_BY_FAMILY, the question and its answer
_REQUEST: Final = 1  # NLM_F_REQUEST
_HEADER: Final = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ASKED: Final = struct.Struct("=4BI")  # inet_diag_req_v2: family, protocol, extensions, padding, states
_PORTS: Final = struct.Struct("!2H")  # inet_diag_sockid: of the socket asked for, and of its peer
_REST: Final = struct.Struct("=3I")  # the same: interface, cookie; any of either
_ANSWER: Final = struct.Struct("=4B48s5I")  # inet_diag_msg: family, state, ..., sockid, expires, queues, uid, inode
_ANY: Final = 0xFFFF_FFFF
_ADDRESS_BYTES: Final = 16
_MAX_ANSWER_BYTES: Final = 4_096

# the states of a socket that is still its owner's: of what is closed, the kernel keeps less, and no user
_OWNED: Final = frozenset({1, 4, 8})  # TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_CLOSE_WAIT


class TcpPeers:
    """Asks the kernel; one socket for all questions."""

    def __init__(self) -> None:
        self._netlink: socket.socket | None = None
        self._sequence = 0

    def uid_of(self, sock: socket.socket) -> int | None:
        """The user at the other end of an accepted connection; None where the kernel does not say."""
        if sys.platform != "linux":
            return None
        try:
            request = self._request_for(sock)
            netlink = self._netlink
            if netlink is None:
                netlink = self._netlink = socket.socket(
                    socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, _SOCK_DIAG
                )
            netlink.send(request)  # which answers it before it returns
            return self._uid_in(netlink.recv(_MAX_ANSWER_BYTES))
        except (OSError, struct.error):
            self.close()  # what comes late must not be the answer to another question
            return None

    def close(self) -> None:
        """Let go of the socket; the next question opens another."""
        netlink, self._netlink = self._netlink, None
        if netlink is not None:
            netlink.close()

    def _request_for(self, sock: socket.socket) -> bytes:
        host, port, *_ = sock.getpeername()
        own_host, own_port, *_ = sock.getsockname()
        addresses = b"".join(
            socket.inet_pton(sock.family, address).ljust(_ADDRESS_BYTES, b"\0") for address in (host, own_host)
        )
        asked = _ASKED.pack(sock.family, socket.IPPROTO_TCP, 0, 0, _ANY)
        body = asked + _PORTS.pack(port, own_port) + addresses + _REST.pack(0, _ANY, _ANY)
        self._sequence = (self._sequence + 1) & _ANY
        return _HEADER.pack(_HEADER.size + len(body), _BY_FAMILY, _REQUEST, self._sequence, 0) + body

    def _uid_in(self, answer: bytes) -> int | None:
        _, kind, _, sequence, _ = _HEADER.unpack_from(answer)
        if kind != _BY_FAMILY or sequence != self._sequence:  # an error: no such socket, or not to be asked here
            return None
        found = _ANSWER.unpack_from(answer, _HEADER.size)
        state, uid, inode = found[1], int(found[-2]), int(found[-1])
        return uid if state in _OWNED and inode else None  # no inode: no process has it, and uid 0 is nobody
