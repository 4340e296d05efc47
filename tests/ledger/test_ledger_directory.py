"""Who may see the ledger's files, and that one process has them."""

import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from briefcase.adapters.ledger import Ledger
from briefcase.model.errors import ConfigError, StoreError
from support.clock import FakeClock
from support.ledger_cases import SMALL, audit, audited, committed, note

HOLDER = """
import sys, time
from pathlib import Path
from briefcase.adapters.ledger import Ledger, LedgerSettings
from briefcase.adapters.system import SystemClock
ledger = Ledger.open(Path(sys.argv[1]), SystemClock(), LedgerSettings(1 << 26, 0, 4096))
print("open", flush=True)
time.sleep(600)
"""


async def test_everything_is_the_owner_s_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        async with audited(tmp_path / "l") as ledger:
            await committed(ledger, note())
            assert stat.S_IMODE((tmp_path / "l").stat().st_mode) == 0o700
            files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "l").iterdir()}
            assert set(files) == {"data.mdb", "lock.mdb", "ledger.lock", "reserve"}
            assert set(files.values()) == {0o600}
    finally:
        os.umask(before)


def descriptors_below(path):
    links = {int(link.name): str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}
    return [number for number, target in links.items() if target.startswith(str(path))]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to see its own descriptors")
async def test_no_descriptor_is_left_to_a_program_that_is_started(tmp_path):
    async with audited(tmp_path / "l"):
        inside = descriptors_below(tmp_path)
        assert len(inside) >= 4
        assert not any(os.get_inheritable(descriptor) for descriptor in inside)


@pytest.mark.parametrize(
    "name", ["", "data.mdb", "lock.mdb", "ledger.lock", "reserve"], ids=lambda name: name or "the directory"
)
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o677])
async def test_a_file_others_may_see_or_change_is_refused_with_its_path_and_mode(tmp_path, name, mode):
    await audit(tmp_path / "l")
    path = tmp_path / "l" / name
    path.chmod(mode | (0o700 if name == "" else 0))
    with pytest.raises(ConfigError) as refused:
        Ledger.open(tmp_path / "l", FakeClock(), SMALL)
    assert refused.value.code == "insecure_host"
    assert str(path) in refused.value.message
    assert f"{stat.S_IMODE(path.stat().st_mode):04o}" in refused.value.message
    path.chmod(0o700 if name == "" else 0o600)
    await audit(tmp_path / "l")


@pytest.mark.parametrize("name", ["data.mdb", "lock.mdb", "ledger.lock", "reserve"])
async def test_a_link_in_place_of_a_file_is_refused(tmp_path, name):
    await audit(tmp_path / "l")
    (tmp_path / "l" / name).rename(tmp_path / "elsewhere")
    (tmp_path / "l" / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=name):
        Ledger.open(tmp_path / "l", FakeClock(), SMALL)


async def test_a_link_in_place_of_the_directory_is_refused(tmp_path):
    await audit(tmp_path / "l")
    (tmp_path / "link").symlink_to(tmp_path / "l")
    with pytest.raises(ConfigError, match="link"):
        Ledger.open(tmp_path / "link", FakeClock(), SMALL)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory away")
async def test_another_user_s_directory_is_refused(tmp_path):
    await audit(tmp_path / "l")
    os.chown(tmp_path / "l", 12345, 12345)
    with pytest.raises(ConfigError, match="to belong to uid 0, got uid 12345"):
        Ledger.open(tmp_path / "l", FakeClock(), SMALL)


def test_a_directory_that_can_not_be_made_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be made"):
        Ledger.open(tmp_path / "missing" / "l", FakeClock(), SMALL)


@pytest.mark.parametrize("content", [b"not a database", b"x" * 8192], ids=["short", "long"])
def test_a_file_that_is_no_environment_is_refused(tmp_path, content):
    (tmp_path / "l").mkdir(mode=0o700)
    (tmp_path / "l" / "data.mdb").touch(mode=0o600)
    (tmp_path / "l" / "data.mdb").write_bytes(content)
    with pytest.raises(StoreError, match="cannot be opened"):
        Ledger.open(tmp_path / "l", FakeClock(), SMALL)


async def test_a_second_opening_is_refused_in_this_process_too(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        with pytest.raises(ConfigError) as refused:
            Ledger.open(tmp_path / "l", FakeClock(), SMALL)
        assert refused.value.code == "already_running"
        assert f"process {os.getpid()}" in refused.value.message
        await committed(ledger, note())


async def test_a_second_process_is_refused_and_a_killed_one_leaves_no_lock(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "l")], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(ConfigError) as refused:
            Ledger.open(tmp_path / "l", FakeClock(), SMALL)
        assert refused.value.code == "already_running"
        assert str(tmp_path / "l") in refused.value.message
        assert f"process {holder.pid}" in refused.value.message
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    await audit(tmp_path / "l")


def test_a_disk_that_does_not_take_the_lock_s_file_is_the_store_s_fault_and_leaves_nothing_open(tmp_path):
    (tmp_path / "l").mkdir(mode=0o700)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"cannot lock .*: file too large"):
            Ledger.open(tmp_path / "l", FakeClock(), SMALL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert descriptors_below(tmp_path) == []
