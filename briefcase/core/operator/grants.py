"""Grants: shown before the yes that gives them, listed, and taken back.

A grant is given by the yes to an approval (`operator.approvals`), in its transaction. Whoever says it sends the digest
of the call as it was shown and of the grant as it was shown (`grant_digest_hex`). Where several people must say yes,
the first one asks for the grant; it then stands in what is shown to the others, whose digest covers it. A signer's
signature is over one call, so with one no grant is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from briefcase.core.approvals.lifecycle import status_at
from briefcase.core.grants.bounds import status_of
from briefcase.core.grants.drafting import draft_grant, grant_digest
from briefcase.core.receipts.events import grant_revoked_event
from briefcase.core.wire.grants import wire_drafted
from briefcase.model.effects import Entry, Refused, RevokeGrant
from briefcase.model.errors import CallerError
from briefcase.model.grants import Grant, GrantStatus, GrantTerms
from briefcase.model.ports import Ledger, Redactor
from briefcase.model.types import Approval, ApprovalStatus, JsonObject

if TYPE_CHECKING:  # it brings the policy's engine along, which a command that shows an approval has no use for
    from briefcase.core.grants.held import Grants

LOOK_HINT: Final = "look at it again: `briefcase approvals approve ID` with the grant's options shows it first"


class GrantRequest(msgspec.Struct, frozen=True):
    """What somebody asks for with their yes, and the digest of what they were shown of it."""

    terms: GrantTerms
    digest_hex: str = ""


class GrantAdmin:
    """Drafts, lists and revokes grants.

    Args:
        ledger: where they are, and the time they end by.
        grants: those in force.
        redactor: knows the secrets that no condition may hold.
    """

    def __init__(self, ledger: Ledger, grants: Grants, redactor: Redactor) -> None:
        self._ledger = ledger
        self._grants = grants
        self._redactor = redactor

    def preview(self, approval_id: str, terms: GrantTerms) -> Grant:
        """The grant as it is shown before the yes that gives it.

        Raises:
            CallerError: there is no such approval (`not_found`), or no such grant for it (`drafting.draft_grant`).
        """
        stored = self._ledger.approval(approval_id)
        if stored is None:
            raise CallerError("no approval has this id", code="not_found")
        approval = msgspec.structs.replace(stored, status=status_at(stored, self._ledger.now_us()))
        return self._draft(approval, terms)

    def asked(self, approval: Approval, request: GrantRequest | None, shown_digest_hex: str | None) -> Grant | None:
        """The grant that a yes asks for, or that those before it asked for; None where there is none.

        Args:
            approval: with its status as of now.
            request: what this yes asks for.
            shown_digest_hex: the digest of the call that it was said to.

        Raises:
            CallerError: something else was shown, or others said yes to another grant (`conflict`); or as `preview`.
        """
        if request is None:
            return None if approval.grant is None else self._draft(approval, approval.grant)
        if approval.approved_by and request.terms != approval.grant:
            raise CallerError(
                "somebody else said yes before, and to another grant or none",
                code="conflict",
                hint="say yes to what they did, or deny it: the agent can ask again",
            )
        drafted = self._draft(approval, request.terms)
        if shown_digest_hex is None or request.digest_hex != grant_digest(drafted):
            raise CallerError(
                "expected `shown_digest_hex` of the call and `grant_digest_hex` of the grant as they were shown",
                code="conflict",
                hint=LOOK_HINT,
            )
        return drafted

    def shown_with(self, approval: Approval) -> JsonObject:
        """What is shown of the grant beside its approval; nothing where there is none."""
        if approval.grant is None:
            return {}
        given = self._ledger.grant(approval.id)
        if given is None and approval.status is not ApprovalStatus.PENDING:
            return {}  # it ended before it was given
        shown = given or self._draft(approval, approval.grant)
        return {"grant": wire_drafted(shown, grant_digest(shown))}

    def list(self) -> list[tuple[Grant, GrantStatus]]:
        """All grants, in the order they were given, and what became of each."""
        now_us = self._ledger.now_us()
        return [(self._repeatable(one), status_of(one, now_us)) for one in self._ledger.grants()]

    def _repeatable(self, one: Grant) -> Grant:
        """A grant without what became a secret since it was given."""
        return msgspec.structs.replace(
            one,
            cedar=self._redactor.redact_text(one.cedar),
            sentence=self._redactor.redact_text(one.sentence),
        )

    def hold(self, grant: Grant) -> None:
        """Let a grant count that is durable by now."""
        self._grants.hold(grant)

    async def revoke(self, grant_id: str, by: str) -> Grant:
        """End a grant, at once. Durable when this returns.

        Raises:
            CallerError: there is none of this id (`not_found`), or it was revoked before (`conflict`).
            StoreError: it could not be made durable. It lets nothing pass until the daemon restarts: revoke it again.
        """
        grant = self._ledger.grant(grant_id)
        if grant is None:
            raise CallerError("no grant has this id", code="not_found", hint="see `briefcase grants list`")
        self._grants.drop(grant)
        effect = RevokeGrant(grant_id, by, self._ledger.now_us())
        committed = await self._ledger.commit(Entry(grant_revoked_event(grant, by), (effect,)))
        if isinstance(committed, Refused):
            raise CallerError("this grant was revoked before", code="conflict")
        return self._ledger.grant(grant_id) or grant

    async def end_all(self) -> None:
        """Revoke each grant in force, as the configuration wants it. Durable when this returns.

        Raises:
            StoreError: one could not be made durable; the next start goes on.
        """
        for grant, status in self.list():
            if status == "active":
                await self.revoke(grant.id, "configuration")

    def _draft(self, approval: Approval, terms: GrantTerms) -> Grant:
        now_us, shown = self._ledger.now_us(), self._ledger.shown_call(approval.id)
        return draft_grant(approval, shown, terms, now_us, self._redactor)
