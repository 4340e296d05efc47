"""Receipts: list them, read one, verify the chain."""

from __future__ import annotations

from typing import Final

import msgspec

from briefcase.core.receipts.judgement import with_judgement
from briefcase.core.wire.receipts import (
    ArchiveRecord,
    ArchiveRequest,
    BadReceiptRecord,
    CheckpointRecord,
    DifferenceRecord,
    HashList,
    HashQuery,
    HeadRecord,
    ReceiptList,
    ReceiptQuery,
    ReceiptRecord,
    VerificationRecord,
    VerifyRequest,
)
from briefcase.core.wire.witnesses import witnessed_record
from briefcase.edges.api.routing import OPERATOR, READERS, Request, Route
from briefcase.edges.api.services import Services
from briefcase.edges.http.routing import Reply
from briefcase.model.effects import Head
from briefcase.model.errors import CallerError
from briefcase.model.ports import ReceiptFilter, Verification
from briefcase.model.types import Receipt, parse_rfc3339

MAX_ID_DIGITS: Final = 15  # a digit less than the largest safe integer has


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
        principal=query.principal,
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
    is_id = number.isdecimal() and len(number) <= MAX_ID_DIGITS
    receipt = await services.ledger.receipt(int(number)) if is_id else None
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
    judged = await services.witnessing.judge() if found.first_bad is None and wanted.after is None else None
    found = with_judgement(found, judged)
    bad, other = found.first_bad, found.difference
    return VerificationRecord(
        ok=found.ok,
        checked=found.checked,
        head=HeadRecord(found.head.id, found.head.hash_hex),
        not_checked=list(found.not_checked),
        archived=found.archived,
        witnessed=None if judged is None else witnessed_record(judged),
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
