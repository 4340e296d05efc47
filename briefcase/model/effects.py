"""The ledger's effects: what an entry changes beside appending its receipt, as values.

An `Entry` is the unit of durability: one receipt event and the state changes that must be true with it. Each effect's
docstring names when it is refused; the ledger applies all of an entry's effects in one transaction, or none.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from briefcase.model.grants import Grant, GrantTerms
from briefcase.model.types import Approval, ApprovalStatus, JsonObject, ShownCall


class Head(msgspec.Struct, frozen=True):
    """The end of the chain. `id` 0 and 64 zeros before the first receipt."""

    id: int
    hash_hex: str


class CreateApproval(msgspec.Struct, frozen=True):
    """Store a new pending approval. Refused (`rate_limited`) past the principal's bound of pending ones.

    `shown` is kept beside it while it waits, and dropped when it ends.
    """

    approval: Approval
    shown: ShownCall | None = None


class DecideApproval(msgspec.Struct, frozen=True):
    """Move a pending approval to approved or rejected. Refused (`conflict`) from any other state, or expired.

    A yes counts after those that were said before it, `after`, and by nobody twice; it is refused where these are
    others. While it takes more of them the approval stays pending. `grant` is what the first of them asked for beside
    the call; a yes that asks for another one is refused. A no to what is approved ends the grant that was given with
    it.
    """

    approval_id: str
    to: ApprovalStatus
    by: str
    now_us: int
    reason: str = ""
    after: tuple[str, ...] = ()
    grant: GrantTerms | None = None


class ExpireApproval(msgspec.Struct, frozen=True):
    """End what waits past its expiry. Refused (`conflict`) where it is decided, used, or not yet at its end."""

    approval_id: str
    now_us: int


class ConsumeApproval(msgspec.Struct, frozen=True, gc=False):
    """Use an approved approval, once, for exactly the bytes it was given for.

    Refused (`invalid_or_expired_approval`) unless approved, unexpired at `now_us` and bound to `binding_hex`.
    """

    approval_id: str
    binding_hex: str
    now_us: int


class CreateGrant(msgspec.Struct, frozen=True):
    """Store the grant that a yes gave, in its transaction."""

    grant: Grant


class UseGrant(msgspec.Struct, frozen=True, gc=False):
    """Count one call of a grant, and set its cost aside.

    Refused (`invalid_or_expired_approval`) where the grant has ended by `now_us`, is another owner's or of another tool
    or definition, or has less money left than the call costs.
    """

    grant_id: str
    owner: str
    tool_id: str
    tool_digest_hex: str
    cost_microusd: int
    now_us: int


class RevokeGrant(msgspec.Struct, frozen=True):
    """End a grant. Refused (`conflict`) where there is none, or it was revoked before."""

    grant_id: str
    by: str
    now_us: int


class ReserveBudget(msgspec.Struct, frozen=True, gc=False):
    """Set an amount aside on a UTC day (`YYYY-MM-DD`). Refused (`budget_exceeded`) where it would pass the limit.

    `approved` is set when a person approved this very call: the amount is then reserved above the limit too.
    """

    category: str
    day: str
    amount_microusd: int
    approved: bool = False


class SettleBudget(msgspec.Struct, frozen=True, gc=False):
    """Turn a reservation into spend. On doubt the whole reservation is spent; unused money is released.

    `grant_id` names the grant that the money was set aside of, too.
    """

    category: str
    day: str
    reserved_microusd: int
    spent_microusd: int
    grant_id: str = ""


class OpenIntent(msgspec.Struct, frozen=True, gc=False):
    """Mark this entry's own receipt as an intent whose outcome must follow.

    `settle` is applied with an `outcome_unknown` receipt when a restart finds the intent still open.
    """

    settle: SettleBudget | None = None


class CloseIntent(msgspec.Struct, frozen=True, gc=False):
    """Close an open intent by its receipt id. Refused (`conflict`) where it is not open."""

    intent_id: int


class ClaimRequest(msgspec.Struct, frozen=True, gc=False):
    """Take a (principal, request id) pair once. Refused (`replay_detected`) where it was taken before."""

    principal: str
    request_id: str


class ClaimNonce(msgspec.Struct, frozen=True, gc=False):
    """Take the nonce of a sealed state once, in the transaction of the intent that goes on with it.

    Refused (`replay_detected`) where it was taken before, or where the state is no younger than one that was forgotten.
    States sealed before `forget_before_us` are refused by whoever opens them, so their nonces may be forgotten.
    """

    nonce: str
    sealed_us: int
    forget_before_us: int


class PutSetting(msgspec.Struct, frozen=True):
    """Replace one named setting (the active policy, a budget limit) in the same transaction as its receipt."""

    name: str
    value: bytes


class SetBudgetLimit(msgspec.Struct, frozen=True):
    """Set a category's daily limit."""

    category: str
    daily_limit_microusd: int


class StartFromCopy(msgspec.Struct, frozen=True):
    """What a ledger commits first when it finds that it is a copy: nothing that may have been used since comes back.

    Every approval that waits is expired and each grant revoked, each category's limit counts as spent on the day, and
    the copy's mark goes.
    """

    day: str
    now_us: int


class NoteState(msgspec.Struct, frozen=True):
    """Say in this receipt what every row of the tables is, once: later receipts say what they change of it."""


class ArchiveReceipts(msgspec.Struct, frozen=True):
    """Remove the oldest live receipts, which a durable archive segment holds: those after `after`, up to `through`.

    Refused (`conflict`) where the archive does not end at `after`, or the chain does not have `through`.
    """

    after: Head
    through: Head
    through_ts: str


class Archived(msgspec.Struct, frozen=True):
    """What one archiving came to: receipts moved, into how many segments of how many bytes, and where it ends now."""

    receipts: int
    segments: int
    bytes: int
    boundary: Head
    directory: str


Effect: TypeAlias = (
    CreateApproval
    | DecideApproval
    | ExpireApproval
    | ConsumeApproval
    | CreateGrant
    | UseGrant
    | RevokeGrant
    | ReserveBudget
    | SettleBudget
    | OpenIntent
    | CloseIntent
    | ClaimRequest
    | ClaimNonce
    | PutSetting
    | SetBudgetLimit
    | StartFromCopy
    | NoteState
    | ArchiveReceipts
)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One atomic change: every effect holds and the receipt is appended, or nothing happened.

    `event` is the receipt's event without `id`, `ts` and `boot`, which the writer adds in chain order.
    It holds only strings, safe integers, booleans, nulls, lists and objects. Known secrets are cut out of it where it
    is committed, unless `is_filtered`: then each of its texts is the daemon's own, or was redacted one by one.
    One that `is_large` (a setting of megabytes) is never written on the event loop.
    """

    event: JsonObject
    effects: tuple[Effect, ...] = ()
    is_filtered: bool = False
    is_large: bool = False


class Committed(msgspec.Struct, frozen=True, gc=False):
    """The entry is on disk: synced, not only written."""

    receipt_id: int
    ts_us: int
    hash_hex: str


class Refused(msgspec.Struct, frozen=True, gc=False):
    """An effect did not hold; nothing was stored. `reason` is the stable word named at the effect."""

    reason: str
