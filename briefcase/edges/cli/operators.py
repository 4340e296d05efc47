"""`briefcase operators`: the people who work with the daemon, each by name, with a role and a token shown once."""

from __future__ import annotations

import click

from briefcase.core.wire.operators import OperatorCreated, OperatorList, OperatorRevoked
from briefcase.edges.cli.app import App, check_name, json_option, pass_app
from briefcase.edges.cli.client import path_of
from briefcase.edges.cli.late import render
from briefcase.edges.cli.lazy import LazyGroup, example
from briefcase.edges.cli.messages import note
from briefcase.edges.cli.names import complete_operator


@click.group(
    cls=LazyGroup, epilog=example("briefcase operators add ann --role approver", "briefcase operators revoke ann")
)
def operators() -> None:
    """Name the people who operate, approve or audit, each with a token."""


@operators.command("add", epilog=example("briefcase operators add ann --role approver"))
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["operator", "approver", "auditor"]),
    required=True,
    help="operator: everything. approver: sees and decides what waits, nothing else. auditor: reads receipts.",
)
@json_option
@pass_app
def add_operator(app: App, *, name: str, role: str, as_json: bool) -> None:
    """Let a person in and print their token.

    The token is printed once: it is not stored, so it cannot be shown again. Receipts name the person from then on,
    for whatever is done or decided with it.
    """
    reply = app.client().post("/v1/operators", OperatorCreated, {"name": name, "role": role})
    if as_json:
        app.json(reply.document)
        return
    click.echo(reply.answer.token)
    note(f"the token of `{name}`, shown this once: they set it as BRIEFCASE_AUTH_TOKEN")


@operators.command("list", epilog=example("briefcase operators list"))
@json_option
@pass_app
def list_operators(app: App, *, as_json: bool) -> None:
    """List the people by name, the revoked too."""
    reply = app.client().get("/v1/operators", OperatorList)
    if as_json:
        app.json(reply.document)
        return
    rows = [
        (
            person.name,
            person.role,
            render.styled("revoked" if person.revoked_at else "active"),
            render.when(person.revoked_at or person.created_at),
            person.added_by,
        )
        for person in reply.answer.operators
    ]
    app.screen.table(
        ("NAME", "ROLE", "STATUS", "SINCE", "ADDED BY"),
        rows,
        empty="nobody has a token of their own: `briefcase operators add NAME --role approver`",
    )


@operators.command("revoke", epilog=example("briefcase operators revoke ann"))
@click.argument("name", callback=check_name, shell_complete=complete_operator)
@json_option
@pass_app
def revoke_operator(app: App, *, name: str, as_json: bool) -> None:
    """End a person's access: their token is refused from now on."""
    reply = app.client().post(path_of("v1", "operators", name, "revoke"), OperatorRevoked)
    if as_json:
        app.json(reply.document)
    else:
        app.screen.line(f"revoked `{name}`")
