"""An upload of receipts as the control plane judges it: by itself, then against what is stored.

A device sends receipts in any order; they are sorted by id. The checks, in order, each with its word:

 1. the body is strict JSON of the expected form             400 `invalid_request`
 2. at most 500 receipts                                      `too_many_receipts`
 3. no id twice                                               `receipt_id_not_monotonic`
 4. each links to the one before it in the batch              `receipt_prev_hash_mismatch`
 5. each hash is that of its link and event                   `receipt_hash_mismatch`

The hash is over the event as it stands on the wire, and these bytes are what is stored: other daemons do not sort keys.
Ids may have gaps. Against what is stored (`judge_batch`), receipt by receipt:

 6. stored already with the same hash: passed over, so that an upload whose answer was lost can be sent again
 7. stored with another hash: the chain was told in two ways, both are kept as evidence     409 `receipt_fork`
 8. at or below the head and not stored: what was passed over cannot come later   400 `receipt_id_not_monotonic`
 9. the rest must continue the head                                               400 `receipt_prev_hash_mismatch`

Everything here is a function of its arguments.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Annotated, Final, TypeAlias

import msgspec

from briefcase.core.fleet.words import FORK, HASH_MISMATCH, NOT_MONOTONIC, PREV_HASH_MISMATCH, TOO_MANY_RECEIPTS
from briefcase.core.json.strict import parse as parse_json
from briefcase.model.errors import CallerError
from briefcase.model.types import MAX_SAFE_INTEGER

MAX_RECEIPTS: Final = 500
MAX_TIME_CHARS: Final = 64
INVALID_REQUEST: Final = "invalid_request"

_Hash = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class BatchError(ValueError):
    """A batch that is not to be stored: the control plane's word, and a sentence about it."""

    def __init__(self, word: str, problem: str) -> None:
        super().__init__(problem)
        self.word = word
        self.problem = problem


class UploadedReceipt(msgspec.Struct, frozen=True):
    """A receipt as it came; `event` is the bytes of its JSON object, unchanged."""

    id: Annotated[int, msgspec.Meta(ge=1, le=MAX_SAFE_INTEGER)]
    ts: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TIME_CHARS)]
    prev_hash_hex: _Hash
    hash_hex: _Hash
    event: msgspec.Raw


class Held(msgspec.Struct, frozen=True):
    """What a control plane has of a device: its head, and the hash of each receipt of a batch that it stored."""

    last_id: int
    head_hash_hex: str
    hashes_hex: Mapping[int, str]


class Append(msgspec.Struct, frozen=True):
    """What is left of a batch continues the head; nothing where all of it is stored."""

    receipts: Sequence[UploadedReceipt]


class Rejected(msgspec.Struct, frozen=True):
    """Nothing of the batch is to be stored: the word, a sentence, and the receipt that forked, where one did."""

    word: str
    problem: str
    forked: UploadedReceipt | None = None


BatchVerdict: TypeAlias = Append | Rejected


class Upload(msgspec.Struct, frozen=True):
    """The body of an upload: at most 500 receipts, in any order."""

    receipts: list[UploadedReceipt]


_DECODER: Final = msgspec.json.Decoder(Upload)


def read_batch(body: bytes) -> list[UploadedReceipt]:
    """Read and check an upload; the steps are the module's.

    Args:
        body: the request's body, bounded by the caller.

    Raises:
        BatchError: the first check that failed.

    Returns:
        Its receipts by growing id, each linked to the one before.
    """
    # 1. read strictly, so that no second reader sees another event, then take the events' bytes as they stand
    try:
        parse_json(body)
        receipts = _DECODER.decode(body).receipts
    except (CallerError, msgspec.DecodeError) as error:
        raise BatchError(INVALID_REQUEST, f"expected `receipts`: {error}") from None
    if any(bytes(receipt.event)[:1] != b"{" for receipt in receipts):
        raise BatchError(INVALID_REQUEST, "expected each `event` to be an object")
    # 2.
    if len(receipts) > MAX_RECEIPTS:
        raise BatchError(TOO_MANY_RECEIPTS, f"expected at most {MAX_RECEIPTS} receipts, got {len(receipts)}")
    receipts.sort(key=lambda receipt: receipt.id)
    for before, receipt in itertools.pairwise(receipts):
        # 3.
        if receipt.id == before.id:
            raise BatchError(NOT_MONOTONIC, f"receipt {receipt.id} came twice")
        # 4.
        if receipt.prev_hash_hex != before.hash_hex:
            raise BatchError(PREV_HASH_MISMATCH, f"receipt {receipt.id} does not continue receipt {before.id}")
    # 5.
    for receipt in receipts:
        if hashlib.sha256(receipt.prev_hash_hex.encode() + receipt.event).hexdigest() != receipt.hash_hex:
            raise BatchError(HASH_MISMATCH, f"the hash of receipt {receipt.id} is not that of its event")
    return receipts


def judge_batch(batch: Sequence[UploadedReceipt], held: Held) -> BatchVerdict:
    """Judge a batch against what is stored; the steps are the module's.

    Args:
        batch: as `read_batch` gave it.
        held: what the control plane has, which does not change meanwhile.
    """
    rest = [receipt for receipt in batch if receipt.id > held.last_id]
    for receipt in batch[: len(batch) - len(rest)]:
        stored_hex = held.hashes_hex.get(receipt.id)
        # 8.
        if stored_hex is None:
            return Rejected(NOT_MONOTONIC, f"receipt {receipt.id} comes after a later one was stored")
        # 6. and 7.
        if stored_hex != receipt.hash_hex:
            return Rejected(FORK, f"receipt {receipt.id} was stored with another hash", receipt)
    # 9.
    if rest and rest[0].prev_hash_hex != held.head_hash_hex:
        return Rejected(PREV_HASH_MISMATCH, f"receipt {rest[0].id} does not continue receipt {held.last_id}")
    return Append(rest)
