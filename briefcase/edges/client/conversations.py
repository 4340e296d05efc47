"""What a program's call says to the daemon, and what its answers mean. No I/O: each flow yields what to send.

A flow is a generator: it yields a `Question` and is sent the `Answer`, or yields a `Pause`. `Boundary` and
`AsyncBoundary` carry questions over their connection; nothing else differs between them.

# INVARIANT (closed): a flow ends with a verdict that the daemon gave, or raises. No answer that is not understood lets
a call run.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Generator, Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from briefcase.edges.client.verdicts import (
    Allowed,
    ApprovalPending,
    BoundaryFault,
    Decision,
    Denied,
    Ran,
    Refused,
    ToolFailed,
    Waiting,
)

MAX_WAIT_MS: Final = 55_000  # the daemon's own bound of one request
DEFAULT_WAIT_S: Final = 55.0
ANSWER_WITHIN_S: Final = 30.0  # beyond the wait that was asked for
RUN_WITHIN_S: Final = 660.0  # past every deadline of the daemon's own
PAUSE_S: Final = 0.2  # where a daemon that is stopping cuts a wait short
AGENT: Final = "agent"

_T = TypeVar("_T")


class Question(NamedTuple):
    """One request; `within_s` is how long its answer may take. `runs` says that the daemon may run something."""

    method: str
    path: str
    body: bytes | None = None
    within_s: float = ANSWER_WITHIN_S
    runs: bool = False


class Answer(NamedTuple):
    """Its answer."""

    status: int
    body: bytes


class Pause(NamedTuple):
    """Nothing is to be sent for so long."""

    pause_s: float


Step: TypeAlias = Question | Pause
Flow: TypeAlias = Generator[Step, Answer | None, _T]


class Wanted(NamedTuple):
    """One call as it is asked for. `args_json` are its arguments, in the very bytes that are decided on."""

    tool_id: str
    args_json: str
    request_id: str
    session_id: str | None = None
    approval: str | None = None


def encode_args(args: Mapping[str, object]) -> str:
    """Write arguments as JSON.

    Raises:
        BoundaryFault: JSON cannot hold them (`invalid_args`).
    """
    try:
        text = json.dumps(dict(args), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except (TypeError, ValueError, RecursionError):
        raise BoundaryFault("invalid_args", "expected arguments that JSON can hold, got others") from None
    return text


def wanted_call(
    tool_id: str,
    args_json: str,
    *,
    request_id: str | None = None,
    session_id: str | None = None,
    approval: str | None = None,
) -> Wanted:
    """A call, under a request id of its own unless one is given."""
    return Wanted(tool_id, args_json, request_id or str(uuid.uuid4()), session_id, approval)


def introducing() -> Flow[str]:
    """Check that the token is an agent's, and give its name: the operator's could approve what a program asks for.

    Raises:
        BoundaryFault: it is another's (`forbidden`), or as every flow.
    """
    told = _document(Question("GET", "/v1/identity"), (yield Question("GET", "/v1/identity")))
    if told.get("role") != AGENT:
        raise BoundaryFault(
            "forbidden",
            "expected an agent's token, got another one",
            "`briefcase agents add NAME` makes an agent and prints its token once",
        )
    return _text(told, "principal")


def deciding(wanted: Wanted, wait_s: float) -> Flow[Decision]:
    """Have a call decided.

    Args:
        wanted: the call.
        wait_s: how long a person may take.

    Raises:
        BoundaryFault: there is no verdict.
    """
    until_s = time.monotonic() + wait_s
    while True:
        began_s = time.monotonic()
        wait_ms = max(0, min(MAX_WAIT_MS, int((until_s - began_s) * 1_000)))
        decision = _read_decision((yield _asked("/v1/decide", wanted, wait_ms)))
        if not isinstance(decision, Waiting) or time.monotonic() >= until_s or not wait_ms:
            return decision
        if (time.monotonic() - began_s) * 2_000 < wait_ms:
            yield Pause(PAUSE_S)


def allowing(wanted: Wanted, wait_s: float) -> Flow[Allowed]:
    """Have a call decided, and raise where it may not run.

    Raises:
        Denied: it may not.
        ApprovalPending: nobody has decided in time.
        BoundaryFault: there is no verdict.
    """
    decision = yield from deciding(wanted, wait_s)
    match decision:
        case Allowed():
            return decision
        case Waiting():
            raise ApprovalPending(decision, wanted.request_id)
        case Refused():
            raise Denied(decision)


def evaluating(wanted: Wanted, agent: str) -> Flow[Decision]:
    """Have a call decided and closed at once, for who never hears what came of it (AuthZEN).

    Args:
        wanted: the call; its `approval` is that of an earlier answer.
        agent: whose token it is.

    Raises:
        BoundaryFault: there is no verdict.
    """
    approval = "" if wanted.approval is None else f',"context":{{"approval":{{"id":{json.dumps(wanted.approval)}}}}}'
    body = (
        f'{{"subject":{{"type":"agent","id":{json.dumps(agent)}}},"action":{{"name":"tools/call"}},"resource":'
        f'{{"type":"tool","id":{json.dumps(wanted.tool_id)},"properties":{{"arguments":{wanted.args_json}}}}}{approval}}}'
    )
    question = Question("POST", "/access/v1/evaluation", body.encode())
    told = _document(question, (yield question))
    context = told.get("context")
    if not isinstance(context, dict):
        raise _unexpected("`context`")
    if told.get("decision") is True:
        return Allowed(_number(context, "receipt_id"))
    waiting = context.get("access_request")
    if not isinstance(waiting, dict):
        return _read_refused(context)
    approval_id, expires_at, reason = (_text(waiting, name) for name in ("approval_id", "expires_at", "reason"))
    return Waiting(approval_id, expires_at, reason, wanted.tool_id)


def running(wanted: Wanted, wait_s: float) -> Flow[Ran]:
    """Have the daemon run a tool of its own.

    Raises:
        Denied: it may not run.
        ApprovalPending: nobody has decided in time.
        ToolFailed: it ran, or may have, without a result.
        BoundaryFault: there is no verdict; `may_have_run` where the answer was lost.
    """
    until_s = time.monotonic() + wait_s
    while True:
        began_s = time.monotonic()
        wait_ms = max(0, min(MAX_WAIT_MS, int((until_s - began_s) * 1_000)))
        question = _asked("/v1/tools/call", wanted, wait_ms)._replace(within_s=RUN_WITHIN_S, runs=True)
        answer = yield question
        told = _document(question, answer)
        match told.get("status"):
            case "ok":
                return _read_ran(told)
            case "error":
                raise ToolFailed(_text(told, "message"))
            case "denied":
                raise Denied(_read_refused(told))
            case "approval_required":
                waiting = _read_waiting(told)
            case _:
                raise _unexpected("`status`", may_have_run=True)
        if time.monotonic() >= until_s or not wait_ms:
            raise ApprovalPending(waiting, wanted.request_id)
        if (time.monotonic() - began_s) * 2_000 < wait_ms:
            yield Pause(PAUSE_S)


class Outcome(NamedTuple):
    """What became of a call: `error` is empty where it went well."""

    error: str = ""
    cost_microusd: int | None = None
    output: bytes = b""


def reporting(receipt_id: int, outcome: Outcome) -> Flow[int]:
    """Close a decided call.

    Raises:
        BoundaryFault: the outcome is not recorded.

    Returns:
        The outcome's receipt.
    """
    body: dict[str, object] = {"receipt_id": receipt_id, "status": "error" if outcome.error else "ok"}
    if outcome.error:
        body["error"] = outcome.error[:256]
    if outcome.cost_microusd is not None:
        body["cost_microusd"] = outcome.cost_microusd
    if outcome.output:
        body |= {"output_digest": hashlib.sha256(outcome.output).hexdigest(), "output_bytes": len(outcome.output)}
    question = Question("POST", "/v1/outcomes", json.dumps(body).encode())
    return _number(_document(question, (yield question)), "receipt_id")


def listing() -> Flow[list[dict[str, Any]]]:
    """The tools that the daemon knows."""
    question = Question("GET", "/v1/tools")
    tools = _document(question, (yield question)).get("tools")
    if not isinstance(tools, list):
        raise _unexpected("`tools`")
    return [tool for tool in tools if isinstance(tool, dict)]


def _asked(path: str, wanted: Wanted, wait_ms: int) -> Question:
    context = {"request_id": wanted.request_id}
    if wanted.session_id is not None:
        context["session_id"] = wanted.session_id
    approval = "" if wanted.approval is None else f',"approval_token":{json.dumps(wanted.approval)}'
    body = (
        f'{{"call":{{"tool_id":{json.dumps(wanted.tool_id)},"args":{wanted.args_json},'
        f'"context":{json.dumps(context)}{approval}}}}}'
    )
    query = f"?wait_ms={wait_ms}" if wait_ms else ""
    return Question("POST", path + query, body.encode(), ANSWER_WITHIN_S + wait_ms / 1_000)


def _read_decision(answer: Answer | None) -> Decision:
    told = _document(Question("POST", "/v1/decide"), answer)
    match told.get("status"):
        case "allowed":
            return Allowed(
                _number(told, "receipt_id"), str(told.get("call_id", "")), str(told.get("tool_digest_hex", ""))
            )
        case "approval_required":
            return _read_waiting(told)
        case "denied":
            return _read_refused(told)
        case _:
            raise _unexpected("`status`")


def _read_waiting(told: dict[str, Any]) -> Waiting:
    approval = told.get("approval")
    if not isinstance(approval, dict):
        raise _unexpected("`approval`")
    names = ("id", "expires_at", "reason", "summary")
    return Waiting(*(_text(approval, name) for name in names))


def _read_refused(told: dict[str, Any]) -> Refused:
    receipt_id, policies = told.get("receipt_id"), told.get("policy_ids")
    return Refused(
        _text(told, "reason"),
        receipt_id if isinstance(receipt_id, int) else None,
        tuple(str(name) for name in policies) if isinstance(policies, list) else (),
        str(told.get("advice", "")),
    )


def _read_ran(told: dict[str, Any]) -> Ran:
    result = told.get("result")
    provenance = result.get("provenance") if isinstance(result, dict) else None
    if not isinstance(result, dict) or not isinstance(provenance, dict) or "content" not in result:
        raise _unexpected("`result`", may_have_run=True)
    cost = provenance.get("cost_usd")
    return Ran(
        result["content"],
        _number(provenance, "receipt_id"),
        _text(provenance, "source"),
        float(cost) if isinstance(cost, int | float) else 0.0,
        result.get("is_error") is True,
    )


def _document(question: Question, answer: Answer | None) -> dict[str, Any]:
    """The JSON object of a 200; every other answer is a fault, under the daemon's own code where it gave one."""
    body = b"" if answer is None else answer.body
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        told = None
    if answer is not None and answer.status == HTTPStatus.OK and isinstance(told, dict):
        return told
    if isinstance(told, dict) and isinstance(told.get("code"), str):
        raise BoundaryFault(told["code"], str(told.get("message", "")), str(told.get("hint") or ""))
    raise _unexpected(f"status {0 if answer is None else answer.status}", may_have_run=question.runs)


def _text(told: dict[str, Any], name: str) -> str:
    found = told.get(name)
    if not isinstance(found, str):
        raise _unexpected(f"`{name}`")
    return found


def _number(told: dict[str, Any], name: str) -> int:
    found = told.get(name)
    if not isinstance(found, int) or isinstance(found, bool):
        raise _unexpected(f"`{name}`")
    return found


def _unexpected(what: str, *, may_have_run: bool = False) -> BoundaryFault:
    message = f"the answer is not as a daemon of this version answers: {what}"
    return BoundaryFault("unexpected_answer", message, may_have_run=may_have_run)
