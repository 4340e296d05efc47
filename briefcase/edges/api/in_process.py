"""The route table for a caller inside of the daemon, in somebody's name: steps 2 to 7 of `api.app`.

So what a person may do is said in one place, whatever they do it with: the role, the bucket, the gate and the redaction
of an answer are those of a request with the person's own token. Who they are was proven before.

Step 8 is the caller's: a fault is raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec
import orjson

from briefcase.core.calls.ratelimits import PrincipalBuckets
from briefcase.edges.api.app import ROUTES, RoleError
from briefcase.edges.api.changes import make_change
from briefcase.edges.api.effects import changing_handlers
from briefcase.edges.api.routing import Request
from briefcase.edges.api.services import Services
from briefcase.edges.http.exchange import Head
from briefcase.edges.http.routing import PathTable, Reply
from briefcase.model.errors import CallerError
from briefcase.model.types import Principal

_T = TypeVar("_T")


def path_of(*parts: str) -> str:
    """A path of the API from its segments, each of which may hold anything."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


class InProcessApi:
    """Answers as the API does, without a connection.

    Args:
        services: what the nouns answer from.
        buckets: how much each principal may ask; the API's own.
    """

    def __init__(self, services: Services, buckets: PrincipalBuckets) -> None:
        self._services = services
        self._has_room = buckets.take
        self._routes = PathTable((route.method, route.path, route) for route in ROUTES)
        self._changing = changing_handlers(ROUTES)

    def may(self, principal: Principal, method: str, path: str) -> bool:
        """Whether a role may ask an operation."""
        route = self._routes.find(path.encode()).by_method.get(method)
        return route is not None and principal.role in route.roles

    def version(self) -> int:
        """A number that changes with whatever changes in the ledger: the id of the last receipt."""
        return self._services.ledger.head().id

    async def get(self, principal: Principal, path: str, kind: type[_T], /, **query: str | int | None) -> _T:
        """Read something.

        Args:
            principal: in whose name.
            path: as `path_of` makes it.
            kind: the wire struct of the answer.
            query: the fields of the query; None for one that is left out.

        Raises:
            BriefcaseError: as the operation answers.
        """
        fields = {name: value for name, value in query.items() if value is not None}
        head = _head("GET", path, urlencode(fields).encode())
        return msgspec.convert(await self._answer(principal, head, b""), kind)

    async def change(
        self, principal: Principal, path: str, kind: type[_T], body: Mapping[str, object], *, method: str = "POST"
    ) -> _T:
        """Change something.

        Args:
            principal: in whose name.
            path: as `path_of` makes it.
            kind: the wire struct of the answer.
            body: the members of the request.
            method: `POST`, or `PUT` where the operation wants it.

        Raises:
            BriefcaseError: as the operation answers.
        """
        return msgspec.convert(await self._answer(principal, _head(method, path), orjson.dumps(body)), kind)

    async def _answer(self, principal: Principal, head: Head, body: bytes) -> object:
        # 2. the route
        match = self._routes.find(head.path)
        route = match.by_method.get(head.method)
        if route is None:
            raise CallerError("nothing is at this path", code="not_found")

        # 4. the role
        if principal.role not in route.roles:
            raise RoleError(principal, route)

        # 5. the principal's bucket
        if not self._has_room(principal.owner, len(body), self._services.clock.monotonic_ns()):
            raise CallerError("more than one principal may send", code="rate_limited", hint="try again in a moment")

        # 6. is here, 7. answer
        request = Request(head, principal, match.params, body, _never_gone)
        if route.handler in self._changing:
            answer = await make_change(self._services, route, request, lambda now: route.handler(self._services, now))
        else:
            answer = await route.handler(self._services, request)
        return self._redacted(answer)

    def _redacted(self, answer: object) -> object:
        """The answer as the wire would have it: what it says is searched for secrets unless it was already."""
        payload, is_filtered = (answer.payload, answer.is_filtered) if isinstance(answer, Reply) else (answer, False)
        data = payload if isinstance(payload, bytes) else orjson.dumps(payload, default=msgspec.to_builtins)
        return orjson.loads(data if is_filtered else self._services.redactor.redact(data))


def _head(method: str, path: str, query: bytes = b"") -> Head:
    return Head(method, path.encode(), query, [], "1.1", keep_alive=True, expects_continue=False)


async def _never_gone() -> None:
    await asyncio.get_running_loop().create_future()
