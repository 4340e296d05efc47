"""Grants: what passes without being asked again, and a grant that is put together from a call that waits.

A grant is shown as a sentence and as Cedar, below the whole call, before the yes that gives it; that yes carries the
digests of both.
"""

from __future__ import annotations

from typing import Final

import orjson

from briefcase.core.json.members import Member
from briefcase.core.wire.fields import given
from briefcase.core.wire.grants import DraftedGrant, GrantList, GrantRevoked
from briefcase.edges.api.in_process import path_of
from briefcase.edges.page.asking import Asked, Moved, Shown, View, parse_dollars
from briefcase.model.errors import CallerError
from briefcase.model.types import US_PER_S, JsonObject, format_rfc3339

HOME: Final = "/grants"
LASTS_S: Final = {"an hour": 3_600, "a day": 86_400, "a week": 7 * 86_400, "thirty days": 30 * 86_400}
FIXED: Final = "fixed "  # begins the name of each box, an argument's pointer ends it
MAX_COUNT_CHARS: Final = 9


async def list_grants(asked: Asked) -> Shown:
    """`GET /grants`."""
    found = (await asked.get("/v1/grants", GrantList, status="all")).grants
    return Shown("grants", "Grants", {"grants": found[::-1], "given": given})


async def revoke_grant(asked: Asked) -> Moved:
    """`POST /grants/revoke`: at once."""
    await asked.post(path_of("v1", "grants", asked.form.get("id", ""), "revoke"), GrantRevoked)
    return Moved(HOME)


async def draft_grant(asked: Asked, approval_id: str) -> tuple[DraftedGrant, str]:
    """What a form asks to let pass, as it is shown before the yes; and its terms, for the form of that yes."""
    terms = _terms(asked)
    drafted = await asked.post(path_of("v1", "approvals", approval_id, "grant"), DraftedGrant, **terms)
    return drafted, orjson.dumps(terms).decode()


def pointers_of(arguments: list[Member]) -> list[tuple[str, str]]:
    """The arguments by name, each with the name of its box in the form."""
    names = [orjson.loads(member.name) for member in arguments if member.name]
    return [(name, f"{FIXED}/{name.replace('~', '~0').replace('/', '~1')}") for name in names]


def _terms(asked: Asked) -> JsonObject:
    form, holds_s = asked.form, LASTS_S.get(asked.form.get("lasts", ""))
    fixed: list[str] = sorted(name.removeprefix(FIXED) for name in form if name.startswith(FIXED))
    terms: JsonObject = {"args": "exact" if form.get("args") != "some" else {"fixed": list(fixed)}}
    if uses := form.get("max_uses", "").strip():
        if not (uses.isascii() and uses.isdecimal() and len(uses) <= MAX_COUNT_CHARS):
            raise CallerError("expected a whole number of further calls")
        terms["max_uses"] = int(uses)
    if spent := form.get("max_usd", "").strip():
        terms["max_microusd"] = parse_dollars(spent)
    if holds_s is not None:
        terms["expires_at"] = format_rfc3339(asked.now_us + holds_s * US_PER_S)
    return terms


VIEWS: Final = (View("GET", HOME, list_grants), View("POST", "/grants/revoke", revoke_grant))
