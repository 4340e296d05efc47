"""A mount namespace in which the data directory and the sockets are not there; everything else is as it was.

An empty read-only file system lies over the data directory, over every other place where a mount shows it, and over
each socket's directory. A directory that holds more than our sockets (`/tmp`, `/run/user/1000`) stays as it is, and
`/dev/null` lies over the socket itself. What was mounted here can be taken away only with a capability in the user
namespace that owns the mount namespace: the launcher drops them all afterwards, and in a further namespace of the
child's own the kernel keeps these mounts locked (mount_namespaces(7)).

A part of the launcher: it imports the standard library only.
"""

from __future__ import annotations

import os
import stat

from briefcase.adapters.children import kernel

TYPE_CHECKING = False  # as `typing` has it, whose import would double the launcher's start
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Final

    Id = tuple[int, int]

_EMPTY: Final = kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
_EMPTY_OPTIONS: Final = "mode=0555,size=4k,nr_inodes=2"


class Mount:
    """One line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)): `root` is the directory of `device` that is shown."""

    __slots__ = ("device", "id", "point", "root")

    def __init__(self, mount_id: str, device: str, root: str, point: str) -> None:
        self.id, self.device, self.root, self.point = mount_id, device, root, point


def enter(data_dir: str, data_dir_id: Id, sockets: Sequence[str]) -> None:
    """Enter a namespace of our own and hide what is the daemon's.

    Args:
        data_dir: its path, with no link in it.
        data_dir_id: its device and inode.
        sockets: the daemon's Unix sockets; those in the data directory go with it.

    Raises:
        OSError: namespaces are refused here, or something is still to be seen.
    """
    _unshare()
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    if _id_of(data_dir) != data_dir_id:
        raise OSError(0, f"`{data_dir}` is not the data directory any more")
    for place in [data_dir, *_other_places(data_dir)]:
        _hide(place)
    for socket in sockets:
        _hide_socket(socket, frozenset(sockets))
    _leave_hidden_directory()
    if _id_of(data_dir) == data_dir_id or any(map(_is_socket, sockets)):
        raise OSError(0, "the data directory or a socket is still to be seen")


def _unshare() -> None:
    """Without a privilege a mount namespace needs a user namespace, in which we stay who we are."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        kernel.unshare(kernel.CLONE_NEWNS)
    except PermissionError:
        kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS)
        for name, text in (("uid_map", f"{uid} {uid} 1"), ("setgroups", "deny"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)


def _hide(place: str) -> None:
    """Cover a directory with an empty one, a file with `/dev/null`; the path cannot change between look and cover."""
    descriptor = os.open(place, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        target = f"/proc/self/fd/{descriptor}"
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            kernel.mount("briefcase", target, "tmpfs", _EMPTY, _EMPTY_OPTIONS)
        else:
            kernel.mount("/dev/null", target, None, kernel.MS_BIND)
    finally:
        os.close(descriptor)


def _hide_socket(socket: str, sockets: frozenset[str]) -> None:
    directory = os.path.dirname(socket)
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return  # it was in the data directory
    if all(f"{directory}/{name}" in sockets for name in names):
        _hide(directory)
    elif _is_socket(socket):
        for place in [socket, *_other_places(socket)]:
            _hide(place)


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return False


def _id_of(path: str) -> Id:
    found = os.lstat(path)
    return found.st_dev, found.st_ino


def _leave_hidden_directory() -> None:
    """Take the working directory by its path again: one below the cover would be a way past it."""
    try:
        os.chdir(os.getcwd())
    except OSError:
        os.chdir("/")


def _other_places(path: str) -> Iterator[str]:
    """Where else the mounts of this namespace show a path, or a part of what is below it."""
    mounts = list(_mounts())
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        mount_id = _mount_id(descriptor)
    finally:
        os.close(descriptor)
    found = _id_of(path)
    home = next(mount for mount in mounts if mount.id == mount_id)
    shown = [(home.device, _join(home.root, path[len(home.point.rstrip("/")) :]))]
    shown += [(mount.device, mount.root) for mount in mounts if _is_below(mount.point, path)]
    for device, inner in shown:
        for mount in mounts:
            if mount.device != device or mount.point == path or _is_below(mount.point, path):
                continue
            if mount.root != inner and _is_below(mount.root, inner):
                yield mount.point
            elif mount.root == inner or _is_below(inner, mount.root):
                place = _join(mount.point, inner[len(mount.root.rstrip("/")) :])
                if place != path and _exists_as(place, found if inner == shown[0][1] else None):
                    yield place


def _exists_as(place: str, wanted: Id | None) -> bool:
    """Whether something is at a place, and is what is wanted: another mount may lie over it."""
    try:
        return wanted is None or _id_of(place) == wanted
    except OSError:
        return False


def _mounts() -> Iterator[Mount]:
    with open("/proc/self/mountinfo", "rb") as lines:
        for line in lines:
            fields = line.split(b" ")
            root, point = (os.fsdecode(field.decode("unicode_escape").encode("latin-1")) for field in fields[3:5])
            yield Mount(fields[0].decode(), fields[2].decode(), root, point)


def _mount_id(descriptor: int) -> str:
    with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as lines:
        return next(line.split()[1] for line in lines if line.startswith("mnt_id:"))


def _is_below(path: str, directory: str) -> bool:
    return path != directory and path.startswith(directory.rstrip("/") + "/")


def _join(directory: str, rest: str) -> str:
    return (directory.rstrip("/") + rest) or "/"
