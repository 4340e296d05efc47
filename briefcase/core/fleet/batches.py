"""An upload of receipts as the control plane checks it, before it looks at what it has stored.

A device sends receipts in any order; they are sorted by id. The checks, in order, each with its word:

 1. the body is strict JSON of the expected form             400 `invalid_request`
 2. at most 500 receipts                                      `too_many_receipts`
 3. no id twice                                               `receipt_id_not_monotonic`
 4. each links to the one before it in the batch              `receipt_prev_hash_mismatch`
 5. each hash is that of its link and event                   `receipt_hash_mismatch`

The hash is over the event as it stands on the wire, and these bytes are what is stored: other daemons do not sort keys.
Ids may have gaps. Whether the first continues what is stored is the database's to say.
"""

from __future__ import annotations

import hashlib
import itertools
from typing import Annotated, Final

import msgspec

from briefcase.core.fleet.words import HASH_MISMATCH, NOT_MONOTONIC, PREV_HASH_MISMATCH, TOO_MANY_RECEIPTS
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
