"""Approvals: the one function that every yes and every no goes through, and the document they are said to.

Whoever decides sends `shown_digest_hex`, the SHA-256 over the canonical JSON of the document they were shown
(`shown_document`). The daemon makes that document again: another digest is a yes to something else.

| approval | yes from | no from |
|---|---|---|
| `local` | an operator's or approver's token, a signer's key | an operator's or approver's token, a signer's key |
| `mobile_signer` | a signer's key | an operator's or approver's token, a signer's key |

Where the policy asks for several people, each yes is of another one, after those it was shown; a no is one person's. A
no also takes back a yes that was not used yet: from then on its token is refused. The states are
`briefcase.core.approvals.lifecycle.LIFECYCLE`; the ledger applies them inside its own transaction, which holds the
receipt too, so a crash leaves both or neither. What this module does not do: authenticate a token or verify a signer's
signature, which the edge did before it says `Means`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgspec

from briefcase.core.approvals.lifecycle import MAX_SUMMARY_CHARS, status_at
from briefcase.core.characters.marks import visible_text
from briefcase.core.grants.drafting import grant_digest
from briefcase.core.json.strict import parse as parse_json
from briefcase.core.operator.grants import GrantAdmin, GrantRequest
from briefcase.core.receipts.canonical import canonical_bytes, digest_hex
from briefcase.core.receipts.events import approval_decided_event
from briefcase.core.wire.approvals import wire_shown
from briefcase.core.wire.grants import wire_terms
from briefcase.model.effects import CreateGrant, DecideApproval, Effect, Entry, Refused
from briefcase.model.errors import CallerError
from briefcase.model.grants import Grant
from briefcase.model.ports import Ledger, Redactor
from briefcase.model.types import Approval, ApprovalKind, ApprovalStatus, JsonObject, Role, ShownCall, ShownTool

SHOWN_DIGEST: Final = "shown_digest_hex"


class Means(StrEnum):
    """By what the person proved who they are."""

    TOKEN = "token"
    SIGNER = "signer"


EITHER: Final = frozenset(Means)
MAY_DECIDE: Final[dict[tuple[ApprovalKind, ApprovalStatus], frozenset[Means]]] = {
    (ApprovalKind.LOCAL, ApprovalStatus.APPROVED): EITHER,
    (ApprovalKind.LOCAL, ApprovalStatus.REJECTED): EITHER,
    (ApprovalKind.MOBILE_SIGNER, ApprovalStatus.APPROVED): frozenset({Means.SIGNER}),
    (ApprovalKind.MOBILE_SIGNER, ApprovalStatus.REJECTED): EITHER,
}
DECIDING_ROLES: Final = frozenset({Role.OPERATOR, Role.APPROVER})


class Ruling(msgspec.Struct, frozen=True):
    """One person's yes (`approved`) or no (`rejected`).

    `by` names the person, `role` is theirs, `means` is what they proved it by. `shown_digest_hex` is the digest of the
    document they saw, or None from a client that sends none. `reason` is their own words. `grant` is what a yes lets
    pass beside the call. `evidence` is what the receipt says of a signer's signature beside this, and `effects` what
    changes with it (its nonce).
    """

    approval_id: str
    to: ApprovalStatus
    by: str
    role: Role
    means: Means = Means.TOKEN
    shown_digest_hex: str | None = None
    reason: str = ""
    evidence: JsonObject = {}
    effects: tuple[Effect, ...] = ()
    grant: GrantRequest | None = None


class Approvers:
    """Decides approvals over the ledger.

    Args:
        ledger: where approvals are, and the time they expire by.
        redactor: cuts the vault's secrets out of what is shown and of a reason.
        grants: drafts what a yes lets pass beside its call.
        author: names who set the policy that decides now, for calls whose policy excludes them.
        has_signer: tells whether a signer was ever paired (by default none was); from then on nobody stands in.
        yes_by: the means that a yes is taken by at all; `{Means.SIGNER}` takes signers only. A no only tightens, and
            is taken by either.
    """

    def __init__(
        self,
        ledger: Ledger,
        redactor: Redactor,
        grants: GrantAdmin,
        *,
        author: Callable[[], str] = str,
        has_signer: Callable[[], bool] = bool,
        yes_by: frozenset[Means] = EITHER,
    ) -> None:
        self._ledger = ledger
        self._redactor = redactor
        self._grants = grants
        self._author = author
        self._has_signer = has_signer
        self._yes_by = yes_by

    def shown(self, approval: Approval) -> JsonObject:
        """The document that whoever decides reads, its `shown_digest_hex` with it.

        Raises:
            CallerError: a secret in it can be cut out only with everything else (`conflict`).
        """
        kept = self._ledger.shown_call(approval.id)
        document = {**shown_document(approval, kept), **self._grants.shown_with(approval)}
        written, places = self._redactor.redact_named(canonical_bytes(document))  # what is a secret only since then
        redacted = parse_json(written)
        if not isinstance(redacted, dict):
            raise CallerError(
                "this approval cannot be shown: a secret overlaps its fields",
                code="conflict",
                hint="deny it; the agent can ask again without the secret in its arguments",
            )
        if places:
            redacted["redacted_places"] = places + (kept.redacted_places if kept else 0)
        return {**redacted, SHOWN_DIGEST: shown_digest_of(redacted)}

    async def decide(self, ruling: Ruling) -> Approval:
        """Carry out one ruling; it is durable when this returns.

        Raises:
            CallerError: there is no such approval (`not_found`), it is not theirs to decide (`forbidden`,
                `signer_required`), it waits no more, or something else was shown to them (`conflict`).
            StoreError: as `Ledger.commit`.

        Returns:
            The approval as decided.
        """
        # 1. which approval, as of now
        now_us = self._ledger.now_us()
        stored = self._ledger.approval(ruling.approval_id)
        if stored is None:
            raise CallerError("no approval has this id", code="not_found")
        approval = msgspec.structs.replace(stored, status=status_at(stored, now_us))

        # 2. who may say so
        self._check_means(approval, ruling)
        self._check_author(approval, ruling)

        # 3. what they saw
        if approval.status is ApprovalStatus.PENDING and ruling.to is ApprovalStatus.APPROVED:
            self._check_shown(approval, ruling.shown_digest_hex)
        grant = self._grant_of(approval, ruling)

        # 4. durable, or refused because it waits no more
        reason, before = self._recorded(ruling.reason), approval.approved_by
        effects: list[Effect] = [
            DecideApproval(
                approval.id, ruling.to, ruling.by, now_us, reason, before, None if grant is None else grant.terms
            )
        ]
        is_one_of_several = ruling.to is ApprovalStatus.APPROVED and len(before) + 1 < approval.approvers
        status = ApprovalStatus.PENDING if is_one_of_several else ruling.to
        given = None if grant is None or is_one_of_several else grant
        if given is not None:
            given = msgspec.structs.replace(given, by=(*before, ruling.by))
            effects.append(CreateGrant(given))
        event = approval_decided_event(
            approval, status.value, ruling.by, reason, ruling.shown_digest_hex, grant=_told(grant)
        )
        committed = await self._ledger.commit(Entry({**event, **ruling.evidence}, (*effects, *ruling.effects)))
        if isinstance(committed, Refused):
            now = self._ledger.approval(approval.id) or approval
            if now.approved_by != before:
                raise CallerError("somebody else said yes meanwhile", code="conflict", hint="look at it again")
            wanted = (
                "a pending approval" if ruling.to is ApprovalStatus.APPROVED else "an approval that is not used yet"
            )
            raise CallerError(
                f"expected {wanted}, got one that is {status_at(now, self._ledger.now_us()).value}",
                code="conflict",
            )
        if given is not None:
            self._grants.hold(given)
        return self._ledger.approval(approval.id) or approval

    def _grant_of(self, approval: Approval, ruling: Ruling) -> Grant | None:
        """What a yes lets pass beside the call, as it was shown; None where that is nothing."""
        if ruling.to is not ApprovalStatus.APPROVED or (ruling.grant is None and approval.grant is None):
            return None
        if ruling.means is Means.SIGNER:
            raise CallerError(
                "a signer's signature is over one call: expected a yes without a grant",
                code="conflict",
                hint="deny it; the agent can ask again",
            )
        return self._grants.asked(approval, ruling.grant, ruling.shown_digest_hex)

    def _check_means(self, approval: Approval, ruling: Ruling) -> None:
        if ruling.role not in DECIDING_ROLES:
            raise CallerError(f"the role `{ruling.role.value}` decides no approval", code="forbidden")
        if ruling.to is ApprovalStatus.APPROVED and ruling.by in approval.approved_by:
            raise CallerError(
                f"`{ruling.by}` said yes already, and it takes {approval.approvers} people",
                code="conflict",
                hint="another person says yes with a token of their own: `briefcase operators add NAME`",
            )
        allowed = MAY_DECIDE.get((approval.kind, ruling.to), frozenset())
        if ruling.to is ApprovalStatus.APPROVED:
            allowed &= self._yes_by
            if approval.stands_in and self._has_signer():
                if ruling.means is Means.SIGNER:
                    raise CallerError(
                        "this was asked of an operator before a signer was paired: a yes would serve no call",
                        code="conflict",
                        hint="the agent asks again, and then it is asked of a signer",
                    )
                allowed -= {Means.TOKEN}
        if ruling.means not in allowed:
            raise CallerError(
                "this approval takes a paired signer device",
                code="signer_required",
                hint="approve it on the device, or deny it here",
            )

    def _check_author(self, approval: Approval, ruling: Ruling) -> None:
        """Refuse the yes of who set the policy that now decides, where the call's policy excludes them."""
        if not approval.excludes_author or ruling.to is not ApprovalStatus.APPROVED:
            return
        author = self._author()
        if author in {ruling.by, *approval.approved_by}:
            raise CallerError(
                f"`{author}` set the policy, which takes the yes of others to this call",
                code="forbidden",
                hint="another person says yes with a token of their own; what the author said yes to is to be denied",
            )

    def _check_shown(self, approval: Approval, given: str | None) -> None:
        is_whole_in_summary = len(approval.summary) <= MAX_SUMMARY_CHARS
        kept = self._ledger.shown_call(approval.id)
        if not is_whole_in_summary and kept is None:
            raise CallerError(
                "only the beginning of this call was kept, so that nobody can be shown all of it",
                code="conflict",
                hint="deny it; the agent can ask again",
            )
        if given is None:
            if approval.approved_by:
                raise CallerError(
                    "somebody else said yes before: expected `shown_digest_hex` of the call with who did",
                    code="conflict",
                    hint="look at it again with `briefcase approvals show ID`, or `briefcase approvals watch`",
                )
            if kept is not None and kept.payment is not None:
                raise CallerError(
                    "this call pays somebody: expected `shown_digest_hex` of the whole call, with what it pays to whom",
                    code="conflict",
                    hint="see all of it with `briefcase approvals show ID`, or `briefcase approvals watch`",
                )
            if not is_whole_in_summary:
                raise CallerError(
                    "this call is longer than its summary: expected `shown_digest_hex` of the whole call",
                    code="conflict",
                    hint="see all of it with `briefcase approvals show ID`, or `briefcase approvals watch`",
                )
            return
        if given != self.shown(approval)[SHOWN_DIGEST]:
            raise CallerError(
                "the call is not as it was shown: `shown_digest_hex` is of another document",
                code="conflict",
                hint="look at it again",
            )

    def _recorded(self, reason: str) -> str:
        """A person's words as a receipt keeps them."""
        return visible_text(self._redactor.redact_text(reason))


def _told(grant: Grant | None) -> JsonObject | None:
    """What a receipt says of a grant: nothing of the arguments, whatever form receipts keep them in."""
    if grant is None:
        return None
    return {"grant_id": grant.id, "digest": grant_digest(grant), **wire_terms(grant.terms)}


def shown_document(approval: Approval, shown: ShownCall | None) -> JsonObject:
    """What whoever decides reads, before its digest.

    Args:
        approval: with its status as of now.
        shown: the whole call; None where an older version stored the approval, whose summary is then all there is.
    """
    if shown is None:
        tool = ShownTool(approval.tool_id, "", "", 0, "")
        shown = ShownCall(approval.summary, tool, reasons=(approval.reason,))
    return wire_shown(approval, shown)


def shown_digest_of(document: JsonObject) -> str:
    """SHA-256, in hex, of a shown document's canonical JSON, less the digest itself."""
    return digest_hex({name: value for name, value in document.items() if name != SHOWN_DIGEST})
