"""A program that is asked one thing: started, given its question on standard input, read to its end, and ended.

No shell. It gets the variables of `INHERITED` and none of ours, runs in a group of its own, and its whole group ends
with it, whatever it left behind.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from briefcase.model.errors import UpstreamError

MAX_COMPLAINT_BYTES: Final = 2 << 10
END_S: Final = 2.0
INHERITED: Final = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER")
READ_BYTES: Final = 16 << 10


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that such a program gets of the daemon's environment."""
    return {name: environ[name] for name in INHERITED if name in environ}


async def ask_once(
    command: Sequence[str], environ: Mapping[str, str], question: bytes, timeout_s: float, max_answer_bytes: int
) -> bytes:
    """Run a program once.

    Args:
        command: the program, confined, and its arguments.
        environ: all the variables it gets.
        question: its standard input.
        timeout_s: how long it may take.
        max_answer_bytes: how much it may answer.

    Raises:
        UpstreamError: it was not started (`sent=False`); or it took too long, answered too much, or exited with another
            code than 0, and what it did by then is not known.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(environ),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise _failed(f"it cannot be started: {type(error).__name__}", repr(error), sent=False) from None
    try:
        async with asyncio.timeout(timeout_s):
            answer, complaint, code = await _conversation(process, question, max_answer_bytes)
    except TimeoutError:
        raise _failed(f"it was not done in {timeout_s:g} s") from None
    finally:
        await _end(process)
    if code != 0:
        raise _failed(f"it exited with {code}", complaint)
    return answer


async def _conversation(
    process: asyncio.subprocess.Process, question: bytes, max_answer_bytes: int
) -> tuple[bytes, str, int]:
    written = asyncio.create_task(_write(process.stdin, question))
    answered = asyncio.create_task(_read(process.stdout, max_answer_bytes))
    complained = asyncio.create_task(_read_end(process.stderr))
    talk = (written, answered, complained)
    try:
        await asyncio.gather(*talk)
        return answered.result(), complained.result(), await process.wait()
    finally:
        for part in talk:
            part.cancel()
        await asyncio.gather(*talk, return_exceptions=True)  # `_end` reads on where they stopped


async def _write(pipe: asyncio.StreamWriter | None, question: bytes) -> None:
    if pipe is None:
        return
    with suppress(OSError):  # one that does not read its input says so by what it answers
        pipe.write(question)
        await pipe.drain()
    pipe.close()


async def _read(pipe: asyncio.StreamReader | None, max_bytes: int) -> bytes:
    answer = bytearray()
    while pipe is not None and (piece := await pipe.read(READ_BYTES)):
        answer += piece
        if len(answer) > max_bytes:
            raise _failed(f"it answered more than {max_bytes} bytes")
    return bytes(answer)


async def _read_end(pipe: asyncio.StreamReader | None) -> str:
    said = bytearray()
    while pipe is not None and (piece := await pipe.read(READ_BYTES)):
        said += piece
        del said[:-MAX_COMPLAINT_BYTES]
    return said.decode(errors="replace")


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process and all of its group, whatever it was doing.

    What it said last is read: until a pipe has ended, its process does not count as gone.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):  # what has left the group may hold a pipe open for ever
        async with asyncio.timeout(END_S):
            await asyncio.gather(_read_end(process.stdout), _read_end(process.stderr))
            await process.wait()


def _failed(problem: str, detail: str = "", *, sent: bool = True) -> UpstreamError:
    return UpstreamError(problem, code="upstream_failed", detail=detail, sent=sent)
