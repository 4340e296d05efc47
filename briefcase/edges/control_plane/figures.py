"""What one process of a control plane counts, for Prometheus; processes are told apart by who scrapes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from http import HTTPStatus

from briefcase.adapters.telemetry.metrics import Family, counter, gauge


class Figures:
    """Requests by path and status, receipts that were stored, checkpoints that were cosigned or did not fit."""

    def __init__(self) -> None:
        self._requests = Counter[tuple[str, str, int]]()
        self.receipts_stored = 0
        self.checkpoints_cosigned = 0
        self.witness_alarms = 0

    def count(self, method: str, path: str, status: int) -> None:
        """Count an answer; `path` is the table's, with its parts' names."""
        self._requests[method, path, status] += 1

    def families(self, waiting: Callable[[], int]) -> list[Family]:
        """All figures as of now.

        Args:
            waiting: how many devices wait for something new.
        """
        requests = tuple(
            ((("method", method), ("path", path), ("status", str(status))), float(count))
            for (method, path, status), count in sorted(self._requests.items())
        )
        unavailable = sum(
            count for (_, _, status), count in self._requests.items() if status == HTTPStatus.SERVICE_UNAVAILABLE
        )
        return [
            Family("briefcase_fleet_requests", "counter", "Requests by path and status.", requests),
            counter("briefcase_fleet_receipts_stored", "Receipts that were stored.", self.receipts_stored),
            counter("briefcase_fleet_checkpoints_cosigned", "Checkpoints of devices' logs.", self.checkpoints_cosigned),
            counter("briefcase_fleet_witness_alarms", "Checkpoints that did not fit their log.", self.witness_alarms),
            counter("briefcase_fleet_unavailable", "Requests that the database could not serve.", unavailable),
            gauge("briefcase_fleet_devices_waiting", "Devices that wait for something new.", waiting()),
        ]
