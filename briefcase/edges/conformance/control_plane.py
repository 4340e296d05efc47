"""The contract of a control plane, check by check (`aacp_v1`, "Control plane"): `CHECKS` is the table.

First what every control plane has: administrators, enrolments and audit (`fleet_administration`), then devices, their
proofs (`fleet_devices`) and their receipts (`fleet_uploads`); then what one may offer (`fleet_additions`, and
`fleet_relay` of approvals). What is not offered is said, and fails nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final

from briefcase.edges.conformance import (
    fleet_additions,
    fleet_administration,
    fleet_devices,
    fleet_relay,
    fleet_uploads,
)
from briefcase.edges.conformance.checks import Check, run_checks
from briefcase.edges.conformance.fleet_subject import FleetSubject
from briefcase.edges.conformance.report import CheckResult, Report
from briefcase.model.errors import CallerError
from briefcase.model.ports import Clock

CHECKS: Final[Sequence[Check[FleetSubject]]] = (
    *fleet_administration.CHECKS,
    *fleet_devices.CHECKS,
    *fleet_uploads.CHECKS,
    *fleet_additions.CHECKS,
    *fleet_relay.CHECKS,
    fleet_additions.LEAVE,
)


async def check_control_plane(
    subject: FleetSubject,
    clock: Clock,
    *,
    only: Collection[str] = (),
    progress: Callable[[CheckResult], None] | None = None,
) -> Report:
    """Try every check, or those that are named and the one that leaves everything as it was found.

    Args:
        subject: the control plane.
        clock: stamps and durations.
        only: names of checks; none for all of them.
        progress: told of each result as it is known.

    Raises:
        CallerError: a name is of no check.
    """
    unknown = set(only) - {check.name for check in CHECKS}
    if unknown:
        raise CallerError(f"there is no check `{min(unknown)}`", hint="the report names them all")
    chosen = [check for check in CHECKS if not only or check.name in only or check is fleet_additions.LEAVE]
    return await run_checks(subject.base_url, subject, chosen, clock, progress)
