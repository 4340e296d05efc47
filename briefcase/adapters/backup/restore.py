"""Verifying a backup, and restoring one: everything is checked before anything of it is opened.

`verify_backup`:

 1. the manifest, its signature and whose it is (`manifest.parse_manifest`)
 2. every file it lists is there, a plain file of that size and digest, and nothing else is
 3. the chain, whole, in a process of its own; it ends at the head that was signed
 4. the anchor, where one is given

Of a sealed backup (`sealed.unpack_backup`) steps 1 and 2 read the stream to its end; the ledger in it is decrypted
into a private temporary directory for steps 3 and 4, and removed with it.

`restore_backup`, and what a crash leaves after each:

 1. the target is absent or empty, and nobody's                     nothing
 2. verify the backup                                                nothing
 3. copy into a directory beside the target, digest and sync each    a directory `NAME.restoring`, of no use
 4. rename it to the target                                          the whole of it

A sealed one is unpacked as step 3 and verified there, before step 4.

The ledger in a backup carries the mark of a copy: the daemon that opens it starts a new epoch (`ledger.recovery`).
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from briefcase.adapters.backup.create import parse_said
from briefcase.adapters.backup.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    SIGNATURE_NAME,
    VAULT_KEY_FILE,
    Manifest,
    damaged,
    is_known,
    parse_manifest,
)
from briefcase.adapters.backup.sealed import Keys, unpack_backup
from briefcase.adapters.disk.checks import reason_of
from briefcase.adapters.disk.data_dir import LEDGER_DIR, LOCK_FILE
from briefcase.adapters.disk.directories import fsync_dir, fsync_tree, make_parents, make_private_dir
from briefcase.adapters.disk.files import digest_of, read_private, write_new, write_private
from briefcase.adapters.disk.locks import holder_of, try_lock
from briefcase.core.receipts.chain import GENESIS, decode_key, hash_hex_of
from briefcase.model.effects import Head
from briefcase.model.errors import CallerError, ConfigError, StoreError

UNSIGNED: Final = {MANIFEST_NAME, SIGNATURE_NAME}
NO_KEYS: Final = Keys()


def verify_backup(backup: Path, expected_did: str | None, anchor: Head | None = None, keys: Keys = NO_KEYS) -> Manifest:
    """Check a backup; nothing of it is opened before its digests are those that were signed.

    Args:
        backup: its directory, or its sealed file.
        expected_did: whose it must be; None takes any daemon's.
        anchor: a head noted elsewhere, which its chain must contain.
        keys: what may open a sealed one.

    Raises:
        CallerError: there is no such directory or file (`not_found`), or a sealed one and not its key.
        StoreError: it is no backup, or not as it was made (`backup_damaged`, `receipt_chain_broken`).
    """
    if not is_sealed(backup):
        # 1. and 2. the manifest, the files
        manifest = parse_manifest(_small(backup / MANIFEST_NAME), _small(backup / SIGNATURE_NAME), expected_did)
        _check_files(backup, manifest)
        # 3. and 4. the chain, the anchor
        _check_chain(backup, manifest, anchor)
        return manifest
    with tempfile.TemporaryDirectory(prefix="briefcase-verify-") as scratch:
        # 1. and 2.
        manifest = _unpack(backup, keys, expected_did, Path(scratch), _is_of_ledger)
        # 3. and 4.
        _check_chain(Path(scratch), manifest, anchor)
    return manifest


def restore_backup(
    backup: Path, target: Path, expected_did: str, key_file: Path | None = None, keys: Keys = NO_KEYS
) -> Manifest:
    """Make a data directory out of a backup.

    Args:
        backup: its directory, or its sealed file.
        target: the new data directory: absent, or empty.
        expected_did: whose the backup must be.
        key_file: the vault's key, where the backup was made without it.
        keys: what may open a sealed one.

    Raises:
        CallerError: the target holds something (`conflict`), or its parent is missing.
        ConfigError: a daemon is running on the target (`already_running`).
        StoreError: as `verify_backup`; nothing was written.
    """
    # 1. the target
    target = target.absolute()
    _check_target(target)
    key = None if key_file is None else read_private(key_file)
    if key_file is not None and key is None:
        raise CallerError(f"no file `{key_file}`", code="not_found")
    # 2. the backup
    manifest = None if is_sealed(backup) else verify_backup(backup, expected_did)
    # 3. copy
    work = target.with_name(f"{target.name}.restoring")
    try:
        make_private_dir(work)
    except FileExistsError:
        raise CallerError(
            f"`{work}` exists", code="conflict", hint="an earlier restore ended early: look at it, then remove it"
        ) from None
    try:
        if manifest is not None:
            _copy(backup, work, manifest)
        else:
            manifest = _unpack(backup, keys, expected_did, work, is_known)
            _check_chain(work, manifest, None)
        if key is not None:
            write_private(work / VAULT_KEY_FILE, key)
        # 4. rename
        work.rename(target)
        fsync_dir(target.parent)
    except OSError as error:
        raise StoreError(f"`{target}` cannot be written: {reason_of(error)}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return manifest


def is_sealed(backup: Path) -> bool:
    """Whether a backup is a sealed file, and so needs a key.

    Raises:
        CallerError: there is nothing (`not_found`).
    """
    if backup.is_dir():
        return False
    if not os.path.lexists(backup):
        raise CallerError(f"no directory or file `{backup}`", code="not_found")
    return True


def _unpack(backup: Path, keys: Keys, expected_did: str | None, work: Path, wanted: Callable[[str], bool]) -> Manifest:
    try:
        return unpack_backup(backup, keys, expected_did, work, wanted)
    except OSError as error:
        raise StoreError(
            f"`{work}` cannot be written: {reason_of(error)}",
            hint="TMPDIR names the directory where `verify` decrypts the ledger",
        ) from None


def _is_of_ledger(name: str) -> bool:
    return name.startswith(f"{LEDGER_DIR}/")


def _check_chain(directory: Path, manifest: Manifest, anchor: Head | None) -> None:
    # 3. the chain
    done = subprocess.run(
        [sys.executable, "-I", "-m", "briefcase.adapters.backup.child", "check", str(directory)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        env={},
    )
    found = parse_said(done.stdout, done.returncode)
    if (found.head_id, found.head_hash_hex) != (manifest.head_id, manifest.head_hash_hex):
        raise damaged(
            f"its chain ends at {found.head_id}:{found.head_hash_hex},"
            f" expected {manifest.head_id}:{manifest.head_hash_hex}"
        )
    # 4. the anchor
    if anchor is not None:
        _check_anchor(directory, anchor)


def _check_files(directory: Path, manifest: Manifest) -> None:
    listed = {file.path: file for file in manifest.files}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        mode = path.lstat().st_mode
        if name in UNSIGNED or stat.S_ISDIR(mode):
            continue
        if name not in listed or not stat.S_ISREG(mode):
            raise damaged(f"`{name}` is not of this backup: it is not in its manifest, or is no plain file")
    for name, file in listed.items():
        try:
            size, sha256_hex = digest_of(directory / name)
        except OSError as error:
            raise damaged(f"`{name}` cannot be read: {reason_of(error)}") from None
        if size != file.bytes:
            raise damaged(f"`{name}` has {size} bytes, expected {file.bytes}")
        if sha256_hex != file.sha256_hex:
            raise damaged(f"`{name}` has SHA-256 {sha256_hex}, expected {file.sha256_hex}")


def _check_anchor(directory: Path, anchor: Head) -> None:
    """The chain was verified just now: what is left to see is whether the anchor is in it."""
    if anchor.id == 0:  # the head of an empty chain, before every first receipt
        if anchor != GENESIS:
            raise damaged(f"the anchor 0 names {anchor.hash_hex}, expected {GENESIS.hash_hex}")
        return
    from briefcase.adapters.ledger.files import open_files  # opened only once it is verified

    with open_files(directory) as files:
        found = files.slice_from(anchor.id, 1)
    if not found or decode_key(found[0][0]) != anchor.id:
        raise damaged(f"its chain ends before the anchor {anchor.id}: it is older than that")
    if hash_hex_of(found[0][1]) != anchor.hash_hex:
        raise damaged(f"its receipt {anchor.id} is not the one the anchor names: it is of another chain")


def _check_target(target: Path) -> None:
    if not target.parent.is_dir():
        raise CallerError(f"no directory `{target.parent}`", code="not_found", hint="make it first")
    if not os.path.lexists(target):
        return
    if target.is_symlink() or not target.is_dir():
        raise CallerError(f"`{target}` is no directory", code="conflict")
    lock = target / LOCK_FILE
    if lock.is_file() and not lock.is_symlink():
        with lock.open("rb") as held:
            if not try_lock(held.fileno()):
                problem = f"a daemon is running on `{target}`: {holder_of(held.fileno())}"
                raise ConfigError(problem, code="already_running", hint="stop it first")
    if any(target.iterdir()):
        raise CallerError(
            f"`{target}` is not empty",
            code="conflict",
            hint="restore into a new directory, and point the daemon at it",
        )


def _copy(directory: Path, work: Path, manifest: Manifest) -> None:
    """Copy what was verified; each file is digested again on its way, so what changed in between is found."""
    for file in manifest.files:
        path = make_parents(work, file.path)
        with write_new(path) as out:
            copied = digest_of(directory / file.path, out.write)
        if copied != (file.bytes, file.sha256_hex):
            raise damaged(f"`{file.path}` changed while it was restored")
    fsync_tree(work)


def _small(path: Path) -> bytes:
    """A file of the manifest's, bounded and no link."""
    pieces: list[bytes] = []
    try:
        if not stat.S_ISREG(path.lstat().st_mode) or path.lstat().st_size > MAX_MANIFEST_BYTES:
            raise damaged(f"`{path.name}` is no plain file of at most {MAX_MANIFEST_BYTES} bytes")
        digest_of(path, pieces.append)
    except OSError:
        raise damaged(f"`{path.parent}` is no backup: it has no `{path.name}`") from None
    return b"".join(pieces)
