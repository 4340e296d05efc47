"""The sockets: how they come to be, what they refuse to replace, and where they may be bound."""

import os
import socket
import stat
import struct
import sys

import pytest

from briefcase.adapters.peers import peer_uid
from briefcase.edges.http.sockets import hosts_of, open_tcp_listener, open_unix_listener
from briefcase.model.errors import ConfigError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "briefcased.sock"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_the_socket_is_private_whatever_the_umask(path, umask):
    before = os.umask(umask)
    try:
        listener = open_unix_listener(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    listener.close()


def test_the_socket_is_private_from_the_moment_it_exists(path, monkeypatch):
    modes = []
    chmod = type(path).chmod

    def seen(self, mode):
        modes.append(stat.S_IMODE(self.lstat().st_mode))
        chmod(self, mode)

    monkeypatch.setattr(type(path), "chmod", seen)
    before = os.umask(0)
    try:
        open_unix_listener(path).close()
    finally:
        os.umask(before)
    assert modes == [0o600]


def test_closing_removes_the_file_and_only_its_own(path):
    listener = open_unix_listener(path)
    listener.close()
    assert not path.exists()
    listener = open_unix_listener(path)
    path.unlink()
    path.write_text("another's")
    listener.close()
    assert path.read_text() == "another's"


def test_what_a_killed_daemon_left_is_replaced(path):
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    assert path.exists()
    open_unix_listener(path).close()


def test_a_path_on_which_somebody_answers_is_left_alone(path):
    first = open_unix_listener(path)
    inode = path.lstat().st_ino
    with pytest.raises(ConfigError) as caught:
        open_unix_listener(path)
    assert caught.value.code == "already_running"
    assert str(path) in caught.value.message
    assert path.lstat().st_ino == inode
    first.close()


def test_a_path_whose_backlog_is_full_is_left_alone(path):
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as client:
        busy.bind(str(path))
        busy.listen(0)
        client.connect(str(path))
        with pytest.raises(ConfigError) as caught:
            open_unix_listener(path)
    assert caught.value.code == "already_running"


@pytest.mark.parametrize("make", ["link", "dangling", "file", "directory", "pipe"])
def test_a_path_that_is_something_else_is_refused_and_left_as_it_was(path, tmp_path, make):
    target = tmp_path / "target"
    if make == "link":
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(target))
        path.symlink_to(target)
    elif make == "dangling":
        path.symlink_to(target)
    elif make == "file":
        path.write_text("mine")
    elif make == "directory":
        path.mkdir()
    else:
        os.mkfifo(path)
    before = path.lstat().st_ino
    with pytest.raises(ConfigError) as caught:
        open_unix_listener(path)
    assert caught.value.code == "insecure_host"
    assert f"`{path}`" in caught.value.message
    assert path.lstat().st_ino == before


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_socket_of_another_user_is_refused(path):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
    os.chown(path, 65_534, 65_534)
    with pytest.raises(ConfigError) as caught:
        open_unix_listener(path)
    assert caught.value.code == "insecure_host"
    assert "uid 65534" in caught.value.message
    assert path.exists()


def test_a_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no such file or directory"):
        open_unix_listener(tmp_path / "missing" / "d.sock")


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",
        "::",
        "192.168.0.1",
        "10.0.0.1",
        "8.8.8.8",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "fe80::1",
        "::1%lo",
        "2001:db8::1",
        "localhost",
        "example.com",
        "127.1",
        "0177.0.0.1",
        "2130706433",
        "",
    ],
)
def test_an_address_that_is_not_a_literal_loopback_one_is_never_bound(host):
    with pytest.raises(ConfigError) as caught:
        open_tcp_listener(host, 0)
    assert caught.value.code == "loopback_only"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1"])
def test_a_loopback_address_is_bound(host):
    try:
        listener = open_tcp_listener(host, 0)
    except ConfigError as error:
        pytest.skip(f"no such address here: {error.message}")
    assert listener.sock.getsockname()[0] == host
    listener.close()


def test_a_port_that_is_taken_is_named():
    listener = open_tcp_listener("127.0.0.1", 0)
    port = listener.sock.getsockname()[1]
    with pytest.raises(ConfigError, match=f"`127.0.0.1:{port}` cannot be listened on: address already in use"):
        open_tcp_listener("127.0.0.1", port)
    listener.close()


def test_the_hosts_of_a_listener_are_its_address_and_localhost_with_its_port():
    assert hosts_of("127.0.0.1", 7) == {b"127.0.0.1:7", b"localhost:7"}
    assert hosts_of("::1", 7) == {b"[::1]:7", b"localhost:7"}


def test_the_peer_of_a_unix_socket_is_known_and_of_another_it_is_not():
    here, there = socket.socketpair()
    with here, there:
        assert peer_uid(here) == os.geteuid()
    with open_tcp_listener("127.0.0.1", 0).sock as listening:
        assert peer_uid(listening) != os.geteuid() or os.geteuid() == 0


@pytest.mark.parametrize(("noted", "uid"), [(3_000_000_000, 3_000_000_000), (2**32 - 2, 2**32 - 2), (2**32 - 1, None)])
def test_a_uid_has_32_bits_and_the_last_one_is_nobody(noted, uid):
    class Noted:
        def getsockopt(self, *_):
            return struct.pack("i2I", 1, noted, noted)

    if sys.platform == "linux":
        assert peer_uid(Noted()) == uid
