"""`briefcase mcp`: the MCP servers behind the daemon, and what of them an operator has accepted."""

from __future__ import annotations

import difflib
from typing import Final

import click
import orjson

from briefcase.core.characters.marks import visible_text
from briefcase.core.wire.servers import (
    Accepted,
    Differences,
    ServerDeleted,
    ServerDetail,
    ServerList,
    ServerSummary,
)
from briefcase.edges.cli.app import App, check_name, json_option, pass_app
from briefcase.edges.cli.client import path_of
from briefcase.edges.cli.late import render
from briefcase.edges.cli.lazy import LazyGroup, example
from briefcase.edges.cli.mcp_import import import_servers
from briefcase.edges.cli.mcp_logins import log_in, revoke_login, show_client_metadata
from briefcase.edges.cli.messages import note
from briefcase.edges.cli.names import complete_server
from briefcase.model.errors import CallerError
from briefcase.model.types import JsonObject, JsonValue

SERVERS: Final = ("v1", "mcp", "servers")
URL_PREFIXES: Final = ("http://", "https://")


@click.group(cls=LazyGroup, epilog=example("briefcase mcp servers list"))
def mcp() -> None:
    """Put MCP servers behind the daemon."""


mcp.add_command(show_client_metadata)
mcp.add_command(import_servers)


@mcp.group(
    cls=LazyGroup,
    epilog=example("briefcase mcp servers upsert time -- uvx mcp-server-time", "briefcase mcp servers list"),
)
def servers() -> None:
    """Describe servers, log in to them, look at what they offer, accept it."""


servers.add_command(log_in)
servers.add_command(revoke_login)


@servers.command("list", epilog=example("briefcase mcp servers list"))
@json_option
@pass_app
def list_servers(app: App, *, as_json: bool) -> None:
    """List the servers, how they are, and how many tools they offer."""
    reply = app.client().get(path_of(*SERVERS), ServerList)
    if as_json:
        app.json(reply.document)
        return
    rows = [
        (
            server.id,
            render.styled(server.state),
            server.endpoint_url,
            str(server.tools),
            str(server.held),
            str(server.unusable),
            server.problem,
        )
        for server in reply.answer.servers
    ]
    columns = ("SERVER", "STATE", "ADDRESS", "TOOLS", "HELD BACK", "UNUSABLE", "PROBLEM")
    app.screen.table(columns, rows, empty="no servers: `briefcase mcp servers upsert ID URL`")


@servers.command("show", epilog=example("briefcase mcp servers show time"))
@click.argument("server_id", metavar="ID", callback=check_name, shell_complete=complete_server)
@json_option
@pass_app
def show_server(app: App, *, server_id: str, as_json: bool) -> None:
    """Show one server's description, with its secrets by name."""
    reply = app.client().get(path_of(*SERVERS, server_id), ServerDetail)
    if as_json:
        app.json(reply.document)
        return
    server, summary = reply.answer, reply.answer.summary
    app.screen.line(visible_text(" ".join((summary.endpoint_url, *server.args))))
    app.screen.line(f"{summary.state} {summary.revision} {summary.problem}".strip())
    for name, secret in sorted(server.secrets.items()):
        app.screen.line(f"{name} is filled from the secret `{secret}`")
    for problem in server.problems:
        app.screen.line(visible_text(f"{problem.name} cannot be used: {problem.problem}"))
    for line in server.stderr:
        app.screen.line(visible_text(f"its process wrote: {line}"))


@servers.command(
    "upsert",
    epilog=example(
        "briefcase mcp servers upsert docs https://docs.example/mcp --bearer-secret docs-token",
        "briefcase mcp servers upsert git --secret-env GIT_TOKEN=git-token -- uvx mcp-server-git",
        "briefcase mcp servers upsert files --category 'read_*=read' -- npx -y server-filesystem /srv",
    ),
)
@click.argument("server_id", metavar="ID", callback=check_name, shell_complete=complete_server)
@click.argument("target", nargs=-1, required=True, metavar="URL | -- COMMAND [ARGS]...")
@click.option("--env", "env", multiple=True, metavar="NAME=VALUE", help="A variable for the command; repeat for more.")
@click.option("--secret-env", multiple=True, metavar="NAME=SECRET", help="A variable filled from the vault.")
@click.option("--bearer-secret", metavar="SECRET", help="The vault's secret to send as the bearer token.")
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="A header of no secret to send.")
@click.option(
    "--header-secret",
    "header_secrets",
    multiple=True,
    metavar="NAME=[PREFIX ]SECRET",
    help="A header filled from the vault, `X-Api-Key=key` or `Authorization=token key`.",
)
@click.option("--oauth-client-id", default="", metavar="ID", help="The client that is registered for logging in.")
@click.option("--oauth-client-secret", metavar="SECRET", help="The vault's secret that is the client's own.")
@click.option("--oauth-issuer", default="", metavar="URL", help="The only authorization server the client is for.")
@click.option("--oauth-client-metadata", default="", metavar="URL", help="Where our client metadata is published.")
@click.option("--cwd", default="", metavar="DIR", help="Where the command runs.")
@click.option("--category", "categories", multiple=True, metavar="GLOB=CATEGORY", help="What matching tools are.")
@click.option("--cost-usd", "costs", multiple=True, metavar="GLOB=USD", help="What a call of matching tools costs.")
@click.option("--hide", "hidden", multiple=True, metavar="GLOB", help="Tools that are not offered at all.")
@click.option("--timeout-secs", type=click.FloatRange(0.1, 600), help="How long a call may take; else as all calls.")
@click.option(
    "--start-timeout-secs",
    type=click.FloatRange(1, 600),
    default=30.0,
    show_default=True,
    help="How long its handshake, and its listing, may take.",
)
@click.option(
    "--max-message-bytes",
    type=click.IntRange(64 << 10, 256 << 20),
    default=32 << 20,
    show_default=True,
    help="How large one message of it may be; a larger one fails its call.",
)
@click.option("--review", is_flag=True, help="Hold the first definitions back too, until you accepted them.")
@click.option("--allow-incompatible", is_flag=True, help="Use it in ga mode although it does not announce aacp_v1.")
@json_option
@pass_app
def upsert_server(  # noqa: PLR0913 - one parameter for each option
    app: App,
    *,
    server_id: str,
    target: tuple[str, ...],
    env: tuple[str, ...],
    secret_env: tuple[str, ...],
    bearer_secret: str | None,
    headers: tuple[str, ...],
    header_secrets: tuple[str, ...],
    oauth_client_id: str,
    oauth_client_secret: str | None,
    oauth_issuer: str,
    oauth_client_metadata: str,
    cwd: str,
    categories: tuple[str, ...],
    costs: tuple[str, ...],
    hidden: tuple[str, ...],
    timeout_secs: float | None,
    start_timeout_secs: float,
    max_message_bytes: int,
    review: bool,
    allow_incompatible: bool,
    as_json: bool,
) -> None:
    """Add a server, or replace its description.

    A URL is reached over HTTP. Anything else is a command the daemon starts and ends with itself; write `--` before it.
    What it lists at the first connection is accepted, unless --review; what changes later waits for
    `briefcase mcp servers diff ID`.
    """
    rules: list[JsonValue] = [{"tool": glob, "category": category} for glob, category in map(_pair, categories)]
    rules += [{"tool": glob, "cost_microusd": _microusd(usd)} for glob, usd in map(_pair, costs)]
    rules += [{"tool": glob, "hidden": True} for glob in hidden]
    body: JsonObject = {
        "env": dict(map(_pair, env)),
        "secret_env": dict(map(_pair, secret_env)),
        "headers": dict(map(_pair, headers)),
        "header_secrets": {name: _header_secret(value) for name, value in map(_pair, header_secrets)},
        "bearer_secret": bearer_secret,
        "timeout_ms": round((timeout_secs or 0) * 1_000),
        "start_timeout_ms": round(start_timeout_secs * 1_000),
        "max_message_bytes": max_message_bytes,
        "oauth": {
            "client_id": oauth_client_id,
            "client_secret": oauth_client_secret,
            "issuer": oauth_issuer,
            "client_metadata_url": oauth_client_metadata,
        },
        "cwd": cwd,
        "rules": rules,
        "review": review,
        "allow_incompatible": allow_incompatible,
    }
    if target[0].startswith(URL_PREFIXES):
        if len(target) > 1:
            raise CallerError(f"expected one URL, got `{target[1]}` after it")
        body["endpoint_url"] = target[0]
    else:
        body["command"], body["args"] = target[0], list[JsonValue](target[1:])
    reply = app.client().post(path_of(*SERVERS, server_id), ServerSummary, body)
    if as_json:
        app.json(reply.document)
    else:
        app.screen.line(f"`{server_id}` is {reply.answer.endpoint_url}")
        note("it is connected to in the background: see `briefcase mcp servers list`")


@servers.command("delete", epilog=example("briefcase mcp servers delete time"))
@click.argument("server_id", metavar="ID", callback=check_name, shell_complete=complete_server)
@json_option
@pass_app
def delete_server(app: App, *, server_id: str, as_json: bool) -> None:
    """Remove a server, end its process, forget what was accepted of it."""
    reply = app.client().post(path_of(*SERVERS, server_id, "delete"), ServerDeleted)
    if as_json:
        app.json(reply.document)
    else:
        app.screen.line(f"removed `{server_id}`")


@servers.command("diff", epilog=example("briefcase mcp servers diff git", "briefcase mcp servers accept git DIGEST"))
@click.argument("server_id", metavar="ID", callback=check_name, shell_complete=complete_server)
@json_option
@pass_app
def show_diff(app: App, *, server_id: str, as_json: bool) -> None:
    """Show how a server's tools differ from what was accepted."""
    reply = app.client().get(path_of(*SERVERS, server_id, "diff"), Differences)
    if as_json:
        app.json(reply.document)
        return
    listed = reply.answer
    for change in listed.changes:
        before, after = _lines(change.before), _lines(change.after)
        names = (f"accepted/{change.name}", f"now/{change.name}")
        for line in difflib.unified_diff(before, after, *names, lineterm=""):
            app.screen.line(visible_text(line))
    if listed.changes:
        note(f"accept exactly this with `briefcase mcp servers accept {server_id} {listed.digest}`")
    else:
        app.screen.line("nothing differs")


@servers.command("accept", epilog=example("briefcase mcp servers accept git 0f3c...", "briefcase mcp servers diff git"))
@click.argument("server_id", metavar="ID", callback=check_name, shell_complete=complete_server)
@click.argument("digest")
@json_option
@pass_app
def accept_server(app: App, *, server_id: str, digest: str, as_json: bool) -> None:
    """Accept what a server lists now.

    It must still be what DIGEST stands for, which `briefcase mcp servers diff ID` printed.
    """
    reply = app.client().post(path_of(*SERVERS, server_id, "accept"), Accepted, {"digest": digest})
    if as_json:
        app.json(reply.document)
    else:
        app.screen.line(f"accepted {reply.answer.tools} tools of `{server_id}`")


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise CallerError(f"expected `NAME=VALUE`, got `{name}`")  # never the value: it may be someone's secret
    return name, value


def _header_secret(text: str) -> JsonValue:
    """`PREFIX SECRET`, or a secret's name alone."""
    prefix, space, secret = text.rpartition(" ")
    return {"secret": secret, "prefix": prefix + space}


def _microusd(text: str) -> int:
    try:
        return render.parse_dollars(text)
    except ValueError as error:
        raise CallerError(str(error)) from None


def _lines(definition: JsonObject | None) -> list[str]:
    if definition is None:
        return []
    return orjson.dumps(definition, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode().splitlines()
