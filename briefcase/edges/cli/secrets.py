"""`briefcase secrets`: the credentials that tools are called with. A value goes in and never comes out again.

A value is read from a prompt or from standard input. What stands on the command line is in the shell's history and in
the process table, so a value given there is refused, and the person told to replace it.
"""

from __future__ import annotations

import sys
from typing import Final

import click

from briefcase.core.wire.secrets import SecretHosts, SecretName, SecretNames
from briefcase.edges.cli.app import App, check_name, json_option, pass_app
from briefcase.edges.cli.client import path_of
from briefcase.edges.cli.lazy import LazyGroup, example
from briefcase.edges.cli.names import complete_secret
from briefcase.model.errors import CallerError
from briefcase.model.types import JsonValue

MAX_VALUE_BYTES: Final = 64 << 10
HOST_HELP: Final = "Where it may go: HOST, HOST:PORT, or process/ID for the MCP server ID; repeat for more."


@click.group(
    cls=LazyGroup,
    epilog=example("briefcase secrets set tickets-api", "pass show tickets | briefcase secrets set tickets-api"),
)
def secrets() -> None:
    """Keep the credentials that tools are called with."""


@secrets.command(
    "set", epilog=example("briefcase secrets set tickets-api", "briefcase secrets set tickets-api < token.txt")
)
@click.argument("name", callback=check_name, shell_complete=complete_secret)
@click.argument("more", nargs=-1, metavar="")
@click.option("--host", "hosts", multiple=True, metavar="HOST", help=HOST_HELP)
@json_option
@pass_app
def set_secret(app: App, *, name: str, more: tuple[str, ...], hosts: tuple[str, ...], as_json: bool) -> None:
    """Store a secret, or replace it.

    Asks for the value twice; where standard input is no terminal, reads it from there, less one line ending at its end.
    Without --host a secret may go where it was bound to, else to the one host that a tool or a server names it for.
    """
    if more:
        raise CallerError(
            "expected only the secret's name, got a value on the command line",
            hint="it is in your shell's history now: take another value, and enter it at the prompt or through a pipe",
        )
    value = read_secret("value")
    body: dict[str, JsonValue] = {"value": value}
    if hosts:
        body["hosts"] = [*hosts]
    reply = app.client().put(path_of("v1", "secrets", name), SecretName, body)
    if as_json:
        app.json(reply.document)
    else:
        app.screen.line(f"stored `{name}`")


@secrets.command("bind", epilog=example("briefcase secrets bind tickets-api --host desk.example.com"))
@click.argument("name", callback=check_name, shell_complete=complete_secret)
@click.option("--host", "hosts", multiple=True, required=True, metavar="HOST", help=HOST_HELP)
@json_option
@pass_app
def bind_secret(app: App, *, name: str, hosts: tuple[str, ...], as_json: bool) -> None:
    """Say where a secret may go, in place of what was said before."""
    reply = app.client().put(path_of("v1", "secrets", name, "hosts"), SecretHosts, {"hosts": [*hosts]})
    if as_json:
        app.json(reply.document)
    else:
        app.screen.line(f"`{name}` may go to {', '.join(reply.answer.hosts)}")


@secrets.command("list", epilog=example("briefcase secrets list"))
@json_option
@pass_app
def list_secrets(app: App, *, as_json: bool) -> None:
    """List the names of the secrets and where each may go, never the values."""
    reply = app.client().get("/v1/secrets", SecretNames)
    if as_json:
        app.json(reply.document)
        return
    kept = reply.answer
    rows = [(name, ", ".join(kept.hosts.get(name, ()))) for name in kept.secrets]
    app.screen.table(("SECRET", "HOSTS"), rows, empty="no secrets: `briefcase secrets set NAME`")


@secrets.command("delete", epilog=example("briefcase secrets delete tickets-api"))
@click.argument("name", callback=check_name, shell_complete=complete_secret)
@json_option
@pass_app
def delete_secret(app: App, *, name: str, as_json: bool) -> None:
    """Remove a secret; tools that need it fail until it is set again."""
    reply = app.client().delete(path_of("v1", "secrets", name), SecretName)
    if as_json:
        app.json(reply.document)
    else:
        app.screen.line(f"deleted `{name}`")


def read_secret(label: str, *, is_new: bool = True) -> str:
    """Read a secret from a prompt with this label, or, where standard input is no terminal, from there.

    Args:
        label: the prompt.
        is_new: whether a prompt asks for it twice.

    Raises:
        CallerError: it is empty, too long, or not UTF-8.
    """
    if sys.stdin.isatty():
        again = "again" if is_new else False
        value: str = click.prompt(label, hide_input=True, confirmation_prompt=again, err=True)
        return value
    data = sys.stdin.buffer.read(MAX_VALUE_BYTES + 2)
    if len(data) > MAX_VALUE_BYTES:
        raise CallerError(f"expected a secret of at most {MAX_VALUE_BYTES} bytes on standard input")
    data = data.removesuffix(b"\n").removesuffix(b"\r")
    try:
        value = data.decode()
    except UnicodeDecodeError:
        raise CallerError(
            "expected a secret in UTF-8", hint="encode binary values, for example with `base64`"
        ) from None
    if not value:
        raise CallerError("expected a secret on standard input, got nothing")
    return value
