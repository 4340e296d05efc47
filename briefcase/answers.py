"""Answers: what a caller gets for a call, where its time went, and the memory that gives a retry the same one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

import msgspec

from briefcase.ports import Clock
from briefcase.receipts.events import CallFacts
from briefcase.types import JsonObject

MAX_REMEMBERED_ANSWERS: Final = 1_024
MAX_REMEMBERED_BYTES: Final = 16 << 20


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What the caller gets, and the microseconds each phase took, in order."""

    payload: JsonObject
    timing_us: Mapping[str, int]


class Laps:
    """A stopwatch that names what each stretch was spent on, in whole microseconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last_ns = clock.monotonic_ns()
        self.timing_us: dict[str, int] = {}

    def mark(self, phase: str) -> None:
        """Charge the time since the last mark to a phase."""
        now_ns = self._clock.monotonic_ns()
        self.timing_us[phase] = (now_ns - self._last_ns) // 1_000
        self._last_ns = now_ns


class RememberedAnswers:
    """The answers of executed requests, so that a retry gets the same one; bounded, the oldest forgotten first.

    What is forgotten is still never executed twice: the ledger keeps the claim of every request id.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, ...], tuple[Answer, int]] = OrderedDict()
        self._bytes = 0

    def remember(self, flow: str, facts: CallFacts, answer: Answer, size_bytes: int) -> None:
        """Keep one answer; `size_bytes` is what it is counted with."""
        self._kept[self._key(flow, facts)] = (answer, size_bytes)
        self._bytes += size_bytes
        while len(self._kept) > MAX_REMEMBERED_ANSWERS or self._bytes > MAX_REMEMBERED_BYTES:
            _, forgotten_bytes = self._kept.popitem(last=False)[1]
            self._bytes -= forgotten_bytes

    def recall(self, flow: str, facts: CallFacts) -> Answer | None:
        """The answer this very request got before, if it is still remembered."""
        answer, _ = self._kept.get(self._key(flow, facts), (None, 0))
        return answer

    @staticmethod
    def _key(flow: str, facts: CallFacts) -> tuple[str, ...]:
        """A repeated request is the same one: flow, principal, request id, tool and arguments."""
        return flow, facts.principal.name, facts.request_id, facts.tool_id, facts.args_digest_hex
