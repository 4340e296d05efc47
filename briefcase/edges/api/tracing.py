"""The application with a trace around each sampled request; composed only where tracing is on."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

import msgspec

from briefcase.adapters.telemetry.meter import word_of
from briefcase.adapters.telemetry.tracing import CURRENT, NO_PHASES, Parent, Sampling, Trace, parse_traceparent
from briefcase.edges.api.app import Api
from briefcase.edges.http.exchange import DirectExchange
from briefcase.edges.http.routing import Reply
from briefcase.model.ports import Tools

SendTrace = Callable[[Trace], None]
MAX_READ_BYTES: Final = 1 << 16  # of a request, to learn what it was about
_WITH_TOOL: Final = frozenset({"/v1/tools/call", "/v1/decide"})
_NOTHING: Final[Mapping[str, str | int]] = MappingProxyType({})


class _Named(msgspec.Struct):
    tool_id: str


class _Asked(msgspec.Struct):
    call: _Named


class _Receipted(msgspec.Struct, frozen=True):
    receipt_id: int | None = None


class _Result(msgspec.Struct, frozen=True):
    provenance: _Receipted = _Receipted()


class _Reasoned(msgspec.Struct, frozen=True):
    reason: str = ""


class _Answered(msgspec.Struct, frozen=True):
    """What a span shows of an answer; the content is skipped."""

    status: str
    reason: str = ""
    message: str = ""
    approval: _Reasoned = _Reasoned()
    receipt_id: int | None = None
    result: _Result = _Result()


_DECODER: Final = msgspec.json.Decoder(_Asked)
_ANSWER_DECODER: Final = msgspec.json.Decoder(_Answered)


class TracedApi:
    """A `DirectApp` around the API, which is one.

    Args:
        api: answers.
        sampling: which requests are traced.
        tools: what a caller's word must name to be shown.
        send_trace: takes each that is finished.
    """

    knows_principals = True

    def __init__(self, api: Api, sampling: Sampling, tools: Tools, send_trace: SendTrace) -> None:
        self._api = api
        self._sampling = sampling
        self._tools = tools
        self._send_trace = send_trace

    def redact(self, body: bytes, *, is_json: bool) -> bytes:
        """The body of an answer without any known secret."""
        return self._api.redact(body, is_json=is_json)

    def answer(self, exchange: DirectExchange) -> Coroutine[None, None, Reply]:
        """Answer one request, traced where it is sampled; where it is not, this costs a look at the dice."""
        trace = self._sampled(exchange.head.headers)
        return self._api.answer(exchange) if trace is None else self._answer_traced(exchange, trace)

    async def _answer_traced(self, exchange: DirectExchange, trace: Trace) -> Reply:
        token = CURRENT.set(trace)
        reply = None
        try:
            reply = await self._api.answer(exchange)
            return reply
        finally:
            CURRENT.reset(token)
            if reply is None:
                self._finish(trace, 0)
            else:
                self._finish(trace, reply.status, self._attributes(exchange, reply), reply.timing_us)

    def _sampled(self, headers: Iterable[tuple[bytes, bytes]]) -> Trace | None:
        """A trace of this request, under its caller's; None where it is not sampled."""
        sampling = self._sampling
        parent = _parent_in(headers) if sampling.follows_parent else None
        if not sampling.takes(parent):
            return None
        return Trace(parent or _parent_in(headers))

    def _finish(
        self,
        trace: Trace,
        status: int,
        attributes: Mapping[str, str | int] = _NOTHING,
        timing_us: Mapping[str, int] = NO_PHASES,
    ) -> None:
        shown = {"http.response.status_code": status, **attributes}
        trace.finish("http.request", shown, is_error=status >= HTTPStatus.INTERNAL_SERVER_ERROR, timing_us=timing_us)
        self._send_trace(trace)

    def _attributes(self, exchange: DirectExchange, reply: Reply) -> dict[str, str | int]:
        """What a trace says of a request: nothing of it is a caller's own text."""
        route = self._api.route_of(exchange.head)
        if route is None:
            return {}
        shown: dict[str, str | int] = {"http.request.method": route.method, "http.route": route.path}
        if route.path in _WITH_TOOL and isinstance(reply.payload, bytes):
            self._show_call(shown, exchange.read, reply.payload)
        return shown

    def _show_call(self, shown: dict[str, str | int], body: bytes, answer_body: bytes) -> None:
        try:
            tool_id = _DECODER.decode(body).call.tool_id if len(body) <= MAX_READ_BYTES else ""
        except (msgspec.DecodeError, UnicodeDecodeError):
            return  # no call
        if self._tools.resolve(tool_id) is not None:
            shown["briefcase.tool_id"] = tool_id
        answer = _ANSWER_DECODER.decode(answer_body)
        shown["briefcase.status"] = answer.status
        if answer.status != "ok" and (reason := word_of(answer.reason or answer.message or answer.approval.reason)):
            shown["briefcase.reason"] = reason
        receipt_id = answer.receipt_id or answer.result.provenance.receipt_id
        if receipt_id is not None:
            shown["briefcase.receipt_id"] = receipt_id


def _parent_in(headers: Iterable[tuple[bytes, bytes]]) -> Parent | None:
    parent = None
    for name, value in headers:
        if name == b"traceparent":
            parent = parse_traceparent(value)
    return parent
