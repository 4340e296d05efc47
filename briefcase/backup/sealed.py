"""A backup in one sealed file: packed from a plain one that lies in the data directory for the moment, and unpacked.

The stream (`sealing`) holds the manifest, its signature, then each file in the manifest's order:

    4 bytes of length || manifest || 4 bytes of length || signature || file || file || ...

Unpacking checks in this order, so that nothing that is foreign, damaged or cut off is ever opened:

 1. the first piece opens under the passphrase
 2. the manifest is signed, whose it is, and names only what a backup holds (`manifest.parse_manifest`)
 3. each file has the digest that was signed, while it is written
 4. the stream ends there, by its own last piece
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import IO, Final

from briefcase.backup.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    SIGNATURE_NAME,
    BackupFile,
    Manifest,
    damaged,
    parse_manifest,
)
from briefcase.backup.sealing import SealKey, SealReader, SealWriter
from briefcase.disk.checks import reason_of
from briefcase.disk.directories import fsync_tree, make_parents
from briefcase.disk.files import digest_of, open_plain, write_new, write_whole

_LENGTH_BYTES: Final = 4


def pack_backup(plain: Path, manifest: Manifest, out: Path, key: SealKey) -> int:
    """Seal a plain backup into a file that appears whole under its name, or not at all. Returns its size.

    Raises:
        OSError: it can not be read or written.
        StoreError: a file changed meanwhile (`backup_damaged`).
    """
    with write_whole(out, replaces=False) as file:
        writer = SealWriter(file, key)
        for name in (MANIFEST_NAME, SIGNATURE_NAME):
            data = (plain / name).read_bytes()
            writer.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)
        for listed in manifest.files:
            if digest_of(plain / listed.path, writer.write) != (listed.bytes, listed.sha256_hex):
                raise damaged(f"`{listed.path}` changed while it was sealed")
        writer.finish()
        return file.tell()


def unpack_backup(
    path: Path, passphrase: bytes, expected_did: str | None, work: Path, wanted: Callable[[str], bool]
) -> Manifest:
    """Check a sealed backup whole, and write the wanted files of it into an empty directory, each synced.

    Args:
        path: the sealed file.
        passphrase: it was sealed under.
        expected_did: whose it must be; None takes any daemon's.
        work: where to.
        wanted: tells by its name whether a file is written; the others are checked alone.

    Raises:
        StoreError: it is not as it was made (`backup_damaged`); what was written is of no use.
        OSError: it can not be read, or the files not be written.
    """
    with _open(path) as file:
        # 1. the first piece
        reader = SealReader(file, passphrase)
        # 2. the manifest
        manifest = parse_manifest(_head(reader), _head(reader), expected_did)
        # 3. the files
        for listed in manifest.files:
            _unpack_file(reader, listed, work if wanted(listed.path) else None)
        # 4. the end
        reader.check_end()
    fsync_tree(work)
    return manifest


def _unpack_file(reader: SealReader, listed: BackupFile, work: Path | None) -> None:
    digest = sha256()
    if work is None:
        reader.copy(listed.bytes, digest.update)
    else:
        with write_new(make_parents(work, listed.path)) as file:

            def take(part: bytes) -> None:
                digest.update(part)
                file.write(part)

            reader.copy(listed.bytes, take)
    if digest.hexdigest() != listed.sha256_hex:
        raise damaged(f"`{listed.path}` has SHA-256 {digest.hexdigest()}, expected {listed.sha256_hex}")


def _head(reader: SealReader) -> bytes:
    size = int.from_bytes(reader.read(_LENGTH_BYTES), "big")
    if size > MAX_MANIFEST_BYTES:
        raise damaged(f"its manifest has {size} bytes, expected at most {MAX_MANIFEST_BYTES}")
    return reader.read(size)


def _open(path: Path) -> IO[bytes]:
    try:
        return open_plain(path)
    except OSError as error:
        raise damaged(f"`{path}` can not be read: {reason_of(error)}") from None
