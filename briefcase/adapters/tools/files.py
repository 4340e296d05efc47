"""Reading a file below a permitted directory, and nowhere else, whatever lies there and whoever changes it meanwhile.

The path is walked one component at a time, each opened in the directory before it and never through a symbolic link
(`openat` with `O_NOFOLLOW`), so there is no moment between a check and its use. What is not a regular file is not
opened. What was opened is not read where it is the daemon's own by device and inode (`disk.own_files`): a prefix above
the data directory, a hard link and a bind mount lead to `own_file`. A hard link to another file is that file: keep
permitted directories writable only by people you trust.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from briefcase.adapters.disk.own_files import OwnFiles
from briefcase.model.errors import ConfigError, UpstreamError

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # a FIFO would block the open


class FileSandbox:
    """The directories below which files may be read.

    Args:
        prefixes: absolute paths of directories that exist; a symbolic link is followed here, once.
        max_bytes: the largest file that is read.
        own: the daemon's own files, which are never read.

    Raises:
        ConfigError: a prefix is no such directory, or lies in the data directory.
    """

    def __init__(self, prefixes: Sequence[str], max_bytes: int, own: OwnFiles) -> None:
        self._prefixes = tuple(_checked_prefix(prefix, own) for prefix in prefixes)
        self._own = own
        self.max_bytes = max_bytes

    def read(self, path: str) -> bytes:
        """Read one whole file. Blocks.

        Raises:
            UpstreamError: `sandbox_violation` with what was wrong, or the file is absent, unreadable or too large;
                nothing was changed (`sent=False`).
        """
        prefix, names = self._split(path)
        with _opened(prefix, names) as descriptor:
            info = os.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode):
                raise _violation("not_a_file")
            if self._own.holds(descriptor):
                raise _violation("own_file")
            data = _read_at_most(descriptor, self.max_bytes + 1)
        if len(data) > self.max_bytes:
            raise UpstreamError(
                f"the file is too large: expected at most {self.max_bytes} bytes", code="upstream_refused", sent=False
            )
        return data

    def _split(self, path: str) -> tuple[Path, list[str]]:
        """The prefix a path is below, and the names from there on."""
        if "\0" in path or not path.startswith("/"):
            raise _violation("not_absolute")
        names = path.split("/")[1:]
        if any(name in {"", ".", ".."} for name in names):
            raise _violation("dot_segment")
        for prefix in self._prefixes:
            parts = list(prefix.parts[1:])
            if names[: len(parts)] == parts and len(names) > len(parts):
                return prefix, names[len(parts) :]
        raise _violation("outside_prefixes")


def _checked_prefix(prefix: str, own: OwnFiles) -> Path:
    path = Path(prefix)
    if not path.is_absolute() or not path.is_dir():
        raise ConfigError(f"`file_read.prefixes`: expected an absolute path of a directory, got `{prefix}`")
    if own.holds_directory(path):
        raise ConfigError(
            f"`file_read.prefixes`: expected a directory outside of `{own.data_dir}`, got `{prefix}`",
            hint="the data directory and procfs are never read for an agent",
        )
    return path.resolve()


@contextmanager
def _opened(prefix: Path, names: Sequence[str]) -> Iterator[int]:
    """The descriptor of the last name, reached from the prefix without following a link."""
    current = os.open(prefix, _DIRECTORY)
    try:
        for name in names[:-1]:
            below = _open_at(current, name, _DIRECTORY)
            os.close(current)
            current = below
        if not stat.S_ISREG(_stat_at(current, names[-1]).st_mode):  # opening a device can act on it
            raise _violation("not_a_file")
        below = _open_at(current, names[-1], _FILE)
        os.close(current)
        current = below
        yield current
    finally:
        os.close(current)


def _open_at(directory: int, name: str, flags: int) -> int:
    try:
        return os.open(name, flags, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.ELOOP or (error.errno == errno.ENOTDIR and _is_link(directory, name)):
            raise _violation("symlink") from None
        raise _unreadable(error) from None


def _stat_at(directory: int, name: str) -> os.stat_result:
    try:
        info = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError as error:
        raise _unreadable(error) from None
    if stat.S_ISLNK(info.st_mode):
        raise _violation("symlink")
    return info


def _is_link(directory: int, name: str) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _read_at_most(descriptor: int, max_bytes: int) -> bytes:
    data = bytearray()
    while len(data) < max_bytes:
        chunk = os.read(descriptor, max_bytes - len(data))
        if not chunk:
            break
        data += chunk
    return bytes(data)


def _violation(what: str) -> UpstreamError:
    return UpstreamError(what, code="sandbox_violation", sent=False)


def _unreadable(error: OSError) -> UpstreamError:
    what = "there is no such file" if error.errno in {errno.ENOENT, errno.ENOTDIR} else "the file cannot be read"
    return UpstreamError(what, code="upstream_refused", detail=repr(error), sent=False)
