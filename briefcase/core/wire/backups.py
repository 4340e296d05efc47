"""Backups on the wire."""

from __future__ import annotations

import msgspec


class BackupRecord(msgspec.Struct, frozen=True):
    """What was made: up to which receipt, by which identity, and what was left out.

    `out_dir` or `out_file` is empty, the other one where it is.
    """

    out_dir: str
    out_file: str
    created_at: str = ""
    did: str = ""
    boot: int = 0
    head_id: int = 0
    head_hash_hex: str = ""
    files: int = 0
    bytes: int = 0
    left_out: list[str] = []
