"""The words a verdict gives for itself, each with the exit code of the command line and what to do next.

A fault has a code (`briefcase.model.errors.CODES`); a verdict has a reason. A word in both tables means the same, and a
test holds the exit codes together. The words are wire: CONTRACT lists them, and agents branch on them.
A reason is its word, or its word and a detail: `invalid_args: ...`, and without a space `risk:<signals>` and
`sandbox_violation:<what>`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

UNKNOWN_TOOL: Final = "unknown_tool"
UNKNOWN_SUBJECT: Final = "unknown_subject"
UNKNOWN_ACTION: Final = "unknown_action"
UNKNOWN_RESOURCE: Final = "unknown_resource"
INVALID_ARGS: Final = "invalid_args"
POLICY_DENIED: Final = "policy_denied"
POLICY_ERROR: Final = "policy_error"
RISK: Final = "risk"
FROZEN: Final = "frozen"
DISABLED: Final = "disabled"
TIGHTENED: Final = "tightened"
RATE_LIMITED: Final = "rate_limited"
TOO_MANY_OPEN_DECISIONS: Final = "too_many_open_decisions"
BUDGET_EXCEEDED: Final = "budget_exceeded"
INVALID_OR_EXPIRED_APPROVAL: Final = "invalid_or_expired_approval"
TOO_LARGE_TO_SHOW: Final = "too_large_to_show"
REPLAY_DETECTED: Final = "replay_detected"
CONFLICT: Final = "conflict"
SANDBOX_VIOLATION: Final = "sandbox_violation"
REMOTE_MCP_INCOMPATIBLE: Final = "remote_mcp_incompatible"
VC_STATUS_UNKNOWN: Final = "vc_status_unknown"
PAYMENT_DUE: Final = "payment_due"
PAYMENT_IN_DOUBT: Final = "payment_in_doubt"
CAPABILITY_REVOKED: Final = "capability_revoked"
OUTCOME_UNKNOWN: Final = "outcome_unknown"

EXIT_REFUSED: Final = 3  # of a reason with no exit code of its own: an operator's or a policy's words are reasons, too


class Reason(NamedTuple):
    """What a reason word means to the command line. In a hint, `{tool}` stands for the tool that was called."""

    exit_code: int = EXIT_REFUSED
    hint: str = ""


_DENIALS: Final = "`briefcase receipts list --decision deny` names the policy"
_CONTROLS: Final = "`briefcase tighten list` shows the controls in force"

REASONS: Final[dict[str, Reason]] = {
    UNKNOWN_TOOL: Reason(4, "`briefcase tools list` names them all"),
    UNKNOWN_SUBJECT: Reason(4, "`briefcase agents list` names them all"),
    UNKNOWN_ACTION: Reason(2, "the action of a call is `tools/call`"),
    UNKNOWN_RESOURCE: Reason(4, "the resource of a call is of type `tool`"),
    INVALID_ARGS: Reason(2, "`briefcase tools show {tool}` shows the schema"),
    POLICY_DENIED: Reason(hint=_DENIALS),
    POLICY_ERROR: Reason(hint=f"{_DENIALS} and the error"),
    RISK: Reason(),
    FROZEN: Reason(hint=_CONTROLS),
    DISABLED: Reason(hint=_CONTROLS),
    TIGHTENED: Reason(hint=_CONTROLS),
    RATE_LIMITED: Reason(hint="wait a moment"),
    TOO_MANY_OPEN_DECISIONS: Reason(hint="close open decisions with `POST /v1/outcomes`, or wait for their deadline"),
    BUDGET_EXCEEDED: Reason(hint="`briefcase budgets list` shows the limits and what is spent"),
    INVALID_OR_EXPIRED_APPROVAL: Reason(
        hint="an approval is for one call with exactly its arguments: ask again without a token"
    ),
    TOO_LARGE_TO_SHOW: Reason(hint="a person must be able to read the whole call: send shorter arguments"),
    REPLAY_DETECTED: Reason(hint="a request id is used once: call again with a new one"),
    CONFLICT: Reason(),
    SANDBOX_VIOLATION: Reason(),
    REMOTE_MCP_INCOMPATIBLE: Reason(hint="`briefcase mcp servers list` shows why the server was refused"),
    VC_STATUS_UNKNOWN: Reason(),
    PAYMENT_DUE: Reason(hint="`briefcase approvals show` says what is paid to whom"),
    PAYMENT_IN_DOUBT: Reason(hint="`briefcase receipts list --kind payment_outcome` shows the last payment"),
    CAPABILITY_REVOKED: Reason(),
    OUTCOME_UNKNOWN: Reason(8, "look at the upstream whether it took effect before calling again"),
}

_UNLISTED: Final = Reason()
_WITHOUT_SPACE: Final = frozenset({RISK, SANDBOX_VIOLATION})  # as the contract writes them


def with_detail(word: str, detail: str) -> str:
    """A reason: its word, then what is particular about this one."""
    return f"{word}:{detail}" if word in _WITHOUT_SPACE else f"{word}: {detail}"


def word_of(reason: str) -> str:
    """The word of a reason, without its detail."""
    return reason.partition(":")[0]


def meaning_of(reason: str) -> Reason:
    """What a reason means to the command line; an unlisted word (a policy's own) is a refusal without a hint."""
    return REASONS.get(word_of(reason), _UNLISTED)
