"""`briefcase fleet keys`: which key a control plane signs with, and another in its place."""

from __future__ import annotations

from typing import Final

import click

from briefcase.core.characters.marks import visible_text
from briefcase.core.wire.fleet import KeyList, KeyRecord
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.fleet_client import FleetClient
from briefcase.edges.cli.late import render
from briefcase.edges.cli.lazy import LazyGroup, example
from briefcase.edges.cli.messages import note
from briefcase.edges.client.reply import Reply
from briefcase.model.errors import CallerError

PATH: Final = "/v1/admin/keys"
PREPARED: Final = "prepared"
SIGNING: Final = frozenset({"prepared", "present"})


@click.group(cls=LazyGroup, epilog=example("briefcase fleet keys list", "briefcase fleet keys rotate"))
def keys() -> None:
    """The keys that sign what devices get."""


@keys.command("list", epilog=example("briefcase fleet keys list", "briefcase fleet keys list --json"))
@json_option
@pass_app
def list_keys(app: App, *, as_json: bool) -> None:
    """List the keys, the newest first, and how many processes hold each."""
    _show(app, FleetClient(app.environ).get(PATH, KeyList), as_json=as_json)


@keys.command(
    "rotate",
    epilog=example(
        "briefcase fleet keys rotate", "briefcase fleet keys rotate --switch", "briefcase fleet keys rotate --replace"
    ),
)
@click.option("--switch", "is_switch", is_flag=True, help="Sign with the key that is prepared, from now on.")
@click.option("--replace", "is_replacing", is_flag=True, help="Prepare another key in place of the prepared one.")
@json_option
@pass_app
def rotate(app: App, *, is_switch: bool, is_replacing: bool, as_json: bool) -> None:
    """Prepare the next signing key; then, with --switch, sign with it.

    Devices hear of a prepared key by the present one's word, and those that were away follow it later. A prepared key
    is in the key file of the process that made it: copy that file to every other process before the switch, which is
    refused while one of them does not hold the key. Nothing is done twice.
    """
    if is_switch and is_replacing:
        raise click.UsageError("expected `--switch` or `--replace`, got both")
    client = FleetClient(app.environ)
    body: dict[str, object] = {}
    if is_switch or is_replacing:
        body = {"switch_to" if is_switch else "replaces": _prepared(client)}
    reply = client.post(f"{PATH}/rotate", KeyList, body)
    _show(app, reply, as_json=as_json)
    if not as_json and not is_switch:
        note("copy the key file to every process of the control plane, then `briefcase fleet keys rotate --switch`")


def _prepared(client: FleetClient) -> str:
    for key in client.get(PATH, KeyList).answer.keys:
        if key.state == PREPARED:
            return key.policy_signing_pubkey_b64
    raise CallerError("no key is prepared", code="conflict", hint="`briefcase fleet keys rotate` prepares one")


def _show(app: App, reply: Reply[KeyList], *, as_json: bool) -> None:
    if as_json:
        app.json(reply.document)
        return
    answer = reply.answer
    app.screen.table(
        ("KEY", "STATE", "SINCE", "HELD BY"),
        [
            (
                visible_text(key.policy_signing_pubkey_b64),
                render.styled(key.state),
                render.when(key.changed_at_rfc3339),
                _held_by(key, answer),
            )
            for key in answer.keys
        ],
        empty="no keys",
    )
    for key in answer.keys:
        lacking = _lacking(key, answer)
        if lacking:
            note(f"{key.state} key {visible_text(key.policy_signing_pubkey_b64)} is not held by {', '.join(lacking)}")


def _held_by(key: KeyRecord, answer: KeyList) -> str:
    if key.state not in SIGNING:
        return "-"
    count = len(answer.processes)
    return f"{count - len(_lacking(key, answer))} of {count}"


def _lacking(key: KeyRecord, answer: KeyList) -> list[str]:
    """The processes that cannot sign with a key that signs, or will."""
    if key.state not in SIGNING:
        return []
    return [
        visible_text(process.address)
        for process in answer.processes
        if key.policy_signing_pubkey_b64 not in process.held
    ]
