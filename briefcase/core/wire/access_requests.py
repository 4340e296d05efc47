"""The access-request profile of AuthZEN on the wire: a denial that a person may lift, as a task.

Source: AuthZEN Access Request and Approval Profile 1.0, draft 1. Bundles and callbacks are not served; what a PEP may
add beside (`requested_access`, `client`) is not read, since the approval is for the very call that was denied.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

from briefcase.core.wire.authzen import Action, Resource, Subject
from briefcase.core.wire.call_requests import Id
from briefcase.core.wire.fields import Maybe

TaskStatus: TypeAlias = Literal["pending", "approved", "denied", "expired", "consumed"]

CAPABILITY: Final = "urn:openid:authzen:capability:access-request"
PROBLEM: Final = "urn:openid:authzen:access-request:error:"
NOT_REQUESTABLE: Final = "not_requestable"
INVALID_BINDING: Final = "invalid_denial_binding"
EXPIRED_DENIAL: Final = "expired_denial"
UNKNOWN_TASK: Final = "unknown_task"


class DeniedDecision(msgspec.Struct, frozen=True):
    """The decision that was denied."""

    decision: bool
    context: dict[str, Any] = {}


class RequestableDenial(msgspec.Struct, frozen=True):
    """What the denial said of being requestable."""

    requestable: bool = False


class DenialBinding(msgspec.Struct, frozen=True):
    """What binds a request to its denial: `evaluation_id`, as the decision's context had it."""

    decision: DeniedDecision
    access_request: RequestableDenial
    evaluation_id: Maybe[Id] = msgspec.UNSET


class AccessSubmission(msgspec.Struct, frozen=True):
    """A request to have a denied call approved: the subject, action and resource of the denied question, once more."""

    subject: Subject
    action: Action
    resource: Resource
    denial: DenialBinding
    context: dict[str, Any] = {}
    items: Maybe[list[Any]] = msgspec.UNSET
    callback: Maybe[dict[str, Any]] = msgspec.UNSET


class TaskDisplay(msgspec.Struct, frozen=True):
    """Words for whoever waits."""

    description: str


class AccessTask(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a request so far. `consumed`: the yes was used, by one call."""

    id: str
    status: TaskStatus
    status_endpoint: str
    expires_at: str
    display: TaskDisplay | None = None


class CompletedApproval(msgspec.Struct, frozen=True):
    """The yes, and until when it may be used."""

    id: str
    approved_at: str
    approved_until: str


class ApprovalContext(msgspec.Struct, frozen=True):
    """What the question brings along when it is asked again, as `context.authzen_access_request_approval`."""

    approval_id: str


class AccessResult(msgspec.Struct, frozen=True):
    """How an approved task is gone on with: ask again."""

    approval: CompletedApproval
    approval_context: ApprovalContext
    mode: Literal["reevaluate"] = "reevaluate"


class AccessTaskAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A task; `result` where it is approved."""

    task: AccessTask
    result: AccessResult | None = None


class Problem(msgspec.Struct, frozen=True):
    """Why there is no task (RFC 9457)."""

    type: str
    title: str
    status: int
