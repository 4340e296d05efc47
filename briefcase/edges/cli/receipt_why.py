"""The first lines of `receipts show`: why a call came to what it did (`core.wire.receipt_why`).

The receipts beside the one that is shown are looked for at the daemon that has it.
"""

from __future__ import annotations

from collections.abc import Iterator

from briefcase.core.wire import receipt_why as reasons
from briefcase.core.wire.receipts import ReceiptList, ReceiptRecord
from briefcase.edges.cli.client import Client, DaemonError
from briefcase.edges.cli.late import render


def why_of(client: Client, receipt: ReceiptRecord) -> Iterator[tuple[str, str]]:
    """The lines of one receipt, name and text.

    Args:
        client: of the daemon whose receipt it is, for the receipts beside it.
        receipt: the one that is shown; of one that is about no call there are none.
    """
    beside = [one for wanted in reasons.looked_for(receipt) for one in _listed(client, **wanted)]
    yield from reasons.why_of(receipt, beside, render.when)


def _listed(client: Client, **wanted: str | int) -> list[ReceiptRecord]:
    """Receipts beside the one that is shown; none where the daemon does not list them for this token."""
    try:
        return client.get("/v1/receipts", ReceiptList, **wanted).answer.receipts
    except DaemonError:
        return []
