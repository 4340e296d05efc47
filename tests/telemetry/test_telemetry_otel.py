"""OpenTelemetry against a real receiver, the W3C context in and out, and that it is off unless someone says so."""

from __future__ import annotations

import asyncio
import errno
import json
import subprocess
import sys
import uuid
from collections import Counter
from contextlib import suppress

import pytest

from briefcase.adapters.telemetry.metrics import Metrics, gauge
from briefcase.adapters.telemetry.otel import Exporting
from briefcase.adapters.telemetry.settings import OtelSettings, load_otel_settings
from briefcase.adapters.telemetry.tracing import Parent, Sampling, Trace, parse_traceparent
from briefcase.model.errors import ConfigError
from support.daemons import RunningDaemon, UnixConnection
from support.hostile_servers import RawServer, answering, http_answer
from support.otlp_receiver import OtlpReceiver, attributes_of

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"  # of the examples in W3C Trace Context
SPAN_ID = "00f067aa0ba902b7"


def call(daemon: RunningDaemon, tool_id: str, args: dict, **headers: str) -> dict:
    connection = UnixConnection(daemon.socket_path)
    body = {"call": {"tool_id": tool_id, "args": args, "context": {"request_id": str(uuid.uuid4())}}}
    headers["Authorization"] = f"Bearer {daemon.operator_token}"
    connection.request("POST", "/v1/tools/call", json.dumps(body), headers)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def with_tool(data_dir, upstream: RawServer) -> None:
    (data_dir / "tools").mkdir(parents=True, mode=0o700)
    data_dir.chmod(0o700)
    (data_dir / "briefcase.toml").write_text(f'[net]\nallow_private = ["{upstream.address}"]\n')
    tool = {"id": "desk", "method": "GET", "url": f"{upstream.url}/x", "category": "read"}
    (data_dir / "tools" / "desk.json").write_text(json.dumps({"tools": [tool]}))
    (data_dir / "tools" / "desk.json").chmod(0o600)


# --- against a receiver -----------------------------------------------------------------------------------------------


def test_a_call_becomes_a_trace_from_the_callers_context_to_the_upstreams(tmp_path):
    data_dir = tmp_path / "data"
    with RawServer(answering(http_answer(b'{"a": 1}'))) as upstream, OtlpReceiver() as receiver:
        with_tool(data_dir, upstream)
        with RunningDaemon(data_dir, **receiver.environment) as daemon:
            answer = call(daemon, "desk", {}, traceparent=f"00-{TRACE_ID}-{SPAN_ID}-01", tracestate="a=b")
            assert answer["status"] == "ok", answer
            mine = lambda: [span for span in receiver.spans if span.trace_id.hex() == TRACE_ID]  # noqa: E731
            receiver.wait_for(lambda: len(mine()) >= 6)
            daemon.stop()
    by_name = {span.name: span for span in mine()}
    assert Counter(span.name for span in mine()) == {
        "http.request": 1, "policy.decide": 1, "ledger.commit": 2, "tool.execute": 1, "http.upstream": 1,
    }  # fmt: skip
    request, execute, sent = by_name["http.request"], by_name["tool.execute"], by_name["http.upstream"]
    assert request.parent_span_id.hex() == SPAN_ID
    assert {span.parent_span_id for span in mine() if span not in (request, sent)} == {request.span_id}
    assert sent.parent_span_id == execute.span_id
    assert len({span.span_id for span in mine()}) == 6
    assert attributes_of(request) == {
        "http.response.status_code": 200,
        "http.request.method": "POST",
        "http.route": "/v1/tools/call",
        "briefcase.tool_id": "desk",
        "briefcase.status": "ok",
        "briefcase.receipt_id": answer["result"]["provenance"]["receipt_id"],
    }
    assert attributes_of(sent) == {"http.request.method": "GET", "http.response.status_code": 200}
    for span in mine():
        assert request.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= request.end_time_unix_nano
    [head] = upstream.heads
    assert f"traceparent: 00-{TRACE_ID}-{sent.span_id.hex()}-01\r\n".encode() in head
    assert b"tracestate" not in head


async def test_figures_that_could_not_be_read_once_are_sent_the_next_time(monkeypatch):
    turns = iter(range(1_000))

    def figures():
        if next(turns) == 0:
            raise OSError(errno.EMFILE, "Too many open files")
        return [gauge("n", "text", 1)]

    async def run(receiver):
        exporting = Exporting(OtelSettings(traces=False, logs=False, metrics_interval_ms=10))
        metrics = Metrics()
        metrics.add(figures)
        sending = asyncio.create_task(exporting.send_metrics(metrics))
        await asyncio.to_thread(receiver.wait_for, lambda: receiver.requests)
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending
        await exporting.close()

    with OtlpReceiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        await run(receiver)


def test_the_figures_that_are_sent_are_those_that_prometheus_gets(tmp_path):
    with OtlpReceiver() as receiver, RunningDaemon(tmp_path / "data", **receiver.environment) as daemon:
        for _ in range(3):
            assert call(daemon, "echo", {"text": "hi"})["status"] == "ok"
        call(daemon, "no_such_tool", {})
        daemon.stop()
        metrics = receiver.metrics
        statuses = {
            (attributes_of(point)["status"], attributes_of(point)["reason"] or ""): point.as_double or point.as_int
            for point in metrics["briefcase_calls_total"].sum.data_points
        }
        assert statuses == {("ok", ""): 3, ("denied", "unknown_tool"): 1}
        assert metrics["briefcase_calls_total"].sum.is_monotonic
        [whole] = metrics["briefcase_call_duration_seconds"].histogram.data_points
        assert (whole.count, sum(whole.bucket_counts)) == (4, 4)
        assert len(whole.bucket_counts) == len(whole.explicit_bounds) + 1
        assert metrics["briefcase_ledger_gate_open"].gauge.data_points[0].as_int in (0, 1)


def test_a_caller_does_not_decide_what_is_sampled_and_an_unknown_tool_is_not_named(tmp_path):
    with OtlpReceiver() as receiver:
        quiet = {**receiver.environment, "OTEL_TRACES_SAMPLER": "always_off"}
        with RunningDaemon(tmp_path / "quiet", **quiet) as daemon:
            call(daemon, "echo", {"text": "hi"}, traceparent=f"00-{TRACE_ID}-{SPAN_ID}-01")
            daemon.stop()
        assert receiver.spans == []
        with RunningDaemon(tmp_path / "loud", **receiver.environment) as daemon:
            call(daemon, "sk-live-123", {})
            daemon.stop()
        assert receiver.spans
        assert b"sk-live-123" not in receiver.raw


def test_a_collector_that_is_down_costs_no_call_and_is_said_in_the_log(tmp_path):
    gone = {
        "BRIEFCASE_OTEL": "1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        "OTEL_TRACES_SAMPLER": "always_on",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    with RunningDaemon(tmp_path / "data", **gone) as daemon:
        for _ in range(5):
            assert call(daemon, "echo", {"text": "hi"})["status"] == "ok"
        assert daemon.stop() == 0
        lines = [json.loads(line) for line in daemon.logged().splitlines() if line.startswith("{")]
    assert any(line["event"] == "telemetry is not sent" for line in lines)


def test_switched_off_nothing_of_it_is_even_imported():
    code = (
        "import sys, briefcase.daemon.composition; from briefcase.daemon.settings import parse_settings;"
        "assert parse_settings({'HOME': '/nowhere'}).otel is None;"
        "sys.exit(any(name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- the settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "is_on"),
    [
        ({}, False),
        ({"BRIEFCASE_OTEL": "1"}, True),
        ({"BRIEFCASE_OTEL": "TRUE"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://c:4318/v1/logs"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "BRIEFCASE_OTEL": "0"}, False),
        ({"BRIEFCASE_OTEL": "1", "OTEL_SDK_DISABLED": "true"}, True),
    ],
)
def test_it_is_off_unless_a_variable_says_otherwise(environ, is_on):
    assert (load_otel_settings(environ) is not None) is is_on


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BRIEFCASE_OTEL", "yes"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "soon"),
    ],
)
def test_a_value_that_is_not_known_is_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=f"`{name}`.*{value}"):
        load_otel_settings({"BRIEFCASE_OTEL": "1", name: value})


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        ("", Sampling(0.1, follows_parent=False)),
        ("always_on", Sampling(1.0, follows_parent=False)),
        ("parentbased_always_off", Sampling(0.0, follows_parent=True)),
        ("parentbased_traceidratio", Sampling(0.1, follows_parent=True)),
    ],
)
def test_the_standard_samplers_are_known(sampler, expected):
    assert load_otel_settings({"BRIEFCASE_OTEL": "1", "OTEL_TRACES_SAMPLER": sampler}).sampling == expected


# --- the parts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "parent"),
    [
        (f"00-{TRACE_ID}-{SPAN_ID}-01", Parent(bytes.fromhex(TRACE_ID), bytes.fromhex(SPAN_ID), is_sampled=True)),
        (f"00-{TRACE_ID}-{SPAN_ID}-00", Parent(bytes.fromhex(TRACE_ID), bytes.fromhex(SPAN_ID), is_sampled=False)),
        (f"01-{TRACE_ID}-{SPAN_ID}-03-more", Parent(bytes.fromhex(TRACE_ID), bytes.fromhex(SPAN_ID), is_sampled=True)),
        (f"00-{TRACE_ID}-{SPAN_ID}-01-more", None),
        (f"ff-{TRACE_ID}-{SPAN_ID}-01", None),
        (f"00-{'0' * 32}-{SPAN_ID}-01", None),
        (f"00-{TRACE_ID}-{'0' * 16}-01", None),
        (f"00-{TRACE_ID.upper()}-{SPAN_ID}-01", None),
        (f"00-{TRACE_ID}-{SPAN_ID}", None),
        ("", None),
        ("00-" + "a" * 10_000, None),
    ],
)
def test_a_traceparent_is_read_as_the_specification_says(value, parent):
    assert parse_traceparent(value.encode()) == parent


def test_a_parent_decides_only_where_the_operator_says_so():
    parent = Parent(bytes(16), bytes(8), is_sampled=True)
    assert not Sampling(0.0).takes(parent)
    assert Sampling(0.0, follows_parent=True).takes(parent)
    assert not Sampling(1.0, follows_parent=True).takes(parent._replace(is_sampled=False))
    assert Sampling(1.0, follows_parent=True).takes(None)


def test_phases_lie_end_to_end_within_the_request():
    trace = Trace(None)
    trace.start_ns -= 1_000_000
    trace.finish("http.request", {}, is_error=False, timing_us={"policy": 100, "limits": 50, "intent": 200})
    whole = trace.root()
    [(policy, _, policy_start_ns, policy_end_ns), (intent, _, intent_start_ns, intent_end_ns)] = trace.phases()
    assert (policy, intent) == ("policy", "intent")
    assert policy_end_ns - policy_start_ns == 100_000
    assert intent_start_ns - policy_end_ns == 50_000
    assert intent_end_ns == whole.end_ns
    assert whole.start_ns <= policy_start_ns
