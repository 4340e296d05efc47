"""The access-request profile at a real daemon: a denied call, its task, the yes, and the question asked again."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from support.daemons import RunningDaemon, UnixConnection

POLICY = """
permit (principal, action == Action::"Call", resource);
permit (principal, action == Action::"CallWithoutApproval", resource) unless { resource == Tool::"note_add" };
permit (principal, action == Action::"CallWithoutSigner", resource);
"""
CALL = {"name": "tools/call"}
ERROR = "urn:openid:authzen:access-request:error:"


@pytest.fixture(scope="module")
def pdp(tmp_path_factory):
    """A daemon where notes wait for a person; alice, bob, and `desk`, which decides for `a*`."""
    data_dir = tmp_path_factory.mktemp("access-requests") / "data"
    data_dir.mkdir(mode=0o700)
    with RunningDaemon(data_dir) as daemon:
        tokens = {
            name: daemon.request("POST", "/v1/agents", {"name": name, "decides_for": pattern})[1]["token"]
            for name, pattern in (("alice", ""), ("bob", ""), ("desk", "a*"))
        }
        assert daemon.request("PUT", "/v1/policy", {"policy_text": POLICY})[0] == 200
        yield SimpleNamespace(daemon=daemon, tokens=tokens)


def ask(pdp, method, path, body=None, by="desk"):
    connection = UnixConnection(pdp.daemon.socket_path)
    headers = {"Authorization": f"Bearer {pdp.tokens[by]}", "Content-Type": "application/json"}
    connection.request(method, path, body=None if body is None else json.dumps(body).encode(), headers=headers)
    response = connection.getresponse()
    answer = json.loads(response.read())
    found = {name.lower(): value for name, value in response.getheaders()}
    connection.close()
    return response.status, answer, found


def question(text, subject="alice", **context):
    resource = {"type": "tool", "id": "note_add", "properties": {"arguments": {"text": text}}}
    return {"subject": {"type": "agent", "id": subject}, "action": CALL, "resource": resource, "context": context}


def evaluate(pdp, text, subject="alice", by="desk", **context):
    status, answer, _ = ask(pdp, "POST", "/access/v1/evaluation", question(text, subject, **context), by)
    assert status == 200, answer
    return answer


def submission(denied, text, who="alice", **changed):
    context = denied["context"]
    denial = {
        "decision": denied, "access_request": context["access_request"], "evaluation_id": context["evaluation_id"],
    }  # fmt: skip
    return question(text, who) | {"denial": denial} | changed


def submit(pdp, body, by="desk"):
    return ask(pdp, "POST", "/access/v1/requests", body, by)


def decide(pdp, task, verb, **said):
    assert pdp.daemon.request("POST", f"/v1/approvals/{task['id']}/{verb}", said)[0] == 200


def test_a_denied_call_becomes_a_task_whose_yes_lets_it_through_once(pdp):
    denied = evaluate(pdp, "one")
    assert (denied["decision"], denied["context"]["access_request"]["requestable"]) == (False, True)
    status, answer, headers = submit(pdp, submission(denied, "one"))
    task = answer["task"]
    assert (status, task["status"], headers["location"]) == (202, "pending", task["status_endpoint"])
    assert submit(pdp, submission(denied, "one"))[1]["task"]["id"] == task["id"]
    where = task["status_endpoint"].removeprefix("http://localhost")
    assert ask(pdp, "GET", where)[1] == answer

    decide(pdp, task, "approve")
    status, answer, _ = ask(pdp, "GET", where)
    result = answer["result"]
    assert (status, answer["task"]["status"], result["mode"]) == (200, "approved", "reevaluate")
    assert result["approval"]["approved_until"] == answer["task"]["expires_at"]
    assert submit(pdp, submission(denied, "one"))[0] == 201

    again = {"authzen_access_request_approval": result["approval_context"]}
    assert evaluate(pdp, "other", **again)["decision"] is False  # another call
    allowed = evaluate(pdp, "one", **again)
    assert (allowed["decision"], allowed["context"]["approval"]) == (
        True, {"id": task["id"], "approved_until": result["approval"]["approved_until"]},
    )  # fmt: skip
    receipt_id = allowed["context"]["receipt_id"]
    event = pdp.daemon.request("GET", f"/v1/receipts/{receipt_id}")[1]["event"]
    assert (event["kind"], event["approval_id"]) == ("delegated", task["id"])
    assert evaluate(pdp, "one", **again)["context"]["reason"] == "invalid_or_expired_approval"
    after = ask(pdp, "GET", where)[1]
    assert (after["task"]["status"], "result" in after) == ("consumed", False)


def test_a_no_is_told_with_the_persons_words(pdp):
    denied = evaluate(pdp, "two")
    task = submit(pdp, submission(denied, "two"))[1]["task"]
    decide(pdp, task, "deny", reason="not on a Sunday")
    status, answer, _ = submit(pdp, submission(denied, "two"))
    assert (status, answer["task"]["status"], "result" in answer) == (201, "denied", False)
    assert answer["task"]["display"]["description"] == "not on a Sunday"


def test_a_request_for_another_call_or_by_another_is_bound_to_nothing(pdp):
    denied = evaluate(pdp, "three")
    whole = submission(denied, "three")
    unknown = {**whole["denial"], "evaluation_id": "00000000-0000-4000-8000-000000000000"}
    without = {name: value for name, value in whole["denial"].items() if name != "evaluation_id"}
    for body, by in (
        (submission(denied, "other"), "desk"), (submission(denied, "three", who="bob"), "bob"),
        (whole, "bob"), (submission(denied, "three", action={"name": "read"}), "desk"),
        (submission(denied, "three", resource={"type": "tool", "id": "echo"}), "desk"),
        (submission(denied, "three", subject={"type": "user", "id": "alice"}), "desk"),
        (submission(denied, "three", denial=unknown), "desk"), (submission(denied, "three", denial=without), "desk"),
    ):  # fmt: skip
        status, problem, headers = submit(pdp, body, by)
        assert (status, problem.get("type")) == (400, f"{ERROR}invalid_denial_binding"), (body, by, problem)
        assert headers["content-type"] == "application/problem+json"


def test_what_was_not_requestable_is_no_request(pdp):
    denied = evaluate(pdp, "four")
    denial = submission(denied, "four")["denial"]
    for changed in (
        {"access_request": {"requestable": False}},
        {"access_request": {}},
        {"decision": {"decision": True}},
    ):
        status, problem, _ = submit(pdp, submission(denied, "four", denial={**denial, **changed}))
        assert (status, problem["type"]) == (400, f"{ERROR}not_requestable")


def test_bundles_callbacks_and_what_is_no_request_are_refused(pdp):
    denied = evaluate(pdp, "five")
    for changed in ({"items": []}, {"callback": {"endpoint": "https://x"}}, {"denial": None}, {"subject": "alice"}):
        assert submit(pdp, submission(denied, "five", **changed))[1].get("code") == "bad_request", changed


def test_a_task_is_shown_to_whom_may_ask_for_its_agent_and_to_nobody_else(pdp):
    task = submit(pdp, submission(evaluate(pdp, "six"), "six"))[1]["task"]
    where = f"/access/v1/requests/{task['id']}"
    assert ask(pdp, "GET", where, by="alice")[0] == 200
    for path, by in ((where, "bob"), ("/access/v1/requests/nothing", "desk")):
        status, problem, _ = ask(pdp, "GET", path, by=by)
        assert (status, problem["type"]) == (404, f"{ERROR}unknown_task")


def test_the_profile_is_where_the_metadata_says(pdp):
    described = ask(pdp, "GET", "/.well-known/authzen-configuration")[1]
    assert described["access_request_endpoint"].endswith("/access/v1/requests")
    assert described["capabilities"] == ["urn:openid:authzen:capability:access-request"]


def test_two_approvals_that_do_not_agree_are_none(pdp):
    denied = evaluate(pdp, "seven")
    task_id = denied["context"]["evaluation_id"]
    both = {"approval": {"id": "other"}, "authzen_access_request_approval": {"approval_id": task_id}}
    assert evaluate(pdp, "seven", **both)["context"]["reason"].partition(":")[0] == "invalid_args"
