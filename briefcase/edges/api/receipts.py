"""Receipts: list them, read one, verify the chain."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from briefcase.edges.api.routing import OPERATOR, READERS, Request, Route
from briefcase.edges.api.services import Services
from briefcase.edges.http.routing import Reply
from briefcase.model.effects import Head
from briefcase.model.errors import CallerError
from briefcase.model.ports import ReceiptFilter, Verification
from briefcase.model.types import MAX_SAFE_INTEGER, Receipt, parse_rfc3339

MAX_LIMIT: Final = 1_000
MAX_HASHES: Final = 10_000
DEFAULT_KEEP: Final = 100_000

_Natural = Annotated[int, msgspec.Meta(ge=0, le=MAX_SAFE_INTEGER)]
_HashHex = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class ReceiptRecord(msgspec.Struct):
    """One link of the chain: `hash_hex` is SHA-256 over `prev_hash_hex` and the RFC 8785 form of `event`."""

    id: int
    ts: str
    prev_hash_hex: _HashHex
    hash_hex: _HashHex
    event: dict[str, Any]


class ReceiptList(msgspec.Struct):
    """In the order that was asked for."""

    receipts: list[ReceiptRecord]


class ReceiptQuery(msgspec.Struct):
    """Which receipts: after and up to an id, of a kind, of a tool, with a decision, of an approval, between two times.

    To read a range whole while receipts are appended: `order=oldest`, `to_id` fixed, `after_id` the last id received.
    """

    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LIMIT)] = 100
    offset: _Natural = 0
    after_id: _Natural | None = None
    to_id: _Natural | None = None
    order: Literal["newest", "oldest"] = "newest"
    kind: str | None = None
    tool_id: str | None = None
    decision: str | None = None
    approval_id: str | None = None
    since: str | None = None
    until: str | None = None


class HashQuery(msgspec.Struct):
    """Which hashes: those of the receipts after an id."""

    after_id: _Natural = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_HASHES)] = MAX_HASHES


class HashList(msgspec.Struct):
    """`hash_hex` of consecutive receipts, oldest first: the leaves from which proofs are made."""

    hashes: list[_HashHex]


class HeadRecord(msgspec.Struct):
    """A receipt's id and hash; id 0 with 64 zeros stands before the first."""

    id: _Natural
    hash_hex: _HashHex


class VerifyRequest(msgspec.Struct):
    """`anchor` is a head noted earlier, outside of this daemon: with it, a cut or rolled back chain is found.

    `after` is the head that an earlier run ended at: only what came later is checked, and `not_checked` says so.
    `state` has the tables held against the whole chain too: approvals, budgets, policy, controls, servers, agents.
    """

    anchor: HeadRecord | None = None
    after: HeadRecord | None = None
    state: bool = False


class BadReceiptRecord(msgspec.Struct):
    """The first receipt that does not verify."""

    id: int
    problem: str
    expected_prev_hash_hex: str
    found_prev_hash_hex: str
    expected_hash_hex: str
    found_hash_hex: str


class DifferenceRecord(msgspec.Struct):
    """The first row of the tables that is not what the receipts say."""

    row: str
    expected: str
    found: str


class VerificationRecord(msgspec.Struct, omit_defaults=True):
    """The result; `not_checked` names what this run could not exclude; `archived` are in segments."""

    ok: bool
    checked: int
    head: HeadRecord
    not_checked: list[str]
    archived: int = 0
    first_bad: BadReceiptRecord | None = None
    difference: DifferenceRecord | None = None


class ArchiveRequest(msgspec.Struct):
    """How many of the newest receipts stay in the ledger, and before which time a receipt must be to be archived."""

    keep: Annotated[int, msgspec.Meta(ge=1_000, le=MAX_SAFE_INTEGER)] = DEFAULT_KEEP
    before: str | None = None


class ArchiveRecord(msgspec.Struct):
    """What was moved, and where the archive ends: `through` is its last receipt, `directory` where its segments are."""

    receipts: int
    segments: int
    bytes: int
    through: HeadRecord
    directory: str


class CheckpointRecord(msgspec.Struct):
    """A C2SP signed note over the RFC 6962 tree of all receipts' hashes."""

    note: str
    size: int
    root_hex: _HashHex
    head: HeadRecord


async def list_receipts(services: Services, request: Request) -> Reply:
    """`GET /v1/receipts`.

    A receipt was redacted where it was appended, and is answered as it is: its hash is over those very bytes.
    """
    query = request.query_as(ReceiptQuery)
    chosen = ReceiptFilter(
        limit=query.limit,
        offset=query.offset,
        after_id=query.after_id,
        to_id=query.to_id,
        oldest_first=query.order == "oldest",
        kind=query.kind,
        tool_id=query.tool_id,
        decision=query.decision,
        approval_id=query.approval_id,
        since_us=_time("since", query.since),
        until_us=_time("until", query.until),
    )
    found = ReceiptList([_record(receipt) for receipt in await services.ledger.receipts(chosen)])
    return Reply(found, is_filtered=True)


async def show_receipt(services: Services, request: Request) -> Reply:
    """`GET /v1/receipts/{id}`, as it was appended."""
    number = request.params["id"]
    receipt = await services.ledger.receipt(int(number)) if number.isdecimal() and len(number) < 16 else None  # noqa: PLR2004 - digits of the largest safe integer
    if receipt is None:
        raise CallerError(f"no receipt `{number}`", code="not_found")
    return Reply(_record(receipt), is_filtered=True)


async def list_hashes(services: Services, request: Request) -> HashList:
    """`GET /v1/receipts/hashes`."""
    query = request.query_as(HashQuery)
    return HashList(list(await services.ledger.hashes(query.after_id, query.limit)))


async def verify_receipts(services: Services, request: Request) -> VerificationRecord:
    """`POST /v1/receipts/verify`: the whole chain, or what came after an earlier run; streaming."""
    wanted = request.body_as(VerifyRequest)
    if wanted.state and wanted.after is not None:
        raise CallerError("expected `state` without `after`: the tables are held against the whole chain")
    found = await _verified(services, wanted)
    if found.difference is not None and found.difference.row.startswith("agent:"):
        found = await _verified(services, wanted)  # once more: SQLite and the ledger are read one after the other
    bad, other = found.first_bad, found.difference
    return VerificationRecord(
        ok=found.ok,
        checked=found.checked,
        head=HeadRecord(found.head.id, found.head.hash_hex),
        not_checked=list(found.not_checked),
        archived=found.archived,
        first_bad=None if bad is None else BadReceiptRecord(**msgspec.structs.asdict(bad)),
        difference=None if other is None else DifferenceRecord(**msgspec.structs.asdict(other)),
    )


async def _verified(services: Services, wanted: VerifyRequest) -> Verification:
    agents = await services.agents.active() if wanted.state else None
    return await services.ledger.verify(_head(wanted.anchor), after=_head(wanted.after), agents=agents)


async def archive_receipts(services: Services, request: Request) -> ArchiveRecord:
    """`POST /v1/receipts/archive`: answers when all of it is on disk."""
    wanted = request.body_as(ArchiveRequest)
    before_us = _time("before", wanted.before)
    done = await services.ledger.archive(request.principal.name, wanted.keep, before_us)
    through = HeadRecord(done.boundary.id, done.boundary.hash_hex)
    return ArchiveRecord(done.receipts, done.segments, done.bytes, through, done.directory)


async def sign_checkpoint(services: Services, _: Request) -> CheckpointRecord:
    """`POST /v1/receipts/checkpoint`: verifies the whole chain first."""
    signed = await services.checkpoints.sign()
    checkpoint, head = signed.checkpoint, signed.head
    return CheckpointRecord(signed.note, checkpoint.size, checkpoint.root.hex(), HeadRecord(head.id, head.hash_hex))


def _head(record: HeadRecord | None) -> Head | None:
    return None if record is None else Head(record.id, record.hash_hex)


def _time(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_rfc3339(text)
    except (ValueError, OverflowError):
        raise CallerError(
            f"expected `{name}` as an RFC 3339 time, got `{text[:64]}`", hint="for example `2026-01-02T03:04:05Z`"
        ) from None


def _record(receipt: Receipt) -> ReceiptRecord:
    return ReceiptRecord(receipt.id, receipt.ts, receipt.prev_hash_hex, receipt.hash_hex, receipt.event)


ROUTES: Final = (
    Route(
        "GET",
        "/v1/receipts",
        READERS,
        list_receipts,
        "Receipts, newest first or oldest first",
        ReceiptList,
        query=ReceiptQuery,
    ),
    Route("GET", "/v1/receipts/hashes", READERS, list_hashes, "Hashes of receipts", HashList, query=HashQuery),
    Route("GET", "/v1/receipts/{id}", READERS, show_receipt, "One receipt", ReceiptRecord),
    Route(
        "POST",
        "/v1/receipts/verify",
        READERS,
        verify_receipts,
        "Verify the chain",
        VerificationRecord,
        body=VerifyRequest,
    ),
    Route(
        "POST",
        "/v1/receipts/archive",
        OPERATOR,
        archive_receipts,
        "Move old receipts into the archive",
        ArchiveRecord,
        body=ArchiveRequest,
    ),
    Route("POST", "/v1/receipts/checkpoint", OPERATOR, sign_checkpoint, "Sign the chain's state", CheckpointRecord),
)
