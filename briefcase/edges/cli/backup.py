"""`briefcase backup`: `create` asks the daemon; `verify` and `restore` need none, and check before they open.

The passphrase of an encrypted backup is taken from `BRIEFCASE_BACKUP_PASSPHRASE`, a prompt or standard input, never
from the command line. It stays in this process: the daemon is sent a public key, and the identity to it sealed under
the passphrase.
"""

from __future__ import annotations

import os
from base64 import b64encode
from pathlib import Path
from typing import Final

import click
import msgspec

from briefcase.adapters.disk.files import read_private
from briefcase.core.wire.backups import BackupRecord
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.exports import new_file
from briefcase.edges.cli.late import backup_age, backup_restore, backup_sealed, pyrage
from briefcase.edges.cli.lazy import LazyGroup, example
from briefcase.edges.cli.messages import note
from briefcase.edges.cli.progress import working
from briefcase.edges.cli.receipts import parse_anchor
from briefcase.edges.cli.secrets import read_secret
from briefcase.model.errors import CallerError
from briefcase.model.types import JsonObject

CREATE_TIMEOUT_S: Final = 3_600.0

PASSPHRASE_VARIABLE: Final = "BRIEFCASE_BACKUP_PASSPHRASE"
MIN_PASSPHRASE_CHARS: Final = 12

_identity = click.option(
    "--identity", type=click.Path(path_type=Path), metavar="FILE", help="Of one that is sealed to public keys."
)
_backup = click.argument("backup", metavar="BACKUP", type=click.Path(path_type=Path))


@click.group(
    cls=LazyGroup,
    epilog=example("briefcase backup create --out /backup/monday", "briefcase backup verify /backup/monday"),
)
def backup() -> None:
    """Make, verify and restore backups."""


@backup.command(
    epilog=example(
        "briefcase backup create --out /backup/monday",
        "briefcase backup create --encrypt --with-key --out /backup/monday.sealed",
    )
)
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="PATH", help="A new directory or file.")
@click.option("--encrypt", is_flag=True, help="One file under a passphrase, instead of a directory.")
@click.option(
    "--recipient",
    "recipients",
    multiple=True,
    metavar="KEY",
    help="One file to a public key `age1...`; repeat for more.",
)
@click.option("--with-key", is_flag=True, help="Copy `vault.key` too: who can open the backup then has every secret.")
@json_option
@pass_app
def create(app: App, *, out: Path, encrypt: bool, recipients: tuple[str, ...], with_key: bool, as_json: bool) -> None:
    """Make a backup of the running daemon.

    Receipts, approvals, budgets, agents, tools, tokens and the sealed vault, as they are at one moment, verified and
    signed. Without `--with-key`, keep `vault.key` somewhere else: the vault does not open without it.

    `--encrypt` takes the passphrase from BRIEFCASE_BACKUP_PASSPHRASE, a prompt or standard input. `--recipient` takes a
    public key of age, such as `backup keygen` prints: a backup that nobody attends then needs no secret.
    """
    if encrypt and recipients:
        raise click.UsageError("expected --encrypt or --recipient")
    place, is_sealed = str(out.absolute()), encrypt or bool(recipients)
    body: JsonObject = {"out_dir": place, "with_key": with_key}
    if is_sealed:
        body = {"out_file": place, **(_under_passphrase() if encrypt else _to(recipients)), "with_key": with_key}
    with working("copying and verifying"):
        reply = app.client(CREATE_TIMEOUT_S).post("/v1/backups", BackupRecord, body)
    if as_json:
        app.json(reply.document)
        return
    made = reply.answer
    app.screen.line(f"{made.files} files, {made.bytes:,} bytes in `{place}`{' (encrypted)' if is_sealed else ''}")
    app.screen.fields([("head", f"{made.head_id}:{made.head_hash_hex}"), ("identity", made.did)])
    if made.left_out:
        note(f"left out: {', '.join(made.left_out)}")
    note("note the identity and the head somewhere else: `backup restore` asks for the one, `--anchor` takes the other")
    if encrypt:
        note("keep the passphrase apart from the file: nobody can open it without")
    if recipients:
        note("keep the recipient's identity file off this machine: nobody can open the backup without")


def _passphrase(*, is_new: bool) -> bytes:
    given = os.environ.get(PASSPHRASE_VARIABLE) or read_secret("passphrase", is_new=is_new)
    if is_new and len(given) < MIN_PASSPHRASE_CHARS:
        raise CallerError(
            f"expected a passphrase of at least {MIN_PASSPHRASE_CHARS} characters, got {len(given)}",
            hint="who has the file can try passphrases for as long as they like",
        )
    return given.encode("utf-8", "surrogateescape")


def _under_passphrase() -> JsonObject:
    try:
        passphrase = _passphrase(is_new=True).decode()
    except UnicodeDecodeError:
        raise CallerError("expected a passphrase in UTF-8") from None
    seal = backup_age.wrap_new_identity(passphrase)
    return {"recipients": [*seal.recipients], "wrapped_identity_b64": b64encode(seal.wrapped_identity).decode()}


def _to(recipients: tuple[str, ...]) -> JsonObject:
    return {"recipients": [*backup_age.check_recipients(recipients)]}


def _keys_for(backup: Path, identity: Path | None) -> backup_sealed.Keys:
    if identity is not None:
        data = read_private(identity)
        if data is None:
            raise CallerError(f"no file `{identity}`", code="not_found")
        return backup_sealed.Keys(identities=backup_age.parse_identities(data))
    if not backup_restore.is_sealed(backup) or not backup_sealed.needs_passphrase(backup):
        return backup_sealed.Keys()
    return backup_sealed.Keys(_passphrase(is_new=False))


@backup.command(epilog=example("briefcase backup keygen --out /safe/backup-key.txt"))
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="A new file.")
@json_option
@pass_app
def keygen(app: App, *, out: Path, as_json: bool) -> None:
    """Make a key for backups: its identity into a file, its public half on the screen.

    The file opens every backup to the public half (`restore --identity FILE`); keep it off the daemon's machine.
    """
    identity = pyrage.x25519.Identity.generate()
    public = str(identity.to_public())
    with new_file(out) as file:
        file.write(f"# public key: {public}\n{identity}\n".encode())
    if as_json:
        app.json({"file": str(out), "recipient": public})
    else:
        app.screen.line(public)


@backup.command(
    epilog=example(
        "briefcase backup verify /backup/monday",
        "briefcase backup verify /backup/monday --did did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
    )
)
@_backup
@click.option("--did", metavar="DID", help="The identity it must be of, noted elsewhere.")
@click.option("--anchor", metavar="ID:HASH", help="A receipt noted elsewhere, which it must contain.")
@_identity
@json_option
@pass_app
def verify(
    app: App, *, backup: Path, did: str | None, anchor: str | None, identity: Path | None, as_json: bool
) -> None:
    """Check a backup: signature, digests, and every receipt.

    Needs no daemon. Exits with 7 where anything is not as it was made. Writes nothing, but for the receipts of an
    encrypted one, which are decrypted into a temporary directory (TMPDIR) while they are checked.
    """
    known, keys = parse_anchor(anchor) if anchor else None, _keys_for(backup, identity)
    with working("verifying"):
        manifest = backup_restore.verify_backup(backup, did, known, keys)
    if as_json:
        app.json(msgspec.to_builtins(manifest))
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
@_backup
@click.option("--data-dir", type=click.Path(path_type=Path), required=True, metavar="NEW", help="Absent, or empty.")
@click.option("--did", metavar="DID", required=True, help="The identity it must be of: `backup create` printed it.")
@click.option("--vault-key", type=click.Path(path_type=Path), metavar="FILE", help="The `vault.key` kept elsewhere.")
@_identity
@json_option
@pass_app
def restore(
    app: App, *, backup: Path, data_dir: Path, did: str, vault_key: Path | None, identity: Path | None, as_json: bool
) -> None:
    """Make a new data directory out of a backup.

    Everything is verified first. The daemon that starts on it begins a new epoch with a `restored` receipt: every
    approval that waited is expired, and the day's budgets count as spent.
    """
    keys = _keys_for(backup, identity)
    with working("verifying and copying"):
        manifest = backup_restore.restore_backup(backup, data_dir, did, vault_key, keys)
    if as_json:
        app.json({**msgspec.to_builtins(manifest), "data_dir": str(data_dir.absolute())})
        return
    app.screen.line(f"restored {manifest.head_id:,} receipts into `{data_dir}`")
    if vault_key is None and "vault.key" in manifest.left_out:
        note(f"put the `vault.key` you kept into `{data_dir}` before you start the daemon: the vault needs it")
    note(f"start it with BRIEFCASE_DATA_DIR={data_dir.absolute()}, once the daemon that was copied runs nowhere")
