"""A server the daemon starts itself: its process, its two pipes, and its end.

It gets a small environment, the variables its operator named, and nothing of ours; its output is bounded, a line at a
time; it runs in a process group of its own, which is ended with it, and the kernel ends it should the daemon be killed.
It is started confined (`children.confinement`): its code is not trusted, and its user is the daemon's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from briefcase.adapters.children.confinement import Confinement
from briefcase.adapters.children.launcher import NOT_CONFINED, NOT_FOUND, SAYS
from briefcase.adapters.servers.transport import MAX_MESSAGE_BYTES, Outgoing, Take
from briefcase.adapters.servers.turns import Turn
from briefcase.core.mcp.jsonrpc import RpcError, read_server_message, too_large_message
from briefcase.model.errors import UpstreamError

KEPT_HEAD_BYTES: Final = 4 << 10  # of a line that is too long, to tell whom it answers
KEPT_TAIL_BYTES: Final = 1 << 10
ENDLESS: Final = 16  # times the bound of a line: one that goes on so long ends the process
KEPT_STDERR_BYTES: Final = 8 << 10
CLOSE_GRACE_S: Final = 2.0
INHERITED: Final = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER")
_STDIN, _STDOUT, _STDERR = range(3)


class StdioTransport:
    """One process.

    Args:
        command: the program, and its arguments.
        env: the variables it gets beside `INHERITED` ones; values may be secrets.
        cwd: where it runs; empty is the daemon's own directory.
        environ: the daemon's environment, for the inherited ones.
        confinement: what it is kept from.
        max_message_bytes: how long one line of its output may be; a longer one fails the call it answers.
    """

    is_shared_line = True

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        environ: Mapping[str, str],
        confinement: Confinement,
        *,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self._command = tuple(command)
        self._env = {name: environ[name] for name in INHERITED if name in environ} | dict(env)
        self._cwd = cwd
        self._confinement = confinement
        self._max_bytes = max_message_bytes
        self._process: _Process | None = None

    async def open(self, take: Take, lost: Callable[[UpstreamError], None]) -> None:
        """Start the process. See `Transport.open`."""
        command = await asyncio.to_thread(self._confinement.command, self._command, self._cwd, self._env)
        try:
            _, self._process = await asyncio.get_running_loop().subprocess_exec(
                lambda: _Process(take, lost, self._max_bytes),
                *command,
                env=self._env,
                cwd=self._cwd or None,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise UpstreamError(
                f"the server's command could not be started: {type(error).__name__}",
                code="upstream_refused",
                detail=repr(error),
                sent=False,
            ) from None

    def try_send(self, message: Outgoing) -> bool:
        """Write one line if the process reads its input. See `Transport.try_send`."""
        return self._process is not None and self._process.is_writable and self._process.write(message.data)

    async def send(self, message: Outgoing) -> None:
        """Write one line, once the process reads its input. See `Transport.send`."""
        process = self._process
        if process is None:
            raise UpstreamError("the server's process was not started", sent=False)
        try:
            async with asyncio.timeout(message.timeout_ms / 1_000):
                await process.writable.wait()
        except TimeoutError:
            raise UpstreamError("the server does not read its input", code="upstream_timeout", sent=False) from None
        if not process.write(message.data):
            raise UpstreamError("the server's process has ended", sent=False)

    async def listen(self, _headers: Mapping[str, str]) -> bool:
        """What it says unasked comes on the same line."""
        return False

    @property
    def complaints(self) -> str:
        """See `Transport.complaints`."""
        return "" if self._process is None else self._process.complaints

    async def close(self) -> None:
        """Close its input, then ask, then end the whole process group (MCP, stdio: shutdown)."""
        process = self._process
        if process is None:
            return
        process.close_input()
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number is not None:
                _signal_group(process.pid, number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_GRACE_S):
                    await process.exited.wait()
                    break
        _signal_group(process.pid, signal.SIGKILL)  # what it left behind in its group
        process.transport.close()  # asyncio closes the pipes only when it is collected


class _TooLong(msgspec.Struct, frozen=True):
    """What is kept of a line that is too long: enough to tell whom it answers."""

    head: bytes
    tail: bytes
    size_bytes: int


class _Process(asyncio.SubprocessProtocol):
    """A process's pipes: lines out of its output, whole messages into its input.

    A line is cut out as its pieces come and is taken at once, without a task between: each such hop is a turn of the
    loop for every answer (docs/adr/0016).
    """

    def __init__(
        self, take: Take, lost: Callable[[UpstreamError], None], max_line_bytes: int = MAX_MESSAGE_BYTES
    ) -> None:
        self.exited = asyncio.Event()
        self.writable = asyncio.Event()
        self.stderr = bytearray()
        self._take = take
        self._on_lost = lost
        self._max_bytes = max_line_bytes
        self._too_long: _TooLong | None = None  # the line that comes now, where it is
        self._is_lost = False
        self._has_output = True
        self._is_asked_to_end = False
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._lines = deque[bytes | _TooLong]()  # whole ones that are not taken yet: of one read at most
        self._pausing: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int:
        """The process, which leads a group of the same number."""
        return self.transport.get_pid()

    @property
    def is_writable(self) -> bool:
        """Whether the process has read most of what it was sent."""
        return self.writable.is_set()

    def write(self, message: bytes) -> bool:
        """Write one message and its line end, whole; whether there is still a process to read it."""
        pipe = self._input()
        if self.exited.is_set() or pipe is None or pipe.is_closing():
            return False
        pipe.write(message + b"\n")
        return True

    def close_input(self) -> None:
        """Say that nothing more will come."""
        self._is_asked_to_end = True
        pipe = self._input()
        if pipe is not None:
            pipe.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport: asyncio.SubprocessTransport = transport  # type: ignore[assignment]  # of `subprocess_exec`
        self.writable.set()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Take what it wrote, a line at a time, and keep the end of what it complains of."""
        if fd == _STDERR:
            self.stderr += data
            del self.stderr[:-KEPT_STDERR_BYTES]
            return
        if self._is_lost:
            return
        if self._too_long is not None:
            data = self._skipped(self._too_long, data)
        if data:
            self._rest.append(data)
            self._rest_bytes += len(data)
        if b"\n" in data:  # joined only when a line ends: linear in what comes
            *lines, rest = b"".join(self._rest).split(b"\n")
            self._rest, self._rest_bytes = [rest], len(rest)
            self._lines.extend(lines)
        if self._rest_bytes > self._max_bytes:
            whole = b"".join(self._rest)
            self._too_long = _TooLong(whole[:KEPT_HEAD_BYTES], whole[-KEPT_TAIL_BYTES:], len(whole))
            self._rest, self._rest_bytes = [], 0
        if self._lines and self._pausing is None:
            self._take_lines()

    @property
    def complaints(self) -> str:
        """The end of its standard error, from the first whole line of it that is kept."""
        said = self.stderr.decode(errors="replace")
        return said.partition("\n")[2] if len(self.stderr) >= KEPT_STDERR_BYTES else said

    def pipe_connection_lost(self, fd: int, _exc: Exception | None) -> None:
        """One of the pipes ended."""
        if fd == _STDOUT:
            self._has_output = False
            self._check_end()
        elif fd == _STDIN and not self._is_asked_to_end:
            asyncio.get_running_loop().call_later(CLOSE_GRACE_S, self._check_input)

    def process_exited(self) -> None:
        """It ended; what it wrote before may still come."""
        self.exited.set()
        self.writable.set()  # whoever waits is told so by `write`
        self._check_end()

    def pause_writing(self) -> None:
        """It does not read its input."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """It reads again."""
        self.writable.set()

    def _input(self) -> asyncio.WriteTransport | None:
        return self.transport.get_pipe_transport(_STDIN)  # type: ignore[return-value]  # what a pipe to write to is

    def _take_lines(self) -> None:
        """Take the lines there are, for one turn; what is left waits, and nothing more is read meanwhile."""
        was_pausing, self._pausing = self._pausing is not None, None
        turn = Turn()
        while self._lines:
            self._take_line(self._lines.popleft())
            pause_s = turn.pause_s()
            if pause_s:
                self._pausing = asyncio.get_running_loop().call_later(pause_s, self._take_lines)
                self._set_reading(is_on=False)
                return
        if was_pausing:
            self._set_reading(is_on=True)
            self._check_end()

    def _set_reading(self, *, is_on: bool) -> None:
        pipe: asyncio.ReadTransport | None = self.transport.get_pipe_transport(_STDOUT)  # type: ignore[assignment]  # as `_input`
        if pipe is None or pipe.is_closing():
            return
        with contextlib.suppress(RuntimeError):  # it ended meanwhile
            if is_on:
                pipe.resume_reading()
            else:
                pipe.pause_reading()

    def _take_line(self, line: bytes | _TooLong) -> None:
        if isinstance(line, bytes) and len(line) > self._max_bytes:
            line = _TooLong(line[:KEPT_HEAD_BYTES], line[-KEPT_TAIL_BYTES:], len(line))
        if isinstance(line, _TooLong):
            with contextlib.suppress(RpcError):
                self._take(too_large_message(line.head, line.tail, self._max_bytes), None)
            return
        if self._is_lost or not line.strip():
            return
        with contextlib.suppress(RpcError):  # some servers log to their output, and nobody waits for that
            self._take(read_server_message(line), None)

    def _skipped(self, line: _TooLong, data: bytes) -> bytes:
        """Read on in a line that is too long, keeping its end; gives what comes after it."""
        more, end, rest = data.partition(b"\n")
        line = _TooLong(line.head, (line.tail + more)[-KEPT_TAIL_BYTES:], line.size_bytes + len(more))
        self._too_long = None if end else line
        if end:
            self._lines.append(line)
        elif line.size_bytes > ENDLESS * self._max_bytes:
            _signal_group(self.pid, signal.SIGKILL)
            self._lose(UpstreamError(f"the server sent a line of more than {ENDLESS * self._max_bytes:,} bytes"))
        return rest

    def _check_input(self) -> None:
        """A process that closed its input and lives on can be asked nothing."""
        if not self.exited.is_set() and not self._is_asked_to_end:
            self._lose(UpstreamError("the server closed its input"))

    def _check_end(self) -> None:
        if self.exited.is_set() and not self._has_output and not self._lines:
            code = self.transport.get_returncode()
            said = self.stderr.decode(errors="replace")
            if code in {NOT_CONFINED, NOT_FOUND} and said.startswith(SAYS):  # the launcher's words
                problem = said.partition("\n")[0].removeprefix(SAYS)
                self._lose(UpstreamError(problem, code="upstream_refused", sent=False))
            else:
                self._lose(UpstreamError(f"the server's process has ended with code {code}"))

    def _lose(self, fault: UpstreamError) -> None:
        """Say once, and with the first reason, that it is of no use any more."""
        if not self._is_lost:
            self._is_lost = True
            self._on_lost(fault)


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
