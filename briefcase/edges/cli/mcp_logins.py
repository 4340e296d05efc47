"""`briefcase mcp servers oauth-login` and `oauth-revoke`: log-ins at MCP servers, which the daemon holds."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import click

from briefcase.core.wire.servers import ServerLoginRevoked, ServerLoginStarted, ServerNamed
from briefcase.edges.cli.app import App, check_name, json_option, pass_app
from briefcase.edges.cli.client import path_of
from briefcase.edges.cli.late import oauth_registration
from briefcase.edges.cli.lazy import example
from briefcase.edges.cli.logins import Waiting, code_of, login_options, obtain, revocation_words
from briefcase.edges.cli.messages import note
from briefcase.edges.cli.names import complete_server
from briefcase.model.errors import CallerError

_SERVERS = ("v1", "mcp", "servers")


class _Wanted(NamedTuple):
    """What one log-in is made with."""

    server_id: str
    client_id: str
    scope: str | None


@click.command(
    "oauth-login",
    epilog=example(
        "briefcase mcp servers oauth-login docs",
        "briefcase mcp servers oauth-login docs --scope 'read write'",
        "briefcase mcp servers oauth-login docs --paste",
    ),
)
@click.argument("server_id", metavar="ID", callback=check_name, shell_complete=complete_server)
@click.option("--scope", help="What to ask for; by default what the server asked for.")
@click.option("--client-id", default="", help="Who its authorization server knows this program as.")
@login_options
@json_option
@pass_app
def log_in(app: App, /, *, server_id: str, scope: str | None, client_id: str, as_json: bool, **how: object) -> None:
    """Log in to a server, in a browser.

    Opens the page of the server's authorization server and waits on loopback for its answer. With --paste nothing is
    opened and nothing listens: the browser may be on any machine, ends on an address it cannot load, and that address
    is what to paste.
    """
    wanted = _Wanted(server_id, client_id, scope)
    started, answer, _ = obtain(partial(_start, app, wanted), Waiting.of(how))
    if answer.state != started.state:
        raise CallerError("the answer belongs to another log-in: its `state` differs", hint="start the log-in again")
    body = {"code": code_of(answer, "authorization server"), "state": answer.state, "iss": answer.iss}
    reply = app.client().post(path_of(*_SERVERS, server_id, "oauth", "exchange"), ServerNamed, body)
    if as_json:
        app.json(reply.document)
        return
    app.screen.line(f"logged in to `{server_id}`")
    note("it is connected to in the background: see `briefcase mcp servers list`")


@click.command("oauth-revoke", epilog=example("briefcase mcp servers oauth-revoke docs"))
@click.argument("server_id", metavar="ID", callback=check_name, shell_complete=complete_server)
@json_option
@pass_app
def revoke_login(app: App, *, server_id: str, as_json: bool) -> None:
    """End a log-in: here always, and at its server where that can be done."""
    reply = app.client().post(path_of(*_SERVERS, server_id, "oauth", "revoke"), ServerLoginRevoked)
    if as_json:
        app.json(reply.document)
    else:
        app.screen.line(f"the log-in at `{server_id}` is ended here, {revocation_words(reply.answer)}")


@click.command("client-metadata", epilog=example("briefcase mcp client-metadata https://example.org/briefcase.json"))
@click.argument("url")
@pass_app
def show_client_metadata(app: App, /, *, url: str) -> None:
    """Print the client metadata document to publish at URL.

    Authorization servers that read such documents then know this program without being told of it before. Name it with
    `briefcase mcp servers upsert ID ADDRESS --oauth-client-metadata URL`.
    """
    app.json({"client_id": url, **oauth_registration.client_document()})


def _start(app: App, wanted: _Wanted, redirect_uri: str) -> ServerLoginStarted:
    body = {"client_id": wanted.client_id, "redirect_uri": redirect_uri, "scope": wanted.scope}
    return app.client().post(path_of(*_SERVERS, wanted.server_id, "oauth", "start"), ServerLoginStarted, body).answer
