"""Requests and answers of the gateway: read once, with every field value kept, and answered with the marks.

Every answer carries the profile; every refusal its stable word in `x-briefcase-error`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

import blacksheep
import msgspec

from briefcase.core.json.strict import parse as parse_json
from briefcase.edges.provider_gateway.authority import Asked, Refused
from briefcase.edges.provider_gateway.settings import ERROR_HEADER, PROFILE_HEADER
from briefcase.model.errors import CallerError
from briefcase.model.types import COMPATIBILITY_PROFILE, JsonObject

Scope: TypeAlias = Mapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY_BYTES: Final = 64 << 10
MAX_FIELDS: Final = 32
PROFILE: Final = (PROFILE_HEADER.encode(), COMPATIBILITY_PROFILE.encode())


class Request(msgspec.Struct, frozen=True):
    """One request, read whole."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, tuple[str, ...]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a field that occurs exactly once."""
        values = self.headers.get(name, ())
        return values[0] if len(values) == 1 else None

    def asked(self, base_url: str) -> Asked:
        """What is checked of a request that brings a proof; its URL is its path behind the gateway's own address."""
        fields = self.headers
        return Asked(self.method, base_url + self.path, fields.get("authorization", ()), fields.get("dpop", ()))

    def form(self) -> Mapping[str, str]:
        """The form-encoded body; a field that occurs twice is refused."""
        return _pairs(self.body)

    def json_text(self, name: str) -> str:
        """A text member of the JSON body."""
        value = parse_json(self.body)
        text = value.get(name) if isinstance(value, dict) else None
        if not isinstance(text, str):
            raise CallerError(f"expected a JSON object with a text `{name}`")
        return text


class Reply(msgspec.Struct, frozen=True):
    """One answer."""

    payload: JsonObject | str
    status: int = HTTPStatus.OK
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"


async def read_request(request: blacksheep.Request) -> Request:
    """Read a request with its body.

    Raises:
        CallerError: a body or query that is too large, or names a field twice.
    """
    body = await request.read() or b""  # the server has bounded it
    if len(body) > MAX_BODY_BYTES:
        raise CallerError(f"expected a body of at most {MAX_BODY_BYTES} bytes", code="payload_too_large")
    url = request.url
    return Request(request.method, url.path.decode("ascii"), _pairs(url.query or b""), fields_of(request.headers), body)


def fields_of(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, tuple[str, ...]]:
    """Header fields by name in lower case, with every value each one has."""
    fields: dict[str, tuple[str, ...]] = {}
    for name, value in headers:
        key = name.decode("latin-1").lower()
        fields[key] = (*fields.get(key, ()), value.decode("latin-1"))
    return fields


def asked_of(scope: Scope, base_url: str) -> Asked:
    """What is checked of a request; its URL is the path as it was sent, behind the gateway's own address."""
    fields = fields_of(scope["headers"])
    path = scope.get("raw_path") or scope["path"].encode()
    url = base_url + path.decode("latin-1")
    return Asked(scope["method"], url, fields.get("authorization", ()), fields.get("dpop", ()))


def refusal(refused: Refused) -> Reply:
    """A refusal as OAuth has it (RFC 6749 section 5.2), with its word in the header as well."""
    payload: JsonObject = {"error": refused.error, "error_description": refused.description}
    return Reply(payload, refused.status, ((ERROR_HEADER, refused.error), *refused.headers))


async def send_reply(reply: Reply, send: Send) -> None:
    """Answer from in front of an application, with the same marks as from inside this one."""
    body = _body_of(reply)
    headers = [(b"content-type", reply.content_type.encode()), (b"content-length", b"%d" % len(body)), *_marks(reply)]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def response_of(reply: Reply) -> blacksheep.Response:
    """The answer, with the profile's mark and no leave to keep a copy."""
    return blacksheep.Response(
        reply.status, _marks(reply), blacksheep.Content(reply.content_type.encode(), _body_of(reply))
    )


def _body_of(reply: Reply) -> bytes:
    return reply.payload.encode() if isinstance(reply.payload, str) else msgspec.json.encode(reply.payload)


def _marks(reply: Reply) -> list[tuple[bytes, bytes]]:
    named = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in reply.headers]
    return [(b"cache-control", b"no-store"), PROFILE, *named]


def _pairs(data: bytes) -> Mapping[str, str]:
    try:
        pairs = parse_qsl(data.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise CallerError("expected `name=value` pairs in ASCII") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise CallerError("expected each field once")
    return fields
