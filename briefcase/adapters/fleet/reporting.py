"""Telling a control plane how its device stands: which bundle runs, which was tried last, and what was wrong.

The contract's own endpoint is ours only: a control plane without it answers 404, and is not told again until the next
enrolment or start. Nothing is told twice, and nothing depends on it.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from briefcase import __version__
from briefcase.adapters.fleet.client import ControlPlaneClient, Device, DeviceReport
from briefcase.adapters.store.sync_progress import SyncProgress
from briefcase.core.fleet.enrolment import Enrolment
from briefcase.model.errors import UpstreamError

_NOT_SERVED: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})


class StatusReporter:
    """Reports one device's standing.

    Args:
        client: talks to the control plane.
    """

    def __init__(self, client: ControlPlaneClient) -> None:
        self._client = client
        self._said: DeviceReport | None = None
        self._is_served = True

    async def report(self, device: Device, enrolment: Enrolment, progress: SyncProgress) -> None:
        """Tell how a device stands, where that is news; a failure is told with the next news."""
        report = report_of(enrolment, progress)
        if not self._is_served or report == self._said:
            return
        try:
            refusal = await self._client.report(device, report)
        except UpstreamError:
            return
        if refusal is None:
            self._said = report
        elif refusal.status in _NOT_SERVED:
            self._is_served = False


def report_of(enrolment: Enrolment, progress: SyncProgress) -> DeviceReport:
    """What there is to say of a device."""
    refused_id = int(enrolment.refused.partition(":")[0] or 0)
    return DeviceReport(
        running_bundle_id=enrolment.bundle_id or None,
        tried_bundle_id=refused_id or enrolment.bundle_id or None,
        last_error=progress.last_error or None,
        version=__version__,
    )
