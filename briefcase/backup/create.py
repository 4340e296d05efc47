"""Making a backup of a live daemon; the numbers are those of the code, and after each is what a crash there leaves.

1. the target: a new directory outside the data directory; append    an empty directory
   the `backup_started` receipt
2. copy and verify, in a process of its own                          files without a manifest: no backup
3. digest each file                                                  the same
4. write the signature, then the manifest, synced                    the same, or a whole backup
5. append the `backup_created` receipt                               a whole backup that no receipt names

A sealed backup is made the same way, in `STAGING_DIR` of the data directory: what is not encrypted touches no other
disk than the one it is on already. After step 4 it is sealed into the target file (`sealed.pack_backup`), which is
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
from briefcase.backup.age import AgeSeal
from briefcase.backup.child import WITH_KEY, Found
from briefcase.backup.manifest import (
    MANIFEST_NAME,
    SIGNATURE_NAME,
    STAGING_DIR,
    Manifest,
)
from briefcase.backup.sealed import pack_backup
from briefcase.backup.sealing import SealKey
from briefcase.disk.checks import reason_of
from briefcase.disk.directories import fsync_dir, make_private_dir
from briefcase.disk.files import digest_of, write_private
from briefcase.disk.own_files import OwnFiles
from briefcase.model.effects import Committed, Entry
from briefcase.model.errors import CODES, CallerError, StoreError
from briefcase.model.ports import Clock, Ledger
from briefcase.model.types import JsonObject, format_rfc3339
from briefcase.receipts.events import backup_created_event, backup_started_event
from briefcase.signed_manifest import BACKUP, ListedFile, encode_manifest, encode_signature, sha256_hex_of, signed_text

HEADROOM_BYTES: Final = 256 << 20  # what staging must leave free: receipts need the disk too


class Backups:
    """Backups of one data directory, one at a time.

    Args:
        data_dir: what is copied.
        ledger: takes the receipt.
        clock: for the manifest.
        did: the daemon's identity.
        sign: signs as that identity.
    """

    def __init__(self, data_dir: Path, ledger: Ledger, clock: Clock, did: str, sign: Callable[[bytes], bytes]) -> None:
        self._data_dir = data_dir
        self._ledger = ledger
        self._clock = clock
        self._did = did
        self._sign = sign
        self._under_way = asyncio.Lock()

    async def create(self, out: Path, by: str, *, with_key: bool, seal: SealKey | AgeSeal | None = None) -> Manifest:
        """Make one.

        Args:
            out: the directory to make, or the file where it is sealed; its parent exists.
            by: who asked, for the receipt.
            with_key: whether `vault.key` is copied too: then who has the backup has every secret.
            seal: to whom or under what it is sealed, or None for a plain one.

        Raises:
            CallerError: the target exists, has no parent, is no absolute path or lies in the data directory; or
                another backup is being made.
            StoreError: something could not be read or written, or the chain does not verify.
        """
        if self._under_way.locked():
            raise CallerError("another backup is being made", code="conflict", hint="wait for it to end")
        async with self._under_way:
            # 1. the target
            _check_target(out, self._data_dir)
            started = backup_started_event(by, with_key=with_key, is_sealed=seal is not None)
            await self._record(Entry(started))
            if seal is None:
                manifest = await self._make_plain(out, with_key=with_key)
            else:
                manifest = await self._make_sealed(out, seal, with_key=with_key)
            # 5. the receipt
            digest_hex = sha256_hex_of(encode_manifest(manifest))
            event = backup_created_event(by, manifest.head_id, manifest.head_hash_hex, digest_hex)
            try:
                await self._record(Entry(event))
            except BaseException:
                await asyncio.to_thread(_remove, out)  # whoever hears of a failure has no backup either
                raise
            return manifest

    async def _record(self, entry: Entry) -> None:
        if not isinstance(await self._ledger.commit(entry), Committed):
            raise StoreError("the backup's receipt was refused")

    async def _make_plain(self, out: Path, *, with_key: bool) -> Manifest:
        """Steps 2 to 4; a directory that could not be finished is removed."""
        _make_target(out)
        try:
            # 2. copy and verify
            found = await _copy(self._data_dir, out, with_key=with_key)
            # 3. digest
            files = await asyncio.to_thread(_digests, out)
            # 4. the manifest
            manifest = self._manifest(found, files)
            text = encode_manifest(manifest)
            await asyncio.to_thread(_write_manifest, out, text, self._sign(signed_text(BACKUP, text)))
        except BaseException:
            shutil.rmtree(out, ignore_errors=True)
            raise
        return manifest

    async def _make_sealed(self, out: Path, seal: SealKey | AgeSeal, *, with_key: bool) -> Manifest:
        staging = self._data_dir / STAGING_DIR
        discard_staging(self._data_dir)
        try:
            _check_room(self._data_dir)
            manifest = await self._make_plain(staging, with_key=with_key)
            await asyncio.to_thread(pack_backup, staging, manifest, out, seal)
        except FileExistsError:
            raise _exists(out) from None
        except OSError as error:
            raise StoreError(f"`{out}` can not be written: {reason_of(error)}") from None
        finally:
            discard_staging(self._data_dir)
        return manifest

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
        sys.executable, "-I", "-m", "briefcase.backup.child", "copy", str(data_dir), str(out), *options,
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
        raise CallerError(f"`{out}` can not be made: {reason_of(error)}") from None


def _exists(out: Path) -> CallerError:
    return CallerError(f"`{out}` exists", code="conflict", hint="a backup is never overwritten")


def _digests(out: Path) -> tuple[ListedFile, ...]:
    paths = sorted(path for path in out.rglob("*") if path.is_file())
    return tuple(ListedFile(path.relative_to(out).as_posix(), *digest_of(path)) for path in paths)


def _write_manifest(out: Path, text: bytes, signature: bytes) -> None:
    write_private(out / SIGNATURE_NAME, encode_signature(signature))
    write_private(out / MANIFEST_NAME, text)
    fsync_dir(out.parent)
