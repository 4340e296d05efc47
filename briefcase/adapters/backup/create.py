"""Making a backup of a live daemon: what `operator.backups` has done, in its order.

`check_target`    a new directory or file outside the data directory
`prepare`         copy and verify, in a process of its own; digest each file; the manifest, in memory
`finish`          write the signature, then the manifest, synced: only now is it a backup

A sealed backup is made the same way, in `STAGING_DIR` of the data directory: what is not encrypted touches no other
disk than the one it is on already. It is sealed into the target file (`sealed.pack_backup`), which is
there whole or not at all; a staging directory that a crash left is removed by the next backup, and by the next start.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from briefcase import __version__
from briefcase.adapters.backup.age import AgeSeal
from briefcase.adapters.backup.child import WITH_KEY, Found
from briefcase.adapters.backup.manifest import (
    MANIFEST_NAME,
    SIGNATURE_NAME,
    STAGING_DIR,
    Manifest,
)
from briefcase.adapters.backup.sealed import pack_backup
from briefcase.adapters.backup.sealing import SealKey
from briefcase.adapters.disk.checks import reason_of
from briefcase.adapters.disk.directories import fsync_dir, make_private_dir
from briefcase.adapters.disk.files import digest_of, write_private
from briefcase.adapters.disk.own_files import OwnFiles
from briefcase.adapters.signed_manifest import (
    BACKUP,
    ListedFile,
    encode_manifest,
    encode_signature,
    sha256_hex_of,
    signed_text,
)
from briefcase.model.errors import CODES, CallerError, StoreError
from briefcase.model.ports import Clock
from briefcase.model.types import JsonObject, format_rfc3339

HEADROOM_BYTES: Final = 256 << 20  # what staging must leave free: receipts need the disk too


class Prepared:
    """A copy that is no backup yet: `operator.backups.PreparedBackup`."""

    def __init__(self, manifest: Manifest, out: Path, finish: Callable[[], None], discard: Callable[[], None]) -> None:
        self._manifest = manifest
        self._out = out
        self._finish = finish
        self._discard = discard
        self.head_id = manifest.head_id
        self.head_hash_hex = manifest.head_hash_hex
        self.manifest_digest_hex = sha256_hex_of(encode_manifest(manifest))

    async def finish(self) -> Manifest:
        """Make it a whole backup."""
        try:
            await asyncio.to_thread(self._finish)
        except FileExistsError:
            raise _exists(self._out) from None
        except OSError as error:
            raise StoreError(f"cannot write `{self._out}`: {reason_of(error)}") from None
        return self._manifest

    async def discard(self) -> None:
        """Remove what there is of it."""
        await asyncio.to_thread(self._discard)


class Backups:
    """Copies of one data directory.

    Args:
        data_dir: what is copied.
        clock: for the manifest.
        did: the daemon's identity.
        sign: signs as that identity.
    """

    def __init__(self, data_dir: Path, clock: Clock, did: str, sign: Callable[[bytes], bytes]) -> None:
        self._data_dir = data_dir
        self._clock = clock
        self._did = did
        self._sign = sign

    def check_target(self, out: str) -> None:
        """Raises `CallerError`: it exists, has no parent, is no absolute path or lies in the data directory."""
        _check_target(Path(out), self._data_dir)

    async def prepare(self, out: str, seal: SealKey | AgeSeal | None, *, with_key: bool) -> Prepared:
        """Copy, verify and digest; a directory that could not be finished is removed.

        Args:
            out: the directory to make, or the file where it is sealed.
            seal: to whom or under what it is sealed, or None for a plain one.
            with_key: whether `vault.key` is copied too.

        Raises:
            CallerError: the directory exists by now (`conflict`).
            StoreError: something could not be read or written, or the chain does not verify.
        """
        target = Path(out)
        if seal is None:
            manifest, write = await self._copied(target, with_key=with_key)
            return Prepared(manifest, target, write, lambda: _remove(target))
        staging = self._data_dir / STAGING_DIR
        discard_staging(self._data_dir)
        try:
            _check_room(self._data_dir)
            manifest, write = await self._copied(staging, with_key=with_key)
        except OSError as error:
            raise StoreError(f"cannot write `{out}`: {reason_of(error)}") from None
        is_packed = False

        def pack() -> None:
            nonlocal is_packed
            try:
                write()
                pack_backup(staging, manifest, target, seal)
                is_packed = True
            finally:
                discard_staging(self._data_dir)

        def discard() -> None:
            discard_staging(self._data_dir)
            if is_packed:  # what else is at the target is another's
                _remove(target)

        return Prepared(manifest, target, pack, discard)

    async def _copied(self, out: Path, *, with_key: bool) -> tuple[Manifest, Callable[[], None]]:
        """The manifest of a copy, and what writes it; a directory that could not be finished is removed."""
        _make_target(out)
        try:
            found = await _copy(self._data_dir, out, with_key=with_key)
            files = await asyncio.to_thread(_digests, out)
            manifest = self._manifest(found, files)
            text = encode_manifest(manifest)
            signature = self._sign(signed_text(BACKUP, text))
        except BaseException:
            shutil.rmtree(out, ignore_errors=True)
            raise
        return manifest, lambda: _write_manifest(out, text, signature)

    def _manifest(self, found: Found, files: tuple[ListedFile, ...]) -> Manifest:
        return Manifest(
            created_at=format_rfc3339(self._clock.now_us()),
            made_by=f"briefcase {__version__}",
            did=self._did,
            boot=found.boot,
            head_id=found.head_id,
            head_hash_hex=found.head_hash_hex,
            files=files,
            left_out=found.left_out,
        )


async def _copy(data_dir: Path, out: Path, *, with_key: bool) -> Found:
    options = [WITH_KEY] if with_key else []
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-m", "briefcase.adapters.backup.child", "copy", str(data_dir), str(out), *options,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env={},
    )  # fmt: skip
    try:
        said, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    return parse_said(said, process.returncode)


def parse_said(said: bytes, exit_code: int | None) -> Found:
    """Read what the process said; where it said nothing, it died.

    Raises:
        StoreError: what it reports, or that it died (`backup_damaged`).
    """
    try:
        fields: JsonObject = msgspec.json.decode(said, type=dict)
        error = fields.get("error")
        if not isinstance(error, dict):
            return msgspec.convert(fields, Found)
    except (msgspec.DecodeError, msgspec.ValidationError) as problem:
        raise StoreError(
            "the process that reads the copy died: the files are damaged, or it was killed",
            code="backup_damaged",
            hint="run it again; if it dies again, look at the disk",
            detail=f"exit code {exit_code}: {problem}",
        ) from None
    code = str(error.get("code"))
    raise StoreError(
        str(error.get("message")),
        code=code if code in CODES else "internal",
        hint=str(error.get("hint")),
        detail=str(error.get("detail")),
    )


def discard_staging(data_dir: Path) -> None:
    """Remove what a crash in the middle of a sealed backup left: a copy, as readable as what it was made of."""
    shutil.rmtree(data_dir / STAGING_DIR, ignore_errors=True)


def _check_room(data_dir: Path) -> None:
    """Check that a copy fits on the disk of the data directory.

    Raises:
        StoreError: it would leave too little for receipts.
    """
    needed = sum(path.lstat().st_blocks * 512 for path in data_dir.rglob("*")) + HEADROOM_BYTES
    disk = os.statvfs(data_dir)
    free = disk.f_bavail * disk.f_frsize
    if free < needed:
        raise StoreError(
            f"expected {needed:,} bytes free beside `{data_dir}` to prepare an encrypted backup, got {free:,}",
            code="not_ready",
            hint="free some space, or make a plain backup on an encrypted disk",
        )


def _check_target(out: Path, data_dir: Path) -> None:
    if not out.is_absolute() or not out.parent.is_dir():
        raise CallerError(f"expected an absolute path whose parent exists, got `{out}`")
    if OwnFiles(data_dir).holds_directory(out.parent):
        raise CallerError(f"`{out}` is in the data directory", hint="a backup beside what it protects protects nothing")
    if os.path.lexists(out):
        raise _exists(out)


def _remove(out: Path) -> None:
    if out.is_dir():
        shutil.rmtree(out, ignore_errors=True)
    else:
        out.unlink(missing_ok=True)


def _make_target(out: Path) -> None:
    try:
        make_private_dir(out)
    except FileExistsError:
        raise _exists(out) from None
    except OSError as error:
        raise CallerError(f"`{out}` cannot be made: {reason_of(error)}") from None


def _exists(out: Path) -> CallerError:
    return CallerError(f"`{out}` exists", code="conflict", hint="a backup is never overwritten")


def _digests(out: Path) -> tuple[ListedFile, ...]:
    paths = sorted(path for path in out.rglob("*") if path.is_file())
    return tuple(ListedFile(path.relative_to(out).as_posix(), *digest_of(path)) for path in paths)


def _write_manifest(out: Path, text: bytes, signature: bytes) -> None:
    write_private(out / SIGNATURE_NAME, encode_signature(signature))
    write_private(out / MANIFEST_NAME, text)
    fsync_dir(out.parent)
