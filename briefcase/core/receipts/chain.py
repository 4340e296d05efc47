"""The hash chain of receipts: how a record is stored, linked and verified. Pure; the ledger does the reading.

A stored record is `hash_hex || prev_hash_hex || canonical(event)`: the hash covers everything after itself in one piece

    hash_hex = SHA-256( ascii(prev_hash_hex) || canonical(event) )

and the first `prev_hash_hex` is 64 zeros. A record's id is its key: 8 bytes, big-endian, counting from 1.

Verification takes records in order and stops at the first bad one. For each, in this order:

 1. `id_sequence`: its id is the one after the last
 2. `malformed`: it is long enough to hold two hashes
 3. `prev_hash`: it links to the one before
 4. `hash`: its hash is that of its link and event
 5. `not_canonical`: the event's bytes are canonical, so every JSON reader sees the same event
 6. `event_id`, `event_ts`: the event repeats the id, and holds a time
 7. `time_went_back`: its time is not before the one before

At the end: `receipt_missing`: the chain reaches the head that the ledger knows.

Against an anchor, a head that was noted elsewhere: `anchor_missing`: the chain reaches it; `anchor_mismatch`: it has
that hash there.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping
from typing import Final

import orjson

from briefcase._native.canonical import canonical_event
from briefcase._native.chain import verify_records
from briefcase.model.effects import Head
from briefcase.model.ports import BadReceipt, Verification
from briefcase.model.types import Receipt

HASH_CHARS: Final = 64
GENESIS_HASH_HEX: Final = "0" * HASH_CHARS
GENESIS: Final = Head(0, GENESIS_HASH_HEX)
NO_TIME: Final = "0000-00-00T00:00:00.000000Z"  # before every time, and of their length

EVENT_AT: Final = 2 * HASH_CHARS
# a receipt's key is its id in 8 bytes, so that keys sort as ids do: `encode_key(receipt_id)`
encode_key: Final[Callable[[int], bytes]] = struct.Struct(">Q").pack

# What a run of verification could not exclude.
TAIL_TRUNCATION: Final = "tail_truncation"
ROLLBACK: Final = "rollback"
TAIL_AFTER_ANCHOR: Final = "tail_truncation_after_anchor"
BEFORE_CHECKPOINT: Final = "receipts_before_checkpoint"


def decode_key(key: bytes) -> int:
    """The id of a key."""
    return int.from_bytes(key, "big")


def link_record(prev_hash_hex: bytes, event: Mapping[str, object]) -> tuple[str, bytes]:
    """Link one event to the chain.

    Args:
        prev_hash_hex: the hash before it, 64 ASCII bytes.
        event: the whole event, with its `id` and `ts`.

    Raises:
        TypeError: the event holds a float or something that is no JSON value.
        ValueError: the event holds a value without canonical form.

    Returns:
        Its hash in hexadecimal, and the record to store.
    """
    covered = prev_hash_hex + canonical_event(event)
    hash_hex = hashlib.sha256(covered).hexdigest()
    return hash_hex, hash_hex.encode() + covered


def decode_record(receipt_id: int, record: bytes) -> Receipt:
    """Read a stored record.

    Raises:
        ValueError: the bytes are no record.
    """
    event = orjson.loads(record[EVENT_AT:])
    return Receipt(
        id=receipt_id,
        ts=event["ts"],
        prev_hash_hex=record[HASH_CHARS:EVENT_AT].decode("ascii"),
        hash_hex=record[:HASH_CHARS].decode("ascii"),
        event=event,
    )


def event_of(record: bytes) -> bytes:
    """The canonical bytes of a stored record's event."""
    return record[EVENT_AT:]


def hash_hex_of(record: bytes) -> str:
    """The hash of a stored record."""
    return record[:HASH_CHARS].decode("ascii", "replace")


class Verifier:
    """Verification under way: feed it records in order, in lists of any length.

    Args:
        after: where to start: the receipt before the first one fed. Its hash is trusted.
        after_ts: that receipt's time.
        anchor: a head that was noted elsewhere, which the chain must contain.
    """

    def __init__(self, after: Head = GENESIS, after_ts: str = NO_TIME, anchor: Head | None = None) -> None:
        self._after = after
        self._head = after
        self._ts = after_ts.encode()
        self._anchor = anchor
        self.first_bad: BadReceipt | None = None
        if anchor is not None and anchor.id == after.id and anchor != after:
            self._find("anchor_mismatch", anchor.hash_hex, b"")

    @property
    def checked(self) -> int:
        """How many receipts were found good."""
        return self._head.id - self._after.id

    @property
    def head(self) -> Head:
        """The last good receipt."""
        return self._head

    @property
    def head_ts(self) -> str:
        """The time of the last good receipt."""
        return self._ts.decode()

    def feed(self, records: list[tuple[bytes, bytes]]) -> bool:
        """Check the next records: (key, stored record) pairs. Returns whether all were good."""
        anchor = self._anchor
        if anchor is None or not self._head.id < anchor.id <= self._head.id + len(records):
            return self._check(records)
        at = anchor.id - self._head.id - 1
        return (
            self._check(records[:at]) and self._check_anchored(records[at], anchor) and self._check(records[at + 1 :])
        )

    def finish(self, expected: Head, archived: int = 0) -> Verification:
        """Say that the chain ended here, and what was found; its end or the anchor may be found missing only now.

        Args:
            expected: the head that the ledger itself knows.
            archived: up to which receipt the chain lies in archive segments.
        """
        not_checked = self._not_checked(expected)
        return Verification(
            ok=self.first_bad is None,
            checked=self.checked,
            head=self._head,
            first_bad=self.first_bad,
            not_checked=not_checked,
            archived=archived,
        )

    def _not_checked(self, expected: Head) -> tuple[str, ...]:
        """What could not be excluded, at the end of the chain."""
        if self.first_bad is None and self._head != expected:
            self._find("receipt_missing", expected.hash_hex, b"")
        if self.first_bad is not None:
            return ()
        anchor, unknown = self._anchor, []
        if anchor is None:
            unknown += [TAIL_TRUNCATION, ROLLBACK]
        elif anchor.id > self._head.id:
            self._find("anchor_missing", anchor.hash_hex, b"")
            return ()
        elif anchor.id < self._head.id:
            unknown.append(TAIL_AFTER_ANCHOR)
        if self._after.id:
            unknown.append(BEFORE_CHECKPOINT)
        return tuple(unknown)

    def _check(self, records: list[tuple[bytes, bytes]]) -> bool:
        if self.first_bad is not None:
            return False
        good, problem, hash_hex, ts = verify_records(records, self._head.id + 1, self._head.hash_hex.encode(), self._ts)
        self._head = Head(self._head.id + good, hash_hex.decode())
        self._ts = ts
        if problem is not None:
            record = records[good][1]
            covered = self._head.hash_hex.encode() + event_of(record)
            self._find(problem, hashlib.sha256(covered).hexdigest(), record)
        return problem is None

    def _check_anchored(self, item: tuple[bytes, bytes], anchor: Head) -> bool:
        before = self._head
        if not self._check([item]):
            return False
        if self._head != anchor:
            self._head = before
            self._find("anchor_mismatch", anchor.hash_hex, item[1])
        return self.first_bad is None

    def _find(self, problem: str, expected_hash_hex: str, record: bytes) -> None:
        """Note the receipt after the last good one as the first bad one."""
        self.first_bad = BadReceipt(
            id=self._head.id + 1,
            problem=problem,
            expected_prev_hash_hex=self._head.hash_hex,
            found_prev_hash_hex=record[HASH_CHARS:EVENT_AT].decode("ascii", "replace"),
            expected_hash_hex=expected_hash_hex,
            found_hash_hex=hash_hex_of(record),
        )
