"""What the daemon tells the notifier: what waits, to an approver's token; receipts, to an auditor's.

The token is held to the least that does: one that may call tools or change anything is refused before it is used. An
auditor's cannot decide anything, so it is the better one; an approver's tells the summary of the call, too.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal, Protocol, TypeVar

import msgspec

from briefcase.core.wire.anomalies import AnomalyList, AnomalyRecord
from briefcase.core.wire.approvals import ApprovalList
from briefcase.core.wire.reading import Kind
from briefcase.core.wire.receipts import ReceiptList
from briefcase.core.wire.tools import ToolList
from briefcase.edges.client.reply import Reply
from briefcase.edges.notifier.events import ALARMS, WAITS, Event, event_of_anomaly, event_of_approval, event_of_receipt
from briefcase.model.errors import BriefcaseError, ConfigError

PAGE: Final = 500
KINDS: Final = ("approval_required", *ALARMS)
CHAIN_WENT_BACK: Final = "the receipt chain ends before what was read of it: an older copy runs there"

Role = Literal["approver", "auditor"]
_T = TypeVar("_T")


class Daemon(Protocol):
    """Asks a daemon, with the notifier's token (`edges.cli.client.Client`)."""

    def get(self, path: str, kind: Kind[_T], /, **query: str | int | None) -> Reply[_T]:
        """Read.

        Raises:
            BriefcaseError: the daemon refused, or did not answer.
        """
        ...


class Cursor(msgspec.Struct, frozen=True):
    """Up to where events were taken: the last receipt that was read, and the approvals that were told of.

    `receipt_id` is None until a first head was seen: what was before the notifier's first start is not told.
    """

    receipt_id: int | None = None
    approvals: tuple[str, ...] = ()


class Batch(msgspec.Struct, frozen=True):
    """New events, and the cursor after them."""

    events: tuple[Event, ...]
    cursor: Cursor


MAX_APPROVALS: Final = 5_000  # told of and remembered, the newest: a retry of an older one is told of again


def role_of(daemon: Daemon) -> Role:
    """What the token is: an approver's or an auditor's.

    Raises:
        ConfigError: it is an operator's or an agent's.
        BriefcaseError: it is nobody's (`unauthorized`), or the daemon does not answer.
    """
    if _may(daemon, "/v1/tools", ToolList):
        raise ConfigError(
            "the notifier's token may call tools: expected an approver's or an auditor's",
            hint="`briefcase operators add notifier --role auditor` makes one that decides nothing",
        )
    return "approver" if _may(daemon, "/v1/approvals", ApprovalList) else "auditor"


class Following:
    """Reads what is new, as the token may.

    Args:
        daemon: is asked; what the token is, with the first question that is answered.
        with_summaries: whether an approver's token tells the redacted summaries of calls.
    """

    def __init__(self, daemon: Daemon, *, with_summaries: bool) -> None:
        self._daemon = daemon
        self._with_summaries = with_summaries
        self._role: Role | None = None

    def read(self, cursor: Cursor) -> Batch:
        """What is new after a cursor.

        Raises:
            ConfigError: as `role_of`.
            BriefcaseError: the daemon refused, or did not answer; nothing is lost, the cursor is as it was.
        """
        self._role = self._role or role_of(self._daemon)
        if self._role == "approver":
            return _waiting(self._daemon, cursor, with_summaries=self._with_summaries)
        return _receipts(self._daemon, cursor)


def _waiting(daemon: Daemon, cursor: Cursor, *, with_summaries: bool) -> Batch:
    told = set(cursor.approvals)
    waiting = daemon.get("/v1/approvals", ApprovalList).answer.approvals
    new = (one for one in waiting if one.id not in told)
    events = tuple(event_of_approval(one, with_summary=with_summaries) for one in new)
    return Batch(events, Cursor(cursor.receipt_id, tuple(one.id for one in waiting)))


def _receipts(daemon: Daemon, cursor: Cursor) -> Batch:
    newest = daemon.get("/v1/receipts", ReceiptList, limit=1).answer.receipts
    head_id = newest[0].id if newest else 0
    if cursor.receipt_id is None or head_id == cursor.receipt_id:
        return Batch((), Cursor(head_id, cursor.approvals))
    if head_id < cursor.receipt_id:
        alarm = Event(
            f"chain:{head_id}", "chain", "high", newest[0].ts if newest else "", str(head_id), CHAIN_WENT_BACK
        )
        return Batch((alarm,), Cursor(head_id, cursor.approvals))
    told = dict.fromkeys(cursor.approvals)  # a call that is repeated while it waits has a receipt each time
    events = []
    for event in _events_of(daemon, cursor.receipt_id, head_id):
        if event.kind == WAITS:
            if event.ref in told:
                continue
            told[event.ref] = None
        events.append(event)
    unlike = reversed(_anomalies(daemon, cursor.receipt_id))  # those after the head come with the next batch
    events += [event_of_anomaly(one) for one in unlike if one.receipt_id <= head_id]
    return Batch(tuple(events), Cursor(head_id, tuple(told)[-MAX_APPROVALS:]))


def _events_of(daemon: Daemon, after_id: int, to_id: int) -> Collection[Event]:
    """The events of a range of receipts, in their order; the daemon filters, so that a busy one is not read whole."""
    found: list[tuple[int, Event]] = []
    for kind in KINDS:
        after = after_id
        while after < to_id:
            page = daemon.get(
                "/v1/receipts", ReceiptList, order="oldest", limit=PAGE, after_id=after, to_id=to_id, kind=kind
            ).answer.receipts
            told = ((receipt.id, event_of_receipt(receipt)) for receipt in page)
            found += [(number, event) for number, event in told if event is not None]
            after = page[-1].id if len(page) == PAGE else to_id
    return [event for _, event in sorted(found, key=lambda one: one[0])]


def _anomalies(daemon: Daemon, after_id: int) -> list[AnomalyRecord]:
    """The anomalies at receipts after an id, newest first; a daemon of the contract that has none says nothing."""
    try:
        return daemon.get("/v1/ai/anomalies", AnomalyList, after_id=after_id).answer.anomalies
    except BriefcaseError as error:
        if error.code == "not_found":
            return []
        raise


def _may(daemon: Daemon, path: str, kind: Kind[_T]) -> bool:
    try:
        daemon.get(path, kind)
    except BriefcaseError as error:
        if error.code == "forbidden":
            return False
        raise
    return True
