"""A start that fails anywhere leaves nothing open, and undoes what it did from the last to the first."""

import asyncio
import tempfile
import threading
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import uvloop
from structlog.testing import capture_logs

from briefcase.adapters.disk.data_dir import DAEMON_DID_FILE, DataDirLock, prepare_data_dir
from briefcase.adapters.vault import os_keyring
from briefcase.adapters.vault.opening import begin_vault
from briefcase.daemon import composition, run
from briefcase.daemon.composition import Foundation, compose
from briefcase.daemon.settings import parse_settings
from briefcase.model.errors import ConfigError


class BrokenError(Exception):
    """What goes wrong on purpose."""


class Stack(AsyncExitStack):
    """Notes what is undone, in order; the registration of one number fails right after it is made."""

    def __init__(self, fails_at=None):
        super().__init__()
        self.fails_at = fails_at
        self.done, self.undone = 0, []

    def callback(self, function, /, *args, **kwargs):
        number = self._next()
        super().callback(function, *args, **kwargs)
        super().callback(self.undone.append, number)
        self._fail(number)

    def push_async_callback(self, function, /, *args, **kwargs):
        number = self._next()
        super().push_async_callback(function, *args, **kwargs)
        super().callback(self.undone.append, number)
        self._fail(number)

    def _next(self):
        self.done += 1
        return self.done

    def _fail(self, number):
        if number == self.fails_at:
            raise BrokenError


def environment(data_dir):
    return {
        "BRIEFCASE_DATA_DIR": str(data_dir),
        "BRIEFCASE_SECRET_BACKEND": "file",
        "BRIEFCASE_TCP_ADDR": "127.0.0.1:0",
    }


def open_here(data_dir):
    """Files, maps and sockets of this process that a daemon on that directory would have."""
    files = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:
            continue
        if target.startswith((str(data_dir), "socket:")):
            files.add(target)
    maps = Path("/proc/self/maps").read_text()
    return files | {line.split()[-1] for line in maps.splitlines() if str(data_dir) in line}


@pytest.fixture
def attempt():
    """Take steps 3 to 6 and undo them; gives the stack, after a look at what is left."""
    with tempfile.TemporaryDirectory(prefix="bc-") as directory:
        data_dir = prepare_data_dir(Path(directory) / "data")
        lock = DataDirLock(data_dir)

        async def whole(stack):
            environ = environment(data_dir)
            opening = begin_vault("file", data_dir, None)
            async with stack:
                await compose(Foundation(parse_settings(environ), environ, data_dir, opening, 0.0), stack)

        def attempt(stack, fault=None):
            before, threads = open_here(data_dir), set(threading.enumerate())
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                if fault is None:
                    runner.run(whole(stack))
                else:
                    with pytest.raises(fault):
                        runner.run(whole(stack))
            for thread in set(threading.enumerate()) - threads:
                thread.join(120)
            assert open_here(data_dir) == before
            assert set(threading.enumerate()) == threads
            assert not (data_dir / "briefcased.sock").exists()
            return stack

        yield attempt
        lock.release()


def test_whatever_was_made_last_is_undone_first_wherever_a_start_fails(attempt):
    whole = attempt(Stack())
    assert whole.done >= 10

    for number in range(1, whole.done + 1):
        stack = attempt(Stack(fails_at=number), BrokenError)
        assert stack.undone == list(range(number, 0, -1))


def test_a_stop_undoes_everything_from_the_last_to_the_first(attempt):
    stack = attempt(Stack())
    assert stack.undone == list(range(stack.done, 0, -1))


@pytest.mark.parametrize(
    "place",
    [
        "composition.load_file",
        "composition.open_stores",
        "stores.load_or_create_token",
        "stores.tie_database",
        "stores.open_places",
        "stores.check_proof_keys",
        "stores.SecretRedactor",
        "stores.Ledger.open",
        "stores.settle_tie",
        "composition.reach_outside",
        "outside.ToolBox",
        "outside.compose_providers",
        "outside.compose_logins",
        "outside.ServerRegistry",
        "composition.compose_rules",
        "rules.PolicyService.open",
        "rules.compose_operator",
        "rules.Calls",
        "rules.Refusals.recover",
        "composition.serve_api",
        "serving.open_unix_listener",
        "serving.open_tcp_listener",
        "serving.check_start",
        "serving.ApprovalChanges",
        "serving.Api",
        "serving.HttpServer",
        "serving.watch",
        "serving.HttpServer.start",
    ],
)
def test_a_step_that_fails_in_the_middle_leaves_nothing_open(attempt, monkeypatch, place):
    def fail(*_args, **_kwargs):
        raise BrokenError

    monkeypatch.setattr(f"briefcase.daemon.{place}", fail)
    stack = attempt(Stack(), BrokenError)

    assert stack.undone == list(range(stack.done, 0, -1))


def start(data_dir, passphrase):
    """Take steps 2 to 6 and undo them; gives who the daemon was."""

    async def whole():
        environ = environment(data_dir)
        opening = begin_vault("auto", data_dir, passphrase)
        async with AsyncExitStack() as stack:
            foundation = Foundation(parse_settings(environ), environ, data_dir, opening, 0.0)
            await compose(foundation, stack)
            return (data_dir / DAEMON_DID_FILE).read_text()

    lock = DataDirLock(data_dir)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(whole())
    finally:
        lock.release()


@pytest.mark.parametrize("place", ["stores.Ledger.open", "outside.ToolBox", "serving.check_start"])
def test_a_start_that_is_refused_leaves_no_vault_that_it_made(monkeypatch, place):
    def refuse(*_args, **_kwargs):
        raise ConfigError("no")

    def refused(data_dir, passphrase):
        with monkeypatch.context() as patched:
            patched.setattr(f"briefcase.daemon.{place}", refuse)
            with pytest.raises(ConfigError, match="no"):
                start(data_dir, passphrase)

    with tempfile.TemporaryDirectory(prefix="bc-") as directory:
        data_dir = prepare_data_dir(Path(directory) / "data")
        refused(data_dir, None)
        made = {path.name for path in data_dir.iterdir()}
        assert made.isdisjoint({"vault.json", "vault.key", "identity_did"})
        did = start(data_dir, b"another key than the first start's")  # nothing of it stands in the way

        refused(data_dir, b"another key than the first start's")
        assert start(data_dir, b"another key than the first start's") == did  # what was there before stays


def test_a_keyring_that_cannot_be_asked_is_warned_of_at_the_start(monkeypatch):
    def fail():
        raise os_keyring.UnansweringError("it raised KeyringLocked")

    monkeypatch.setattr(os_keyring, "find_keyring", fail)
    with tempfile.TemporaryDirectory(prefix="bc-") as directory, capture_logs() as logs:
        start(prepare_data_dir(Path(directory) / "data"), None)
    warned = [entry for entry in logs if entry["log_level"] == "warning" and "keyring" in entry["event"]]
    assert [(entry["event"], entry["used"]) for entry in warned] == [
        ("the OS keyring cannot be asked: it raised KeyringLocked", "encrypted file, key file beside it")
    ]


@pytest.mark.parametrize("fault", [BrokenError, KeyboardInterrupt])
def test_the_directory_is_let_go_of_however_the_daemon_ends(tmp_path, monkeypatch, fault):
    def fail(foundation, on_ready):
        with pytest.raises(ConfigError):  # it is held, while the daemon runs
            DataDirLock(foundation.data_dir)
        assert foundation.opening.result(10).redaction_set() == frozenset()
        raise fault

    monkeypatch.setattr(run, "harden_process", lambda environ: None)
    monkeypatch.setattr(composition, "run", fail)
    with pytest.raises(fault):
        run.serve(environment(tmp_path / "data"))

    DataDirLock(tmp_path / "data").release()
