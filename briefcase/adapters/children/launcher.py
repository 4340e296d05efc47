"""The launcher: a fresh process that gives up everything a child must not have, and becomes the child.

It runs between the daemon's fork and the child's program, because nothing but system calls is safe in the fork of a
process with threads. It is started as `python -I -S` with the standard library and this package alone.

 1. close every descriptor but the three streams
 2. gain no privilege by running a program, ever         (`no_new_privs`)
 3. `namespace`: hide the data directory and the sockets
 4. give up every capability
 5. `landlock`: enter a domain
 6. `filter`: refuse what a child has no use for
 7. die with the daemon
 8. run the program

Steps 3, 5 and 6 are layers: the daemon measures once which of them this host has (`PROBE`), and asks for these by name.
A layer that is asked for and fails ends the launcher: the program never runs with less than was measured.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as `typing` has it, whose import would double the launcher's start
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

PROBE: Final = "probe"
LAYERS: Final = ("namespace", "landlock", "filter")
NOT_CONFINED: Final = 126  # the shell's codes for a program that cannot be run, and one that is not there
NOT_FOUND: Final = 127
SAYS: Final = "briefcase: "
_STDERR: Final = 2
_SIGKILL: Final = 9  # on every Linux; `signal` brings `enum`, and with it 10 ms


class Plan:
    """What the daemon asks for. It holds no secret: it is passed as arguments, which everybody can read.

    `data_dir_id` is the device and inode; `parent` is the daemon's process. `has_locale` says that the child's
    environment has an `LC_CTYPE` of its own: where it has none, Python adds one (PEP 538), which is taken out again.
    """

    __slots__ = ("data_dir", "data_dir_id", "has_locale", "layers", "parent", "sockets")

    def __init__(  # noqa: PLR0917 - a plain class, where a struct would be imported
        self,
        layers: tuple[str, ...],
        parent: int,
        data_dir: str,
        data_dir_id: tuple[int, int],
        sockets: tuple[str, ...],
        has_locale: bool = False,  # noqa: FBT001, FBT002 - as above
    ) -> None:
        self.layers, self.parent = layers, parent
        self.data_dir, self.data_dir_id, self.sockets = data_dir, data_dir_id, sockets
        self.has_locale = has_locale

    def arguments(self) -> list[str]:
        """The plan as arguments, for `parse`."""
        numbers = [self.parent, *self.data_dir_id, int(self.has_locale), len(self.sockets)]
        return [",".join(self.layers), *map(str, numbers), self.data_dir, *self.sockets]


def parse(arguments: Sequence[str]) -> tuple[Plan, list[str]]:
    """The plan, and the command after it."""
    parent, device, inode, has_locale, count = map(int, arguments[1:6])
    end = 7 + count
    layers = tuple(name for name in arguments[0].split(",") if name)
    plan = Plan(layers, parent, arguments[6], (device, inode), tuple(arguments[7:end]), bool(has_locale))
    return plan, list(arguments[end:])


def main(arguments: Sequence[str]) -> None:
    """Become the child; returns only from a probe, and otherwise ends with `NOT_CONFINED` or `NOT_FOUND`."""
    plan, command = parse(arguments)
    try:
        from briefcase.adapters.children import kernel  # no C library of this shape outside Linux

        # 1. descriptors
        kernel.close_from(_STDERR + 1)
        if sys.platform == "linux":
            # 2. to 6.
            missing = _confine(plan)
            if plan.layers == (PROBE,):
                sys.stdout.write("".join(f"{name} {problem}\n" for name, problem in missing.items()))
                return
            # 7. PR_SET_PDEATHSIG goes with every change of credentials: it comes last
            kernel.prctl(kernel.PR_SET_PDEATHSIG, _SIGKILL)
        if os.getppid() != plan.parent:
            sys.exit(NOT_CONFINED)  # the daemon died meanwhile
    except OSError as error:
        sys.stderr.write(f"{SAYS}the server is not started: it could not be confined: {error.strerror}\n")
        sys.exit(NOT_CONFINED)
    # 8. the program
    if not plan.has_locale:
        os.environ.pop("LC_CTYPE", None)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(
            f"{SAYS}`{command[0]}` cannot be run: {(error.strerror or '').lower()}; the data directory and what is in"
            " it are hidden from a server: neither it nor the interpreter it names may lie there\n"
        )
        sys.exit(NOT_FOUND)


def _confine(plan: Plan) -> dict[str, str]:
    """Steps 2 to 6; gives the layers that a probe found missing, and why."""
    from briefcase.adapters.children import kernel, landlock, namespace, syscall_filter  # only on Linux

    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    is_hidden = False

    def hide() -> None:
        nonlocal is_hidden
        namespace.enter(plan.data_dir, plan.data_dir_id, plan.sockets)
        is_hidden = True

    steps = {
        "namespace": hide,
        "capabilities": kernel.drop_capabilities,
        "landlock": lambda: landlock.enter(None if is_hidden else plan.data_dir),
        "filter": syscall_filter.enter,
    }
    missing = {}
    for name, step in steps.items():
        if name in LAYERS and name not in plan.layers and plan.layers != (PROBE,):
            continue
        try:
            step()
        except OSError as error:
            if plan.layers != (PROBE,):
                raise
            missing[name] = (error.strerror or str(error)).replace("\n", " ")
    if plan.layers == (PROBE,) and landlock.abi() < landlock.ABI_SCOPES:
        missing.setdefault("scopes", f"Landlock: expected version {landlock.ABI_SCOPES}, got {landlock.abi()}")
    return missing
