"""Whatever is logged, traced or counted passes the outlet, whoever says it."""

import json
import os

import pytest

from briefcase.adapters.telemetry.logs import StandardError
from briefcase.adapters.telemetry.otlp_trace import encode_trace
from briefcase.adapters.telemetry.outlet import OUTLET
from briefcase.adapters.telemetry.tracing import Trace
from briefcase.core.redaction.redactor import SecretRedactor
from support.redaction import KnownSecrets

SECRET = "tk-live-4f9a1c77d0e84b6e"


@pytest.fixture
def outlet(monkeypatch):
    monkeypatch.setattr(OUTLET, "redactor", SecretRedactor(KnownSecrets(SECRET.encode())))
    return OUTLET


@pytest.mark.usefixtures("outlet")
def test_a_print_of_a_secret_reaches_standard_error_without_it(tmp_path):
    with (tmp_path / "log").open("wb+") as file:
        stream = StandardError(file.fileno())
        stream.write(f"warning: sent {SECRET}\nand {SECRET.encode().hex()}")
        stream.end()
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        lines = [json.loads(line) for line in file.read().splitlines()]
        assert [line["event"] for line in lines] == ["warning: sent [redacted]", "and [redacted]"]


def test_a_record_a_span_and_a_label_leave_without_a_secret(outlet):
    said = {"event": "lost", "problem": f"401 for {SECRET}", "exception": [{"exc_value": SECRET, SECRET: 1}]}
    assert outlet.record(None, "error", said) == {
        "event": "lost",
        "problem": "401 for [redacted]",
        "exception": [{"exc_value": "[redacted]", "[redacted]": 1}],
    }
    assert outlet.labels([("tool", SECRET)]) == {"tool": "[redacted]"}
    trace = Trace(None)
    trace.finish("http.request", {"briefcase.reason": SECRET}, is_error=True)
    assert SECRET.encode() not in encode_trace(trace)


def test_without_a_redactor_the_same_texts_hold_it(monkeypatch):
    monkeypatch.setattr(OUTLET, "redactor", None)
    assert OUTLET.text(SECRET) == SECRET
    assert OUTLET.record(None, "error", {"event": SECRET}) == {"event": SECRET}
