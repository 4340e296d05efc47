"""Exports: receipts as JSON Lines, one `{"id", "ts", "prev_hash_hex", "hash_hex", "event"}` a line, oldest first.

A line has one form: these five members in this order, no space, the event canonical (RFC 8785), a line feed. Any other
line is refused, so no two programs read an export differently: a name that is there twice, another spelling of a text
and a member beside the five are all another line than the one the receipt has.

An export is a copy, made without judging what it copies; `ExportReader` verifies one with the chain's own rules, from
the receipt before its first line on. `verify_export.py` does the same with nothing of this package. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any, Final

import msgspec
import orjson

from briefcase._native.canonical import canonical_event
from briefcase.core.receipts.chain import GENESIS, HASH_CHARS, NO_TIME, Verifier, encode_key
from briefcase.model.effects import Head
from briefcase.model.errors import CallerError
from briefcase.model.types import Receipt

MAX_LINE_BYTES: Final = 4 << 20
_ID_LIMIT: Final = 1 << 53


class _Line(msgspec.Struct, frozen=True):
    id: int
    ts: str
    prev_hash_hex: str
    hash_hex: str
    event: dict[str, Any]


_decode: Final = msgspec.json.Decoder(_Line).decode


def lines_of(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of an open export; of one that is too long only so much that a reader refuses it."""
    return iter(lambda: file.readline(MAX_LINE_BYTES + 1), b"")


def export_line(receipt: Mapping[str, object]) -> bytes:
    """One receipt as a line, newline included."""
    members = {name: receipt[name] for name in Receipt.__struct_fields__ if name != "event"}
    event: Any = receipt["event"]
    return _line(orjson.dumps(members), canonical_event(event))


def _line(members: bytes, event: bytes) -> bytes:
    return b'%b,"event":%b}\n' % (members[:-1], event)


class ExportReader:
    """Reads and verifies an export line by line; `verifier.first_bad` names the first line that is wrong.

    `begins_after` is the receipt before its first one: what lies up to it is not in the export, nor verified.
    """

    def __init__(self) -> None:
        self.verifier: Verifier | None = None
        self.begins_after = GENESIS

    def read(self, lines: Iterable[bytes]) -> Iterator[Receipt]:
        """Give each good receipt, and stop after the first bad one.

        Raises:
            CallerError: a line that is no receipt at all; the message gives its number. After a good one the code is
                `proof_invalid`: it is an export, and damaged.
        """
        for number, line in enumerate(lines, start=1):
            verifier = self.verifier
            try:
                receipt = _parse(number, line)
                record = _record(number, receipt, line)
            except CallerError as error:
                error.code = error.code if verifier is None else "proof_invalid"
                raise
            if verifier is None:
                if receipt.id != 1:
                    self.begins_after = Head(receipt.id - 1, receipt.prev_hash_hex)
                verifier = self.verifier = Verifier(self.begins_after, NO_TIME)
            if not verifier.feed([(encode_key(receipt.id), record)]):
                return
            yield receipt


def _parse(number: int, line: bytes) -> Receipt:
    if len(line) > MAX_LINE_BYTES:
        raise CallerError(f"line {number}: expected at most {MAX_LINE_BYTES} bytes")
    try:
        found = _decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CallerError(f"line {number} is no receipt: {error}") from None
    receipt = Receipt(found.id, found.ts, found.prev_hash_hex, found.hash_hex, found.event)
    hashes = (receipt.prev_hash_hex, receipt.hash_hex)
    if not 0 < receipt.id < _ID_LIMIT or not all(len(text) == HASH_CHARS and text.isascii() for text in hashes):
        raise CallerError(f"line {number} is no receipt: expected an id from 1 and two hashes of {HASH_CHARS} digits")
    if receipt.event.get("ts") != receipt.ts:
        raise CallerError(f"line {number}: its event has another time than it says itself")
    return receipt


def _record(number: int, receipt: Receipt, line: bytes) -> bytes:
    """The record that the ledger would have stored, where the line is the one that this receipt has."""
    try:
        event = canonical_event(receipt.event)
    except (ValueError, TypeError) as error:
        raise CallerError(f"line {number}: its event has no canonical form: {error}") from None
    members = {"id": receipt.id, "ts": receipt.ts, "prev_hash_hex": receipt.prev_hash_hex, "hash_hex": receipt.hash_hex}
    if line != _line(orjson.dumps(members), event):
        raise CallerError(
            f"line {number} is not the line of receipt {receipt.id}: expected its five members once, in their order and"
            " canonical form, and a line feed",
            hint="somebody wrote this file anew, or changed it: make the export again",
        )
    return receipt.hash_hex.encode() + receipt.prev_hash_hex.encode() + event
