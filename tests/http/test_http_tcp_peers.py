"""Who is at the other end of a TCP connection: as the kernel says, and nobody where it does not."""

import os
import socket
import subprocess
import sys
from contextlib import closing

import pytest

from briefcase.edges.http import tcp_peers
from briefcase.edges.http.tcp_peers import TcpPeers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sock_diag(7) is Linux's")

FAMILIES = {"IPv4": (socket.AF_INET, "127.0.0.1"), "IPv6": (socket.AF_INET6, "::1")}
OTHER_UID = 61_237
CLIENT = """
import os, socket, sys
family, host, port, uid = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
if uid != os.geteuid():
    os.setgroups([]), os.setgid(uid), os.setuid(uid)
sock = socket.socket(family)
sock.connect((host, port))
sys.stdin.read()
"""


@pytest.fixture
def peers():
    with closing(TcpPeers()) as asked:
        yield asked


@pytest.fixture(params=FAMILIES.values(), ids=FAMILIES)
def listener(request):
    family, host = request.param
    with socket.socket(family) as sock:
        try:
            sock.bind((host, 0))
        except OSError:
            pytest.skip("no such address here")
        sock.listen()
        yield sock


@pytest.mark.parametrize("uid", [None, OTHER_UID], ids=["this user", "another user"])
def test_the_user_of_the_process_at_the_other_end_is_known(peers, listener, uid):
    if uid is not None and os.geteuid() != 0:
        pytest.skip("needs root, to be another user")
    wanted = os.geteuid() if uid is None else uid
    host, port, *_ = listener.getsockname()
    words = [sys.executable, "-c", CLIENT, str(int(listener.family)), host, str(port), str(wanted)]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as client:
        accepted, _ = listener.accept()
        with accepted:
            assert [peers.uid_of(accepted) for _ in range(3)] == [wanted] * 3
            client.communicate()
            assert peers.uid_of(accepted) is None  # the kernel says root's of what is left of that socket


def test_nobody_is_known_of_a_connection_that_is_over(peers, listener):
    client = socket.socket(listener.family)
    client.connect(listener.getsockname()[:2])
    accepted, _ = listener.accept()
    accepted.close()
    with client:
        client.close()
    assert peers.uid_of(accepted) is None


@pytest.mark.parametrize(
    "answer",
    [b"", b"\0" * 16, tcp_peers._HEADER.pack(88, tcp_peers._BY_FAMILY, 0, 99, 0) + b"\2\1" + b"\0" * 70],
    ids=["nothing", "an error", "the answer to another question"],
)
def test_what_is_no_answer_names_nobody_and_the_next_question_is_answered(peers, listener, monkeypatch, answer):
    with socket.create_connection(listener.getsockname()[:2]) as client:
        accepted, _ = listener.accept()
        with accepted:
            assert peers.uid_of(accepted) == os.geteuid()
            with monkeypatch.context() as patched:
                patched.setattr(peers, "_netlink", Saying(answer))
                assert peers.uid_of(accepted) is None
            assert peers.uid_of(accepted) == os.geteuid()
        assert client.fileno() >= 0


@pytest.mark.parametrize("call", ["socket", "inet_pton"])
def test_where_the_kernel_is_not_to_be_asked_nobody_is_known(peers, listener, monkeypatch, call):
    def refuse(*_):
        raise OSError(93, "protocol not supported")

    with socket.create_connection(listener.getsockname()[:2]):
        accepted, _ = listener.accept()
        with accepted:
            monkeypatch.setattr(tcp_peers.socket, call, refuse)
            assert peers.uid_of(accepted) is None


class Saying:
    """A kernel that says something."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer

    def send(self, _):
        pass

    def recv(self, _):
        return self.answer

    def close(self):
        pass
