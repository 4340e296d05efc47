"""System calls that Python has no name for, each raising `OSError` with what was being done.

A part of the launcher: it imports the standard library only.
"""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False  # as `typing` has it, whose import would double the launcher's start
if TYPE_CHECKING:
    from typing import Final

CLONE_NEWNS: Final = 0x00020000  # sched.h
CLONE_NEWUSER: Final = 0x10000000

MS_RDONLY: Final = 1  # sys/mount.h
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18

PR_SET_PDEATHSIG: Final = 1  # prctl(2)
PR_SET_SECCOMP: Final = 22
PR_CAPBSET_DROP: Final = 24
PR_SET_NO_NEW_PRIVS: Final = 38
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4

_CAPABILITY_VERSION_3: Final = 0x20080522  # capset(2)
_SYS_CLOSE_RANGE: Final = 436  # the same number on every architecture, as everything since Linux 5.1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def call(number: int, *arguments: object) -> int:
    """A system call by its number. Integers are passed as they are, structures by reference.

    Raises:
        OSError: it failed.
    """
    return _checked(_LIBC.syscall(ctypes.c_long(number), *map(_argument, arguments)), f"system call {number}")


def prctl(option: int, *arguments: object) -> None:
    """Change what this process may do (man 2 prctl). Raises `OSError`."""
    padded = (*arguments, 0, 0, 0, 0)[:4]
    _checked(_LIBC.prctl(option, *map(_argument, padded)), f"prctl {option}")


def unshare(flags: int) -> None:
    """Leave namespaces we share (man 2 unshare). Raises `OSError`."""
    _checked(_LIBC.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """Mount something, or change a mount (man 2 mount). Raises `OSError`."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    _checked(_LIBC.mount(*encoded, ctypes.c_ulong(flags), os.fsencode(options)), f"mount on `{target}`")


def drop_capabilities() -> None:
    """Give up every capability, and the right to gain one by running a program, as far as we have it to give up.

    Raises:
        OSError: capabilities are left.
    """
    for number in range(64):
        try:
            prctl(PR_CAPBSET_DROP, number)
        except OSError:
            break  # beyond the last one; or without CAP_SETPCAP: then there is none to gain after `no_new_privs`
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _checked(_LIBC.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def close_from(descriptor: int) -> None:
    """Close every descriptor from this one on."""
    try:
        call(_SYS_CLOSE_RANGE, descriptor, 0xFFFF_FFFF, 0)
    except OSError:  # before Linux 5.9, and elsewhere
        os.closerange(descriptor, os.sysconf("SC_OPEN_MAX"))


def _argument(value: object) -> object:
    return ctypes.c_ulong(value) if isinstance(value, int) else value


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number).lower()}")
    return result
