r"""Backups sealed with age (https://age-encryption.org/v1), written and read by `pyrage`.

To public keys, the file is an age file and nothing else: `age --decrypt --identity FILE` opens it too. Under a
passphrase, it is an age file to a key of its own, which stands before it, itself an age file under the passphrase:

    briefcase-sealed-backup 2\n
    base64 of an age file under the passphrase that holds the identity, AGE-SECRET-KEY-1...\n
    the age file

so that the passphrase and its scrypt stay with whoever asks for the backup: the daemon is told a public key, and what
to write before it. age seals in pieces of 64 KiB whose last one is marked: a file that was changed or cut off anywhere
does not open to its end.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Callable, Iterable, Iterator
from threading import Thread
from types import TracebackType
from typing import IO, Final, Self

import msgspec
import pyrage
from pyrage import x25519

from briefcase.adapters.backup.manifest import another_key, damaged
from briefcase.model.errors import CallerError, StoreError

AGE_MAGIC: Final = b"age-encryption.org/v1\n"
WRAPPED_MAGIC: Final = b"briefcase-sealed-backup 2\n"
MAX_RECIPIENTS: Final = 16
MAX_WRAPPED_BYTES: Final = 2_048
MAX_SCRYPT_LOG_N: Final = 20  # 1 GiB: a file must not choose how much memory opening it takes
COPY_BYTES: Final = 64 << 10
_NO_IDENTITY: Final = "No matching keys found"  # what the library says of the one fault that is no damage,
_NOT_OPENED: Final = "Decryption failed"  # of keys and of a passphrase
_SCRYPT: Final = re.compile(rb"-> scrypt [A-Za-z0-9+/]+ (\d{1,2})\n")


class AgeSeal(msgspec.Struct, frozen=True):
    """To whom a backup is sealed: public keys (`age1...`), and what is written before the age file, where anything."""

    recipients: tuple[str, ...]
    wrapped_identity: bytes = b""


def check_recipients(texts: Iterable[str]) -> tuple[str, ...]:
    """Check public keys.

    Raises:
        CallerError: none, too many, or one that is no `age1...`.
    """
    recipients = tuple(texts)
    if not 1 <= len(recipients) <= MAX_RECIPIENTS:
        raise CallerError(f"expected 1 to {MAX_RECIPIENTS} recipients, got {len(recipients)}")
    for text in recipients:
        _recipient_of(text)
    return recipients


def wrap_new_identity(passphrase: str) -> AgeSeal:
    """A key for one new backup, under a passphrase; takes age's scrypt (about a second on the machine it runs on)."""
    identity = x25519.Identity.generate()
    wrapped = pyrage.passphrase.encrypt(str(identity).encode(), passphrase)
    return AgeSeal((str(identity.to_public()),), wrapped)


def parse_identities(data: bytes) -> tuple[x25519.Identity, ...]:
    """Read a file of identities, as `backup keygen` and `age-keygen` write it: one a line, `#` begins a comment.

    Raises:
        CallerError: it holds none, or something else.
    """
    lines = [line.strip() for line in data.decode("utf-8", "replace").splitlines()]
    try:
        identities = tuple(x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#"))
    except pyrage.IdentityError:
        identities = ()
    if not identities:
        raise CallerError("expected a file of age identities, one `AGE-SECRET-KEY-1...` a line (contents not shown)")
    return identities


# --- writing ----------------------------------------------------------------------------------------------------------


def write_age(file: IO[bytes], seal: AgeSeal, pieces: Iterator[bytes]) -> None:
    """Seal a stream.

    Args:
        file: where to; nothing was written to it yet.
        seal: to whom.
        pieces: the stream; what it raises is raised.

    Raises:
        OSError: the file cannot be written.
    """
    if seal.wrapped_identity:
        file.write(WRAPPED_MAGIC + base64.b64encode(seal.wrapped_identity) + b"\n")
    source = _Source(pieces)
    try:
        pyrage.encrypt_io(source, file, [_recipient_of(text) for text in seal.recipients])
    except pyrage.EncryptError as error:
        raise source.problem or StoreError("the backup could not be sealed", detail=str(error)) from None


class _Source:
    """A stream of pieces as a file to read; it keeps what a piece raised, which the library passes on as a text."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = memoryview(b"")
        self.problem: Exception | None = None

    def read(self, size: int = COPY_BYTES) -> bytes:
        try:
            while not self._piece:
                self._piece = memoryview(next(self._pieces))
        except StopIteration:
            return b""
        except Exception as error:
            self.problem = error
            raise
        part, self._piece = bytes(self._piece[:size]), self._piece[size:]
        return part


# --- reading ----------------------------------------------------------------------------------------------------------


class AgeReader:
    """Reads one sealed stream; the library pushes it through a pipe, from a thread that ends with the block.

    Args:
        file: at the beginning of the age file.
        identities: one of them opens it.
    """

    def __init__(self, file: IO[bytes], identities: tuple[x25519.Identity, ...]) -> None:
        source, sink = os.pipe()
        self._source = os.fdopen(source, "rb")
        self._problem: Exception | None = None
        self._thread = Thread(target=self._pour, args=(file, os.fdopen(sink, "wb"), identities), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._source.close()  # a thread that still writes hears that nobody reads
        self._thread.join()

    def read(self, size: int) -> bytes:
        """Exactly so many bytes of the stream.

        Raises:
            StoreError: it ends before, or does not open (`backup_damaged`).
        """
        data = self._source.read(size)
        if len(data) < size:
            self._thread.join()
            raise self._damage() or damaged("the sealed backup ends before what its manifest lists")
        return data

    def copy(self, size: int, write: Callable[[bytes], object]) -> None:
        """As `read`, a bounded part at a time."""
        while size:
            part = self.read(min(size, COPY_BYTES))
            write(part)
            size -= len(part)

    def check_end(self) -> None:
        """Check that the stream ends here, by its own word.

        Raises:
            StoreError: something follows, or its end is missing (`backup_damaged`).
        """
        if self._source.read(1):
            raise damaged("the sealed backup holds more than its manifest lists")
        self._thread.join()
        problem = self._damage()
        if problem is not None:
            raise problem

    def _pour(self, file: IO[bytes], sink: IO[bytes], identities: tuple[x25519.Identity, ...]) -> None:
        try:
            with sink:
                pyrage.decrypt_io(file, sink, identities)
        except Exception as error:  # noqa: BLE001 - said by the reader, in its thread
            self._problem = error

    def _damage(self) -> StoreError | None:
        if self._problem is None:
            return None
        said = str(self._problem)
        if said == _NO_IDENTITY:
            return another_key("the sealed backup is sealed to other keys than the identities that were given", said)
        if isinstance(self._problem, pyrage.DecryptError):
            return damaged("the sealed backup's beginning is damaged", said)
        return damaged("the sealed backup is damaged or cut off", said)


def read_wrapped_identity(file: IO[bytes], passphrase: bytes) -> x25519.Identity:
    """Read what stands between `WRAPPED_MAGIC` and the age file, and open it.

    Raises:
        StoreError: it does not open, or asks for more memory than may be (`backup_damaged`).
    """
    line = file.readline(MAX_WRAPPED_BYTES)
    try:
        wrapped = base64.b64decode(line.removesuffix(b"\n"), validate=True)
    except binascii.Error:
        wrapped = b""
    cost = _SCRYPT.search(wrapped)
    if cost is None or int(cost[1]) > MAX_SCRYPT_LOG_N:
        raise damaged("the sealed backup's beginning is damaged, or asks for more memory than opening it may take")
    try:
        opened = pyrage.passphrase.decrypt(wrapped, passphrase.decode("utf-8", "replace"))
        return x25519.Identity.from_str(opened.decode("ascii", "replace"))
    except (pyrage.DecryptError, pyrage.IdentityError) as error:
        if str(error) == _NOT_OPENED:
            raise another_key("the passphrase is not the one that the backup was sealed under", str(error)) from None
        raise damaged("the sealed backup's beginning is damaged", str(error)) from None


def _recipient_of(text: str) -> x25519.Recipient:
    try:
        return x25519.Recipient.from_str(text)
    except pyrage.RecipientError:
        got = f"`{text[:80]}`" if text.startswith("age1") else "another text (not shown: it may be the secret half)"
        raise CallerError(
            f"expected a public key `age1...`, got {got}",
            hint="`briefcase backup keygen --out FILE` makes a key and prints its public half",
        ) from None
