"""Grants on the wire: what is asked for, what is shown before the yes, and what was used of each."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from briefcase.core.wire.fields import HashHex, Maybe, Natural
from briefcase.model.errors import CallerError
from briefcase.model.grants import Grant, GrantStatus, GrantTerms
from briefcase.model.types import JsonObject, format_rfc3339, parse_rfc3339

MAX_FIXED: Final = 200
MAX_POINTER_CHARS: Final = 1_000

Pointer = Annotated[str, msgspec.Meta(pattern=r"^(/([^~/]|~[01])*)*$", max_length=MAX_POINTER_CHARS)]


class FixedArguments(msgspec.Struct, frozen=True):
    """Which of the arguments stay as they were shown, as JSON pointers; the rest may differ within what was shown."""

    fixed: Annotated[list[Pointer], msgspec.Meta(max_length=MAX_FIXED)]


class GrantTermsRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What may pass beside the approved call: at least one of `max_uses` and `expires_at`; the call is no use of it."""

    args: Literal["exact"] | FixedArguments
    max_uses: Maybe[Annotated[int, msgspec.Meta(ge=1)]] = msgspec.UNSET
    max_microusd: Maybe[Natural] = msgspec.UNSET
    expires_at: Maybe[str] = msgspec.UNSET


class DraftedGrant(GrantTermsRecord, frozen=True, kw_only=True):
    """A grant as it is shown: as a sentence and as Cedar, and the digest of both for the yes that gives it."""

    sentence: str
    cedar: str
    grant_digest_hex: HashHex


class GrantRecord(GrantTermsRecord, frozen=True, kw_only=True):
    """One grant and what was used of it; `id` is the approval's that it was given with."""

    id: str
    status: GrantStatus
    principal: str
    tool_id: str
    tool_digest_hex: str
    sentence: str
    cedar: str
    granted_by: list[str]
    granted_at: str
    uses: Natural
    spent_microusd: Natural
    reserved_microusd: Natural
    revoked_at: str | None = None
    revoked_by: str = ""


class GrantList(msgspec.Struct, frozen=True):
    """The grants, oldest first."""

    grants: list[GrantRecord]


class GrantListQuery(msgspec.Struct, frozen=True):
    """`active` lists those in force, `all` the ended, too."""

    status: Literal["active", "all"] = "active"


class GrantRevoked(msgspec.Struct, frozen=True):
    """Ended."""

    grant_id: str
    status: Literal["revoked"] = "revoked"


def terms_of(record: GrantTermsRecord) -> GrantTerms:
    """What is asked for, as a value.

    Raises:
        CallerError: `expires_at` is no RFC 3339 time.
    """
    try:
        expires_us = parse_rfc3339(record.expires_at) if isinstance(record.expires_at, str) else None
    except ValueError as error:
        raise CallerError(f"expected `expires_at` as an RFC 3339 time: {error}") from None
    return GrantTerms(
        fixed=tuple(dict.fromkeys(record.args.fixed)) if isinstance(record.args, FixedArguments) else None,
        max_uses=record.max_uses if isinstance(record.max_uses, int) else None,
        max_microusd=record.max_microusd if isinstance(record.max_microusd, int) else None,
        expires_us=expires_us,
    )


def wire_terms(terms: GrantTerms) -> JsonObject:
    """What is granted; a bound that there is none of is left out."""
    bounds = {
        "max_uses": terms.max_uses,
        "max_microusd": terms.max_microusd,
        "expires_at": None if terms.expires_us is None else format_rfc3339(terms.expires_us),
    }
    args: JsonObject = {"args": "exact" if terms.fixed is None else {"fixed": list(terms.fixed)}}
    return {**args, **{name: value for name, value in bounds.items() if value is not None}}


def wire_drafted(grant: Grant, digest_hex: str) -> JsonObject:
    """A grant as it is shown before the yes, and the digest of that."""
    return {
        **wire_terms(grant.terms),
        "sentence": grant.sentence,
        "cedar": grant.cedar,
        "grant_digest_hex": digest_hex,
    }


def wire_grant(grant: Grant, status: GrantStatus) -> JsonObject:
    """One grant, what became of it and what was used of it by now."""
    return {
        "id": grant.id,
        "status": status,
        "principal": grant.principal,
        "tool_id": grant.tool_id,
        "tool_digest_hex": grant.tool_digest_hex,
        **wire_terms(grant.terms),
        "sentence": grant.sentence,
        "cedar": grant.cedar,
        "granted_by": list(grant.by),
        "granted_at": format_rfc3339(grant.created_us),
        "uses": grant.uses,
        "spent_microusd": grant.spent_microusd,
        "reserved_microusd": grant.reserved_microusd,
        "revoked_at": None if grant.revoked_us is None else format_rfc3339(grant.revoked_us),
        "revoked_by": grant.revoked_by,
    }
