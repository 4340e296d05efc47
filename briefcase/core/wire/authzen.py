"""AuthZEN Authorization API 1.0 on the wire: who, does what, with which tool; and the decision.

Unknown members are ignored, as the API asks (section 4). A member of another type is refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from briefcase.core.wire.call_requests import Id
from briefcase.core.wire.fields import Maybe
from briefcase.model.types import JsonObject

MAX_EVALUATIONS: Final = 256
MAX_RESULTS: Final = 1_000

TOOLS_CALL: Final = "tools/call"
TOOL: Final = "tool"
AGENT: Final = "agent"


class Subject(msgspec.Struct, frozen=True):
    """Who acts: `type` is `agent` or `identity`, `id` the agent's name."""

    type: Id
    id: Id
    properties: dict[str, Any] = {}


class Action(msgspec.Struct, frozen=True):
    """What is done: `tools/call`."""

    name: Id
    properties: dict[str, Any] = {}


class Resource(msgspec.Struct, frozen=True):
    """With which tool: `type` is `tool`; the call's arguments may be `properties.arguments`."""

    type: Id
    id: Id
    properties: dict[str, Any] = {}


class EvaluationRequest(msgspec.Struct, frozen=True):
    """One question. `context.arguments` may hold the arguments, `context.approval.id` the approval of this call."""

    subject: Subject
    action: Action
    resource: Resource
    context: dict[str, Any] = {}


class EvaluationOptions(msgspec.Struct, frozen=True):
    """How several questions are taken; the two others than `execute_all` end at the first such answer."""

    evaluations_semantic: Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"] = "execute_all"


class EvaluationsRequest(msgspec.Struct, frozen=True):
    """Several questions; what stands beside `evaluations` is the default of each. Without any, it is one question."""

    subject: dict[str, Any] = {}
    action: dict[str, Any] = {}
    resource: dict[str, Any] = {}
    context: dict[str, Any] = {}
    evaluations: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=MAX_EVALUATIONS)] = []
    options: EvaluationOptions = EvaluationOptions()


class AccessRequest(msgspec.Struct, frozen=True):
    """The approval that a waiting call has: ask again with `context.approval.id` once a person said yes.

    `requestable` is of the access-request profile: `evaluation_id` beside it may be submitted.
    """

    approval_id: str
    expires_at: str
    kind: str
    reason: str
    requestable: Maybe[bool] = msgspec.UNSET


class UsedApproval(msgspec.Struct, frozen=True):
    """The yes that this decision used up, and until when it was good."""

    id: str
    approved_until: str


class EvaluationError(msgspec.Struct, frozen=True):
    """Why one of several questions is none."""

    status: int
    message: str


class DecisionContext(msgspec.Struct, frozen=True, omit_defaults=True):
    """What stands behind a decision: `reason` is a stable word, `receipt_id` its receipt.

    `next_step` is what an agent can do about a denial. `evaluation_id` names a denied call that waits, the same for the
    same call as long as it does.
    """

    reason: str = ""
    receipt_id: int = 0
    policy_ids: list[str] = []
    advice: str = ""
    next_step: str = ""
    evaluation_id: str = ""
    access_request: AccessRequest | None = None
    approval: UsedApproval | None = None
    error: EvaluationError | None = None


class Evaluation(msgspec.Struct, frozen=True):
    """The decision: true only where the call may run now, once."""

    decision: bool
    context: DecisionContext = DecisionContext()


class Evaluations(msgspec.Struct, frozen=True):
    """One decision for each question, in order, as far as the semantic went; of no questions, as `Evaluation`."""

    evaluations: Maybe[list[Evaluation]] = msgspec.UNSET
    decision: Maybe[bool] = msgspec.UNSET
    context: Maybe[DecisionContext] = msgspec.UNSET


class SearchedSubject(msgspec.Struct, frozen=True):
    """The kind of subject that is looked for; its `id` is ignored."""

    type: Id


class SearchedResource(msgspec.Struct, frozen=True):
    """The kind of resource that is looked for; its `id` is ignored."""

    type: Id
    properties: dict[str, Any] = {}


class Page(msgspec.Struct, frozen=True):
    """Which results: those after `token`, at most `limit`."""

    token: Id = ""
    limit: Annotated[int, msgspec.Meta(ge=0, le=MAX_RESULTS)] = MAX_RESULTS


class SubjectSearch(msgspec.Struct, frozen=True):
    """Which agents may call a tool."""

    subject: SearchedSubject
    action: Action
    resource: Resource
    context: dict[str, Any] = {}
    page: Page = Page()


class ResourceSearch(msgspec.Struct, frozen=True):
    """Which tools an agent may call."""

    subject: Subject
    action: Action
    resource: SearchedResource
    context: dict[str, Any] = {}
    page: Page = Page()


class ActionSearch(msgspec.Struct, frozen=True):
    """What an agent may do with a tool."""

    subject: Subject
    resource: Resource
    context: dict[str, Any] = {}
    page: Page = Page()


class PageInfo(msgspec.Struct, frozen=True):
    """What stands beside a page of results; `next_token` is empty after the last."""

    next_token: str
    count: int
    total: int


class FoundEntity(msgspec.Struct, frozen=True):
    """A subject or resource."""

    type: str
    id: str


class FoundAction(msgspec.Struct, frozen=True):
    """An action."""

    name: str


class FoundEntities(msgspec.Struct, frozen=True):
    """The agents or tools that were found, by name."""

    results: list[FoundEntity]
    page: PageInfo


class FoundActions(msgspec.Struct, frozen=True):
    """The actions that were found."""

    results: list[FoundAction]
    page: PageInfo


class PdpMetadata(msgspec.Struct, frozen=True):
    """Where this policy decision point answers (section 9 of the API)."""

    policy_decision_point: str
    access_evaluation_endpoint: str
    access_evaluations_endpoint: str
    search_subject_endpoint: str
    search_resource_endpoint: str
    search_action_endpoint: str
    access_request_endpoint: str
    capabilities: list[str]


def arguments_of(resource: JsonObject, context: JsonObject) -> JsonObject | None:
    """The call's arguments, of the resource's properties or of the context; None where they are no single object."""
    given = [place["arguments"] for place in (resource, context) if "arguments" in place]
    if not given:
        return {}
    first = given[0]
    return first if isinstance(first, dict) and all(other == first for other in given) else None


def approval_of(context: JsonObject) -> Maybe[str]:
    """The approval that the context names, unset where it names none, null where that is no text, or two of them."""
    named = [
        given.get(member) if isinstance(given, dict) else None
        for name, member in (("approval", "id"), ("authzen_access_request_approval", "approval_id"))
        if (given := context.get(name)) is not None
    ]
    if not named:
        return msgspec.UNSET
    first = named[0]
    return first if isinstance(first, str) and first and all(other == first for other in named) else None
