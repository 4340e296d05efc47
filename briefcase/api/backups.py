"""Backups: made by the daemon, for it alone can sign; verified and restored by the command line, without one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import msgspec

from briefcase.api.routing import OPERATOR, Request, Route
from briefcase.api.services import Services
from briefcase.errors import BriefcaseError

_Path = Annotated[str, msgspec.Meta(min_length=1, max_length=4_096, pattern="^[^\\x00]*$")]


class BackupRequest(msgspec.Struct):
    """`out_dir` is an absolute path on the daemon's host; `with_key` copies the vault's key file too."""

    out_dir: _Path
    with_key: bool = False


class BackupRecord(msgspec.Struct):
    """What was made: up to which receipt, by which identity, and what was left out."""

    out_dir: str
    created_at: str
    did: str
    boot: int
    head_id: int
    head_hash_hex: str
    files: int
    bytes: int
    left_out: list[str]


async def create_backup(services: Services, request: Request) -> BackupRecord:
    """`POST /v1/backups`: answers when everything is on disk."""
    if services.backups is None:
        raise BriefcaseError("this daemon makes no backups", code="not_ready")
    wanted = request.body_as(BackupRequest)
    made = await services.backups.create(Path(wanted.out_dir), request.principal.name, with_key=wanted.with_key)
    return BackupRecord(
        out_dir=wanted.out_dir,
        created_at=made.created_at,
        did=made.did,
        boot=made.boot,
        head_id=made.head_id,
        head_hash_hex=made.head_hash_hex,
        files=len(made.files),
        bytes=sum(file.bytes for file in made.files),
        left_out=list(made.left_out),
    )


ROUTES: Final = (
    Route("POST", "/v1/backups", OPERATOR, create_backup, "Make a backup", BackupRecord, body=BackupRequest),
)
