"""`briefcase fleet policy`, `mandatory` and `rollout`: what devices are given, and how soon they run it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
import msgspec

from briefcase.core.fleet.rollouts import Evidence
from briefcase.core.wire.control_plane import MandatoryRecord
from briefcase.core.wire.fleet import Convergence, FleetPolicy, RolloutList, RolloutRecord
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.fleet_client import CONVERGENCE, FleetClient
from briefcase.edges.cli.late import render
from briefcase.edges.cli.lazy import LazyGroup, example
from briefcase.edges.cli.messages import note
from briefcase.edges.cli.policy import read_policy, write_policy
from briefcase.edges.client.reply import Reply
from briefcase.model.errors import CallerError

MS_PER_S: Final = 1_000
PERMILLE_PER_PERCENT: Final = 10
MAX_CANARY_PERCENT: Final = 99.9
GATES: Final = {"max-flips": "max_flips", "max-apply-failures": "max_apply_failures"}


@click.group(
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


@click.group(
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


@click.group(
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
