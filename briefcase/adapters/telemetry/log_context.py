"""Which request, and which call, a log line belongs to; and what a tool did that nobody foresaw.

Each request opens a context of its own, and every line that is logged until the next one is opened in the same task, or
in a task made by it, carries its ids:

| field | what |
|---|---|
| `request_id` | the request to this process; an error answer names it |
| `call_id` | the call, as its receipts name it |
| `call_request_id` | the request id the caller gave the call; the gateway's lines have it too |
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from typing import Any, Final

import msgspec

from briefcase.adapters.telemetry.logger import structlog
from briefcase.core.redaction.redactor import excerpt_of
from briefcase.model.ports import Redactor

MAX_DETAIL_CHARS: Final = 2_000
MAX_FRAMES: Final = 12

_log: Final = structlog.get_logger("briefcase.calls")


class LogContext(msgspec.Struct, gc=False):
    """The ids of one request, as far as they are known."""

    call_id: str = ""
    call_request_id: str = ""
    request_id: str = ""


_CURRENT: Final[ContextVar[LogContext | None]] = ContextVar("briefcase_log_context", default=None)


def open_request() -> None:
    """A request begins: lines from here on are its own."""
    _CURRENT.set(LogContext())


def request_id(new_id: Callable[[], str]) -> str:
    """The id of the request under way; made when somebody first asks for it."""
    context = _current()
    if not context.request_id:
        context.request_id = new_id()
    return context.request_id


def note_call_request(call_request_id: str) -> None:
    """The request under way makes a call with this request id."""
    _current().call_request_id = call_request_id


def add_ids(_: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: the ids that are known, where the line does not have them already."""
    context = _CURRENT.get()
    if context is not None:
        for name in LogContext.__struct_fields__:
            value = getattr(context, name)
            if value:
                event.setdefault(name, value)
    return event


def _current() -> LogContext:
    context = _CURRENT.get()
    if context is None:
        context = LogContext()
        _CURRENT.set(context)
    return context


class CallLog:
    """`calls.call_log.CallLog` on structlog.

    Args:
        redactor: what an exception says may hold what the tool was given.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def began(self, call_id: str, request_id: str) -> None:
        """See `calls.CallLog`."""
        context = _CURRENT.get() or _current()
        context.call_id, context.call_request_id = call_id, request_id

    def waits(self, approval_id: str, tool_id: str, principal: str) -> None:
        """See `calls.CallLog`. A principal has so many approvals that wait, and no more."""
        _log.info("approval required", approval_id=approval_id, tool_id=tool_id, principal=principal)

    def tool_failed(self, tool_id: str, error: Exception) -> None:
        """See `calls.CallLog`. Of the traceback only places are kept, of the message no secret."""
        frames = traceback.extract_tb(error.__traceback__)[-MAX_FRAMES:]
        _log.error(
            "the tool failed inside",
            tool_id=tool_id,
            detail=excerpt_of(self._redactor, repr(error), MAX_DETAIL_CHARS),
            frames=[f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
        )
