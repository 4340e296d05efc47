"""`briefcase witness`: who cosigns checkpoints of the receipt log, so that nobody can rewrite it unseen."""

from __future__ import annotations

from typing import Final

import click

from briefcase.core.wire.witnesses import WitnessList, WitnessRecord
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.late import render
from briefcase.edges.cli.lazy import LazyGroup, example
from briefcase.edges.cli.messages import note

PATH: Final = "/v1/witnesses"
_URL: Final = "https://witness.example/w1"
_KEY: Final = "witness.example/w1+5be4baa8+BMV/TxL5npD502OJZuOzMDbR0hKuNaWy6tz4yyVVtEOk"


@click.group(cls=LazyGroup, epilog=example(f"briefcase witness add {_URL} --key {_KEY}", "briefcase witness list"))
def witness() -> None:
    """Have others vouch for the receipt log.

    The daemon sends each witness its signed checkpoints; a witness cosigns only what continues what it saw before.
    Calls never wait for one.
    """


@witness.command("add", epilog=example(f"briefcase witness add {_URL} --key {_KEY}"))
@click.argument("url", metavar="URL")
@click.option("--key", required=True, metavar="VKEY", help="Its verifier key (C2SP): Ed25519 or ML-DSA-44.")
@json_option
@pass_app
def add_witness(app: App, *, url: str, key: str, as_json: bool) -> None:
    """Send checkpoints to a witness from now on, and take its cosignatures.

    URL is its submission prefix. Whoever runs it has to know this log's key, which `briefcase witness list` prints.
    """
    reply = app.client().post(PATH, WitnessRecord, {"url": url, "key": key})
    if as_json:
        app.json(reply.document)
        return
    app.screen.line(f"added `{reply.answer.name}` ({reply.answer.algorithm}): it is asked now")
    note("give whoever runs it this log's key, and see how it goes: `briefcase witness list`")


@witness.command("list", epilog=example("briefcase witness list", "briefcase witness list --json"))
@json_option
@pass_app
def list_witnesses(app: App, *, as_json: bool) -> None:
    """List the witnesses, how far each has cosigned, and this log's own key."""
    reply = app.client().get(PATH, WitnessList)
    if as_json:
        app.json(reply.document)
        return
    found = reply.answer
    rows = [
        (
            f"{one.name}+{one.key_id}",
            one.algorithm,
            render.styled(one.state),
            f"{one.size:,}" if one.size else "",
            render.when(one.cosigned_at) if one.cosigned_at else "",
            one.url,
        )
        for one in found.witnesses
    ]
    headers = ("WITNESS", "KEY", "STATE", ">RECEIPTS", "COSIGNED", "URL")
    app.screen.table(headers, rows, empty="no witnesses: `briefcase witness add URL --key VKEY`")
    app.screen.fields([("this log's key", found.log_vkey), ("enough are", found.quorum)])
    for one in found.witnesses:
        if one.problem:
            note(f"`{one.name}` {one.problem}" + (f"; {one.hint}" if one.hint else ""))


@witness.command("remove", epilog=example("briefcase witness remove witness.example/w1"))
@click.argument("name", metavar="NAME")
@json_option
@pass_app
def remove_witness(app: App, *, name: str, as_json: bool) -> None:
    """Send a witness nothing more.

    NAME is its key's, or NAME+ID where several have it.
    """
    reply = app.client().post(f"{PATH}/remove", WitnessRecord, {"witness": name})
    if as_json:
        app.json(reply.document)
    else:
        app.screen.line(f"removed `{reply.answer.name}`")
