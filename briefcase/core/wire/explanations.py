"""What a decision rests on, on the wire: `POST /v1/explain`."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from briefcase.core.wire.call_requests import Id
from briefcase.core.wire.fields import Maybe

MAX_POLICY_CHARS: Final = 1 << 20


class ExplainedCall(msgspec.Struct, frozen=True):
    """The call to explain; what else a call holds is ignored."""

    tool_id: Id
    args: dict[str, Any] = {}


class ExplainRequest(msgspec.Struct, frozen=True):
    """A call, whose it would be (an agent's name; the operator's own without), and a policy to try in place of ours."""

    call: ExplainedCall
    agent: Maybe[Id] = msgspec.UNSET
    policy_text: Maybe[Annotated[str, msgspec.Meta(max_length=MAX_POLICY_CHARS)]] = msgspec.UNSET


class BasisRecord(msgspec.Struct, frozen=True):
    """A policy: its `@id`, `permit` or `forbid`, its `@reason`, and what was wrong where it erred."""

    id: str
    effect: str
    reason: str = ""
    problem: str = ""


class QuestionRecord(msgspec.Struct, frozen=True):
    """One of Cedar's questions about the call, and the policies that its answer rests on."""

    action: str
    permitted: bool
    determining: list[BasisRecord]
    erring: list[BasisRecord] = []


class FlipRecord(msgspec.Struct, frozen=True):
    """One change and what the call would come to: `without_policy`, `with_group`, `without_group`."""

    kind: str
    name: str
    outcome: str


class BudgetShown(msgspec.Struct, frozen=True):
    """What the call costs, and what its category has left today."""

    category: str
    cost_microusd: int
    limit_microusd: int
    spent_microusd: int
    reserved_microusd: int
    is_over: bool


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What a call would come to now, and why: no receipt, no effect; rates and approvals are not looked at.

    `outcome` is `allowed`, `approval_required` or `denied`. `detail` is for the operator. `controls` are those in force
    that concern the call. `flips` are the changes of one step that would change the policy's own outcome.
    """

    outcome: str
    reason: str = ""
    detail: str = ""
    advice: str = ""
    policy_ids: list[str]
    policy_hash_hex: str
    principal: str
    groups: list[str]
    tool_id: str
    category: str = ""
    source: str = ""
    policy_outcome: str = ""
    questions: list[QuestionRecord] = []
    risk: list[str] = []
    controls: list[str] = []
    flips: list[FlipRecord] = []
    budget: Maybe[BudgetShown] = msgspec.UNSET
