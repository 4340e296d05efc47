"""`briefcase policy`: the Cedar policy that decides. The daemon keeps the last good one whatever is sent to it.

`policy_trials` has the commands that try a policy before it decides anything: `test` and `backtest`.
"""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Final

import click
import msgspec

from briefcase.core.wire.policy import PolicyRecord
from briefcase.core.wire.tools import ToolList
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.late import marks, policy_check, policy_diff, render, rich_text
from briefcase.edges.cli.lazy import Lazy, LazyGroup, example
from briefcase.edges.cli.messages import note
from briefcase.model.errors import BriefcaseError, CallerError
from briefcase.model.types import ToolSpec

MAX_POLICY_BYTES: Final = 1 << 20
DIFF_STYLES: Final = {"+": "green", "-": "red", "@": "cyan"}
OP_STYLES: Final = {"added": "bold green", "removed": "bold red", "changed": "bold yellow"}


@click.group(
    cls=LazyGroup,
    table={
        "test": Lazy(
            "briefcase.edges.cli.policy_trials:run_tests",
            "Run policy test files: requests, and the decisions they must get.",
        ),
        "backtest": Lazy("briefcase.edges.cli.policy_trials:backtest", "Replay a policy over the recorded receipts."),
    },
    epilog=example("briefcase policy show > policy.cedar", "briefcase policy set policy.cedar"),
)
def policy() -> None:
    """Show, check, compare and set the policy."""


@policy.command("show", epilog=example("briefcase policy show", "briefcase policy show > policy.cedar"))
@json_option
@pass_app
def show_policy(app: App, *, as_json: bool) -> None:
    """Show the policy that decides now."""
    reply = app.client().get("/v1/policy", PolicyRecord)
    if as_json:
        app.json(reply.document)
        return
    active = reply.answer
    write_policy(app, active.policy_text)
    note(f"policy {active.policy_hash_hex}, since {render.when(active.updated_at_rfc3339)}")


@policy.command("set", epilog=example("briefcase policy set policy.cedar"))
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@json_option
@pass_app
def set_policy(app: App, *, file: Path, as_json: bool) -> None:
    """Replace the policy.

    One that does not parse or validate is refused, and the old one stays. FILE is a path, or `-` for standard input.
    """
    text = read_policy(file)
    client = app.client()
    before = client.get("/v1/policy", PolicyRecord).answer.policy_hash_hex
    reply = client.put("/v1/policy", PolicyRecord, {"policy_text": text})
    if as_json:
        app.json(reply.document)
    elif reply.answer.policy_hash_hex == before:
        app.screen.line(f"the policy is {before} already")
    else:
        app.screen.line(f"the policy is now {reply.answer.policy_hash_hex}")
        note(f"it was {before}")


@policy.command(
    "check", epilog=example("briefcase policy check policy.cedar", "briefcase policy check - < policy.cedar")
)
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@json_option
@pass_app
def check_policy(app: App, *, file: Path, as_json: bool) -> None:
    """Check that a policy parses and validates, without setting it.

    FILE is a path, or `-` for standard input. Where a daemon runs, the policy is held against the arguments of its
    tools; where none does, against the schema alone.
    """
    text = read_policy(file)
    tools = known_tools(app)
    parsed = policy_check.check_policy(text, tools or ())
    if as_json:
        app.json({"ok": True, "policy_hash_hex": parsed.digest_hex, "policies": [*parsed.names]})
        return
    app.screen.line(f"ok: {len(parsed.names)} policies, {parsed.digest_hex}")
    if tools is None:
        note("no daemon answers: the arguments of tools were not checked")


@policy.command("diff", epilog=example("briefcase policy diff policy.cedar"))
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@json_option
@pass_app
def diff_policy(app: App, *, file: Path, as_json: bool) -> None:
    """Show which policies a file adds, removes or changes in the active policy.

    Layout and comments are no change; an annotation is. `--json` has the difference of the texts, too.

    FILE is a path, or `-` for standard input.
    """
    text = read_policy(file)
    active = app.client().get("/v1/policy", PolicyRecord).answer.policy_text
    changes = policy_diff.diff_policies(policy_check.parse_policy(active), policy_check.parse_policy(text))
    lines = _line_diff(active, text, "the active policy", str(file))
    if as_json:
        app.json({"changed": bool(lines), "diff": [*lines], "policies": msgspec.to_builtins(changes)})
        return
    for change in changes:
        app.screen.line(rich_text.Text(f"{change.op} `{marks.visible_text(change.policy_id)}`", OP_STYLES[change.op]))
        for line in _line_diff(change.old, change.new)[2:]:
            app.screen.line(rich_text.Text(f"  {marks.visible_text(line)}", DIFF_STYLES.get(line[:1], "")))
    if not changes:
        note("no policy differs: the layout or the comments do" if lines else "no difference")


def _line_diff(old: str, new: str, old_name: str = "", new_name: str = "") -> list[str]:
    return list(difflib.unified_diff(old.splitlines(), new.splitlines(), old_name, new_name, lineterm=""))


def read_policy(file: Path, max_bytes: int = MAX_POLICY_BYTES) -> str:
    """Read a policy's text.

    Raises:
        CallerError: it cannot be read, is too large, or is not UTF-8.
    """
    try:
        if str(file) == "-":
            data = sys.stdin.buffer.read(max_bytes + 1)
        else:
            with file.open("rb") as opened:
                data = opened.read(max_bytes + 1)
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise CallerError(f"`{file}` cannot be read: {reason}") from None
    if len(data) > max_bytes:
        raise CallerError(f"expected `{file}` to hold at most {max_bytes} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise CallerError(f"expected `{file}` in UTF-8, got an invalid sequence at byte {error.start}") from None


def known_tools(app: App) -> list[ToolSpec] | None:
    """The running daemon's tools; None where no daemon runs."""
    try:
        tools = app.client().get("/v1/tools", ToolList).answer.tools
    except BriefcaseError as error:
        if error.code != "daemon_unreachable":
            raise
        return None
    return [
        ToolSpec(tool.id, tool.name, tool.description, tool.input_schema, tool.output_schema, category="")
        for tool in tools
    ]


def write_policy(app: App, text: str) -> None:
    """The text as it is for a file; on a terminal, with nothing invisible in it."""
    if not app.screen.is_terminal:
        click.echo(text, nl=not text.endswith("\n"))
        return
    for line in text.splitlines():
        app.screen.line(line.replace("\t", "    "))
