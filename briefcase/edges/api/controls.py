"""Incident controls: what the operator has tightened, and until when."""

from __future__ import annotations

from typing import Final

import msgspec

from briefcase.core.controls import Control
from briefcase.core.operator.controls import ControlChoice
from briefcase.core.wire.controls import AddedControl, ControlList, ControlRecord, ControlRequest, LiftRequest
from briefcase.edges.api.routing import OPERATOR, READERS, Request, Route
from briefcase.edges.api.services import Services
from briefcase.model.errors import CallerError
from briefcase.model.types import format_rfc3339, parse_rfc3339


async def list_controls(services: Services, _: Request) -> ControlList:
    """`GET /v1/controls`."""
    return ControlList([_record(control) for control in services.controls.active()])


async def add_control(services: Services, request: Request) -> AddedControl:
    """`POST /v1/controls`: in force, and its receipt durable, when this answers."""
    wanted, admin = request.body_as(ControlRequest), services.operator.controls
    until_us = None if wanted.until is None else _time(wanted.until)
    by = request.principal.name
    added = await admin.add(wanted.action, wanted.subject, wanted.name, until_us=until_us, by=by)
    is_known = await admin.is_known(added, request.principal)
    return AddedControl(**msgspec.structs.asdict(_record(added)), is_known=is_known)


async def lift_controls(services: Services, request: Request) -> ControlList:
    """`POST /v1/controls/lift`: answers what was lifted."""
    choice = ControlChoice(**msgspec.structs.asdict(request.body_as(LiftRequest)))
    lifted = await services.operator.controls.lift(choice, by=request.principal.name)
    return ControlList([_record(control) for control in lifted])


def _record(control: Control) -> ControlRecord:
    return ControlRecord(
        control.id,
        control.action,
        control.subject,
        control.name,
        control.by,
        format_rfc3339(control.created_us),
        None if control.until_us is None else format_rfc3339(control.until_us),
    )


def _time(text: str) -> int:
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise CallerError(f"`until`: {error}") from None


ROUTES: Final = (
    Route("GET", "/v1/controls", READERS, list_controls, "The incident controls in force", ControlList),
    Route("POST", "/v1/controls", OPERATOR, add_control, "Tighten", AddedControl, body=ControlRequest),
    Route("POST", "/v1/controls/lift", OPERATOR, lift_controls, "Give back", ControlList, body=LiftRequest),
)
