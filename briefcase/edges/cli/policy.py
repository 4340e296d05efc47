"""`briefcase policy`: the Cedar policy that decides. The daemon keeps the last good one whatever is sent to it.

`policy_trials` has the commands that try a policy before it decides anything: `test` and `backtest`.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
import msgspec

from briefcase.core.wire.agents import AgentList
from briefcase.core.wire.operators import OperatorList
from briefcase.core.wire.policy import PolicyHistoryList, PolicyRecord
from briefcase.core.wire.providers import ProviderList
from briefcase.core.wire.servers import ServerList
from briefcase.core.wire.tools import ToolList
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.client import Client, path_of
from briefcase.edges.cli.late import marks, policy_check, policy_diff, policy_unknown, render, rich_text
from briefcase.edges.cli.lazy import Lazy, LazyGroup, example
from briefcase.edges.cli.messages import complain, note
from briefcase.edges.cli.receipt_filters import UNTOLD
from briefcase.model.errors import BriefcaseError, CallerError
from briefcase.model.types import ToolSpec

MAX_POLICY_BYTES: Final = 1 << 20
FIXED_AGENTS: Final = frozenset({"operator", "auditor"})  # `agents add` does not give these names
DIFF_STYLES: Final = {"+": "green", "-": "red", "@": "cyan"}
OP_STYLES: Final = {"added": "bold green", "removed": "bold red", "changed": "bold yellow"}

_DIGEST: Final = re.compile(r"[0-9a-f]{8,64}")


@click.group(
    cls=LazyGroup,
    table={
        "test": Lazy(
            "briefcase.edges.cli.policy_trials:run_tests",
            "Run policy test files: requests, and the decisions they must get.",
        ),
        "explain": Lazy(
            "briefcase.edges.cli.policy_explain:explain_call", "Say what a call would come to now, and why."
        ),
        "backtest": Lazy("briefcase.edges.cli.policy_trials:backtest", "Replay a policy over the recorded receipts."),
        "propose": Lazy("briefcase.edges.cli.policy_proposals:propose", "Propose a policy in words; nothing is set."),
        "proposals": Lazy(
            "briefcase.edges.cli.policy_proposals:list_proposals",
            "List the policies that are proposed, or show one of them whole.",
        ),
        "apply": Lazy(
            "briefcase.edges.cli.policy_proposals:apply_proposal", "Set a proposed policy, exactly as it is shown."
        ),
        "drop": Lazy("briefcase.edges.cli.policy_proposals:drop_proposal", "Let a proposed policy go."),
        "history": Lazy("briefcase.edges.cli.policy_history:history", "List the policies that were set, newest first."),
        "rollback": Lazy("briefcase.edges.cli.policy_history:roll_back", "Let an earlier policy decide again."),
        "schema": Lazy(
            "briefcase.edges.cli.policy_history:show_schema", "Print the Cedar schema that policies are held against."
        ),
    },
    epilog=example("briefcase policy show > policy.cedar", "briefcase policy set policy.cedar"),
)
def policy() -> None:
    """Show, check, compare and set the policy."""


@policy.command("show", epilog=example("briefcase policy show > policy.cedar", "briefcase policy show 3f9a12bc"))
@click.argument("digest", required=False)
@json_option
@pass_app
def show_policy(app: App, *, digest: str | None, as_json: bool) -> None:
    """Show the policy that decides now, or one of the history.

    DIGEST is its SHA-256, or at least the first 8 characters of it, as `policy history` and receipts have it.
    """
    client = app.client()
    path = "/v1/policy" if digest is None else path_of("v1", "policy", "history", whole_digest(client, digest))
    reply = client.get(path, PolicyRecord)
    if as_json:
        app.json(reply.document)
        return
    shown = reply.answer
    write_policy(app, shown.policy_text)
    word = "since" if digest is None else "set"
    note(f"policy {shown.policy_hash_hex}, {word} {render.when(shown.updated_at_rfc3339)}")


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
    tools, and what it names and nothing has is warned of; where none does, it is held against the schema alone.
    """
    text = read_policy(file)
    tools = known_tools(app)
    parsed = policy_check.check_policy(text, tools or ())
    found = _warnings(app, parsed, tools)
    if as_json:
        warnings = [msgspec.to_builtins(one) for one in found]
        app.json({"ok": True, "policy_hash_hex": parsed.digest_hex, "policies": [*parsed.names], "warnings": warnings})
        return
    app.screen.line(f"ok: {len(parsed.names)} policies, {parsed.digest_hex}")
    _tell(found)
    if tools is None:
        note("no daemon answers: the arguments of tools and the names of what there is were not checked")


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


def _warnings(
    app: App, parsed: policy_check.ParsedPolicy, tools: list[ToolSpec] | None
) -> list[policy_unknown.PolicyWarning]:
    if tools is None:
        return policy_unknown.warnings_of(parsed, None)
    client, kinds = app.client(), policy_unknown.kinds_in(parsed)
    names: dict[str, frozenset[str]] = {"Tool": frozenset(tool.id for tool in tools)}
    with _where_told():
        if kinds & {"Agent", "Group"}:
            agents = client.get("/v1/agents", AgentList).answer.agents
            people = client.get("/v1/operators", OperatorList).answer.operators
            names["Agent"] = frozenset(agent.name for agent in agents if not agent.revoked_at)
            names["Agent"] |= FIXED_AGENTS.union(person.name for person in people if not person.revoked_at)
            names["Group"] = frozenset(group for agent in agents if not agent.revoked_at for group in agent.groups)
    with _where_told():
        if "Server" in kinds:
            servers = client.get("/v1/mcp/servers", ServerList).answer.servers
            names["Server"] = frozenset(server.id for server in servers)
    with _where_told():
        if "Provider" in kinds:
            providers = client.get("/v1/providers", ProviderList).answer.providers
            names["Provider"] = frozenset(provider.id for provider in providers)
    return policy_unknown.warnings_of(parsed, policy_unknown.Known(names))


@contextmanager
def _where_told() -> Iterator[None]:
    """Go on without what a daemon does not tell: one that offers only the contract's endpoints, or another role's."""
    try:
        yield
    except BriefcaseError as error:
        if error.code not in UNTOLD:
            raise


def _tell(found: Sequence[policy_unknown.PolicyWarning]) -> None:
    for one in found:
        complain(msgspec.to_builtins(one), label="warning")


def whole_digest(client: Client, written: str) -> str:
    """The digest of the history that was meant.

    Raises:
        CallerError: none or several policies of it begin so (`not_found`), or it is too short to be safe.
    """
    if not _DIGEST.fullmatch(written.lower()):
        raise CallerError(f"expected the SHA-256 of a policy, or at least 8 digits of it, got `{written}`")
    kept = client.get("/v1/policy/history", PolicyHistoryList).answer.policies
    found = sorted({one.policy_hash_hex for one in kept if one.policy_hash_hex.startswith(written.lower())})
    if len(found) != 1:
        how_many = f"{len(found)} policies of the history begin" if found else "no policy of the history begins"
        raise CallerError(f"{how_many} with `{written}`", code="not_found", hint="see `briefcase policy history`")
    return found[0]


def known_tools(app: App) -> list[ToolSpec] | None:
    """The running daemon's tools; None where no daemon runs."""
    try:
        tools = app.client().get("/v1/tools", ToolList, clients="true").answer.tools
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
