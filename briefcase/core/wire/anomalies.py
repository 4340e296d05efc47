"""Anomalies on the wire: what in the receipts is unlike what came before."""

from __future__ import annotations

from typing import Literal

import msgspec

from briefcase.core.wire.fields import Natural


class AnomalyRecord(msgspec.Struct, frozen=True):
    """One anomaly: what and why in a sentence, at which receipt, and which receipts it is from, ascending."""

    kind: Literal["spend_spike", "output_poisoning", "expensive_call", "new_domain", "denial_burst"]
    severity: Literal["low", "medium", "high"]
    message: str
    receipt_id: int
    ts_rfc3339: str
    principal: str = ""
    receipt_ids: list[int] = []


class AnomalyList(msgspec.Struct, frozen=True):
    """Those of the last seven days, newest first."""

    anomalies: list[AnomalyRecord]


class AnomalyQuery(msgspec.Struct, frozen=True):
    """`after_id` leaves out those at a receipt up to it."""

    after_id: Natural = 0
