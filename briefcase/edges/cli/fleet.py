"""`briefcase fleet`: the devices of a control plane, their policy, its rollouts, their receipts and who administers."""

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
from briefcase.core.fleet.rollouts import Evidence
from briefcase.core.wire.control_plane import MandatoryRecord
from briefcase.core.wire.fleet import (
    ActList,
    AdminToken,
    AdminTokenRevoked,
    Convergence,
    DeviceRevoked,
    DeviceToken,
    FleetDevice,
    FleetPolicy,
    FleetReceipt,
    FleetReceipts,
    RolloutList,
    RolloutRecord,
    WitnessAnswer,
    WitnessedLogs,
    about_act,
)
from briefcase.edges.cli import fleet_parquet
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.fleet_client import CONVERGENCE, PAGE, FleetClient
from briefcase.edges.cli.fleet_keys import keys
from briefcase.edges.cli.late import render, system
from briefcase.edges.cli.lazy import LazyGroup, example
from briefcase.edges.cli.messages import note
from briefcase.edges.cli.policy import read_policy, write_policy
from briefcase.edges.cli.progress import working
from briefcase.edges.cli.receipt_filters import parse_moment
from briefcase.edges.client.reply import Reply
from briefcase.model.errors import CallerError, ConfigError

MS_PER_S: Final = 1_000
PERMILLE_PER_PERCENT: Final = 10
MAX_CANARY_PERCENT: Final = 99.9
SHOWN_MEMBERS: Final = ("kind", "principal", "tool_id", "decision", "reason")
GATES: Final = {"max-flips": "max_flips", "max-apply-failures": "max_apply_failures"}


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

    BRIEFCASE_FLEET_URL is the control plane's address, BRIEFCASE_FLEET_TOKEN an administrator's or auditor's token.
    """


fleet.add_command(keys)

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


# --- policy and rollouts ----------------------------------------------------------------------------------------------


@fleet.group(
    cls=LazyGroup, epilog=example("briefcase fleet policy show", "briefcase fleet policy publish policy.cedar")
)
def policy() -> None:
    """Show and publish the policy of all devices."""


@policy.command("show", epilog=example("briefcase fleet policy show"))
@json_option
@pass_app
def show_policy(app: App, *, as_json: bool) -> None:
    """Show the policy that devices get which are in no rollout."""
    client = FleetClient(app.environ)
    reply = client.get("/v1/admin/policy", FleetPolicy)
    convergence = _convergence(client)
    if as_json:
        app.json(msgspec.to_builtins(reply.answer) | {"convergence": msgspec.to_builtins(convergence)})
        return
    bundle = reply.answer.policy_bundle.bundle
    note(f"bundle {bundle.bundle_id} of {bundle.updated_at_rfc3339}")
    if convergence is not None:
        note(_followed(convergence))
    write_policy(app, bundle.policy_text)


@policy.command(
    "publish",
    epilog=example(
        "briefcase fleet policy publish policy.cedar",
        "briefcase fleet policy publish policy.cedar --budget read=3.00 --budget write=0",
        "briefcase fleet policy publish policy.cedar --canary 5 --gate max-flips=0",
    ),
)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True))
@click.option("--budget", "budgets", multiple=True, metavar="CATEGORY=USD", help="A daily limit; by default as before.")
@click.option(
    "--canary",
    type=click.FloatRange(0.1, MAX_CANARY_PERCENT),
    metavar="PERCENT",
    help="Give it to so many of the devices first, as a rollout.",
)
@click.option("--gate", "gates", multiple=True, metavar="NAME=N", help=f"What must hold: {', '.join(GATES)}.")
@json_option
@pass_app
def publish(
    app: App,
    *,
    file: Path,
    budgets: tuple[str, ...],
    canary: float | None,
    gates: tuple[str, ...],
    as_json: bool,
) -> None:
    """Give a policy to all devices, or with --canary to some of them first.

    FILE is Cedar; `-` is standard input. A rollout goes on by `briefcase fleet rollout advance`, if its gates are open:
    the devices that have it run it, none could not apply it, and no more of their recorded calls would be decided
    otherwise than max-flips says.
    """
    if gates and canary is None:
        raise click.UsageError("`--gate` is of a rollout: give `--canary PERCENT` too")
    client = FleetClient(app.environ)
    limits = (
        _limits(budgets) if budgets else client.get("/v1/admin/policy", FleetPolicy).answer.policy_bundle.bundle.budgets
    )
    body: dict[str, object] = {"policy_text": read_policy(file), "budgets": limits}
    if canary is None:
        reply = client.post("/v1/admin/policy", FleetPolicy, body)
        if as_json:
            app.json(reply.document)
        else:
            app.screen.line(f"published bundle {reply.answer.policy_bundle.bundle.bundle_id} to all devices")
        return
    body["canary_permille"] = round(canary * PERMILLE_PER_PERCENT)
    body["gates"] = dict(map(_gate, gates))
    _show_rollout(app, client.post("/v1/admin/rollouts", RolloutRecord, body), as_json=as_json)


@fleet.group(
    cls=LazyGroup, epilog=example("briefcase fleet mandatory publish forbidden.cedar", "briefcase fleet mandatory end")
)
def mandatory() -> None:
    """What each device forbids, whatever else its policy says."""


@mandatory.command("show", epilog=example("briefcase fleet mandatory show"))
@json_option
@pass_app
def show_mandatory(app: App, *, as_json: bool) -> None:
    """Show the mandatory part that is in force."""
    reply = FleetClient(app.environ).get("/v1/admin/mandatory", MandatoryRecord)
    answer = reply.answer
    if as_json:
        app.json(reply.document)
    elif not answer.policy_text:
        app.screen.line("no mandatory part: `briefcase fleet mandatory publish FILE`")
    else:
        note(f"mandatory part {answer.id}")
        write_policy(app, answer.policy_text)


@mandatory.command("publish", epilog=example("briefcase fleet mandatory publish forbidden.cedar"))
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True))
@json_option
@pass_app
def publish_mandatory(app: App, *, file: Path, as_json: bool) -> None:
    """Give every device another mandatory part.

    FILE is Cedar that only forbids. A device keeps it in force beside whatever policy it has, after it left too.
    """
    _tell_mandatory(app, read_policy(file), as_json=as_json)


@mandatory.command("end", epilog=example("briefcase fleet mandatory end"))
@json_option
@pass_app
def end_mandatory(app: App, *, as_json: bool) -> None:
    """End the mandatory part: devices forbid nothing more."""
    _tell_mandatory(app, "", as_json=as_json)


@fleet.group(
    cls=LazyGroup,
    invoke_without_command=True,
    epilog=example("briefcase fleet rollout", "briefcase fleet rollout rollback 7"),
)
@json_option
@pass_app
@click.pass_context
def rollout(context: click.Context, app: App, *, as_json: bool) -> None:
    """List rollouts; show one with its gates, advance it, roll it back."""
    if context.invoked_subcommand is not None:
        return
    reply = FleetClient(app.environ).get("/v1/admin/rollouts", RolloutList)
    if as_json:
        app.json(reply.document)
        return
    rows = [
        (
            str(found.rollout_id),
            render.styled(found.state),
            f"{found.canary_permille / PERMILLE_PER_PERCENT:g}%",
            render.when(found.begun_at_rfc3339),
            render.when(found.changed_at_rfc3339),
        )
        for found in reply.answer.rollouts
    ]
    app.screen.table(
        ("ROLLOUT", "STATE", "CANARY", "BEGUN", "CHANGED"),
        rows,
        empty="no rollouts: `briefcase fleet policy publish FILE --canary PERCENT`",
    )


@rollout.command("show", epilog=example("briefcase fleet rollout show 7"))
@click.argument("rollout_id", type=click.IntRange(1))
@json_option
@pass_app
def show_rollout(app: App, *, rollout_id: int, as_json: bool) -> None:
    """Show a rollout, what the devices show that have it, and which gates are shut."""
    _show_rollout(app, FleetClient(app.environ).get(f"/v1/admin/rollouts/{rollout_id}", RolloutRecord), as_json=as_json)


@rollout.command("advance", epilog=example("briefcase fleet rollout advance 7"))
@click.argument("rollout_id", type=click.IntRange(1))
@json_option
@pass_app
def advance(app: App, *, rollout_id: int, as_json: bool) -> None:
    """Give the bundle to all devices if every gate is open; one that all run is done.

    A gate that is shut holds it: exit code 3, and why.
    """
    _show_rollout(
        app, FleetClient(app.environ).post(f"/v1/admin/rollouts/{rollout_id}/advance", RolloutRecord), as_json=as_json
    )


@rollout.command("rollback", epilog=example("briefcase fleet rollout rollback 7"))
@click.argument("rollout_id", type=click.IntRange(1))
@json_option
@pass_app
def roll_back(app: App, *, rollout_id: int, as_json: bool) -> None:
    """Give all devices the text from before, under a new id."""
    _show_rollout(
        app, FleetClient(app.environ).post(f"/v1/admin/rollouts/{rollout_id}/rollback", RolloutRecord), as_json=as_json
    )


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
    """Give administrators and auditors tokens of their own."""


@tokens.command("add", epilog=example("briefcase fleet tokens add ops --role admin --tenant acme"))
@click.argument("name")
@click.option("--role", type=click.Choice(["admin", "auditor"]), required=True, help="What it may do.")
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


def _limits(budgets: tuple[str, ...]) -> dict[str, int]:
    limits = {}
    for budget in budgets:
        category, equals, dollars = budget.partition("=")
        if not equals or not category:
            raise CallerError(f"expected `--budget CATEGORY=USD`, got `{budget}`")
        try:
            limits[category] = render.parse_dollars(dollars)
        except ValueError as error:
            raise CallerError(f"`--budget {category}`: {error}") from None
    return limits


def _gate(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if name not in GATES or not number.isascii() or not number.isdigit():
        raise CallerError(f"expected `--gate NAME=N` with a name of {', '.join(GATES)}, got `{text}`")
    return GATES[name], int(number)


def _show_rollout(app: App, reply: Reply[RolloutRecord], *, as_json: bool) -> None:
    if as_json:
        app.json(reply.document)
        return
    rollout, evidence = reply.answer, reply.answer.evidence or Evidence()
    app.screen.fields(
        [
            ("rollout", str(rollout.rollout_id)),
            ("state", render.styled(rollout.state)),
            ("canary", f"{rollout.canary_permille / PERMILLE_PER_PERCENT:g}% of the devices"),
            ("devices that have it", str(evidence.devices)),
            ("devices that run it", str(evidence.applied)),
            ("could not apply it", str(evidence.apply_failures)),
            ("decided otherwise", f"{evidence.flips} of {evidence.replayed} recorded calls"),
            *([] if rollout.convergence is None else [("followed", _followed(rollout.convergence))]),
            *(("shut gate", f"{gate.gate}: {gate.problem}") for gate in rollout.shut_gates),
        ]
    )


def _convergence(client: FleetClient) -> Convergence | None:
    """How soon devices run the bundle for all; None where the control plane does not say."""
    try:
        return client.get(CONVERGENCE, Convergence).answer
    except CallerError as error:
        if error.code != "not_found":
            raise
        return None


def _followed(convergence: Convergence) -> str:
    if not convergence.devices:
        return "no devices were given it"
    half, most = (
        None if lag_ms is None else f"{lag_ms / MS_PER_S:g} s" for lag_ms in (convergence.p50_ms, convergence.p99_ms)
    )
    times = f"half within {half}, " if half else ""
    return f"{convergence.applied} of {convergence.devices} devices run it; {times}" + (
        f"99% within {most}" if most else "not yet 99%"
    )


def _tell_mandatory(app: App, policy_text: str, *, as_json: bool) -> None:
    reply = FleetClient(app.environ).post("/v1/admin/mandatory", MandatoryRecord, {"policy_text": policy_text})
    if as_json:
        app.json(reply.document)
    else:
        app.screen.line(f"mandatory part {reply.answer.id} goes to all devices")


def _show(app: App, reply: Reply[msgspec.Struct], *, as_json: bool) -> None:
    if as_json:
        app.json(reply.document)
        return
    members = msgspec.structs.asdict(reply.answer).items()
    app.screen.fields([(name, visible_text(str(value))) for name, value in members if value is not None])
