"""Open intents and taken request ids: kept in the receipts themselves, and in memory.

An intent receipt *is* the claim of its request id, and *is* the open intent until a later receipt names it as
`intent_id`: a commit writes no page more for either. One of a call that is closed at once claims, and is never open. So
that a start need not read every receipt, a checkpoint is written into the transaction of a commit now and then: the
claims since the last one, packed, and the intents that are open. A start loads the checkpoints and replays the receipts
after the last one with `replay`.

INVARIANT (replay): what `Staged` changes in memory for an entry is what `replay` reads out of its receipt.

| event field | meaning |
|---|---|
| `kind` of `CLAIMING`, `principal`, `request_id` | this receipt takes the request id |
| `reserved: {category, day, microusd}` | what is settled as spent where the outcome stays unknown |
| `kind: outcome`, `outcome_unknown` or a change's, `intent_id` | that intent is closed |

Memory is bounded: between 3/4 and 6/4 of `MAX_SLOTS` request ids are remembered, then the oldest are forgotten.
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Final

import lmdb
import msgspec

from briefcase._native.claims import CLAIM_BYTES, ClaimIndex
from briefcase.adapters.ledger.tables import META_CHECKPOINT, Tables
from briefcase.core.receipts import events
from briefcase.core.receipts.chain import encode_key
from briefcase.model.effects import SettleBudget
from briefcase.model.errors import InternalError
from briefcase.model.types import JsonObject

MAX_SLOTS: Final = 1 << 19
CHECKPOINT_CLAIMS: Final = 4_096
CHECKPOINT_RECEIPTS: Final = 8_192
FINGERPRINT_BYTES: Final = 8
MAX_ASKED: Final = 4_096  # fingerprints of request ids that were asked for and not taken yet
MAX_KEYED: Final = 4_096  # principals whose part of a fingerprint is kept

INTENT: Final = "intent"
PAYMENT: Final = "payment_intent"
# a caller's request id, what a challenge is known by, or whose outcome is told
CLAIMING: Final = frozenset({INTENT, events.DELEGATED, events.ASKED_CLIENT, events.OBSERVED, PAYMENT})
OPENING: Final = frozenset({INTENT, PAYMENT, events.CHANGE_INTENT})
CLOSING: Final = frozenset({"outcome", "payment_outcome", "outcome_unknown", events.CHANGE_FAILED}) | events.CHANGES


class Checkpoint(msgspec.Struct, frozen=True):
    """Up to which receipt the claims are packed, and which intents were open there, with what they set aside."""

    receipt_id: int = 0
    open_intents: dict[int, SettleBudget | None] = {}


class _Reserved(msgspec.Struct, frozen=True):
    category: str
    day: str
    microusd: int
    grant_id: str = ""

    def settlement(self) -> SettleBudget:
        """On doubt, the whole reservation is spent."""
        return SettleBudget(self.category, self.day, self.microusd, self.microusd, self.grant_id)


class _Kind(msgspec.Struct, frozen=True):
    kind: str


class _Intent(msgspec.Struct, frozen=True):
    id: int
    principal: str = ""
    request_id: str = ""
    reserved: _Reserved | None = None


class _Closing(msgspec.Struct, frozen=True):
    intent_id: int | None = None  # a change that is in the ledger itself has no intent


_decode_kind: Final = msgspec.json.Decoder(_Kind).decode
_decode_intent: Final = msgspec.json.Decoder(_Intent).decode
_decode_closing: Final = msgspec.json.Decoder(_Closing).decode


class Staged(msgspec.Struct):
    """What one group changes, as long as it is not on disk."""

    claims: dict[bytes, int] = {}
    opened: dict[int, SettleBudget | None] = {}
    closed: set[int] = set()
    checkpoint: tuple[Checkpoint, bytes] | None = None


class _Keyed(dict[str, hashlib.blake2b]):
    """What a principal's fingerprints begin with: the key and its name. Bounded; from either thread."""

    def __init__(self, secret: bytes) -> None:
        super().__init__()
        self._keyed = hashlib.blake2b(digest_size=FINGERPRINT_BYTES, key=secret)

    def __missing__(self, principal: str) -> hashlib.blake2b:
        name = principal.encode()
        keyed = self._keyed.copy()
        keyed.update(len(name).to_bytes(4, "big") + name)
        if len(self) >= MAX_KEYED:
            self.clear()
        self[principal] = keyed
        return keyed


class Intents:
    """The open intents and the taken request ids, as of the last durable commit.

    Args:
        secret: the key of the fingerprints, 32 bytes.
    """

    def __init__(self, secret: bytes) -> None:
        self._keyed = _Keyed(secret)
        self._asked: dict[tuple[str, str], bytes] = {}
        self._index = ClaimIndex(MAX_SLOTS)
        self._fresh: dict[bytes, int] = {}
        self._packs: deque[tuple[bytes, int]] = deque()
        self._packed = 0
        self._checkpoint_id = 0
        self.open: dict[int, SettleBudget | None] = {}

    def fingerprint(self, principal: str, request_id: str) -> bytes:
        """The 8 bytes that stand for a request id of a principal: BLAKE2b (RFC 7693), keyed, lengths told apart."""
        keyed = self._keyed[principal].copy()
        keyed.update(request_id.encode())
        return keyed.digest()

    def asked(self, principal: str, request_id: str) -> int | None:
        """The receipt that took a request id, if any; its fingerprint is kept for the intent that may take it next."""
        fingerprint = self.fingerprint(principal, request_id)
        if len(self._asked) >= MAX_ASKED:
            self._asked.clear()
        self._asked[principal, request_id] = fingerprint
        return self._index.get(fingerprint)

    def asked_fingerprint(self, principal: str, request_id: str) -> bytes:
        """As `fingerprint`; taken once for both questions about one call. From either thread."""
        return self._asked.pop((principal, request_id), None) or self.fingerprint(principal, request_id)

    def claimed(self, fingerprint: bytes, staged: Staged | None = None) -> int | None:
        """The receipt that took a request id, if any."""
        if staged is not None and fingerprint in staged.claims:
            return staged.claims[fingerprint]
        return self._index.get(fingerprint)

    def is_open(self, intent_id: int, staged: Staged) -> bool:
        """Whether an intent still waits for its outcome."""
        return (intent_id in self.open or intent_id in staged.opened) and intent_id not in staged.closed

    def publish(self, staged: Staged) -> None:
        """Take over what a durable group changed."""
        if staged.claims:
            for fingerprint, receipt_id in staged.claims.items():
                self._index.add(fingerprint, receipt_id)
            self._fresh |= staged.claims
        if staged.opened:
            self.open |= staged.opened
        for intent_id in staged.closed:
            del self.open[intent_id]
        if staged.checkpoint is not None:
            checkpoint, packed = staged.checkpoint
            self._checkpoint_id = checkpoint.receipt_id
            self._fresh.clear()
            for _ in range(self._forgotten(len(packed) // CLAIM_BYTES)):
                self._packed -= self._packs.popleft()[1]
            self._keep(encode_key(checkpoint.receipt_id), len(packed) // CLAIM_BYTES)

    @property
    def archivable_id(self) -> int:
        """The last receipt that a start never replays and no open intent needs."""
        return min(self._checkpoint_id, min(self.open, default=self._checkpoint_id + 1) - 1)

    # --- checkpoints, inside the transaction of a commit --------------------------------------------------------------

    def is_checkpoint_due(self, receipt_id: int) -> bool:
        """Whether a start from here would replay more than it should."""
        return len(self._fresh) >= CHECKPOINT_CLAIMS or receipt_id - self._checkpoint_id >= CHECKPOINT_RECEIPTS

    def write_checkpoint(
        self, transaction: lmdb.Transaction[bytes], tables: Tables, receipt_id: int, staged: Staged
    ) -> None:
        """Store the claims since the last checkpoint and the open intents, as they are after this group."""
        claims = {**self._fresh, **staged.claims}
        packed = b"".join(fingerprint + encode_key(taken_by) for fingerprint, taken_by in claims.items())
        still_open = {**self.open, **staged.opened}
        for intent_id in staged.closed:
            del still_open[intent_id]
        checkpoint = Checkpoint(receipt_id, still_open)
        if claims:
            transaction.put(encode_key(receipt_id), packed, append=True, db=tables.claims)
        transaction.put(META_CHECKPOINT, msgspec.msgpack.encode(checkpoint), db=tables.meta)
        for at in range(self._forgotten(len(claims))):
            transaction.delete(self._packs[at][0], db=tables.claims)
        staged.checkpoint = (checkpoint, packed)

    def _keep(self, key: bytes, count: int) -> None:
        if count:
            self._packs.append((key, count))
            self._packed += count

    def _forgotten(self, more: int) -> int:
        """How many of the oldest packs lie before all that memory can hold, once there are so many more claims."""
        left, count = self._packed + more, 0
        while count < len(self._packs) and left - self._packs[count][1] >= 2 * MAX_SLOTS:
            left -= self._packs[count][1]
            count += 1
        return count

    # --- start --------------------------------------------------------------------------------------------------------

    def load(self, transaction: lmdb.Transaction[bytes], tables: Tables) -> int:
        """Read the checkpoints. Returns the receipt id after which `replay` must go on."""
        for key, packed in transaction.cursor(tables.claims):
            self._index.add_packed(packed)
            self._keep(bytes(key), len(packed) // CLAIM_BYTES)
        stored = transaction.get(META_CHECKPOINT, db=tables.meta)
        if stored is not None:
            checkpoint = msgspec.msgpack.decode(stored, type=Checkpoint)
            self._checkpoint_id = checkpoint.receipt_id
            self.open = dict(checkpoint.open_intents)
        return self._checkpoint_id

    def replay(self, event_bytes: bytes) -> None:
        """Take over one receipt that is later than the checkpoint."""
        kind = _decode_kind(event_bytes).kind
        staged = Staged()
        if kind in OPENING or kind in CLAIMING:
            intent = _decode_intent(event_bytes)
            if kind in OPENING:
                staged.opened[intent.id] = None if intent.reserved is None else intent.reserved.settlement()
            if kind in CLAIMING and (kind != PAYMENT or intent.request_id):  # older payments claimed nothing
                staged.claims[self.fingerprint(intent.principal, intent.request_id)] = intent.id
        elif kind in CLOSING:
            intent_id = _decode_closing(event_bytes).intent_id
            if intent_id is not None:
                staged.closed.add(intent_id)
        self.publish(staged)


def check_claim(event: JsonObject, principal: str, request_id: str) -> None:
    """Check that an event will replay as the claim it is committed with.

    Raises:
        InternalError: it is none that claims, or of another principal or request id.
    """
    if event.get("kind") not in CLAIMING or event["principal"] != principal or event["request_id"] != request_id:
        raise InternalError("a request id is claimed by an event that names it and may take one, got another")


def note_opening(event: JsonObject, settle: SettleBudget | None) -> None:
    """Write into an intent's event what replay needs.

    Raises:
        InternalError: the event is no intent.
    """
    if event.get("kind") not in OPENING:
        raise InternalError(f"an `intent` event opens an intent, got `{event.get('kind')}`")
    if settle is not None:
        reserved: JsonObject = {
            "category": settle.category,
            "day": settle.day,
            "microusd": settle.reserved_microusd,
        }
        if settle.grant_id:
            reserved["grant_id"] = settle.grant_id
        event["reserved"] = reserved


def check_closing(event: JsonObject, intent_id: int) -> None:
    """Check that an event will replay as the closing it is committed with.

    Raises:
        InternalError: it does not name the intent, or is no outcome.
    """
    if event.get("kind") not in CLOSING or event["intent_id"] != intent_id:
        raise InternalError(f"an outcome that names intent {intent_id} closes it, got another event")
