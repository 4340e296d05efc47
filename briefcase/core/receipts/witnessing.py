"""The witness protocol, both ends, without I/O: C2SP tlog-witness, `POST <prefix>/add-checkpoint`.

    old <size>                    of the checkpoint that the witness cosigned last; 0 where none
    <base64>                      of a consistency proof from there (RFC 6962 section 2.1.2), at most 63 lines
                                  (an empty line)
    <checkpoint>                  a signed note

What the witness answers, in the order in which it looks:

| status | means | to the log |
|---|---|---|
| 400 | of another form, or `old` is past the checkpoint | a fault of the log |
| 404 | the origin is unknown; some say 403 | ask its operator to take this log |
| 403 | no signature by a key it trusts for the origin | likewise |
| 409, `text/x.tlog.size` | `old` is not what it cosigned last; the body is | prove from there; past the log: alarm |
| 409 | the same size with another root | alarm: the log told two histories |
| 422 | the proof does not lead from what it cosigned to this | alarm: the log is not the one it saw |
| 200 | cosigned, and kept before it answered | lines to verify |

A witness keeps one row for each log, and moves it only from the very size it judged (compare and set): `Seen`, `judge`.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection, Sequence
from http import HTTPStatus
from typing import Final, TypeAlias

import msgspec

from briefcase.core.receipts.note_keys import NoteKey, Verify, decode_base64
from briefcase.core.receipts.notes import (
    MAX_NOTE_BYTES,
    ROOT_BYTES,
    Checkpoint,
    SignatureLine,
    parse_size,
    read_checkpoint_text,
    split_note,
)
from briefcase.core.receipts.tree import EMPTY_ROOT, is_consistent
from briefcase.model.errors import CallerError

PATH: Final = "/add-checkpoint"
SIZE_TYPE: Final = "text/x.tlog.size"
MAX_PROOF_LINES: Final = 63
MAX_REQUEST_BYTES: Final = MAX_NOTE_BYTES + 8_192
MAX_ANSWER_BYTES: Final = 64 << 10
MAX_SAID_CHARS: Final = 120
_NOT_PLAIN: Final = re.compile(r"[^ -~]+")


class AddCheckpoint(msgspec.Struct, frozen=True):
    """One request: the size it goes on from, the proof, and the signed checkpoint."""

    old_size: int
    proof: tuple[bytes, ...]
    note: str


def encode_request(request: AddCheckpoint) -> bytes:
    """The body of a request."""
    proof = "".join(f"{base64.b64encode(one).decode()}\n" for one in request.proof)
    return f"old {request.old_size}\n{proof}\n{request.note}".encode()


def parse_request(body: bytes) -> AddCheckpoint:
    """Read the body of a request; its note is only split off.

    Raises:
        CallerError: of another form.
    """
    if len(body) > MAX_REQUEST_BYTES:
        raise CallerError(f"expected at most {MAX_REQUEST_BYTES} bytes, got {len(body)}")
    try:
        head, blank, note = body.decode().partition("\n\n")
    except UnicodeDecodeError:
        raise CallerError("expected UTF-8") from None
    first, *lines = head.split("\n")
    old_size = parse_size(first.removeprefix("old ")) if first.startswith("old ") else None
    if not blank or old_size is None:
        raise CallerError("expected a line `old SIZE`, lines of a proof, an empty line and a checkpoint")
    proof = tuple(map(decode_base64, lines))
    if len(proof) > MAX_PROOF_LINES or any(len(one) != ROOT_BYTES for one in proof):
        raise CallerError(f"expected at most {MAX_PROOF_LINES} lines, each base64 of {ROOT_BYTES} bytes")
    return AddCheckpoint(old_size, proof, note)


# --- the log's end ----------------------------------------------------------------------------------------------------


class Cosigned(msgspec.Struct, frozen=True):
    """The witness cosigned; the body holds its lines, not yet checked."""

    body: bytes


class Behind(msgspec.Struct, frozen=True):
    """The witness cosigned another size last than the one that was said."""

    size: int


class Declined(msgspec.Struct, frozen=True):
    """The witness did not cosign. `is_alarm`: what it holds of this log is not this log's history."""

    problem: str
    hint: str = ""
    is_alarm: bool = False


Answer: TypeAlias = Cosigned | Behind | Declined


def read_answer(status: int, content_type: str, body: bytes) -> Answer:
    """What a witness's answer means.

    Args:
        status: of the answer.
        content_type: the header, empty where there was none.
        body: at most `MAX_ANSWER_BYTES`.
    """
    match status:
        case HTTPStatus.OK:
            return Cosigned(body)
        case HTTPStatus.CONFLICT if content_type.partition(";")[0].strip().lower() == SIZE_TYPE:
            size = parse_size(body.decode("latin-1").removesuffix("\n"))
            return Declined("answered 409 with no size") if size is None else Behind(size)
        case HTTPStatus.CONFLICT:
            return Declined("holds another checkpoint of the same size (409)", _TWO_HISTORIES, is_alarm=True)
        case HTTPStatus.UNPROCESSABLE_ENTITY:
            return Declined("finds that this log does not continue what it saw (422)", _TWO_HISTORIES, is_alarm=True)
        case HTTPStatus.NOT_FOUND | HTTPStatus.FORBIDDEN:
            said = _NOT_PLAIN.sub(" ", body.decode("latin-1")).strip()[:MAX_SAID_CHARS]
            detail = f": {said}" if said else ""
            return Declined(f"does not know this log or its key ({int(status)}{detail})", _UNKNOWN)
        case _:
            return Declined(f"answered with {int(status)}")


_UNKNOWN: Final = "give whoever runs it the log's key: `briefcase witness list` shows it"
_TWO_HISTORIES: Final = (
    "this data directory was rolled back, restored from an older copy, or copied: `briefcase help receipts#witnesses`"
)


# --- the witness's end ------------------------------------------------------------------------------------------------


class Seen(msgspec.Struct, frozen=True):
    """What a witness cosigned last of a log; the empty tree where it never did."""

    size: int = 0
    root: bytes = EMPTY_ROOT


class Refusal(msgspec.Struct, frozen=True):
    """The witness refuses. `is_fork`: the log signed two histories, of which this note and the kept one are proof."""

    status: HTTPStatus
    problem: str
    size: int | None = None
    is_fork: bool = False
    is_inconsistent: bool = False


def read_origin(request: AddCheckpoint) -> str:
    """The log that a request is of, by its own word.

    Raises:
        CallerError: the note has none.
    """
    return read_checkpoint_text(split_note(request.note)[0]).origin


def check_signed(request: AddCheckpoint, keys: Collection[NoteKey], verify: Verify) -> Checkpoint | Refusal:
    """The checkpoint of a request, where one of the keys that its log is trusted by signed it.

    Args:
        request: as it was read.
        keys: those trusted for the origin; none where the log is unknown.
        verify: tells whether a signature is good.

    Raises:
        CallerError: the note is none.
    """
    text, lines = split_note(request.note)
    checkpoint = read_checkpoint_text(text)
    if not keys:
        return Refusal(HTTPStatus.NOT_FOUND, "unknown log")
    if not _is_signed(text, lines, keys, verify):
        return Refusal(HTTPStatus.FORBIDDEN, "no signature by a key of this log")
    return checkpoint


def judge(request: AddCheckpoint, checkpoint: Checkpoint, seen: Seen) -> Refusal | None:
    """Whether a signed checkpoint continues what was cosigned last; None where it does.

    INVARIANT (compare and set): what is kept moves to `checkpoint` only in the transaction that read `seen`.
    """
    if request.old_size > checkpoint.size:
        return Refusal(HTTPStatus.BAD_REQUEST, "the old size is past the checkpoint")
    is_fork = 0 < checkpoint.size == seen.size and checkpoint.root != seen.root
    if request.old_size != seen.size:
        problem = "the old size is not that of the last checkpoint"
        return Refusal(HTTPStatus.CONFLICT, problem, seen.size, is_fork=is_fork)
    if is_fork:
        return Refusal(HTTPStatus.CONFLICT, "another checkpoint of this size was cosigned", is_fork=True)
    if not seen.size:
        is_good = not request.proof and (checkpoint.size > 0 or checkpoint.root == EMPTY_ROOT)
    else:
        is_good = is_consistent(seen.root, seen.size, checkpoint.root, checkpoint.size, request.proof)
    if is_good:
        return None
    problem = "the proof does not lead from the last checkpoint to this one"
    return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, problem, is_inconsistent=True)


def origin_hash(origin: str) -> bytes:
    """How a witness names a log in its tables: SHA-256 of the origin."""
    return hashlib.sha256(origin.encode()).digest()


def _is_signed(text: str, lines: Sequence[SignatureLine], keys: Collection[NoteKey], verify: Verify) -> bool:
    """Whether the first line that says it is of a trusted key is good: a stranger may write many such lines."""
    message = text.encode()
    firsts = ((key, next((line for line in lines if line.is_of(key)), None)) for key in keys)
    return any(line is not None and verify(key, message, line.signature) for key, line in firsts)
