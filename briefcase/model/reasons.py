"""The words a verdict gives for itself, each with the exit code of the command line and what to do next.

What to do next is written twice: `hint` for a person at the command line, `next_step` for the agent whose call it was.

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
APPROVAL_REJECTED: Final = "approval_rejected"
APPROVAL_DECLINED: Final = "approval_declined"

EXIT_REFUSED: Final = 3  # of a reason with no exit code of its own: an operator's or a policy's words are reasons, too


class Reason(NamedTuple):
    """What a reason word means. In a hint, `{tool}` stands for the tool that was called.

    `next_step` is for the agent: what to do now, and what not to try. It names nothing an agent cannot reach.
    """

    next_step: str
    exit_code: int = EXIT_REFUSED
    hint: str = ""


_DENIALS: Final = "`briefcase receipts list --decision deny` names the policy"
_CONTROLS: Final = "`briefcase tighten list` shows the controls in force"
_TELL_USER: Final = "Tell the user, and go on without this call"

REASONS: Final[dict[str, Reason]] = {
    UNKNOWN_TOOL: Reason(
        "No tool has this name here. List the tools again, and call one that is listed.",
        4,
        "`briefcase tools list` names them all",
    ),
    UNKNOWN_SUBJECT: Reason(
        "The token may not ask for this agent. Ask for the agent that the token belongs to.",
        4,
        "`briefcase agents list` names them all",
    ),
    UNKNOWN_ACTION: Reason(
        "Only calls of tools are decided here. Ask with the action `tools/call`.",
        2,
        "the action of a call is `tools/call`",
    ),
    UNKNOWN_RESOURCE: Reason(
        "Only tools are decided here. Ask with a resource of type `tool`.",
        4,
        "the resource of a call is of type `tool`",
    ),
    INVALID_ARGS: Reason(
        "The arguments do not fit the tool's schema. Correct them as the detail says, and call once more.",
        2,
        "`briefcase tools show {tool}` shows the schema",
    ),
    POLICY_DENIED: Reason(
        f"A rule of the operator forbids this call. Do not try it in another form. {_TELL_USER}.", hint=_DENIALS
    ),
    POLICY_ERROR: Reason(
        f"A rule of the operator cannot be evaluated, so the call is refused. {_TELL_USER}: the operator must mend it.",
        hint=f"{_DENIALS} and the error",
    ),
    RISK: Reason("The call looks dangerous, for the signals named here. Leave out what they name, or tell the user."),
    FROZEN: Reason(
        "The operator has stopped all such calls for now. Stop working on this, and tell the user.", hint=_CONTROLS
    ),
    DISABLED: Reason(f"The operator has switched this tool off. {_TELL_USER}.", hint=_CONTROLS),
    TIGHTENED: Reason(
        f"The operator allows less than usual for now. {_TELL_USER}, or try again later.", hint=_CONTROLS
    ),
    RATE_LIMITED: Reason(
        "Too many calls came in a short time. Wait some seconds, then call again, less often.", hint="wait a moment"
    ),
    TOO_MANY_OPEN_DECISIONS: Reason(
        "Too many of your decided calls have no outcome yet. Report theirs, then ask again.",
        hint="close open decisions with `POST /v1/outcomes`, or wait for their deadline",
    ),
    BUDGET_EXCEEDED: Reason(
        "The budget for such calls is spent. Use a cheaper way, or tell the user that the operator must raise it.",
        hint="`briefcase budgets list` shows the limits and what is spent",
    ),
    INVALID_OR_EXPIRED_APPROVAL: Reason(
        "This approval does not serve this call. If a person said no, stop; else send the call again without a token.",
        hint="an approval is for one call with exactly its arguments: without a token, ask again; after a no, wait",
    ),
    TOO_LARGE_TO_SHOW: Reason(
        "A person must be able to read the whole call before they approve it. Send shorter arguments, or more calls.",
        hint="a person must be able to read the whole call: send shorter arguments",
    ),
    REPLAY_DETECTED: Reason(
        "This request was answered before. If you mean a new call, send it under a new request id.",
        hint="a request id is used once: call again with a new one",
    ),
    CONFLICT: Reason("Something else changed meanwhile. Look at the present state, then decide whether to call again."),
    SANDBOX_VIOLATION: Reason(
        f"The call reaches outside of what this tool may touch. Stay inside, or stop here. {_TELL_USER}."
    ),
    REMOTE_MCP_INCOMPATIBLE: Reason(
        f"The tool's server is not admitted here. {_TELL_USER}.",
        hint="`briefcase mcp servers list` shows why the server was refused",
    ),
    VC_STATUS_UNKNOWN: Reason("Whether the credential still holds cannot be found out now. Try again later, once."),
    PAYMENT_DUE: Reason(
        "The provider wants to be paid, which a person must approve. Tell the user, and wait.",
        hint="`briefcase approvals show` says what is paid to whom",
    ),
    PAYMENT_IN_DOUBT: Reason(
        "Whether the last payment was made is not known. Do not call again. Tell the user.",
        hint="`briefcase receipts list --kind payment_outcome` shows the last payment",
    ),
    CAPABILITY_REVOKED: Reason(f"The provider took the access back. {_TELL_USER}."),
    OUTCOME_UNKNOWN: Reason(
        "The call may have taken effect. Look whether it did before you call again.",
        8,
        "look at the upstream whether it took effect before calling again",
    ),
    APPROVAL_REJECTED: Reason(
        "A person read this call and said no. Do not send it again. Do what they say, or ask them."
    ),
    APPROVAL_DECLINED: Reason(
        "The user does not want to wait for this call. Go on without it, or ask them what to do."
    ),
}

# Of the codes of faults (`briefcase.model.errors.CODES`), those that a call can end with.
FAULT_NEXT_STEPS: Final[dict[str, str]] = {
    "unauthorized": "The token is not known any more. Stop, and tell the user that the operator must give a new one.",
    "forbidden": f"This token may not do that. {_TELL_USER}.",
    "loopback_only": "The daemon answers programs of its own machine only. Tell the user.",
    "receipts_unavailable": "Nothing can be recorded now, so nothing is allowed. Stop for now, and tell the user.",
    "not_ready": "The boundary is starting or repairing itself. Wait a minute, then call again.",
    "daemon_unreachable": "The boundary does not answer, so nothing is allowed. Stop for now, and tell the user.",
    "secret_unavailable": f"A credential this tool needs is missing. {_TELL_USER}: the operator must set it.",
    "upstream_failed": "The service behind the tool failed. Look whether a write took effect before you repeat it.",
    "upstream_refused": "The service behind the tool refused the call. Correct what it names, or tell the user.",
    "upstream_timeout": "The service did not answer in time. Look whether a write took effect before you repeat it.",
}

_UNLISTED: Final = Reason("")
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


def next_step_of(reason: str) -> str:
    """What an agent is told to do about a refused or failed call; empty for a word that is in neither table."""
    word = word_of(reason)
    return REASONS[word].next_step if word in REASONS else FAULT_NEXT_STEPS.get(word, "")
