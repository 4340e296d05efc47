"""Chains of receipts, as a device uploads them, and how an auditor's answer is held against them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from briefcase.core.receipts.chain import GENESIS_HASH_HEX
from briefcase.edges.conformance.checks import BrokenError
from briefcase.model.ports import HttpResponse
from briefcase.model.types import JsonObject

A_TIME: Final = "2026-01-01T00:00:00.123456Z"
ODD: Final = r'"text":"é \u2028 \u0001","cost_usd":0.0,'
"""Members that another JSON writer would write otherwise: the hash is over these very bytes."""


class SentReceipt(NamedTuple):
    """A receipt on the wire; `event` is its JSON object as it is written."""

    id: int
    prev_hash_hex: str
    hash_hex: str
    event: str


def chain(
    count: int, *, first_id: int = 1, step: int = 1, after: str = GENESIS_HASH_HEX, mark: str = ""
) -> list[SentReceipt]:
    """Receipts that link to each other.

    Args:
        count: how many.
        first_id: the id of the first.
        step: between ids.
        after: the hash that the first continues, in hex.
        mark: makes another chain of the same ids.
    """
    receipts = []
    for number in range(first_id, first_id + count * step, step):
        event = f'{{"kind":"tool_call",{ODD}"id":{number},"decision":"allow","tool_id":"conformance","mark":"{mark}"}}'
        receipts.append(SentReceipt(number, after, hash_of(after, event), event))
        after = receipts[-1].hash_hex
    return receipts


def hash_of(prev_hash_hex: str, event: str) -> str:
    """The hash of a receipt: SHA-256 over the link and the event's bytes."""
    return hashlib.sha256((prev_hash_hex + event).encode()).hexdigest()


def upload_of(receipts: Sequence[SentReceipt]) -> bytes:
    """The body of an upload."""
    return f'{{"receipts":[{",".join(map(_written, receipts))}]}}'.encode()


def _written(receipt: SentReceipt) -> str:
    return (
        f'{{"id":{receipt.id},"ts":"{A_TIME}","prev_hash_hex":"{receipt.prev_hash_hex}",'
        f'"hash_hex":"{receipt.hash_hex}","event":{receipt.event}}}'
    )


class AuditedReceipt(msgspec.Struct, frozen=True):
    """A receipt as an auditor gets it."""

    id: int
    prev_hash_hex: str
    hash_hex: str
    event: msgspec.Raw


class _Audited(msgspec.Struct, frozen=True):
    receipts: list[AuditedReceipt]


def audited(response: HttpResponse) -> list[AuditedReceipt]:
    """The receipts of an auditor's answer, their events' bytes as they came."""
    try:
        return msgspec.json.decode(response.body, type=_Audited).receipts
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BrokenError(f"expected `receipts` with id, hashes and event from an auditor's path: {error}") from None


def check_kept(sent: Sequence[SentReceipt], kept: Sequence[AuditedReceipt]) -> None:
    """Check that what is kept is what was sent, the newest first, each with the bytes that its hash is over."""
    expected, got = [receipt.id for receipt in reversed(sent)], [receipt.id for receipt in kept]
    if expected != got:
        raise BrokenError(f"expected the receipts {expected[:5]} of the device, the newest first, got {got[:5]}")
    for before, after in zip(reversed(sent), kept, strict=True):
        if (after.prev_hash_hex, after.hash_hex) != (before.prev_hash_hex, before.hash_hex):
            raise BrokenError(f"expected receipt {before.id} to keep its hashes")
        if hash_of(after.prev_hash_hex, bytes(after.event).decode()) != after.hash_hex:
            raise BrokenError(f"expected the event of receipt {before.id} to keep its bytes, got another text of it")


def stored_of(answer: JsonObject, expected: int, what: str) -> None:
    """Check how many receipts an upload says that it stored."""
    if answer.get("stored") != expected:
        raise BrokenError(f"expected {what} to answer `stored` {expected}, got {answer.get('stored')!r}"[:200])
