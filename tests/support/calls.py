"""Calls as an edge makes them, and what they log."""

from __future__ import annotations

from briefcase.core.calls.answers import Answer
from briefcase.core.calls.flow import Calls
from briefcase.model.types import Principal


class FakeCallLog:
    """Keeps what was logged."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, str]] = []
        self.waiting: list[tuple[str, str, str]] = []
        self.failed: list[tuple[str, Exception]] = []

    def began(self, call_id: str, request_id: str) -> None:
        self.begun.append((call_id, request_id))

    def waits(self, approval_id: str, tool_id: str, principal: str) -> None:
        self.waiting.append((approval_id, tool_id, principal))

    def tool_failed(self, tool_id: str, error: Exception) -> None:
        self.failed.append((tool_id, error))


async def call_with(calls: Calls, principal: Principal, body: bytes) -> Answer:
    """One call as an edge makes it: read once, then taken through the flow."""
    return await calls.call(principal, await calls.read(principal, body))


async def decide_with(calls: Calls, principal: Principal, body: bytes) -> Answer:
    """As `call_with`, for a decision."""
    return await calls.decide(principal, await calls.read(principal, body))
