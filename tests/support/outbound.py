"""The way out, to ASGI applications in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from briefcase.model.errors import UpstreamError
from briefcase.model.ports import HttpRequest, HttpResponse

Message: TypeAlias = MutableMapping[str, Any]  # as ASGI says it
App: TypeAlias = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


class AsgiOutbound:
    """Reaches ASGI applications by the first label of their host, and can be cut off from them.

    `cut` gives the error that a request fails with, `answer` replaces what an application would answer.
    """

    def __init__(self, **apps: App) -> None:
        self.apps = apps
        self.sent: list[HttpRequest] = []
        self.cut: Callable[[HttpRequest], Exception | None] | None = None
        self.answer: Callable[[HttpRequest], HttpResponse | None] | None = None

    async def request(self, request: HttpRequest) -> HttpResponse:
        self.sent.append(request)
        if self.cut is not None and (problem := self.cut(request)):
            raise problem
        if self.answer is not None and (response := self.answer(request)):
            return response
        parts = urlsplit(request.url)
        app = self.apps.get((parts.hostname or "").partition(".")[0])
        if app is None:
            raise UpstreamError(f"`{request.url}` is not reachable from a test")
        scope = {
            "type": "http",
            "method": request.method,
            "path": parts.path,
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in request.headers.items()],
        }
        messages: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": request.body or b"", "more_body": False}

        async def send(message: Message) -> None:
            messages.append(message)

        await asyncio.sleep(0)  # an answer takes at least one turn of the loop
        await app(scope, receive, send)
        start, *rest = messages
        fields = {name.decode(): value.decode() for name, value in start["headers"]}
        return HttpResponse(start["status"], fields, b"".join(message.get("body", b"") for message in rest))
