"""Routes, requests and answers: a table for each noun, and exactly one path for each thing.

A path is split at its slashes first and each segment is percent-decoded once (RFC 3986 section 2.4); then literal
segments must be equal, and a parameter must be a plain identifier. So `//`, `..`, `%2f`, `%252e`, `;x`, another case
and a trailing slash name nothing.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import parse_qsl, unquote

import msgspec

from briefcase.api.services import Services
from briefcase.model.errors import CallerError
from briefcase.model.types import Principal, Role
from briefcase.strict_json import parse as parse_json

OPERATOR: Final = frozenset({Role.OPERATOR})
CALLERS: Final = frozenset({Role.OPERATOR, Role.AGENT})
READERS: Final = frozenset({Role.OPERATOR, Role.AUDITOR})
EVERYONE: Final = frozenset(Role)
NOBODY_NEEDED: Final[frozenset[Role]] = frozenset()

# What the agents' socket serves beside the routes that take an agent: signers prove themselves by their key.
AGENT_SOCKET_PREFIXES: Final = ("/v1/signer/",)

MAX_QUERY_FIELDS: Final = 32
_PARAMETER: Final = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._:@-]{1,128}")
_T = TypeVar("_T")


class Request(msgspec.Struct, frozen=True):
    """What a handler gets to know of a request.

    `gone` returns when the client has left. `authority` is the `host:port` of the TCP listener that took the request,
    empty over a Unix socket.
    """

    principal: Principal
    params: Mapping[str, str]
    query: bytes
    body: bytes
    gone: Callable[[], Awaitable[None]]
    authority: str = ""

    def body_as(self, kind: type[_T]) -> _T:
        """The body as a wire struct; no body at all is an empty object. Unknown fields are ignored.

        Raises:
            CallerError: not strict JSON, a field missing, of another type or out of its range.
        """
        return _converted(parse_json(self.body) if self.body else {}, kind, strict=True)

    def query_as(self, kind: type[_T]) -> _T:
        """The query as a wire struct; unknown fields are ignored.

        Raises:
            CallerError: not UTF-8, a field twice, missing, of another type or out of its range.
        """
        if not self.query:
            return _converted({}, kind, strict=False)
        try:
            pairs = parse_qsl(
                self.query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_QUERY_FIELDS
            )
        except ValueError as error:
            raise CallerError(f"expected a query of `name=value` pairs: {error}") from None
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise CallerError("expected each query field once")
        return _converted(fields, kind, strict=False)


class Reply(msgspec.Struct, frozen=True, gc=False):
    """An answer other than 200 with nothing beside its body. `timing_us` are phases in order, for `Server-Timing`.

    A payload of bytes without headers is JSON that is encoded already.
    `is_filtered` tells that no secret is in the payload: it came through the output firewall, or every text in it is
    the daemon's own. All other payloads are redacted where they are encoded.
    """

    payload: object
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()
    timing_us: Mapping[str, int] = MappingProxyType({})
    is_filtered: bool = False


Handler: TypeAlias = Callable[[Services, Request], Awaitable[object]]


class Route(msgspec.Struct, frozen=True):
    """One operation: where it is, who may ask, what takes it, and how it looks on the wire (for OpenAPI).

    A handler returns a `Reply`, or the payload of a 200: a struct or a JSON object; what is no JSON is bytes in a
    `Reply` whose headers say what they are, and `media` names it.
    `roles` empty means that no token is needed. What is refused before it is looked at is denied, not a fault, where
    `is_call`.
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

    @property
    def waits(self) -> bool:
        """Whether its answer may wait for something to tell, for as long as `wait_ms` says."""
        return self.query is not None and "wait_ms" in self.query.__struct_fields__


def is_for_agents(route: Route) -> bool:
    """Whether the agents' socket serves a route."""
    return Role.AGENT in route.roles or route.path.startswith(AGENT_SOCKET_PREFIXES)


class Match(msgspec.Struct, frozen=True):
    """The operations of one path, and the values of its parameters."""

    by_method: Mapping[str, Route]
    params: Mapping[str, str]


class Routes:
    """All routes, found by path."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._plain: dict[bytes, Match] = {}
        self._templates: dict[tuple[str, ...], dict[str, Route]] = {}
        for route in routes:
            methods = self._templates.setdefault(tuple(route.path.split("/")), {})
            if route.method in methods:
                raise ValueError(f"`{route.method} {route.path}` is in two tables")
            methods[route.method] = route
            if "{" not in route.path:
                self._plain[route.path.encode()] = Match(methods, {})

    def find(self, raw_path: bytes) -> Match | None:
        """What is at a path, as it was sent: undecoded, without its query."""
        return self._plain.get(raw_path) or self._find_template(raw_path)

    def _find_template(self, raw_path: bytes) -> Match | None:
        try:
            segments = [unquote(segment, errors="strict") for segment in raw_path.decode("ascii").split("/")]
        except UnicodeDecodeError:
            return None
        for template, methods in self._templates.items():
            params = _match(template, segments)
            if params is not None:
                return Match(methods, params)
        return None


def _match(template: tuple[str, ...], segments: Sequence[str]) -> dict[str, str] | None:
    if len(template) != len(segments):
        return None
    params = {}
    for expected, got in zip(template, segments, strict=True):
        if expected.startswith("{"):
            if not _PARAMETER.fullmatch(got):
                return None
            params[expected[1:-1]] = got
        elif expected != got:
            return None
    return params


def _converted(value: object, kind: type[_T], *, strict: bool) -> _T:
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise CallerError(str(error).lower()) from None
