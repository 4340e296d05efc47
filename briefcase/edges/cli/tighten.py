"""`briefcase tighten`, `freeze`, `thaw`: what an operator does first in an incident; nothing here allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click
import msgspec

from briefcase.core.wire.controls import AddedControl, ControlList, ControlRecord
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.ends import end_of
from briefcase.edges.cli.late import render
from briefcase.edges.cli.lazy import LazyGroup, example
from briefcase.edges.cli.messages import note
from briefcase.edges.cli.names import complete_agent, complete_category, complete_source, complete_tool
from briefcase.model.errors import CallerError
from briefcase.model.types import JsonObject

CONTROLS: Final = "/v1/controls"
LIFT: Final = "/v1/controls/lift"


@click.group(
    cls=LazyGroup,
    epilog=example(
        "briefcase tighten require-approval --category write --for 2h",
        "briefcase tighten disable --source mcp:files",
        "briefcase tighten list",
        "briefcase tighten lift 8a1f",
    ),
)
def tighten() -> None:
    """Require approval, or disable, until a time or until lifted."""


@tighten.command(
    "require-approval", epilog=example("briefcase tighten require-approval --agent scout --until 2026-12-24T18:00:00Z")
)
@click.option("--tool", shell_complete=complete_tool, help="Of calls of this tool.")
@click.option("--category", shell_complete=complete_category, help="Of calls of this category.")
@click.option("--agent", shell_complete=complete_agent, help="Of calls by this agent.")
@click.option(
    "--source",
    shell_complete=complete_source,
    help="Of calls to this source: builtin, http, provider:<id>, mcp:<server>.",
)
@click.option("--for", "span", metavar="SPAN", help="For so long: 30m, 2h, 7d.")
@click.option("--until", metavar="TIME", help="Until a time, as 2026-12-24T18:00:00Z.")
@json_option
@pass_app
def require_approval(app: App, /, *, span: str | None, until: str | None, as_json: bool, **about: str | None) -> None:
    """Let a person approve each call of a tool, a category, an agent or a source."""
    _add(app, "require_approval", about, end_of(span, until), as_json=as_json)


@tighten.command("disable", epilog=example("briefcase tighten disable --tool tickets_close"))
@click.option("--tool", shell_complete=complete_tool, help="This tool.")
@click.option(
    "--source", shell_complete=complete_source, help="Every tool of this source: http, provider:<id>, mcp:<server>."
)
@click.option("--for", "span", metavar="SPAN", help="For so long: 30m, 2h, 7d.")
@click.option("--until", metavar="TIME", help="Until a time, as 2026-12-24T18:00:00Z.")
@json_option
@pass_app
def disable(app: App, /, *, span: str | None, until: str | None, as_json: bool, **about: str | None) -> None:
    """Deny each call of a tool or a source. `tighten lift` enables it again."""
    _add(app, "disable", about, end_of(span, until), as_json=as_json)


@tighten.command("list", epilog=example("briefcase tighten list"))
@json_option
@pass_app
def list_controls(app: App, *, as_json: bool) -> None:
    """List what is in force, and until when."""
    reply = app.client().get(CONTROLS, ControlList)
    _show(app, reply.answer.controls, reply.document, as_json=as_json, empty="nothing is tightened")


@tighten.command("lift", epilog=example("briefcase tighten lift 8a1f", "briefcase tighten lift --all"))
@click.argument("control_id", metavar="ID", required=False)
@click.option("--all", "everything", is_flag=True, help="Lift all but a freeze.")
@json_option
@pass_app
def lift(app: App, *, control_id: str | None, everything: bool, as_json: bool) -> None:
    """Give back what policy allows. ID may be the first characters of one."""
    if bool(control_id) == everything:  # an empty ID begins every other: a script's unset variable must lift nothing
        raise click.UsageError("expected an ID or --all")
    client = app.client()
    held = client.get(CONTROLS, ControlList).answer.controls
    chosen = _named(held, control_id) if control_id else [control for control in held if control.action != "freeze"]
    replies = [client.post(LIFT, ControlList, {"id": control.id}) for control in chosen]
    lifted = [control for reply in replies for control in reply.answer.controls]
    done = "lifted: policy alone decides of them again" if lifted else ""
    document: JsonObject = {"controls": msgspec.to_builtins(lifted)}
    _show(app, lifted, document, done, as_json=as_json, empty="nothing to lift")


@click.command(epilog=example("briefcase freeze", "briefcase freeze --for 15m"))
@click.option("--for", "span", metavar="SPAN", help="For so long: 30m, 2h, 7d.")
@json_option
@pass_app
def freeze(app: App, *, span: str | None, as_json: bool) -> None:
    """Deny every call at once.

    Operators are still served; `briefcase thaw` ends it.
    """
    body = {"action": "freeze", "subject": "all", "until": end_of(span, None)}
    reply = app.client().post(CONTROLS, AddedControl, body)
    done = "every call is denied as `frozen`; `briefcase thaw` ends that"
    _show(app, [reply.answer], {"controls": [reply.document]}, done, as_json=as_json)


@click.command(epilog=example("briefcase thaw"))
@json_option
@pass_app
def thaw(app: App, *, as_json: bool) -> None:
    """End a freeze.

    Everything else that was tightened stays so.
    """
    reply = app.client().post(LIFT, ControlList, {"action": "freeze"})
    _show(app, reply.answer.controls, reply.document, "thawed: calls are decided again", as_json=as_json)


def _add(app: App, action: str, about: dict[str, str | None], until: str | None, *, as_json: bool) -> None:
    chosen = [(subject, name) for subject, name in about.items() if name]
    if len(chosen) != 1:
        raise click.UsageError(f"expected exactly one of {', '.join(f'--{subject}' for subject in about)}")
    ((subject, name),) = chosen
    body = {"action": action, "subject": subject, "name": name, "until": until}
    reply = app.client().post(CONTROLS, AddedControl, body)
    unknown = f"no {subject} `{name}` is known now: it is held for when there is one; check the name"
    done = "" if reply.answer.is_known else unknown
    _show(app, [reply.answer], {"controls": [reply.document]}, done, as_json=as_json)


def _named(held: list[ControlRecord], control_id: str) -> list[ControlRecord]:
    chosen = [control for control in held if control.id.startswith(control_id)]
    if len(chosen) != 1:
        found = "none" if not chosen else f"{len(chosen)}"
        raise CallerError(
            f"expected one control that starts with `{control_id}`, found {found}",
            code="not_found",
            hint="see `briefcase tighten list`",
        )
    return chosen


def _show(
    app: App,
    controls: Sequence[ControlRecord],
    document: JsonObject,
    done: str = "",
    *,
    as_json: bool,
    empty: str = "",
) -> None:
    if as_json:
        app.json(document)
        return
    rows = [
        (
            app.screen.short_id(control.id),
            control.action.replace("_", " "),
            f"{control.subject} {control.name}".strip(),
            render.when(control.until) if control.until else "until lifted",
            control.by,
        )
        for control in controls
    ]
    app.screen.table(("ID", "WHAT", "OF", "UNTIL", "BY"), rows, empty=empty)
    if done:
        note(done)
