"""The log of each server: every line an object, start, stop, refusals, changes; SIGHUP opens it anew, ends nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.commands import command_of
from support.daemons import RunningDaemon, UnixConnection
from support.waiting import BOUND_S, wait_until

SECRET = "cnry-1d77c0-secret-of-the-vault"


def lines_of(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def events_of(text: str) -> list[str]:
    return [line["event"] for line in lines_of(text)]


@contextmanager
def server(tmp_path: Path, *words: str, **variables: str):
    """A server with its log in a file; gives its process and the file."""
    log = tmp_path / "log"
    short = tempfile.TemporaryDirectory(prefix="bc-")  # a socket's path must be short, and pytest's directories are not
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BRIEFCASE_")}
    environ |= {"BRIEFCASE_DATA_DIR": str(Path(short.name) / "data"), "BRIEFCASE_LOG_FILE": str(log), **variables}
    with (
        short,
        subprocess.Popen(
            command_of(*words), env=environ, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process,
    ):
        try:
            yield process, log
        finally:
            process.kill()
            process.stdin.close()


SERVERS = {
    "daemon": (("daemon",), "ready", {"BRIEFCASE_SECRET_BACKEND": "file"}),
    "gateway": (
        ("gateway",),
        "listening",
        {
            "BRIEFCASE_AUTH_TOKEN": "bca_" + "t" * 40,
            "BRIEFCASE_MCP_HTTP_ADDR": "127.0.0.1:0",
            "BRIEFCASE_MCP_NO_STDIO": "1",
        },
    ),
    "provider-gateway": (("provider-gateway", "--port", "0"), "ready", {}),
    "control-plane": (
        ("control-plane", "serve", "--embedded", "--listen", "127.0.0.1:0"),
        "ready",
        {"BRIEFCASE_CONTROL_PLANE_ADMIN_TOKEN": "t" * 43},
    ),
}


@pytest.mark.parametrize("name", SERVERS)
def test_a_hangup_reopens_the_log_and_ends_nothing(name, tmp_path):
    words, served, variables = SERVERS[name]
    with server(tmp_path, *words, **variables) as (process, log):

        def logs(event: str) -> bool:
            assert process.poll() is None, process.stderr.read()
            return log.exists() and event in events_of(log.read_text())

        wait_until(lambda: logs(served), lambda: log.read_text() if log.exists() else "no log")
        rotated = log.rename(tmp_path / "log.1")
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: logs("the log was reopened"), "SIGHUP did not reopen the log")
        assert log.stat().st_mode & 0o777 == 0o600
        process.terminate()
        assert process.wait(BOUND_S) == 0
        assert process.stderr.read() == b""
    first, *_ = lines_of(rotated.read_text())
    assert (first["event"], first["program"]) == ("starting", name)
    assert events_of(log.read_text())[-2:] == ["stopping", "stopped"]


def test_a_log_that_can_not_be_reopened_goes_on_where_it_was(tmp_path):
    directory = tmp_path / "logs"
    directory.mkdir()
    variables = {"BRIEFCASE_LOG_FILE": str(directory / "log")}
    with server(tmp_path, "provider-gateway", "--port", "0", **variables) as (process, _):
        log = directory / "log"
        wait_until(lambda: log.exists() and "ready" in events_of(log.read_text()), "it did not start")
        moved = directory.rename(tmp_path / "elsewhere") / "log"
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: "could not be reopened" in moved.read_text(), "nothing was said")
        process.terminate()
        assert process.wait(BOUND_S) == 0
    assert events_of(moved.read_text())[-1] == "stopped"


def test_a_log_that_can_not_be_opened_stops_the_start_and_names_the_variable(tmp_path):
    with server(tmp_path, "provider-gateway", "--port", "0", BRIEFCASE_LOG_FILE=str(tmp_path)) as (process, _):
        said = process.stderr.read().decode()
        assert process.wait(BOUND_S) == 9
    [line] = lines_of(said)
    assert (line["event"], line["level"]) == ("failed", "error")
    assert "`BRIEFCASE_LOG_FILE`" in line["message"]


def test_a_server_that_can_not_start_says_so_in_its_log_and_to_whoever_started_it(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with server(tmp_path, "provider-gateway", "--port", str(port)) as (process, log):
            said = process.stderr.read().decode()
            assert process.wait(BOUND_S) != 0
    assert events_of(said) == ["failed"]
    assert events_of(log.read_text()) == ["starting", "failed"]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A daemon to which something of each kind happened: its log and the answers."""
    directory = tmp_path_factory.mktemp("told")
    with RunningDaemon(directory / "data") as daemon:
        assert daemon.request("PUT", "/v1/secrets/desk", {"value": SECRET})[0] == 200
        token = daemon.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
        answers = {
            401: daemon.request("GET", "/v1/tools", token="x" * 43),
            403: daemon.request("GET", "/v1/agents", token=token),
            400: daemon.request("POST", "/v1/budgets/read", {"daily_limit_microusd": f"is {SECRET}"}),
        }
        approval = daemon.call("note_add", {"text": "x"}, token=token)["approval"]
        daemon.call("note_add", {"text": "x"}, token=token)  # the same call waits under the same approval
        daemon.request("POST", f"/v1/approvals/{approval['id']}/deny", {"reason": "no"})
        assert daemon.stop() == 0
        log = Path(daemon.log.name).read_text()
    return lines_of(log), answers, approval, log


def test_the_log_of_a_daemon_says_start_and_stop_and_each_line_is_an_object(told):
    lines, *_ = told
    assert [line["event"] for line in lines][:2] == ["starting", "ready"]
    assert [line["event"] for line in lines][-2:] == ["stopping", "stopped"]
    assert lines[-2]["signal"] == "SIGTERM"


@pytest.mark.parametrize(
    ("status", "operation"), [(401, "GET /v1/tools"), (403, "GET /v1/agents"), (400, "POST /v1/budgets/{category}")]
)
def test_a_refusal_is_logged_with_its_requests_id(told, status, operation):
    lines, answers, *_ = told
    assert answers[status][0] == status
    [line] = [line for line in lines if line["event"] == "refused" and line["status"] == status]
    assert line["request_id"] == answers[status][1]["request_id"]
    assert (line["operation"], line["code"]) == (operation, answers[status][1]["code"])
    assert line["asker"] == {401: f"uid {os.geteuid()}", 403: "scout", 400: "operator"}[status]


def test_what_waits_for_a_person_and_what_they_said_is_logged(told):
    lines, _, approval, _ = told
    [asked] = [line for line in lines if line["event"] == "approval required"]
    assert (asked["approval_id"], asked["principal"], asked["tool_id"]) == (approval["id"], "scout", "note_add")
    assert asked["call_request_id"]
    changed = [(line["operation"], line["by"], line.get("id")) for line in lines if line["event"] == "changed"]
    assert ("POST /v1/approvals/{id}/deny", "operator", approval["id"]) in changed
    assert ("PUT /v1/secrets/{name}", "operator", None) in changed


def test_no_secret_is_in_the_log(told):
    assert SECRET not in told[3]


def test_a_flood_of_refusals_does_not_fill_the_disk(tmp_path):
    with RunningDaemon(tmp_path / "data") as daemon:
        connection = UnixConnection(daemon.socket_path)
        for _ in range(1_000):
            connection.request("GET", "/v1/tools", headers={"Authorization": "Bearer " + "x" * 43})
            assert connection.getresponse().read()
        connection.close()
        daemon.stop()
        lines = lines_of(Path(daemon.log.name).read_text())
    refused = [line for line in lines if line["event"] == "refused"]
    counted = [line["count"] for line in lines if line["event"] == "refusals were only counted"]
    assert len(refused) + sum(counted) == 1_000
    assert len(refused) < 100
