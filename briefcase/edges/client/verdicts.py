"""What a boundary tells a program: a decision's value, and the errors that a call ends with.

A decision is a value; whoever wants the call to go on or to raise takes `Boundary.call`. Each error says what to do
next, in the sentence that stands beside its reason word in `briefcase.model.reasons`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from briefcase.model.reasons import OUTCOME_UNKNOWN, next_step_of


class Allowed(NamedTuple):
    """The call may run now, once; its outcome is to be reported under `receipt_id`."""

    receipt_id: int
    call_id: str = ""
    tool_digest_hex: str = ""


class Waiting(NamedTuple):
    """A person must say yes first; the same request goes on by itself once they have."""

    approval_id: str
    expires_at: str
    reason: str
    summary: str


class Refused(NamedTuple):
    """The call may not run. `policy_ids` are the policies that said so, `advice` what they advise."""

    reason: str
    receipt_id: int | None = None
    policy_ids: tuple[str, ...] = ()
    advice: str = ""

    @property
    def next_step(self) -> str:
        """What an agent can do about it."""
        return next_step_of(self.reason)


Decision: TypeAlias = Allowed | Waiting | Refused


class Ran(NamedTuple):
    """What a tool answered that the daemon ran; `is_error` where the tool itself says that it failed."""

    content: Any
    receipt_id: int
    source: str
    cost_usd: float
    is_error: bool = False


class BoundaryError(Exception):
    """The root: whatever is raised here, the call did not run, or it is said that it may have."""


class Denied(BoundaryError):
    """The call did not run. `reason` is a stable word and its detail, `next_step` what to do about it."""

    def __init__(self, refused: Refused) -> None:
        self.reason = refused.reason
        self.receipt_id = refused.receipt_id
        self.policy_ids = refused.policy_ids
        self.advice = refused.advice
        self.next_step = refused.next_step
        said = filter(None, (refused.reason, refused.advice, self.next_step))
        super().__init__(": ".join(said))


class ApprovalPending(BoundaryError):
    """Nobody has decided in time, and the call did not run. Asked again it goes on with the same approval."""

    def __init__(self, waiting: Waiting, request_id: str) -> None:
        self.approval_id = waiting.approval_id
        self.expires_at = waiting.expires_at
        self.reason = waiting.reason
        self.summary = waiting.summary
        self.request_id = request_id
        self.next_step = (
            "A person must approve this exact call. Tell the user, and make the same call again once they have,"
            f" with `request_id`, before {waiting.expires_at}."
        )
        super().__init__(f"approval_required: {waiting.reason}: {self.next_step}")


class BoundaryFault(BoundaryError):
    """There is no verdict: no daemon, another than the one expected, or a request that is none. The call did not run.

    `may_have_run` is the exception: of a call that the daemon itself runs, its answer was lost.
    """

    def __init__(self, code: str, message: str, hint: str = "", *, may_have_run: bool = False) -> None:
        self.code = code
        self.message = message
        self.hint = hint
        self.may_have_run = may_have_run
        self.next_step = next_step_of(OUTCOME_UNKNOWN if may_have_run else code)
        super().__init__(f"{code}: {message}" + (f" ({hint})" if hint else ""))


class ToolFailed(BoundaryError):
    """The daemon ran the tool, or may have, and there is no result."""

    def __init__(self, message: str) -> None:
        self.message = message
        self.next_step = next_step_of(message)
        super().__init__(message)
