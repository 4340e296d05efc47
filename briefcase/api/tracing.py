"""The application with a trace around each sampled request; composed only where tracing is on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from briefcase.api.app import Api, Receive, Scope, Send
from briefcase.api.exchange import DirectExchange
from briefcase.api.routing import Match, Reply
from briefcase.ports import Tools
from briefcase.telemetry.meter import reason_of
from briefcase.telemetry.tracing import CURRENT, Sampling, Span, Trace, parse_traceparent
from briefcase.types import JsonObject

SendSpans = Callable[[Trace, Sequence[Span]], None]
MAX_READ_BYTES: Final = 1 << 16  # of a request, to learn what it was about
_WITH_TOOL: Final = frozenset({"/v1/tools/call", "/v1/decide"})


class _Named(msgspec.Struct):
    tool_id: str


class _Asked(msgspec.Struct):
    call: _Named


class TracedApi:
    """A `DirectApp` and an ASGI application around the API, which is both.

    Args:
        api: answers.
        sampling: which requests are traced.
        tools: what a caller's word must name to be shown.
        send_spans: takes what was measured.
    """

    def __init__(self, api: Api, sampling: Sampling, tools: Tools, send_spans: SendSpans) -> None:
        self._api = api
        self._sampling = sampling
        self._tools = tools
        self._send_spans = send_spans

    async def start(self) -> None:
        """Start the API."""
        await self._api.start()  # type: ignore[no-untyped-call]

    async def stop(self) -> None:
        """Stop it."""
        await self._api.stop()  # type: ignore[no-untyped-call]

    def announce_stop(self) -> None:
        """Tell it that it is about to stop."""
        self._api.announce_stop()

    def find(self, path: bytes) -> Match | None:
        """What is at an undecoded path."""
        return self._api.find(path)

    async def answer(self, exchange: DirectExchange) -> Reply:
        """Answer one request, traced where it is sampled."""
        with self._traced(exchange.head.headers) as seen:
            reply = await self._api.answer(exchange)
            if seen is not None:
                seen.status = reply.status
                seen.timing_us = _phases(dict(reply.headers).get(b"server-timing", b""))
                seen.attributes = self._attributes(exchange, reply)
            return reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request that has no route (ASGI 3), traced where it is sampled."""
        with self._traced(scope.get("headers", ())) as seen:

            async def watched(message: dict[str, Any]) -> None:
                if seen is not None and message["type"] == "http.response.start":
                    seen.status = message["status"]
                await send(message)

            await self._api(scope, receive, watched)

    @contextlib.contextmanager
    def _traced(self, headers: Iterable[tuple[bytes, bytes]]) -> Iterator[_Seen | None]:
        """A trace around what is done inside, and what is to be noted for it; None where it is not sampled."""
        parent = None
        for name, value in headers:
            if name == b"traceparent":
                parent = parse_traceparent(value)
        if not self._sampling.takes(parent):
            yield None
            return
        seen = _Seen()
        trace = Trace(parent)
        token = CURRENT.set(trace)
        try:
            yield seen
        finally:
            CURRENT.reset(token)
            shown = {"http.response.status_code": seen.status, **seen.attributes}
            self._send_spans(trace, trace.spans(seen.timing_us, shown, is_error=seen.status >= 500))  # noqa: PLR2004 - HTTP: the server's fault

    def _attributes(self, exchange: DirectExchange, reply: Reply) -> dict[str, str | int]:
        """What a trace says of a request: nothing of it is a caller's own text."""
        route = exchange.match.by_method.get(exchange.head.method)
        if route is None:
            return {}
        shown: dict[str, str | int] = {"http.request.method": route.method, "http.route": route.path}
        if route.path in _WITH_TOOL and isinstance(reply.payload, dict):
            shown |= self._call_attributes(exchange.read, reply.payload)
        return shown

    def _call_attributes(self, body: bytes, answer: JsonObject) -> dict[str, str | int]:
        shown: dict[str, str | int] = {}
        try:
            tool_id = msgspec.json.decode(body, type=_Asked).call.tool_id if len(body) <= MAX_READ_BYTES else ""
        except (msgspec.DecodeError, UnicodeDecodeError):
            return shown  # no call
        if self._tools.resolve(tool_id) is not None:
            shown["briefcase.tool_id"] = tool_id
        status = answer.get("status")
        if isinstance(status, str):
            shown["briefcase.status"] = status
            reason = "" if status == "ok" else reason_of(answer)
            shown |= {"briefcase.reason": reason} if reason else {}
        receipt_id = answer.get("receipt_id")
        result = answer.get("result")
        provenance = result.get("provenance") if isinstance(result, dict) else None
        if isinstance(provenance, dict):
            receipt_id = provenance["receipt_id"]
        return shown | ({"briefcase.receipt_id": receipt_id} if isinstance(receipt_id, int) else {})


class _Seen:
    """What is noted of one traced request."""

    def __init__(self) -> None:
        self.status = 0
        self.timing_us: list[tuple[str, int]] = []
        self.attributes: dict[str, str | int] = {}


def _phases(server_timing: bytes) -> list[tuple[str, int]]:
    """The phases of our own `Server-Timing`, in microseconds."""
    parts = [part.split(";dur=") for part in server_timing.decode().split(", ") if part]
    return [(name, round(float(duration) * 1_000)) for name, duration in parts]
