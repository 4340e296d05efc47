"""Uploading receipts: which ones go next, and what an answer makes of the watermark.

The watermark is the last receipt that the control plane is known to have. It moves by answers alone:

| answer | then |
|---|---|
| 200 | the batch's last receipt, or the server's own word (`last_receipt_id`) where that is less: `resumed` |
| 400 `receipt_id_not_monotonic`, `receipt_prev_hash_mismatch` with `last_receipt_id` | the server's word: `resumed` |
| 400 `too_many_receipts`, 413 | stays; half as many go next |
| 400 `receipt_fork`, `receipt_hash_mismatch`, or one of the above without the server's word | stays; the upload stops |
| any other | stays; the upload stops until the next sync |

INVARIANT (watermark): it never passes a receipt that the control plane did not acknowledge. It may fall, where the
control plane lost what it had: then the same receipts go again, which it takes by their hashes.

A word of the server's beyond what was ever sent is no word to go on: the upload stops (`receipt_fork`). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final, TypeAlias

import msgspec

from briefcase.core.fleet.words import (
    FORK,
    HASH_MISMATCH,
    NOT_MONOTONIC,
    PREV_HASH_MISMATCH,
    TOO_MANY_RECEIPTS,
    UNEXPECTED,
)
from briefcase.core.receipts.exports import export_line
from briefcase.model.types import Receipt

MAX_BATCH_RECEIPTS: Final = 500
MAX_BATCH_BYTES: Final = 768 << 10  # servers that were told nothing else take 1 MiB
_ELSEWHERE: Final = frozenset({NOT_MONOTONIC, PREV_HASH_MISMATCH})
_ALARMS: Final = frozenset({FORK, HASH_MISMATCH, *_ELSEWHERE})
_HEAD: Final = b'{"receipts":['
_TAIL: Final = b"]}"


class Batch(msgspec.Struct, frozen=True):
    """Consecutive receipts as the body of one request."""

    first_id: int
    last_id: int
    count: int
    body: bytes


class UploadAnswer(msgspec.Struct, frozen=True):
    """What a control plane said to a batch; `last_receipt_id` is the last receipt it has, where it says so."""

    status: int
    word: str = ""
    last_receipt_id: int | None = None


class Uploaded(msgspec.Struct, frozen=True):
    """The control plane has everything up to the watermark."""

    watermark: int


class Resumed(msgspec.Struct, frozen=True):
    """The control plane has less, or more, than the device thought: the upload goes on from its watermark."""

    watermark: int


class Halved(msgspec.Struct, frozen=True):
    """The batch was too large: the next one has at most so many receipts."""

    max_receipts: int


class Stopped(msgspec.Struct, frozen=True):
    """Nothing more goes until the next sync. `is_alarm` where no later sync mends it by itself."""

    word: str
    is_alarm: bool = False


Step: TypeAlias = Uploaded | Resumed | Halved | Stopped


def batch_of(
    receipts: Iterable[Receipt], max_receipts: int = MAX_BATCH_RECEIPTS, max_bytes: int = MAX_BATCH_BYTES
) -> Batch | None:
    """Put the first of some consecutive receipts into one request.

    Args:
        receipts: oldest first.
        max_receipts: how many at most.
        max_bytes: how large the body may be; one receipt goes whatever its size.

    Returns:
        The batch, or None where there are no receipts.
    """
    lines: list[bytes] = []
    first_id = last_id = size = 0
    for receipt in receipts:
        line = export_line(msgspec.structs.asdict(receipt)).rstrip(b"\n")
        if len(lines) == max_receipts or (lines and size + len(line) > max_bytes):
            break
        first_id, last_id = first_id or receipt.id, receipt.id
        size += len(line) + 1
        lines.append(line)
    if not lines:
        return None
    return Batch(first_id, last_id, len(lines), b"%b%b%b" % (_HEAD, b",".join(lines), _TAIL))


def judge_upload(batch: Batch, answer: UploadAnswer) -> Step:
    """What an answer to a batch makes of the watermark, as the table above has it."""
    told = answer.last_receipt_id
    if told is not None and told > batch.last_id and answer.word not in _ELSEWHERE:
        told = None  # it has more than this batch, which it says after an earlier answer was lost
    if answer.status == HTTPStatus.OK:
        return Uploaded(batch.last_id) if told is None or told == batch.last_id else Resumed(told)
    if answer.word == TOO_MANY_RECEIPTS or answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return Halved(batch.count // 2) if batch.count > 1 else Stopped(answer.word or UNEXPECTED, is_alarm=True)
    if answer.word in _ELSEWHERE and told is not None and told != batch.first_id - 1:
        return Resumed(told)
    return Stopped(answer.word or UNEXPECTED, is_alarm=answer.word in _ALARMS)


def resumed_at(watermark: int, told: int | None, head_id: int) -> int:
    """Where an upload goes on after an enrolment.

    Args:
        watermark: the device's own.
        told: the last receipt that the control plane has of this device; None where it does not say.
        head_id: the last receipt of the chain. A word beyond it is no word to go on: the upload finds out why.
    """
    return watermark if told is None or told > head_id else told


def check_resumption(watermark: int, head_id: int) -> Stopped | None:
    """Why an upload cannot go on from a server's word: it has receipts that this chain does not."""
    return Stopped(FORK, is_alarm=True) if watermark > head_id else None
