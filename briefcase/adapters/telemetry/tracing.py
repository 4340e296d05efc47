"""Traces of sampled requests, built after the fact: while one runs, only when things began and ended is kept.

    gateway.call_tool               what an agent asked the gateway for (`gateway.request`: anything but a tool)
      http.request                  the whole request to the daemon, as are all below
        policy.decide               one phase of the call's own timing, as are the next two
        ledger.commit               intent, outcome, or the receipt of a refusal
        tool.execute
          http.upstream             each request a tool sent; it carries our `traceparent` on
          mcp.request               each request to an MCP server; it carries it on in `_meta`

A caller's `traceparent` (W3C Trace Context) becomes the parent. Whether a request is sampled is ours to say unless
the operator chose a parent-based sampler: a caller does not decide what it costs us. Of what a caller wrote nothing
but the two ids is kept; `tracestate` is neither kept nor sent.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from http import HTTPStatus
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from briefcase.model.errors import BriefcaseError, UpstreamError
from briefcase.model.ports import HttpRequest, HttpResponse, Outbound

NS_PER_US: Final = 1_000
SPAN_OF_PHASE: Final = {
    "policy": "policy.decide",
    "intent": "ledger.commit",
    "execute": "tool.execute",
    "outcome": "ledger.commit",
    "receipt": "ledger.commit",
}
NO_PHASES: Final[Mapping[str, int]] = MappingProxyType({})
_TRACEPARENT: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_SAMPLED: Final = 0x01
_VERSION_00_BYTES: Final = 55  # which has no field more


class Parent(NamedTuple):
    """What a caller's `traceparent` says; ids are 16 and 8 bytes, as everywhere here."""

    trace_id: bytes
    span_id: bytes
    is_sampled: bool


class Sampling(msgspec.Struct, frozen=True):
    """Which requests are traced: this share, or what the caller says where it says anything."""

    share: float = 0.1
    follows_parent: bool = False

    def takes(self, parent: Parent | None) -> bool:
        """Whether this request is traced."""
        if parent is not None and self.follows_parent:
            return parent.is_sampled
        return random.random() < self.share  # noqa: S311 - nobody gains by guessing it


class Span(NamedTuple):
    """One finished stretch of time. Times are nanoseconds since the Unix epoch."""

    name: str
    span_id: bytes
    parent_id: bytes | None
    start_ns: int
    end_ns: int
    attributes: Mapping[str, str | int]
    is_error: bool = False


class Trace:
    """One request while it runs; one that is not sampled only carries the context on."""

    __slots__ = (
        "_attributes", "_end_ns", "_is_error", "_name", "_timing_us",
        "execute_id", "is_sampled", "parent_id", "span_id", "start_ns", "trace_id", "upstream",
    )  # fmt: skip

    def __init__(self, parent: Parent | None, *, is_sampled: bool = True) -> None:
        self.is_sampled = is_sampled
        drawn = _new_id(32)
        self.trace_id = parent.trace_id if parent else drawn[:16]
        self.parent_id = parent.span_id if parent else None
        self.span_id = drawn[16:24]
        self.execute_id = drawn[24:]
        self.start_ns = time.time_ns()
        self.upstream: list[Span] = []

    def traceparent(self, span_id: bytes | None = None) -> str:
        """The context to send on: under a span of this trace, or under the request's own."""
        return f"00-{self.trace_id.hex()}-{(span_id or self.span_id).hex()}-{'01' if self.is_sampled else '00'}"

    def finish(
        self,
        name: str,
        attributes: Mapping[str, str | int],
        *,
        is_error: bool,
        timing_us: Mapping[str, int] = NO_PHASES,
    ) -> None:
        """The request ends now. Once: its spans are made when they are sent.

        Args:
            name: of the request's own span.
            attributes: of the same.
            is_error: whether it failed.
            timing_us: phases in order; they are laid end to end, so that the last one ends with the request.
        """
        self._end_ns = time.time_ns()
        self._name, self._attributes, self._is_error, self._timing_us = name, attributes, is_error, timing_us

    def root(self) -> Span:
        """The finished request's own span."""
        return Span(
            self._name, self.span_id, self.parent_id, self.start_ns, self._end_ns, self._attributes, self._is_error
        )

    def phases(self) -> list[tuple[str, bytes, int, int]]:
        """The phases of the finished request that are spans: each one's name, id, start and end; the root is above."""
        phases = []
        at_ns = max(self.start_ns, self._end_ns - NS_PER_US * sum(self._timing_us.values()))
        for phase, us in self._timing_us.items():
            end_ns = at_ns + us * NS_PER_US
            if phase in SPAN_OF_PHASE:
                phases.append((phase, self.execute_id if phase == "execute" else _new_id(8), at_ns, end_ns))
            at_ns = end_ns
        return phases


CURRENT: Final[ContextVar[Trace | None]] = ContextVar("briefcase_trace", default=None)
_OUTGOING: Final[ContextVar[str | None]] = ContextVar("briefcase_outgoing_traceparent", default=None)


@contextmanager
def upstream_span(name: str, attributes: dict[str, str | int]) -> Iterator[None]:
    """A span of the sampled request under way around what is sent upstream; `outgoing_traceparent` is its context."""
    trace = CURRENT.get()
    if trace is None:
        yield
        return
    span_id, start_ns = _new_id(8), time.time_ns()
    token = _OUTGOING.set(trace.traceparent(span_id))
    is_error = True
    try:
        yield
        is_error = False
    except BriefcaseError as error:
        attributes = {**attributes, "error.type": error.code}
        raise
    finally:
        _OUTGOING.reset(token)
        trace.upstream.append(Span(name, span_id, trace.execute_id, start_ns, time.time_ns(), attributes, is_error))


def outgoing_traceparent() -> str | None:
    """The context of the `upstream_span` under way, or None outside of one."""
    return _OUTGOING.get()


class TracedOutbound:
    """The way out with a span around each request of a sampled call, and its `traceparent` upstream."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound

    async def request(self, request: HttpRequest) -> HttpResponse:
        """See `ports.Outbound`."""
        trace = CURRENT.get()
        if trace is None:
            return await self._outbound.request(request)
        span_id, start_ns = _new_id(8), time.time_ns()
        headers = {**request.headers, "traceparent": trace.traceparent(span_id)}
        attributes: dict[str, str | int] = {"http.request.method": request.method}
        is_error = True
        try:
            response = await self._outbound.request(msgspec.structs.replace(request, headers=headers))
            attributes["http.response.status_code"] = response.status
            is_error = response.status >= HTTPStatus.BAD_REQUEST  # RFC 9110 section 15.5
        except UpstreamError as error:
            attributes["error.type"] = error.code
            raise
        else:
            return response
        finally:
            ended_ns = time.time_ns()
            trace.upstream.append(
                Span("http.upstream", span_id, trace.execute_id, start_ns, ended_ns, attributes, is_error)
            )


def parse_traceparent(value: bytes) -> Parent | None:
    """Read a `traceparent` header; None where it is not as it must be (W3C Trace Context section 3.2)."""
    match = _TRACEPARENT.fullmatch(value)
    if match is None or (value.startswith(b"00") and len(value) != _VERSION_00_BYTES):
        return None
    trace_id, span_id = bytes.fromhex(match[1].decode()), bytes.fromhex(match[2].decode())
    if not any(trace_id) or not any(span_id):
        return None
    return Parent(trace_id, span_id, bool(int(match[3], 16) & _SAMPLED))


def _new_id(size: int) -> bytes:
    return random.getrandbits(8 * size).to_bytes(size)
