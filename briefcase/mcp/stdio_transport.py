"""A server the daemon starts itself: its process, its two pipes, and its end.

It gets a small environment, the variables its operator named, and nothing of ours; its output is bounded, a line at a
time; it runs in a process group of its own, which is ended with it, and the kernel ends it should the daemon be killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from briefcase.errors import UpstreamError
from briefcase.mcp.jsonrpc import RpcError, parse_message
from briefcase.mcp.transport import Outgoing, Take

MAX_LINE_BYTES: Final = 8 << 20
KEPT_STDERR_BYTES: Final = 8 << 10
CLOSE_GRACE_S: Final = 2.0
INHERITED: Final = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER")
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)


class StdioTransport:
    """One process.

    Args:
        command: the program, and its arguments.
        env: the variables it gets beside `INHERITED` ones; values may be secrets.
        cwd: where it runs; empty is the daemon's own directory.
        environ: the daemon's environment, for the inherited ones.
    """

    is_shared_line = True

    def __init__(self, command: Sequence[str], env: Mapping[str, str], cwd: str, environ: Mapping[str, str]) -> None:
        self._command = tuple(command)
        self._env = {name: environ[name] for name in INHERITED if name in environ} | dict(env)
        self._cwd = cwd
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._write_lock = asyncio.Lock()
        self._stderr = bytearray()

    @property
    def last_words(self) -> str:
        """The end of what the process wrote to its standard error. It may hold its secrets: redact before showing."""
        return self._stderr.decode(errors="replace")

    async def open(self, take: Take, lost: Callable[[UpstreamError], None]) -> None:
        """Start the process. See `Transport.open`."""
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._env,
                cwd=self._cwd or None,
                limit=MAX_LINE_BYTES,
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        except (OSError, ValueError) as error:
            raise UpstreamError(
                f"the server's command could not be started: {type(error).__name__}",
                code="upstream_refused",
                detail=repr(error),
                sent=False,
            ) from None
        process = self._process
        self._tasks = [
            asyncio.create_task(self._read(process, take, lost)),
            asyncio.create_task(self._keep_stderr(process)),
        ]

    async def send(self, message: Outgoing) -> None:
        """Write one line. See `Transport.send`."""
        process = self._process
        if process is None or process.stdin is None or process.returncode is not None:
            raise UpstreamError("the server's process has ended", sent=False)
        try:
            async with self._write_lock, asyncio.timeout(message.timeout_ms / 1_000):
                process.stdin.write(message.data + b"\n")
                await process.stdin.drain()
        except TimeoutError:
            raise UpstreamError("the server does not read its input", code="upstream_timeout") from None
        except (BrokenPipeError, ConnectionResetError):
            raise UpstreamError("the server's process has ended") from None

    async def listen(self, headers: Mapping[str, str]) -> None:
        """What it says unasked comes on the same line."""

    async def close(self) -> None:
        """Close its input, then ask, then end the whole process group (MCP, stdio: shutdown)."""
        process = self._process
        if process is not None and process.returncode is None:
            if process.stdin is not None:
                process.stdin.close()
            for number in (None, signal.SIGTERM, signal.SIGKILL):
                if number is not None:
                    _signal_group(process.pid, number)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CLOSE_GRACE_S):
                        await process.wait()
                        break
        if process is not None:
            _signal_group(process.pid, signal.SIGKILL)  # what it left behind in its group
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        transport = getattr(process, "_transport", None)  # asyncio closes the pipes only when it is collected
        if transport is not None:
            transport.close()

    async def _read(
        self, process: asyncio.subprocess.Process, take: Take, lost: Callable[[UpstreamError], None]
    ) -> None:
        stdout = process.stdout
        while stdout is not None:
            try:
                line = await stdout.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                break
            except asyncio.LimitOverrunError:
                _signal_group(process.pid, signal.SIGKILL)
                lost(UpstreamError(f"the server sent a line of more than {MAX_LINE_BYTES} bytes"))
                return
            if not line.strip():
                continue
            try:
                message = parse_message(line)
            except RpcError:
                continue  # a line that is no message: some servers log to their output; nobody waits for it
            take(message, None)
        await process.wait()
        lost(UpstreamError(f"the server's process has ended with code {process.returncode}"))

    async def _keep_stderr(self, process: asyncio.subprocess.Process) -> None:
        while process.stderr is not None:
            piece = await process.stderr.read(KEPT_STDERR_BYTES)
            if not piece:
                return
            self._stderr += piece
            del self._stderr[:-KEPT_STDERR_BYTES]


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _die_with_parent() -> None:
    """In the child, before it runs: be killed when the daemon dies, however it dies (prctl(2), PR_SET_PDEATHSIG)."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


_LIBC: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
