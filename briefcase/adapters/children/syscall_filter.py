"""A seccomp filter (seccomp(2)): no tracing, no mounts, no further namespaces, no keyrings, no kernel programs.

None of these is the fence by itself; the filter keeps a child from the parts of the kernel in which a fence is most
often found broken. What is refused answers EPERM; `clone3` answers ENOSYS, so that libraries go on with `clone`, whose
flags a filter can read. Another process's limits (`prlimit64`) are no signal to Landlock, and a limit of one second of
the processor ends a daemon as well as SIGKILL: a child sets its own, as process 0. Calls of an architecture that is not
in the table are refused.

A part of the launcher: it imports the standard library only.
"""

from __future__ import annotations

import ctypes
import errno
import os

from briefcase.adapters.children import kernel

TYPE_CHECKING = False  # as `typing` has it, whose import would double the launcher's start
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

    Line = tuple[int, int, int, int]

_MODE_FILTER: Final = 2  # linux/seccomp.h
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_LOAD, _JUMP_EQUAL, _JUMP_SET, _JUMP_FROM, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06  # linux/bpf_common.h
_AT_NUMBER, _AT_ARCH, _AT_FIRST_ARGUMENT = 0, 4, 16  # of `struct seccomp_data`, little-endian
_X32_BIT: Final = 0x40000000
_NAMESPACES: Final = 0x7E020000  # every CLONE_NEW… flag of clone(2)
_TIME_NAMESPACE: Final = 0x80  # CLONE_NEWTIME, which only unshare(2) takes

# The calls that have one number on every architecture: open_tree, move_mount, fsopen, fsconfig, fsmount, fspick,
# pidfd_getfd, process_madvise, mount_setattr, open_tree_attr.
_EVERYWHERE: Final = (428, 429, 430, 431, 432, 433, 438, 440, 442, 467)
_CLONE3: Final = 435


class Architecture:
    """The numbers of one architecture (linux/audit.h, asm/unistd.h)."""

    __slots__ = ("audit", "clone", "prlimit", "refused", "unshare")

    def __init__(self, audit: int, clone: int, unshare: int, prlimit: int, refused: tuple[int, ...]) -> None:
        self.audit, self.clone, self.unshare, self.prlimit, self.refused = audit, clone, unshare, prlimit, refused


# In this order: ptrace, process_vm_readv, process_vm_writev, kcmp, mount, umount2, pivot_root, setns, bpf,
# perf_event_open, add_key, request_key, keyctl, kexec_load, kexec_file_load, init_module, finit_module, delete_module,
# userfaultfd, open_by_handle_at, swapon, reboot; i386 has `umount` too, and no kexec_file_load.
_X86_64: Final = Architecture(
    0xC000003E,
    56,
    272,
    302,
    (101, 310, 311, 312, 165, 166, 155, 308, 321, 298, 248, 249, 250, 246, 320, 175, 313, 176, 323, 304, 167, 169),
)
_I386: Final = Architecture(
    0x40000003,
    120,
    310,
    340,
    (26, 347, 348, 349, 21, 52, 22, 217, 346, 357, 336, 286, 287, 288, 283, 128, 350, 129, 374, 342, 87, 88),
)
_AARCH64: Final = Architecture(
    0xC00000B7,
    220,
    97,
    261,
    (117, 270, 271, 272, 40, 39, 41, 268, 280, 241, 217, 218, 219, 104, 294, 105, 273, 106, 282, 265, 224, 142),
)
ARCHITECTURES: Final = {"x86_64": (_X86_64, _I386), "aarch64": (_AARCH64,)}


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("first", ctypes.POINTER(_Instruction)))


def enter() -> None:
    """Put the filter in force, for this process and all it starts; `no_new_privs` is set.

    Raises:
        OSError: the kernel has no filters, or we know no numbers for this machine.
    """
    machine = os.uname().machine
    if machine not in ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"no system call numbers are known for `{machine}`")
    code = list(program_of(ARCHITECTURES[machine]))
    instructions = (_Instruction * len(code))(*(_Instruction(*line) for line in code))
    kernel.prctl(kernel.PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(_Program(len(code), instructions)))


def program_of(architectures: Iterable[Architecture]) -> Iterable[Line]:
    """The filter as BPF: code, jump if true, jump if false, operand."""
    refuse = (_RETURN, 0, 0, _ERRNO | errno.EPERM)
    yield _LOAD, 0, 0, _AT_ARCH
    for architecture in architectures:
        body = _body(architecture)
        yield _JUMP_EQUAL, 1, 0, architecture.audit  # over the jump that skips this body
        yield 0x05, 0, 0, len(body)  # BPF_JMP | BPF_JA
        yield from body
    yield refuse


def _body(architecture: Architecture) -> list[Line]:
    refuse = (_RETURN, 0, 0, _ERRNO | errno.EPERM)
    body = [(_LOAD, 0, 0, _AT_NUMBER)]
    if architecture is _X86_64:
        body += [(_JUMP_FROM, 0, 1, _X32_BIT), refuse]
    for number in (*architecture.refused, *_EVERYWHERE):
        body += [(_JUMP_EQUAL, 0, 1, number), refuse]
    body += [(_JUMP_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    for number, flags in ((architecture.clone, _NAMESPACES), (architecture.unshare, _NAMESPACES | _TIME_NAMESPACE)):
        check = [(_LOAD, 0, 0, _AT_FIRST_ARGUMENT), (_JUMP_SET, 0, 1, flags), refuse, (_LOAD, 0, 0, _AT_NUMBER)]
        body += [(_JUMP_EQUAL, 0, len(check), number), *check]
    own_only = [(_LOAD, 0, 0, _AT_FIRST_ARGUMENT), (_JUMP_EQUAL, 1, 0, 0), refuse, (_LOAD, 0, 0, _AT_NUMBER)]
    body += [(_JUMP_EQUAL, 0, len(own_only), architecture.prlimit), *own_only]
    return [*body, (_RETURN, 0, 0, _ALLOW)]
