"""The forms in which receipts leave as lines: JSON Lines that verify, CSV for a spreadsheet, OCSF for a SIEM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.core.receipts.exports import export_line
from briefcase.core.receipts.ocsf import OcsfWriter
from briefcase.core.receipts.table import header_line, receipt_line
from briefcase.core.wire.reading import unexpected_answer
from briefcase.model.errors import CallerError
from briefcase.model.types import Receipt

JSONL: Final = "jsonl"
CSV: Final = "csv"
OCSF: Final = "ocsf"
OCSF_ATTESTED: Final = "ocsf-1.9"  # with the `record_integrity` profile, which that version added
FORMATS: Final = (JSONL, CSV, OCSF, OCSF_ATTESTED)


class Lines(NamedTuple):
    """What stands before the receipts, and how each becomes a line."""

    head: bytes
    line: Callable[[Receipt], bytes]


def lines_in(form: str, authority_uid: Callable[[], str] = str) -> Lines:
    """The lines of a form.

    Args:
        form: one of `FORMATS`.
        authority_uid: gives the daemon's did, or nothing; asked for by `OCSF_ATTESTED` alone.
    """
    if form == CSV:
        return Lines(header_line(), _checked(receipt_line))
    if form in {OCSF, OCSF_ATTESTED}:
        is_attested = form == OCSF_ATTESTED
        writer = OcsfWriter(with_integrity=is_attested, authority_uid=authority_uid() if is_attested else "")
        return Lines(b"", _checked(lambda receipt: canonical_bytes(writer.event(receipt)) + b"\n"))
    return Lines(b"", _checked(lambda receipt: export_line(msgspec.structs.asdict(receipt))))


def _checked(line: Callable[[Receipt], bytes]) -> Callable[[Receipt], bytes]:
    """Make a line, or say that the receipt is none: its event has no canonical form, or no time."""

    def made(receipt: Receipt) -> bytes:
        try:
            return line(receipt)
        except (CallerError, TypeError, ValueError, OverflowError):
            raise unexpected_answer("GET /v1/receipts", f"receipt {receipt.id}: expected a canonical event") from None

    return made
