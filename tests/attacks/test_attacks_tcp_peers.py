"""Strangers over TCP, of another user: whatever they send and leave open, others are served, and their part is bounded.

Each trial opens more connections than one user may have, does the same on each, and leaves them. Then the operator, an
agent on two connections and a third user are served over the same listener, and of the stranger's connections no more
are open than one user has and the listener's reserve.
"""

import http.client
import os
import socket
import ssl
import struct
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from other_user import ALICE, BOB, acting_as
from test_attacks_bounds import free_port

from support.daemons import RunningDaemon
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/proc/self/statm").exists(), reason="needs Linux, and root to be another user"
)

PER_USER, RESERVE, STRANGERS = 12, 8, 40
CONFIG = f"""
[server]
max_connections = 48
max_connections_per_uid = {PER_USER}
max_connections_per_principal = 16
operator_reserve = {RESERVE}
newcomer_reserve = {RESERVE}
"""
HEAD = b"POST /v1/tools/call HTTP/1.1\r\nhost: localhost\r\n"
READY = b"GET /ready HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n\r\n"
WRONG = b"GET /v1/tools HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nauthorization: Bearer wrong\r\n\r\n"


def hello() -> bytes:
    """What a client that speaks TLS says first."""
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(coming, going, server_hostname="localhost").do_handshake()
    return going.read()


def half_close(sock):
    sock.shutdown(socket.SHUT_WR)


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def leave(sock):
    sock.close()


def read_nothing(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)


# what is sent (`%d` is the port), and what is done then
TRIALS = {
    "silent": b"",
    "one byte": b"G",
    "blank lines": b"\r\n" * 8,
    "half a line": b"GET /v1/to",
    "half a head": b"GET /ready HTTP/1.1\r\nhost: local",
    "a head without end": HEAD + b"x: y\r\n" * 40,
    "a header of 15 KB": HEAD + b"x: " + b"y" * 15_000,
    "half a body without a token": HEAD + b"content-length: 100\r\n\r\n{",
    "half a body with a wrong token": HEAD + b"authorization: Bearer wrong\r\ncontent-length: 100\r\n\r\n{",
    "half a chunk": HEAD + b"transfer-encoding: chunked\r\n\r\n40\r\n{",
    "chunks of a byte": HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"1\r\n{\r\n" * 200,
    "a megabyte that is waited for": HEAD + b"content-length: 1048576\r\nexpect: 100-continue\r\n\r\n",
    "a request that needs no token": READY,
    "twenty of them": READY * 20,
    "a wrong token": WRONG,
    "twenty wrong tokens": WRONG * 20,
    "no token": b"GET /v1/approvals HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n\r\n",
    "a path that is not there": b"GET /nothing HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n\r\n",
    "another host": b"GET /ready HTTP/1.1\r\nhost: evil.example\r\n\r\n",
    "a browser": b"GET /ready HTTP/1.1\r\nhost: 127.0.0.1:%d\r\norigin: https://evil.example\r\n\r\n",
    "garbage": b"\x00\xff\x00\xff" * 64,
    "TLS": hello(),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    "a PROXY preamble": b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + READY,
    "SOCKS": b"\x05\x01\x00",
    "another protocol's greeting": b"EHLO localhost\r\n",
    "bare line feeds": b"GET /ready HTTP/1.1\nhost: localhost\n\n",
    "two lengths": HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\n{}",
    "a length and chunks": HEAD + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "an upgrade": b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    "a tunnel": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nhost: 127.0.0.1:22\r\n\r\n",
    "an absolute target": b"GET http://127.0.0.1:%d/ready HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n\r\n",
    "a body that is too large": HEAD + b"content-length: 99999999\r\n\r\n",
    "a coded body": HEAD + b"content-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x8b\x08\x00",
    "the end at once": (b"", half_close),
    "the end in a head": (HEAD, half_close),
    "the end after a request": (READY, half_close),
    "a reset at once": (b"", reset),
    "a reset in a head": (HEAD, reset),
    "a reset after a request": (READY, reset),
    "gone at once": (b"", leave),
    "answers that nobody reads": (READY * 200, read_nothing),
}
ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.255.255.254")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("tcp") / "data"
    data_dir.mkdir(mode=0o700)
    (data_dir / "briefcase.toml").write_text(CONFIG)
    port = free_port()
    with RunningDaemon(data_dir, BRIEFCASE_TCP_ADDR=f"127.0.0.1:{port}") as running:
        running.port = port
        running.agent = running.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
        yield running


class Strangers:
    """Connections of one user, from one address, that are left open."""

    def __init__(self, port: int, uid: int, address: str, sent: bytes, then=None) -> None:
        self.socks = []
        with acting_as(uid):
            for _ in range(STRANGERS):
                sock = socket.socket()
                self.socks.append(sock)
                sock.settimeout(5)
                sock.bind((address, 0))
                sock.connect(("127.0.0.1", port))
                with suppress(OSError):  # it may be closed by now
                    sock.sendall(sent.replace(b"%d", b"%d" % port))
                    if then is not None:
                        then(sock)
                if sock.fileno() >= 0:
                    sock.settimeout(0)

    def open(self) -> int:
        """How many the daemon still has."""
        return sum(map(self._is_open, self.socks))

    def close(self) -> None:
        for sock in self.socks:
            sock.close()

    @staticmethod
    def _is_open(sock) -> bool:
        try:
            while sock.recv(1 << 16):
                pass
        except BlockingIOError:
            return True
        except OSError:
            pass
        sock.close()
        return False


def status_of(connection, path: str, token: str = "") -> int:
    connection.request("GET", path, headers={"authorization": f"Bearer {token}"} if token else {})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def test_the_user_of_a_connection_over_tcp_has_one_users_bound(daemon):
    strangers = Strangers(daemon.port, BOB, "127.0.0.1", b"")
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=20)
    assert status_of(connection, "/v1/agents", daemon.operator_token) == 200  # what came before it is taken
    assert strangers.open() <= PER_USER
    strangers.close()
    connection.close()


@pytest.mark.parametrize("name", TRIALS)
def test_whatever_a_stranger_leaves_open_over_tcp_others_are_served_and_its_part_is_bounded(daemon, name):
    trial = TRIALS[name]
    sent, then = trial if isinstance(trial, tuple) else (trial, None)
    with ExitStack() as stack:
        strangers = Strangers(daemon.port, BOB, ADDRESSES[list(TRIALS).index(name) % len(ADDRESSES)], sent, then)
        stack.callback(strangers.close)

        def connect():
            connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=20)
            stack.callback(connection.close)
            return connection

        operator, agents = connect(), [connect(), connect()]
        assert status_of(operator, "/v1/agents", daemon.operator_token) == 200
        assert [status_of(agent, "/v1/tools", daemon.agent) for agent in agents] == [200, 200]
        with acting_as(ALICE):
            third = connect()
            third.connect()
        assert status_of(third, "/ready") == 200
        wait_until(lambda: strangers.open() <= PER_USER + RESERVE)
        assert status_of(operator, "/v1/agents", daemon.operator_token) == 200  # on the very same connection
