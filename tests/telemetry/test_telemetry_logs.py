"""Log lines: one JSON object each, with their ids, tracebacks without values, and the same over OTLP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import structlog

from support.clock import FakeClock
from support.daemons import RunningDaemon, UnixConnection
from support.otlp_receiver import OtlpReceiver, attributes_of
from support.waiting import wait_until

PROGRAM = """
import asyncio, sys, structlog
from briefcase.adapters.telemetry.logs import configure_logs
from briefcase.adapters.telemetry.settings import load_otel_settings
exporting = None
settings = load_otel_settings(__import__("os").environ)
if settings:
    from briefcase.adapters.telemetry.otel import Exporting
    exporting = Exporting(settings)
configure_logs(export=exporting and exporting.send_log)
log = structlog.get_logger("test")

def fail(argument):
    local = "cnry-local-" + argument
    raise ValueError("it broke")

structlog.contextvars.bind_contextvars(request_id="r-1", call_id="c-1")
try:
    fail("cnry-argument")
except ValueError as error:
    log.error("request failed", code="internal", exc_info=error)
log.debug("too quiet to show")
if exporting:
    asyncio.run(exporting.close())
"""


def run(**environment: str) -> list[dict]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_a_line_is_one_json_object_with_its_ids_and_a_traceback_without_values():
    [line] = run()
    assert {name: line[name] for name in ("event", "level", "code", "request_id", "call_id")} == {
        "event": "request failed",
        "level": "error",
        "code": "internal",
        "request_id": "r-1",
        "call_id": "c-1",
    }
    assert line["timestamp"].endswith("Z")
    [exception] = line["exception"]
    assert (exception["exc_type"], exception["exc_value"]) == ("ValueError", "it broke")
    assert [frame["name"] for frame in exception["frames"]] == ["<module>", "fail"]
    assert "cnry" not in json.dumps(line)


def test_the_same_line_goes_out_over_otlp():
    with OtlpReceiver() as receiver:
        run(**receiver.environment)
        [record] = receiver.logs
    assert (record.body.string_value, record.severity_text) == ("request failed", "error")
    shown = attributes_of(record)
    assert (shown["request_id"], shown["call_id"], shown["code"]) == ("r-1", "c-1", "internal")
    assert b"it broke" in receiver.raw
    assert b"cnry" not in receiver.raw


def test_the_search_above_would_find_what_structlog_shows_by_default():
    def fail():
        local = f"cnry-{FakeClock().wall_us}"
        raise ValueError(len(local))

    shows_all = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=True))
    try:
        fail()
    except ValueError as error:
        rendered = shows_all(None, "error", {"exc_info": error})
    assert "cnry" in json.dumps(rendered)


# --- a log that nobody reads ------------------------------------------------------------------------------------------

FULL = "/dev/full"
LOGS_AND_GOES_ON = (
    PROGRAM
    + """
for _ in range(3):
    log.error("request failed", text="x" * 100_000)
print("went on")
"""
)


@pytest.mark.skipif(not os.path.exists(FULL), reason="needs /dev/full")  # noqa: PTH110 - a constant
def test_a_line_that_can_not_be_written_is_lost_and_nothing_else_is():
    read, write = os.pipe()
    os.close(read)
    for stderr in (os.open(FULL, os.O_WRONLY), write):
        done = subprocess.run(
            [sys.executable, "-c", LOGS_AND_GOES_ON], stdout=subprocess.PIPE, stderr=stderr, text=True, check=False
        )
        os.close(stderr)
        assert done.stdout == "went on\n"


def fill(descriptor) -> int:
    """Fill a pipe through a description that does not block; gives how much it took."""
    taken = 0
    with suppress(BlockingIOError):
        while True:
            taken += os.write(descriptor, b"." * 4_096)
    return taken


def emptied(descriptor) -> bytes:
    data = b""
    with suppress(BlockingIOError):
        while piece := os.read(descriptor, 1 << 16):
            data += piece
    return data


def test_a_daemon_whose_full_log_nobody_reads_answers_every_call_and_says_later_what_was_lost(tmp_path):
    fifo = tmp_path / "stderr"
    os.mkfifo(fifo)
    end = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    fill(end)
    daemon = RunningDaemon(tmp_path / "data", wrapper=("sh", "-c", f'exec "$@" 2>{fifo}', "sh"))
    daemon.command = [sys.executable, FAILING]
    try:
        with daemon:
            for _ in range(2_000):
                assert daemon.call("echo", {"text": "x"})["status"] == "error"
                if lost_of(daemon):
                    break
            lost = lost_of(daemon)
            assert lost >= 1
            text = emptied(end)

            def said_what_was_lost() -> bool:
                nonlocal text
                text += emptied(end)
                return b'"log lines were lost"' in text

            wait_until(said_what_was_lost)
            *before, said = [json.loads(line) for line in text.lstrip(b".").splitlines()[1:]]
            assert {line["event"] for line in before} - {"starting", "ready"} == {"the tool failed inside"}
            assert (said["event"], said["level"], said["lost_since_start"]) == ("log lines were lost", "warning", lost)
            fill(end)
            daemon.call("echo", {"text": "x"})
            assert daemon.stop() == 0
    finally:
        os.close(end)


def lost_of(daemon) -> int:
    connection = UnixConnection(daemon.socket_path)
    connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {daemon.operator_token}"})
    text = connection.getresponse().read().decode()
    connection.close()
    [line] = [line for line in text.splitlines() if line.startswith("briefcase_log_lines_lost_total ")]
    return int(float(line.split()[1]))


LAST_LINES = (
    PROGRAM
    + """
for number in range(200):
    log.error("line", number=number)
print("by a print", file=sys.stderr)
__import__("logging").getLogger("asyncio").error("by the event loop")
sys.stderr.write("begun")
print("the end", flush=True)
__import__("os").close(1)
raise RuntimeError("the end")
"""
)


def test_the_last_lines_of_a_process_reach_a_slow_reader_in_their_order():
    read, write = os.pipe()
    fill_copy = os.open(f"/proc/self/fd/{write}", os.O_WRONLY | os.O_NONBLOCK)
    fill(fill_copy)
    patient = f"import briefcase.adapters.telemetry.logs as logs\nlogs.LAST_LINES_S = 120\n{LAST_LINES}"
    with subprocess.Popen([sys.executable, "-c", patient], stdout=subprocess.PIPE, stderr=write) as process:
        os.close(write)
        os.close(fill_copy)
        assert process.stdout.read() == b"the end\n"  # from here on it waits for us
        with os.fdopen(read, "rb") as reader:
            text = reader.read().lstrip(b".").decode()
    assert process.returncode == 1
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["number"] for line in lines if "number" in line] == list(range(200))
    said = [line["event"] for line in lines]
    at = said.index("by a print")
    assert said[at + 1] == "by the event loop"
    assert said[at + 2].startswith("begun")
    assert said[-1] == "RuntimeError: the end"


def test_a_line_that_was_only_begun_is_written_at_the_end():
    done = subprocess.run(
        [sys.executable, "-c", f'{PROGRAM}\nsys.stderr.write("begun")'], capture_output=True, check=True
    )
    assert json.loads(done.stderr.splitlines()[-1])["event"] == "begun"


def test_a_process_whose_full_log_nobody_reads_ends():
    read, write = os.pipe()
    fill_copy = os.open(f"/proc/self/fd/{write}", os.O_WRONLY | os.O_NONBLOCK)
    fill(fill_copy)
    done = subprocess.run(
        [sys.executable, "-c", LAST_LINES], stdout=subprocess.PIPE, stderr=write, timeout=120, check=False
    )
    for descriptor in (read, write, fill_copy):
        os.close(descriptor)
    assert done.returncode == 1


def test_a_process_without_standard_error_writes_to_nothing_that_took_its_number(tmp_path):
    other = tmp_path / "other"
    program = f"import os; other = os.open({str(other)!r}, os.O_CREAT | os.O_WRONLY); assert other == 2\n{PROGRAM}"
    done = subprocess.run(["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-c", program], check=False)
    assert (done.returncode, other.read_bytes()) == (0, b"")


# --- lines of a call --------------------------------------------------------------------------------------------------

FAILING = str(Path(__file__).parent / "failing_daemon.py")
SECRET = "cnry-2f1c9a-secret-of-the-vault"
REQUEST_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"


@contextmanager
def failing(tmp_path, *options):
    daemon = RunningDaemon(tmp_path / "data")
    daemon.command = [sys.executable, FAILING, *options]
    with daemon:
        yield daemon


def lines_of(daemon) -> list[dict]:
    """What went wrong, as its log says it; every line of which is an object."""
    return [line for line in map(json.loads, daemon.logged().splitlines()) if line["level"] == "error"]


def test_a_fault_inside_a_tool_is_logged_with_the_calls_ids_and_without_the_vaults_secrets(tmp_path):
    with failing(tmp_path) as daemon:
        assert daemon.request("PUT", "/v1/secrets/desk", {"value": SECRET})[0] == 200
        answer = daemon.call("echo", {"text": f"with {SECRET}"}, request_id=REQUEST_ID)
        assert answer == {"status": "error", "message": "internal: the tool failed inside"}
        daemon.call("echo", {"text": "another"})
        receipts = daemon.request("GET", "/v1/receipts?kind=intent&order=oldest")[1]["receipts"]
        first, second = lines_of(daemon)
        logged = daemon.logged()
    assert (first["event"], first["level"], first["tool_id"]) == ("the tool failed inside", "error", "echo")
    assert (first["call_id"], first["call_request_id"]) == (receipts[0]["event"]["call_id"], REQUEST_ID)
    assert second["call_id"] == receipts[1]["event"]["call_id"]
    assert "RuntimeError" in first["detail"]
    assert "[redacted]" in first["detail"]
    assert first["frames"][-1].endswith(" fail")
    assert SECRET not in logged


def test_a_fault_of_the_ledger_is_logged_with_both_ids_and_the_answer_names_the_one(tmp_path):
    with failing(tmp_path, "close") as daemon:
        call = {"tool_id": "echo", "args": {"text": "x"}, "context": {"request_id": REQUEST_ID}}
        status, answer = daemon.request("POST", "/v1/tools/call", {"call": call})
        assert (status, answer["code"]) == (503, "receipts_unavailable")
        [receipt] = daemon.request("GET", "/v1/receipts?kind=intent")[1]["receipts"]
        [line] = lines_of(daemon)
    assert (line["request_id"], line["call_request_id"]) == (answer["request_id"], REQUEST_ID)
    assert (line["call_id"], line["detail"]) == (receipt["event"]["call_id"], "EIO")


def test_a_request_after_a_call_on_the_same_connection_has_none_of_its_ids(tmp_path):
    with failing(tmp_path) as daemon:
        connection = UnixConnection(daemon.socket_path)
        headers = {"Authorization": f"Bearer {daemon.operator_token}"}
        call = {"tool_id": "echo", "args": {"text": "x"}, "context": {"request_id": REQUEST_ID}}
        out = {"out_dir": str(tmp_path / "out")}
        asked = []
        for path, body in (("/v1/tools/call", {"call": call}), ("/v1/backups", out)):
            if path == "/v1/backups":  # its copy fails: a fault of the daemon's own
                (daemon.data_dir / "vault.json").chmod(0o644)
            connection.request("POST", path, json.dumps(body), headers)
            response = connection.getresponse()
            asked.append((response.status, json.loads(response.read())))
        connection.close()
        of_call, of_backup = lines_of(daemon)
    assert of_call["call_request_id"] == REQUEST_ID
    assert asked[1][0] >= 500
    assert of_backup["request_id"] == asked[1][1]["request_id"]
    assert {"call_id", "call_request_id"}.isdisjoint(of_backup)
