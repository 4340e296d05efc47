"""Spans as the bytes of OTLP's `ExportTraceServiceRequest` (opentelemetry-proto 1.x, `trace.proto`, `common.proto`).

Written straight from what was measured, since an object for each message, field and attribute costs ten times as much
(ADR 0022). A message's fields may come in any order, and
messages that are repeated are their bytes one after the other (Protocol Buffers, "Encoding"), so that a batch of
encoded traces is joined, never read again. Only what our spans hold can be written: no event, no link, no list.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from briefcase.adapters.telemetry.outlet import OUTLET
from briefcase.adapters.telemetry.tracing import SPAN_OF_PHASE, Span, Trace

_INTERNAL, _SERVER, _CLIENT = 1, 2, 3  # `Span.SpanKind`
_KINDS: Final = {
    "db.query": _CLIENT,
    "gateway.call_tool": _SERVER,
    "gateway.request": _SERVER,
    "http.request": _SERVER,
    "http.upstream": _CLIENT,
    "mcp.request": _CLIENT,
}
_MAX_UINT64: Final = (1 << 64) - 1

# what comes before a field: its number times eight, plus its wire type (0 a varint, 1 fixed64, 2 a length, 5 fixed32)
_1, _2, _5, _9 = (bytes((number << 3 | 2,)) for number in (1, 2, 5, 9))
_TRACE_ID, _SPAN_ID, _PARENT_SPAN_ID = b"\x0a\x10", b"\x12\x08", b"\x22\x08"  # 1, 2 and 4, and their lengths
_KIND, _INT_VALUE = b"\x30", b"\x18"  # 6 of a `Span`, 3 of an `AnyValue`
_TIMES: Final = struct.Struct("<BQBQ").pack  # fixed64 each; protobuf is little-endian
_START, _END = 0x39, 0x41  # 7 and 8
_STATUS_ERROR: Final = b"\x7a\x02\x18\x02"  # 15: a `Status` whose `code`, 3, is STATUS_CODE_ERROR
_FLAGS: Final = b"\x85\x01\x01\x01\x00\x00"  # 16, fixed32: sampled; whether the parent is remote is known
_FLAGS_REMOTE: Final = b"\x85\x01\x01\x03\x00\x00"  # and it is
_MAX_REMEMBERED: Final = 4_096  # attributes of text: routes, words and tools, of which there are few
_MAX_SEVEN_BITS: Final = 0x7F


def encode_trace(trace: Trace) -> bytes:
    """The spans of one finished trace, as they stand in a `ScopeSpans`. Their numbers are signed ones of 64 bits."""
    trace_id = _TRACE_ID + trace.trace_id
    parts: list[bytes] = []
    for span in (trace.root(), *trace.upstream):
        encoded = _span(trace_id, span, of_remote=span.parent_id is not None and span.span_id == trace.span_id)
        parts += (_2, _varint(len(encoded)), encoded)
    under_root = _PARENT_SPAN_ID + trace.span_id
    for phase, span_id, start_ns, end_ns in trace.phases():
        parts += (_PHASES[phase], trace_id, under_root, _SPAN_ID, span_id, _TIMES(_START, start_ns, _END, end_ns))
    return b"".join(parts)


def encode_request(resource: bytes, scope: bytes, traces: Sequence[bytes]) -> bytes:
    """A request that holds them all.

    Args:
        resource: an encoded `Resource`.
        scope: an encoded `InstrumentationScope`.
        traces: what `encode_trace` gave.
    """
    resource_field, scope_field = _field(_1, resource), _field(_1, scope)
    scope_spans = _2 + _varint(len(scope_field) + sum(map(len, traces))) + scope_field
    length = len(resource_field) + len(scope_spans) + sum(map(len, traces))
    return b"".join((_1, _varint(length), resource_field, scope_spans, *traces))


def _span(trace_id: bytes, span: Span, *, of_remote: bool) -> bytes:
    fields = [trace_id, _SPAN_ID, span.span_id, _named(span.name), _TIMES(_START, span.start_ns, _END, span.end_ns)]
    if span.parent_id is not None:
        fields += (_PARENT_SPAN_ID, span.parent_id)
    for key, value in span.attributes.items():
        fields.append(_text(key, value) if isinstance(value, str) else _number(key, value))
    if span.is_error:
        fields.append(_STATUS_ERROR)
    fields.append(_FLAGS_REMOTE if of_remote else _FLAGS)
    return b"".join(fields)


@lru_cache(_MAX_REMEMBERED)
def _named(name: str) -> bytes:
    return _field(_5, name.encode()) + _KIND + _varint(_KINDS.get(name, _INTERNAL))


@lru_cache(_MAX_REMEMBERED)
def _text(key: str, value: str) -> bytes:
    return _field(_9, _field(_1, key.encode()) + _field(_2, _field(_1, OUTLET.text(value).encode())))


def _number(key: str, value: int) -> bytes:
    number = _INT_VALUE + _varint(value & _MAX_UINT64)
    return _field(_9, _key(key) + _field(_2, number))


@lru_cache(_MAX_REMEMBERED)
def _key(key: str) -> bytes:
    return _field(_1, key.encode())


def _field(tag: bytes, content: bytes) -> bytes:
    return tag + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Groups of seven bits, the lowest first, each but the last with its high bit set."""
    if value < len(_SHORT):
        return _SHORT[value]
    groups = bytearray()
    while value > _MAX_SEVEN_BITS:
        groups.append(value & _MAX_SEVEN_BITS | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


_SHORT: Final = tuple(bytes((value,)) for value in range(0x80))


def _phase(phase: str) -> bytes:
    """What all spans of a phase begin with: all but its ids and times, whose lengths are known."""
    name = SPAN_OF_PHASE[phase]
    same = _named(name) + (_text("briefcase.phase", phase) if name == "ledger.commit" else b"") + _FLAGS
    return _2 + _varint(len(same) + _IDS_AND_TIMES_BYTES) + same


_IDS_AND_TIMES_BYTES: Final = (2 + 16) + (2 + 8) + (2 + 8) + (1 + 8) + (1 + 8)
_PHASES: Final = {phase: _phase(phase) for phase in SPAN_OF_PHASE}
