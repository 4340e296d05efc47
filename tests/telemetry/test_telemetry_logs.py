"""Log lines: one JSON object each, with their ids, tracebacks without values, and the same over OTLP."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import structlog
from fakes import FakeClock
from otlp_receiver import OtlpReceiver, attributes_of

PROGRAM = """
import asyncio, sys, structlog
from briefcase.telemetry.logs import configure_logs
from briefcase.telemetry.settings import load_otel_settings
exporting = None
settings = load_otel_settings(__import__("os").environ)
if settings:
    from briefcase.telemetry.otel import Exporting
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


FULL = "/dev/full"
LOGS_AND_GOES_ON = PROGRAM + """
for _ in range(3):
    log.error("request failed", text="x" * 100_000)
print("went on")
"""


@pytest.mark.skipif(not os.path.exists(FULL), reason="needs /dev/full")  # noqa: PTH110 - a constant
def test_a_line_that_can_not_be_written_is_lost_and_nothing_else_is():
    read, write = os.pipe()
    os.close(read)
    for stderr in (os.open(FULL, os.O_WRONLY), write):
        done = subprocess.run([sys.executable, "-c", LOGS_AND_GOES_ON], stdout=subprocess.PIPE, stderr=stderr, text=True)
        os.close(stderr)
        assert done.stdout == "went on\n"
