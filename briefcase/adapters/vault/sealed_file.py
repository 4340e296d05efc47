"""Secrets in one encrypted file: scrypt (RFC 7914) or a key file, then ChaCha20-Poly1305 (RFC 8439) over everything.

The file is a JSON object: `header` (format, version, key derivation, salt, nonce) and `ciphertext`. The header's
bytes are the associated data, so no parameter can be changed; all names and values are sealed together, so no value
can be moved to another name, removed or put back alone. What can be done to it is to replace the whole file by an
older one: that is a restore, and looks like one.

What the protection is worth:

- With a passphrase, as much as the passphrase: who has the file pays one scrypt run (128 MiB, about 0.3 s) a guess.
- Without one, the key is 32 random bytes in `vault.key` beside the file. That protects a copy of the file *alone*
  (a backup without the key, a file posted by mistake). It protects nothing against who can read the directory.

Against the user who runs the daemon, or root, no file protects anything: they can read the daemon's memory.

Crash order of a change: as `disk.files.write_whole`, under the lock of `vault.lock`; the old file or the new.
"""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from briefcase.adapters.disk.directories import fsync_dir
from briefcase.adapters.disk.files import read_private, temporary_of, write_private
from briefcase.adapters.disk.locks import locked
from briefcase.adapters.vault.secret import Secret
from briefcase.model.errors import ConfigError, StoreError

VAULT_FILE: Final = "vault.json"
KEY_FILE: Final = "vault.key"
LOCK_FILE: Final = "vault.lock"

SCRYPT_N: Final = 1 << 17  # with r = 8: 128 MiB a guess (OWASP's first choice)
MIN_SCRYPT_N: Final = 1 << 17
MAX_SCRYPT_N: Final = 1 << 20  # 1 GiB: a file must not choose how much memory opening it takes
KEY_BYTES: Final = 32
SALT_BYTES: Final = 16
NONCE_BYTES: Final = 12


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is needed to open the file. `kdf` is `scrypt` (with `n`, `r`, `p`) or `key-file` (HKDF-SHA256)."""

    format: Literal["briefcase-vault"]
    version: Literal[1]
    kdf: Literal["scrypt", "key-file"]
    salt: Annotated[bytes, msgspec.Meta(min_length=SALT_BYTES, max_length=SALT_BYTES)]
    nonce: Annotated[bytes, msgspec.Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
    n: int = 0
    r: Literal[8] = 8
    p: Literal[1] = 1


class _Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    header: Header
    ciphertext: bytes


class SealedFile:
    """A `vault.Backend` in one encrypted file.

    Args:
        data_dir: the directory of `vault.json`, `vault.key` and `vault.lock`; checked by the caller.
        passphrase: what the key is derived from; None means the key file, made at the first change.
        scrypt_n: the cost of derivation, for a new file and the least that is accepted of an old one.
    """

    def __init__(self, data_dir: Path, passphrase: bytes | None, *, scrypt_n: int = SCRYPT_N) -> None:
        self._path = data_dir / VAULT_FILE
        self._key_path = data_dir / KEY_FILE
        self._lock_path = data_dir / LOCK_FILE
        self._passphrase = None if passphrase is None else Secret(passphrase)
        self._scrypt_n = scrypt_n
        self._derived: dict[tuple[str, int, bytes], ChaCha20Poly1305] = {}  # one entry: scrypt runs once a process

    def load(self) -> dict[str, Secret]:
        """Open the file; an absent one holds nothing.

        Raises:
            ConfigError: wrong passphrase, damaged, truncated, of another format, or not a private file.
            StoreError: it could not be read (`secret_unavailable`).
        """
        data = read_private(self._path)
        return {} if data is None else self._open(data)[1]

    def store(self, key: str, value: Secret) -> None:
        """Put one value durably. Raises as `load`."""
        with locked(self._lock_path):
            self._rewrite({key: value}, without=None)

    def remove(self, key: str) -> None:
        """Remove one value durably: neither the file nor a left-over holds it after. Raises as `load`."""
        with locked(self._lock_path):
            self._rewrite({}, without=key)

    def version(self) -> object:
        """The identity of the file as it is now: each change makes a new inode."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return (found.st_ino, found.st_mtime_ns, found.st_size)

    def _rewrite(self, changed: dict[str, Secret], *, without: str | None) -> None:
        data = read_private(self._path)
        header, table = self._open(data) if data is not None else (self._new_header(), {})
        table.update(changed)
        table.pop(without or "", None)
        write_private(self._path, self._seal(header, table))

    def _open(self, data: bytes) -> tuple[Header, dict[str, Secret]]:
        try:
            sealed = msgspec.json.decode(data, type=_Sealed)
        except msgspec.DecodeError as error:
            raise self._unusable("is truncated, damaged, or of a newer format", str(error)) from error
        if _encode(sealed) != data:
            raise self._unusable("is not in the form that it is written in: something else changed it")
        cipher = self._cipher(sealed.header)
        try:
            plain = cipher.decrypt(sealed.header.nonce, sealed.ciphertext, msgspec.json.encode(sealed.header))
            table = msgspec.json.decode(plain, type=dict[str, bytes])
        except (InvalidTag, msgspec.DecodeError) as error:
            source = "BRIEFCASE_MASTER_PASSPHRASE" if self._passphrase else f"`{self._key_path}`"
            raise self._unusable(
                f"does not open: {source} is not the one it was sealed with, or it is damaged"
            ) from error
        return sealed.header, {name: Secret(value) for name, value in table.items()}

    def _seal(self, header: Header, table: dict[str, Secret]) -> bytes:
        header = msgspec.structs.replace(header, nonce=os.urandom(NONCE_BYTES))
        plain = msgspec.json.encode({name: bytes(value) for name, value in sorted(table.items())})
        ciphertext = self._cipher(header).encrypt(header.nonce, plain, msgspec.json.encode(header))
        return _encode(_Sealed(header, ciphertext))

    def _new_header(self) -> Header:
        salt, nonce = os.urandom(SALT_BYTES), bytes(NONCE_BYTES)
        if self._passphrase is None:
            return Header("briefcase-vault", 1, "key-file", salt, nonce)
        return Header("briefcase-vault", 1, "scrypt", salt, nonce, n=self._scrypt_n)

    def _cipher(self, header: Header) -> ChaCha20Poly1305:
        chosen = (header.kdf, header.n, header.salt)
        if chosen not in self._derived:
            self._derived = {chosen: ChaCha20Poly1305(self._derive(header))}
        return self._derived[chosen]

    def _derive(self, header: Header) -> bytes:
        if (header.kdf == "scrypt") != (self._passphrase is not None):
            wanted, hint = (
                ("a passphrase", "set BRIEFCASE_MASTER_PASSPHRASE")
                if header.kdf == "scrypt"
                else (f"`{self._key_path.name}`", "unset BRIEFCASE_MASTER_PASSPHRASE")
            )
            raise ConfigError(f"`{self._path}` was sealed with {wanted}", hint=hint)
        if self._passphrase is None:
            key = self._key_file(may_create=not self._path.exists())
            return HKDF(hashes.SHA256(), KEY_BYTES, header.salt, b"briefcase vault v1").derive(key)
        problem = check_scrypt_n(header.n, min(MIN_SCRYPT_N, self._scrypt_n))
        if problem is not None:
            raise self._unusable(problem)
        return scrypt_key(self._passphrase, header.salt, header.n)

    def _key_file(self, *, may_create: bool) -> Secret:
        text = read_private(self._key_path)
        if text is None and may_create:
            text = base64.b64encode(os.urandom(KEY_BYTES)) + b"\n"
            write_private(self._key_path, text)
        if text is None:
            raise ConfigError(
                f"`{self._key_path}` is missing, and `{self._path}` does not open without it",
                hint="restore it from the backup it was kept in",
            )
        try:
            key = base64.b64decode(text.strip(), validate=True)
        except binascii.Error:
            key = b""
        if len(key) != KEY_BYTES:
            raise ConfigError(f"expected `{self._key_path}` to hold {KEY_BYTES} bytes as base64")
        return Secret(key)

    def _unusable(self, problem: str, detail: str = "") -> ConfigError:
        return ConfigError(f"`{self._path}` {problem}", hint="restore it from a backup", detail=detail)


def check_scrypt_n(n: int, least: int = MIN_SCRYPT_N) -> str | None:
    """What is wrong with scrypt's cost as a file states it, or None: neither so little nor so much may be asked for."""
    if least <= n <= MAX_SCRYPT_N and not n & (n - 1):
        return None
    return f"has scrypt n = {n}, expected a power of two from {least} to {MAX_SCRYPT_N}"


def scrypt_key(passphrase: bytes, salt: bytes, n: int) -> bytes:
    """A key of `KEY_BYTES` from a passphrase (RFC 7914, with r = 8 and p = 1)."""
    return Scrypt(salt, KEY_BYTES, n, 8, 1).derive(passphrase)


def _encode(sealed: _Sealed) -> bytes:
    return msgspec.json.encode(sealed) + b"\n"


def discard_leftover(data_dir: Path) -> None:
    """Remove what a crash in the middle of a change may have left: a copy of secrets, sealed but of no use.

    Raises:
        StoreError: it could not be removed (`secret_unavailable`).
    """
    try:
        with locked(data_dir / LOCK_FILE):
            for name in (VAULT_FILE, KEY_FILE):
                temporary_of(data_dir / name).unlink(missing_ok=True)
            fsync_dir(data_dir)
    except OSError as error:
        raise StoreError(f"could not clean `{data_dir}`", code="secret_unavailable", detail=str(error)) from error
