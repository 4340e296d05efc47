"""`briefcase control-plane`: enrol this daemon with a control plane, sync with it, leave it.

The admin token of an enrolment is read from a prompt, from standard input or from BRIEFCASE_CONTROL_PLANE_ADMIN_TOKEN,
never from the command line, and neither this program nor the daemon keeps it.
"""

from __future__ import annotations

from typing import Final

import click

from briefcase.core.characters.marks import visible_text
from briefcase.core.wire.control_plane import (
    ControlPlaneLeft,
    ControlPlaneStatus,
    MandatoryDeleted,
    MandatoryRecord,
    SyncResult,
    managed_by,
)
from briefcase.core.wire.fields import given
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.control_plane_serve import serve
from briefcase.edges.cli.lazy import LazyGroup, example
from briefcase.edges.cli.messages import note
from briefcase.edges.cli.secrets import read_secret
from briefcase.edges.client.reply import Reply
from briefcase.model.types import JsonValue

AT: Final = "/v1/control-plane"
ADMIN_TOKEN_VARIABLE: Final = "BRIEFCASE_CONTROL_PLANE_ADMIN_TOKEN"  # noqa: S105 - a variable's name
SYNC_TIMEOUT_S: Final = 300.0


@click.group(
    "control-plane",
    cls=LazyGroup,
    epilog=example("briefcase control-plane enroll https://fleet.example laptop-1", "briefcase control-plane status"),
)
def control_plane() -> None:
    """Enrol with a control plane, sync with it, leave it."""


control_plane.add_command(serve)


@control_plane.command("status", epilog=example("briefcase control-plane status"))
@json_option
@pass_app
def show_status(app: App, *, as_json: bool) -> None:
    """Show which control plane manages this daemon, and how the last sync went."""
    _show(app, app.client().get(AT, ControlPlaneStatus), as_json=as_json)


@control_plane.command(
    "enroll",
    epilog=example(
        "briefcase control-plane enroll https://fleet.example laptop-1",
        "pass show fleet-admin | briefcase control-plane enroll https://fleet.example ci-7",
    ),
)
@click.argument("url")
@click.argument("name")
@click.option("--as-new-device", is_flag=True, help="Be another device: after a restore, or in a copy.")
@json_option
@pass_app
def enroll(app: App, *, url: str, name: str, as_new_device: bool, as_json: bool) -> None:
    """Enrol this daemon with the control plane at URL, as the device NAME.

    Asks for the control plane's admin token; takes it from BRIEFCASE_CONTROL_PLANE_ADMIN_TOKEN where that is set, else
    from standard input where that is no terminal. It is used once and kept nowhere. From then on the control plane's
    policy replaces the daemon's own. Enrolling again gives the device a new token.
    """
    admin_token = app.environ.get(ADMIN_TOKEN_VARIABLE) or read_secret("admin token", is_new=False)
    body: dict[str, JsonValue] = {"base_url": url, "admin_token": admin_token, "device_name": name}
    if as_new_device:
        body["as_new_device"] = True
    _show(app, app.client(SYNC_TIMEOUT_S).post(f"{AT}/enroll", ControlPlaneStatus, body), as_json=as_json)


@control_plane.command("sync", epilog=example("briefcase control-plane sync"))
@json_option
@pass_app
def sync(app: App, *, as_json: bool) -> None:
    """Ask for the policy and upload receipts now."""
    reply = app.client(SYNC_TIMEOUT_S).post(f"{AT}/sync", SyncResult)
    if as_json:
        app.json(reply.document)
    elif reply.answer.status == "not_enrolled":
        app.screen.line("not enrolled: `briefcase control-plane enroll URL NAME`")
    else:
        count = given(reply.answer.receipts_uploaded, 0)
        what = "a new policy was applied" if reply.answer.policy_applied is True else "the policy is the present one"
        app.screen.line(f"synced: {what}, {count:,} receipt{'' if count == 1 else 's'} uploaded")


@control_plane.command("leave", epilog=example("briefcase control-plane leave"))
@json_option
@pass_app
def leave(app: App, *, as_json: bool) -> None:
    """Leave the control plane.

    The policy stays as it is, and is yours to change. What the organisation forbids on each of its devices stays too,
    until `briefcase control-plane remove-mandatory`.
    """
    reply = app.client().post(f"{AT}/leave", ControlPlaneLeft)
    if as_json:
        app.json(reply.document)
        return
    app.screen.line("left the control plane; the policy stays, and `briefcase policy set` changes it")
    if reply.answer.mandatory_stays:
        note("the organisation's mandatory part stays: `briefcase control-plane remove-mandatory`")


@control_plane.command("remove-mandatory", epilog=example("briefcase control-plane remove-mandatory"))
@json_option
@pass_app
def remove_mandatory(app: App, *, as_json: bool) -> None:
    """Remove the mandatory part that a control plane left, with a receipt."""
    reply = app.client().post(f"{AT}/mandatory/delete", MandatoryDeleted)
    if as_json:
        app.json(reply.document)
    else:
        app.screen.line(f"removed mandatory part {reply.answer.mandatory_id}")


def _show(app: App, reply: Reply[ControlPlaneStatus], *, as_json: bool) -> None:
    if as_json:
        app.json(reply.document)
        return
    found = reply.answer
    base_url = managed_by(found, reply.endpoint)
    if base_url is None:
        app.screen.line("not enrolled: `briefcase control-plane enroll URL NAME`")
    else:
        rows = [
            ("control plane", base_url),
            ("device", f"{given(found.device_name, '')} ({given(found.device_id, '')})".strip()),
            ("state", given(found.state, "") or "enrolled"),
            ("policy bundle", str(given(found.last_policy_bundle_id, 0) or "none yet")),
            ("uploaded up to receipt", str(given(found.last_receipt_upload_id, 0) or "none yet")),
            ("last sync", given(found.last_sync_at_rfc3339, "") or "never"),
            ("last error", visible_text(given(found.last_error, "") or "none")),
        ]
        app.screen.fields(rows)
    if isinstance(found.mandatory, MandatoryRecord):
        app.screen.line(f"mandatory part {found.mandatory.id} is in force beside the policy")
