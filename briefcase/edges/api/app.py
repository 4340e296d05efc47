"""One request through the API: read `Api.answer` top to bottom.

 1. over TCP, what a browser must not be used for is refused    (403, before anybody is authenticated)
 2. the route: one path for each thing                          (404, 405)
 3. authenticate                                                (401, counted)
 4. the role                                                    (403); a place for whose connection it is (429, 503)
 5. the principal's bucket, requests and bytes                   (429; a call is denied, `rate_limited`)
 6. read the body, which the connection has bounded; where it was waited for, steps 3 and 4 again
 7. the noun's handler answers; one that changes something does not while receipts cannot be made durable (503);
    where it waited for something to tell, steps 3 and 4 again
 8. a fault becomes `{"code", "message", "request_id", "hint"?}`, without a part of any secret that the request held;
    what was not foreseen says only `internal`; a hook gets it as a denial in its client's words

The log has each refusal of step 1 to 7 with its request's id (bounded: `refusal_log`), each change, and each call that
waits for a person.

Answers are values that the connection writes (docs/adr/0007).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Final

import msgspec

from briefcase.adapters.telemetry.log_context import open_request
from briefcase.adapters.telemetry.log_context import request_id as request_id_of
from briefcase.adapters.telemetry.logger import get_logger
from briefcase.adapters.telemetry.refusal_log import RefusalLog
from briefcase.core.calls.ratelimits import PrincipalBuckets, PrincipalLimit
from briefcase.core.redaction.redactor import repeatable
from briefcase.edges.api import (
    access_requests,
    agents,
    anomalies,
    approvals,
    authzen,
    authzen_search,
    backups,
    budgets,
    control_plane,
    controls,
    diagnostics,
    explain,
    ext_authz,
    grants,
    health,
    hooks,
    identity,
    mcp_logins,
    mcp_servers,
    metrics,
    operators,
    page,
    passkeys,
    policy,
    proposals,
    providers,
    receipts,
    secrets,
    signers,
    tools,
    witnesses,
)
from briefcase.edges.api.auth import Authenticator
from briefcase.edges.api.changes import make_change
from briefcase.edges.api.effects import changing_handlers
from briefcase.edges.api.routing import Request, Route, is_for_agents
from briefcase.edges.api.services import Services
from briefcase.edges.api.turnstile import Turnstile
from briefcase.edges.http.exchange import DirectExchange, GoneError, Head, RefusalWords
from briefcase.edges.http.guard import check_browser_headers
from briefcase.edges.http.routing import PathTable, Reply
from briefcase.edges.http.sockets import Peer
from briefcase.model.errors import BriefcaseError, CallerError
from briefcase.model.types import JsonObject, Principal, Role

TABLES: Final[tuple[tuple[Route, ...], ...]] = (
    health.ROUTES,
    identity.ROUTES,
    tools.ROUTES,
    authzen.ROUTES,
    authzen_search.ROUTES,
    access_requests.ROUTES,
    ext_authz.ROUTES,
    hooks.ROUTES,
    approvals.ROUTES,
    receipts.ROUTES,
    backups.ROUTES,
    budgets.ROUTES,
    controls.ROUTES,
    control_plane.ROUTES,
    diagnostics.ROUTES,
    policy.ROUTES,
    proposals.ROUTES,
    explain.ROUTES,
    agents.ROUTES,
    grants.ROUTES,
    anomalies.ROUTES,
    operators.ROUTES,
    signers.ROUTES,
    passkeys.ROUTES,
    page.ROUTES,
    secrets.ROUTES,
    mcp_servers.ROUTES,
    mcp_logins.ROUTES,
    providers.ROUTES,
    metrics.ROUTES,
    witnesses.ROUTES,
)
ROUTES: Final = tuple(route for table in TABLES for route in table)

LARGE_BODY_BYTES: Final = 64 << 10
NS_OF_A_REFUSAL: Final = 50_000  # what it takes to read a request's head
BYTES_READ_A_NS: Final = 2  # of a body that nobody looks at

_NOT_ADMITTED: Final = frozenset({"unauthorized", "forbidden"})
_CORRELATION: Final = b"x-request-id"
_PLAIN_ID: Final = re.compile(rb"[\x21-\x7e]{1,256}")
_METHODS_WITH_BODY: Final = frozenset({"POST", "PUT"})
_NOBODY: Final = Principal("nobody", Role.AGENT, auth_method="none")  # on routes that need no token: owns nothing

_log: Final = get_logger("briefcase.api")


def refusal_words() -> dict[bytes, RefusalWords]:
    """How a request that HTTP itself refuses is answered, by path, where the route has words for it (`refused_as`)."""

    def words_of(refused_as: Callable[[BriefcaseError], JsonObject]) -> RefusalWords:
        return lambda code, message: refused_as(CallerError(message, code=code))

    return {route.path.encode(): words_of(route.refused_as) for route in ROUTES if route.refused_as is not None}


class RoleError(CallerError):
    """Somebody who is known asks what their role may not (`forbidden`)."""

    def __init__(self, principal: Principal, route: Route) -> None:
        super().__init__(f"the role `{principal.role}` may not `{route.method} {route.path}`", code="forbidden")
        self.principal = principal


class Api:
    """The application (`exchange.DirectApp`).

    Args:
        services: what the nouns answer from.
        authenticator: tells who is asking.
        buckets: how much each principal may ask.
        turnstile: whose turn it is; the flow of calls has the same one.
        refusals: logs what is refused.
    """

    knows_principals = True

    def __init__(
        self,
        services: Services,
        authenticator: Authenticator,
        buckets: PrincipalBuckets | None = None,
        turnstile: Turnstile | None = None,
        refusals: RefusalLog | None = None,
    ) -> None:
        self._services = services
        self._authenticator = authenticator
        self._has_room = (buckets or PrincipalBuckets(PrincipalLimit())).take
        self._now_ns = services.clock.monotonic_ns
        self._turnstile = turnstile or Turnstile()
        self._refusals = refusals or RefusalLog(services.clock.monotonic_ns)
        self._routes = PathTable((route.method, route.path, route) for route in ROUTES)
        self._changing = changing_handlers(ROUTES)
        self._waiting = frozenset(route.handler for route in ROUTES if route.waits)

    def route_of(self, head: Head) -> Route | None:
        """The operation that a request names; None where there is none."""
        return self._routes.find(head.path).by_method.get(head.method)

    def redact(self, body: bytes, *, is_json: bool) -> bytes:
        """The body of an answer without any known secret, whatever adapter its texts came from."""
        redactor = self._services.redactor
        if not is_json:
            return redactor.redact_text(body.decode("utf-8", "replace")).encode()
        return redactor.redact(body)

    async def answer(self, exchange: DirectExchange) -> Reply:
        """Answer a request, as the module's docstring says.

        Raises:
            GoneError: the client left before its request was whole.
        """
        open_request()
        head = exchange.head
        try:
            # 1. what a browser must not be used for
            peer = exchange.peer
            _check_peer(peer, head.headers)

            # 2. the route
            match = self._routes.find(head.path)
            route = match.by_method.get(head.method)
            if route is None:
                await self._waited(exchange.place.principal or _NOBODY, exchange)
                return self._no_route(match.by_method, peer)

            # 3. and 4. who, and in which role
            principal = self._admit(route, exchange)

            # 5. the principal's bucket
            size_bytes = head.content_length or 0
            if principal is not _NOBODY and not self._has_room(principal.owner, size_bytes, self._now_ns()):
                return await self._turned_away(route, principal, size_bytes, exchange)

            # 6. the body
            is_here = exchange.is_whole
            has_none = head.method not in _METHODS_WITH_BODY
            body = b"" if has_none else exchange.read if is_here else await exchange.body()
            is_plain = is_here and size_bytes <= LARGE_BODY_BYTES and (not body or head.content_length is not None)
            if not is_plain or exchange.place.meter.is_over:
                refused = await self._held_up(route, principal, body, exchange)
                if refused is not None:
                    return refused

            # 7. answer
            request = Request(head, principal, match.params, body, exchange.until_gone, peer.authority)
            if route.handler in self._changing:
                answer = await self._changed(route, request, exchange)
            elif route.holds or (head.query and route.handler in self._waiting):  # else nothing is waited for
                answer = await self._polled(route, request, exchange)
            else:
                answer = await route.handler(self._services, request)
            reply = answer if isinstance(answer, Reply) else Reply(answer)
            return _correlated(reply, head) if route.is_correlated else reply

        # 8. faults
        except BriefcaseError as error:
            return await self._refused(error, exchange)
        except GoneError:
            raise
        except Exception as error:  # noqa: BLE001 - nothing of it may leave; all of it is logged
            fault = BriefcaseError("something went wrong inside", detail=repr(error))
            return self._told(self._fault(fault, error), fault, self.route_of(head))

    def _admit(self, route: Route, exchange: DirectExchange) -> Principal:
        peer = exchange.peer
        if peer.is_for_agents and not is_for_agents(route):
            raise _not_for_agents()
        if not route.roles:
            return _NOBODY
        principal = self._authenticator.authenticate(_authorization(exchange.head.headers))
        if peer.is_for_agents and principal.role is not Role.AGENT:
            raise _not_for_agents()
        is_new = exchange.place.principal is not principal  # once on a connection that one principal uses
        if is_new and peer.reads_tokens and principal.role is Role.AGENT:
            self._authenticator.note_peer(principal.name, peer.uid or 0)
        if principal.role not in route.roles:
            raise RoleError(principal, route)
        if is_new:
            exchange.claim(principal)
            exchange.place.meter.account = self._turnstile.account_of(principal.owner)
        return principal

    async def _changed(self, route: Route, request: Request, exchange: DirectExchange) -> object:
        if route.handler in self._waiting:
            return await make_change(self._services, route, request, lambda now: self._polled(route, now, exchange))
        return await make_change(self._services, route, request, lambda now: route.handler(self._services, now))

    async def _polled(self, route: Route, request: Request, exchange: DirectExchange) -> object:
        exchange.place.wait(exchange.hurry)
        try:
            answer = await route.handler(self._services, request)
        finally:
            exchange.place.stop_waiting()
        if not route.holds:  # a call that was held looks itself, before it takes effect
            self._admit(route, exchange)  # the token may have ended while something to tell was awaited
        return answer

    async def _held_up(self, route: Route, principal: Principal, body: bytes, exchange: DirectExchange) -> Reply | None:
        """What is answered instead, if anything, where the body or the principal is not as of most requests."""
        head = exchange.head
        is_told = head.content_length is not None or not body  # what comes in chunks declares no size
        if not is_told and not self._has_room(principal.owner, len(body), self._now_ns()):
            return await self._turned_away(route, principal, len(body), exchange)
        if not await self._waited(principal, exchange, is_large=len(body) > LARGE_BODY_BYTES):
            return await self._turned_away(route, principal, len(body), exchange)
        self._admit(route, exchange)  # the token may have ended while the body was awaited
        return None

    async def _waited(self, principal: Principal, exchange: DirectExchange, *, is_large: bool = False) -> bool:
        """Wait for a turn; False where too many wait. An operator does not, and has room all the same."""
        is_large, place = is_large and principal.role is Role.AGENT, exchange.place
        if not is_large and (principal.role is Role.OPERATOR or not place.meter.is_over):
            return True
        exchange.pause()  # what still comes of the body would be work too
        if principal is _NOBODY:
            return await self._turnstile.passed(place.stranger, is_large=is_large, account=place.meter.account)
        return await self._turnstile.passed(principal.owner, is_large=is_large)

    async def _turned_away(
        self, route: Route, principal: Principal, size_bytes: int, exchange: DirectExchange
    ) -> Reply:
        """What a request gets that its principal's bucket has no room for; nothing of its body was looked at."""
        if principal is _NOBODY:
            return self._fault(CallerError("too many large requests without a token", code="rate_limited"))
        exchange.place.meter.account.charge(NS_OF_A_REFUSAL + size_bytes // BYTES_READ_A_NS)
        await self._waited(principal, exchange)  # or it would be asked again as fast as it is denied
        fault = await self._services.calls.refusals.turn_away(principal, size_bytes)
        if not route.is_call:
            return self._told(self._fault(fault), fault, route)
        self._services.meter.count_fault(fault.code)
        return Reply({"status": "denied", "reason": fault.code, "receipt_id": fault.receipt_id})

    async def _refused(self, error: BriefcaseError, exchange: DirectExchange) -> Reply:
        """The answer of a fault; who is not admitted waits for it, or would ask again as fast as they are refused."""
        known = exchange.place.principal
        if known is None or error.code in _NOT_ADMITTED:
            await self._waited(known or _NOBODY, exchange)
        fault = self._repeatable(error, exchange)
        reply = self._fault(fault)
        asker = error.principal if isinstance(error, RoleError) else None if error.code == "unauthorized" else known
        by = exchange.place.stranger if asker is None else asker.name
        request_id, operation = request_id_of(self._services.entropy.uuid), self._named(exchange.head)
        self._refusals.note(by, reply.status, fault.code, fault.message, request_id=request_id, operation=operation)
        route = self.route_of(exchange.head)
        told = self._told(reply, fault, route)
        return told if route is None or not route.is_correlated else _correlated(told, exchange.head)

    def _told(self, reply: Reply, fault: BriefcaseError, route: Route | None) -> Reply:
        """The answer of a fault; in the words of who asks, where the route has some."""
        return reply if route is None or route.refused_as is None else Reply(route.refused_as(fault))

    def _named(self, head: Head) -> str:
        """The operation of a request, in words of ours alone."""
        route = self.route_of(head)
        return "none" if route is None else f"{route.method} {route.path}"

    def _repeatable(self, error: BriefcaseError, exchange: DirectExchange) -> BriefcaseError:
        """The fault found in a request, without a part of a secret in it: only a caller's fault quotes the request."""
        if not isinstance(error, CallerError):
            return error
        head = exchange.head
        return repeatable(self._services.redactor, error, b"%b?%b\n%b" % (head.path, head.query, exchange.read))

    def _no_route(self, by_method: Mapping[str, Route], peer: Peer) -> Reply:
        if not by_method:
            if peer.is_for_agents:
                raise _not_for_agents()
            return self._fault(CallerError("nothing is at this path", code="not_found"))
        allowed = ", ".join(sorted(by_method))
        reply = self._fault(CallerError(f"expected one of {allowed}", code="method_not_allowed"))
        return msgspec.structs.replace(reply, headers=((b"allow", allowed.encode()),))

    def _fault(self, error: BriefcaseError, cause: Exception | None = None) -> Reply:
        request_id = request_id_of(self._services.entropy.uuid)
        self._services.meter.count_fault(error.code)
        if error.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.error(
                "request failed",
                request_id=request_id,
                code=error.code,
                problem=error.message,
                detail=error.detail,
                exc_info=cause,
            )
        payload: JsonObject = {"code": error.code, "message": error.message, "request_id": request_id}
        if error.hint:
            payload["hint"] = error.hint
        if error.receipt_id is not None:
            payload["receipt_id"] = error.receipt_id
        headers = ((b"www-authenticate", b"Bearer"),) if error.code == "unauthorized" else ()
        return Reply(payload, error.http_status, headers)


def _not_for_agents() -> CallerError:
    return CallerError(
        "this socket takes agents' tokens, and what an agent may ask",
        code="forbidden",
        hint="operators use the daemon's own socket: `BRIEFCASE_DAEMON_UNIX_SOCKET`",
    )


def _correlated(reply: Reply, head: Head) -> Reply:
    """The answer with its request's own id, where that is one and plain."""
    sent = [value for name, value in head.headers if name == _CORRELATION]
    if len(sent) != 1 or _PLAIN_ID.fullmatch(sent[0]) is None:
        return reply
    return msgspec.structs.replace(reply, headers=(*reply.headers, (_CORRELATION, sent[0])))


def _check_peer(peer: Peer, headers: Sequence[tuple[bytes, bytes]]) -> None:
    if not peer.is_unix:
        check_browser_headers(headers, peer.hosts)


def _authorization(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    found = None
    for name, value in headers:
        if name == b"authorization":
            if found is not None:
                raise CallerError("expected one `authorization` header")
            found = value
    return found
