"""The log as the flow of a call writes to it."""

from __future__ import annotations

from typing import Protocol


class CallLog(Protocol):
    """Where an operator reads of a call what no receipt holds, and what a person is asked. Logs no secret."""

    def began(self, call_id: str, request_id: str) -> None:
        """Whatever is logged from here on, by whoever works for this call, carries its ids."""
        ...

    def waits(self, approval_id: str, tool_id: str, principal: str) -> None:
        """A new approval waits for a person."""
        ...

    def tool_failed(self, tool_id: str, error: Exception) -> None:
        """A tool raised what it may not."""
        ...
