"""A grant as it is shown before the yes: its condition in Cedar and the same in words, made of what was shown.

The condition is a policy of its own, of action `CallWithoutApproval`. It is asked only about a call that `Call` let
pass and that only the policy's own question holds up (`calls.granting`), so it never widens a policy, and it is no part
of the policy's text or digest. Its context is of its own, too (`arguments.context_of`):

    owner, tool_digest, args_digest     whose call, of which definition, with which arguments
    members                             each value's JSON pointer and type
    value, length, marks, number        by JSON pointer

How often, how much and until when stand beside it as annotations; the ledger counts them (`bounds`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

from briefcase.core.grants.arguments import INTEGER, Member, marks_of, members_of, typed
from briefcase.core.grants.bounds import MAX_DAYS, MAX_USES
from briefcase.core.json.strict import parse as parse_json
from briefcase.core.policy.cedartypes import literal
from briefcase.core.receipts.canonical import digest_hex
from briefcase.model.errors import CallerError
from briefcase.model.grants import Grant, GrantTerms
from briefcase.model.ports import Redactor
from briefcase.model.reasons import BUDGET_EXCEEDED, RISK, TIGHTENED
from briefcase.model.types import (
    MICROUSD_PER_USD,
    US_PER_S,
    Approval,
    ApprovalKind,
    ApprovalStatus,
    ShownCall,
    format_rfc3339,
)

MAX_MEMBERS: Final = 200
MAX_CEDAR_BYTES: Final = 64 << 10
MAX_MICROUSD: Final = 1_000_000 * MICROUSD_PER_USD
_DAY_US: Final = 24 * 60 * 60 * US_PER_S
_MUST_ASK: Final = frozenset({BUDGET_EXCEEDED, TIGHTENED})


def draft_grant(
    approval: Approval, shown: ShownCall | None, terms: GrantTerms, now_us: int, redactor: Redactor
) -> Grant:
    """The grant that a yes to an approval would give.

    Args:
        approval: with its status as of now.
        shown: the whole call.
        terms: what is asked for.
        now_us: the ledger's time.
        redactor: knows the secrets that a condition may not hold.

    Raises:
        CallerError: it is bounded in nothing or past what is taken, or a pointer leads nowhere (`bad_request`); or this
            call is not one that is granted, or was not shown as its arguments are (`conflict`).
    """
    check_terms(terms, now_us)
    check_grantable(approval, shown)
    conditions = [f"context.owner == {literal(approval.owner or approval.principal)}"]
    conditions.append(f"context.tool_digest == {literal(approval.tool_digest_hex)}")
    if terms.fixed is None:
        conditions.append(f"context.args_digest == {literal(approval.args_digest_hex)}")
        how = "with exactly the arguments shown"
    else:
        members = _members_shown(approval, shown)
        fixed, free = _parted(members, terms.fixed)
        conditions.extend(_conditions(members, fixed, free))
        how = _in_words(terms.fixed, free)
    cedar = _policy(approval, terms, conditions)
    if len(cedar.encode()) > MAX_CEDAR_BYTES:
        raise _not_granted(f"its condition is longer than {MAX_CEDAR_BYTES} bytes", "grant exactly these arguments")
    if redactor.redact_text(cedar) != cedar:
        raise _not_granted("a secret is in what would be fixed", "grant exactly these arguments")
    return Grant(
        id=approval.id,
        owner=approval.owner or approval.principal,
        principal=approval.principal,
        tool_id=approval.tool_id,
        tool_digest_hex=approval.tool_digest_hex,
        terms=terms,
        cedar=cedar,
        sentence=(
            f"`{approval.principal}` may call `{approval.tool_id}`, as it is defined now, {how}, "
            f"{', '.join(_bounds_in_words(terms))}, without asking again"
        ),
        by=approval.approved_by,
        created_us=now_us,
    )


def grant_digest(grant: Grant) -> str:
    """SHA-256, in hex, of the canonical JSON of what is shown of a grant: `{approval_id, cedar, sentence}`."""
    return digest_hex({"approval_id": grant.id, "cedar": grant.cedar, "sentence": grant.sentence})


def check_terms(terms: GrantTerms, now_us: int) -> None:
    """Check that a grant is bounded.

    Raises:
        CallerError: it is not (`bad_request`).
    """
    if terms.max_uses is None and terms.expires_us is None:
        raise CallerError("a grant ends: expected `max_uses` or `expires_at`")
    if terms.max_uses is not None and not 1 <= terms.max_uses <= MAX_USES:
        raise CallerError(f"expected `max_uses` of 1 to {MAX_USES:,}, got {terms.max_uses:,}")
    if terms.expires_us is not None and not now_us < terms.expires_us <= now_us + MAX_DAYS * _DAY_US:
        raise CallerError(f"expected `expires_at` within {MAX_DAYS} days, got {format_rfc3339(terms.expires_us)}")
    if terms.max_microusd is not None and not 0 <= terms.max_microusd <= MAX_MICROUSD:
        raise CallerError(f"expected `max_microusd` of 0 to {MAX_MICROUSD:,}, got {terms.max_microusd:,}")


def check_grantable(approval: Approval, shown: ShownCall | None) -> None:
    """Check that calls like this one may be granted at all.

    Raises:
        CallerError: no grant would ever be asked about it, or must not be (`conflict`).
    """
    if approval.status is not ApprovalStatus.PENDING:
        raise _not_granted(f"a grant is said with the yes, and this approval is {approval.status.value}")
    if approval.kind is ApprovalKind.MOBILE_SIGNER or approval.stands_in:
        raise _not_granted("a signer device must approve each such call")
    if shown is None:
        raise _not_granted("only the beginning of this call was kept, so that nobody was shown all of it")
    if shown.payment is not None:
        raise _not_granted("it pays somebody")
    if shown.question:
        raise _not_granted("it answers a server's question, which is another one each time")
    if shown.risk:
        raise _not_granted(f"it raised the risk signals {', '.join(shown.risk)}, which ask each time")
    if approval.reason in _MUST_ASK or approval.reason.startswith(f"{RISK}:"):
        raise _not_granted(f"`{approval.reason}` asks each time, whatever is granted")


def _members_shown(approval: Approval, shown: ShownCall | None) -> list[Member]:
    """The arguments, of the very text that was shown."""
    text = "" if shown is None else shown.args_text
    if hashlib.sha256(text.encode()).hexdigest() != approval.args_digest_hex:
        raise _not_granted(
            "its arguments were shown otherwise than they are: secrets cut out, or characters marked",
            "grant exactly these arguments",
        )
    members = list(members_of(parse_json(text.encode())))
    if len(members) > MAX_MEMBERS:
        raise _not_granted(f"it has more than {MAX_MEMBERS} values", "grant exactly these arguments")
    return members


def _parted(members: Sequence[Member], pointers: Sequence[str]) -> tuple[list[Member], list[Member]]:
    """The values that stay as they were shown, and those that may differ within it."""
    known = {one.pointer for one in members}
    for pointer in pointers:
        if pointer not in known:
            raise CallerError(
                f"the arguments have nothing at `{pointer}`",
                hint="a JSON pointer begins with `/`: `/to` is the member `to`, `/items/0` the first of `items`",
            )
    leaves = [one for one in members if one.is_leaf]
    fixed = [one for one in leaves if not one.is_free_to_differ or _is_within(one.pointer, pointers)]
    return fixed, [one for one in leaves if one not in fixed]


def _is_within(pointer: str, pointers: Sequence[str]) -> bool:
    return any(pointer == above or pointer.startswith(f"{above}/") for above in pointers)


def _conditions(members: Sequence[Member], fixed: Sequence[Member], free: Sequence[Member]) -> Iterator[str]:
    yield f"context.members == {_set(map(typed, members))}"
    for one in fixed:
        yield f"context.value[{literal(one.pointer)}] == {literal(one.text)}"
    for one in free:
        at = f"[{literal(one.pointer)}]"
        if one.type == INTEGER:
            low, high = sorted((0, int(str(one.value))))
            yield f"context.number{at} >= {low}"
            yield f"context.number{at} <= {high}"
            continue
        text = str(one.value)
        yield f"context.length{at} <= {len(text)}"
        marks = marks_of(text)
        yield f"{_set(marks)}.containsAll(context.marks{at})" if marks else f"context.marks{at}.isEmpty()"


def _policy(approval: Approval, terms: GrantTerms, conditions: Sequence[str]) -> str:
    bounds = {
        "max_uses": None if terms.max_uses is None else str(terms.max_uses),
        "max_microusd": None if terms.max_microusd is None else str(terms.max_microusd),
        "until": None if terms.expires_us is None else format_rfc3339(terms.expires_us),
    }
    annotations = [f"@{name}({literal(value)})" for name, value in bounds.items() if value is not None]
    head = (
        f"@id({literal(f'grant {approval.id}')})",
        *annotations,
        "permit (",
        f"  principal == Agent::{literal(approval.principal)},",
        '  action == Action::"CallWithoutApproval",',
        f"  resource == Tool::{literal(approval.tool_id)}",
        ") when {",
    )
    body = " &&\n".join(f"  {condition}" for condition in conditions)
    return "\n".join((*head, body, "};"))


def _in_words(pointers: Sequence[str], free: Sequence[Member]) -> str:
    kept = f"with {', '.join(f'`{one}`' if one else 'everything' for one in pointers)} as shown" if pointers else ""
    if not free:
        return kept or "with every value as shown"
    rest = "; ".join(f"`{one.pointer}` {_range(one)}" for one in free)
    others = "the rest as shown but for" if kept else "with everything as shown but for"
    return f"{kept}, {others} {rest}" if kept else f"{others} {rest}"


def _range(free: Member) -> str:
    if free.type == INTEGER:
        low, high = sorted((0, int(str(free.value))))
        return f"(a whole number from {low} to {high})"
    text = str(free.value)
    marks = "".join(marks_of(text))
    return f"(a text of at most {len(text)} characters: letters, digits, spaces{f' and {marks}' if marks else ''})"


def _bounds_in_words(terms: GrantTerms) -> Iterator[str]:
    if terms.max_uses is not None:
        yield f"at most {terms.max_uses:,} {'time' if terms.max_uses == 1 else 'times'}"
    if terms.max_microusd is not None:
        yield f"for at most ${terms.max_microusd / MICROUSD_PER_USD:,.6f} in all"
    if terms.expires_us is not None:
        yield f"until {format_rfc3339(terms.expires_us)}"


def _set(texts: Sequence[str] | Iterator[str]) -> str:
    return f"[{', '.join(map(literal, texts))}]"


def _not_granted(why: str, hint: str = "approve this one call") -> CallerError:
    return CallerError(f"calls like this one cannot be granted: {why}", code="conflict", hint=hint)
