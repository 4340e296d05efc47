"""`POST /v1/explain` and `briefcase policy explain`, at a real daemon: what is told is what a call then comes to."""

from __future__ import annotations

import json

import pytest

from support.daemons import RunningDaemon

POLICY = """
@id("all") permit (principal, action == Action::"Call", resource);
@id("alone") permit (principal, action == Action::"CallWithoutApproval", resource);
@id("unsigned") permit (principal, action == Action::"CallWithoutSigner", resource);
@id("ask-notes") @reason("a person reads notes first")
forbid (principal, action == Action::"CallWithoutApproval", resource == Tool::"note_add");
@id("no-quotes") @advice("ask the desk") forbid (principal in Group::"guests", action, resource == Tool::"quote");
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("explain") / "data"
    data_dir.mkdir(mode=0o700)
    with RunningDaemon(data_dir) as running:
        made = running.request("POST", "/v1/agents", {"name": "guest", "groups": ["guests"]})[1]
        running.token = made["token"]
        assert running.request("PUT", "/v1/policy", {"policy_text": POLICY})[0] == 200
        yield running


def told(daemon, tool_id, args, **fields):
    status, answer = daemon.request("POST", "/v1/explain", {"call": {"tool_id": tool_id, "args": args}, **fields})
    assert status == 200, answer
    return answer


@pytest.mark.parametrize(
    ("tool_id", "args", "outcome", "reason"),
    [
        ("echo", {"text": "hi"}, "allowed", ""),
        ("note_add", {"text": "hi"}, "approval_required", "a person reads notes first"),
        ("quote", {"symbol": "ACME"}, "denied", "policy_denied"),
        ("echo", {"text": "a\u200bb"}, "approval_required", "risk:"),
        ("echo", {}, "denied", "invalid_args"),
        ("nope", {}, "denied", "unknown_tool"),
    ],
)
def test_what_is_told_is_what_the_call_comes_to_and_it_leaves_nothing(daemon, tool_id, args, outcome, reason):
    before = daemon.request("GET", "/v1/receipts?limit=1")[1]["receipts"][0]["id"]
    answer = told(daemon, tool_id, args, agent="guest")
    assert daemon.request("GET", "/v1/receipts?limit=1")[1]["receipts"][0]["id"] == before
    assert (answer["outcome"], answer["reason"][: len(reason)]) == (outcome, reason)

    decided = daemon.call(tool_id, args, token=daemon.token)
    assert decided["status"] == {"allowed": "ok"}.get(outcome, outcome)
    if outcome == "denied":
        assert decided["reason"] == answer["reason"]
        assert decided.get("policy_ids", []) == answer["policy_ids"]


def test_a_candidate_is_tried_and_not_set(daemon):
    candidate = 'permit (principal, action, resource); @id("closed") forbid (principal, action, resource);'
    answer = told(daemon, "echo", {"text": "hi"}, policy_text=candidate)
    assert (answer["outcome"], answer["policy_ids"]) == ("denied", ["closed"])
    assert {"kind": "without_policy", "name": "closed", "outcome": "allowed"} in answer["flips"]
    assert answer["policy_hash_hex"] != daemon.request("GET", "/v1/policy")[1]["policy_hash_hex"]
    assert told(daemon, "echo", {"text": "hi"})["outcome"] == "allowed"


def test_controls_and_budgets_count_as_they_would(daemon):
    answer = told(daemon, "quote", {"symbol": "ACME"})
    assert (answer["outcome"], answer["budget"]["cost_microusd"]) == ("allowed", 2_000)
    daemon.request("POST", f"/v1/budgets/{answer['category']}", {"daily_limit_microusd": 1})
    over = told(daemon, "quote", {"symbol": "ACME"})
    assert (over["outcome"], over["reason"], over["policy_outcome"]) == (
        "approval_required", "budget_exceeded", "allowed",
    )  # fmt: skip
    control = daemon.request("POST", "/v1/controls", {"action": "freeze", "subject": "all"})
    assert control[0] == 200, control
    frozen = told(daemon, "echo", {"text": "hi"})
    assert (frozen["outcome"], frozen["reason"], len(frozen["controls"])) == ("denied", "frozen", 1)
    daemon.request("POST", "/v1/controls/lift", {"control_id": frozen["controls"][0]})


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"call": {"tool_id": "echo"}, "agent": "nobody"}, 404, "not_found"),
        ({"call": {}}, 400, "bad_request"),
        ({"call": {"tool_id": "echo", "args": []}}, 400, "bad_request"),
        ({"call": {"tool_id": "echo", "args": {"text": "x"}}, "policy_text": "permit ("}, 400, "invalid_policy"),
    ],
)
def test_a_question_that_is_none_is_refused(daemon, body, status, code):
    answered, told = daemon.request("POST", "/v1/explain", body)
    assert (answered, told["code"]) == (status, code)


def test_it_is_the_operators_to_ask(daemon):
    body = {"call": {"tool_id": "echo", "args": {"text": "x"}}}
    assert daemon.request("POST", "/v1/explain", body, token=daemon.token)[0] == 403
    assert daemon.request("POST", "/v1/explain", json.dumps(body).encode(), token="")[0] == 401
