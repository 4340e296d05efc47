"""How the daemon starts a program that it does not trust: through the launcher, with every layer this host has.

What the host has is measured once, by a launcher that goes through all layers and runs nothing; from then on each child
gets exactly these layers, or is not started. Where a layer is missing the host is named so in `diagnostics check`; in
mode `ga` and on a strict host a child is then refused.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import briefcase
from briefcase.adapters.children.launcher import LAYERS, PROBE, Plan
from briefcase.adapters.telemetry.logger import get_logger
from briefcase.model.errors import UpstreamError

PROBE_TIMEOUT_S: Final = 20
PAGE: Final = "`briefcase help deploy`"
_PACKAGES: Final = str(Path(briefcase.__file__).resolve().parent.parent)
_BOOT: Final = (
    "import sys; sys.path.append(sys.argv[1]);"
    " from briefcase.adapters.children.launcher import main; main(sys.argv[2:])"
)
_log: Final = get_logger("briefcase.children")


class Confinement:
    """What a child of this daemon is kept from.

    Args:
        data_dir: the data directory, with no link in its path.
        sockets: the Unix sockets the daemon listens on.
        needs_all: refuse to start a child where a layer is missing.
    """

    def __init__(self, data_dir: Path, sockets: Sequence[Path], *, needs_all: bool) -> None:
        found = data_dir.stat()
        self._data_dir = data_dir
        self._data_dir_id = (found.st_dev, found.st_ino)
        self._sockets = tuple(str(path.parent.resolve() / path.name) for path in sockets)
        self._needs_all = needs_all
        self._measuring = threading.Lock()
        self._missing: Mapping[str, str] | None = None

    def missing(self) -> Mapping[str, str]:
        """The layers this host does not have, and why. The first time it blocks, for the start of a process."""
        with self._measuring:
            if self._missing is None:
                self._missing = MappingProxyType(self._measure())
            return self._missing

    def command(self, command: Sequence[str], cwd: str, environ: Mapping[str, str]) -> list[str]:
        """The command that starts a program confined. Blocks as `missing`.

        Args:
            command: the program, and its arguments.
            cwd: where it will run; empty is the daemon's own directory.
            environ: what it will get; its `PATH` finds the program.

        Raises:
            UpstreamError: the program is not there, it lies in what is hidden from it, or it may not be started without
                a layer this host does not have; nothing was started (`sent=False`).
        """
        self._check_program(command, cwd, environ)
        missing = self.missing()
        if missing and self._needs_all:
            raise UpstreamError(
                f"the server is not started: this host cannot keep it from the daemon ({', '.join(missing)} missing)",
                code="upstream_refused",
                hint=f"run the server as a user of its own and reach it over HTTP, or see {PAGE}",
                detail=str(dict(missing)),
                sent=False,
            )
        layers = tuple(name for name in LAYERS if name not in missing)
        return self._launch(layers, command, has_locale="LC_CTYPE" in environ)

    def _check_program(self, command: Sequence[str], cwd: str, environ: Mapping[str, str]) -> None:
        named = str(Path(cwd) / command[0]) if "/" in command[0] else command[0]
        program = shutil.which(named, path=environ.get("PATH"))
        if program is None or (cwd and not Path(cwd).is_dir()):
            raise UpstreamError(
                "the server's command could not be started: FileNotFoundError",
                code="upstream_refused",
                hint=f"expected a program at `{command[0]}`" + (f" and a directory at `{cwd}`" if cwd else ""),
                sent=False,
            )
        for place in (program, cwd, *(word for word in command[1:] if word.startswith("/"))):
            if place and self._is_hidden(place):
                raise UpstreamError(
                    f"the server is not started: `{place}` is in the data directory `{self._data_dir}`, which is hidden"
                    " from every program the daemon starts",
                    code="upstream_refused",
                    hint="install the server somewhere else, and name that place",
                    sent=False,
                )
        home = environ.get("HOME", "")
        if home and self._is_hidden(home):
            _log.warning(
                "a server's home directory is hidden from it", home=home, hint="give it another `HOME` in its `env`"
            )

    def _is_hidden(self, place: str) -> bool:
        path = Path(place).resolve()
        return path == self._data_dir or self._data_dir in path.parents

    def _measure(self) -> dict[str, str]:
        if sys.platform != "linux":
            return dict.fromkeys(LAYERS, f"not known on {sys.platform}")
        try:
            done = subprocess.run(
                self._launch((PROBE,), ()),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=PROBE_TIMEOUT_S,
                check=False,
                text=True,
                env={},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return dict.fromkeys(LAYERS, f"could not be measured: {type(error).__name__}")
        if done.returncode != 0:
            return dict.fromkeys(LAYERS, f"could not be measured: {done.stderr.strip()[-200:]}")
        return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)

    def _launch(self, layers: tuple[str, ...], command: Sequence[str], *, has_locale: bool = False) -> list[str]:
        plan = Plan(layers, os.getpid(), str(self._data_dir), self._data_dir_id, self._sockets, has_locale)
        return [sys.executable, "-I", "-S", "-c", _BOOT, _PACKAGES, *plan.arguments(), *command]
