"""`briefcase mcp import`: a client's whole list of MCP servers, put behind the daemon."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from briefcase.core.characters.marks import visible_text
from briefcase.core.wire.secrets import SecretName, SecretNames
from briefcase.core.wire.servers import ServerList, ServerSummary
from briefcase.edges.cli import client_files
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.client import Client, path_of
from briefcase.edges.cli.lazy import example
from briefcase.edges.cli.messages import note
from briefcase.model.errors import CallerError
from briefcase.model.types import JsonObject, JsonValue

MAX_FILE_BYTES: Final = 1 << 20


@click.command(
    "import",
    epilog=example(
        "briefcase mcp import ~/.cursor/mcp.json --dry-run",
        "briefcase mcp import .vscode/mcp.json",
        "briefcase mcp import ~/.config/zed/settings.json --replace",
    ),
)
@click.argument("file", metavar="FILE")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("--replace", is_flag=True, help="Replace servers and secrets of the same name.")
@json_option
@pass_app
def import_servers(app: App, *, file: str, dry_run: bool, replace: bool, as_json: bool) -> None:
    """Put the servers of a client's own file behind the daemon.

    `-` reads it from standard input. Takes the files of Claude Desktop, Claude Code, Cursor, VS Code and Zed. Values
    that are secrets go into the vault, and the servers are described with their names. What cannot be carried is left
    out, and said. The file stays as it is: take the servers out of it, and the secrets, once the client speaks to
    `briefcase gateway`.
    """
    found = client_files.read_client_file(_read(file), app.environ)
    done = take_in(app.client(), found, dry_run=dry_run, replace=replace)
    taken = [entry for entry in done if "problem" not in entry]
    if as_json:
        app.json({"servers": list[JsonValue](done), "dry_run": dry_run})
    else:
        _show(app, taken, [entry for entry in done if "problem" in entry], is_dry=dry_run)
    if not taken:
        raise CallerError(f"nothing was imported of {len(done)} servers")


def take_in(
    client: Client, found: Sequence[client_files.Found | client_files.LeftOut], *, dry_run: bool, replace: bool
) -> list[JsonObject]:
    """Put servers behind the daemon, their secrets into the vault, and say of each what was done or why not."""
    servers = {server.id for server in client.get(path_of("v1", "mcp", "servers"), ServerList).answer.servers}
    secrets = set(client.get("/v1/secrets", SecretNames).answer.secrets)
    done: list[JsonObject] = []
    for one in found:
        if isinstance(one, client_files.LeftOut):
            done.append({"name": one.name, "problem": one.problem})
            continue
        problem = "" if replace else _taken(one, servers, secrets)
        if not problem and not dry_run:
            try:
                for name, value in one.secrets.items():
                    client.put(path_of("v1", "secrets", name), SecretName, {"value": value})
                client.post(path_of("v1", "mcp", "servers", one.server_id), ServerSummary, one.body)
            except CallerError as error:
                problem = error.message
        if problem:
            done.append({"name": one.name, "problem": problem})
            continue
        done.append(
            {
                "name": one.name,
                "server_id": one.server_id,
                "address": str(one.body.get("endpoint_url") or f"stdio:{one.body['command']}"),
                "secrets": list[JsonValue](sorted(one.secrets)),
                "wanted": list[JsonValue](sorted(set(one.wanted) - secrets)),
            }
        )
    return done


def _show(app: App, taken: list[JsonObject], left: list[JsonObject], *, is_dry: bool) -> None:
    rows = [
        (str(entry["server_id"]), visible_text(str(entry["address"])), ", ".join(map(str, _list(entry["secrets"]))))
        for entry in taken
    ]
    app.screen.table(("SERVER", "ADDRESS", "SECRETS IN THE VAULT"), rows, empty="nothing to import")
    for entry in left:
        note(visible_text(f"left out `{entry['name']}`: {entry['problem']}"))
    for secret in [secret for entry in taken for secret in _list(entry["wanted"])]:
        note(f"the file has no value for `{secret}`: `briefcase secrets set {secret}`")
    if taken:
        note("nothing was done" if is_dry else "they are connected to in the background: `briefcase mcp servers list`")


def _taken(one: client_files.Found, servers: set[str], secrets: set[str]) -> str:
    """Why an import would overwrite something; empty where it does not."""
    if one.server_id in servers:
        return f"there is a server `{one.server_id}` already: `--replace` replaces it"
    both = sorted(secrets & one.secrets.keys())
    return f"there is a secret `{both[0]}` already: `--replace` replaces it" if both else ""


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def _read(file: str) -> bytes:
    try:
        with Path("/dev/stdin" if file == "-" else file).expanduser().open("rb") as source:
            data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1) if file == "-" else source.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CallerError(f"cannot read `{file}`: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise CallerError(f"expected a file of at most {MAX_FILE_BYTES} bytes")
    return data
