"""`briefcase control-plane`: enrol this daemon with a control plane, sync with it, leave it.

The admin token of an enrolment is read from a prompt, from standard input or from BRIEFCASE_CONTROL_PLANE_ADMIN_TOKEN,
never from the command line, and neither this program nor the daemon keeps it.
"""

from __future__ import annotations

from typing import Final

import click

from briefcase.core.characters.marks import visible_text
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.client import Payload
from briefcase.edges.cli.lazy import example
from briefcase.edges.cli.messages import note
from briefcase.edges.cli.secrets import read_secret

AT: Final = "/v1/control-plane"
ADMIN_TOKEN_VARIABLE: Final = "BRIEFCASE_CONTROL_PLANE_ADMIN_TOKEN"  # noqa: S105 - a variable's name
SYNC_TIMEOUT_S: Final = 300.0


@click.group(
    "control-plane",
    epilog=example("briefcase control-plane enroll https://fleet.example laptop-1", "briefcase control-plane status"),
)
def control_plane() -> None:
    """Enrol with a control plane, sync with it, leave it."""


@control_plane.command("status", epilog=example("briefcase control-plane status"))
@json_option
@pass_app
def show_status(app: App, *, as_json: bool) -> None:
    """Show which control plane manages this daemon, and how the last sync went."""
    _show(app, app.client().get(AT), as_json=as_json)


@control_plane.command(
    "enroll",
    epilog=example(
        "briefcase control-plane enroll https://fleet.example laptop-1",
        "pass show fleet-admin | briefcase control-plane enroll https://fleet.example ci-7",
    ),
)
@click.argument("url")
@click.argument("name")
@json_option
@pass_app
def enroll(app: App, *, url: str, name: str, as_json: bool) -> None:
    """Enrol this daemon with the control plane at URL, as the device NAME.

    Asks for the control plane's admin token; takes it from BRIEFCASE_CONTROL_PLANE_ADMIN_TOKEN where that is set, else
    from standard input where that is no terminal. It is used once and kept nowhere. From then on the control plane's
    policy replaces the daemon's own. Enrolling again gives the device a new token.
    """
    admin_token = app.environ.get(ADMIN_TOKEN_VARIABLE) or read_secret("admin token", is_new=False)
    body = {"base_url": url, "admin_token": admin_token, "device_name": name}
    _show(app, app.client(SYNC_TIMEOUT_S).post(f"{AT}/enroll", body), as_json=as_json)


@control_plane.command("sync", epilog=example("briefcase control-plane sync"))
@json_option
@pass_app
def sync(app: App, *, as_json: bool) -> None:
    """Ask for the policy and upload receipts now."""
    answer = app.client(SYNC_TIMEOUT_S).post(f"{AT}/sync")
    if as_json:
        app.json(answer)
    elif answer["status"] == "not_enrolled":
        app.screen.line("not enrolled: `briefcase control-plane enroll URL NAME`")
    else:
        what = "a new policy was applied" if answer["policy_applied"] else "the policy is the present one"
        count = answer["receipts_uploaded"]
        app.screen.line(f"synced: {what}, {count:,} receipt{'' if count == 1 else 's'} uploaded")


@control_plane.command("leave", epilog=example("briefcase control-plane leave"))
@json_option
@pass_app
def leave(app: App, *, as_json: bool) -> None:
    """Leave the control plane.

    The policy stays as it is, and is yours to change. What the organisation forbids on each of its devices stays too,
    until `briefcase control-plane remove-mandatory`.
    """
    answer = app.client().post(f"{AT}/leave")
    if as_json:
        app.json(answer)
        return
    app.screen.line("left the control plane; the policy stays, and `briefcase policy set` changes it")
    if answer["mandatory_stays"]:
        note("the organisation's mandatory part stays: `briefcase control-plane remove-mandatory`")


@control_plane.command("remove-mandatory", epilog=example("briefcase control-plane remove-mandatory"))
@json_option
@pass_app
def remove_mandatory(app: App, *, as_json: bool) -> None:
    """Remove the mandatory part that a control plane left, with a receipt."""
    answer = app.client().post(f"{AT}/mandatory/delete")
    if as_json:
        app.json(answer)
    else:
        app.screen.line(f"removed mandatory part {answer['mandatory_id']}")


def _show(app: App, answer: Payload, *, as_json: bool) -> None:
    if as_json:
        app.json(answer)
        return
    mandatory = answer.get("mandatory")
    if answer["status"] == "not_enrolled":
        app.screen.line("not enrolled: `briefcase control-plane enroll URL NAME`")
    else:
        rows = [
            ("control plane", answer["base_url"]),
            ("device", f"{answer.get('device_name') or ''} ({answer['device_id']})".strip()),
            ("state", answer.get("state") or "enrolled"),
            ("policy bundle", str(answer["last_policy_bundle_id"] or "none yet")),
            ("uploaded up to receipt", str(answer["last_receipt_upload_id"] or "none yet")),
            ("last sync", answer["last_sync_at_rfc3339"] or "never"),
            ("last error", visible_text(answer["last_error"] or "none")),
        ]
        app.screen.fields(rows)
    if mandatory:
        app.screen.line(f"mandatory part {mandatory['id']} is in force beside the policy")
