"""`briefcase policy history`, `rollback` and `schema`: what decided before, and what policies are held against."""

from __future__ import annotations

from typing import Final

import click

from briefcase.core.wire.policy import PolicyHistoryList, PolicyRecord
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.client import Client
from briefcase.edges.cli.late import policy_check, policy_declared, render
from briefcase.edges.cli.lazy import example
from briefcase.edges.cli.messages import note
from briefcase.edges.cli.policy import known_tools, whole_digest
from briefcase.model.errors import BriefcaseError, CallerError

SHORT_DIGEST_CHARS: Final = 12


@click.command("history", epilog=example("briefcase policy history", "briefcase policy show 3f9a12bc"))
@json_option
@pass_app
def history(app: App, *, as_json: bool) -> None:
    """List the policies that were set, newest first.

    The newest 32 texts are kept: `briefcase policy show DIGEST` prints one, `policy rollback` lets it decide again.
    """
    reply = app.client().get("/v1/policy/history", PolicyHistoryList)
    if as_json:
        app.json(reply.document)
        return
    rows = [
        (
            one.policy_hash_hex if not app.screen.is_terminal else one.policy_hash_hex[:SHORT_DIGEST_CHARS],
            render.when(one.set_at),
            one.by or "unknown",
            f"{one.policies:,}" if one.policies else "unknown",
            render.styled("active" if one.is_active else ""),
        )
        for one in reply.answer.policies
    ]
    headers = ("DIGEST", "SET", "BY", ">POLICIES", "")
    app.screen.table(headers, rows, empty="no policy was set since this release keeps them")


@click.command("rollback", epilog=example("briefcase policy rollback", "briefcase policy rollback 3f9a12bc"))
@click.argument("digest", required=False)
@json_option
@pass_app
def roll_back(app: App, *, digest: str | None, as_json: bool) -> None:
    """Let an earlier policy decide again.

    DIGEST is the beginning of one that `policy history` lists; without it, the one that decided before the active one.
    It is validated anew, and leaves a receipt, as every policy that is set.
    """
    client = app.client()
    wanted = whole_digest(client, digest) if digest is not None else _one_before(client)
    reply = client.post("/v1/policy/rollback", PolicyRecord, {"policy_hash_hex": wanted})
    if as_json:
        app.json(reply.document)
        return
    app.screen.line(f"the policy is {reply.answer.policy_hash_hex} again")
    note("`briefcase policy show` prints it, `briefcase policy history` what was before")


@click.command("schema", epilog=example("briefcase policy schema", "briefcase policy schema --tool ticket_close"))
@click.option("--tool", "tool_id", metavar="ID", help="With this tool's arguments in `context.args`.")
@json_option
@pass_app
def show_schema(app: App, *, tool_id: str | None, as_json: bool) -> None:
    """Print the Cedar schema that policies are held against.

    `context.args` differs from tool to tool: --tool asks the running daemon what one of them declares.
    """
    text = policy_check.SCHEMA_TEXT if tool_id is None else _schema_of(app, tool_id)
    if as_json:
        app.json({"schema": text})
    else:
        click.echo(text, nl=False)


def _one_before(client: Client) -> str:
    """The digest that decided before the active one did."""
    kept = client.get("/v1/policy/history", PolicyHistoryList).answer.policies
    active = next((index for index, one in enumerate(kept) if one.is_active), len(kept))
    before = next((one for one in kept[active:] if one.policy_hash_hex != kept[active].policy_hash_hex), None)
    if before is None:
        raise CallerError("no other policy was set before this one", code="not_found")
    return before.policy_hash_hex


def _schema_of(app: App, tool_id: str) -> str:
    tools = known_tools(app)
    if tools is None:
        raise BriefcaseError("no daemon answers, which knows the tools", code="daemon_unreachable")
    found = next((tool for tool in tools if tool.id == tool_id), None)
    if found is None:
        raise CallerError(f"no tool is called `{tool_id}`", code="not_found", hint="see `briefcase tools list`")
    return policy_check.schema_text(policy_declared.declared_arguments(found.input_schema))
