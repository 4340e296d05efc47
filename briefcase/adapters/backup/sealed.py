"""A backup in one sealed file: packed from a plain one that lies in the data directory for the moment, and unpacked.

The stream holds the manifest, its signature, then each file in the manifest's order:

    4 bytes of length || manifest || 4 bytes of length || signature || file || file || ...

It is sealed with age (`age`), to public keys or under a passphrase; what an older command line made, or asks for, has a
form of its own (`sealing`). Unpacking checks in this order, so that nothing that is foreign, damaged or cut off is ever
opened:

 1. the first piece opens
 2. the manifest is signed, whose it is, and names only what a backup holds (`manifest.parse_manifest`)
 3. each file has the digest that was signed, while it is written
 4. the stream ends there, by its own last piece
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO, Final, Protocol

import msgspec
from pyrage import x25519

from briefcase.adapters.backup.age import AGE_MAGIC, WRAPPED_MAGIC, AgeReader, AgeSeal, read_wrapped_identity, write_age
from briefcase.adapters.backup.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    SIGNATURE_NAME,
    Manifest,
    damaged,
    parse_manifest,
)
from briefcase.adapters.backup.sealing import SealKey, SealReader, SealWriter
from briefcase.adapters.disk.checks import reason_of
from briefcase.adapters.disk.directories import fsync_tree, make_parents
from briefcase.adapters.disk.files import READ_BYTES, open_plain, write_new, write_whole
from briefcase.adapters.signed_manifest import ListedFile
from briefcase.model.errors import CallerError

_LENGTH_BYTES: Final = 4


class Keys(msgspec.Struct, frozen=True):
    """What sealed backups are opened with: a passphrase, identities of age, or both."""

    passphrase: bytes | None = None
    identities: tuple[x25519.Identity, ...] = ()


class Reader(Protocol):
    """A sealed stream that is being opened. Raises `StoreError` (`backup_damaged`) where it is not as it was made."""

    def read(self, size: int) -> bytes:
        """Exactly so many bytes of the stream."""
        ...

    def copy(self, size: int, write: Callable[[bytes], object]) -> None:
        """As `read`, a bounded part at a time."""
        ...

    def check_end(self) -> None:
        """Check that the stream ends here, by its own word."""
        ...


def pack_backup(plain: Path, manifest: Manifest, out: Path, seal: SealKey | AgeSeal) -> int:
    """Seal a plain backup into a file that appears whole under its name, or not at all. Returns its size.

    Raises:
        OSError: it cannot be read or written.
        StoreError: a file changed meanwhile (`backup_damaged`).
    """
    with write_whole(out, replaces=False) as file:
        pieces = _stream_of(plain, manifest)
        if isinstance(seal, AgeSeal):
            write_age(file, seal, pieces)
        else:
            writer = SealWriter(file, seal)
            for piece in pieces:
                writer.write(piece)
            writer.finish()
        return file.tell()


def unpack_backup(
    path: Path, keys: Keys, expected_did: str | None, work: Path, wanted: Callable[[str], bool]
) -> Manifest:
    """Check a sealed backup whole, and write the wanted files of it into an empty directory, each synced.

    Args:
        path: the sealed file.
        keys: what may open it.
        expected_did: whose it must be; None takes any daemon's.
        work: where to.
        wanted: tells by its name whether a file is written; the others are checked alone.

    Raises:
        CallerError: the key that it needs was not given.
        StoreError: it is not as it was made (`backup_damaged`); what was written is of no use.
        OSError: it cannot be read, or the files not be written.
    """
    # 1. the first piece
    with _open(path) as file, _reader_of(path, file, keys) as reader:
        # 2. the manifest
        manifest = parse_manifest(_head(reader), _head(reader), expected_did)
        # 3. the files
        for listed in manifest.files:
            _unpack_file(reader, listed, work if wanted(listed.path) else None)
        # 4. the end
        reader.check_end()
    fsync_tree(work)
    return manifest


def needs_passphrase(path: Path) -> bool:
    """Whether a sealed backup is under a passphrase, and not to public keys; what is no sealed backup counts as one.

    Raises:
        StoreError: it cannot be read (`backup_damaged`).
    """
    with _open(path) as file:
        return file.read(len(AGE_MAGIC)) != AGE_MAGIC


def _stream_of(plain: Path, manifest: Manifest) -> Iterator[bytes]:
    for name in (MANIFEST_NAME, SIGNATURE_NAME):
        data = (plain / name).read_bytes()
        yield len(data).to_bytes(_LENGTH_BYTES, "big") + data
    for listed in manifest.files:
        digest, size = sha256(), 0
        with open_plain(plain / listed.path) as file:
            while piece := file.read(READ_BYTES):
                digest.update(piece)
                size += len(piece)
                yield piece
        if (size, digest.hexdigest()) != (listed.bytes, listed.sha256_hex):
            raise damaged(f"`{listed.path}` changed while it was sealed")


@contextmanager
def _reader_of(path: Path, file: IO[bytes], keys: Keys) -> Iterator[Reader]:
    """Open the stream of a sealed backup, whichever of the three forms it has (`age`, `sealing`)."""
    begins = file.readline(len(WRAPPED_MAGIC))
    if begins not in {WRAPPED_MAGIC, AGE_MAGIC}:
        file.seek(0)
        yield SealReader(file, _passphrase(path, keys))
        return
    if begins == WRAPPED_MAGIC:
        identities = (read_wrapped_identity(file, _passphrase(path, keys)),)
    else:
        file.seek(0)
        identities = keys.identities
        if not identities:
            raise CallerError(
                f"`{path}` is sealed to public keys: expected an identity of one",
                hint="give `--identity FILE`, the file that `briefcase backup keygen` or `age-keygen` wrote",
            )
    with AgeReader(file, identities) as reader:
        yield reader


def _passphrase(path: Path, keys: Keys) -> bytes:
    if keys.passphrase is None:
        raise CallerError(f"`{path}` is sealed: expected its passphrase")
    return keys.passphrase


def _unpack_file(reader: Reader, listed: ListedFile, work: Path | None) -> None:
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


def _head(reader: Reader) -> bytes:
    size = int.from_bytes(reader.read(_LENGTH_BYTES), "big")
    if size > MAX_MANIFEST_BYTES:
        raise damaged(f"its manifest has {size} bytes, expected at most {MAX_MANIFEST_BYTES}")
    return reader.read(size)


def _open(path: Path) -> IO[bytes]:
    try:
        return open_plain(path)
    except OSError as error:
        raise damaged(f"`{path}` cannot be read: {reason_of(error)}") from None
