"""Hooks of Claude Code at a daemon: the documented events, each refusal in its words, and never an allow by fault."""

from __future__ import annotations

import json
import threading

import pytest

from support.hooks import Hooks, daemon_of

BASH = {"command": "npm test", "description": "Run the tests"}


def decision_of(answer):
    """The decision and its reason, of an answer to PreToolUse."""
    told = answer["hookSpecificOutput"]
    assert told["hookEventName"] == "PreToolUse"
    assert "updatedInput" not in told
    return told["permissionDecision"], told.get("permissionDecisionReason", "")


def approve(hooks, approval_id):
    shown = hooks.daemon.request("GET", f"/v1/approvals/{approval_id}")[1]
    said = {"shown_digest_hex": shown["shown_digest_hex"]}
    status, told = hooks.daemon.request("POST", f"/v1/approvals/{approval_id}/approve", said)
    assert status == 200, told


def waiting_approval(hooks):
    """The id of the approval that waits, once there is one."""
    while not (found := hooks.daemon.request("GET", "/v1/approvals")[1]["approvals"]):
        pass
    return found[0]["id"]


# --- a tool is about to run -------------------------------------------------------------------------------------------


def test_reading_is_allowed_by_the_default_policy_and_its_receipt_is_on_disk(hooks, event):
    head, asked = hooks.head(), event()
    assert decision_of(hooks.answer(asked)) == ("allow", "")

    (receipt,) = hooks.since(head)
    assert (receipt["kind"], receipt["decision"], receipt["outcome"]) == ("delegated", "allow", "not_observed")
    assert (receipt["principal"], receipt["tool_id"]) == ("scout", "claude-code.Read")
    assert receipt["session_id"] == asked["session_id"]


@pytest.mark.parametrize(
    ("tool", "args"),
    [
        ("Bash", BASH),
        ("Write", {"file_path": "/p/a", "content": "x"}),
        ("Edit", {"file_path": "/p/a", "old_string": "x", "new_string": "y"}),
        ("MultiEdit", {"file_path": "/p/a", "edits": [{"old_string": "x", "new_string": "y"}]}),
        ("NotebookEdit", {"notebook_path": "/p/a.ipynb", "new_source": "1"}),
        ("WebFetch", {"url": "https://example.com/?q=secret", "prompt": "read"}),
    ],
)
def test_shells_edits_and_fetches_wait_for_a_person_by_the_default_policy(hooks, event, tool, args):
    word, told = decision_of(hooks.answer(event(tool=tool, args=args)))
    assert word == "deny"
    assert told.startswith("briefcase: approval_required: ")
    assert "briefcase approvals approve " in told


@pytest.mark.parametrize(
    ("tool", "args"),
    [
        ("Glob", {"pattern": "**/*.py"}),
        ("Grep", {"pattern": "TODO", "path": "/p", "output_mode": "content"}),
        ("WebSearch", {"query": "python"}),
        ("Task", {"prompt": "look", "description": "look", "subagent_type": "Explore"}),
        ("TodoWrite", {"todos": []}),
        ("AskUserQuestion", {"questions": []}),
    ],
)
def test_what_changes_nothing_beyond_the_session_runs_by_itself(hooks, event, tool, args):
    assert decision_of(hooks.answer(event(tool=tool, args=args))) == ("allow", "")


def test_a_tool_that_no_policy_knows_is_denied_with_what_to_do(hooks, event):
    word, told = decision_of(hooks.answer(event(tool="TotallyNew")))
    assert word == "deny"
    assert told.startswith("briefcase: unknown_tool. No tool has this name here.")


@pytest.mark.parametrize("tool", ["bash", "BASH", "Read.", "Read/../Bash", "claude-code.Read", "codex.Bash"])
def test_a_name_that_looks_like_a_tool_is_none(hooks, event, tool):
    word, told = decision_of(hooks.answer(event(tool=tool)))
    assert (word, "unknown_tool" in told) == ("deny", True)


@pytest.mark.parametrize("tool", ["Rеad", "Read ", " Read", "Re\u200bad", "Read\n", "", "R" * 257])  # noqa: RUF001
def test_a_name_with_anything_but_printable_ascii_is_no_event(hooks, event, tool):
    word, told = decision_of(hooks.answer(event(tool=tool)))
    assert (word, told.startswith("briefcase: bad_request: expected `tool_name`")) == ("deny", True)


def test_arguments_of_another_type_are_denied_with_their_place(hooks, event):
    word, told = decision_of(hooks.answer(event(args={"file_path": 7})))
    assert word == "deny"
    assert told.startswith("briefcase: invalid_args: ")
    assert "/file_path" in told


def test_what_the_policy_denies_says_so_with_its_advice(hooks, event):
    policy = hooks.daemon.request("GET", "/v1/policy")[1]["policy_text"]
    forbids = """
    @id("no-keys") @advice("keys are the user's")
    forbid (principal, action == Action::"Call", resource == Tool::"claude-code.Read")
    when { context.args.file_path like "*/.ssh/*" };
    """
    status, told = hooks.daemon.request("PUT", "/v1/policy", {"policy_text": policy + forbids})
    assert status == 200, told
    try:
        word, told = decision_of(hooks.answer(event(args={"file_path": "/home/u/.ssh/id_ed25519"})))
        assert word == "deny"
        assert told.startswith("briefcase: policy_denied. keys are the user's. A rule of the operator forbids")
        assert decision_of(hooks.answer(event())) == ("allow", "")
    finally:
        assert hooks.daemon.request("PUT", "/v1/policy", {"policy_text": policy})[0] == 200


def test_the_agent_is_the_tokens_whatever_an_event_says(hooks, event):
    head = hooks.head()
    hooks.answer(event(agent_id="operator", agent_type="root", principal="operator"))
    assert [receipt["principal"] for receipt in hooks.since(head)] == ["scout"]
    operators = (hooks.daemon.data_dir / "auth_token").read_text().strip()
    word, told = decision_of(hooks.send(event(), token=operators)[1])
    assert (word, "forbidden" in told) == ("deny", True)


# --- a retry is the same call -----------------------------------------------------------------------------------------


def test_an_event_sent_twice_is_one_call_with_one_answer(hooks, event):
    head, asked = hooks.head(), event()
    assert decision_of(hooks.answer(asked)) == decision_of(hooks.answer(asked)) == ("allow", "")
    assert len(hooks.since(head)) == 1


def test_a_tool_use_that_has_run_does_not_run_again(hooks, event):
    asked = event()
    assert decision_of(hooks.answer(asked)) == ("allow", "")
    assert hooks.answer({**asked, "hook_event_name": "PostToolUse", "tool_response": "done"}) == {}
    word, told = decision_of(hooks.answer(asked))
    assert (word, told.startswith("briefcase: replay_detected")) == ("deny", True)


def test_a_tool_use_with_other_arguments_is_denied(hooks, event):
    asked = event()
    hooks.answer(asked)
    word, told = decision_of(hooks.answer({**asked, "tool_input": {"file_path": "/etc/shadow"}}))
    assert (word, told.startswith("briefcase: replay_detected")) == ("deny", True)


def test_the_same_tool_use_of_another_session_is_another_call(hooks, event):
    head, asked = hooks.head(), event()
    hooks.answer(asked)
    hooks.answer({**asked, "session_id": "another"})
    first, second = hooks.since(head)
    assert first["request_id"] != second["request_id"]


# --- a tool has run ---------------------------------------------------------------------------------------------------


def test_what_came_of_a_call_is_recorded_beside_it_once(hooks, event):
    head, asked = hooks.head(), event()
    hooks.answer(asked)
    after = {**asked, "hook_event_name": "PostToolUse", "tool_response": {"content": "1.5 lines", "took": 1.5}}
    assert hooks.answer(after) == {}
    assert hooks.answer(after) == {}

    decided, observed = hooks.since(head)
    assert (observed["kind"], observed["status"], observed["tool_id"]) == ("observed", "ok", "claude-code.Read")
    assert observed["of_request_id"] == decided["request_id"]
    assert observed["of_receipt_id"] == decided["id"]
    assert hooks.daemon.request("POST", "/v1/receipts/verify", {"state": True})[1]["ok"] is True


def test_a_call_that_failed_is_recorded_with_its_error(hooks, event):
    head, asked = hooks.head(), event()
    hooks.answer(asked)
    hooks.answer(
        {**asked, "hook_event_name": "PostToolUseFailure", "error": "no such file\x1b[2J", "is_interrupt": False}
    )
    observed = hooks.since(head)[-1]
    assert (observed["kind"], observed["status"]) == ("observed", "error")
    assert observed["error"].startswith("no such file")
    assert "\x1b" not in observed["error"]


def test_a_call_that_ran_undecided_is_told_to_the_agent_and_receipted(hooks, event):
    head, ran = hooks.head(), event("PostToolUse", tool_response={})
    answer = hooks.answer(ran)
    assert answer["decision"] == "block"
    assert answer["reason"].startswith("briefcase: not_found: the client says that it ran a call")
    assert [receipt["kind"] for receipt in hooks.since(head)] == ["refused"]


def test_a_restart_forgets_no_call_and_its_outcome_still_finds_it(tmp_path_factory, event):
    with daemon_of(tmp_path_factory, "[hooks]\nwait_ms = 0\n") as daemon:
        own, asked = Hooks(daemon), event()
        assert decision_of(own.answer(asked))[0] == "allow"
        daemon.kill()
        daemon.start()
        word, told = decision_of(own.answer(asked))
        assert (word, "replay_detected" in told) == ("deny", True)
        after = {**asked, "hook_event_name": "PostToolUse", "tool_response": {}}
        assert own.answer(after) == {}
        daemon.kill()
        daemon.start()
        assert own.answer(after) == {}
        assert len(own.receipts(kind="observed")) == 1
        assert daemon.request("POST", "/v1/receipts/verify", {"state": True})[1]["ok"] is True


# --- a person must say yes --------------------------------------------------------------------------------------------


def test_a_hook_is_held_until_a_person_says_yes(patient, event):
    answers = []
    asked = event(tool="Bash", args=BASH)
    waiting = threading.Thread(target=lambda: answers.append(patient.answer(asked)))
    waiting.start()
    approve(patient, waiting_approval(patient))
    waiting.join()
    assert decision_of(answers[0]) == ("allow", "")
    assert decision_of(patient.answer(asked)) == ("allow", "")  # a retry is the same call
    used = patient.receipts(kind="delegated")
    assert [receipt["tool_id"] for receipt in used] == ["claude-code.Bash"]
    assert used[0]["approval_id"]


def test_a_hook_is_held_until_a_person_says_no_and_hears_why(patient, event):
    answers = []
    asked = event(tool="Bash", args={"command": "rm -rf build"})
    waiting = threading.Thread(target=lambda: answers.append(patient.answer(asked)))
    waiting.start()
    denied = waiting_approval(patient)
    patient.daemon.request("POST", f"/v1/approvals/{denied}/deny", {"reason": "not today"})
    waiting.join()
    word, told = decision_of(answers[0])
    assert word == "deny"
    assert told.startswith("briefcase: invalid_or_expired_approval: a person said no: not today.")


def test_a_yes_that_came_after_the_wait_is_for_the_same_call_once(hooks, event):
    args = {"command": "make all"}
    _, told = decision_of(hooks.answer(event(tool="Bash", args=args)))
    approval_id = told.partition("briefcase approvals approve ")[2].partition("`")[0]
    approve(hooks, approval_id)

    assert decision_of(hooks.answer(event(tool="Bash", args={"command": "make al"})))[0] == "deny"
    assert decision_of(hooks.answer(event(tool="Bash", args=args))) == ("allow", "")
    word, told = decision_of(hooks.answer(event(tool="Bash", args=args)))
    assert (word, approval_id in told) == ("deny", False)


def test_another_agents_yes_is_of_no_use(hooks, event):
    args = {"command": "make theirs"}
    other = hooks.daemon.request("POST", "/v1/agents", {"name": "other"})[1]["token"]
    _, told = decision_of(hooks.send(event(tool="Bash", args=args), token=other)[1])
    approve(hooks, told.partition("briefcase approvals approve ")[2].partition("`")[0])
    assert decision_of(hooks.answer(event(tool="Bash", args=args)))[0] == "deny"


def test_a_token_that_ends_while_a_hook_is_held_gets_no_yes(patient, event):
    made = patient.daemon.request("POST", "/v1/agents", {"name": "leaver"})[1]
    answers = []
    asked = event(tool="Bash", args={"command": "true"})
    waiting = threading.Thread(target=lambda: answers.append(patient.send(asked, token=made["token"])))
    waiting.start()
    approval_id = waiting_approval(patient)
    assert patient.daemon.request("POST", "/v1/agents/leaver/revoke")[0] == 200
    approve(patient, approval_id)
    waiting.join()
    status, answer = answers[0]
    word, told = decision_of(answer)
    assert (status, word, "unauthorized" in told) == (200, "deny", True)


# --- the client's own prompt ------------------------------------------------------------------------------------------


def test_the_clients_own_prompt_asks_and_no_approval_of_ours_is_made(asking, event):
    head, asked = asking.head(), event(tool="Bash", args=BASH)
    word, told = decision_of(asking.answer(asked))
    assert word == "ask"
    assert told.startswith("briefcase: ")
    assert decision_of(asking.answer(asked)) == (word, told)

    (receipt,) = asking.since(head)
    assert (receipt["kind"], receipt["decision"], receipt["outcome"]) == (
        "asked_client", "approval_required", "not_observed",
    )  # fmt: skip
    assert receipt["approval_id"] is None
    assert asking.daemon.request("GET", "/v1/approvals?status=all")[1]["approvals"] == []

    assert asking.answer({**asked, "hook_event_name": "PostToolUse", "tool_response": {}}) == {}
    assert asking.since(head)[-1]["of_request_id"] == receipt["request_id"]


def test_what_is_denied_is_not_asked_for(asking, event):
    assert decision_of(asking.answer(event(tool="Nothing")))[0] == "deny"


def test_the_clients_prompt_stands_for_no_second_person(asking, event):
    policy = asking.daemon.request("GET", "/v1/policy")[1]["policy_text"]
    two = '@approvers("2") permit (principal, action == Action::"Call", resource == Tool::"claude-code.Bash");'
    assert asking.daemon.request("PUT", "/v1/policy", {"policy_text": policy + two})[0] == 200
    try:
        for name in ("PreToolUse", "PermissionRequest"):
            assert "approval_required" in json.dumps(asking.answer(event(name, tool="Bash", args={"command": "two"})))
    finally:
        assert asking.daemon.request("PUT", "/v1/policy", {"policy_text": policy})[0] == 200
    [waiting] = asking.daemon.request("GET", "/v1/approvals")[1]["approvals"]
    assert waiting["approvers"] == 2
    asking.daemon.request("POST", f"/v1/approvals/{waiting['id']}/deny", {})


def test_a_permission_request_is_answered_or_left_to_the_prompt(hooks, asking, event):
    def requested(tool, args):
        asked = event("PermissionRequest", tool=tool, args=args, permission_suggestions=[])
        del asked["tool_use_id"]
        return asked

    reads = requested("Read", {"file_path": "/p/a"})
    allowed = {"hookEventName": "PermissionRequest", "decision": {"behavior": "allow"}}
    assert hooks.answer(reads)["hookSpecificOutput"] == allowed
    denied = hooks.answer(requested("Bash", BASH))["hookSpecificOutput"]["decision"]
    assert (denied["behavior"], denied["message"].startswith("briefcase: approval_required")) == ("deny", True)
    assert asking.answer(requested("Bash", BASH)) == {}
    assert asking.answer(reads)["hookSpecificOutput"] == allowed


@pytest.mark.parametrize("client", ["codex", "gemini", "cursor"])
def test_a_client_without_such_a_prompt_is_denied(asking, event, client):
    asked = {
        "codex": event(tool="Bash", args=BASH),
        "gemini": event("BeforeTool", tool="run_shell_command", args={"command": "ls"}),
        "cursor": event("preToolUse", tool="Shell", args={"command": "ls"}, conversation_id="c"),
    }[client]
    assert "approval_required" in json.dumps(asking.answer(asked, client))


# --- sessions, and tools of MCP servers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"hook_event_name": "SessionStart", "source": "startup", "model": "m"},
        {"hook_event_name": "SessionEnd", "reason": "prompt_input_exit"},
    ],
)
def test_a_session_begins_and_ends_with_nothing_decided(hooks, event, fields):
    head = hooks.head()
    base = {name: value for name, value in event().items() if not name.startswith("tool_")}
    assert hooks.answer({**base, **fields}) == {}
    assert hooks.since(head) == []


@pytest.mark.parametrize(
    ("tool", "tool_id"),
    [
        ("mcp__github__search", "github.search"),
        ("mcp__a__b__c", "a.b__c"),
        ("mcp__briefcase__echo", "echo"),
    ],
)
def test_a_tool_of_an_mcp_server_is_the_one_this_daemon_knows(hooks, event, tool, tool_id):
    word, _ = decision_of(hooks.answer(event(tool=tool, args={"text": "hi"})))
    assert word == ("allow" if tool_id == "echo" else "deny")
    assert tool_id in {receipt.get("tool_id") for receipt in hooks.receipts()}


@pytest.mark.parametrize(
    "tool",
    [
        "mcp__claude-code__Read",
        "mcp__briefcase__claude-code.Read",
        "mcp__x.claude-code__Read",
        "mcp____Read",
        "mcp__x__",
    ],
)
def test_no_server_gives_its_tool_the_name_of_a_clients_own(hooks, event, tool):
    word, told = decision_of(hooks.answer(event(tool=tool)))
    assert (word, "unknown_tool" in told) == ("deny", True)


# --- what is no event -------------------------------------------------------------------------------------------------


def without(event, *names):
    return {name: value for name, value in event.items() if name not in names}


BAD = {
    "not JSON": lambda event: b'{"hook_event_name": "PreToolUse"',
    "nothing": lambda event: b"",
    "a list": lambda event: [event],
    "text": lambda event: "PreToolUse",
    "not UTF-8": lambda event: json.dumps(event).encode().replace(b"a.py", b"\xff\xfe"),
    "a field twice": lambda event: json.dumps(event).encode()[:-1] + b', "tool_name": "TodoWrite"}',
    "an argument twice": lambda event: json.dumps(event).encode().replace(
        b'{"file_path": ', b'{"file_path": "/p/ok", "file_path": '
    ),
    "two events": lambda event: json.dumps(event).encode() * 2,
    "a number that is not exact": lambda event: {**event, "tool_input": {"file_path": "a", "limit": 2**60}},
    "nested too deep": lambda event: json.dumps(event).encode().replace(
        b'{"file_path"', b'{"x": ' + b"[" * 200 + b"]" * 200 + b', "file_path"'
    ),
    "no event's name": lambda event: without(event, "hook_event_name"),
    "a name of another type": lambda event: {**event, "hook_event_name": ["PreToolUse"]},
    "no session": lambda event: without(event, "session_id"),
    "an empty session": lambda event: {**event, "session_id": ""},
    "no tool": lambda event: without(event, "tool_name"),
    "no arguments": lambda event: without(event, "tool_input"),
    "arguments as text": lambda event: {**event, "tool_input": '{"file_path": "/p/a"}'},
    "no tool use": lambda event: without(event, "tool_use_id"),
    "a tool use of another type": lambda event: {**event, "tool_use_id": 7},
    "a tool use that is empty": lambda event: {**event, "tool_use_id": ""},
    "a tool use without end": lambda event: {**event, "tool_use_id": "t" * 257},
}  # fmt: skip


@pytest.mark.parametrize("problem", BAD)
def test_what_is_no_event_is_denied_in_the_clients_words_and_receipted(hooks, event, problem):
    head = hooks.head()
    status, answer = hooks.send(BAD[problem](event()))
    word, told = decision_of(answer)
    assert (status, word) == (200, "deny")
    assert told.startswith("briefcase: bad_request: expected ")
    assert all(receipt["kind"] == "refused" for receipt in hooks.since(head))
    assert "allow" not in json.dumps(answer)


@pytest.mark.parametrize("name", ["UserPromptSubmit", "Stop", "PreToolUSE", "preToolUse", "PreToolUse ", "Nothing"])
def test_an_event_of_another_name_stops_the_client_and_is_no_yes(hooks, event, name):
    answer = hooks.answer(event(name))
    assert answer["continue"] is False
    assert answer["stopReason"].startswith("briefcase: bad_request: expected an event of PreToolUse")
    assert decision_of(answer)[0] == "deny"


def test_every_fault_of_the_daemon_is_a_denial_in_the_clients_words(hooks, event):
    for token in ("nobody", "x" * 300):
        status, answer = hooks.send(event(), token=token)
        word, told = decision_of(answer)
        assert (status, word, "unauthorized" in told) == (200, "deny", True)


def test_an_event_before_an_empty_bucket_is_a_denial_in_the_clients_words(tmp_path_factory, event):
    with daemon_of(tmp_path_factory, "[principal]\nper_second = 1\nburst = 2\n") as daemon:
        own = Hooks(daemon)
        while (word := decision_of(own.answer(event())))[0] == "allow":
            pass
    assert word[1].startswith("briefcase: rate_limited: more requests or bytes than one principal may send")


def test_an_event_that_is_too_large_is_a_denial_in_the_clients_words(hooks, event):
    too_large = event(tool="Write", args={"file_path": "/p/a", "content": "x" * (1 << 20)})
    status, answer = hooks.send(too_large)
    word, told = decision_of(answer)
    assert (status, word) == (200, "deny")
    assert told.startswith("briefcase: payload_too_large: expected a body of at most 1048576 bytes")
    status, answer = hooks.send(too_large, path="/v1/decide")
    assert (status, answer["code"]) == (413, "payload_too_large")


@pytest.mark.parametrize(
    "path", ["/v1/hooks/claude_code", "/v1/hooks/Claude-Code", "/v1/hooks/claude-code/", "/v1/hooks"]
)
def test_a_path_that_looks_like_a_hooks_is_none(hooks, event, path):
    status, answer = hooks.send(event(), path=path)
    assert status in {404, 403}
    assert "hookSpecificOutput" not in answer


# --- the tools themselves ---------------------------------------------------------------------------------------------


def test_the_clients_tools_are_listed_when_asked_for_and_never_executed(hooks):
    plain = {tool["id"] for tool in hooks.daemon.request("GET", "/v1/tools")[1]["tools"]}
    listed = {tool["id"] for tool in hooks.daemon.request("GET", "/v1/tools?clients=true")[1]["tools"]}
    assert not any(tool_id.startswith("claude-code.") for tool_id in plain)
    assert {"claude-code.Bash", "codex.apply_patch", "gemini.replace", "cursor.Shell", "copilot.bash"} <= listed - plain
    call = {
        "tool_id": "claude-code.Read",
        "args": {"file_path": "/etc/passwd"},
        "context": {"request_id": "00000000-0000-4000-8000-000000000001"},
    }
    answer = hooks.daemon.request("POST", "/v1/tools/call", {"call": call}, token=hooks.token)[1]
    assert answer["status"] == "error"
    assert "run by its client" in answer["message"]
