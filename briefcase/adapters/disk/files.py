"""Files that appear whole under their name or not at all, private whatever the umask, and read through no link.

The order of system calls, as `strace` shows it, and what a crash after each leaves:

    write_whole(PATH)
     1. unlink(PATH.new)                                                      the file as it was
     2. openat(PATH.new, O_WRONLY|O_CREAT|O_EXCL|O_NOFOLLOW|O_CLOEXEC, 0600)  the same; the next write removes PATH.new
     3. write(PATH.new)                                                       the same
     4. fsync(PATH.new)                                                       the same
     5. rename(PATH.new, PATH)                                                the old file or the new one, whole
     6. openat(DIRECTORY, O_RDONLY|O_CLOEXEC|O_DIRECTORY)                     the same
     7. fsync(DIRECTORY)                                                      the new one, after a power cut too

    write_whole(PATH, replaces=False): as above, but for step 5
     5. link(PATH.new, PATH)                                                  no file, or the new one, whole
        unlink(PATH.new)                                                      the new one

    write_new(PATH), in a directory that nothing reads before it is renamed or its manifest is written
     1. openat(PATH, O_WRONLY|O_CREAT|O_EXCL|O_NOFOLLOW|O_CLOEXEC, 0600)      a file that nothing reads
     2. write(PATH)                                                           the same
     3. fsync(PATH)                                                           the file, once its directory is synced

    read_private(PATH)
     1. openat(PATH, O_RDONLY|O_NONBLOCK|O_NOFOLLOW|O_CLOEXEC)                nothing changes

    open_private(PATH)
     1. openat(PATH, O_RDWR|O_CREAT|O_NONBLOCK|O_NOFOLLOW|O_CLOEXEC, 0600)    an empty file, or none

Where the umask takes the owner's own bits, fchmod(0600) follows the openat that makes a file. What is read is checked
by fstat(2) of what was opened (`checks`), and a pipe is opened without waiting for its writer.

The temporary name is fixed, so that a crash leaves at most one copy, and the next write removes it: a caller with
concurrent writers holds `locks.locked` around it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from briefcase.adapters.disk.checks import PRIVATE_FILE, PRIVATE_FILE_MODE, check_rule, kind_of, reason_of
from briefcase.adapters.disk.directories import fsync_dir
from briefcase.model.errors import ConfigError, StoreError

MAX_PRIVATE_FILE_BYTES: Final = 16 << 20
READ_BYTES: Final = 1 << 20
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PLAIN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_KEPT: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OF_THE_DISK: Final = frozenset({errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_NO_HARD_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})  # FAT, some network file systems

# --- writing ----------------------------------------------------------------------------------------------------------


@contextmanager
def write_whole(
    path: Path,
    *,
    replaces: bool = True,
    mode: int = PRIVATE_FILE_MODE,
    check: Callable[[Path], object] = lambda _written: None,
) -> Iterator[IO[bytes]]:
    """A file that has its name once it is whole and synced, or never: what the block writes, unless it raises.

    Args:
        path: its name; a link there is replaced, never written through.
        replaces: take the place of a file that exists.
        mode: its mode, where it is not to be private.
        check: is given the temporary path of the synced file before it has its name; may raise.

    Raises:
        FileExistsError: there is one, and it is not to be replaced.
        OSError: the disk refused; the old file is untouched.
    """
    if not replaces and os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    temporary = temporary_of(path)
    # 1. a write that was killed left it, or it is somebody's who waits for ours
    temporary.unlink(missing_ok=True)
    try:
        # 2. to 4. create, write, sync
        with write_new(temporary, mode=mode) as file:
            yield file
        check(temporary)
        # 5. the name
        if replaces:
            os.rename(temporary, path)
        else:
            _name_once(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    # 6. and 7. the directory
    fsync_dir(path.parent)


@contextmanager
def write_new(path: Path, *, mode: int = PRIVATE_FILE_MODE) -> Iterator[IO[bytes]]:
    """A new file under its very name, synced when the block ends; for a directory that nothing reads yet.

    Raises:
        FileExistsError: there is one.
        OSError: it cannot be made, written or synced; what was written stays.
    """
    descriptor = os.open(path, _NEW, mode)
    with os.fdopen(descriptor, "wb") as file:
        _keep_owner_bits(descriptor)
        yield file
        file.flush()
        os.fsync(descriptor)


def write_private(path: Path, data: bytes) -> None:
    """Replace a private file whole (`write_whole`).

    Raises:
        StoreError: the disk refused (`secret_unavailable`); the old file is untouched.
    """
    try:
        with write_whole(path) as file:
            file.write(data)
    except OSError as error:
        raise StoreError(
            f"could not write `{path}`: {reason_of(error)}",
            code="secret_unavailable",
            hint="check the free space and the permissions of its directory",
        ) from error


def settle(path: Path) -> None:
    """Make a file that a library wrote private and durable.

    Raises:
        OSError: it cannot be opened, changed or synced.
    """
    descriptor = os.open(path, _PLAIN)
    try:
        os.fchmod(descriptor, PRIVATE_FILE_MODE)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_of(path: Path) -> Path:
    """Where `write_whole` prepares the new content."""
    return path.with_name(f"{path.name}.new")


def _name_once(temporary: Path, path: Path) -> None:
    """Give a file its name where nothing has it: link(2), unlike rename(2), never replaces."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS or os.path.lexists(path):
            raise
        os.rename(temporary, path)
    else:
        temporary.unlink()


def _keep_owner_bits(descriptor: int) -> None:
    if os.fstat(descriptor).st_mode & PRIVATE_FILE_MODE != PRIVATE_FILE_MODE:
        os.fchmod(descriptor, PRIVATE_FILE_MODE)


# --- reading, and files that stay open --------------------------------------------------------------------------------


def read_private(path: Path, *, max_bytes: int = MAX_PRIVATE_FILE_BYTES) -> bytes | None:
    """Read a file that only its owner may touch.

    Args:
        path: the file; its last component may not be a symbolic link.
        max_bytes: the largest size that is read.

    Raises:
        ConfigError: it is a link, no regular file, another user's, open to others, or too large.
        StoreError: it could not be read (`secret_unavailable`).

    Returns:
        The bytes, or None where there is no such file.
    """
    try:
        descriptor = os.open(path, _PLAIN)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        found = os.fstat(descriptor)
        check_rule(path, found, PRIVATE_FILE)
        if found.st_size > max_bytes:
            raise ConfigError(f"expected `{path}` to hold at most {max_bytes} bytes, got {found.st_size}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(max_bytes + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(descriptor)


def open_private(path: Path, *, appends: bool = False, creates: bool = True) -> int:
    """Open a private file to read and write it. Returns its descriptor.

    Args:
        path: the file; its last component may not be a symbolic link.
        appends: every write goes to its end.
        creates: make it where it is missing.

    Raises:
        ConfigError: it cannot be opened, is a link, no regular file, another user's or open to others; an empty one of
            ours is closed to others instead (`insecure_host`).
        StoreError: the disk fails, is full or takes no writes.
    """
    try:
        flags = _KEPT | (os.O_APPEND if appends else 0) | (os.O_CREAT if creates else 0)
        descriptor = os.open(path, flags, PRIVATE_FILE_MODE)
    except OSError as error:
        if error.errno in _OF_THE_DISK:
            hint = "check the disk and its free space"
            raise StoreError(f"cannot open `{path}`: {reason_of(error)}", hint=hint) from error
        found = path.lstat().st_mode if os.path.lexists(path) else None
        what = reason_of(error) if found is None or stat.S_ISREG(found) else kind_of(found)
        raise ConfigError(f"expected a regular file at `{path}`, got {what}", code="insecure_host") from error
    try:
        opened = os.fstat(descriptor)
        is_empty = stat.S_ISREG(opened.st_mode) and opened.st_size == 0 and opened.st_uid == os.geteuid()
        if is_empty and stat.S_IMODE(opened.st_mode) != PRIVATE_FILE_MODE:
            os.fchmod(descriptor, PRIVATE_FILE_MODE)
            opened = os.fstat(descriptor)
        check_rule(path, opened, PRIVATE_FILE)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_plain(path: Path) -> IO[bytes]:
    """Open a regular file to read it, and no link that leads to one.

    Raises:
        OSError: it cannot be opened, or is a link or something else than a regular file (`EINVAL`).
    """
    descriptor = os.open(path, _PLAIN)
    found = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(found):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def digest_of(path: Path, write: Callable[[bytes], object] = len) -> tuple[int, str]:
    """The size and SHA-256 of a regular file; `write` is given each piece of it.

    Raises:
        OSError: as `open_plain`, or it cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    with open_plain(path) as file:
        while piece := file.read(READ_BYTES):
            digest.update(piece)
            size += len(piece)
            write(piece)
    return size, digest.hexdigest()


def _unreadable(path: Path, error: OSError) -> ConfigError | StoreError:
    if error.errno == errno.ELOOP:
        return ConfigError(f"expected a regular file at `{path}`, got a symbolic link", code="insecure_host")
    return StoreError(f"could not read `{path}`: {reason_of(error)}", code="secret_unavailable")
