"""What a page gets to know of a request, and what it answers: a template with values, or another place to go.

A page asks the daemon by the API's own paths, in the name of who is logged in (`api.in_process`): it can do nothing
that their token could not.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final, TypeAlias, TypeVar
from urllib.parse import parse_qsl

import msgspec

from briefcase.edges.api.in_process import InProcessApi
from briefcase.edges.page.sessions import Session
from briefcase.model.errors import CallerError
from briefcase.model.types import MICROUSD_PER_USD

MAX_FIELDS: Final = 64
MAX_FORM_BYTES: Final = 64 << 10

_DOLLARS: Final = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,6}))?")

_T = TypeVar("_T")


class Asked(msgspec.Struct, frozen=True):
    """One request of somebody who is logged in. `form` is empty unless it is a POST.

    `is_live` tells whether its session goes on, for an answer that takes long. `origin` is the page's own.
    """

    api: InProcessApi
    session: Session
    params: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str]
    now_us: int
    is_live: Callable[[], bool]
    origin: str

    async def get(self, path: str, kind: type[_T], /, **query: str | int | None) -> _T:
        """Read something of the daemon's, as the person."""
        return await self.api.get(self.session.principal, path, kind, **query)

    async def post(self, path: str, kind: type[_T], /, **body: object) -> _T:
        """Change something of the daemon's, as the person."""
        return await self.api.change(self.session.principal, path, kind, body)

    async def put(self, path: str, kind: type[_T], /, **body: object) -> _T:
        """Replace something of the daemon's, as the person."""
        return await self.api.change(self.session.principal, path, kind, body, method="PUT")

    def may(self, method: str, path: str) -> bool:
        """Whether the person may."""
        return self.api.may(self.session.principal, method, path)


class Shown(msgspec.Struct, frozen=True):
    """A page: its template, what stands in it, and its title."""

    template: str
    title: str
    values: Mapping[str, object] = {}
    status: int = HTTPStatus.OK


class Moved(msgspec.Struct, frozen=True):
    """Another page of the same session, by its path below the session's place."""

    to: str


class Events(msgspec.Struct, frozen=True):
    """Server-sent events, as they come."""

    pieces: Callable[[], AsyncGenerator[bytes]]


class Told(msgspec.Struct, frozen=True):
    """What the page's own script asked for, as JSON."""

    value: object


Answer: TypeAlias = Shown | Moved | Events | Told


class View(msgspec.Struct, frozen=True):
    """One page or form: where it is below the session's place, and what answers. Only a POST changes anything."""

    method: str
    path: str
    answer: Callable[[Asked], Awaitable[Answer]]
    max_form_bytes: int = MAX_FORM_BYTES


def parse_dollars(text: str) -> int:
    """Plain decimal dollars as micro-USD, exactly.

    Raises:
        CallerError: they are none.
    """
    found = _DOLLARS.fullmatch(text.strip())
    if found is None:
        raise CallerError("expected dollars as a plain number, for example `2.50`")
    return int(found[1]) * MICROUSD_PER_USD + int((found[2] or "").ljust(6, "0"))


def parse_fields(data: bytes) -> Mapping[str, str]:
    """A query, or a form as a browser sends it; each field once.

    Raises:
        CallerError: it is none.
    """
    try:
        pairs = parse_qsl(data.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise CallerError("expected the fields of a form") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise CallerError("expected each field once")
    return fields
