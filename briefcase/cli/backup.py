"""`briefcase backup`: `create` asks the daemon; `verify` and `restore` need none, and check before they open."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
import msgspec

from briefcase.cli.app import App, json_option, pass_app
from briefcase.cli.lazy import example
from briefcase.cli.messages import note
from briefcase.cli.progress import working

CREATE_TIMEOUT_S: Final = 3_600.0

_directory = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))


@click.group(epilog=example("briefcase backup create --out /backup/monday", "briefcase backup verify /backup/monday"))
def backup() -> None:
    """Make, verify and restore backups."""


@backup.command(
    epilog=example("briefcase backup create --out /backup/monday", "briefcase backup create --out monday --with-key")
)
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="A new directory.")
@click.option("--with-key", is_flag=True, help="Copy `vault.key` too: who has the backup then has every secret.")
@json_option
@pass_app
def create(app: App, *, out: Path, with_key: bool, as_json: bool) -> None:
    """Make a backup of the running daemon.

    Receipts, approvals, budgets, agents, tools, tokens and the sealed vault, as they are at one moment, verified and
    signed. Without `--with-key`, keep `vault.key` somewhere else: the vault does not open without it.
    """
    with working("copying and verifying"):
        made = app.client(CREATE_TIMEOUT_S).post("/v1/backups", {"out_dir": str(out.absolute()), "with_key": with_key})
    if as_json:
        app.screen.json(made)
        return
    app.screen.line(f"{made['files']} files, {made['bytes']:,} bytes in `{made['out_dir']}`")
    app.screen.fields([("head", f"{made['head_id']}:{made['head_hash_hex']}"), ("identity", made["did"])])
    if made["left_out"]:
        note(f"left out: {', '.join(made['left_out'])}")
    note("note the identity and the head somewhere else: `backup restore` asks for the one, `--anchor` takes the other")


@backup.command(
    epilog=example(
        "briefcase backup verify /backup/monday",
        "briefcase backup verify /backup/monday --did did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
    )
)
@_directory
@click.option("--did", metavar="DID", help="The identity it must be of, noted elsewhere.")
@click.option("--anchor", metavar="ID:HASH", help="A receipt noted elsewhere, which it must contain.")
@json_option
@pass_app
def verify(app: App, *, directory: Path, did: str | None, anchor: str | None, as_json: bool) -> None:
    """Check a backup: signature, digests, and every receipt.

    Needs no daemon and writes nothing. Exits with 7 where anything is not as it was made.
    """
    from briefcase.backup.restore import verify_backup  # noqa: PLC0415 - not for `--help`
    from briefcase.cli.receipts import parse_anchor  # noqa: PLC0415 - likewise

    with working("verifying"):
        manifest = verify_backup(directory, did, parse_anchor(anchor) if anchor else None)
    if as_json:
        app.screen.json(msgspec.to_builtins(manifest))
        return
    app.screen.line(f"a whole backup of {manifest.head_id:,} receipts, made at {manifest.created_at}")
    app.screen.fields([("head", f"{manifest.head_id}:{manifest.head_hash_hex}"), ("identity", manifest.did)])
    if did is None:
        note("not excluded: that another daemon made it; give the `--did` you noted")
    if anchor is None:
        note("not excluded: that it is older than you think; give an `--anchor` noted elsewhere")


@backup.command(
    epilog=example(
        "briefcase backup restore /backup/monday --data-dir /var/lib/briefcase-new"
        " --did did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
    )
)
@_directory
@click.option("--data-dir", type=click.Path(path_type=Path), required=True, metavar="NEW", help="Absent, or empty.")
@click.option("--did", metavar="DID", required=True, help="The identity it must be of: `backup create` printed it.")
@click.option("--vault-key", type=click.Path(path_type=Path), metavar="FILE", help="The `vault.key` kept elsewhere.")
@json_option
@pass_app
def restore(  # noqa: PLR0913 - one argument for each option
    app: App, *, directory: Path, data_dir: Path, did: str, vault_key: Path | None, as_json: bool
) -> None:
    """Make a new data directory out of a backup.

    Everything is verified first. The daemon that starts on it begins a new epoch with a `restored` receipt: every
    approval that waited is expired, and the day's budgets count as spent.
    """
    from briefcase.backup.restore import restore_backup  # noqa: PLC0415 - not for `--help`

    with working("verifying and copying"):
        manifest = restore_backup(directory, data_dir, did, vault_key)
    if as_json:
        app.screen.json({**msgspec.to_builtins(manifest), "data_dir": str(data_dir.absolute())})
        return
    app.screen.line(f"restored {manifest.head_id:,} receipts into `{data_dir}`")
    if vault_key is None and "vault.key" in manifest.left_out:
        note(f"put the `vault.key` you kept into `{data_dir}` before you start the daemon: the vault needs it")
    note(f"start it with BRIEFCASE_DATA_DIR={data_dir.absolute()}, once the daemon that was copied runs nowhere")
