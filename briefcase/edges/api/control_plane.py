"""The control plane of this daemon: how it stands, enrolling, syncing, leaving, and the mandatory part that is left."""

from __future__ import annotations

import re
from typing import Final

from briefcase.adapters.fleet.syncing import SyncStatus
from briefcase.core.operator.fleet import Wanted
from briefcase.core.wire.control_plane import (
    ControlPlaneLeft,
    ControlPlaneStatus,
    EnrolBody,
    MandatoryDeleted,
    MandatoryRecord,
    SyncResult,
)
from briefcase.edges.api.routing import OPERATOR, READERS, Request, Route
from briefcase.edges.api.services import Services
from briefcase.model.errors import CallerError
from briefcase.model.types import format_rfc3339

_TOKEN: Final = re.compile(r"[!-~]{1,4096}", re.ASCII)


async def show_control_plane(services: Services, _: Request) -> ControlPlaneStatus:
    """`GET /v1/control-plane`."""
    return await _status(services)


async def enrol(services: Services, request: Request) -> ControlPlaneStatus:
    """`POST /v1/control-plane/enroll`: enrolled, and the first policy judged, when this answers."""
    body = request.body_as(EnrolBody)
    if not _TOKEN.fullmatch(body.admin_token):
        raise CallerError("expected an admin token of 1 to 4,096 visible ASCII characters")
    wanted = Wanted(body.base_url, body.admin_token, body.device_name, body.as_new_device)
    await services.fleet.enrol(wanted, request.principal.name)
    return await _status(services)


async def sync(services: Services, _: Request) -> SyncResult:
    """`POST /v1/control-plane/sync`: what was wrong is an error, and in `last_error`."""
    synced = await services.fleet.sync()
    if synced is None:
        return SyncResult(status="not_enrolled")
    return SyncResult(status="synced", policy_applied=synced.policy_applied, receipts_uploaded=synced.receipts_uploaded)


async def leave(services: Services, request: Request) -> ControlPlaneLeft:
    """`POST /v1/control-plane/leave`: the policy stays, and is the operator's to change."""
    await services.fleet.leave(request.principal.name)
    return ControlPlaneLeft(mandatory_stays=bool(services.policy.mandatory().policy_text))


async def delete_mandatory(services: Services, request: Request) -> MandatoryDeleted:
    """`POST /v1/control-plane/mandatory/delete`: after leaving only."""
    part = services.policy.mandatory()
    await services.operator.fleet.remove_mandatory(request.principal.name)
    return MandatoryDeleted(part.id)


async def _status(services: Services) -> ControlPlaneStatus:
    part = services.policy.mandatory()
    mandatory = MandatoryRecord(part.id, part.policy_text) if part.policy_text else None
    found = await services.fleet.status()
    if found is None:
        return ControlPlaneStatus(status="not_enrolled", mandatory=mandatory)
    return _enrolled(found, mandatory, services.policy.current()[1])


def _enrolled(found: SyncStatus, mandatory: MandatoryRecord | None, policy_hash_hex: str) -> ControlPlaneStatus:
    enrolment, progress = found.enrolment, found.progress
    return ControlPlaneStatus(
        status="enrolled",
        base_url=enrolment.base_url,
        device_id=enrolment.device_id,
        device_name=enrolment.device_name,
        policy_signing_pubkey_b64=enrolment.policy_key_b64,
        last_policy_bundle_id=enrolment.bundle_id or None,
        last_receipt_upload_id=progress.uploaded_id or None,
        last_sync_at_rfc3339=_moment(progress.last_sync_us),
        last_error=progress.last_error or None,
        updated_at_rfc3339=format_rfc3339(max(progress.updated_us, enrolment.enrolled_us)),
        state=progress.state,
        fresh_until_rfc3339=_moment(progress.fresh_until_us),
        policy_hash_hex=policy_hash_hex,
        mandatory=mandatory,
    )


def _moment(ts_us: int) -> str | None:
    return format_rfc3339(ts_us) if ts_us else None


_AT: Final = "/v1/control-plane"
ROUTES: Final = (
    Route("GET", _AT, READERS, show_control_plane, "How this daemon stands with a control plane", ControlPlaneStatus),
    Route("POST", f"{_AT}/enroll", OPERATOR, enrol, "Enrol with a control plane", ControlPlaneStatus, body=EnrolBody),
    Route("POST", f"{_AT}/sync", OPERATOR, sync, "Sync with the control plane now", SyncResult),
    Route("POST", f"{_AT}/leave", OPERATOR, leave, "Leave the control plane", ControlPlaneLeft),
    Route(
        "POST",
        f"{_AT}/mandatory/delete",
        OPERATOR,
        delete_mandatory,
        "Remove the mandatory part that a control plane left",
        MandatoryDeleted,
    ),
)
