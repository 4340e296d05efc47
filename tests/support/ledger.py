"""A ledger in memory: it applies entries by the same pure rules as the real one, which is compared with it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import assert_never

import msgspec

from briefcase.adapters.ledger.steady_clock import SteadyClock
from briefcase.core import budgets
from briefcase.core.approvals import lifecycle as approvals
from briefcase.core.grants import bounds
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.model.effects import (
    Archived,
    ArchiveReceipts,
    ClaimNonce,
    ClaimRequest,
    CloseIntent,
    Committed,
    ConsumeApproval,
    CreateApproval,
    CreateGrant,
    DecideApproval,
    Effect,
    Entry,
    ExpireApproval,
    Head,
    NoteState,
    OpenIntent,
    PutSetting,
    Refused,
    ReserveBudget,
    RevokeGrant,
    SetBudgetLimit,
    SettleBudget,
    StartFromCopy,
    UseGrant,
)
from briefcase.model.errors import StoreError
from briefcase.model.grants import Grant
from briefcase.model.ports import ActiveAgent, Clock, ReceiptFilter, Verification
from briefcase.model.types import (
    Approval,
    ApprovalStatus,
    BudgetLine,
    JsonObject,
    LastApproval,
    Receipt,
    ShownCall,
    format_rfc3339,
)


class MemoryLedger:
    """The model of a ledger: `ports.Ledger` in dictionaries, nothing durable."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.steady = SteadyClock(clock, 0)
        self.chain: list[Receipt] = []
        self.stored_approvals: dict[str, Approval] = {}
        self.shown: dict[str, ShownCall] = {}
        self.last_yes: dict[tuple[str, str], LastApproval] = {}
        self.denied: dict[str, str] = {}
        self.lines: dict[tuple[str, str], BudgetLine] = {}
        self.limits: dict[str, int] = dict(budgets.DEFAULT_DAILY_LIMITS_MICROUSD)
        self.open_intents: dict[int, OpenIntent] = {}
        self.claims: dict[tuple[str, str], int] = {}
        self.nonces: dict[tuple[int, str], int] = {}
        self.settings: dict[str, bytes] = {}
        self.kept_grants: dict[str, Grant] = {}
        self.broken: str | None = None

    async def commit(self, entry: Entry) -> Committed | Refused:
        if self.broken:
            raise StoreError("receipts cannot be made durable", detail=self.broken)
        receipt_id = len(self.chain) + 1
        undo = (
            dict(self.stored_approvals),
            dict(self.shown),
            dict(self.last_yes),
            dict(self.denied),
            dict(self.lines),
            dict(self.limits),
            dict(self.open_intents),
            dict(self.claims),
            dict(self.nonces),
            dict(self.settings),
            dict(self.kept_grants),
        )
        for effect in entry.effects:
            refused = self._apply(effect, receipt_id)
            if refused is not None:
                (
                    self.stored_approvals,
                    self.shown,
                    self.last_yes,
                    self.denied,
                    self.lines,
                    self.limits,
                    self.open_intents,
                    self.claims,
                    self.nonces,
                    self.settings,
                    self.kept_grants,
                ) = undo
                return refused
        ts_us = self.clock.now_us()
        ts = format_rfc3339(ts_us)
        event: JsonObject = {**entry.event, "id": receipt_id, "ts": ts, "boot": 1}
        prev = self.head().hash_hex
        hash_hex = hashlib.sha256(prev.encode() + canonical_bytes(event)).hexdigest()
        self.chain.append(Receipt(receipt_id, ts, prev, hash_hex, event))
        return Committed(receipt_id, ts_us, hash_hex)

    async def commit_all(self, entries: Sequence[Entry]) -> list[Committed | Refused]:
        return [await self.commit(entry) for entry in entries]

    def _apply(self, effect: Effect, receipt_id: int) -> Refused | None:
        match effect:
            case CreateApproval(approval, shown):
                waiting = sum(
                    stored.principal == approval.principal
                    and approvals.status_at(stored, approval.created_us) is ApprovalStatus.PENDING
                    for stored in self.stored_approvals.values()
                )
                if waiting >= approvals.MAX_PENDING_PER_PRINCIPAL:
                    return Refused("rate_limited")
                self.stored_approvals[approval.id] = approval
                if shown is not None:
                    self.shown[approval.id] = shown
            case DecideApproval(approval_id, to, by, now_us, reason, after, grant):
                decided = approvals.decide_approval(
                    self.approval(approval_id), to, by, now_us, reason, after=after, grant=grant
                )
                if to is ApprovalStatus.REJECTED and isinstance(decided, Approval) and approval_id in self.kept_grants:
                    self._store_grant(
                        bounds.revoke_grant(self.grant(approval_id), RevokeGrant(approval_id, by, now_us))
                    )
                if isinstance(decided, Approval) and decided.status is ApprovalStatus.APPROVED:
                    whose = decided.decided_by or ""
                    last = LastApproval(decided.id, decided.args_digest_hex, now_us, whose, decided.binding_hex)
                    self.last_yes[decided.owner or decided.principal, decided.tool_id] = last
                return self._store(decided)
            case ExpireApproval(approval_id, now_us):
                return self._store(approvals.expire_approval(self.approval(approval_id), now_us))
            case ConsumeApproval(approval_id, binding, now_us):
                return self._store(approvals.consume_approval(self.approval(approval_id), binding, now_us))
            case ReserveBudget(category, day, amount, approved):
                line = budgets.reserve_budget(self._line(category, day), amount, approved=approved)
                if isinstance(line, Refused):
                    return line
                self.lines[category, day] = line
            case SettleBudget(category, day, reserved, spent, grant_id):
                self.lines[category, day] = budgets.settle_budget(self._line(category, day), reserved, spent)
                if grant_id:
                    self.kept_grants[grant_id] = bounds.settle_grant(self.kept_grants[grant_id], reserved, spent)
            case CreateGrant(grant):
                self.kept_grants[grant.id] = grant
            case UseGrant(grant_id):
                return self._store_grant(bounds.use_grant(self.grant(grant_id), effect))
            case RevokeGrant(grant_id):
                return self._store_grant(bounds.revoke_grant(self.grant(grant_id), effect))
            case OpenIntent():
                self.open_intents[receipt_id] = effect
            case CloseIntent(intent_id):
                if self.open_intents.pop(intent_id, None) is None:
                    return Refused("conflict")
            case ClaimRequest(principal, request_id):
                if self.claims.setdefault((principal, request_id), receipt_id) != receipt_id:
                    return Refused("replay_detected")
            case ClaimNonce(nonce, sealed_us):
                if self.nonces.setdefault((sealed_us, nonce), receipt_id) != receipt_id:
                    return Refused("replay_detected")
            case PutSetting(name, value):
                self.settings[name] = value
            case SetBudgetLimit(category, limit):
                self.limits[category] = limit
            case StartFromCopy() | NoteState() | ArchiveReceipts():
                raise NotImplementedError(f"a ledger in memory has no files: {effect!r}")
            case _:
                assert_never(effect)
        return None

    def _store(self, changed: Approval | Refused) -> Refused | None:
        if isinstance(changed, Refused):
            return changed
        self.stored_approvals[changed.id] = changed
        if changed.status is ApprovalStatus.REJECTED:
            self.denied[changed.binding_hex] = changed.id
        elif changed.status is ApprovalStatus.APPROVED:
            self.denied.pop(changed.binding_hex, None)
        if not approvals.LIFECYCLE.steps[changed.status]:
            self.shown.pop(changed.id, None)
        return None

    def _store_grant(self, changed: Grant | Refused) -> Refused | None:
        if isinstance(changed, Refused):
            return changed
        self.kept_grants[changed.id] = changed
        return None

    def _line(self, category: str, day: str) -> BudgetLine:
        kept = self.lines.get((category, day), BudgetLine(category, 0))
        return msgspec.structs.replace(kept, daily_limit_microusd=self.limits.get(category, 0))

    def head(self) -> Head:
        return Head(self.chain[-1].id, self.chain[-1].hash_hex) if self.chain else Head(0, "0" * 64)

    def gate_problem(self) -> str | None:
        return self.broken

    def files_problem(self) -> str | None:
        return None

    def changes_left_open(self) -> list[JsonObject]:
        intents = [self.chain[intent_id - 1].event for intent_id in sorted(self.open_intents)]
        return [intent for intent in intents if intent["kind"] == "change_intent"]

    def approval(self, approval_id: str) -> Approval | None:
        return self.stored_approvals.get(approval_id)

    def pending_approval(self, binding_hex: str) -> Approval | None:
        for approval in reversed(self.stored_approvals.values()):
            if approval.binding_hex == binding_hex and approval.status in {
                ApprovalStatus.PENDING,
                ApprovalStatus.APPROVED,
            }:
                return approval
        return None

    def denied_approval(self, binding_hex: str) -> Approval | None:
        return self.stored_approvals.get(self.denied.get(binding_hex, ""))

    def approvals(self, status: ApprovalStatus) -> list[Approval]:
        return [approval for approval in self.stored_approvals.values() if approval.status is status]

    async def newest_approvals(self, wanted: frozenset[ApprovalStatus], most: int) -> list[Approval]:
        now_us = self.now_us()
        found = [(one, approvals.status_at(one, now_us)) for one in self.stored_approvals.values()]
        return [msgspec.structs.replace(one, status=status) for one, status in found if status in wanted][-most:]

    def expired_approvals(self, most: int) -> list[Approval]:
        now_us = self.now_us()
        late = [one for one in self.stored_approvals.values() if approvals.status_at(one, now_us) is not one.status]
        return late[:most]

    def now_us(self) -> int:
        return self.steady.now_us()

    def shown_call(self, approval_id: str) -> ShownCall | None:
        return self.shown.get(approval_id)

    def last_approval(self, owner: str, tool_id: str) -> LastApproval | None:
        return self.last_yes.get((owner, tool_id))

    def grant(self, grant_id: str) -> Grant | None:
        return self.kept_grants.get(grant_id)

    def grants(self) -> list[Grant]:
        return list(self.kept_grants.values())

    def approval_secret(self) -> bytes:
        return b"s" * 32

    def claimed_request(self, principal: str, request_id: str) -> int | None:
        return self.claims.get((principal, request_id))

    def is_nonce_taken(self, claim: ClaimNonce) -> bool:
        return (claim.sealed_us, claim.nonce) in self.nonces

    def budget(self, category: str, day: str) -> BudgetLine | None:
        return self._line(category, day) if category in self.limits else None

    def budgets(self, day: str) -> list[BudgetLine]:
        return [self._line(category, day) for category in sorted(self.limits)]

    def setting(self, name: str) -> bytes | None:
        return self.settings.get(name)

    async def receipt(self, receipt_id: int) -> Receipt | None:
        return self.chain[receipt_id - 1] if 0 < receipt_id <= len(self.chain) else None

    async def receipts(self, chosen: ReceiptFilter) -> list[Receipt]:
        matching = [
            receipt
            for receipt in (self.chain if chosen.oldest_first else reversed(self.chain))
            if (chosen.after_id is None or receipt.id > chosen.after_id)
            and (chosen.to_id is None or receipt.id <= chosen.to_id)
            and all(
                wanted is None or receipt.event.get(name) == wanted
                for name, wanted in (
                    ("kind", chosen.kind),
                    ("tool_id", chosen.tool_id),
                    ("decision", chosen.decision),
                    ("approval_id", chosen.approval_id),
                )
            )
            and (chosen.since_us is None or receipt.ts >= format_rfc3339(chosen.since_us))
            and (chosen.until_us is None or receipt.ts <= format_rfc3339(chosen.until_us))
        ]
        return matching[chosen.offset : chosen.offset + chosen.limit]

    async def hashes(self, after_id: int, limit: int) -> list[str]:
        return [receipt.hash_hex for receipt in self.chain[after_id : after_id + limit]]

    async def verify(
        self, anchor: Head | None = None, *, after: Head | None = None, agents: Sequence[ActiveAgent] | None = None
    ) -> Verification:
        not_checked = (*(() if anchor else ("tail_truncation",)), *(("receipts_before_checkpoint",) if after else ()))
        checked = len(self.chain) - (after.id if after else 0)
        return Verification(ok=True, checked=checked, head=self.head(), not_checked=not_checked)

    async def archive(self, by: str, keep: int, before_us: int | None = None) -> Archived:
        raise NotImplementedError("a ledger in memory has no segments")

    def kinds(self) -> list[str]:
        """The kinds recorded so far, oldest first."""
        return [str(receipt.event["kind"]) for receipt in self.chain]
