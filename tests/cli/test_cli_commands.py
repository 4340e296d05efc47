"""Each command: what it asks of the daemon, what a person and a program get to read, and bad input."""

import json
import re

import pytest

from briefcase.core.operator.approvals import shown_digest_of
from briefcase.core.wire.identity import ProfileAnswer
from briefcase.core.wire.receipts import VerificationRecord
from support.cli import TOKEN, FakeRoot
from support.cli import run as run_with
from support.wire import example

APPROVAL_ID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
HASH, OTHER_HASH = "ab" * 32, "cd" * 32


def tool(tool_id: str, **changes) -> dict:
    return {
        "id": tool_id,
        "name": tool_id,
        "description": f"what {tool_id} does",
        "input_schema": {"type": "object"},
        "output_schema": {},
        "category": "read",
        "cost": {"estimated_usd": 0.0},
        "output_firewall": {"mode": "allow_all", "allowed_paths": []},
        **changes,
    }


def approval(**changes) -> dict:
    return {
        "id": APPROVAL_ID,
        "status": "pending",
        "created_at": "2026-01-01T00:00:00Z",
        "expires_at": "2099-01-01T00:00:00Z",
        "principal": "scout",
        "tool_id": "note_add",
        "reason": "approval_by_policy",
        "kind": "local",
        "summary": 'note_add {"text":"hi"}',
        **changes,
    }


def receipt(receipt_id: int, **event) -> dict:
    ts = "2026-01-01T00:00:00.000001Z"
    event = {"id": receipt_id, "ts": ts, "kind": "intent", "principal": "scout", "tool_id": "echo", **event}
    return {"id": receipt_id, "ts": ts, "prev_hash_hex": HASH, "hash_hex": OTHER_HASH, "event": event}


def ok(content) -> dict:
    provenance = {"source": "builtin", "cost_usd": 0.002, "timestamp": "2026-01-01T00:00:00Z", "receipt_id": 7}
    return {"status": "ok", "result": {"content": content, "provenance": provenance}}


# --- tools ------------------------------------------------------------------------------------------------------


def test_tools_are_listed_with_category_and_cost(run, daemon):
    pay = tool("pay", category={"other": "payments"}, cost={"estimated_usd": 0.002})
    daemon.answers["GET", "/v1/tools"] = {"tools": [tool("echo"), pay]}
    lines = run("tools", "list").out.splitlines()
    assert lines[0].split() == ["TOOL", "CATEGORY", "COST", "DESCRIPTION"]
    assert lines[1].split()[:3] == ["echo", "read", "free"]
    assert lines[2].split()[:3] == ["pay", "payments", "$0.002"]
    assert run("tools", "list", "--json").json == {"tools": [tool("echo"), pay]}
    assert daemon.seen[0][3]["Authorization"] == f"Bearer {TOKEN}"


def test_a_tool_is_shown_with_its_schema(run, daemon):
    daemon.answers["GET", "/v1/tools"] = {"tools": [tool("note_add", input_schema={"required": ["text"]})]}
    shown = run("tools", "show", "note_add")
    assert '{"required":["text"]}' in shown.out
    missing = run("tools", "show", "note_ad")
    assert (missing.code, missing.err) == (4, "error: no tool `note_ad`\nhint: did you mean `note_add`?\n")


def test_a_call_sends_its_arguments_and_a_new_request_id_each_time(run, daemon):
    daemon.answers["POST", "/v1/tools/call"] = ok({"echo": "hi"})
    for _ in range(2):
        ran = run("tools", "call", "echo", "--args-json", '{"text":"hi","n":1.0}')
        assert (ran.code, ran.out) == (0, '{"echo":"hi"}\n')
        assert ran.err == "receipt 7 · $0.002 · from builtin\n"
    first, second = (body["call"] for body in daemon.bodies("POST", "/v1/tools/call"))
    assert first["args"] == {"text": "hi", "n": 1}
    assert first["context"]["request_id"] != second["context"]["request_id"]
    assert "approval_token" not in first


def test_arguments_may_come_from_standard_input(run, daemon):
    daemon.answers["POST", "/v1/tools/call"] = ok(None)
    assert run("tools", "call", "echo", "--args-json", "-", stdin=b'{"text":"piped"}\n').code == 0
    assert daemon.bodies("POST", "/v1/tools/call")[0]["call"]["args"] == {"text": "piped"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"text" "hi"}', ['  {"text" "hi"}', "          ^"]),
        ("{'text':1}", ["  {'text':1}", "   ^"]),
        ('{"a":1}x', []),
        ('{"a":1,"a":2}', []),
        ('{"a":NaN}', []),
        ('{"a":9007199254740993}', []),
        ('{"a":"\\ud800"}', []),
        ("[1]", ["expected a JSON object, got `[1]`"]),
        ("", []),
        ("\ufeff{}", []),
        ("[" * 100_000, []),
        (f'{{"a":"{"x" * 200}",}}', ["^"]),
    ],
)
def test_arguments_that_are_no_json_object_are_refused_before_anything_is_sent(run, daemon, text, shown):
    ran = run("tools", "call", "echo", "--args-json", "-", stdin=text.encode())
    assert ran.code == 2
    assert ran.err.startswith("error: `--args-json`: ")
    for line in shown:
        assert line in ran.err
    assert all(len(line) < 200 for line in ran.err.splitlines())
    assert daemon.seen == []


def test_arguments_in_bytes_that_are_no_text_are_refused(run, daemon):
    assert run("tools", "call", "echo", "--args-json", "\udcff").code == 2
    assert run("tools", "call", "echo", "--args-json", "-", stdin=b'{"a":"\xff"}').code == 2
    assert run("tools", "call", "echo", "--args-json", "-", stdin=b" " * (1 << 20) + b"{}").code == 2
    assert daemon.seen == []


@pytest.mark.parametrize(
    ("answer", "code", "label"),
    [
        ({"status": "denied", "reason": "policy_denied"}, 3, "denied: policy_denied"),
        (
            {"status": "denied", "reason": "policy_denied", "policy_ids": ["a"], "advice": "use less"},
            3,
            "denied: policy_denied by `a`: use less",
        ),
        ({"status": "denied", "reason": "policy_error"}, 3, "denied: policy_error"),
        ({"status": "denied", "reason": "invalid_args: /text: missing"}, 2, "denied: invalid_args: /text: missing"),
        ({"status": "denied", "reason": "rate_limited"}, 3, "denied: rate_limited"),
        ({"status": "denied", "reason": "invalid_or_expired_approval"}, 3, "denied: invalid_or_expired_approval"),
        ({"status": "denied", "reason": "risk:secret_like"}, 3, "denied: risk:secret_like"),
        ({"status": "error", "message": "upstream_timeout: 10 s"}, 8, "error: upstream_timeout: 10 s"),
    ],
)
def test_a_call_that_did_not_run_says_why_and_exits_by_it(run, daemon, answer, code, label):
    daemon.answers["POST", "/v1/tools/call"] = answer
    ran = run("tools", "call", "echo")
    assert (ran.code, ran.out, ran.err.splitlines()[0]) == (code, "", label)
    as_json = run("tools", "call", "echo", "--json")
    assert (as_json.code, as_json.json) == (code, answer)


def test_a_call_whose_tool_says_it_failed_shows_the_answer_and_exits_with_8(run, daemon):
    answer = ok({"isError": True})
    answer["result"]["is_error"] = True
    daemon.answers["POST", "/v1/tools/call"] = answer
    ran = run("tools", "call", "echo")
    assert (ran.code, "isError" in ran.out) == (8, True)
    assert "the tool says that it failed" in ran.err
    assert run("tools", "call", "echo", "--json").code == 8


def test_an_unknown_tool_suggests_the_one_that_was_meant(run, daemon):
    daemon.answers["POST", "/v1/tools/call"] = {"status": "denied", "reason": "unknown_tool"}
    daemon.answers["GET", "/v1/tools"] = {"tools": [tool("note_add"), tool("echo")]}
    ran = run("tools", "call", "note_ad")
    assert (ran.code, ran.err) == (4, "denied: unknown_tool\nhint: did you mean `note_add`?\n")


def test_a_call_that_waits_says_what_to_do_and_exits_with_10(run, daemon):
    daemon.answers["POST", "/v1/tools/call"] = {"status": "approval_required", "approval": approval()}
    ran = run("tools", "call", "note_add")
    assert ran.code == 10
    assert APPROVAL_ID in ran.out
    assert f"briefcase approvals approve {APPROVAL_ID}" in ran.err
    assert len(daemon.bodies("POST", "/v1/tools/call")) == 1


def test_a_call_that_was_approved_since_goes_ahead_when_it_is_repeated(run, daemon):
    answers = iter([{"status": "approval_required", "approval": approval(status="approved")}, ok({"id": 1})])
    daemon.answers["POST", "/v1/tools/call"] = lambda: next(answers)
    daemon.answers["GET", f"/v1/approvals/{APPROVAL_ID}"] = approval(status="approved", approval_token="t.t")
    ran = run("tools", "call", "note_add")
    assert (ran.code, ran.out) == (0, '{"id":1}\n')
    assert daemon.bodies("POST", "/v1/tools/call")[1]["call"]["approval_token"] == "t.t"


def test_waiting_repeats_the_very_call_once_it_is_approved(run, daemon):
    statuses = iter(["pending", "pending", "approved"])
    answers = iter([{"status": "approval_required", "approval": approval()}, ok({"id": 1})])
    daemon.answers["POST", "/v1/tools/call"] = lambda: next(answers)
    daemon.answers["GET", f"/v1/approvals/{APPROVAL_ID}"] = lambda: approval(
        status=next(statuses), approval_token="t.t"
    )
    ran = run("tools", "call", "note_add", "--args-json", '{"text":"hi"}', "--wait")
    assert (ran.code, ran.out) == (0, '{"id":1}\n')
    first, second = (body["call"] for body in daemon.bodies("POST", "/v1/tools/call"))
    assert second["approval_token"] == "t.t"
    assert first["args"] == second["args"]


@pytest.mark.parametrize("status", ["rejected", "expired", "consumed"])
def test_waiting_for_what_is_not_approved_ends_as_a_denial(run, daemon, status):
    daemon.answers["POST", "/v1/tools/call"] = {"status": "approval_required", "approval": approval()}
    daemon.answers["GET", f"/v1/approvals/{APPROVAL_ID}"] = approval(status=status)
    ran = run("tools", "call", "note_add", "--wait")
    assert ran.code == 3
    assert f"denied: invalid_or_expired_approval: {status}" in ran.err
    assert len(daemon.bodies("POST", "/v1/tools/call")) == 1


def test_what_a_tool_answers_can_not_act_on_the_terminal(run, daemon):
    daemon.answers["POST", "/v1/tools/call"] = ok({"text": "\x1b]0;x\x07\u202e\x9b2J[red]"})
    ran = run("tools", "call", "echo")
    assert ran.out == '{"text":"\\u001b]0;x\\u0007\\u202e\\u009b2J[red]"}\n'


# --- approvals --------------------------------------------------------------------------------------------------


def test_approvals_are_listed_with_nothing_invisible(run, daemon):
    daemon.answers["GET", "/v1/approvals"] = {"approvals": [approval(summary="pay \u202e[bold]1[/bold]\x1b[2J")]}
    out = run("approvals", "list").out
    assert "pay <U+202E>[bold]1[/bold]<U+001B>[2J" in out
    assert APPROVAL_ID in out
    daemon.answers["GET", "/v1/approvals"] = {"approvals": []}
    assert run("approvals", "list").out == "nothing waits for approval\n"


def test_a_yes_that_was_not_used_yet_is_listed_with_its_status_and_found_by_its_beginning(run, daemon):
    daemon.answers["GET", "/v1/approvals"] = {"approvals": [approval(), approval(id="b" * 36, status="approved")]}
    lines = run("approvals", "list").out.splitlines()
    assert [line.split()[1] for line in lines] == ["STATUS", "pending", "approved"]
    for status in ("pending", "approved"):
        run("approvals", "list", "--status", status)
    path = f"/v1/approvals/{'b' * 36}/deny"
    daemon.answers["POST", path] = {"approval_id": "b" * 36, "status": "rejected"}
    assert run("approvals", "deny", "b" * 8).code == 0
    asked = [target.partition("?")[2] for method, target, *_ in daemon.seen if method == "GET"]
    assert asked == ["status=open", "status=pending", "status=approved", "status=open"]


def shown(**changes) -> dict:
    """What the daemon shows of an approval to who may decide."""
    document = {
        **approval(),
        "args_text": '{"text":"hi"}',
        "tool": {"name": "note_add", "description": "", "category": "write", "cost": {"estimated_usd": 0.0}},
        "destination": "builtin",
        "risk": [],
        "policy_ids": [],
        "reasons": ["approval_by_policy"],
        "last_approved": None,
        **changes,
    }
    return {**document, "shown_digest_hex": shown_digest_of(document)}


@pytest.fixture
def yes(daemon):
    """The daemon says yes to every yes; gives what it was told with."""
    path = f"/v1/approvals/{APPROVAL_ID}/approve"
    daemon.answers["POST", path] = {"approval_id": APPROVAL_ID, "approval_token": "token"}
    return lambda: daemon.bodies("POST", path)


@pytest.mark.parametrize("given", [APPROVAL_ID, APPROVAL_ID[:8], APPROVAL_ID[:13].upper()])
def test_an_approval_is_named_by_its_id_or_its_beginning(run, daemon, given, yes):
    daemon.answers["GET", "/v1/approvals"] = {"approvals": [approval()]}
    daemon.answers["GET", f"/v1/approvals/{APPROVAL_ID}"] = shown()
    ran = run("approvals", "approve", given)
    assert (ran.code, ran.out) == (0, "token\n")


@pytest.mark.parametrize(
    ("given", "others", "code"),
    [
        (APPROVAL_ID[:7], [], 2),
        ("3f2504e0", ["3f2504e0-0000-0000-0000-000000000000"], 4),
        ("ffffffff", [], 4),
        ("", [], 2),
    ],
)
def test_a_beginning_that_names_no_single_approval_decides_nothing(run, daemon, given, others, code):
    daemon.answers["GET", "/v1/approvals"] = {"approvals": [approval(), *(approval(id=other) for other in others)]}
    for verb in ("approve", "deny"):
        assert run("approvals", verb, given).code == code
    assert not [method for method, *_ in daemon.seen if method == "POST"]


def test_a_denial_carries_its_reason(run, daemon):
    path = f"/v1/approvals/{APPROVAL_ID}/deny"
    daemon.answers["POST", path] = {"approval_id": APPROVAL_ID, "status": "rejected"}
    assert run("approvals", "deny", APPROVAL_ID, "--reason", "wrong customer").out == f"denied {APPROVAL_ID}\n"
    assert run("approvals", "deny", APPROVAL_ID).code == 0
    assert daemon.bodies("POST", path) == [{"reason": "wrong customer"}, None]


def test_an_id_can_not_leave_its_place_in_the_path(run, daemon):
    given = "../../policy?x=" + "y" * 30
    assert run("approvals", "approve", given).code == 4
    (_, path, _, _) = daemon.seen[0]
    assert path.startswith("/v1/approvals/..%2F..%2Fpolicy%3Fx%3D")


def test_watching_without_a_terminal_says_so_and_asks_nobody(run, daemon):
    ran = run("approvals", "watch")
    assert (ran.code, ran.out, daemon.seen) == (2, "", [])
    assert "expected a terminal" in ran.err
    assert "approvals watch --json" in ran.err


def test_watching_as_json_writes_each_approval_once(run, daemon, monkeypatch):
    waiting = [approval()]
    daemon.answers["GET", "/v1/approvals"] = lambda: {"approvals": list(waiting)}
    naps = iter([lambda: waiting.append(approval(id="other")), lambda: None])

    def nap(_seconds):
        step = next(naps, None)
        if step is None:
            raise KeyboardInterrupt
        step()

    monkeypatch.setattr("briefcase.edges.cli.watch.time.sleep", nap)
    ran = run("approvals", "watch", "--json")
    assert ran.code == 130
    assert [json.loads(line)["id"] for line in ran.out.splitlines()] == [APPROVAL_ID, "other"]


def test_a_yes_carries_the_digest_of_what_was_written_before_it(run, daemon, yes):
    daemon.answers["GET", f"/v1/approvals/{APPROVAL_ID}"] = shown()
    ran = run("approvals", "approve", APPROVAL_ID, "--reason", "checked")
    assert '"text": "hi"' in ran.err
    assert yes() == [{"shown_digest_hex": shown()["shown_digest_hex"], "reason": "checked"}]


@pytest.mark.parametrize("flag", [(), ("--json",)])
def test_a_long_call_takes_the_digest_that_show_wrote(run, daemon, yes, flag):
    long = shown(args_text='{"text":"%s"}' % ("x" * 5_000), summary="note_add x… (903 more characters)")
    daemon.answers["GET", f"/v1/approvals/{APPROVAL_ID}"] = long
    refused = run("approvals", "approve", APPROVAL_ID, *flag)
    assert (refused.code, "--digest" in refused.err, yes()) == (3, True, [])
    digest = run("approvals", "show", APPROVAL_ID).out.split()[-1]
    assert run("approvals", "approve", APPROVAL_ID, "--digest", digest, *flag).code == 0
    assert yes() == [{"shown_digest_hex": digest}]


def test_a_call_that_changed_since_it_was_shown_gets_no_yes(run, daemon, yes):
    seen = shown()["shown_digest_hex"]
    daemon.answers["GET", f"/v1/approvals/{APPROVAL_ID}"] = shown(args_text='{"text":"ho"}')
    assert run("approvals", "approve", APPROVAL_ID, "--digest", seen).code == 3
    assert yes() == []


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (approval(), 6),  # as an agent sees it: no whole call, and nothing for an agent to decide
        ({**shown(), "args_text": '{"text":"ho"}'}, 3),
        ({**shown(), "shown_digest_hex": "0" * 64}, 3),
    ],
)
def test_a_daemon_that_shows_something_else_than_it_says_gets_no_yes(run, daemon, yes, answer, code):
    daemon.answers["GET", f"/v1/approvals/{APPROVAL_ID}"] = answer
    assert run("approvals", "approve", APPROVAL_ID).code == code
    assert yes() == []


def test_an_approval_that_ended_is_shown_with_what_is_left_of_it(run, daemon):
    daemon.answers["GET", f"/v1/approvals/{APPROVAL_ID}"] = shown(status="rejected")
    out = run("approvals", "show", APPROVAL_ID).out
    assert 'note_add {"text":"hi"}' in out
    assert "digest" not in out


def test_a_persons_reason_never_stands_where_a_status_does(run, daemon):
    decided = receipt(3, kind="approval_decided", status="rejected", reason="approved", by="operator")
    daemon.answers["GET", "/v1/receipts"] = {"receipts": [decided]}
    assert "rejected: `approved`" in run("receipts", "list").out


# --- receipts ---------------------------------------------------------------------------------------------------


def test_filters_reach_the_daemon_and_times_may_be_relative(run, daemon):
    daemon.answers["GET", "/v1/receipts"] = {"receipts": [receipt(2, decision="deny", reason="policy_denied")]}
    ran = run("receipts", "list", "--tool", "echo", "--decision", "deny", "--since", "15m", "--limit", "5")
    assert ran.out.splitlines()[1].split() == [
        "2", "2026-01-01", "00:00:00Z", "intent", "scout", "echo", "policy_denied",
    ]  # fmt: skip
    (_, path, _, _) = daemon.seen[0]
    assert "tool_id=echo" in path
    assert "decision=deny" in path
    assert "limit=5" in path
    assert "since=20" in path
    assert "kind" not in path


@pytest.mark.parametrize(
    "moment",
    [
        "yesterday",
        "15",
        "-5m",
        "2026-01-01T00:00:00",
        "9999999m",
        "999999d",
        "2026-13-01T00:00:00Z",
        "9999-12-31T23:59:59-23:59",
    ],
)
def test_a_time_that_is_none_is_refused(run, daemon, moment):
    ran = run("receipts", "list", "--since", moment)
    assert ran.code == 2
    assert daemon.seen == []


def test_a_receipt_is_shown_field_by_field(run, daemon):
    one = receipt(7, decision="allow", timing_us={"parse": 12, "policy": 3}, policy_ids=["a", "b"], reason="")
    daemon.answers["GET", "/v1/receipts/7"] = one
    fields = dict(line.split(maxsplit=1) for line in run("receipts", "show", "7").out.splitlines())
    assert fields["timing_us"].strip() == "parse 12  policy 3"
    assert fields["policy_ids"].strip() == "a, b"
    assert fields["hash"].startswith(("cd", "before"))
    assert "reason" not in fields
    assert run("receipts", "show", "7", "--json").json == one


def test_a_receipt_says_why_in_its_first_lines(run, daemon):
    approval = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
    one = receipt(
        7, kind="intent", decision="allow", policy_ids=["mail", "hours"], reason="", detail="letters are read first",
        risk=["new_recipient"], approval_id=approval, tool_id="send_mail",
    )  # fmt: skip
    decided = receipt(6, kind="approval_decided", status="approved", by="ann", reason="fine", approval_id=approval)
    closing = receipt(9, kind="outcome", status="error", error="upstream_timeout", intent_id=7, tool_id="send_mail")
    daemon.answers["GET", "/v1/receipts/7"] = one
    daemon.answers["GET", "/v1/receipts"] = {"receipts": [closing, decided]}
    lines = run("receipts", "show", "7").out.splitlines()
    assert len(lines) < 24, "one screen"
    said = dict(line.split("  ", 1) for line in lines[:7])
    said = {name.strip(): text.strip() for name, text in said.items()}
    assert said["why"] == "allow"
    assert said["rests on"] == "`mail`, `hours`: letters are read first"
    assert said["signals"] == "new_recipient"
    assert said["came of it"] == "error (upstream_timeout), receipt 9"
    asked = [path for _, path, _, _ in daemon.seen]
    assert any(f"approval_id={approval}" in path and "kind=approval_decided" in path for path in asked)
    assert any("after_id=7" in path and "tool_id=send_mail" in path for path in asked)
    daemon.answers["GET", "/v1/receipts"] = {"receipts": [decided]}
    shown = run("receipts", "show", "7").out
    assert re.search(r"person +approved by ann at .*: fine", shown)
    assert "came of it" not in shown, "nothing is said where no receipt says it"


def test_a_receipt_says_why_where_the_receipts_beside_it_are_not_to_be_had(run, daemon):
    daemon.answers["GET", "/v1/receipts/7"] = receipt(
        7, kind="denied", decision="deny", reason="policy_denied", policy_ids=["never"], approval_id="x"
    )
    daemon.answers["GET", "/v1/receipts/8"] = receipt(8, kind="outcome", status="ok", intent_id=7)
    said = run("receipts", "show", "7").out
    assert re.search(r"why +deny: policy_denied", said)
    assert re.search(r"rests on +`never`", said)
    assert re.search(r"closes +receipt 7", run("receipts", "show", "8").out)


def test_the_list_of_receipts_names_the_policy_beside_the_reason(run, daemon):
    denied = receipt(3, kind="denied", decision="deny", reason="policy_denied", policy_ids=["never", "hours"])
    allowed = receipt(2, kind="intent", decision="allow", reason="", policy_ids=["mail"])
    daemon.answers["GET", "/v1/receipts"] = {"receipts": [denied, allowed]}
    out = run("receipts", "list").out
    assert "policy_denied by never, hours" in out
    assert "by mail" in out


def test_a_chain_that_verifies_says_how_far_and_what_was_not_excluded(run, daemon):
    head = {"id": 12, "hash_hex": HASH}
    answer = {"ok": True, "checked": 12, "head": head, "not_checked": ["tail_truncation"]}
    daemon.answers["POST", "/v1/receipts/verify"] = answer
    ran = run("receipts", "verify")
    assert ran.code == 0
    assert "ok 12 receipts" in ran.out
    assert f"12:{HASH}" in ran.out
    assert "not excluded" in ran.err


def test_a_broken_chain_exits_with_7_and_names_the_first_bad_receipt(run, daemon):
    bad = {
        "id": 5,
        "problem": "its hash does not cover its event",
        "expected_prev_hash_hex": HASH,
        "found_prev_hash_hex": HASH,
        "expected_hash_hex": HASH,
        "found_hash_hex": OTHER_HASH,
    }
    answer = {"ok": False, "checked": 4, "head": {"id": 12, "hash_hex": HASH}, "first_bad": bad, "not_checked": []}
    daemon.answers["POST", "/v1/receipts/verify"] = answer
    ran = run("receipts", "verify")
    assert ran.code == 7
    assert "receipt 5 is wrong: its hash does not cover its event" in ran.err
    assert OTHER_HASH in ran.out
    as_json = run("receipts", "verify", "--json")
    assert (as_json.code, as_json.json) == (7, answer)


def test_an_anchor_is_read_whole(run, daemon):
    daemon.answers["POST", "/v1/receipts/verify"] = example(VerificationRecord, is_least=True)
    assert run("receipts", "verify", "--anchor", f"12:{HASH.upper()}").code == 0
    assert daemon.bodies("POST", "/v1/receipts/verify") == [{"anchor": {"id": 12, "hash_hex": HASH}}]
    assert run("receipts", "verify", "--after", f"7:{HASH}").code == 0
    assert daemon.bodies("POST", "/v1/receipts/verify")[1:] == [{"after": {"id": 7, "hash_hex": HASH}}]
    for wrong in ("12", f"12:{HASH}0", f"-1:{HASH}", HASH, f"12:{'g' * 64}"):
        assert run("receipts", "verify", "--anchor", wrong).code == 2
        assert "`--after`" in run("receipts", "verify", "--after", wrong).err
    assert run("receipts", "verify", "--after", f"7:{HASH}", "--data-dir", "/nowhere").code == 2


# --- budgets, policy, secrets, agents, identity -----------------------------------------------------------------


def line_of(category, limit, spent=0, reserved=0) -> dict:
    return {
        "category": category,
        "daily_limit_microusd": limit,
        "spent_microusd": spent,
        "reserved_microusd": reserved,
    }


def test_budgets_show_what_is_left(run, daemon):
    lines = [line_of("read", 3_000_000, 1_000, 2_000), line_of("write", 0, 5_000)]
    daemon.answers["GET", "/v1/budgets"] = {"budgets": lines}
    rows = [line.split() for line in run("budgets", "list").out.splitlines()[1:]]
    assert rows == [
        ["read", "$3.00", "$0.001", "$0.002", "$2.997"],
        ["write", "$0.00", "$0.005", "$0.00", "$0.00"],
    ]


def test_a_budget_is_set_to_the_micro_dollar(run, daemon):
    daemon.answers["POST", "/v1/budgets/read"] = line_of("read", 2_000_001)
    ran = run("budgets", "set", "--daily-limit-usd", "2.000001", "read")
    assert ran.out == "`read` may spend $2.000001 a day\n"
    assert daemon.bodies("POST", "/v1/budgets/read") == [{"daily_limit_microusd": 2_000_001}]


@pytest.mark.parametrize("amount", ["-1", "NaN", "inf", "1e9", "0.0000001", "", "99999999999"])
def test_a_budget_that_is_no_amount_is_refused_before_anything_is_sent(run, daemon, amount):
    ran = run("budgets", "set", f"--daily-limit-usd={amount}", "read")
    assert ran.code == 2
    assert "`--daily-limit-usd`: expected" in ran.err
    assert daemon.seen == []


def policy(text="permit(principal, action, resource);", hash_hex=HASH) -> dict:
    return {"policy_text": text, "policy_hash_hex": hash_hex, "updated_at_rfc3339": "2026-01-01T00:00:00Z"}


def test_a_policy_is_shown_as_it_is_so_that_it_can_be_saved(run, daemon):
    daemon.answers["GET", "/v1/policy"] = policy("// ünï\n\tpermit(principal, action, resource);\n")
    assert run("policy", "show").out == "// ünï\n\tpermit(principal, action, resource);\n"


def test_a_policy_is_set_from_a_file_or_standard_input(run, daemon, tmp_path):
    file = tmp_path / "p.cedar"
    file.write_text("forbid(principal, action, resource);")
    daemon.answers["GET", "/v1/policy"] = policy()
    daemon.answers["PUT", "/v1/policy"] = policy(hash_hex=OTHER_HASH)
    assert run("policy", "set", str(file)).out == f"the policy is now {OTHER_HASH}\n"
    assert run("policy", "set", "-", stdin=b"permit(principal, action, resource);").code == 0
    assert [body["policy_text"] for body in daemon.bodies("PUT", "/v1/policy")] == [
        "forbid(principal, action, resource);",
        "permit(principal, action, resource);",
    ]


def test_a_policy_that_is_refused_shows_the_place(run, daemon):
    daemon.answers["GET", "/v1/policy"] = policy()
    message = "line 1, column 8: unexpected token\npermit(\n       ^"
    daemon.answers["PUT", "/v1/policy"] = (400, {"code": "invalid_policy", "message": message})
    ran = run("policy", "set", "-", stdin=b"permit(")
    assert ran.code == 2
    assert ran.err == "error: line 1, column 8: unexpected token\n  permit(\n         ^\n"


@pytest.mark.parametrize("verb", ["set", "check", "diff"])
def test_a_policy_file_that_can_not_be_read_is_refused(run, daemon, tmp_path, verb):
    (tmp_path / "binary").write_bytes(b"permit\xff")
    for path, said in (("missing", "no such file"), ("binary", "UTF-8"), (".", "is a directory")):
        ran = run("policy", verb, str(tmp_path / path))
        assert ran.code == 2
        assert said in ran.err
    assert run("policy", verb, "-", stdin=b"x" * ((1 << 20) + 1)).code == 2
    assert daemon.seen == []


def test_a_policy_is_checked_against_the_daemons_tools(run, daemon):
    schema = {"type": "object", "properties": {"text": {"type": "string"}}, "additionalProperties": False}
    daemon.answers["GET", "/v1/tools"] = {"tools": [tool("echo", input_schema=schema)]}
    uses = 'permit(principal, action == Action::"Call", resource == Tool::"echo") when {{ context.args has {0} }};'
    assert run("policy", "check", "-", "--json", stdin=uses.format("text").encode()).json["ok"] is True
    wrong = run("policy", "check", "-", stdin=uses.format("txt").encode())
    assert wrong.code == 2
    assert "no argument `txt`" in wrong.err


def test_a_policy_is_checked_without_a_daemon_too(tmp_path):
    root = FakeRoot(tmp_path)
    right = run_with(root, "policy", "check", "-", stdin=b"permit(principal, action, resource);")
    assert right.code == 0
    assert "not checked" in right.err
    wrong = run_with(root, "policy", "check", "-", stdin=b"permit(principal, action, resource)\npermit")
    assert wrong.code == 2
    assert "line 2" in wrong.err


ACTIVE = """@id("reads") permit(principal, action, resource);
@id("gone") forbid(principal, action, resource) when { context.risk.contains("x") };
"""
CANDIDATE = """// a comment is no change
@id("reads") permit(principal,
  action, resource);
@id("new") forbid(principal == Principal::"scout", action, resource);
"""


def test_the_policies_a_file_adds_and_removes_are_shown_by_id(run, daemon):
    daemon.answers["GET", "/v1/policy"] = policy(ACTIVE)

    ran = run("policy", "diff", "-", stdin=CANDIDATE.encode())
    assert ran.code == 0
    assert [line for line in ran.out.split("\n") if line[:1].isalpha()] == ["added `new`", "removed `gone`"]
    assert '  +@id("new") forbid' in ran.out
    assert "reads" not in ran.out

    as_json = run("policy", "diff", "-", "--json", stdin=CANDIDATE.encode()).json
    assert [(it["op"], it["policy_id"]) for it in as_json["policies"]] == [("added", "new"), ("removed", "gone")]
    assert as_json["changed"]
    assert "+// a comment is no change" in as_json["diff"]


def test_a_policy_that_changed_is_shown_with_its_lines(run, daemon):
    daemon.answers["GET", "/v1/policy"] = policy(ACTIVE)
    ran = run("policy", "diff", "-", stdin=ACTIVE.replace('"x"', '"y"').encode())
    assert ran.out.startswith("changed `gone`")
    assert 'contains("x")' in ran.out
    assert 'contains("y")' in ran.out


@pytest.mark.parametrize(
    ("text", "says"), [(ACTIVE, "no difference"), (f"// c\n{ACTIVE}", "the layout or the comments do")]
)
def test_a_file_that_means_the_same_shows_no_policy(run, daemon, text, says):
    daemon.answers["GET", "/v1/policy"] = policy(ACTIVE)
    ran = run("policy", "diff", "-", stdin=text.encode())
    assert (ran.code, ran.out) == (0, "")
    assert says in ran.err


def test_a_secret_comes_from_standard_input_and_is_never_shown(run, daemon):
    daemon.answers["PUT", "/v1/secrets/tickets"] = {"name": "tickets"}
    for stdin, value in ((b"s3cret\n", "s3cret"), (b"two\nlines\r\n", "two\nlines"), (b" spaces \n", " spaces ")):
        ran = run("secrets", "set", "tickets", stdin=stdin)
        assert (ran.code, ran.out) == (0, "stored `tickets`\n")
        assert daemon.bodies("PUT", "/v1/secrets/tickets")[-1] == {"value": value}


def test_a_secret_is_bound_to_hosts_as_it_is_set_and_later(run, daemon):
    daemon.answers["PUT", "/v1/secrets/tickets"] = {"name": "tickets"}
    daemon.answers["PUT", "/v1/secrets/tickets/hosts"] = {"hosts": ["a.example", "process/fs"]}
    assert run("secrets", "set", "tickets", "--host", "a.example", stdin=b"s3cret-value").code == 0
    assert daemon.bodies("PUT", "/v1/secrets/tickets")[-1] == {"value": "s3cret-value", "hosts": ["a.example"]}
    ran = run("secrets", "bind", "tickets", "--host", "a.example", "--host", "process/fs")
    assert ran.out == "`tickets` may go to a.example, process/fs\n"
    assert daemon.bodies("PUT", "/v1/secrets/tickets/hosts")[-1] == {"hosts": ["a.example", "process/fs"]}
    assert run("secrets", "bind", "tickets").code == 2


def test_a_secret_on_the_command_line_is_refused_and_called_spent(run, daemon):
    ran = run("secrets", "set", "tickets", "s3cret", stdin=b"other")
    assert ran.code == 2
    assert "s3cret" not in ran.err
    assert "history" in ran.err
    assert daemon.seen == []


@pytest.mark.parametrize("stdin", [b"", b"\n", b"\xff", b"x" * 70_000])
def test_a_secret_that_is_none_is_refused(run, daemon, stdin):
    assert run("secrets", "set", "tickets", stdin=stdin).code == 2
    assert daemon.seen == []


def test_secrets_are_listed_by_name_and_deleted(run, daemon):
    daemon.answers["GET", "/v1/secrets"] = {"secrets": ["a", "b"], "hosts": {"a": ["desk.example.com"]}}
    daemon.answers["DELETE", "/v1/secrets/a"] = {"name": "a"}
    listed = [line.split() for line in run("secrets", "list").out.splitlines()]
    assert listed == [["SECRET", "HOSTS"], ["a", "desk.example.com"], ["b"]]
    assert run("secrets", "delete", "a").out == "deleted `a`\n"
    assert run("secrets", "delete", "b").code == 4


def test_an_agents_token_is_the_only_thing_on_standard_output(run, daemon):
    daemon.answers["POST", "/v1/agents"] = {"name": "scout", "token": "bca_1"}
    ran = run("agents", "add", "scout", "--group", "a", "--group", "b")
    assert (ran.code, ran.out) == (0, "bca_1\n")
    assert daemon.bodies("POST", "/v1/agents") == [{"name": "scout", "groups": ["a", "b"]}]


def test_agents_are_listed_and_revoked(run, daemon):
    agents = [
        {"name": "scout", "groups": ["a", "b"], "created_at": "2026-01-01T00:00:00Z", "revoked_at": None},
        {"name": "old", "groups": [], "created_at": "2026-01-01T00:00:00Z", "revoked_at": "2026-01-02T00:00:00Z"},
    ]
    daemon.answers["GET", "/v1/agents"] = {"agents": agents}
    daemon.answers["POST", "/v1/agents/scout/revoke"] = {"name": "scout"}
    rows = [line.split() for line in run("agents", "list").out.splitlines()[1:]]
    assert rows == [
        ["scout", "active", "2026-01-01", "00:00:00Z", "a,", "b"],
        ["old", "revoked", "2026-01-02", "00:00:00Z"],
    ]
    assert run("agents", "revoke", "scout").out == "revoked `scout`\n"
    assert run("agents", "revoke", "nobody").code == 4


def test_the_identity_is_shown(run, daemon):
    daemon.answers["GET", "/v1/identity"] = {
        "did": "did:key:z6Mk",
        "profile_mode": "ga",
        "compatibility_profile": "aacp_v1",
    }
    daemon.answers["GET", "/v1/profile"] = example(ProfileAnswer, mode="ga")
    out = run("identity", "show").out
    assert "did:key:z6Mk" in out
    assert "ga (aacp_v1)" in out
