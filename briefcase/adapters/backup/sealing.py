r"""A sealed stream: what one backup holds, encrypted under a passphrase, in pieces that are each whole or refused.

    briefcase-sealed-backup 1\n
    {"kdf":"scrypt","n":131072,"r":8,"p":1,"salt":"...","nonce":"..."}\n
    piece, piece, ..., last piece

A piece is ChaCha20-Poly1305 (RFC 8439) over `PIECE_BYTES` of the stream, the last one over what is left. Its nonce is
its number, 11 bytes big-endian, and one byte that is 1 on the last piece alone (the STREAM construction of Hoang,
Reyhanitabar, Rogaway and Vizár, 2015): a piece that is changed, moved, repeated or dropped does not open, and a stream
that was cut off, even between two pieces, has no last one.

    key = HKDF-SHA256(scrypt(passphrase, salt), nonce, "briefcase backup v1\n" || header line)

so the header is sealed with the pieces, and two streams have two keys even where scrypt's key is used twice.

Nothing of a piece is given out before it has opened. The bounds of scrypt's cost are the vault's: a file must not
choose how much memory opening it takes.

This is the form of before age (`age`): such files open, and a command line of that time is served.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import IO, Annotated, Final, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from briefcase.adapters.backup.manifest import another_key, damaged
from briefcase.adapters.vault.sealed_file import KEY_BYTES, SALT_BYTES, check_scrypt_n, scrypt_key
from briefcase.model.errors import StoreError

MAGIC: Final = b"briefcase-sealed-backup 1\n"
PIECE_BYTES: Final = 64 << 10
TAG_BYTES: Final = 16
MAX_HEADER_BYTES: Final = 512
_INFO: Final = b"briefcase backup v1\n"
_NUMBER_BYTES: Final = 11

_Salt = Annotated[bytes, msgspec.Meta(min_length=SALT_BYTES, max_length=SALT_BYTES)]


class SealKey(msgspec.Struct, frozen=True):
    """What scrypt made of a passphrase: the key, and what is needed to make it again."""

    key: Annotated[bytes, msgspec.Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]
    salt: _Salt
    n: int


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kdf: Literal["scrypt"]
    n: int
    r: Literal[8]
    p: Literal[1]
    salt: _Salt
    nonce: _Salt


class SealWriter:
    """Writes one sealed stream; `finish` makes it whole.

    Args:
        file: where to; nothing was written to it yet.
        key: under which.
    """

    def __init__(self, file: IO[bytes], key: SealKey) -> None:
        header = _Header("scrypt", key.n, 8, 1, key.salt, os.urandom(SALT_BYTES))
        line = msgspec.json.encode(header) + b"\n"
        self._file = file
        self._cipher = _cipher(key.key, header.nonce, line)
        self._number = 0
        self._pending = bytearray()
        file.write(MAGIC + line)

    def write(self, data: bytes) -> None:
        """Append to the stream."""
        self._pending += data
        while len(self._pending) > PIECE_BYTES:  # the last piece is sealed as such, so one is always held back
            self._seal(bytes(self._pending[:PIECE_BYTES]), is_last=False)
            del self._pending[:PIECE_BYTES]

    def finish(self) -> None:
        """Seal what is left as the last piece."""
        self._seal(bytes(self._pending), is_last=True)

    def _seal(self, piece: bytes, *, is_last: bool) -> None:
        self._file.write(self._cipher.encrypt(_nonce(self._number, is_last=is_last), piece, None))
        self._number += 1


class SealReader:
    """Reads one sealed stream.

    Args:
        file: at its beginning.
        passphrase: it was sealed under.

    Raises:
        StoreError: it is no sealed stream, or does not open (`backup_damaged`).
    """

    def __init__(self, file: IO[bytes], passphrase: bytes) -> None:
        if file.read(len(MAGIC)) != MAGIC:
            raise damaged("the file is no sealed backup")
        line = file.readline(MAX_HEADER_BYTES)
        try:
            header = msgspec.json.decode(line, type=_Header)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise damaged("the sealed backup's header is damaged, or of a newer format", str(error)) from None
        problem = check_scrypt_n(header.n)
        if problem is not None:
            raise damaged(f"the sealed backup's header {problem}")
        self._file = file
        self._cipher = _cipher(scrypt_key(passphrase, header.salt, header.n), header.nonce, line)
        self._number = 0
        self._next = file.read(PIECE_BYTES + TAG_BYTES)
        self._pending = bytearray()
        self._ended = False
        self._open()

    def read(self, size: int) -> bytes:
        """Exactly so many bytes of the stream.

        Raises:
            StoreError: it ends before, or a piece does not open (`backup_damaged`).
        """
        while len(self._pending) < size:
            if self._ended:
                raise damaged("the sealed backup ends before what its manifest lists")
            self._open()
        data = bytes(self._pending[:size])
        del self._pending[:size]
        return data

    def copy(self, size: int, write: Callable[[bytes], object]) -> None:
        """As `read`, a bounded part at a time."""
        while size:
            part = self.read(min(size, PIECE_BYTES))
            write(part)
            size -= len(part)

    def check_end(self) -> None:
        """Check that the stream ends here, by its own word.

        Raises:
            StoreError: something follows, or its end is missing (`backup_damaged`).
        """
        if self._pending or not self._ended:
            raise damaged("the sealed backup holds more than its manifest lists")

    def _open(self) -> None:
        """Open the next piece: it is the last one where nothing follows it."""
        piece, self._next = self._next, self._file.read(PIECE_BYTES + TAG_BYTES)
        self._ended = not self._next
        opened = self._try(piece, is_last=self._ended)
        if opened is None:
            raise self._problem(piece)
        self._number += 1
        self._pending += opened

    def _try(self, piece: bytes, *, is_last: bool) -> bytes | None:
        try:
            return self._cipher.decrypt(_nonce(self._number, is_last=is_last), piece, None)
        except (InvalidTag, ValueError):
            return None

    def _problem(self, piece: bytes) -> StoreError:
        if self._ended and self._try(piece, is_last=False) is not None:
            return damaged("the sealed backup is cut off: its last piece is missing")
        if self._number == 0:
            return another_key("the passphrase is not the one that the backup was sealed under")
        if self._try(piece, is_last=True) is not None:
            return damaged("the sealed backup goes on after its last piece")
        return damaged(f"the sealed backup is damaged or cut off in piece {self._number + 1}")


def _cipher(key: bytes, nonce: bytes, header_line: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(HKDF(hashes.SHA256(), KEY_BYTES, nonce, _INFO + header_line).derive(key))


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(_NUMBER_BYTES, "big") + (b"\x01" if is_last else b"\x00")
