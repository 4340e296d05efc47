"""What a call or a decision comes to, on the wire. `call_requests.py` has what is asked for."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

import msgspec

from briefcase.core.wire.approvals import ApprovalRecord
from briefcase.core.wire.fields import HashHex, Maybe


class Provenance(msgspec.Struct, frozen=True):
    """Where a result came from, and the receipt that says so."""

    source: str
    cost_usd: float
    timestamp: str
    receipt_id: int


class CallResult(msgspec.Struct, frozen=True):
    """What the tool answered, after the output firewall; `is_error` says that the tool itself failed."""

    content: Any
    provenance: Provenance
    is_error: Maybe[bool] = msgspec.UNSET


class CallOk(msgspec.Struct, frozen=True, tag_field="status", tag="ok"):
    """It ran."""

    result: CallResult


class CallNeedsApproval(msgspec.Struct, frozen=True, tag_field="status", tag="approval_required"):
    """A person must say yes first."""

    approval: ApprovalRecord


WAITING_ANSWER: Final[msgspec.json.Decoder[CallNeedsApproval]] = msgspec.json.Decoder(CallNeedsApproval)


class CallDenied(msgspec.Struct, frozen=True, tag_field="status", tag="denied"):
    """It did not run; `reason` is a stable word. Of a refusal that is counted, `receipt_id` is the first one's.

    Where the policy said no, `policy_ids` are the policies that did and `advice` is what their `@advice` says.
    """

    reason: str
    receipt_id: Maybe[int] = msgspec.UNSET
    policy_ids: Maybe[list[str]] = msgspec.UNSET
    advice: Maybe[str] = msgspec.UNSET


class ServerError(msgspec.Struct, frozen=True):
    """The JSON-RPC error that an MCP server answered."""

    code: int
    message: str = ""
    data: Maybe[dict[str, Any]] = msgspec.UNSET


class CallFailed(msgspec.Struct, frozen=True, tag_field="status", tag="error"):
    """It ran, or may have, and there is no result; `rpc_error` is an MCP server's own error, where it answered one."""

    message: str
    rpc_error: Maybe[ServerError] = msgspec.UNSET


CallAnswer: TypeAlias = CallOk | CallNeedsApproval | CallDenied | CallFailed
CALL_ANSWER: Final[msgspec.json.Decoder[CallAnswer]] = msgspec.json.Decoder(CallAnswer)


class DecisionAllowed(msgspec.Struct, frozen=True, kw_only=True, tag_field="status", tag="allowed"):
    """It may run now; `POST /v1/outcomes` with `receipt_id` closes it."""

    call_id: str = ""
    receipt_id: int
    tool_digest_hex: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]*$")] = ""
    args_digest_hex: HashHex = ""


NotAllowed: TypeAlias = CallNeedsApproval | CallDenied
NOT_ALLOWED: Final[msgspec.json.Decoder[NotAllowed]] = msgspec.json.Decoder(NotAllowed)  # a decision's other answers


class OutcomeRecorded(msgspec.Struct, frozen=True, tag_field="status", tag="recorded"):
    """The decided call is closed; `receipt_id` is the outcome's."""

    receipt_id: int
