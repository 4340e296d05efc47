"""The canary search: are the vault's own secrets anywhere they must not be. No secret leaves this module, only places.

Every form `redaction` knows is looked for: as it is, base64 at each alignment, hexadecimal, percent and JSON escapes.
Files are read in pieces that overlap by more than the longest pattern; gzip, zip and tar are looked into, one level.
What is shorter than eight bytes can not be told from chance and is not looked for; how many there are is said.
"""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Final, Protocol

import msgspec

from briefcase.redaction import MAX_PATTERN_BYTES, MIN_SECRET_BYTES, KnownSecrets, SecretRedactor

PIECE_BYTES: Final = 256 << 10
OVERLAP_BYTES: Final = 2 * MAX_PATTERN_BYTES
_GZIP: Final = b"\x1f\x8b"


class Found(msgspec.Struct, frozen=True):
    """What one piece holds: (start, end) of each place, and how many secrets were looked for and could not be."""

    places: list[tuple[int, int]]
    secrets: int
    too_short: int


class Searcher(Protocol):
    """Looks through one piece of at most `PIECE_BYTES + OVERLAP_BYTES`: in this process, or in the daemon."""

    def search(self, piece: bytes) -> Found:
        """Where secrets are in it. Raises `BriefcaseError` where it can not be told."""
        ...


class Place(msgspec.Struct, frozen=True):
    """Where a secret is: the file (and the member of an archive), the first byte, and how many."""

    where: str
    offset: int
    length: int


class Canary:
    """Looks for everything a vault keeps, and for some more. One thread.

    Args:
        vault: the secrets that are kept.
        more: others that must not be anywhere, as the tokens of the data directory.
    """

    def __init__(self, vault: KnownSecrets, more: tuple[bytes, ...]) -> None:
        self._known = _Everything(vault, more)
        self._redactor = SecretRedactor(self._known)

    def search(self, piece: bytes) -> Found:
        """Where secrets are in a piece of text."""
        secrets = self._known.redaction_set()
        too_short = sum(len(secret) < MIN_SECRET_BYTES for secret in secrets)
        return Found(self._redactor.find(piece), len(secrets) - too_short, too_short)


class _Everything:
    """The vault's secrets and some more, as the redactor wants them."""

    def __init__(self, vault: KnownSecrets, more: tuple[bytes, ...]) -> None:
        self._vault = vault
        self._more = frozenset(more)

    @property
    def revision(self) -> int:
        return self._vault.revision

    def redaction_set(self) -> frozenset[bytes]:
        return self._vault.redaction_set() | self._more


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

    def look(self, path: Path) -> None:
        """Look through a file, or everything below a directory; links are not followed."""
        try:
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                for inner in sorted(path.iterdir()):
                    self.look(inner)
            elif stat.S_ISREG(mode):
                self.files += 1
                for name, stream in _streams(path):
                    self.look_in(name, stream)
        except (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, RuntimeError) as error:
            reason = os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else str(error)
            self.unread.append(f"{path}: {reason}")

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


def _streams(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The file itself; for an archive or a compressed file what is in it as well."""
    with path.open("rb") as file:
        yield str(path), file
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as stream:
                    yield f"{path}:{name}", stream
    elif tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            for member in archive:
                opened = archive.extractfile(member)
                if opened is not None:
                    with closing(opened) as inner:
                        yield f"{path}:{member.name}", inner
    else:
        with path.open("rb") as file:
            is_gzip = file.read(len(_GZIP)) == _GZIP
        if is_gzip:
            with gzip.open(path) as stream:
                yield f"{path}:(uncompressed)", stream  # type: ignore[misc] # a GzipFile reads bytes
