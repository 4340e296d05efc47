"""A Landlock domain (landlock(7)): what is inside neither traces, signals nor reaches the abstract sockets outside.

Beside a mount namespace that is all it is for, and its refusal of every mount. Where namespaces are refused it stands
alone, and also refuses the data directory: Landlock only allows, so everything beside the data directory's path is
allowed, entry by entry, and what is later made directly in a directory above it is refused. A `connect` to a socket's
path is beyond it.

A part of the launcher: it imports the standard library only.
"""

from __future__ import annotations

import ctypes
import os
import stat

from briefcase.adapters.children import kernel

TYPE_CHECKING = False  # as `typing` has it, whose import would double the launcher's start
if TYPE_CHECKING:
    from typing import Final

ABI_SCOPES: Final = 6
ABI_TRUNCATE: Final = 3
ABI_REFER: Final = 2

_SYS_CREATE_RULESET, _SYS_ADD_RULE, _SYS_RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION: Final = 1
_RULE_PATH_BENEATH: Final = 1

_WRITE_FILE, _READ_FILE, _TRUNCATE, _REFER, _MAKE_BLOCK = 1 << 1, 1 << 2, 1 << 14, 1 << 13, 1 << 11
_REMOVE_AND_MAKE: Final = 0b1_1111_1011_0000  # directories, files, devices, sockets, pipes and links: bits 4 to 12
_SCOPES: Final = 0b11  # abstract Unix sockets, signals


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def abi() -> int:
    """The version the kernel speaks; 0 where there is none."""
    try:
        return kernel.call(_SYS_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    except OSError:
        return 0


def enter(hidden: str | None) -> None:
    """Enter a domain; `no_new_privs` is set.

    Args:
        hidden: the directory that this domain has to refuse by itself, with no link in its path; None beside a mount
            namespace.

    Raises:
        OSError: it is refused, or the kernel has none.
    """
    version = abi()
    if version < ABI_REFER:
        raise OSError(0, f"Landlock: expected version {ABI_REFER}, got {version}")
    rights = _REFER | _MAKE_BLOCK  # any right at all makes it refuse mounts
    if hidden is not None:
        rights = _READ_FILE | _WRITE_FILE | _REFER | _REMOVE_AND_MAKE | (_TRUNCATE if version >= ABI_TRUNCATE else 0)
    scopes = _SCOPES if version >= ABI_SCOPES else 0
    attributes = _Ruleset(rights, 0, scopes)
    size = ctypes.sizeof(attributes) if scopes else _Ruleset.net.offset
    ruleset = kernel.call(_SYS_CREATE_RULESET, ctypes.byref(attributes), size, 0)
    try:
        if hidden is None:
            _allow(ruleset, "/", rights)
        else:
            _allow_all_but(ruleset, hidden, rights)
        kernel.call(_SYS_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow_all_but(ruleset: int, hidden: str, rights: int) -> None:
    directory = "/"
    for name in hidden.strip("/").split("/"):
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name != name and not entry.is_symlink():
                    try:
                        _allow(ruleset, entry.path, rights)
                    except (FileNotFoundError, PermissionError):
                        continue  # gone since it was listed, or nothing that this user could open anyway
        directory = f"{directory.rstrip('/')}/{name}"


def _allow(ruleset: int, path: str, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _READ_FILE | _WRITE_FILE | _TRUNCATE
        rule = _PathBeneath(rights, descriptor)
        kernel.call(_SYS_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(descriptor)
