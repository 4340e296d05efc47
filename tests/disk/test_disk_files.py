"""Private files, the data directory and the token files: who else could have touched them decides."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from briefcase.adapters.disk import files, locks
from briefcase.adapters.disk.data_dir import DataDirLock, prepare_data_dir
from briefcase.adapters.disk.locks import locked
from briefcase.adapters.store.tokens import load_or_create_token, load_token
from briefcase.model.errors import ConfigError, StoreError
from support.entropy import FakeEntropy

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777], ids=lambda mask: f"umask {mask:03o}")
def umask(request):
    old = os.umask(request.param)
    yield
    os.umask(old)


# --- private files ----------------------------------------------------------------------------------------------


def test_a_private_file_is_0600_whatever_the_umask(tmp_path, umask):
    files.write_private(tmp_path / "secret", b"value")
    assert mode_of(tmp_path / "secret") == 0o600
    assert files.read_private(tmp_path / "secret") == b"value"


def test_an_absent_private_file_reads_as_none(tmp_path):
    assert files.read_private(tmp_path / "absent") is None


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o644, 0o666, 0o777])
def test_a_private_file_open_to_others_is_refused_with_its_path_and_both_modes(tmp_path, mode):
    path = tmp_path / "secret"
    path.write_bytes(b"value")
    path.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        files.read_private(path)
    assert caught.value.code == "insecure_host"
    assert caught.value.message == f"expected `{path}` to have mode 0600, got {mode:04o}"
    assert f"chmod 600 {path}" in caught.value.hint


def test_a_private_file_that_is_a_link_is_refused_even_to_a_private_file(tmp_path):
    files.write_private(tmp_path / "real", b"value")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(ConfigError, match="got a symbolic link"):
        files.read_private(tmp_path / "link")


@pytest.mark.parametrize(("make", "kind"), [(os.mkfifo, "a pipe"), (os.mkdir, "a directory")])
def test_a_private_file_that_is_no_regular_file_is_refused_without_hanging(tmp_path, make, kind):
    make(tmp_path / "odd")
    with pytest.raises(ConfigError, match=f"got {kind}"):
        files.read_private(tmp_path / "odd")


@needs_root
def test_a_private_file_of_another_user_is_refused_naming_both(tmp_path):
    path = tmp_path / "secret"
    files.write_private(path, b"value")
    os.chown(path, 12345, 12345)
    with pytest.raises(ConfigError, match=f"expected `{path}` to belong to uid 0, got uid 12345"):
        files.read_private(path)


def test_an_oversized_private_file_is_refused(tmp_path):
    files.write_private(tmp_path / "secret", b"x" * 11)
    with pytest.raises(ConfigError, match="at most 10 bytes, got 11"):
        files.read_private(tmp_path / "secret", max_bytes=10)


@pytest.mark.parametrize("call", ["fsync", "write", "rename"])
def test_a_failing_disk_leaves_the_old_content_whole(tmp_path, monkeypatch, call):
    path = tmp_path / "secret"
    files.write_private(path, b"old")

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as broken:
        if call == "fsync":
            broken.setattr(os, "fsync", full)
        elif call == "rename":
            broken.setattr(os, "rename", full)
        else:
            broken.setattr(files, "write_new", full)
        with pytest.raises(StoreError) as caught:
            files.write_private(path, b"new")
    assert caught.value.code == "secret_unavailable"
    assert files.read_private(path) == b"old"
    files.write_private(path, b"newer")
    assert [file.name for file in tmp_path.iterdir()] == ["secret"]


def test_a_write_syncs_the_file_before_the_rename_and_the_directory_after_it(tmp_path, monkeypatch):
    steps = []
    fsync, rename = os.fsync, os.rename

    def traced_fsync(descriptor):
        steps.append("sync directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
        fsync(descriptor)

    def traced_rename(*names):
        steps.append("rename")
        rename(*names)

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(os, "rename", traced_rename)
    files.write_private(tmp_path / "secret", b"value")
    assert steps == ["sync file", "rename", "sync directory"]


def test_a_planted_temporary_file_is_neither_followed_nor_kept(tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"untouched")
    files.temporary_of(tmp_path / "secret").symlink_to(victim)
    files.write_private(tmp_path / "secret", b"value")
    assert victim.read_bytes() == b"untouched"
    assert files.read_private(tmp_path / "secret") == b"value"


def test_a_lock_held_by_another_process_is_reported_and_dies_with_it(tmp_path):
    path = tmp_path / "lock"
    code = (
        "import sys; from pathlib import Path; from briefcase.adapters.disk.locks import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StoreError, match=f"process {holder.pid} holds it"), locks.locked(path, timeout_ms=30):
            pass
        holder.kill()
    with locks.locked(path, timeout_ms=30):
        pass


# --- the data directory -----------------------------------------------------------------------------------------


def test_a_new_data_directory_and_its_parents_are_0700_whatever_the_umask(tmp_path, umask):
    if os.umask(0o077) == 0o777 and os.geteuid() != 0:
        pytest.skip("with umask 777 only root can create a directory inside another new one")
    os.umask(0o000)
    path = prepare_data_dir(tmp_path / "a" / "data")
    assert mode_of(path) == 0o700
    assert mode_of(path.parent) == 0o700


def test_a_directory_that_others_could_read_is_closed(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(0o755)
    assert mode_of(prepare_data_dir(tmp_path / "data")) == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o720, 0o702, 0o777, 0o1777])
def test_a_directory_that_others_could_write_is_refused_with_its_mode(tmp_path, mode):
    path = tmp_path / "data"
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        prepare_data_dir(path)
    assert caught.value.code == "insecure_host"
    assert caught.value.message == f"expected `{path}` to have mode 0700, got {mode:04o}"
    assert mode_of(path) == mode


def test_a_directory_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "data").symlink_to(tmp_path / "real")
    with pytest.raises(ConfigError, match=r"expected a directory at .*, got a symbolic link"):
        prepare_data_dir(tmp_path / "data")


def test_a_dangling_link_in_place_of_the_directory_is_refused_and_not_followed(tmp_path):
    (tmp_path / "data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="got a symbolic link"):
        prepare_data_dir(tmp_path / "data")
    assert not (tmp_path / "elsewhere").exists()


def test_a_link_among_the_parents_is_resolved(tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert prepare_data_dir(tmp_path / "link" / "data") == tmp_path / "real" / "data"


def test_a_file_in_place_of_the_directory_is_refused(tmp_path):
    (tmp_path / "data").write_text("")
    with pytest.raises(ConfigError, match="got a regular file"):
        prepare_data_dir(tmp_path / "data")


def test_a_parent_writable_by_everyone_is_refused_unless_sticky(tmp_path):
    parent = tmp_path / "open"
    parent.mkdir()
    parent.chmod(0o777)
    with pytest.raises(ConfigError, match=f"expected `{parent}` not to be writable by everyone, got mode 0777"):
        prepare_data_dir(parent / "data")
    parent.chmod(0o1777)
    prepare_data_dir(parent / "data")


@needs_root
def test_a_directory_of_another_user_is_refused(tmp_path):
    (tmp_path / "data").mkdir(mode=0o700)
    os.chown(tmp_path / "data", 12345, 12345)
    with pytest.raises(ConfigError, match="to belong to uid 0, got uid 12345"):
        prepare_data_dir(tmp_path / "data")


def test_a_second_daemon_on_one_directory_is_told_which_process_has_it(tmp_path):
    first = DataDirLock(tmp_path)
    with pytest.raises(ConfigError) as caught:
        DataDirLock(tmp_path)
    assert caught.value.code == "already_running"
    assert str(os.getpid()) in caught.value.message
    first.release()
    DataDirLock(tmp_path).release()


def test_who_waits_for_a_lock_in_vain_is_told_which_process_has_it(tmp_path):
    with locked(tmp_path / "lock"), pytest.raises(StoreError) as caught, locked(tmp_path / "lock", timeout_ms=0):
        pass
    assert caught.value.code == "secret_unavailable"
    assert f"process {os.getpid()} holds it" in caught.value.message


@pytest.mark.parametrize(
    ("said", "written", "expected"),
    [
        ("1: FLOCK  ADVISORY  WRITE 4711 {file} 0 EOF", b"", "process 4711"),
        ("1: POSIX  ADVISORY  WRITE 4711 {file} 0 EOF", b"", "another process"),
        ("1: FLOCK  ADVISORY  WRITE 4711 00:00:1 0 EOF", b"23\n", "process 23"),
        ("1: FLOCK  ADVISORY  WRITE 0 {file} 0 EOF", b"", "another process"),
        ("1: FLOCK", b"", "another process"),
        ("", b"nobody\n", "another process"),
        (None, b"23\n", "another process"),
    ],
    ids=["flock", "a lock of another kind", "not there", "of another namespace", "cut", "no number", "no such file"],
)
def test_the_holder_of_a_lock_is_named_where_it_can_be_known(tmp_path, monkeypatch, said, written, expected):
    (tmp_path / "lock").write_bytes(written)
    monkeypatch.setattr(locks, "_LOCKS", tmp_path / "locks")
    with (tmp_path / "lock").open("rb") as lock:
        found = os.fstat(lock.fileno())
        file = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        if said is not None:
            (tmp_path / "locks").write_text(said.format(file=file))
        assert locks.holder_of(lock.fileno()) == expected


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOLCK])
def test_a_disk_that_takes_no_lock_is_a_fault_of_the_store(tmp_path, monkeypatch, code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(locks.fcntl, "flock", fail)
    with pytest.raises(StoreError) as caught, locked(tmp_path / "lock"):
        pass
    assert caught.value.code == "secret_unavailable"
    with pytest.raises(StoreError, match="cannot lock"):
        DataDirLock(tmp_path)


def test_the_lock_of_a_killed_daemon_is_free(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from briefcase.adapters.disk.data_dir import DataDirLock\n"
        "lock = DataDirLock(Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    DataDirLock(tmp_path).release()


def test_a_lock_file_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "briefcased.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="got a symbolic link"):
        DataDirLock(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


# --- the token files --------------------------------------------------------------------------------------------


def test_a_token_is_made_once_and_stays(tmp_path, umask):
    token = load_or_create_token(tmp_path / "auth_token", FakeEntropy())
    assert mode_of(tmp_path / "auth_token") == 0o600
    assert load_or_create_token(tmp_path / "auth_token", FakeEntropy()) == token == load_token(tmp_path / "auth_token")


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"short", b"x" * 31, b"x" * 513, b"x" * 40 + b" ", b"x" * 40 + b"\n\n", b"\xff" * 40, b"a b" * 20],
)
def test_a_file_without_exactly_one_token_is_refused_and_not_replaced(tmp_path, content):
    path = tmp_path / "auth_token"
    files.write_private(path, content)
    with pytest.raises(ConfigError):
        load_or_create_token(path, FakeEntropy())
    assert path.read_bytes() == content


def test_a_token_file_that_is_a_link_is_refused_even_when_it_dangles(tmp_path):
    (tmp_path / "auth_token").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="got a symbolic link"):
        load_or_create_token(tmp_path / "auth_token", FakeEntropy())
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("failing", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_a_disk_that_does_not_open_a_file_is_a_fault_of_the_store_and_not_of_the_configuration(
    tmp_path, monkeypatch, failing
):
    def fail(*_):
        raise OSError(failing, os.strerror(failing))

    monkeypatch.setattr(files.os, "open", fail)
    with pytest.raises(StoreError, match=f"cannot open `{tmp_path}/lock`: "):
        files.open_private(tmp_path / "lock")
