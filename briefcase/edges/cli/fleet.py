"""`briefcase fleet`: the devices of a control plane, their receipts, and who administers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urlencode

import click
import msgspec

from briefcase.adapters.disk.checks import reason_of
from briefcase.adapters.disk.files import write_whole
from briefcase.core.characters.marks import visible_text
from briefcase.core.wire.fleet import (
    ActList,
    AdminToken,
    AdminTokenRevoked,
    DeviceRevoked,
    DeviceToken,
    FleetDevice,
    FleetReceipt,
    FleetReceipts,
    WitnessAnswer,
    WitnessedLogs,
    about_act,
)
from briefcase.edges.cli import fleet_parquet
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.fleet_approvals import approvals
from briefcase.edges.cli.fleet_client import PAGE, FleetClient
from briefcase.edges.cli.fleet_keys import keys
from briefcase.edges.cli.fleet_policy import mandatory, policy, rollout
from briefcase.edges.cli.late import render, system
from briefcase.edges.cli.lazy import LazyGroup, example
from briefcase.edges.cli.messages import note
from briefcase.edges.cli.progress import working
from briefcase.edges.cli.receipt_filters import parse_moment
from briefcase.edges.client.reply import Reply
from briefcase.model.errors import ConfigError

SHOWN_MEMBERS: Final = ("kind", "principal", "tool_id", "decision", "reason")


@click.group(
    cls=LazyGroup,
    epilog=example(
        "briefcase fleet devices",
        "briefcase fleet policy publish policy.cedar --canary 5 --gate max-flips=0",
        "briefcase fleet rollout advance 7",
    ),
)
def fleet() -> None:
    """Steer a fleet through its control plane.

    BRIEFCASE_FLEET_URL is the control plane's address; BRIEFCASE_FLEET_TOKEN is an administrator's, auditor's or
    approver's token.
    """


for _group in (approvals, keys, policy, mandatory, rollout):
    fleet.add_command(_group)

# --- devices ----------------------------------------------------------------------------------------------------------


@fleet.group(
    cls=LazyGroup,
    invoke_without_command=True,
    epilog=example("briefcase fleet devices", "briefcase fleet devices show ID"),
)
@json_option
@pass_app
@click.pass_context
def devices(context: click.Context, app: App, *, as_json: bool) -> None:
    """List the devices; show one, revoke it, give it another token."""
    if context.invoked_subcommand is not None:
        return
    found = list(FleetClient(app.environ).devices())
    if as_json:
        app.json({"devices": [msgspec.to_builtins(device) for device in found]})
        return
    rows = [
        (
            device.device_id,
            visible_text(device.device_name),
            render.styled(device.status),
            str(device.running_bundle_id or "-"),
            str(device.last_receipt_id),
            "never" if device.seen_at_rfc3339 is None else render.when(device.seen_at_rfc3339),
            visible_text(device.last_error or ""),
        )
        for device in found
    ]
    app.screen.table(
        ("DEVICE", "NAME", "STATUS", "BUNDLE", "RECEIPTS", "SEEN", "LAST ERROR"),
        rows,
        empty="no devices: `briefcase control-plane enroll URL NAME` where a daemon runs",
    )


@devices.command("show", epilog=example("briefcase fleet devices show 11111111-1111-4111-9111-111111111111"))
@click.argument("device", type=click.UUID)
@json_option
@pass_app
def show_device(app: App, *, device: object, as_json: bool) -> None:
    """Show what one device last said of itself."""
    _show(app, FleetClient(app.environ).get(f"/v1/admin/devices/{device}", FleetDevice), as_json=as_json)


@devices.command("revoke", epilog=example("briefcase fleet devices revoke 11111111-1111-4111-9111-111111111111"))
@click.argument("device", type=click.UUID)
@json_option
@pass_app
def revoke_device(app: App, *, device: object, as_json: bool) -> None:
    """End a device's token.

    From now on it gets nothing, and its receipts are not taken.
    """
    _show(app, FleetClient(app.environ).post(f"/v1/admin/devices/{device}/revoke", DeviceRevoked), as_json=as_json)


@devices.command("rotate", epilog=example("briefcase fleet devices rotate 11111111-1111-4111-9111-111111111111"))
@click.argument("device", type=click.UUID)
@json_option
@pass_app
def rotate_device(app: App, *, device: object, as_json: bool) -> None:
    """Give a device another token, shown this once; the old one ends."""
    reply = FleetClient(app.environ).post(f"/v1/admin/devices/{device}/rotate", DeviceToken)
    if as_json:
        app.json(reply.document)
        return
    click.echo(reply.answer.device_token)
    note("the device's token, shown this once; enrolling the device again gives it one as well")


# --- receipts, acts, tokens -------------------------------------------------------------------------------------------


@fleet.group(cls=LazyGroup, epilog=example("briefcase fleet receipts export DEVICE --out receipts.jsonl"))
def receipts() -> None:
    """Search the receipts of a fleet, and copy those of a device."""


@receipts.command(
    "list",
    epilog=example(
        "briefcase fleet receipts list --decision deny --since 7d", "briefcase fleet receipts list --tool mail"
    ),
)
@click.option("--device", "device_id", metavar="ID", help="Only of this device.")
@click.option("--tool", "tool_id", help="Only of this tool.")
@click.option("--agent", help="Only of this agent.")
@click.option("--decision", help="Only with this decision.")
@click.option("--approval", "approval_id", metavar="ID", help="Only of this approval.")
@click.option("--since", metavar="TIME", help="A time as 2026-01-31T12:00:00Z, or how long ago: 30s, 15m, 2h, 7d.")
@click.option("--until", metavar="TIME", help="As --since.")
@click.option("--limit", type=click.IntRange(1, PAGE), default=50, show_default=True, help="How many.")
@json_option
@pass_app
def list_receipts(
    app: App, /, *, since: str | None, until: str | None, limit: int, as_json: bool, **by: str | None
) -> None:
    """List receipts of the whole fleet, the newest first."""
    now_us = system.SystemClock().now_us()
    wanted: dict[str, str] = {name: value for name, value in by.items() if value is not None} | {"limit": str(limit)}
    for name, moment in (("since", since), ("until", until)):
        if moment is not None:
            wanted[name] = parse_moment(moment, now_us)
    reply = FleetClient(app.environ).get(f"/v1/audit/receipts?{urlencode(wanted)}", FleetReceipts)
    if as_json:
        app.json(reply.document)
        return
    rows = [
        (
            app.screen.short_id(receipt.device_id),
            str(receipt.id),
            app.screen.short_time(receipt.ts, now_us),
            *_members(receipt),
        )
        for receipt in reply.answer.receipts
    ]
    app.screen.table(("DEVICE", "RECEIPT", "TIME", "KIND", "AGENT", "TOOL", "DECISION", "REASON"), rows, empty="none")


@receipts.command(
    "export",
    epilog=example(
        "briefcase fleet receipts export DEVICE --out receipts.jsonl",
        "briefcase fleet receipts export DEVICE --format parquet --out receipts.parquet",
    ),
)
@click.argument("device", type=click.UUID)
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="A new file.")
@click.option(
    "--format", "form", type=click.Choice(["jsonl", "parquet"]), default="jsonl", show_default=True, help="Its form."
)
@json_option
@pass_app
def export(app: App, *, device: object, out: Path, form: str, as_json: bool) -> None:
    """Copy a device's receipts into a file.

    `jsonl` is the form of `briefcase receipts export`; `briefcase receipts import FILE` holds them against the chain
    where the device's daemon runs. `parquet` has columns, for whoever analyses them.
    """
    if form == "parquet":
        fleet_parquet.check_installed()
    client = FleetClient(app.environ)
    total = client.get(f"/v1/admin/devices/{device}", FleetDevice).answer.last_receipt_id
    count = 0
    with _new_file(out) as file, ExitStack() as stack, working("receipts") as progress:
        write = stack.enter_context(fleet_parquet.writing_parquet(file)).write if form == "parquet" else _lines_to(file)
        for page in client.receipts(str(device)):
            write(page)
            count += len(page)
            progress(count, total)
    if as_json:
        app.json({"receipts": count, "file": str(out)})
    else:
        note(f"wrote {count:,} receipts to {out}")


@fleet.command(epilog=example("briefcase fleet acts"))
@json_option
@pass_app
def acts(app: App, *, as_json: bool) -> None:
    """List what administrators did, the newest first."""
    reply = FleetClient(app.environ).get(f"/v1/audit/acts?limit={PAGE}", ActList)
    if as_json:
        app.json(reply.document)
        return
    rows = []
    for act in reply.answer.acts:
        event = msgspec.json.decode(act.event)
        about = " ".join(f"{name}={value}" for name, value in about_act(event).items())
        rows.append(
            (str(act.id), *(visible_text(str(event.get(name))) for name in ("ts", "by", "act")), visible_text(about))
        )
    app.screen.table(("ACT", "TIME", "BY", "WHAT", "ABOUT"), rows, empty="no acts")


@fleet.command(epilog=example("briefcase fleet witness"))
@json_option
@pass_app
def witness(app: App, *, as_json: bool) -> None:
    """Show the control plane's key as a witness, and the logs it has cosigned.

    A device has its log cosigned after `briefcase witness add URL --key VKEY` there, with this address and key. A log
    that is not the one that was cosigned is an alarm; `--json` has the two signed notes that prove it.
    """
    client = FleetClient(app.environ)
    key = client.get("/witness", WitnessAnswer)
    reply = client.get("/v1/audit/witness", WitnessedLogs)
    if as_json:
        app.json({**msgspec.to_builtins(key.answer), **msgspec.to_builtins(reply.answer)})
        return
    rows = [
        (
            log.device_id,
            f"{log.size:,}",
            render.when(log.cosigned_at_rfc3339) if log.cosigned_at_rfc3339 else "",
            render.styled("alarm" if log.alarms else "ok"),
            ", ".join(f"{alarm.problem} at {alarm.sent_size:,}" for alarm in log.alarms),
        )
        for log in reply.answer.logs
    ]
    app.screen.table(("DEVICE", ">RECEIPTS", "COSIGNED", "STATE", "WHAT"), rows, empty="no log has been cosigned yet")
    app.screen.fields([("address", key.answer.url), ("key", key.answer.vkey)])


@fleet.group(cls=LazyGroup, epilog=example("briefcase fleet tokens add audit --role auditor"))
def tokens() -> None:
    """Give administrators, auditors and approvers tokens of their own."""


@tokens.command("add", epilog=example("briefcase fleet tokens add ops --role admin --tenant acme"))
@click.argument("name")
@click.option("--role", type=click.Choice(["admin", "auditor", "approver"]), required=True, help="What it may do.")
@click.option("--tenant", default="", help="Whose devices it sees; by default those of the token that is used.")
@json_option
@pass_app
def add_token(app: App, *, name: str, role: str, tenant: str, as_json: bool) -> None:
    """Make a named token and print it, this once.

    A tenant that is new is made with the default policy.
    """
    body = {"name": name, "role": role, "tenant": tenant}
    reply = FleetClient(app.environ).post("/v1/admin/tokens", AdminToken, body)
    if as_json:
        app.json(reply.document)
        return
    click.echo(reply.answer.token)
    note(f"the token of `{name}`, shown this once: set it as BRIEFCASE_FLEET_TOKEN")


@tokens.command("revoke", epilog=example("briefcase fleet tokens revoke audit"))
@click.argument("name")
@json_option
@pass_app
def revoke_token(app: App, *, name: str, as_json: bool) -> None:
    """End a named token."""
    _show(app, FleetClient(app.environ).post(f"/v1/admin/tokens/{name}/revoke", AdminTokenRevoked), as_json=as_json)


def _lines_to(file: IO[bytes]) -> Callable[[Sequence[FleetReceipt]], None]:
    return lambda page: file.writelines(map(_line, page))


def _line(receipt: FleetReceipt) -> bytes:
    """A receipt as an export has it (`core/receipts/exports.py`), its event's bytes unchanged."""
    members = {name: getattr(receipt, name) for name in ("id", "ts", "prev_hash_hex", "hash_hex")}
    return b'%b,"event":%b}\n' % (msgspec.json.encode(members)[:-1], receipt.event)


def _members(receipt: FleetReceipt) -> Iterator[str]:
    """The members of a receipt's event that a row shows; other programs' events may have others."""
    event = msgspec.json.decode(receipt.event, type=dict[str, Any])
    return (visible_text(str(event.get(name) or "")) for name in SHOWN_MEMBERS)


@contextmanager
def _new_file(out: Path) -> Iterator[IO[bytes]]:
    try:
        with write_whole(out, replaces=False) as file:
            yield file
    except OSError as error:
        raise ConfigError(f"cannot write `{out}`: {reason_of(error)}") from None


def _show(app: App, reply: Reply[msgspec.Struct], *, as_json: bool) -> None:
    if as_json:
        app.json(reply.document)
        return
    members = msgspec.structs.asdict(reply.answer).items()
    app.screen.fields([(name, visible_text(str(value))) for name, value in members if value is not None])
