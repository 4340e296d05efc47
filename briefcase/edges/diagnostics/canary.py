"""The canary search: are the vault's own secrets anywhere they must not be. No secret leaves this module, only places.

Every form `redaction` knows is looked for: as it is, base64 at each alignment, hexadecimal, percent and JSON escapes.
Files are read in pieces that overlap by more than the longest pattern; gzip, bzip2, xz and zip are looked into, one
level. A tar needs no more: it holds its files as they are. What could not be looked through, for whatever reason, is
said: it is not clean. What is shorter than eight bytes cannot be told from chance and is not looked for; how many
there are is said.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Final, Protocol, cast

import msgspec

from briefcase.core.redaction.redactor import MAX_PATTERN_BYTES, MIN_SECRET_BYTES, KnownSecrets, SecretRedactor

PIECE_BYTES: Final = 256 << 10
OVERLAP_BYTES: Final = 12 * MAX_PATTERN_BYTES  # of the longest pattern each byte may be an escape of six

_ZIP: Final = b"PK"
_ZSTANDARD: Final = b"\x28\xb5\x2f\xfd"
MAGIC_BYTES: Final = 6
_UNREADABLE: Final = (  # what the standard library raises for an archive that somebody cut, changed or made up
    OSError, EOFError, RuntimeError, LookupError, ValueError, zipfile.BadZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip


class _Gzip(gzip.GzipFile):
    """Takes the file first, as the others do."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(fileobj=file)


_UNPACKERS: Final[Mapping[bytes, Callable[[IO[bytes]], gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile]]] = {
    b"\x1f\x8b": _Gzip,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}


class Found(msgspec.Struct, frozen=True):
    """What one piece holds: (start, end) of each place, and how many secrets were looked for and could not be."""

    places: list[tuple[int, int]]
    secrets: int
    too_short: int


class Searcher(Protocol):
    """Looks through one piece of at most `PIECE_BYTES + OVERLAP_BYTES`: in this process, or in the daemon."""

    def search(self, piece: bytes) -> Found:
        """Where secrets are in it. Raises `BriefcaseError` where it cannot be told."""
        ...


class Place(msgspec.Struct, frozen=True):
    """Where a secret is: the file (and the member of an archive), the first byte, and how many."""

    where: str
    offset: int
    length: int


class Canary:
    """Looks for every secret that is known. One thread.

    Args:
        known: the secrets of the vault, and the tokens of the data directory.
    """

    def __init__(self, known: KnownSecrets) -> None:
        self._known = known
        self._redactor = SecretRedactor(known)

    def search(self, piece: bytes) -> Found:
        """Where secrets are in a piece of text."""
        secrets = self._known.redaction_set()
        too_short = sum(len(secret) < MIN_SECRET_BYTES for secret in secrets)
        return Found(self._redactor.find(piece), len(secrets) - too_short, too_short)


class Search:
    """One search over many files: what was looked through, what was found, and what could not be read."""

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher
        self.places: list[Place] = []
        self.unread: list[str] = []
        self.files = 0
        self.bytes = 0
        self.secrets = 0
        self.too_short = 0

    def look_at(self, path: Path) -> None:
        """Look through what somebody named: where it is a link, through what it leads to."""
        try:
            mode = path.stat().st_mode
        except OSError as error:
            self._could_not(path, error)
            return
        if stat.S_ISDIR(mode) or stat.S_ISREG(mode):
            self.look(path.resolve() if path.is_symlink() else path)
        else:
            self.unread.append(f"{utf8(str(path))}: neither a file nor a directory")

    def look(self, path: Path) -> None:
        """Look through a file, or everything below a directory; links are not followed."""
        try:
            mode = path.lstat().st_mode
            inside = sorted(path.iterdir()) if stat.S_ISDIR(mode) else []
        except OSError as error:
            self._could_not(path, error)
            return
        for inner in inside:
            self.look(inner)
        if stat.S_ISREG(mode):
            self.files += 1
            self.look_into(utf8(str(path)), lambda: path.open("rb"))

    def look_into(self, name: str, open_file: Callable[[], IO[bytes]]) -> None:
        """Look through a file, and through what is in it where it is an archive or compressed."""
        try:
            with open_file() as file:
                for inner, stream in _streams(name, file):
                    self.look_in(inner, stream)
        except _UNREADABLE as error:
            self._could_not(name, error)

    def _could_not(self, name: object, error: Exception) -> None:
        reason = os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else str(error)
        self.unread.append(f"{utf8(str(name))}: {reason or type(error).__name__}")

    def look_in(self, name: str, stream: IO[bytes]) -> None:
        """Look through one stream, called `name` in what is found."""
        start, told_to, kept = 0, 0, b""
        while True:
            fresh = stream.read(PIECE_BYTES)
            piece = kept + fresh
            found = self._searcher.search(piece)
            self.secrets, self.too_short = found.secrets, found.too_short
            for first, last in found.places:
                if start + last > told_to:
                    self.places.append(Place(name, start + first, last - first))
                    told_to = start + last
            self.bytes += len(fresh)
            if not fresh:
                return
            kept = piece[-OVERLAP_BYTES:]
            start += len(piece) - len(kept)


def is_compressed(beginning: bytes) -> bool:
    """Whether the `MAGIC_BYTES` a file begins with are those of one that is compressed, or a zip."""
    return beginning.startswith((*_UNPACKERS, _ZSTANDARD, _ZIP))


def utf8(text: str) -> str:
    """A name as JSON can hold it: bytes of it that are no UTF-8 as their escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _streams(name: str, file: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    """The file itself; for an archive or a compressed file what is in it as well."""
    magic = file.read(MAGIC_BYTES)
    file.seek(0)
    yield name, file
    file.seek(0)
    unpacker = next((unpacker for prefix, unpacker in _UNPACKERS.items() if magic.startswith(prefix)), None)
    if unpacker is not None:
        with unpacker(file) as stream:
            yield f"{name}:(uncompressed)", cast("IO[bytes]", stream)
    elif magic.startswith(_ZSTANDARD):
        raise ValueError("what is compressed with Zstandard cannot be looked into: decompress it first")
    elif zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for member in archive.namelist():
                with archive.open(member) as inner:
                    yield f"{name}:{member}", inner
