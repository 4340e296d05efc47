"""`briefcase signers`: the devices and passkeys whose signature is a yes; an operator pairs and revokes them."""

from __future__ import annotations

import json

import click

from briefcase.core.wire.identity import IdentityAnswer
from briefcase.core.wire.signers import PairingStarted, SignerList, SignerRevoked
from briefcase.edges.cli.app import App, check_name, json_option, pass_app
from briefcase.edges.cli.client import path_of
from briefcase.edges.cli.late import qr_codes, render
from briefcase.edges.cli.lazy import LazyGroup, example
from briefcase.edges.cli.messages import note
from briefcase.edges.cli.names import complete_operator


@click.group(cls=LazyGroup, epilog=example("briefcase signers pair --owner ann", "briefcase signers list"))
def signers() -> None:
    """Pair and revoke the devices whose signature is a yes."""


@signers.command(
    "pair",
    epilog=example("briefcase signers pair --owner ann", "briefcase signers pair --json | briefcase signer pair"),
)
@click.option(
    "--owner", metavar="NAME", shell_complete=complete_operator, help="Whose yes the device gives; yours by default."
)
@click.option("--base-url", metavar="URL", help="Where the device reaches the daemon, if not as this command does.")
@json_option
@pass_app
def pair(app: App, *, owner: str | None, base_url: str | None, as_json: bool) -> None:
    """Open a pairing for one device, and show its code.

    The code is shown this once. Whoever has it can pair one device within five minutes, with `briefcase signer pair` or
    by the QR code. With it, whoever --owner names may register one passkey on the page instead.
    """
    client = app.client()
    did = client.get("/v1/identity", IdentityAnswer).answer.did
    started = client.post("/v1/signer/pair/start", PairingStarted, {"owner": owner} if owner else None).answer
    line = {
        "base_url": base_url or str(client.address),
        "pairing_id": started.pairing_id,
        "pairing_code": started.pairing_code,
        "device_did": did,
    }
    if as_json:
        app.json({**line, "expires_at_rfc3339": started.expires_at_rfc3339})
        return
    text = json.dumps(line, separators=(",", ":"))
    qr_codes.make(text, error="l").terminal(compact=True)
    click.echo(text)
    note(
        f"until {render.when(started.expires_at_rfc3339)}, for one device: paste the line into `briefcase signer pair`"
    )


@signers.command("list", epilog=example("briefcase signers list"))
@json_option
@pass_app
def list_signers(app: App, *, as_json: bool) -> None:
    """List the paired devices and passkeys, the revoked too."""
    reply = app.client().get("/v1/signers", SignerList)
    if as_json:
        app.json(reply.document)
        return
    rows = [
        (
            signer.signer_id,
            signer.name,
            signer.owner,
            f"{signer.algorithm}, {signer.form}",
            render.styled("revoked" if signer.revoked_at else "active"),
            render.when(signer.revoked_at or signer.paired_at),
        )
        for signer in reply.answer.signers
    ]
    app.screen.table(
        ("ID", "NAME", "OWNER", "KEY", "STATUS", "SINCE"),
        rows,
        empty="no signer is paired: an operator stands in for one; `briefcase signers pair` opens a pairing",
    )


@signers.command("revoke", epilog=example("briefcase signers revoke afe50b17-b2ef-4fb6-93de-7f900ee84d33"))
@click.argument("signer_id", metavar="ID", callback=check_name)
@json_option
@pass_app
def revoke(app: App, *, signer_id: str, as_json: bool) -> None:
    """End a signer: its signature is no yes from now on.

    A key that was revoked is never paired again.
    """
    reply = app.client().post(path_of("v1", "signers", signer_id, "revoke"), SignerRevoked)
    if as_json:
        app.json(reply.document)
    else:
        app.screen.line(f"revoked `{signer_id}`")
