"""Requests of a call and of its outcome on the wire, and the strict reading of them.

Unknown fields are ignored (clients send some now and then); a known field of another type is refused, with its path.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from briefcase.core.budgets import MAX_COST_MICROUSD
from briefcase.core.json.strict import parse as parse_json
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.model.errors import CallerError
from briefcase.model.identifiers import REQUEST_ID
from briefcase.model.types import MAX_SAFE_INTEGER, JsonValue, ToolCall

MAX_ID_CHARS: Final = 256
MAX_CALL_WAIT_MS: Final = 55_000
_REQUEST_ID: Final = re.compile(REQUEST_ID)
_T = TypeVar("_T")

Id = Annotated[str, msgspec.Meta(max_length=MAX_ID_CHARS)]


class CallContext(msgspec.Struct, frozen=True, gc=False):
    """Who calls, in the caller's own words; `request_id` (a UUID) makes a retry the same call."""

    request_id: str
    agent_id: Id | None = None
    session_id: Id | None = None


class CallRecord(msgspec.Struct, frozen=True, gc=False):
    """One tool call; `approval_token` attaches a person's approval of exactly this call."""

    tool_id: Id
    args: dict[str, Any]
    context: CallContext
    approval_token: Id | None = None


class CallRequest(msgspec.Struct, frozen=True, gc=False):
    """The body of a call and of a decision."""

    call: CallRecord


class CallQuery(msgspec.Struct, frozen=True):
    """`wait_ms` above 0 waits that long for a person, at most 55 s, where the call needs one."""

    wait_ms: Annotated[int, msgspec.Meta(ge=0, le=MAX_CALL_WAIT_MS)] = 0


class OutcomeReport(msgspec.Struct, frozen=True):
    """What a gateway reports of a call it executed itself; `tool_error`: it ran, and the tool says that it failed."""

    receipt_id: int
    status: Literal["ok", "error"]
    cost_microusd: Annotated[int, msgspec.Meta(ge=0, le=MAX_COST_MICROUSD)] | None = None
    output_digest: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$")] = ""
    output_bytes: Annotated[int, msgspec.Meta(ge=0, le=MAX_SAFE_INTEGER)] = 0
    error: Id = ""
    tool_error: bool = False


def parse_call(body: bytes, began_ns: int) -> ToolCall:
    """Read `{"call": ToolCall}` strictly; unknown fields are ignored.

    Args:
        body: the request's bytes.
        began_ns: now, on the monotonic clock.

    Raises:
        CallerError: not strict JSON, a field missing or of another type, or a request id that is no UUID.
    """
    document = parse_json(body)
    wire = _convert(document, CallRequest).call
    if not _REQUEST_ID.fullmatch(wire.context.request_id):
        raise CallerError(f"expected `call.context.request_id` as a UUID, got `{wire.context.request_id[:64]}`")
    return ToolCall(
        tool_id=wire.tool_id,
        args=wire.args,
        canonical_args=canonical_bytes(wire.args),
        request_id=wire.context.request_id.lower(),
        began_ns=began_ns,
        agent_id=wire.context.agent_id,
        session_id=wire.context.session_id,
        approval_token=wire.approval_token,
        exchange=document["exchange"] if isinstance(document, dict) and "exchange" in document else None,
    )


def parse_outcome(body: bytes) -> OutcomeReport:
    """Read what became of a decided call.

    Raises:
        CallerError: not strict JSON, a field missing, of another type or out of its range.
    """
    return _convert(parse_json(body), OutcomeReport)


def _convert(value: JsonValue, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise CallerError(str(error).lower()) from None
