"""Refusals in the log: each with its request's id, and never so many that one asker fills the disk.

Of one asker (a principal; the user at the other end of a connection where nobody is known) `LINES_A_MINUTE` are logged
in a minute. What comes beyond is counted, and said in one line when the minute is over, or when the process stops. At
most `MAX_ASKERS` are told apart at a time; those beyond are one.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Container
from http import HTTPStatus
from typing import Final, Protocol

import msgspec

from briefcase.adapters.telemetry.logger import get_logger

LINES_A_MINUTE: Final = 20
MAX_ASKERS: Final = 1_024
MAX_PROBLEM_CHARS: Final = 300
REQUEST_ID_HEADER: Final = b"x-request-id"  # of an answer that names its id nowhere else
LOGGED: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
OTHERS: Final = "*"

_NS_PER_S: Final = 1_000_000_000
_MINUTE_NS: Final = 60 * _NS_PER_S
_log: Final = get_logger("briefcase.refusals")


class Later(Protocol):
    """Calls something after so many seconds, as an event loop's `call_later`."""

    def __call__(self, delay_s: float, call: Callable[[], None], /) -> object:
        """Plan it."""
        ...


class _Minute(msgspec.Struct):
    """What one asker was refused since a moment: lines that are in the log, and requests that only were counted."""

    ends_ns: int
    lines: int = 0
    left_out: int = 0


class RefusalLog:
    """The minutes that are open. One event loop.

    Args:
        now_ns: the monotonic clock.
        later: plans the line with the count; the running loop's own, where none is given.
        logged: the statuses that are refusals.
    """

    def __init__(
        self, now_ns: Callable[[], int], later: Later | None = None, *, logged: Container[int] = LOGGED
    ) -> None:
        self._now_ns = now_ns
        self._later = later or _on_the_loop
        self._logged = logged
        self._minutes: dict[str, _Minute] = {}

    def note_unnamed(
        self, asker: str, status: int, code: str, problem: str, **fields: str
    ) -> tuple[tuple[bytes, bytes], ...]:
        """Log as `note` does, under a new id; gives the header fields that tell the asker."""
        if status not in self._logged:
            return ()
        request_id = str(uuid.uuid4())
        self.note(asker, status, code, problem, request_id=request_id, **fields)
        return ((REQUEST_ID_HEADER, request_id.encode()),)

    def note(self, asker: str, status: int, code: str, problem: str, **fields: str) -> None:
        """Log one refusal, or count it; an answer of another status is neither.

        Args:
            asker: whose it is; no text that they chose.
            status: of the answer.
            code: the stable word.
            problem: the sentence; cut short.
            fields: what else the line says, such as `request_id`.
        """
        if status not in self._logged:
            return
        asker, minute = self._minute_of(asker)
        if minute.lines < LINES_A_MINUTE:
            minute.lines += 1
            problem = problem[:MAX_PROBLEM_CHARS]
            _log.warning("refused", asker=asker, status=int(status), code=code, problem=problem, **fields)
            return
        minute.left_out += 1
        if minute.left_out == 1:
            self._later((minute.ends_ns - self._now_ns()) / _NS_PER_S, lambda: self._end(asker, minute))

    def close(self) -> None:
        """Say what was counted; the process stops."""
        for asker, minute in list(self._minutes.items()):
            self._end(asker, minute)

    def _minute_of(self, asker: str) -> tuple[str, _Minute]:
        now_ns = self._now_ns()
        minute = self._minutes.get(asker)
        if minute is None and len(self._minutes) >= MAX_ASKERS:
            for other, one in list(self._minutes.items()):
                if one.ends_ns <= now_ns:
                    self._end(other, one)
            if len(self._minutes) >= MAX_ASKERS:
                asker = OTHERS
                minute = self._minutes.get(asker)
        if minute is not None and minute.ends_ns <= now_ns:
            self._end(asker, minute)
            minute = None
        if minute is None:
            minute = self._minutes[asker] = _Minute(now_ns + _MINUTE_NS)
        return asker, minute

    def _end(self, asker: str, minute: _Minute) -> None:
        if self._minutes.get(asker) is not minute:
            return  # it has ended already
        del self._minutes[asker]
        if minute.left_out:
            _log.warning("refusals were only counted", asker=asker, count=minute.left_out, logged=minute.lines)


def _on_the_loop(delay_s: float, call: Callable[[], None], /) -> object:
    return asyncio.get_running_loop().call_later(delay_s, call)
