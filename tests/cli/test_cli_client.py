"""Where the client looks for the daemon, which token it sends, and what it makes of every kind of answer."""

import os
import socket
import tempfile
import threading
from pathlib import Path

import pytest

from briefcase.core.wire.secrets import SecretName
from briefcase.core.wire.tools import ToolList
from briefcase.edges.cli.client import Address, Client, address_of, parse_server_timing, path_of, token_of
from briefcase.edges.client.expected import ExpectedDaemon
from briefcase.model.errors import BriefcaseError, CallerError, ConfigError
from support.cli import TOKEN, FakeRoot, run
from support.full_queue import ConnectedError, full_queue, needs_a_queue

DEFAULT = Path("/data/briefcased.sock")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Address("/data/briefcased.sock")),
        ({"BRIEFCASE_DAEMON_UNIX_SOCKET": "/x.sock"}, Address("/x.sock")),
        ({"BRIEFCASE_DAEMON_BASE_URL": "http://127.0.0.1:7777"}, Address(host="127.0.0.1", port=7777)),
        ({"BRIEFCASE_DAEMON_BASE_URL": "http://localhost:7777/"}, Address(host="127.0.0.1", port=7777)),
        ({"BRIEFCASE_DAEMON_BASE_URL": "http://[::1]:7777"}, Address(host="::1", port=7777)),
        (
            {"BRIEFCASE_DAEMON_UNIX_SOCKET": "/x.sock", "BRIEFCASE_DAEMON_BASE_URL": "http://127.0.0.1:1"},
            Address("/x.sock"),
        ),
    ],
)
def test_the_daemon_is_where_the_environment_says(environ, expected):
    assert address_of(environ, lambda: DEFAULT) == expected


@pytest.mark.parametrize(
    "base_url",
    [
        "http://example.com:7777",  # the token would cross a network in clear text
        "http://127.0.0.1.example.com:7777",
        "http://10.0.0.1:7777",
        "https://127.0.0.1:7777",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:x",
        "http://user@127.0.0.1:7777",
        "http://127.0.0.1:7777/v1",
        "http://127.0.0.1:7777?x=1",
        "http://example.com@127.0.0.1:1",
        "127.0.0.1:7777",
        "unix:/x.sock",
    ],
)
def test_a_base_url_that_is_not_plain_loopback_http_is_refused_by_name(base_url):
    with pytest.raises(ConfigError, match="BRIEFCASE_DAEMON_BASE_URL"):
        address_of({"BRIEFCASE_DAEMON_BASE_URL": base_url}, lambda: DEFAULT)


def test_a_named_pipe_is_refused_where_there_are_none():
    with pytest.raises(ConfigError, match="BRIEFCASE_DAEMON_NAMED_PIPE"):
        address_of({"BRIEFCASE_DAEMON_NAMED_PIPE": r"\\.\pipe\x"}, lambda: DEFAULT)


def test_the_named_token_comes_before_the_file(daemon):
    assert token_of({"BRIEFCASE_AUTH_TOKEN": "bca_x"}, lambda: daemon.data_dir) == "bca_x"
    assert token_of({}, lambda: daemon.data_dir) == TOKEN


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "x\r\nHost: y", "café"])
def test_a_token_that_could_break_a_header_is_refused(token):
    with pytest.raises(ConfigError, match="BRIEFCASE_AUTH_TOKEN") as caught:
        token_of({"BRIEFCASE_AUTH_TOKEN": token}, lambda: Path("/nowhere"))
    assert token not in caught.value.message


def test_a_token_file_open_to_others_is_refused(run, daemon):
    (daemon.data_dir / "auth_token").chmod(0o644)
    ran = run("identity", "show", "--json")
    assert (ran.code, ran.error["code"]) == (9, "insecure_host")
    assert daemon.seen == []


def test_a_missing_token_file_is_told_apart_from_a_missing_daemon(run, daemon):
    (daemon.data_dir / "auth_token").unlink()
    ran = run("tools", "list", "--json")
    assert (ran.code, ran.error["code"]) == (6, "unauthorized")


def test_no_daemon_says_how_to_start_one(tmp_path):
    ran = run(FakeRoot(tmp_path), "tools", "list")
    assert ran.code == 5
    assert ran.err == (
        f"error: no daemon answers at `{tmp_path}/briefcased.sock`\nhint: start it with `briefcase up`\n"
    )
    assert ran.out == ""


def test_a_stale_socket_is_no_daemon(tmp_path):
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "briefcased.sock"))
    left.close()
    assert run(FakeRoot(tmp_path), "tools", "list").code == 5


def test_a_socket_path_longer_than_the_system_takes_is_no_crash(tmp_path):
    ran = run(FakeRoot(tmp_path), "tools", "list", "--json", BRIEFCASE_DAEMON_UNIX_SOCKET="/tmp/" + "x" * 200)
    assert (ran.code, ran.error["code"]) == (5, "daemon_unreachable")


def test_tcp_is_used_where_the_base_url_says_so(run, daemon):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer_once():
            connection, _ = listener.accept()
            with connection:
                request = connection.recv(65_536)
                assert f"Host: 127.0.0.1:{port}\r\n".encode() in request
                connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"tools":[]}')

        thread = threading.Thread(target=answer_once)
        thread.start()
        url = f"http://127.0.0.1:{port}"
        ran = run("tools", "list", "--json", BRIEFCASE_DAEMON_BASE_URL=url, BRIEFCASE_AUTH_TOKEN=TOKEN)
        thread.join()
    assert ran.json == {"tools": []}
    assert ran.err.startswith("briefcase: warning: nothing here tells which daemon to expect")


def listener_that_says(path: Path, data: bytes):
    """Answer one connection with some bytes and close it."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def answer_once():
        connection, _ = listener.accept()
        with connection, listener:
            connection.recv(65_536)
            connection.sendall(data)

    thread = threading.Thread(target=answer_once)
    thread.start()
    return thread


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
    ],
)
def test_what_is_no_daemon_or_dies_is_unreachable_and_never_a_traceback(daemon, tmp_path, answer):
    path = daemon.data_dir / "other.sock"
    thread = listener_that_says(path, answer)
    ran = run(FakeRoot(daemon.data_dir), "tools", "list", "--json", BRIEFCASE_DAEMON_UNIX_SOCKET=str(path))
    thread.join()
    assert (ran.code, ran.error["code"]) == (5, "daemon_unreachable")


def test_a_call_whose_answer_was_lost_says_that_it_may_have_run(daemon):
    path = daemon.data_dir / "other.sock"
    thread = listener_that_says(path, b"")
    ran = run(FakeRoot(daemon.data_dir), "tools", "call", "note_add", BRIEFCASE_DAEMON_UNIX_SOCKET=str(path))
    thread.join()
    assert ran.code == 5
    assert "may have been done" in ran.err


def test_an_answer_that_does_not_come_is_a_timeout(daemon, monkeypatch):
    release = threading.Event()
    daemon.answers["POST", "/v1/tools/call"] = lambda: (release.wait(10), {"status": "ok"})[1]
    monkeypatch.setattr("briefcase.edges.cli.tools.CALL_TIMEOUT_S", 0.05)
    ran = run(FakeRoot(daemon.data_dir), "tools", "call", "echo", "--json")
    release.set()
    assert (ran.code, ran.error["code"]) == (5, "request_timeout")
    assert "may have been done" in ran.error["hint"]


@pytest.mark.parametrize("hangs", [True, False])
def test_a_daemon_that_hangs_is_named_while_it_is_waited_for_and_one_that_is_only_slow_is_not(
    run, daemon, monkeypatch, hangs
):
    release, notes = threading.Event(), []

    def noted(text):
        notes.append(text)
        release.set()

    def health():
        release.wait(10) if hangs else release.set()
        return {"status": "ok"}

    daemon.answers["GET", "/health"] = health
    daemon.answers["GET", "/v1/tools"] = lambda: (release.wait(10), {"tools": []})[1]
    monkeypatch.setattr("briefcase.edges.cli.client.SILENT_AFTER_S", 0.0)
    monkeypatch.setattr("briefcase.edges.cli.client.PROBE_S", 0.05 if hangs else 10.0)
    monkeypatch.setattr("briefcase.edges.cli.client.note", noted)
    assert run("tools", "list").code == 0
    socket_path = daemon.socket_path
    named = [f"the daemon at `{socket_path}` takes connections, and does not answer; waiting for it, up to 30 s"]
    assert notes == (named if hangs else [])


@pytest.mark.parametrize(
    "words",
    [
        ("tighten", "disable", "--tool", "\udcff"),
        ("receipts", "list", "--kind", "\udcff"),
        ("receipts", "archive", "--keep", "99999999999999999999"),
        ("backup", "create", "--out", "\udcff"),
    ],
)
def test_what_json_can_not_hold_is_refused_and_not_sent(run, daemon, words):
    ran = run(*words, "--json")
    assert (ran.code, ran.error["code"]) == (2, "bad_request")
    assert daemon.seen == []


def test_what_json_can_not_hold_is_not_shown_either(daemon):
    expected = ExpectedDaemon(frozenset({os.geteuid()}))
    client = Client(Address(str(daemon.socket_path)), lambda: expected, lambda: TOKEN, timeout_s=1)
    with pytest.raises(CallerError) as caught:
        client.put("/v1/secrets/crm", SecretName, {"value": "canary-\udcff"})
    assert "canary" not in f"{caught.value.message}{caught.value.hint}{caught.value.detail}"


def test_a_path_part_can_name_nothing_but_itself():
    assert path_of("v1", "agents", "../operator?x#y/ü") == "/v1/agents/..%2Foperator%3Fx%23y%2F%C3%BC"


def test_the_phases_of_server_timing_keep_their_order():
    assert parse_server_timing("parse;dur=0.012, policy;dur=0.300, intent;dur=1.5") == (
        ("parse", 12),
        ("policy", 300),
        ("intent", 1_500),
    )
    assert parse_server_timing("") == ()


@needs_a_queue
def test_a_command_comes_again_where_the_sockets_queue_is_full_and_says_so_in_the_end(monkeypatch):
    def connected():
        raise ConnectedError

    with tempfile.TemporaryDirectory(prefix="bc-") as directory, full_queue(f"{directory}/d.sock") as listener:
        client = Client(Address(socket_path=f"{directory}/d.sock"), connected, lambda: "t", timeout_s=1)
        monkeypatch.setattr("briefcase.edges.cli.client.time.sleep", lambda _: listener.accept()[0].close())
        with pytest.raises(ConnectedError):
            client.get("/v1/tools", ToolList)

        monkeypatch.setattr("briefcase.edges.cli.client.CONNECT_TIMEOUT_S", 0.0)
        with pytest.raises(BriefcaseError, match="more connections wait than the daemon takes"):
            client.get("/v1/tools", ToolList)
