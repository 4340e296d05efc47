"""`briefcase setup`: a coding agent's client behind the daemon, and back.

 1. what each of the client's files would hold, and whether that can be written at all
 2. the servers that the client has now, behind the daemon (`--move-servers`)
 3. the agent, and its token in a file of its own
 4. the record, then the files, each with its old content beside it
 5. one call through the very command that the client will run, and one event through its hook

Where 3 to 5 fail, what was done is undone: a client whose hooks block must not be left with hooks that fail.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import click

from briefcase.core.wire.agents import AgentCreated, AgentRevoked
from briefcase.edges.cli import client_files, setup_record
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.client import path_of
from briefcase.edges.cli.client_setups import CLIENTS, ClientFile, Runs, edited, servers_of, without_servers
from briefcase.edges.cli.lazy import example
from briefcase.edges.cli.mcp_import import take_in
from briefcase.edges.cli.messages import note
from briefcase.edges.cli.setup_record import Place, Record, Written
from briefcase.model.errors import BriefcaseError, CallerError, UpstreamError
from briefcase.model.types import JsonObject, JsonValue

TRY_TIMEOUT_S: Final = 30.0
TRIED_TOOL: Final = "echo"
CALL_ID: Final = 2

_OPENING: Final[JsonObject] = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "briefcase-setup", "version": "1"},
}


class Planned(NamedTuple):
    """A file, what it holds and what it will hold, and the servers that leave it."""

    file: ClientFile
    found: str | None
    content: str
    moved: tuple[str, ...]


@click.command(
    "setup",
    epilog=example(
        "briefcase setup claude-code --dry-run",
        "briefcase setup cursor --move-servers",
        "briefcase setup codex --undo",
    ),
)
@click.argument("client", type=click.Choice(tuple(CLIENTS)))
@click.option("--agent", metavar="NAME", help="The agent's name; the client's own name where it is left out.")
@click.option("--project", metavar="DIR", help="Write the files of this directory instead of the user's.")
@click.option("--move-servers", is_flag=True, help="Put the client's present MCP servers behind the daemon.")
@click.option("--dry-run", is_flag=True, help="Show what would be written, and do nothing.")
@click.option("--undo", is_flag=True, help="Leave the client's files as they were, and revoke the agent.")
@click.option("--keep-edits", is_flag=True, help="With --undo: keep later edits, and take out only what was written.")
@json_option
@pass_app
def setup(  # noqa: PLR0913 - a command's options
    app: App,
    *,
    client: str,
    agent: str | None,
    project: str | None,
    move_servers: bool,
    dry_run: bool,
    undo: bool,
    keep_edits: bool,
    as_json: bool,
) -> None:
    """Put a coding agent's client behind the daemon, or undo it.

    Makes an agent and its token, writes the client's own files (the MCP gateway, and hooks where the client has them,
    so that what fails blocks), keeps the old ones beside them and tries one call. The token lies in a file of its own.
    """
    top = None if project is None else Path(project).absolute()
    if top is not None and not top.is_dir():
        raise CallerError(f"expected `--project` to name a directory, got `{project}`")
    suffix = "" if top is None else f"-{hashlib.sha256(os.fsencode(top)).hexdigest()[:8]}"
    place = Place(_home_of_records(app.environ), f"{client}{suffix}")
    record = place.load()
    again = f"briefcase setup {client}" + ("" if project is None else f" --project {project}")
    if undo:
        if record is None:
            raise CallerError(f"`{client}` is not set up here", hint=f"`{again}` does it", code="not_found")
        _show(app, _undone(app, place, record, keeps_edits=keep_edits), as_json=as_json)
        return
    if record is not None:
        raise CallerError(f"`{client}` is set up already", hint=f"`{again} --undo` first", code="conflict")

    # 1. what would be written
    runs = Runs(program(), setup_record.carried(app.environ), str(place.token_file))
    files = CLIENTS[client].files(runs, _home(app.environ), app.environ, top)
    plans = [_planned(file) for file in files]
    setup_record.check_apart([plan.file.path for plan in plans])
    if dry_run:
        moved = [_moving(app, plan, dry_run=True) if move_servers else plan for plan in plans]
        _show(app, [line for plan in moved for line in _difference(plan)], as_json=as_json)
        return

    # 2. the servers that are there
    if move_servers:
        plans = [_moving(app, plan, dry_run=False) for plan in plans]
    _show(app, _set_up(app, place, (client, agent or client), runs, plans), as_json=as_json)
    note(f"restart {client} for it to read its files; `{again} --undo` leaves them as they were")


def program() -> list[str]:
    """The words that run this very program, by whole paths: a client has another `PATH`."""
    own = Path(sys.argv[0])
    if own.name == "briefcase" and own.is_file():
        return [str(own.absolute())]
    beside = Path(sys.executable).with_name("briefcase")
    return [str(beside)] if beside.is_file() else [sys.executable, "-m", "briefcase"]


def _set_up(app: App, place: Place, named: tuple[str, str], runs: Runs, plans: Sequence[Planned]) -> list[str]:
    """Take steps 3 to 5 for a client and its agent, or undo them."""
    client, agent = named
    # 3. the agent
    token = app.client().post("/v1/agents", AgentCreated, {"name": agent}).answer.token
    files = tuple(setup_record.written_as(plan.file.path, plan.found, plan.content, plan.file.edits) for plan in plans)
    record = Record(client, agent, str(place.token_file), files, tuple(name for plan in plans for name in plan.moved))
    try:
        # 4. the record, then the files
        place.save(record)
        place.keep_token(token)
        for written, plan in zip(files, plans, strict=True):
            setup_record.write_file(written, plan.found, plan.content)
        # 5. one call, and one event
        said = _try_gateway(runs)
        event = CLIENTS[client].first_event
        if event is not None:
            _try_hook(runs.hook(client), event)
    except BriefcaseError as error:
        _undone(app, place, record, keeps_edits=False)
        raise UpstreamError(f"it does not work, and was undone: {error.message}", hint=error.hint) from None
    done = [f"wrote `{written.path}`" + _beside(written) for written in files]
    done += [f"moved `{name}` behind the daemon" for name in record.moved]
    return [f"made the agent `{agent}`, its token in `{place.token_file}`", *done, f"tried one call: {said}"]


def _beside(written: Written) -> str:
    return f", the old one in `{written.kept}`" if written.found_hex else ""


def _undone(app: App, place: Place, record: Record, *, keeps_edits: bool) -> list[str]:
    done = setup_record.undo(record, keeps_edits=keeps_edits)
    try:
        app.client().post(path_of("v1", "agents", record.agent, "revoke"), AgentRevoked)
        done.append(f"revoked the agent `{record.agent}`")
    except BriefcaseError as error:
        note(f"the agent `{record.agent}` is not revoked ({error.message}): `briefcase agents revoke {record.agent}`")
    place.forget()
    done += [f"`{name}` stays behind the daemon: `briefcase mcp servers delete {name}`" for name in record.moved]
    return done


def _planned(file: ClientFile) -> Planned:
    found = setup_record.read_text(file.path)
    try:
        return Planned(file, found, edited(file, found or ""), ())
    except CallerError as error:
        raise CallerError(f"`{file.path}`: {error.message}", hint=error.hint) from None


def _moving(app: App, plan: Planned, *, dry_run: bool) -> Planned:
    """The plan with the client's servers out of its file, once the daemon has them."""
    file, found = plan.file, plan.found or ""
    if not file.servers:
        return plan
    servers = client_files.read_client_file(servers_of(file, found), app.environ)
    done = take_in(app.client(), servers, dry_run=dry_run, replace=False)
    for entry in done:
        if "problem" in entry:
            note(f"left `{entry['name']}` in `{file.path}`: {entry['problem']}")
        wanted = entry.get("wanted")
        for name in wanted if isinstance(wanted, list) else ():
            note(f"the file has no value for `{name}`: `briefcase secrets set {name}`")
    taken = [entry for entry in done if "problem" not in entry]
    content = without_servers(file, found, [str(entry["name"]) for entry in taken])
    return Planned(file, plan.found, edited(file, content), tuple(str(entry["server_id"]) for entry in taken))


def _difference(plan: Planned) -> list[str]:
    path = str(plan.file.path)
    before, after = (plan.found or "").splitlines(), plan.content.splitlines()
    return list(difflib.unified_diff(before, after, path, path, lineterm=""))


# --- trying it --------------------------------------------------------------------------------------------------------


def _try_gateway(runs: Runs) -> str:
    """Call one tool as the client will, and give what came of it.

    Raises:
        UpstreamError: the gateway does not start, or does not answer.
    """
    call: JsonObject = {"name": TRIED_TOOL, "arguments": {"text": "hello from briefcase setup"}}
    messages: list[JsonObject] = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": _OPENING},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": CALL_ID, "method": "tools/call", "params": call},
    ]
    command = [*runs.program, "gateway"]
    sent = "".join(f"{json.dumps(message)}\n" for message in messages)
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            command, bufsize=0, env=_clean(runs.env), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said
        ) as gateway,
    ):
        too_long = threading.Timer(TRY_TIMEOUT_S, gateway.kill)
        too_long.start()
        try:
            answer = _answer_of(gateway, sent)
        finally:
            too_long.cancel()
            gateway.terminate()
        if answer is not None:
            return _said(answer)
        said.seek(0)
        last = (said.read().decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        raise UpstreamError(f"the gateway gave no answer: {last}")


def _answer_of(gateway: subprocess.Popen[bytes], sent: str) -> JsonObject | None:
    """The answer to the call; the gateway leaves when its input ends, so that stays open until then."""
    if gateway.stdin is None or gateway.stdout is None:
        return None
    with contextlib.suppress(BrokenPipeError):  # it has left: its last words say why
        gateway.stdin.write(sent.encode())
    for line in gateway.stdout:
        answer = json.loads(line)
        if isinstance(answer, dict) and answer.get("id") == CALL_ID:
            return answer
    return None


def _said(answer: JsonObject) -> str:
    result = answer.get("result")
    if not isinstance(result, dict):
        raise UpstreamError(f"the gateway answered {json.dumps(answer.get('error'))}")
    return "a person or a policy stands before it" if result.get("isError") else f"`{TRIED_TOOL}` answered"


def _try_hook(command: str, event: JsonObject) -> None:
    """Tell the hook that a session begins.

    Raises:
        UpstreamError: it fails, and so would each call of the client.
    """
    try:
        ran = subprocess.run(
            ["/bin/sh", "-c", command],
            env=_clean({}),
            input=json.dumps(event),
            capture_output=True,
            text=True,
            timeout=TRY_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UpstreamError(f"the hook did not answer in {TRY_TIMEOUT_S:.0f} s") from None
    if ran.returncode:
        said = (ran.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise UpstreamError(f"the hook left with {ran.returncode}: {said}")


def _clean(env: Mapping[str, str]) -> dict[str, str]:
    """This environment as a client has it: without the operator's own variables of ours."""
    return {**{name: os.environ[name] for name in os.environ if not name.startswith("BRIEFCASE_")}, **env}


# --- where ------------------------------------------------------------------------------------------------------------


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ["HOME"]) if environ.get("HOME") else Path.home()


def _home_of_records(environ: Mapping[str, str]) -> Path:
    named = environ.get("XDG_CONFIG_HOME")
    return (Path(named) if named else _home(environ) / ".config") / "briefcase"


def _show(app: App, lines: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        app.json({"done": list[JsonValue](lines)})
        return
    for line in lines:
        app.screen.line(line)
