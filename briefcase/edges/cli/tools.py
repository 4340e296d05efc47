"""`briefcase tools`: what can be called, one call, and the operator's own tool manifests.

A call's exit code says what became of it: 0 done, 10 waiting for a person, 3 denied (2 where the arguments were wrong,
4 where no such tool is), 8 the tool failed.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
import time
import uuid
from typing import Final

import click

from briefcase.core.json.strict import parse as parse_json
from briefcase.core.wire.approvals import ApprovalRecord, ShownApproval
from briefcase.core.wire.calls import (
    CALL_ANSWER,
    CallAnswer,
    CallDenied,
    CallFailed,
    CallNeedsApproval,
    CallOk,
    CallResult,
)
from briefcase.core.wire.fields import given
from briefcase.core.wire.tools import ToolList, ToolRecord, category_name
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.client import path_of
from briefcase.edges.cli.late import render
from briefcase.edges.cli.lazy import Lazy, LazyGroup, example
from briefcase.edges.cli.messages import complain, note
from briefcase.edges.cli.names import complete_tool
from briefcase.edges.client.reply import Reply
from briefcase.model.errors import CallerError
from briefcase.model.reasons import INVALID_OR_EXPIRED_APPROVAL, REASONS, UNKNOWN_TOOL, meaning_of, with_detail, word_of
from briefcase.model.types import JsonObject

CALL_TIMEOUT_S: Final = 660.0  # above any deadline the daemon itself puts on an execution
WAIT_MS: Final = 20_000  # of one long poll
MAX_ARGS_BYTES: Final = 1 << 20
EXCERPT_CHARS: Final = 60
EXIT_UPSTREAM: Final = 8
EXIT_APPROVAL_REQUIRED: Final = 10
_PLACE: Final = re.compile(r"line (\d+) column (\d+)")

COMMANDS: Final = {
    "list": Lazy("briefcase.edges.cli.tools:list_tools", "List the tools that can be called."),
    "show": Lazy("briefcase.edges.cli.tools:show_tool", "Show one tool and the schema of its arguments."),
    "call": Lazy("briefcase.edges.cli.tools:call_tool", "Call one tool."),
    "import": Lazy("briefcase.edges.cli.openapi:import_tools", "Write tool manifests from an API description."),
    "remove": Lazy("briefcase.edges.cli.manifests:remove_tools", "Remove the manifests of tools."),
    "reload": Lazy("briefcase.edges.cli.manifests:reload_manifests", "Put in force what the manifests say now."),
    "check": Lazy("briefcase.edges.cli.manifests:check_manifest", "Check tool manifests without loading them."),
}


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    epilog=example("briefcase tools list", 'briefcase tools call echo --args-json \'{"text":"hello"}\''),
)
def tools() -> None:
    """List, call, import, remove and check tools."""


@click.command("list", epilog=example("briefcase tools list", "briefcase tools list --clients --json"))
@click.option(
    "--clients", is_flag=True, help="Also what coding agents run themselves, whose calls are only decided here."
)
@json_option
@pass_app
def list_tools(app: App, *, clients: bool, as_json: bool) -> None:
    """List the tools that can be called."""
    reply = app.client().get("/v1/tools", ToolList, clients="true" if clients else None)
    if as_json:
        app.json(reply.document)
        return
    rows = [
        (spec.id, category_name(spec.category), render.price(spec.cost.estimated_usd), render.dim(spec.description))
        for spec in reply.answer.tools
    ]
    app.screen.table(("TOOL", "CATEGORY", ">COST", "DESCRIPTION"), rows, empty="no tools")


@click.command("show", epilog=example("briefcase tools show note_add"))
@click.argument("tool", shell_complete=complete_tool)
@json_option
@pass_app
def show_tool(app: App, *, tool: str, as_json: bool) -> None:
    """Show one tool and the schema of its arguments."""
    reply = app.client().get("/v1/tools", ToolList, clients="true")
    places = {spec.id: place for place, spec in enumerate(reply.answer.tools)}
    if tool not in places:
        raise CallerError(f"no tool `{tool}`", code=UNKNOWN_TOOL, hint=_suggest(tool, list(places)))
    if as_json:
        app.json(reply.listed("tools")[places[tool]])
        return
    spec = reply.answer.tools[places[tool]]
    firewall = spec.output_firewall
    paths = f" {', '.join(firewall.allowed_paths)}" if firewall.allowed_paths else ""
    app.screen.fields(
        [
            ("tool", spec.id),
            ("name", spec.name),
            ("description", spec.description),
            ("category", category_name(spec.category)),
            ("cost", render.price(spec.cost.estimated_usd)),
            ("output", f"{firewall.mode}{paths}"),
        ]
    )
    app.screen.line("arguments")
    app.json(spec.input_schema)


@click.command(
    "call",
    epilog=example(
        'briefcase tools call echo --args-json \'{"text":"hello"}\'',
        'briefcase tools call note_add --args-json \'{"text":"rotate the keys"}\' --wait',
        'echo \'{"text":"hello"}\' | briefcase tools call echo --args-json -',
    ),
)
@click.argument("tool", shell_complete=complete_tool)
@click.option("--args-json", default="{}", metavar="JSON", help="The arguments, a JSON object; `-` reads them.")
@click.option("--approval-token", metavar="TOKEN", help="What `briefcase approvals approve` printed.")
@click.option("--wait", is_flag=True, help="Where a person must approve, wait for it and go on.")
@json_option
@pass_app
def call_tool(app: App, *, tool: str, args_json: str, approval_token: str | None, wait: bool, as_json: bool) -> int:
    """Call one tool.

    A call that a person has approved since it was last made goes ahead; `--wait` waits for that.

    Exits with 0 when it ran, 10 when it waits for approval, 3 when it was denied (2 for wrong arguments, 4 for an
    unknown tool), 8 when the tool itself failed.
    """
    args = parse_args(args_json)
    reply = _call(app, tool, args, approval_token)
    answer, document = reply.answer, reply.document
    if isinstance(answer, CallNeedsApproval) and (wait or answer.approval.status == "approved"):
        answer, document = _wait_and_retry(app, tool, args, answer.approval)
    if as_json:
        app.json(document)
    else:
        _show(app, tool, answer)
    return exit_code_of(answer)


def parse_args(text: str) -> JsonObject:
    """Read `--args-json` strictly; `-` reads standard input.

    Raises:
        CallerError: it is no JSON object (`invalid_args`); the message shows the place where there is one.
    """
    data = sys.stdin.buffer.read(MAX_ARGS_BYTES + 1) if text == "-" else os.fsencode(text)
    if len(data) > MAX_ARGS_BYTES:
        raise _bad_args(f"expected at most {MAX_ARGS_BYTES} bytes")
    try:
        args = parse_json(data)
    except CallerError as error:
        raise _bad_args(error.message + _pointer(data, error.message)) from None
    if not isinstance(args, dict):
        shown = data.decode(errors="replace")[:EXCERPT_CHARS]
        raise _bad_args(f"expected a JSON object, got `{shown}`")
    return args


def _bad_args(problem: str) -> CallerError:
    hint = 'for example --args-json \'{"text":"hello"}\''
    return CallerError(f"`--args-json`: {problem}", code="invalid_args", hint=hint)


def _pointer(data: bytes, message: str) -> str:
    """The line a message is about, and a caret below the character."""
    place = _PLACE.search(message)
    if place is None:
        return ""
    line, column = int(place[1]) - 1, int(place[2]) - 1
    text = data.decode(errors="replace").split("\n")[line]
    start = max(0, column - EXCERPT_CHARS // 2)
    shown = "".join(char if char.isprintable() else "\ufffd" for char in text[start : start + EXCERPT_CHARS])
    return f"\n{shown}\n{' ' * (column - start)}^"


def exit_code_of(answer: CallAnswer) -> int:
    """The exit code for what became of a call."""
    match answer:
        case CallOk(result):
            return EXIT_UPSTREAM if given(result.is_error, otherwise=False) else 0
        case CallNeedsApproval():
            return EXIT_APPROVAL_REQUIRED
        case CallDenied(reason):
            return meaning_of(reason).exit_code
        case CallFailed():
            return EXIT_UPSTREAM


def _call(app: App, tool: str, args: JsonObject, approval_token: str | None) -> Reply[CallAnswer]:
    call: JsonObject = {"tool_id": tool, "args": args, "context": {"request_id": str(uuid.uuid4())}}
    if approval_token is not None:
        call["approval_token"] = approval_token
    return app.client(CALL_TIMEOUT_S).post("/v1/tools/call", CALL_ANSWER, {"call": call})


def _wait_and_retry(app: App, tool: str, args: JsonObject, approval: ApprovalRecord) -> tuple[CallAnswer, JsonObject]:
    """Long-poll an approval until it is decided, then make the call with it. One that is approved is used at once.

    Returns:
        What became of the call, and the document that says so.
    """
    path = path_of("v1", "approvals", approval.id)
    reply = app.client().get(path, ShownApproval)
    if reply.answer.status == "pending":
        note(f"waiting for approval {approval.id}: decide it with `briefcase approvals watch`")
    while reply.answer.status == "pending":
        reply = app.client(CALL_TIMEOUT_S).get(path, ShownApproval, wait_ms=WAIT_MS)
    now = reply.answer
    if now.status != "approved":
        why = given(now.decision_reason, "")
        reason = with_detail(INVALID_OR_EXPIRED_APPROVAL, f"{now.status}: {why}" if why else now.status)
        return CallDenied(reason), {"status": "denied", "reason": reason, "approval": reply.document}
    called = _call(app, tool, args, given(now.approval_token, now.id))
    return called.answer, called.document


def _show(app: App, tool: str, answer: CallAnswer) -> None:
    match answer:
        case CallOk(result):
            _show_result(app, result)
        case CallNeedsApproval(approval):
            _show_approval(app, approval)
        case CallDenied(reason):
            by = ", ".join(f"`{name}`" for name in given(answer.policy_ids, []))
            said = ": ".join(filter(None, (f"{reason} by {by}" if by else reason, given(answer.advice, ""))))
            complain({"message": said, "hint": _hint_of(app, tool, reason)}, label="denied")
        case CallFailed(message):
            complain({"message": message})


def _show_result(app: App, result: CallResult) -> None:
    app.json(result.content)
    came = result.provenance
    failed = "the tool says that it failed · " if given(result.is_error, otherwise=False) else ""
    note(f"{failed}receipt {came.receipt_id} · {render.dollars(came.cost_usd)} · from {came.source}")


def _show_approval(app: App, approval: ApprovalRecord) -> None:
    app.screen.fields(
        [
            ("status", render.styled("approval_required")),
            ("id", approval.id),
            ("call", approval.summary),
            ("because", approval.reason),
            ("expires in", render.time_left(approval.expires_at, time.time_ns() // 1_000)),
        ]
    )
    note(f"approve it with `briefcase approvals approve {approval.id}`, then repeat this command")


def _hint_of(app: App, tool: str, reason: str) -> str:
    if word_of(reason) == UNKNOWN_TOOL:
        return _suggest(tool, [spec.id for spec in _specs(app)])
    return meaning_of(reason).hint.format(tool=tool)


def _suggest(tool: str, known: list[str]) -> str:
    near = difflib.get_close_matches(tool, known, n=1)
    return f"did you mean `{near[0]}`?" if near else REASONS[UNKNOWN_TOOL].hint


def _specs(app: App) -> list[ToolRecord]:
    return app.client().get("/v1/tools", ToolList).answer.tools
