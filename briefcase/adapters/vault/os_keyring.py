"""Secrets in the operating system's keyring (Secret Service, KWallet, macOS Keychain), through `keyring`.

A keyring cannot list what it holds, so one more entry, `INDEX`, keeps the names (never a value). It is written
before a new value and after a removal: a crash in between leaves a name without a value, which reads as not set.
Values are stored as base64, because keyrings store text.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Final

import keyring.core
import keyring.errors
import msgspec
from keyring.backend import KeyringBackend

from briefcase.adapters.vault.secret import Secret
from briefcase.model.errors import ConfigError, StoreError

INDEX: Final = "#names"  # no secret can have this key: keys are `<compartment>/<name>`
MIN_PRIORITY: Final = 1.0  # `keyring` gives backends without encryption, and the failing ones, less than that


class UnansweringError(Exception):
    """There is a keyring, and it cannot be asked; says which, and the kind of what its library raised."""


def find_keyring() -> KeyringBackend | None:
    """The keyring of this session, or None where there is none that encrypts.

    Raises:
        UnansweringError: it cannot be asked.
    """
    asked = "the keyring's library"
    try:
        found = keyring.core.get_keyring()
        asked = f"`{type(found).__module__}`"
        every = (found, *getattr(found, "backends", ()))  # a chain is as strong as its weakest member
        if any(float(member.priority) < MIN_PRIORITY for member in every):
            return None
        found.get_password("briefcase", "#probe")
    except Exception as error:
        raise UnansweringError(f"{asked} raised {type(error).__name__}") from error
    return found


class OsKeyring:
    """A `vault.Backend` in the OS keyring.

    Args:
        ring: the keyring to use.
        data_dir: names the entries' service, so that two daemons of one user do not share secrets; a data directory
            that is moved must have its secrets set again.
    """

    def __init__(self, ring: KeyringBackend, data_dir: Path) -> None:
        self._ring = ring
        self._service = f"briefcase {data_dir}"

    def load(self) -> dict[str, Secret]:
        """Everything that is kept.

        Raises:
            StoreError: the keyring is locked, gone or failing (`secret_unavailable`).
            ConfigError: an entry is not what this product writes.
        """
        table = {}
        for key in self._names():
            value = self._read(key)
            if value is not None:
                table[key] = Secret(value)
        return table

    def store(self, key: str, value: Secret) -> None:
        """Put one value. Raises as `load`."""
        names = self._names()
        if key not in names:
            self._write(INDEX, msgspec.json.encode(sorted({*names, key})))
        self._write(key, bytes(value))

    def remove(self, key: str) -> None:
        """Remove one value. Raises as `load`."""
        names = self._names()
        if key in names:
            try:
                self._ring.delete_password(self._service, key)
            except keyring.errors.PasswordDeleteError:
                if self._read(key) is not None:
                    raise self._failed("remove") from None
            except Exception as error:
                raise self._failed("remove") from error
            self._write(INDEX, msgspec.json.encode(sorted(set(names) - {key})))

    def version(self) -> object:
        """The daemon is the one writer; asking the keyring would cost every call a round trip."""
        return None

    def _names(self) -> list[str]:
        index = self._read(INDEX)
        try:
            return msgspec.json.decode(index, type=list[str]) if index else []
        except msgspec.DecodeError as error:
            raise ConfigError(f"the keyring's list of names of `{self._service}` is damaged") from error

    def _read(self, key: str) -> bytes | None:
        try:
            text = self._ring.get_password(self._service, key)
        except Exception as error:
            raise self._failed("read") from error
        try:
            return None if text is None else base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ConfigError(
                f"the keyring's entry `{key}` of `{self._service}` was not written by briefcase"
            ) from error

    def _write(self, key: str, value: bytes) -> None:
        try:
            self._ring.set_password(self._service, key, base64.b64encode(value).decode())
        except Exception as error:
            raise self._failed("write") from error

    def _failed(self, verb: str) -> StoreError:
        return StoreError(
            f"could not {verb} the OS keyring `{self._ring.name}`",
            code="secret_unavailable",
            hint="unlock the keyring, or use the encrypted file: BRIEFCASE_SECRET_BACKEND=file",
        )
