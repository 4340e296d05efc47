"""Run a daemon, or a program, as another user of this host, and speak to it as that user; needs root."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.daemons import RunningDaemon

ALICE, BOB = 61_234, 61_235  # numbers are enough: nothing here looks up a name
AGENTS = 61_236  # a group


def as_user(uid: int, *groups: int) -> tuple[str, ...]:
    """A command prefix: become a user with no capability.

    Where the interpreter lies below a directory that only root may enter (`/root/.pyenv`), it is shown at its place in
    a mount namespace of the command's own; no file's mode is changed.
    """
    gids = ("--groups", ",".join(map(str, groups))) if groups else ("--clear-groups",)
    become = ("setpriv", "--reuid", str(uid), "--regid", str(uid), *gids)
    base = Path(sys.base_prefix)
    closed = [parent for parent in reversed(base.parents) if not parent.stat().st_mode & 0o001]
    if not closed:
        return become
    script = (
        'set -e; keep=$(mktemp -d); mount --bind "$1" "$keep"; mount -t tmpfs -o mode=0755 none "$2"; mkdir -p "$1";'
        ' mount --bind "$keep" "$1"; umount "$keep"; rmdir "$keep"; shift 2; exec "$@"'
    )
    return ("unshare", "--mount", "sh", "-c", script, "sh", str(base), str(closed[0]), *become)


@contextmanager
def acting_as(uid: int, *groups: int) -> Iterator[None]:
    """Have this process be that user to the kernel, for a while."""
    before = os.getgroups()
    os.setgroups(groups)
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)


class UserDaemon(RunningDaemon):
    """A daemon of another user's, asked by that user."""

    def __init__(self, data_dir: Path, uid: int, *groups: int, **environment: str) -> None:
        super().__init__(data_dir, wrapper=as_user(uid, *groups), HOME=str(data_dir.parent), **environment)
        self.uid = uid
        os.chown(self._short.name, uid, uid)

    def request(self, method, path, body=None, *, token=None):
        """As `RunningDaemon.request`, with the user's own credentials."""
        token = self.operator_token if token is None else token
        with acting_as(self.uid):
            return super().request(method, path, body, token=token)


@contextmanager
def home_of(uid: int) -> Iterator[Path]:
    """A new home directory that other users can enter, as pytest's own cannot be."""
    home = Path(tempfile.mkdtemp(prefix="bc-home-"))
    try:
        home.chmod(0o755)
        os.chown(home, uid, uid)
        (home / "data").mkdir(mode=0o700)
        os.chown(home / "data", uid, uid)
        yield home
    finally:
        shutil.rmtree(home)
