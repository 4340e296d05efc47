"""The application with a trace around each sampled request; composed only where tracing is on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from briefcase.api.app import ROUTES, Api, Receive, Scope, Send
from briefcase.api.routing import Routes
from briefcase.ports import Tools
from briefcase.telemetry.meter import reason_of
from briefcase.telemetry.tracing import CURRENT, Sampling, Span, Trace, parse_traceparent

SendSpans = Callable[[Trace, Sequence[Span]], None]
MAX_READ_BYTES: Final = 1 << 16  # of a request or an answer, to learn what it was about
_WITH_TOOL: Final = frozenset({"/v1/tools/call", "/v1/decide"})


class _Named(msgspec.Struct):
    tool_id: str


class _Asked(msgspec.Struct):
    call: _Named


class TracedApi:
    """An ASGI application around the API.

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
        self._routes = Routes(ROUTES)

    async def start(self) -> None:
        """Start the API."""
        await self._api.start()  # type: ignore[no-untyped-call]

    async def stop(self) -> None:
        """Stop it."""
        await self._api.stop()  # type: ignore[no-untyped-call]

    def announce_stop(self) -> None:
        """Tell it that it is about to stop."""
        self._api.announce_stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3), traced where it is sampled."""
        parent = None
        for name, value in scope.get("headers", ()):
            if name == b"traceparent":
                parent = parse_traceparent(value)
        if scope["type"] != "http" or not self._sampling.takes(parent):
            await self._api(scope, receive, send)
            return
        request = _Watched(scope, receive, send)
        trace = Trace(parent)
        token = CURRENT.set(trace)
        try:
            await self._api(scope, request.receive, request.send)
        finally:
            CURRENT.reset(token)
            attributes = self._attributes(request)
            self._send_spans(trace, trace.spans(request.timing_us, attributes, is_error=request.status >= 500))  # noqa: PLR2004 - HTTP: the server's fault

    def _attributes(self, request: _Watched) -> dict[str, str | int]:
        """What a trace says of a request: nothing of it is a caller's own text."""
        match = self._routes.find(request.scope["raw_path"])
        route = match.by_method.get(request.scope["method"]) if match else None
        shown: dict[str, str | int] = {"http.response.status_code": request.status}
        if route is None:
            return shown
        shown |= {"http.request.method": route.method, "http.route": route.path}
        if route.path in _WITH_TOOL:
            shown |= self._call_attributes(request)
        return shown

    def _call_attributes(self, request: _Watched) -> dict[str, str | int]:
        shown: dict[str, str | int] = {}
        try:
            tool_id = msgspec.json.decode(request.body, type=_Asked).call.tool_id
            answer = msgspec.json.decode(request.answer)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return shown  # no call, or more than is read here
        if self._tools.resolve(tool_id) is not None:
            shown["briefcase.tool_id"] = tool_id
        if "status" in answer:
            shown["briefcase.status"] = answer["status"]
            reason = "" if answer["status"] == "ok" else reason_of(answer)
            shown |= {"briefcase.reason": reason} if reason else {}
        receipt_id = answer.get("receipt_id") or (answer.get("result") or {}).get("provenance", {}).get("receipt_id")
        return shown | ({"briefcase.receipt_id": receipt_id} if receipt_id else {})


class _Watched:
    """What goes in and out of one request, as far as a trace is about it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.status = 0
        self.body = self.answer = b""
        self.timing_us: list[tuple[str, int]] = []
        self._receive = receive
        self._send = send

    async def receive(self) -> Any:  # noqa: ANN401 - ASGI's message
        """Pass a message in."""
        message = await self._receive()
        if len(self.body) < MAX_READ_BYTES:
            self.body += message.get("body", b"")
        return message

    async def send(self, message: dict[str, Any]) -> None:
        """Pass a message out."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = dict(message["headers"])
            self.timing_us = _phases(headers.get(b"server-timing", b""))
        elif len(self.answer) < MAX_READ_BYTES:
            self.answer += message.get("body", b"")
        await self._send(message)


def _phases(server_timing: bytes) -> list[tuple[str, int]]:
    """The phases of our own `Server-Timing`, in microseconds."""
    parts = [part.split(";dur=") for part in server_timing.decode().split(", ") if part]
    return [(name, round(float(duration) * 1_000)) for name, duration in parts]
