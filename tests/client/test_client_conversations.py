"""What a program's call says and hears, without a connection: no answer but the daemon's yes lets it run."""

import json

import pytest

from briefcase.edges.client.conversations import (
    MAX_WAIT_MS,
    Answer,
    Pause,
    Question,
    allowing,
    deciding,
    encode_args,
    evaluating,
    introducing,
    running,
    wanted_call,
)
from briefcase.edges.client.verdicts import (
    Allowed,
    ApprovalPending,
    BoundaryFault,
    Denied,
    Refused,
    ToolFailed,
    Waiting,
)

WANTED = wanted_call("t", encode_args({"a": 1}), request_id="3f2504e0-4f89-41d3-9a0c-0305e82c3301")
APPROVAL = {"id": "i", "expires_at": "e", "reason": "r", "summary": "s"}
PENDING = {"status": "approval_required", "approval": APPROVAL}


def told(document, status=200):
    return Answer(status, json.dumps(document).encode())


def ended(flow, *answers):
    """What a flow comes to by these answers."""
    next(flow)
    for answer in answers:
        try:
            flow.send(answer)
        except StopIteration as end:
            return end.value
    raise AssertionError("it wants more")


@pytest.mark.parametrize(
    "answer",
    [
        None,
        Answer(200, b""),
        Answer(200, b"allowed"),
        Answer(200, b"[" * 100_000),
        told([]),
        told({}),
        told({"status": "yes", "receipt_id": 1}),
        told({"status": "Allowed", "receipt_id": 1}),
        told({"status": "allowed"}),
        told({"status": "allowed", "receipt_id": "1"}),
        told({"status": "allowed", "receipt_id": True}),
        told({"status": "allowed", "receipt_id": 1}, 500),
        told({"status": "allowed", "receipt_id": 1}, 201),
        told({"status": "allowed", "receipt_id": 1, "code": "internal"}, 503),
        told({"status": "denied"}),
        told({"status": "approval_required"}),
        told({"status": "approval_required", "approval": {"id": 1}}),
    ],
)
def test_what_is_no_verdict_lets_nothing_run(answer):
    with pytest.raises(BoundaryFault):
        ended(allowing(WANTED, 0), answer)


def test_each_verdict_is_read_and_raised():
    assert ended(allowing(WANTED, 0), told({"status": "allowed", "receipt_id": 5})) == Allowed(5)
    with pytest.raises(Denied) as denied:
        ended(allowing(WANTED, 0), told({"status": "denied", "reason": "policy_denied", "policy_ids": ["p"]}))
    assert (denied.value.reason, denied.value.receipt_id, denied.value.policy_ids) == ("policy_denied", None, ("p",))
    with pytest.raises(ApprovalPending) as pending:
        ended(allowing(WANTED, 0), told(PENDING))
    assert pending.value.request_id == WANTED.request_id


def test_a_long_wait_is_several_requests_under_one_id_and_a_cut_one_pauses():
    flow = deciding(WANTED, 600)
    asked = next(flow)
    assert asked.path == f"/v1/decide?wait_ms={MAX_WAIT_MS}"
    assert asked.within_s > MAX_WAIT_MS / 1_000
    assert isinstance(flow.send(told(PENDING)), Pause), "it was answered at once"
    again = flow.send(None)
    assert isinstance(again, Question)
    assert (again.body, again.path.partition("?")[0]) == (asked.body, "/v1/decide")
    with pytest.raises(StopIteration) as end:
        flow.send(told({"status": "allowed", "receipt_id": 9}))
    assert end.value.value == Allowed(9)


def test_without_a_wait_the_first_answer_counts():
    flow = deciding(WANTED, 0)
    assert next(flow).path == "/v1/decide"
    with pytest.raises(StopIteration) as end:
        flow.send(told(PENDING))
    assert isinstance(end.value.value, Waiting)


def test_what_is_asked_is_one_call_with_its_arguments_as_they_were_written():
    asked = next(deciding(WANTED._replace(approval='x"y', session_id="s"), 0))
    context = {"request_id": WANTED.request_id, "session_id": "s"}
    call = {"tool_id": "t", "args": {"a": 1}, "context": context, "approval_token": 'x"y'}
    assert json.loads(asked.body) == {"call": call}


@pytest.mark.parametrize("answer", [None, Answer(502, b""), told({"status": "maybe"}), told({"status": "ok"})])
def test_a_tool_that_the_daemon_may_have_run_says_so(answer):
    with pytest.raises(BoundaryFault) as caught:
        ended(running(WANTED, 0), answer)
    assert caught.value.may_have_run is True
    assert "took effect" in caught.value.next_step or "taken effect" in caught.value.next_step


def test_a_tool_that_failed_is_told_with_what_to_do():
    with pytest.raises(ToolFailed, match="upstream_timeout") as caught:
        ended(running(WANTED, 0), told({"status": "error", "message": "upstream_timeout: slow"}))
    assert caught.value.next_step


@pytest.mark.parametrize("role", ["operator", "auditor", None])
def test_only_an_agent_introduces_itself(role):
    with pytest.raises(BoundaryFault, match="agent"):
        ended(introducing(), told({"role": role}))


@pytest.mark.parametrize("decision", [1, "true", "false", [0], None, False])
def test_of_an_evaluation_only_true_is_a_yes(decision):
    context = {"receipt_id": 3, "reason": "policy_denied"}
    assert ended(evaluating(WANTED, "scout"), told({"decision": decision, "context": context})) == Refused(
        "policy_denied", 3
    )
    assert ended(evaluating(WANTED, "scout"), told({"decision": True, "context": context})) == Allowed(3)


def test_an_evaluation_names_the_agent_its_arguments_and_the_approval_of_before():
    asked = json.loads(next(evaluating(WANTED._replace(approval="i"), 's"c')).body)
    assert asked["subject"] == {"type": "agent", "id": 's"c'}
    assert asked["resource"] == {"type": "tool", "id": "t", "properties": {"arguments": {"a": 1}}}
    assert asked["context"] == {"approval": {"id": "i"}}
    waiting = {"access_request": {"approval_id": "i", "expires_at": "e", "reason": "r", "kind": "local"}}
    flow = evaluating(WANTED, "scout")
    assert ended(flow, told({"decision": False, "context": waiting})) == Waiting("i", "e", "r", "t")
