"""A real daemon in a process of its own, with a small client, for the tests that need the whole thing."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from support.waiting import BOUND_S, wait_until


class UnixConnection(http.client.HTTPConnection):
    """`http.client` over a Unix socket."""

    def __init__(self, path: str, timeout: float = BOUND_S) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class RunningDaemon:
    """Start with `with RunningDaemon(tmp_path) as daemon`; `kill` is SIGKILL, `stop` is SIGTERM."""

    def __init__(self, data_dir: Path, *, wrapper: tuple[str, ...] = (), **environment: str) -> None:
        self.data_dir = data_dir
        self.wrapper = wrapper
        self.command = [sys.executable, "-m", "briefcase", "daemon"]
        self.environment = environment
        # a socket path must be short, and pytest's directories are not
        self._short = tempfile.TemporaryDirectory(prefix="bc-")
        self.socket_path = str(Path(self._short.name) / "d.sock")
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._short.cleanup()

    @property
    def env(self) -> dict[str, str]:
        """What the daemon and a client of it need in their environment."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("BRIEFCASE_")}
        return {
            **inherited,
            "BRIEFCASE_DATA_DIR": str(self.data_dir),
            "BRIEFCASE_UNIX_SOCKET": self.socket_path,
            "BRIEFCASE_DAEMON_UNIX_SOCKET": self.socket_path,
            "BRIEFCASE_SECRET_BACKEND": "file",
            **self.environment,
        }

    def start(self) -> None:
        """Start and wait until it is ready."""
        command = [*self.wrapper, *self.command]
        self.log = (self.data_dir.parent / f"{self.data_dir.name}.log").open("ab")
        self.process = subprocess.Popen(command, env=self.env, stdout=self.log, stderr=self.log)
        wait_until(self._is_ready_or_gone, lambda: f"the daemon did not become ready:\n{self.logged()}")
        if self.process.poll() is not None:
            raise AssertionError(f"the daemon has ended:\n{self.logged()}")

    def _is_ready_or_gone(self) -> bool:
        assert self.process is not None
        with suppress(OSError):
            return self.process.poll() is not None or self.request("GET", "/ready", token="")[0] == 200
        return False

    def await_servers(self) -> None:
        """Wait until each MCP server that it was told of is ready."""
        wait_until(
            lambda: all(server["state"] == "ready" for server in self.request("GET", "/v1/mcp/servers")[1]["servers"]),
            lambda: f"the servers were not ready in time:\n{self.logged()}",
        )

    def await_tools(self, *tool_ids: str) -> None:
        """Wait until these tools are listed, as those of a server are once it has listed them."""
        wait_until(
            lambda: set(tool_ids) <= {tool["id"] for tool in self.request("GET", "/v1/tools")[1]["tools"]},
            lambda: f"{tool_ids} were not listed in time:\n{self.logged()}",
        )

    def logged(self) -> str:
        """What it has written to its standard streams so far."""
        return Path(self.log.name).read_text()

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to leave; gives its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, with_signal: signal.Signals) -> int:
        if self.process is None:
            return 0
        with suppress(ProcessLookupError):
            self.process.send_signal(with_signal)
        code = self.process.wait(timeout=BOUND_S)
        self.process = None
        self.log.close()
        return code

    @property
    def operator_token(self) -> str:
        """The token in the data directory."""
        return (self.data_dir / "auth_token").read_text().strip()

    def request(self, method: str, path: str, body: object = None, *, token: str | None = None) -> tuple[int, Any]:
        """One request, by default as the operator; gives status and JSON."""
        connection = UnixConnection(self.socket_path)
        try:
            token = self.operator_token if token is None else token
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, body=data, headers=headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"{}")
        finally:
            connection.close()

    def call(self, tool_id: str, args: dict[str, Any], *, token: str | None = None, **fields: str) -> Any:
        """One tool call; gives the answer."""
        context = {"request_id": fields.pop("request_id", str(uuid.uuid4()))}
        call = {"tool_id": tool_id, "args": args, "context": context, **fields}
        status, answer = self.request("POST", "/v1/tools/call", {"call": call}, token=token)
        assert status == 200, answer
        return answer
