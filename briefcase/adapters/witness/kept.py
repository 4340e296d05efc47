"""Cosigned checkpoints on disk: one file of the data directory beside the ledger, written whole and bounded.

It is beside the ledger and not in it, so that who cuts the ledger's end off has not cut off what was cosigned of it. It
is no secret and needs none: each note in it is verified with the log's and the witnesses' keys whenever it is read.

| a crash | leaves |
|---|---|
| before the write | what the witness keeps and we do not: the next round is told its size, and proves from there |
| in it | the file as it was, or the new one (`disk.files`) |
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from briefcase.adapters.disk.files import read_private, write_private
from briefcase.core.receipts.cosignatures import MAX_TIME_S
from briefcase.core.receipts.note_keys import NoteKey, Verify
from briefcase.core.receipts.quorums import WitnessPolicy, parse_policy
from briefcase.core.receipts.witnessed import MAX_KEPT, Witnessed, read_witnessed
from briefcase.model.errors import CallerError, ConfigError, StoreError

FILE_NAME: Final = "witnessed.json"
MAX_FILE_BYTES: Final = 8 << 20


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    checkpoints: list[str]


def read_kept(data_dir: Path, log: NoteKey, keys: Sequence[NoteKey], verify: Verify) -> tuple[Witnessed, ...]:
    """The cosigned checkpoints of a data directory; none where there is no file.

    Their times were looked at when they were taken: a clock that was set back since takes none of them away.

    Args:
        data_dir: whose file.
        log: the log's key.
        keys: the witnesses'.
        verify: tells whether a signature is good.

    Raises:
        ConfigError: the file is not private.
        StoreError: it cannot be read, or is not as it was written.
    """
    try:
        return tuple(read_witnessed(note, log, keys, MAX_TIME_S, verify) for note in read_kept_notes(data_dir))
    except CallerError as error:
        raise _changed(data_dir, error.message) from None


def read_kept_notes(data_dir: Path) -> list[str]:
    """The cosigned checkpoints of a data directory as they are written, not yet checked. Raises as `read_kept`."""
    data = read_private(data_dir / FILE_NAME, max_bytes=MAX_FILE_BYTES)
    if data is None:
        return []
    try:
        return msgspec.json.decode(data, type=_File).checkpoints[:MAX_KEPT]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _changed(data_dir, str(error)) from None


def write_kept(data_dir: Path, kept: Sequence[Witnessed]) -> None:
    """Keep cosigned checkpoints; durable when this returns.

    Raises:
        StoreError: they could not be written.
    """
    write_private(data_dir / FILE_NAME, msgspec.json.encode(_File([one.note for one in kept[:MAX_KEPT]])))


def load_policy(path: Path, setting: str, log: NoteKey | None) -> WitnessPolicy:
    """Read a policy file.

    Args:
        path: where it is.
        setting: what names it, for the message.
        log: the log it must take, where that is known.

    Raises:
        ConfigError: it cannot be read, a line is not as expected, or it lists other logs only.
    """
    try:
        policy = parse_policy(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{setting}: `{path}` cannot be read: {error.strerror}") from None
    except CallerError as error:
        raise ConfigError(f"{setting}: `{path}`, {error.message}", hint=error.hint) from None
    if log is not None and not policy.takes_log(log):
        raise ConfigError(
            f"{setting}: `{path}` lists other logs than this daemon's",
            hint=f"add the line `log {log.vkey}`, or list none",
        )
    return policy


def _changed(data_dir: Path, reason: str) -> StoreError:
    return StoreError(
        f"`{data_dir / FILE_NAME}` is not as it was written: {reason}",
        hint="keep a copy and remove it: witnesses still have what they cosigned",
    )
