"""A server tells its service manager that it is ready, alive and stopping, and the units are such as one takes."""

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from briefcase.adapters.service_manager import managed, tell, watchdog_s
from support.daemons import RunningDaemon

DEPLOY = Path(__file__).parent.parent / "docs" / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
MOST_EXPOSED = {
    "briefcased.service": 2.5,
    "briefcase-gateway.service": 1.5,
    "briefcase-control-plane.service": 1.5,
    "briefcase-notifier.service": 2.0,
}


@pytest.fixture
def manager(tmp_path_factory):
    """A service manager's socket; what it was told is read from it."""
    path = tmp_path_factory.mktemp("n") / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        listening.settimeout(20)
        yield str(path), listening


def test_a_daemon_says_that_it_is_ready_then_that_it_lives_and_that_it_stops(manager, tmp_path):
    path, told = manager
    with RunningDaemon(tmp_path / "data", NOTIFY_SOCKET=path, WATCHDOG_USEC="40000") as daemon:
        assert told.recv(99) == b"READY=1"
        assert [told.recv(99) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        assert daemon.call("echo", {"text": "served by then"})["status"] == "ok"
        daemon.stop()
    told.settimeout(0.01)
    last = b""
    while last != b"STOPPING=1":
        last = told.recv(99)
    with pytest.raises(TimeoutError):
        told.recv(99)


async def test_where_nobody_asked_nobody_is_told(manager):
    _, told = manager
    async with managed({}):
        await asyncio.sleep(0)
    told.settimeout(0.01)
    with pytest.raises(TimeoutError):
        told.recv(99)


async def test_without_a_watchdog_only_the_start_and_the_stop_are_told(manager):
    path, told = manager
    async with managed({"NOTIFY_SOCKET": path}):
        await asyncio.sleep(0.01)
    assert [told.recv(99), told.recv(99)] == [b"READY=1", b"STOPPING=1"]


async def test_a_loop_that_is_held_gives_no_sign_of_life(manager):
    path, told = manager
    async with managed({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "2000"}):
        await asyncio.sleep(0.01)
        told.settimeout(0)
        assert len(list(read_all(told))) > 1
        held = asyncio.get_running_loop().time() + 0.02
        while asyncio.get_running_loop().time() < held:
            pass
        assert list(read_all(told)) == []


def read_all(told):
    """All that a socket which does not wait has."""
    while True:
        try:
            yield told.recv(99)
        except BlockingIOError:
            return


@pytest.mark.parametrize("address", ["/nowhere/at/all", "@nobody-listens-here", "", "x" * 500])
def test_a_manager_that_does_not_listen_stops_nobody(address):
    tell(address, "READY=1")


def test_an_abstract_name_begins_with_an_at_sign():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0briefcase-{os.getpid()}")
        tell(f"@briefcase-{os.getpid()}", "READY=1")
        assert listening.recv(99) == b"READY=1"


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_the_one_this_process_was_asked_for(environ, seconds):
    assert watchdog_s(environ) == seconds


@pytest.fixture
def analyze():
    """`systemd-analyze`, which needs no running systemd for this."""
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not installed (Debian: apt-get install systemd)")
    return found


def as_installed(unit, directory):
    """A unit whose program and files are there, to be read without an installation."""
    text = unit.read_text().replace("/opt/briefcase/bin/briefcase", sys.executable).replace("WorkingDirectory=", "#")
    path = directory / unit.name
    path.write_text(text)
    return path


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_is_read_without_a_complaint(unit, analyze, tmp_path):
    path = as_installed(unit, tmp_path)
    done = subprocess.run([analyze, "verify", "--man=no", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_is_exposed_no_more_than_is_said(unit, analyze, tmp_path):
    path = as_installed(unit, tmp_path)
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", path], capture_output=True, text=True, check=False
    )
    (score,) = re.findall(r"Overall exposure level for .*: ([0-9.]+)", done.stdout)
    assert float(score) <= MOST_EXPOSED[unit.name], done.stdout


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_each_unit_waits_for_ready_and_is_watched(unit):
    text = unit.read_text()
    assert "Type=notify" in text
    assert "WatchdogSec=" in text
