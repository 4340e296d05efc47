"""A daemon that takes connections and never answers is named by each command that asks it, within two seconds."""

import itertools
import socket
import threading
import time
from contextlib import contextmanager

import pytest
from test_cli_answers import ASKING, Asks, files  # noqa: F401 - the fixture
from test_cli_tree import TREE

from briefcase.edges.cli import client as daemon_client
from briefcase.edges.cli.app import ANSWER_TIMEOUT_S
from support.cli import TOKEN, FakeRoot
from support.cli import run as run_with

NAMED = "takes connections, and does not answer"
GIVEN_UP = "the daemon did not answer in time"
WITHIN_S = 2.0
ALSO = (
    Asks("diagnostics check", ()),
    Asks("diagnostics soak --duration-secs 1 --interval-ms 100 --tool echo --out {new}", ()),
    Asks("diagnostics bundle --out {new}", ()),
    Asks("slo check --duration-secs 1", ()),
    Asks("approvals watch --json", ()),  # on a terminal it asks likewise, and says so on its screen
)


@contextmanager
def hanging(path):
    """A Unix socket whose connections are taken and never answered."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        taken, ended = [], threading.Event()
        listener.settimeout(0.02)

        def take():
            while not ended.is_set():
                try:
                    taken.append(listener.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            for connection in taken:
                connection.close()


@pytest.fixture
def data_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("d")
    token = directory / "auth_token"
    token.touch(0o600)
    token.write_text(TOKEN)
    return directory


@pytest.fixture
def quickly(monkeypatch):
    """Time passes twenty times as fast for whoever waits for an answer; what is said is said in the same order."""
    monkeypatch.setattr(daemon_client, "SILENT_AFTER_S", 0.05)
    monkeypatch.setattr(daemon_client, "PROBE_S", 0.02)
    connect = daemon_client._Connection.connect

    def connected(connection):
        connect(connection)
        connection.timeout_s = min(connection.timeout_s, 0.3 if connection.timeout_s > daemon_client.SOON_S else 0.2)
        connection.sock.settimeout(connection.timeout_s)

    monkeypatch.setattr(daemon_client._Connection, "connect", connected)
    monkeypatch.setattr(daemon_client, "SOON_S", 0.25)


@pytest.fixture
def leaves(monkeypatch):
    """What asks again and again is left after the second time."""
    asked = itertools.count()

    def leave(_):
        if next(asked):
            raise KeyboardInterrupt

    monkeypatch.setattr("briefcase.edges.cli.watch.time.sleep", leave)


@pytest.mark.usefixtures("quickly", "leaves")
@pytest.mark.parametrize("asks", [*ASKING, *ALSO], ids=lambda asks: asks.words)
def test_every_command_names_a_daemon_that_hangs(tmp_path, data_dir, files, asks):  # noqa: F811
    path = tmp_path / "s"
    with hanging(path):
        words = [word.format(**files) for word in asks.words.split()]
        ran = run_with(FakeRoot(data_dir), *words, stdin=asks.stdin, BRIEFCASE_DAEMON_UNIX_SOCKET=str(path))
    assert ran.code != 0
    assert NAMED in ran.err + ran.out or GIVEN_UP in ran.err + ran.out, ran


def test_that_is_within_two_seconds():
    assert daemon_client.SILENT_AFTER_S + daemon_client.PROBE_S < WITHIN_S
    assert daemon_client.SOON_S < ANSWER_TIMEOUT_S


@pytest.mark.parametrize("timeout_s", [30.0, 5.0], ids=["waits on", "gives up"])
def test_it_is_named_after_the_pause_and_the_probe_and_no_later(tmp_path, data_dir, monkeypatch, timeout_s):
    began_s = time.monotonic()
    said_s = []
    monkeypatch.setattr(daemon_client, "note", lambda text: said_s.append((time.monotonic() - began_s, text)))
    monkeypatch.setattr(daemon_client, "SILENT_AFTER_S", 0.1)
    monkeypatch.setattr(daemon_client, "PROBE_S", 0.05)
    path = tmp_path / "s"
    with hanging(path), daemon_connection(path, timeout_s) as connection:
        if timeout_s > daemon_client.SOON_S:
            daemon_client._name_silence(connection)
            ((_, text),) = said_s
            assert NAMED in text
        else:
            with pytest.raises(TimeoutError):
                daemon_client._name_silence(connection)
            assert said_s == []


@contextmanager
def daemon_connection(path, timeout_s):
    connection = daemon_client._Connection(daemon_client.Address(str(path)), timeout_s)
    connection.connect()
    try:
        yield connection
    finally:
        connection.close()


def test_the_commands_that_are_tried_are_all_that_ask(capsys):
    tried = {words for words in TREE for asks in (*ASKING, *ALSO) if asks.words.startswith(words)}
    assert len(tried) > 60
