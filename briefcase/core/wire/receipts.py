"""Receipts on the wire: records, pages of them, the verification of the chain, archives and checkpoints."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from briefcase.core.wire.fields import HashHex, Natural
from briefcase.core.wire.witnesses import WitnessedRecord
from briefcase.model.types import MAX_SAFE_INTEGER

MAX_LIMIT: Final = 1_000
MAX_HASHES: Final = 10_000
DEFAULT_KEEP: Final = 100_000


class ReceiptRecord(msgspec.Struct, frozen=True):
    """One link of the chain: `hash_hex` is SHA-256 over `prev_hash_hex` and the RFC 8785 form of `event`."""

    id: int
    ts: str
    prev_hash_hex: HashHex
    hash_hex: HashHex
    event: dict[str, Any]


class ReceiptList(msgspec.Struct, frozen=True):
    """In the order that was asked for."""

    receipts: list[ReceiptRecord]


class ReceiptQuery(msgspec.Struct, frozen=True):
    """Which receipts: by id, kind, tool, principal (an agent's name), decision, approval, and between two times.

    To read a range whole while receipts are appended: `order=oldest`, `to_id` fixed, `after_id` the last id received.
    """

    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LIMIT)] = 100
    offset: Natural = 0
    after_id: Natural | None = None
    to_id: Natural | None = None
    order: Literal["newest", "oldest"] = "newest"
    kind: str | None = None
    tool_id: str | None = None
    principal: str | None = None
    decision: str | None = None
    approval_id: str | None = None
    since: str | None = None
    until: str | None = None


class HashQuery(msgspec.Struct, frozen=True):
    """Which hashes: those of the receipts after an id."""

    after_id: Natural = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_HASHES)] = MAX_HASHES


class HashList(msgspec.Struct, frozen=True):
    """`hash_hex` of consecutive receipts, oldest first: the leaves from which proofs are made."""

    hashes: list[HashHex]


class HeadRecord(msgspec.Struct, frozen=True):
    """A receipt's id and hash; id 0 with 64 zeros stands before the first."""

    id: Natural
    hash_hex: HashHex


class VerifyRequest(msgspec.Struct, frozen=True):
    """`anchor` is a head noted earlier, outside of this daemon: with it, a cut or rolled back chain is found.

    `after` is the head that an earlier run ended at: only what came later is checked, and `not_checked` says so.
    `state` has the tables held against the whole chain too: approvals, budgets, policy, controls, servers, agents.
    """

    anchor: HeadRecord | None = None
    after: HeadRecord | None = None
    state: bool = False


class BadReceiptRecord(msgspec.Struct, frozen=True):
    """The first receipt that does not verify."""

    id: int
    problem: str
    expected_prev_hash_hex: str
    found_prev_hash_hex: str
    expected_hash_hex: str
    found_hash_hex: str


class DifferenceRecord(msgspec.Struct, frozen=True):
    """The first row of the tables that is not what the receipts say."""

    row: str
    expected: str
    found: str


class VerificationRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """The result; `not_checked` names what this run could not exclude; `archived` are in segments.

    `witnessed` is what witnesses say of the chain, where there are any and the whole of it was checked.
    """

    ok: bool
    checked: int
    head: HeadRecord
    not_checked: list[str]
    archived: int = 0
    first_bad: BadReceiptRecord | None = None
    difference: DifferenceRecord | None = None
    witnessed: WitnessedRecord | None = None


class ArchiveRequest(msgspec.Struct, frozen=True):
    """How many of the newest receipts stay in the ledger, and before which time a receipt must be to be archived."""

    keep: Annotated[int, msgspec.Meta(ge=1_000, le=MAX_SAFE_INTEGER)] = DEFAULT_KEEP
    before: str | None = None


class ArchiveRecord(msgspec.Struct, frozen=True):
    """What was moved, and where the archive ends: `through` is its last receipt, `directory` where its segments are."""

    receipts: int
    segments: int
    bytes: int
    through: HeadRecord
    directory: str


class CheckpointRecord(msgspec.Struct, frozen=True):
    """A C2SP signed note over the RFC 6962 tree of all receipts' hashes."""

    note: str
    size: int
    root_hex: HashHex
    head: HeadRecord
