"""Backups: made by the daemon, for it alone can sign; verified and restored by the command line, without one."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Final

import msgspec

from briefcase.adapters.backup.age import AGE_MAGIC, MAX_RECIPIENTS, MAX_WRAPPED_BYTES, AgeSeal, check_recipients
from briefcase.adapters.backup.sealing import SealKey
from briefcase.adapters.vault.sealed_file import check_scrypt_n
from briefcase.core.wire.backups import BackupRecord
from briefcase.edges.api.routing import OPERATOR, Request, Route
from briefcase.edges.api.services import Services
from briefcase.model.errors import CallerError

_Path = Annotated[str, msgspec.Meta(min_length=1, max_length=4_096, pattern="^[^\\x00]*$")]
_PublicKey = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class SealRequest(msgspec.Struct):
    """What the backup is encrypted under: scrypt's output for a passphrase that stays with whoever asks.

    `key_b64` is scrypt (RFC 7914) of the passphrase with `salt_b64` (16 random bytes, new each time), cost `n`, r = 8,
    p = 1, 32 bytes long; both are base64.
    """

    n: int
    salt_b64: Annotated[str, msgspec.Meta(max_length=64)]
    key_b64: Annotated[str, msgspec.Meta(max_length=64)]


class BackupRequest(msgspec.Struct):
    """An absolute path on the daemon's host: `out_dir` for a plain backup, `out_file` for an encrypted one.

    An encrypted one is an age file to `recipients` (public keys, `age1...`). `wrapped_identity_b64` is the identity of
    the one recipient, itself an age file under a passphrase, which is written before it. `seal` makes the form of
    before age instead. `with_key` copies the vault's key file too.
    """

    out_dir: _Path | None = None
    out_file: _Path | None = None
    seal: SealRequest | None = None
    with_key: bool = False
    recipients: Annotated[list[_PublicKey], msgspec.Meta(max_length=MAX_RECIPIENTS)] = []
    wrapped_identity_b64: Annotated[str, msgspec.Meta(max_length=MAX_WRAPPED_BYTES)] = ""


async def create_backup(services: Services, request: Request) -> BackupRecord:
    """`POST /v1/backups`: answers when everything is on disk."""
    wanted = request.body_as(BackupRequest)
    out, seal = _target(wanted)
    made = await services.operator.backups.create(out, seal, with_key=wanted.with_key, by=request.principal.name)
    return BackupRecord(
        out_dir=wanted.out_dir or "",
        out_file=wanted.out_file or "",
        created_at=made.created_at,
        did=made.did,
        boot=made.boot,
        head_id=made.head_id,
        head_hash_hex=made.head_hash_hex,
        files=len(made.files),
        bytes=sum(file.bytes for file in made.files),
        left_out=list(made.left_out),
    )


def _target(wanted: BackupRequest) -> tuple[str, SealKey | AgeSeal | None]:
    """Where to, and to whom or under which key.

    Raises:
        CallerError: none of the forms, or a key of another form.
    """
    is_age = bool(wanted.recipients or wanted.wrapped_identity_b64)
    if wanted.out_dir is not None and wanted.out_file is None and wanted.seal is None and not is_age:
        return wanted.out_dir, None
    if wanted.out_file is None or wanted.out_dir is not None or (wanted.seal is None) != is_age:
        raise CallerError("expected `out_dir`, or `out_file` and one of `recipients` and `seal`")
    if wanted.seal is None:
        return wanted.out_file, _age_seal(wanted)
    return wanted.out_file, _seal_key(wanted.seal)


def _age_seal(wanted: BackupRequest) -> AgeSeal:
    recipients = check_recipients(wanted.recipients)
    if wanted.wrapped_identity_b64 and len(recipients) != 1:
        raise CallerError("expected one recipient, whose identity `wrapped_identity_b64` is")
    try:
        wrapped = base64.b64decode(wanted.wrapped_identity_b64, validate=True)
    except (binascii.Error, ValueError):
        raise CallerError("expected `wrapped_identity_b64` in base64") from None
    if wrapped and not wrapped.startswith(AGE_MAGIC):
        raise CallerError("expected `wrapped_identity_b64` to be an age file")
    return AgeSeal(recipients, wrapped)


def _seal_key(seal: SealRequest) -> SealKey:
    problem = check_scrypt_n(seal.n)
    if problem is not None:
        raise CallerError(f"`seal` {problem}")
    try:
        fields = {
            "key": base64.b64decode(seal.key_b64, validate=True),
            "salt": base64.b64decode(seal.salt_b64, validate=True),
            "n": seal.n,
        }
        return msgspec.convert(fields, SealKey)
    except (binascii.Error, ValueError):
        raise CallerError("expected `seal.key_b64` as 32 bytes in base64, `seal.salt_b64` as 16") from None


ROUTES: Final = (
    Route("POST", "/v1/backups", OPERATOR, create_backup, "Make a backup", BackupRecord, body=BackupRequest),
)
