"""Opening the vault: which backend, decided once per data directory and never silently changed.

`auto` takes, in this order:

 1. the encrypted file, where there is one already, or where a passphrase was given
 2. the OS keyring, where this directory uses it already (`vault.keyring` says so): a keyring that is missing today
    is an error, not a reason to start empty elsewhere
 3. the OS keyring, where one answers; one that cannot be asked is warned of
 4. the encrypted file

A vault names the files that it makes, so that a start that is refused can remove them (`discard_new`): the next one,
with other settings, would find the secrets in another backend, or under another key.
"""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Final

from briefcase.adapters.disk.files import read_private, write_private
from briefcase.adapters.vault.sealed_file import KEY_FILE, SCRYPT_N, VAULT_FILE, SealedFile, discard_leftover
from briefcase.adapters.vault.vault import MemoryBackend, Vault, answer_of, begin_in_thread
from briefcase.model.errors import ConfigError

KEYRING_MARK: Final = "vault.keyring"


async def open_vault(
    backend: str, data_dir: Path, passphrase: bytes | None = None, *, scrypt_n: int = SCRYPT_N
) -> Vault:
    """Open the secrets of a data directory and read them all.

    Args:
        backend: `auto`, `keyring`, `file` or `memory`.
        data_dir: the directory, checked by `disk.data_dir.prepare_data_dir` and locked.
        passphrase: for the encrypted file; None means a key file beside it.
        scrypt_n: scrypt's cost, at least 2**17 but in tests.

    Raises:
        ConfigError: the backend is not there, is not the one this directory's secrets are in, or does not open.
        StoreError: the directory cannot be read or written.
    """
    return await answer_of(begin_vault(backend, data_dir, passphrase, scrypt_n=scrypt_n))


def begin_vault(backend: str, data_dir: Path, passphrase: bytes | None, *, scrypt_n: int = SCRYPT_N) -> Future[Vault]:
    """Begin to open the secrets of a data directory and to read them all, on a thread; `vault.answer_of` awaits it.

    What the thread changes is under the lock of the vault's own file, so that it may outlive a start that failed.
    Arguments and faults as `open_vault`; the key derivation of an encrypted file lets other threads run.
    """

    def opened() -> Vault:
        vault = _open_vault(backend, data_dir, passphrase, scrypt_n)
        vault.read()
        return vault

    return begin_in_thread(opened)


def discard_new(vault: Vault) -> None:
    """Remove the files that a vault made: nothing that was kept before is in them.

    Raises:
        OSError: one cannot be removed.
    """
    for path in vault.new_files:
        path.unlink(missing_ok=True)


def _open_vault(backend: str, data_dir: Path, passphrase: bytes | None, scrypt_n: int) -> Vault:
    mark, warning = data_dir / KEYRING_MARK, ""
    has_file = (data_dir / VAULT_FILE).exists()
    has_mark = read_private(mark) is not None
    if backend == "auto" and (has_file or passphrase is not None):
        backend = "file"
    if backend == "memory":
        return Vault(MemoryBackend(), "memory: secrets end with the process")
    if backend in {"auto", "keyring"}:
        _check_not_elsewhere(has_file, data_dir / VAULT_FILE, "file")
        from briefcase.adapters.vault import os_keyring

        try:
            ring = os_keyring.find_keyring()
        except os_keyring.UnansweringError as error:
            ring, warning = None, f"the OS keyring cannot be asked: {error}"
        if ring is not None:
            if not has_mark:
                write_private(mark, b"the secrets of this directory are in the OS keyring\n")
            marks = () if has_mark else (mark,)
            return Vault(os_keyring.OsKeyring(ring, data_dir), f"OS keyring: {ring.name}", new_files=marks)
        if backend == "keyring" or has_mark:
            problem = warning or "none answers in this session"
            raise ConfigError(
                f"expected an OS keyring that encrypts, but {problem}",
                hint="unlock the keyring of your desktop session, or use BRIEFCASE_SECRET_BACKEND=file for new secrets",
            )
    _check_not_elsewhere(has_mark, mark, "keyring")
    discard_leftover(data_dir)
    kind = "key file beside it" if passphrase is None else "passphrase"
    files = (data_dir / VAULT_FILE, data_dir / KEY_FILE)  # in the order they go: a key without its file opens nothing
    new_files = () if has_file else tuple(path for path in files if not path.exists())
    return Vault(
        SealedFile(data_dir, passphrase, scrypt_n=scrypt_n),
        f"encrypted file, {kind}",
        warning=warning,
        new_files=new_files,
    )


def _check_not_elsewhere(is_elsewhere: bool, path: Path, backend: str) -> None:  # noqa: FBT001 - the guard itself
    if is_elsewhere:
        raise ConfigError(
            f"`{path}` says that this directory's secrets are in another backend",
            hint=f"use BRIEFCASE_SECRET_BACKEND={backend}, or remove that file and set every secret again",
        )
