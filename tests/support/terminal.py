"""The program on a terminal: what it draws there, and keys for it."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping
from typing import Self, TypeVar

from support.commands import command_of
from support.waiting import BOUND_S

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

Found = TypeVar("Found")


class Terminal:
    """`briefcase` with some words on a pseudo-terminal of a size; `variables` go before what the environment has."""

    def __init__(
        self, env: Mapping[str, str], *words: str, columns: int = 80, rows: int = 24, **variables: str
    ) -> None:
        self.shown = ""
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        chosen = {**env, "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": str(rows), **variables}
        self.process = subprocess.Popen(command_of(*words), env=chosen, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read on until something has appeared; forgets what was before it."""
        found = self._read_until(lambda: re.search(pattern, self.shown), pattern)
        self.shown = self.shown[found.end() :]
        return found

    def frame(self, pattern: str) -> str:
        """Wait for a whole frame, drawn at once from here on, that a pattern is found in; gives its text."""
        self.shown = ""

        def whole() -> str | None:
            texts = (CONTROL.sub("", drawn) for drawn in self.shown.split("\x1b[H")[1:])
            return next((text for text in texts if "b back   q quit" in text and re.search(pattern, text)), None)

        return self._read_until(whole, pattern)

    def leave(self) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait(timeout=BOUND_S)

    def _read_until(self, find: Callable[[], Found | None], wanted: str) -> Found:
        deadline_s = time.monotonic() + BOUND_S
        while time.monotonic() < deadline_s:
            found = find()
            if found is not None:
                return found
            if select.select([self._ours], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self._ours, 65_536).decode(errors="replace")
                except OSError:  # the other end is closed
                    break
        raise AssertionError(f"`{wanted}` did not appear at the end of:\n{self.shown[-3_000:]}")
