"""AuthZEN 1.0 at a real daemon: the certification scenario's cases with this product's entities, and what it refuses.

The scenario's fixture names `user`, `record`, `read`; a daemon knows agents, tools and `tools/call`, so each case is
asked with those. Cases that send `properties` send the arguments of a call, which the policy reads.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from briefcase.model.reasons import next_step_of
from support.daemons import RunningDaemon, UnixConnection

POLICY = """
permit (principal, action == Action::"Call", resource);
permit (principal, action == Action::"CallWithoutApproval", resource);
forbid (principal, action == Action::"CallWithoutApproval", resource == Tool::"note_add")
when { context.args.text == "ask" };
permit (principal, action == Action::"CallWithoutSigner", resource);
@id("no-quotes-for-bob") @advice("ask alice")
forbid (principal == Agent::"bob", action == Action::"Call", resource == Tool::"quote");
@id("no-secrets") forbid (principal, action == Action::"Call", resource == Tool::"note_add")
when { context.args.text == "secret" };
"""
CALL = {"name": "tools/call"}
JSON = "application/json"


@pytest.fixture(scope="module")
def pdp(tmp_path_factory):
    """A daemon with three agents: alice, bob, and `desk`, which decides for `a*`."""
    data_dir = tmp_path_factory.mktemp("authzen") / "data"
    data_dir.mkdir(mode=0o700)
    with RunningDaemon(data_dir) as daemon:
        tokens = {}
        for name, pattern in (("alice", ""), ("bob", ""), ("desk", "a*"), ("gate", "*")):
            status, made = daemon.request("POST", "/v1/agents", {"name": name, "decides_for": pattern})
            assert status == 200, made
            tokens[name] = made["token"]
        status, told = daemon.request("PUT", "/v1/policy", {"policy_text": POLICY})
        assert status == 200, told
        yield SimpleNamespace(daemon=daemon, tokens=tokens)


def ask(pdp, body, *, path="/access/v1/evaluation", by="gate", media=JSON, request_id=None):
    """One request; gives status, answer and the echoed `X-Request-ID`."""
    connection = UnixConnection(pdp.daemon.socket_path)
    headers = {"Authorization": f"Bearer {pdp.tokens[by]}", "Content-Type": media}
    if request_id is not None:
        headers["X-Request-ID"] = request_id
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request("POST", path, body=data, headers=headers)
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, answer, response.headers.get("X-Request-ID")


def question(subject="alice", tool="echo", args=None, **fields):
    resource = {"type": "tool", "id": tool, **({} if args is None else {"properties": {"arguments": args}})}
    return {"subject": {"type": "agent", "id": subject}, "action": CALL, "resource": resource, **fields}


def decision(pdp, *args, by="gate", **fields):
    status, answer, _ = ask(pdp, question(*args, **fields), by=by)
    assert status == 200, answer
    return answer


def receipt(pdp, receipt_id):
    _, found = pdp.daemon.request("GET", f"/v1/receipts?limit=1&after_id={receipt_id - 1}")
    return found["receipts"][-1]["event"]


def test_a_crash_leaves_what_was_delegated_closed_and_spent(tmp_path):
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    with RunningDaemon(data_dir) as daemon:
        token = daemon.request("POST", "/v1/agents", {"name": "alice"})[1]["token"]
        own = SimpleNamespace(daemon=daemon, tokens={"alice": token})
        assert decision(own, "alice", "quote", {"symbol": "ACME"}, by="alice")["decision"] is True
        spent = [line["spent_microusd"] for line in daemon.request("GET", "/v1/budgets")[1]["budgets"]]
        assert sum(spent) == 2_000
        daemon.kill()
        daemon.start()
        after = daemon.request("GET", "/v1/budgets")[1]["budgets"]
        assert [line["spent_microusd"] for line in after] == spent
        assert daemon.request("GET", "/v1/receipts?kind=outcome_unknown")[1]["receipts"] == []
        assert daemon.request("POST", "/v1/receipts/verify", {"state": True})[1]["ok"] is True


# --- one evaluation ---------------------------------------------------------------------------------------------------


def test_a_call_that_is_allowed_is_decided_receipted_and_closed_at_once(pdp):
    answer = decision(pdp, args={"text": "hi"})
    assert answer["decision"] is True

    event = receipt(pdp, answer["context"]["receipt_id"])
    assert (event["kind"], event["decision"], event["outcome"]) == ("delegated", "allow", "not_observed")
    assert (event["principal"], event["asked_by"], event["args"]) == ("alice", "gate", '{"text":"hi"}')
    state = pdp.daemon.request("POST", "/v1/receipts/verify", {"state": True})[1]
    assert state["ok"] is True


def test_a_denial_says_why_by_which_policy_and_names_its_receipt(pdp):
    answer = decision(pdp, "bob", "quote", {"symbol": "ACME"})
    assert answer["decision"] is False
    context = answer["context"]
    assert context["next_step"] == next_step_of("policy_denied")
    assert (context["reason"], context["policy_ids"], context["advice"]) == (
        "policy_denied", ["no-quotes-for-bob"], "ask alice",
    )  # fmt: skip
    assert receipt(pdp, context["receipt_id"])["kind"] == "denied"


@pytest.mark.parametrize(
    "fields", [{"context": {"time": "2026-06-27T18:03-07:00"}}, {"foo": "bar", "future": {"a": 1}}]
)
def test_a_context_and_unknown_members_change_nothing(pdp, fields):
    assert decision(pdp, args={"text": "hi"}, **fields)["decision"] is True


def test_arguments_are_read_of_the_resource_or_of_the_context_and_may_not_differ(pdp):
    assert decision(pdp, tool="note_add", args={"text": "plain"})["decision"] is True
    assert decision(pdp, tool="note_add", args={"text": "secret"})["context"]["policy_ids"] == ["no-secrets"]
    assert decision(pdp, tool="note_add", context={"arguments": {"text": "secret"}})["decision"] is False
    both = decision(pdp, tool="note_add", args={"text": "plain"}, context={"arguments": {"text": "secret"}})
    assert (both["decision"], both["context"]["reason"].partition(":")[0]) == (False, "invalid_args")


def test_a_call_that_needs_a_person_waits_under_one_approval_which_lets_one_call_through(pdp):
    waiting = decision(pdp, tool="note_add", args={"text": "ask"})
    assert (waiting["decision"], waiting["context"]["reason"]) == (False, "approval_required")
    approval_id = waiting["context"]["access_request"]["approval_id"]
    again = decision(pdp, tool="note_add", args={"text": "ask"})
    assert again["context"]["access_request"]["approval_id"] == approval_id

    approved = pdp.daemon.request("POST", f"/v1/approvals/{approval_id}/approve", {})[1]
    with_it = {"context": {"approval": {"id": approved["approval_token"]}}}
    assert decision(pdp, "bob", "note_add", {"text": "ask"}, **with_it)["decision"] is False  # another principal's
    assert decision(pdp, tool="note_add", args={"text": "other"}, **with_it)["decision"] is False  # another call's
    assert decision(pdp, tool="note_add", args={"text": "ask"}, **with_it)["decision"] is True
    spent = decision(pdp, tool="note_add", args={"text": "ask"}, **with_it)
    assert spent["context"]["reason"] == "invalid_or_expired_approval"


def test_the_same_question_gets_the_same_decision_each_time_and_a_receipt_each_time(pdp):
    answers = [decision(pdp, args={"text": "hi"}) for _ in range(5)]
    assert {answer["decision"] for answer in answers} == {True}
    assert len({answer["context"]["receipt_id"] for answer in answers}) == 5


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"subject": {"type": "agent", "id": "nobody"}}, "unknown_subject"),
        ({"subject": {"type": "user", "id": "alice"}}, "unknown_subject"),
        ({"action": {"name": "read"}}, "unknown_action"),
        ({"resource": {"type": "record", "id": "echo"}}, "unknown_resource"),
        ({"resource": {"type": "tool", "id": "no-such-tool"}}, "unknown_tool"),
        ({"resource": {"type": "tool", "id": "echo", "properties": {"arguments": "text"}}}, "invalid_args"),
        ({"context": {"approval": {"id": 7}}}, "invalid_args"),
    ],
)
def test_what_names_no_call_of_this_daemon_is_no_and_has_its_receipt(pdp, changed, reason):
    status, answer, _ = ask(pdp, question(args={"text": "hi"}) | changed)
    assert (status, answer["decision"], answer["context"]["reason"].partition(":")[0]) == (200, False, reason)
    assert answer["context"]["receipt_id"] > 0


# --- for whom ---------------------------------------------------------------------------------------------------------


def test_an_agent_asks_for_itself_and_for_whom_its_token_was_made(pdp):
    hello = {"args": {"text": "hi"}}
    assert decision(pdp, "alice", by="alice", **hello)["decision"] is True
    assert decision(pdp, "alice", by="desk", **hello)["decision"] is True
    for subject, by in (("bob", "alice"), ("bob", "desk"), ("desk", "alice"), ("operator", "gate"), ("ALICE", "desk")):
        denied = decision(pdp, subject, by=by, **hello)
        assert (denied["decision"], denied["context"]["reason"]) == (False, "unknown_subject"), (subject, by)


def test_a_revoked_agent_is_nobody_for_whoever_decides_for_it(pdp):
    assert pdp.daemon.request("POST", "/v1/agents", {"name": "amy"})[0] == 200
    assert decision(pdp, "amy", args={"text": "hi"}, by="desk")["decision"] is True
    assert pdp.daemon.request("POST", "/v1/agents/amy/revoke")[0] == 200
    assert decision(pdp, "amy", args={"text": "hi"}, by="desk")["decision"] is False


# --- requests that are none -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'{"subject":"alice"}',
        b'{"subject":{"type":"agent","id":"alice"},"subject":{"type":"agent","id":"bob"}}',
        {key: value for key, value in question().items() if key != "subject"},
        {key: value for key, value in question().items() if key != "action"},
        {key: value for key, value in question().items() if key != "resource"},
        question() | {"subject": {"id": "alice"}},
        question() | {"subject": {"type": "agent"}},
        question() | {"action": {}},
        question() | {"action": {"name": 123}},
        question() | {"resource": {"id": "echo"}},
        question() | {"resource": {"type": "tool"}},
        question() | {"context": []},
    ],
)  # fmt: skip
def test_what_is_no_evaluation_is_a_400_with_its_request_id(pdp, body):
    status, answer, echoed = ask(pdp, body, request_id="r-17")
    assert (status, answer["code"], echoed) == (400, "bad_request", "r-17")


@pytest.mark.parametrize("media", ["text/plain", "application/jsonp", "", "application/x-www-form-urlencoded"])
def test_only_json_is_read(pdp, media):
    assert ask(pdp, question(), media=media)[0] == 400


@pytest.mark.parametrize(("sent", "echoed"), [("abc-123", "abc-123"), (None, None), ("a b", None), ("x" * 300, None)])
def test_a_plain_request_id_comes_back(pdp, sent, echoed):
    assert ask(pdp, question(args={"text": "hi"}), request_id=sent)[2] == echoed


# --- several evaluations ----------------------------------------------------------------------------------------------


def several(pdp, questions, by="gate", **fields):
    body = {"evaluations": questions, **fields}
    status, answer, _ = ask(pdp, body, path="/access/v1/evaluations", by=by)
    assert status == 200, answer
    return [one["decision"] for one in answer["evaluations"]], answer["evaluations"]


def tool(name, **arguments):
    return {"resource": {"type": "tool", "id": name, "properties": {"arguments": arguments}}}


ALICE = {"subject": {"type": "agent", "id": "alice"}, "action": CALL}
PLAIN, SECRET = tool("note_add", text="plain"), tool("note_add", text="secret")


def test_a_batch_is_answered_in_order_with_its_defaults(pdp):
    assert several(pdp, [PLAIN, SECRET, PLAIN], **ALICE)[0] == [True, False, True]
    whole = [question("alice", "quote", {"symbol": "ACME"}), question("bob", "quote", {"symbol": "ACME"})]
    assert several(pdp, whole)[0] == [True, False]


def test_an_entity_that_leaves_its_type_out_takes_it_of_the_default(pdp):
    without_type = {"resource": {"id": "note_add", "properties": {"arguments": {"text": "plain"}}}}
    decided, _ = several(pdp, [without_type, SECRET], **ALICE, resource={"type": "tool"})
    assert decided == [True, False]
    inherited, _ = several(pdp, [{}], **ALICE, **SECRET)
    assert inherited == [False]
    own, _ = several(pdp, [{"resource": {"id": "note_add"}}], **ALICE, **PLAIN)
    assert own == [False]  # a whole entity replaces the default: its arguments are not inherited


def test_one_bad_question_of_a_batch_costs_only_itself(pdp):
    decided, answers = several(pdp, [PLAIN, {}, PLAIN], **ALICE)
    assert decided == [True, False, True]
    assert answers[1]["context"]["error"]["status"] == 400


@pytest.mark.parametrize(
    ("semantic", "expected"),
    [
        ("execute_all", [True, False, True]),
        ("deny_on_first_deny", [True, False]),
        ("permit_on_first_permit", [True]),
    ],
)
def test_a_batch_ends_where_its_semantic_says_and_decides_nothing_after(pdp, semantic, expected):
    before = pdp.daemon.request("GET", "/v1/receipts?limit=1")[1]["receipts"][0]["id"]
    decided, _ = several(pdp, [PLAIN, SECRET, PLAIN], **ALICE, options={"evaluations_semantic": semantic})
    assert decided == expected
    after = pdp.daemon.request("GET", "/v1/receipts?limit=1")[1]["receipts"][0]["id"]
    assert after - before == len(expected)


@pytest.mark.parametrize("batch", [{}, {"evaluations": []}])
def test_without_evaluations_it_is_one_evaluation(pdp, batch):
    status, answer, _ = ask(pdp, question(args={"text": "hi"}) | batch, path="/access/v1/evaluations")
    assert (status, answer["decision"]) == (200, True)


@pytest.mark.parametrize(
    "body",
    [
        {"evaluations": [PLAIN] * 10_000, **ALICE},
        {"evaluations": [PLAIN], "options": {"evaluations_semantic": "first_wins"}},
        {"evaluations": "all"},
        {"evaluations": [7]},
    ],
)
def test_a_batch_past_its_bound_or_of_no_known_semantic_is_refused_whole(pdp, body):
    before = pdp.daemon.request("GET", "/v1/receipts?limit=1")[1]["receipts"][0]["id"]
    assert ask(pdp, body, path="/access/v1/evaluations")[0] == 400
    assert pdp.daemon.request("GET", "/v1/receipts?limit=1")[1]["receipts"][0]["id"] == before


# --- search and discovery ---------------------------------------------------------------------------------------------


def search(pdp, kind, body, by="gate"):
    status, answer, _ = ask(pdp, body, path=f"/access/v1/search/{kind}", by=by)
    assert status == 200, answer
    return [found.get("id", found.get("name")) for found in answer["results"]], answer["page"]


def test_subjects_are_the_agents_that_may_call_the_tool(pdp):
    who = {"subject": {"type": "agent"}, "action": CALL, "resource": {"type": "tool", "id": "quote"}}
    assert search(pdp, "subject", who)[0] == ["alice", "desk", "gate"]
    assert search(pdp, "subject", who, by="alice")[0] == ["alice"]
    assert search(pdp, "subject", who | {"context": {"time": "now"}, "action": {"name": "read"}})[0] == []


def test_resources_are_the_tools_an_agent_may_call(pdp):
    what = {"subject": {"type": "agent", "id": "bob"}, "action": CALL, "resource": {"type": "tool"}}
    found, page = search(pdp, "resource", what)
    assert "echo" in found
    assert "quote" not in found
    assert (page["next_token"], page["count"], page["total"]) == ("", len(found), len(found))
    assert search(pdp, "resource", what, by="alice")[0] == []  # not for her to know


def test_arguments_count_in_a_search_where_it_gives_some(pdp):
    what = {"subject": {"type": "agent", "id": "alice"}, "resource": {"type": "tool", "id": "note_add"}}
    assert search(pdp, "action", what)[0] == []  # a policy reads arguments that nobody gave
    assert search(pdp, "action", what | {"context": {"arguments": {"text": "plain"}}})[0] == ["tools/call"]
    assert search(pdp, "action", what | {"context": {"arguments": {"text": "secret"}}})[0] == []
    assert search(pdp, "action", what | {"context": {"arguments": {"text": "ask"}}})[0] == []


def test_results_come_in_pages_that_lose_and_repeat_nothing(pdp):
    what = {"subject": {"type": "agent", "id": "alice"}, "action": CALL, "resource": {"type": "tool"}}
    whole, _ = search(pdp, "resource", what)
    pages, token = [], ""
    while True:
        found, page = search(pdp, "resource", what | {"page": {"token": token, "limit": 1}})
        pages += found
        token = page["next_token"]
        if not token:
            break
    assert pages == whole


def test_a_search_writes_nothing_and_takes_no_long_arguments(pdp):
    before = pdp.daemon.request("GET", "/v1/receipts?limit=1")[1]["receipts"][0]["id"]
    what = {"subject": {"type": "agent", "id": "alice"}, "resource": {"type": "tool", "id": "echo"}}
    search(pdp, "action", what)
    assert pdp.daemon.request("GET", "/v1/receipts?limit=1")[1]["receipts"][0]["id"] == before
    long = what | {"context": {"arguments": {"text": "x" * 5_000}}}
    assert ask(pdp, long, path="/access/v1/search/action")[0] == 400


def test_whoever_asks_learns_where_it_answers(pdp):
    status, found = pdp.daemon.request("GET", "/.well-known/authzen-configuration", token="")
    assert status == 200
    assert found["policy_decision_point"] == "http://localhost"
    assert found["access_evaluation_endpoint"] == "http://localhost/access/v1/evaluation"
    assert set(found) == {
        "policy_decision_point", "access_evaluation_endpoint", "access_evaluations_endpoint",
        "search_subject_endpoint", "search_resource_endpoint", "search_action_endpoint",
        "access_request_endpoint", "capabilities",
    }  # fmt: skip


# --- look-alike routes, and faults ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/access/v1/evaluation/", "/access/v1//evaluation", "/access/v1/Evaluation", "/access/v1/evaluation%2f",
     "/access/v1/evaluatio%6e?x", "/ACCESS/v1/evaluation", "/access/v2/evaluation"],
)  # fmt: skip
def test_no_other_path_decides(pdp, path):
    status, answer, _ = ask(pdp, question(args={"text": "hi"}), path=path)
    assert status in {404, 200}
    assert (status == 404) or path == "/access/v1/evaluatio%6e?x"  # the same path, decoded once
    assert status == 404 or answer["decision"] is True


def test_without_a_token_nothing_is_decided(pdp):
    status, answer = pdp.daemon.request("POST", "/access/v1/evaluation", question(), token="")
    assert (status, answer["code"]) == (401, "unauthorized")
