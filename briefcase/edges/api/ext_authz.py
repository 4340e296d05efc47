"""Envoy's external authorization: may this request be forwarded to an MCP server? Over HTTP, and the core of gRPC's.

A proxy asks with the method, the path, the headers and the body of the request that it holds. Only the status 200 lets
it through; any fault is another status, and so a denial.

 1. who: the token's agent; a token that decides for others names the agent (`x-briefcase-agent`), and never itself
    by silence
 2. where to: `/ext_authz/<server>/mcp`, in exactly these characters, without a query; a server of `mcp servers list`
 3. what: one call, or one of the few requests that are forwarded unasked (`core/mcp/forwarded.py`)
 4. the flow's third form decides (`Calls.delegate`): receipted and closed before this answer
 5. a call that waits for a person is told so; the same call of the same agent, forwarded after the yes, uses it up

What is refused in 1 to 3 is receipted, or counted in a receipt, as a question that is about no call.

# INVARIANT (a proxy's yes): the request id of a call that a proxy asks about is a UUID of version 8, which no other way
in makes, so that the yes for a call that waits elsewhere is never taken by a proxied one.
"""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from typing import Final

import msgspec

from briefcase.core.approvals.lifecycle import binding_hex
from briefcase.core.calls.answers import ALLOWED, Answer
from briefcase.core.calls.subjects import principal_of
from briefcase.core.mcp.forwarded import NotForwardedError, ToolUse, read_forwarded
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.core.wire.authzen import AccessRequest
from briefcase.core.wire.calls import NOT_ALLOWED, CallDenied, CallNeedsApproval
from briefcase.core.wire.ext_authz import Forward, Refusal
from briefcase.core.wire.fields import given
from briefcase.edges.api.routing import CALLERS, Request, Route
from briefcase.edges.api.services import Services
from briefcase.edges.http.routing import Reply
from briefcase.model import reasons
from briefcase.model.errors import CallerError
from briefcase.model.identifiers import is_server_id
from briefcase.model.types import ApprovalStatus, Principal, ToolCall

AGENT: Final = "x-briefcase-agent"
AUTHORIZATION: Final = "authorization"
OWN_PATH: Final = "/mcp"
PATH: Final = "/ext_authz/{server}/mcp"
TO_REMOVE: Final = b"x-envoy-auth-headers-to-remove"  # what Envoy takes out of a request that it forwards

_ASKED_BY_A_PROXY: Final = "8"  # the version of a UUID is its 13th digit (RFC 9562 sections 4.2, 5.8)
_VERSION_AT: Final = 14
_WAITS: Final = "a person must say yes: make the same call again after that"


class Forwarded(msgspec.Struct, frozen=True):
    """The request that a proxy holds, and for which server; `path` is as it is forwarded, undecoded, with its query.

    `headers` have their names in lower case.
    """

    server: str
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes


async def check(services: Services, asker: Principal, held: Forwarded) -> Forward | Refusal:
    """Say whether a request may be forwarded, with its receipt on disk first.

    Args:
        services: what the API answers from.
        asker: whose token the proxy showed.
        held: the request.

    Raises:
        StoreError: a receipt could not be made durable; the request may not be forwarded.
    """
    # 1. who
    principal = _acting(services, asker, held.headers)
    if principal is None:
        return await _turned_down(services, asker, reasons.UNKNOWN_SUBJECT, held.body)

    # 2. where to
    if held.path != OWN_PATH:
        about = "expected the path `/mcp`, plainly written, and no query"
        return await _turned_down(services, asker, reasons.with_detail(reasons.INVALID_ARGS, about), held.body)
    if not is_server_id(held.server) or not _is_known(services, held.server):
        return await _turned_down(services, asker, reasons.UNKNOWN_RESOURCE, held.body)

    # 3. what
    try:
        asked = read_forwarded(held.server, held.method, held.headers, held.body)
    except NotForwardedError as error:
        reason = reasons.with_detail(reasons.INVALID_ARGS, error.about)
        return await _turned_down(services, asker, reason, held.body)
    if asked is None:
        return Forward()

    # 4. decide
    answer = await services.calls.delegate(principal, _call_of(services, principal, asked))
    services.meter.count_answer(answer.status, answer.reason, answer.timing_us)
    return _shown(answer)


async def check_message(services: Services, request: Request) -> Reply:
    """`POST /ext_authz/{server}/mcp`: 200 forwards the message, 403 does not."""
    return await _answered(services, request, has_unread_body=False)


async def check_stream(services: Services, request: Request) -> Reply:
    """`GET /ext_authz/{server}/mcp`: whether the server's stream may be opened."""
    return await _answered(services, request, has_unread_body=_is_chunked(request))


async def check_end(services: Services, request: Request) -> Reply:
    """`DELETE /ext_authz/{server}/mcp`: whether a session may be ended."""
    return await _answered(services, request, has_unread_body=_is_chunked(request))


def removed(asker: Principal) -> tuple[str, ...]:
    """The headers that the server must not see: who the agent is, and its token where it was the agent's own."""
    return (AGENT,) if asker.decides_for else (AGENT, AUTHORIZATION)


async def _answered(services: Services, request: Request, *, has_unread_body: bool) -> Reply:
    head, server = request.head, request.params["server"]
    # one spelling alone: the proxy routes by the path as it is, and the table of routes decodes it
    is_plain = head.path == PATH.replace("{server}", server).encode() and not head.query
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers]
    path = OWN_PATH if is_plain and not has_unread_body else ""
    checked = await check(services, request.principal, Forwarded(server, head.method, path, headers, request.body))
    if isinstance(checked, Refusal):
        return Reply(checked, HTTPStatus.FORBIDDEN)
    return Reply(checked, headers=((TO_REMOVE, ",".join(removed(request.principal)).encode()),))


def _is_chunked(request: Request) -> bool:
    """Whether a request has a body that is not read: of a GET and a DELETE none is."""
    return any(name == b"transfer-encoding" for name, _ in request.head.headers)


def _acting(services: Services, asker: Principal, headers: list[tuple[str, str]]) -> Principal | None:
    named = [value for name, value in headers if name == AGENT]
    if len(named) > 1 or (asker.decides_for and not named):
        return None
    return principal_of(asker, named[0], services.agents) if named else asker


def _is_known(services: Services, server: str) -> bool:
    try:
        services.mcp.check_known(server)
    except CallerError:
        return False
    return True


def _call_of(services: Services, principal: Principal, asked: ToolUse) -> ToolCall:
    """The call, with the yes that the same call got when a proxy asked about it before."""
    request_id = services.entropy.uuid()
    args = canonical_bytes(asked.args)
    return ToolCall(
        tool_id=asked.tool_id,
        args=asked.args,
        canonical_args=args,
        request_id=f"{request_id[:_VERSION_AT]}{_ASKED_BY_A_PROXY}{request_id[_VERSION_AT + 1 :]}",
        began_ns=services.clock.monotonic_ns(),
        approval_token=_yes(services, principal, asked.tool_id, args),
    )


def _yes(services: Services, principal: Principal, tool_id: str, args: bytes) -> str | None:
    tool = services.tools.resolve(tool_id)
    if tool is None:
        return None
    digest_hex = hashlib.sha256(args).hexdigest()
    approval = services.ledger.pending_approval(binding_hex(principal.owner, tool_id, tool.spec.digest_hex, digest_hex))
    if approval is None or approval.status is not ApprovalStatus.APPROVED:
        return None
    return approval.id if approval.request_id[_VERSION_AT : _VERSION_AT + 1] == _ASKED_BY_A_PROXY else None


async def _turned_down(services: Services, asker: Principal, reason: str, body: bytes) -> Refusal:
    receipt_id = await services.calls.refusals.turn_down(asker, reason, body)
    return Refusal(reason, receipt_id, reasons.next_step_of(reason))


def _shown(answer: Answer) -> Forward | Refusal:
    receipt_id = answer.receipt_id
    if answer.status == ALLOWED:
        return Forward(receipt_id)
    said = NOT_ALLOWED.decode(answer.body)
    match said:
        case CallNeedsApproval():
            approval = said.approval
            waiting = AccessRequest(approval.id, approval.expires_at, approval.kind, approval.reason)
            return Refusal(answer.status, receipt_id, _WAITS, access_request=waiting)
        case CallDenied():
            next_step = reasons.next_step_of(said.reason)
            return Refusal(said.reason, receipt_id, next_step, given(said.policy_ids, []), given(said.advice, ""))


ROUTES: Final = (
    Route("POST", PATH, CALLERS, check_message, "Whether a proxy may forward a message to an MCP server", Forward),
    Route("GET", PATH, CALLERS, check_stream, "Whether a proxy may open the stream of an MCP server", Forward),
    Route("DELETE", PATH, CALLERS, check_end, "Whether a proxy may end a session of an MCP server", Forward),
)
