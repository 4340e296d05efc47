"""Incident controls: what is tightened, tightening, and giving back."""

from __future__ import annotations

from typing import Final

from briefcase.core.wire.controls import AddedControl, ControlList
from briefcase.edges.page.asking import Asked, Moved, Shown, View
from briefcase.model.types import US_PER_S, format_rfc3339

ACTIONS: Final = ("require_approval", "disable")
SUBJECTS: Final = ("tool", "category", "agent", "source")
HOLDS_S: Final = {"an hour": 3_600, "a day": 86_400, "a week": 7 * 86_400}
HOME: Final = "/controls"


async def list_controls(asked: Asked) -> Shown:
    """`GET /controls`."""
    controls = (await asked.get("/v1/controls", ControlList)).controls
    values = {
        "controls": controls,
        "freezes": [one for one in controls if one.action == "freeze"],
        "actions": ACTIONS,
        "subjects": SUBJECTS,
        "holds": tuple(HOLDS_S),
        "may_change": asked.may("POST", "/v1/controls"),
    }
    return Shown("controls", "Controls", values)


async def add_control(asked: Asked) -> Moved:
    """`POST /controls/add`: in force when this answers."""
    form, holds_s = asked.form, HOLDS_S.get(asked.form.get("holds", ""))
    until = None if holds_s is None else format_rfc3339(asked.now_us + holds_s * US_PER_S)
    wanted = {name: form.get(name, "") for name in ("action", "subject", "name")}
    await asked.post("/v1/controls", AddedControl, **wanted, until=until)
    return Moved(HOME)


async def freeze(asked: Asked) -> Moved:
    """`POST /controls/freeze`: every call is denied until this is lifted."""
    await asked.post("/v1/controls", AddedControl, action="freeze", subject="all", name="", until=None)
    return Moved(HOME)


async def lift_control(asked: Asked) -> Moved:
    """`POST /controls/lift`."""
    await asked.post("/v1/controls/lift", ControlList, id=asked.form.get("id", ""))
    return Moved(HOME)


VIEWS: Final = (
    View("GET", HOME, list_controls),
    View("POST", "/controls/add", add_control),
    View("POST", "/controls/freeze", freeze),
    View("POST", "/controls/lift", lift_control),
)
