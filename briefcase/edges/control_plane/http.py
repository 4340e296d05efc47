"""Requests and answers of the control plane: bodies read strictly and bounded, refusals with their words, figures.

An error is `{code, message, request_id}`; its line in the log has the same id, and nothing that the request said. 503
carries `retry-after`, and what it refers to may be asked again as it is.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final, TypeAlias, TypeVar, cast
from urllib.parse import parse_qsl

import blacksheep
import msgspec

from briefcase.adapters.telemetry.log_context import open_request
from briefcase.adapters.telemetry.log_context import request_id as request_id_of
from briefcase.adapters.telemetry.logger import get_logger
from briefcase.adapters.telemetry.refusal_log import RefusalLog
from briefcase.adapters.telemetry.tracing import CURRENT
from briefcase.core.json.strict import parse as parse_json
from briefcase.core.wire.fleet import FleetRefusal
from briefcase.edges.control_plane.figures import Figures
from briefcase.edges.control_plane.refusals import (
    INVALID_REQUEST,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    PAYLOAD_TOO_LARGE,
    RefusedError,
)
from briefcase.edges.control_plane.tracing import RequestTraces
from briefcase.model.errors import BriefcaseError, CallerError
from briefcase.model.ports import Entropy

MAX_BODY_BYTES: Final = 8 << 20  # 500 receipts of 16 KiB
MAX_QUERY_FIELDS: Final = 16
RETRY_AFTER_S: Final = b"1"
JSON: Final = b"application/json"
METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})

_LOG: Final = get_logger("briefcase.control_plane")
_T = TypeVar("_T")
Handler: TypeAlias = Callable[["Asked"], Awaitable[object]]


class Answer(msgspec.Struct, frozen=True):
    """An answer that is more than a body: `body` is JSON already, `word` is of a refusal."""

    body: bytes
    status: int = HTTPStatus.OK
    headers: tuple[tuple[bytes, bytes], ...] = ()
    content_type: bytes = JSON
    word: str = ""


_INSIDE: Final = Answer(b"", HTTPStatus.INTERNAL_SERVER_ERROR)


class Asked:
    """One request, its body read on demand and bounded."""

    def __init__(self, request: blacksheep.Request) -> None:
        self._request = request
        self.method: str = request.method
        path = bytes(request.url.path).decode("ascii")
        query = bytes(request.url.query or b"").decode("ascii")
        self.path = path
        self.target = f"{path}?{query}" if query else path
        self._query = query

    def part(self, name: str) -> str:
        """A part of the path."""
        return str((self._request.route_values or {})[name])

    def fields(self, name: bytes) -> list[str]:
        """Every value of a header field."""
        return [value.decode("latin-1") for value in self._request.headers.get(name)]

    def query(self) -> Mapping[str, str]:
        """The query's fields, each once.

        Raises:
            RefusedError: a field comes twice, or there are too many (`invalid_request`).
        """
        try:
            pairs = parse_qsl(self._query, keep_blank_values=True, errors="strict", max_num_fields=MAX_QUERY_FIELDS)
        except ValueError:
            raise RefusedError(INVALID_REQUEST, "expected a query of `name=value` pairs") from None
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise RefusedError(INVALID_REQUEST, "expected each field of the query once")
        return fields

    async def body(self, max_bytes: int = MAX_BODY_BYTES) -> bytes:
        """The body.

        Raises:
            RefusedError: it is larger than it may be (`payload_too_large`).
        """
        parts = bytearray()
        async for part in cast("AsyncIterator[bytes]", self._request.stream()):
            parts += part
            if len(parts) > max_bytes:
                raise RefusedError(PAYLOAD_TOO_LARGE, f"expected a body of at most {max_bytes} bytes")
        return bytes(parts)

    async def read(self, kind: type[_T], max_bytes: int = MAX_BODY_BYTES) -> _T:
        """The body as a struct, read strictly.

        Raises:
            RefusedError: it is not one (`invalid_request`), or larger than it may be (`payload_too_large`).
        """
        try:
            return msgspec.convert(parse_json(await self.body(max_bytes)), kind)
        except (CallerError, msgspec.ValidationError) as error:
            raise RefusedError(INVALID_REQUEST, str(error)) from None


class Site:
    """A table of paths as an application of BlackSheep's; every answer is counted, each refusal logged (bounded).

    Args:
        table: what answers, by method and path.
        figures: counts.
        entropy: makes ids of requests.
        traces: takes what is sampled; None where nothing is traced.
    """

    def __init__(
        self,
        table: Mapping[tuple[str, str], Handler],
        figures: Figures,
        entropy: Entropy,
        traces: RequestTraces | None = None,
    ) -> None:
        self._traces = traces
        self._table = table
        self._figures = figures
        self._entropy = entropy
        self._refusals = RefusalLog(
            time.monotonic_ns, logged=range(HTTPStatus.BAD_REQUEST, HTTPStatus.INTERNAL_SERVER_ERROR)
        )

    def application(self) -> blacksheep.Application:
        """What serves."""
        site = blacksheep.Application(router=blacksheep.Router())
        site.show_error_details = False
        site.exceptions_handlers[Exception] = self._failed_inside
        for (method, path), handler in self._table.items():
            site.router.add(method, path, self._served(path, handler))
        for path in {path for _, path in self._table}:
            allowed = {method for method, other in self._table if other == path}
            for method in METHODS - allowed:
                site.router.add(method, path, self._served(path, _refuse_method))
        site.router.fallback = self._served("", _refuse_path)
        return site

    def _served(self, path: str, handler: Handler) -> Callable[[blacksheep.Request], Awaitable[blacksheep.Response]]:
        async def serve(request: blacksheep.Request) -> blacksheep.Response:
            open_request()
            answer = await self._traced(handler, request, path)
            self._figures.count(request.method, path, answer.status)
            return _response(answer)

        return serve

    async def _traced(self, handler: Handler, request: blacksheep.Request, path: str) -> Answer:
        traces = self._traces
        trace = None if traces is None else traces.begin(request.headers.get(b"traceparent"))
        if traces is None or trace is None:
            return await self._answer(handler, request, path)
        token = CURRENT.set(trace)
        answer = _INSIDE
        try:
            answer = await self._answer(handler, request, path)
            return answer
        finally:
            CURRENT.reset(token)
            traces.end(trace, request.method, path, answer.status, answer.word)

    async def _answer(self, handler: Handler, request: blacksheep.Request, path: str) -> Answer:
        try:
            answer = await handler(Asked(request))
        except RefusedError as refused:
            self._note(request, path, refused.status, refused.word, refused.message)
            return self._refusal(refused.word, refused.message, refused.status, last_receipt_id=refused.last_receipt_id)
        except BriefcaseError as error:
            is_unavailable = error.http_status == HTTPStatus.SERVICE_UNAVAILABLE
            if error.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                said = {"code": error.code, "detail": error.detail, "request_id": self._id()}
                _LOG.warning("request failed", method=request.method, path=path, **said)
            else:
                self._note(request, path, error.http_status, error.code, error.message)
            headers = ((b"retry-after", RETRY_AFTER_S),) if is_unavailable else ()
            return self._refusal(error.code, error.message, error.http_status, headers=headers)
        return answer if isinstance(answer, Answer) else Answer(msgspec.json.encode(answer))

    def _note(self, request: blacksheep.Request, path: str, status: int, word: str, message: str) -> None:
        """Log a refusal, bounded by the address it goes to: a proxy's where one stands in front."""
        asker, operation = str(request.original_client_ip), f"{request.method} {path}"
        self._refusals.note(asker, status, word, message, operation=operation, request_id=self._id())

    async def _failed_inside(self, _: object, request: blacksheep.Request, error: Exception) -> blacksheep.Response:
        """What BlackSheep asks for when a handler raised what nobody expected: the log has the traceback."""
        _LOG.error("request failed", method=request.method, request_id=self._id(), exc_info=error)
        self._figures.count(request.method, "", HTTPStatus.INTERNAL_SERVER_ERROR)
        failed = "the control plane failed inside"
        return _response(self._refusal("internal", failed, HTTPStatus.INTERNAL_SERVER_ERROR))

    def _refusal(
        self,
        word: str,
        message: str,
        status: int,
        *,
        last_receipt_id: int | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> Answer:
        refusal = FleetRefusal(word, message, self._id(), last_receipt_id)
        return Answer(msgspec.json.encode(refusal), status, headers, word=word)

    def _id(self) -> str:
        return request_id_of(self._entropy.uuid)


def _response(answer: Answer) -> blacksheep.Response:
    content = blacksheep.Content(answer.content_type, answer.body) if answer.body else None
    return blacksheep.Response(answer.status, [(b"cache-control", b"no-store"), *answer.headers], content)


async def _refuse_method(_: Asked) -> None:
    raise RefusedError(METHOD_NOT_ALLOWED, "nothing is done at this path by this method")


async def _refuse_path(_: Asked) -> None:
    raise RefusedError(NOT_FOUND, "nothing is at this path")
