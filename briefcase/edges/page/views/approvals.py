"""What waits for a person: the list, one call whole, and the yes or no to exactly what was shown.

The form of a yes carries the digest of the document that its page was made from. Whatever changed since is another
document, and the daemon refuses the yes (`core.operator.approvals`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final, NamedTuple

from briefcase.core.json.members import Member, members_of
from briefcase.core.json.strict import parse as parse_json
from briefcase.core.receipts.canonical import digest_hex
from briefcase.core.wire.approvals import (
    MAX_REASON_CHARS,
    ApprovalList,
    ApprovalRecord,
    Approved,
    Denied,
    LastApproved,
    ShownApproval,
    ShownToolRecord,
)
from briefcase.core.wire.fields import given
from briefcase.core.wire.grants import DraftedGrant
from briefcase.core.wire.tools import category_name
from briefcase.edges.api.in_process import path_of
from briefcase.edges.page.asking import Asked, Events, Moved, Shown, View
from briefcase.edges.page.views.grants import LASTS_S, draft_grant, pointers_of
from briefcase.model.errors import BriefcaseError, CallerError
from briefcase.model.types import JsonObject

LONG_CHARS: Final = 160
MAX_ENDED: Final = 50
LOOK_S: Final = 0.5
QUIET_S: Final = 5.0
OPEN: Final = frozenset({"pending", "approved"})


class Difference(NamedTuple):
    """One argument beside what it was in the last call that somebody said yes to."""

    name: str
    before: str | None
    now: str | None


async def list_approvals(asked: Asked) -> Shown:
    """`GET /approvals`: what waits, and each yes that was not used yet."""
    found = (await asked.get("/v1/approvals", ApprovalList, status="open")).approvals
    waiting = [one for one in found if one.status == "pending"]
    unused = [one for one in found if one.status == "approved"]
    values = {"waiting": waiting, "unused": unused, "now_us": asked.now_us, "state": _state(found)}
    return Shown("approvals", f"Waiting ({len(waiting)})", values)


async def list_ended(asked: Asked) -> Shown:
    """`GET /approvals/ended`: who decided what, the newest first."""
    found = (await asked.get("/v1/approvals", ApprovalList, status="all", limit=MAX_ENDED)).approvals
    return Shown("ended", "Decided", {"ended": [one for one in found if one.status not in OPEN], "most": MAX_ENDED})


async def show_approval(asked: Asked) -> Shown:
    """`GET /approvals/{id}`: the whole call, with the digest of what is shown."""
    return await _shown(asked)


async def preview_grant(asked: Asked) -> Shown:
    """`POST /approvals/{id}/grant`: the call again, and what a yes with this grant would let pass; nothing is given."""
    return await _shown(asked, *await draft_grant(asked, asked.params["id"]))


async def _shown(asked: Asked, drafted: DraftedGrant | None = None, terms: str = "") -> Shown:
    approval = await asked.get(path_of("v1", "approvals", asked.params["id"]), ShownApproval)
    if not isinstance(approval.args_text, str) or not isinstance(approval.tool, ShownToolRecord):
        raise CallerError("this approval shows no whole call", code="conflict", hint="deny it; the agent can ask again")
    arguments = members_of(approval.args_text)
    person, approved_by = asked.session.principal.name, given(approval.approved_by, [])
    values = {
        "approval": approval,
        "tool": approval.tool,
        "category": category_name(approval.tool.category),
        "arguments": arguments,
        "question": members_of(given(approval.question_text, "")) if given(approval.question_text, "") else [],
        "long_chars": LONG_CHARS,
        "risk": given(approval.risk, []),
        "given": given,
        "last": approval.last_approved if isinstance(approval.last_approved, LastApproved) else None,
        "differences": await _differences(asked, approval),
        "grant": approval.grant if isinstance(approval.grant, DraftedGrant) else drafted,
        "drafted": drafted,
        "terms": terms,
        "pointers": pointers_of(arguments),
        "lasts": tuple(LASTS_S),
        "approvers": given(approval.approvers, 1),
        "approved_by": approved_by,
        "said_yes": person in approved_by,
        "max_reason_chars": MAX_REASON_CHARS,
        "now_us": asked.now_us,
        "next": await _next(asked, approval),
    }
    return Shown("approval", f"{approval.tool.name} for {approval.principal}", values)


async def follow(asked: Asked) -> Events:
    """`GET /events`: `changed` with a digest of what waits, at first and with each change; `over` with the session."""

    async def pieces() -> AsyncGenerator[bytes]:
        seen, at, quiet_s = "", -1, 0.0
        while asked.is_live():
            quiet_s += LOOK_S
            if at != asked.api.version() or quiet_s >= QUIET_S:  # an expiry appends nothing
                at, quiet_s = asked.api.version(), 0.0
                found = (await asked.get("/v1/approvals", ApprovalList, status="open")).approvals
                now = _state(found)
                yield b": still here\n\n" if now == seen else b"event: changed\ndata: %b\n\n" % now.encode()
                seen = now
            await asyncio.sleep(LOOK_S)
        yield b"event: over\ndata: \n\n"

    return Events(pieces)


async def approve(asked: Asked) -> Moved:
    """`POST /approvals/{id}/approve`: a yes to the digest that the form's page was made from."""
    approval_id = asked.params["id"]
    said: JsonObject = {name: asked.form.get(name, "") for name in ("shown_digest_hex", "reason")}
    if terms := asked.form.get("grant", ""):
        said |= {"grant": parse_json(terms.encode()), "grant_digest_hex": asked.form.get("grant_digest_hex", "")}
    await asked.post(path_of("v1", "approvals", approval_id, "approve"), Approved, **said)
    return Moved(path_of("approvals", approval_id))


async def deny(asked: Asked) -> Moved:
    """`POST /approvals/{id}/deny`: also takes a yes back that was not used yet."""
    approval_id = asked.params["id"]
    reason = asked.form.get("reason", "")
    await asked.post(path_of("v1", "approvals", approval_id, "deny"), Denied, reason=reason)
    return Moved(path_of("approvals", approval_id))


async def _differences(asked: Asked, approval: ShownApproval) -> list[Difference] | None:
    """What differs from the last call of the tool that somebody said yes to; None where that is not kept any more."""
    last = approval.last_approved
    if not isinstance(last, LastApproved) or last.is_same_call:
        return None
    try:
        before = await asked.get(path_of("v1", "approvals", last.approval_id), ShownApproval)
    except BriefcaseError:
        return None
    was, now = given(before.args_text, ""), given(approval.args_text, "")
    return _compared(members_of(was), members_of(now)) if was else None


def _compared(before: list[Member], now: list[Member]) -> list[Difference]:
    was, become = dict(before), dict(now)
    names = [*become, *(name for name in was if name not in become)]
    pairs = ((name, was.get(name), become.get(name)) for name in names)
    return [Difference(*pair) for pair in pairs if pair[1] != pair[2]]


def _state(found: list[ApprovalRecord]) -> str:
    """What a list and its followers are told apart by."""
    return digest_hex([[one.id, one.status, given(one.approvals_given, 0)] for one in found])


async def _next(asked: Asked, approval: ApprovalRecord) -> ApprovalRecord | None:
    """What to look at next: the oldest other one that waits."""
    found = (await asked.get("/v1/approvals", ApprovalList, status="pending")).approvals
    return next((one for one in found if one.id != approval.id), None)


VIEWS: Final = (
    View("GET", "/approvals", list_approvals),
    View("GET", "/events", follow),
    View("GET", "/approvals/ended", list_ended),
    View("GET", "/approvals/{id}", show_approval),
    View("POST", "/approvals/{id}/grant", preview_grant),
    View("POST", "/approvals/{id}/approve", approve),
    View("POST", "/approvals/{id}/deny", deny),
)
