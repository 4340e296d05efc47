"""Our own encoding of spans against the SDK's: the same spans through both, read with the specification's messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import SpanFlags
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from briefcase.adapters.telemetry.otlp_trace import encode_request, encode_trace
from briefcase.adapters.telemetry.tracing import SPAN_OF_PHASE, Parent, Span, Trace

RESOURCE = Resource.create({"service.name": "briefcase", "service.version": "0"})
SCOPE = InstrumentationScope("briefcase", "0")
SPAN_ID = bytes(range(8))
SAMPLED = TraceFlags(TraceFlags.SAMPLED)
KINDS = {
    "gateway.call_tool": SpanKind.SERVER,
    "gateway.request": SpanKind.SERVER,
    "http.request": SpanKind.SERVER,
    "http.upstream": SpanKind.CLIENT,
    "mcp.request": SpanKind.CLIENT,
}

ids = st.binary(min_size=8, max_size=8)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
attributes = st.dictionaries(words, words | st.integers(-(1 << 63), (1 << 63) - 1), max_size=6)
spans = st.builds(
    Span,
    st.sampled_from([*KINDS, "policy.decide", "ledger.commit", "tool.execute"]),
    ids,
    st.none() | ids,
    st.integers(0, (1 << 64) - 1),
    st.integers(0, (1 << 64) - 1),
    attributes,
    st.booleans(),
)
parents = st.none() | st.builds(Parent, st.binary(min_size=16, max_size=16), ids, st.just(value=True))


class Given(Trace):
    """A trace whose request and upstream are just these spans."""

    def __init__(self, parent: Parent | None, root: Span, *upstream: Span) -> None:
        super().__init__(parent)
        self.given = root
        self.upstream += upstream

    def root(self) -> Span:
        return self.given

    def phases(self) -> list[tuple[str, bytes, int, int]]:
        return []


def spans_of(trace: Trace) -> list[Span]:
    phases = [
        Span(
            SPAN_OF_PHASE[phase],
            span_id,
            trace.span_id,
            start_ns,
            end_ns,
            {"briefcase.phase": phase} if SPAN_OF_PHASE[phase] == "ledger.commit" else {},
        )
        for phase, span_id, start_ns, end_ns in trace.phases()
    ]
    return [trace.root(), *trace.upstream, *phases]


def by_the_sdk(traces: list[Trace]) -> ExportTraceServiceRequest:
    return encode_spans([sdk_span(trace, span) for trace in traces for span in spans_of(trace)])


def sdk_span(trace: Trace, span: Span) -> ReadableSpan:
    parent = None
    if span.parent_id is not None:
        parent = SpanContext(
            int.from_bytes(trace.trace_id),
            int.from_bytes(span.parent_id),
            is_remote=span.span_id == trace.span_id,
            trace_flags=SAMPLED,
        )
    return ReadableSpan(
        span.name,
        context=SpanContext(
            int.from_bytes(trace.trace_id), int.from_bytes(span.span_id), is_remote=False, trace_flags=SAMPLED
        ),
        parent=parent,
        resource=RESOURCE,
        attributes=span.attributes,
        kind=KINDS.get(span.name, SpanKind.INTERNAL),
        status=Status(StatusCode.ERROR if span.is_error else StatusCode.UNSET),
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=SCOPE,
    )


def by_us(traces: list[Trace]) -> bytes:
    [around] = by_the_sdk([Given(None, Span("", SPAN_ID, None, 0, 0, {}))]).resource_spans
    resource, scope = around.resource.SerializeToString(), around.scope_spans[0].scope.SerializeToString()
    return encode_request(resource, scope, [encode_trace(trace) for trace in traces])


def check_same(traces: list[Trace]) -> None:
    ours, theirs = ExportTraceServiceRequest.FromString(by_us(traces)), by_the_sdk(traces)
    for span in ours.resource_spans[0].scope_spans[0].spans:
        assert span.flags & SpanFlags.SPAN_FLAGS_TRACE_FLAGS_MASK == SAMPLED  # which the SDK leaves out
        span.flags &= ~SpanFlags.SPAN_FLAGS_TRACE_FLAGS_MASK
        span.status.SetInParent()  # which the SDK writes where it says nothing, too
    assert ours == theirs


@given(st.lists(st.tuples(parents, st.lists(spans, min_size=1, max_size=4)), min_size=1, max_size=4))
def test_any_spans_are_written_as_the_sdk_writes_them(measured):
    check_same([Given(parent, *spans) for parent, spans in measured])


@given(parents, spans)
def test_the_first_span_of_a_trace_has_a_remote_parent(parent, span):
    trace = Given(parent, span)
    trace.given = span._replace(span_id=trace.span_id, parent_id=trace.parent_id)
    check_same([trace])


@pytest.mark.parametrize("number", [0, 1, 127, 128, 16_383, 16_384, (1 << 63) - 1, -1, -(1 << 63)])
def test_a_number_of_any_length_is_read_back(number):
    check_same([Given(None, Span("http.request", SPAN_ID, None, 2, 3, {"a": number}))])


@pytest.mark.parametrize("length", [0, 1, 100, 113, 114, 127, 128, 16_383, 16_384, 70_000])
def test_text_of_any_length_is_read_back(length):
    check_same([Given(None, Span("http.request", SPAN_ID, None, 2, 3, {"a": "b" * length}))])


def test_the_spans_of_a_call_are_written_as_the_sdk_writes_them(monkeypatch):
    trace = Trace(Parent(bytes(range(16)), SPAN_ID, is_sampled=True))
    trace.upstream.append(
        Span("http.upstream", SPAN_ID[::-1], trace.execute_id, 1, 2, {"error.type": "timeout"}, is_error=True)
    )
    shown = {"http.response.status_code": 200, "http.route": "/v1/tools/call", "briefcase.receipt_id": 1 << 40}
    timing_us = {"policy": 2, "limits": 3, "intent": 400, "execute": 20, "outcome": 400, "receipt": 9}
    trace.finish("http.request", shown, is_error=False, timing_us=timing_us)
    made = trace.phases()  # which draws their ids
    monkeypatch.setattr(Trace, "phases", lambda _: made)
    check_same([trace])
