"""What an operation is: its route, what its handler gets to know of a request, and who may ask."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import parse_qsl

import msgspec

from briefcase.core.json.strict import parse as parse_json
from briefcase.edges.api.services import Services
from briefcase.edges.http.exchange import Head
from briefcase.model.errors import BriefcaseError, CallerError
from briefcase.model.types import JsonObject, Principal, Role

OPERATOR: Final = frozenset({Role.OPERATOR})
CALLERS: Final = frozenset({Role.OPERATOR, Role.AGENT})
AGENTS: Final = frozenset({Role.AGENT})
READERS: Final = frozenset({Role.OPERATOR, Role.AUDITOR})
EVERYONE: Final = frozenset(Role)
NOBODY_NEEDED: Final[frozenset[Role]] = frozenset()

# What the agents' socket serves beside the routes that take an agent: signers prove themselves by their key.
AGENT_SOCKET_PREFIXES: Final = ("/v1/signer/",)

MAX_QUERY_FIELDS: Final = 32
_T = TypeVar("_T")


class Request(msgspec.Struct, frozen=True):
    """What a handler gets to know of a request.

    `gone` returns when the client has left, or is to be answered with what there is. `authority` is the `host:port` of
    the TCP listener that took the request, empty over a Unix socket.
    """

    head: Head

    principal: Principal
    params: Mapping[str, str]
    body: bytes
    gone: Callable[[], Awaitable[None]]
    authority: str = ""

    def header(self, name: bytes) -> bytes:
        """The value of a header, by its name in lower case; empty where there is none, or more than one."""
        values = [value for known, value in self.head.headers if known == name]
        return values[0] if len(values) == 1 else b""

    async def waited(self, read: Callable[[float], Awaitable[_T]], wait_s: float) -> _T:
        """What `read` gives within a time; at once where the client is not to wait for it any longer."""
        if wait_s <= 0:
            return await read(0)
        reading, gone = asyncio.ensure_future(read(wait_s)), asyncio.ensure_future(self.gone())
        try:
            await asyncio.wait({reading, gone}, return_when=asyncio.FIRST_COMPLETED)
            return await (reading if reading.done() else read(0))
        finally:
            reading.cancel()
            gone.cancel()

    def body_as(self, kind: type[_T]) -> _T:
        """The body as a wire struct; no body at all is an empty object. Unknown fields are ignored.

        Raises:
            CallerError: not strict JSON, a field missing, of another type or out of its range.
        """
        return converted(parse_json(self.body) if self.body else {}, kind, strict=True)

    def query_as(self, kind: type[_T]) -> _T:
        """The query as a wire struct; unknown fields are ignored.

        Raises:
            CallerError: not UTF-8, a field twice, missing, of another type or out of its range.
        """
        query = self.head.query
        if not query:
            return converted({}, kind, strict=False)
        try:
            pairs = parse_qsl(
                query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_QUERY_FIELDS
            )
        except ValueError as error:
            raise CallerError(f"expected a query of `name=value` pairs: {error}") from None
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise CallerError("expected each query field once")
        return converted(fields, kind, strict=False)


Handler: TypeAlias = Callable[[Services, Request], Awaitable[object]]


class Route(msgspec.Struct, frozen=True):
    """One operation: where it is, who may ask, what takes it, and how it looks on the wire (for OpenAPI).

    A handler returns a `Reply`, or the payload of a 200: a struct or a JSON object; what is no JSON is bytes in a
    `Reply` whose headers say what they are, and `media` names it.
    `roles` empty means that no token is needed. What is refused before it is looked at is denied, not a fault, where
    `is_call`. Where `is_correlated`, the answer repeats the request's `X-Request-ID` (AuthZEN, section 10.1.3).
    An answer of one that `holds` may wait for a person whatever its query says. `refused_as` says a fault in the words
    of who asks there: a 200 whose body is a denial, since they take any other answer for none.
    """

    method: str
    path: str
    roles: frozenset[Role]
    handler: Handler
    summary: str
    answer: Any
    body: Any = None
    query: Any = None
    media: str = "application/json"
    is_call: bool = False
    is_correlated: bool = False
    holds: bool = False
    refused_as: Callable[[BriefcaseError], JsonObject] | None = None

    @property
    def waits(self) -> bool:
        """Whether its answer may wait for something to tell, for as long as `wait_ms` says."""
        return self.query is not None and "wait_ms" in self.query.__struct_fields__


def is_for_agents(route: Route) -> bool:
    """Whether the agents' socket serves a route."""
    return Role.AGENT in route.roles or route.path.startswith(AGENT_SOCKET_PREFIXES)


def converted(value: object, kind: type[_T], *, strict: bool) -> _T:
    """A JSON value as a wire struct; `strict` takes no text for a number.

    Raises:
        CallerError: a field is missing, of another type or out of its range.
    """
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise CallerError(str(error).lower()) from None
