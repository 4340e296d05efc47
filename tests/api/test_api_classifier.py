"""An operator's risk classifier beside a real daemon: it can only tighten, sees no secret, and its silence tightens."""

from __future__ import annotations

import json
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from briefcase.daemon.settings import parse_settings
from briefcase.model.errors import ConfigError
from support.daemons import RunningDaemon

TIGHTEN = {"require_approval": True, "reasons": ["new_recipient", "odd hour, late"]}
EASY = {"require_approval": False, "reasons": ["looks fine"]}
POLICY = """
permit (principal, action in [Action::"Call", Action::"CallWithoutSigner"], resource);
permit (principal, action == Action::"CallWithoutApproval", resource == Tool::"echo");
@id("never") forbid (principal, action == Action::"Call", resource == Tool::"notes_list");
permit (principal, action == Action::"CallWithoutApproval", resource == Tool::"note_add")
when { context.risk.contains("new_recipient") };
"""


class Classifier:
    """Answers as it is told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict] = []
        self.answer = json.dumps(EASY).encode()
        self.status = 200
        self.pause_s = 0.0
        self.headers: dict[str, str] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.asked.append(json.loads(body))
                time.sleep(outer.pause_s)
                self.send_response(outer.status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(outer.answer)))
                self.end_headers()
                self.wfile.write(outer.answer)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/assess"

    def say(self, answer, status=200, pause_s=0.0, **headers):
        self.asked.clear()
        self.answer = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.status, self.pause_s, self.headers = status, pause_s, headers

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def classifier():
    made = Classifier()
    yield made
    made.close()


def running(tmp_path_factory, classifier, config=""):
    data_dir = tmp_path_factory.mktemp("classifier") / "data"
    data_dir.mkdir(mode=0o700)
    (data_dir / "briefcase.toml").write_text(config)
    return RunningDaemon(data_dir, BRIEFCASE_RISK_CLASSIFIER_URL=classifier.url)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory, classifier):
    with running(tmp_path_factory, classifier, "[hooks]\nwait_ms = 0\n") as started:
        assert started.request("PUT", "/v1/policy", {"policy_text": POLICY})[0] == 200
        yield started
        assert started.request("POST", "/v1/receipts/verify")[1]["ok"] is True


def newest(daemon, kind):
    listed = daemon.request("GET", "/v1/receipts?limit=10")[1]["receipts"]
    return next(one["event"] for one in listed if one["event"]["kind"] == kind)


def text():
    return {"text": uuid.uuid4().hex}


def test_a_call_that_the_classifier_lets_pass_is_decided_as_ever(daemon, classifier):
    classifier.say(EASY)
    args = text()
    assert daemon.call("echo", args)["status"] == "ok"
    assert classifier.asked == [{"tool_id": "echo", "args": args}]
    assert newest(daemon, "intent").get("risk", []) == []


def test_its_word_asks_a_person_who_is_shown_its_reasons_and_so_is_the_receipt(daemon, classifier):
    classifier.say(TIGHTEN)
    args, request_id = text(), str(uuid.uuid4())
    waiting = daemon.call("echo", args, request_id=request_id)
    approval = waiting["approval"]
    assert approval["reason"] == "risk:new_recipient,odd hour; late"
    shown = daemon.request("GET", f"/v1/approvals/{approval['id']}")[1]
    assert shown["risk"] == ["new_recipient", "odd hour; late"]
    assert newest(daemon, "approval_required")["risk"] == shown["risk"]
    daemon.request("POST", f"/v1/approvals/{approval['id']}/approve", {"shown_digest_hex": shown["shown_digest_hex"]})
    assert daemon.call("echo", args, request_id=request_id)["status"] == "ok"


def test_it_widens_nothing_not_even_by_a_word_that_a_policy_reads(daemon, classifier):
    classifier.say(EASY)
    assert daemon.call("notes_list", {})["reason"].startswith("policy_denied")
    classifier.say(TIGHTEN)
    assert daemon.call("note_add", text())["status"] == "approval_required"
    assert daemon.call("notes_list", {})["reason"].startswith("policy_denied")


@pytest.mark.parametrize(
    ("answer", "status", "headers"),
    [
        (b"", 200, {}),
        (b"no", 200, {}),
        (b"[]", 200, {}),
        (b"{}", 200, {}),
        (b'{"require_approval": false, "require_approval": false}', 200, {}),
        (b'{"require_approval": "false"}', 200, {}),
        (b'{"require_approval": 0}', 200, {}),
        (b'{"require_approval": false, "reasons": "none"}', 200, {}),
        (b'{"require_approval": false, "reasons": [1]}', 200, {}),
        (b'{"require_approval": false, "reasons": ["' + b"x" * 70_000 + b'"]}', 200, {}),
        (EASY, 500, {}),
        (EASY, 201, {}),
        (EASY, 302, {"location": "/elsewhere"}),
    ],
)
def test_an_answer_that_is_none_asks_a_person(daemon, classifier, answer, status, headers):
    classifier.say(answer, status, **headers)
    assert daemon.call("echo", text())["approval"]["reason"] == "risk:classifier_failed"
    assert len(classifier.asked) == 1


def test_no_reason_of_its_own_makes_its_word_count_for_nothing(daemon, classifier):
    classifier.say({"require_approval": True, "reasons": ["classifier_unheard"]})
    assert daemon.call("echo", text())["approval"]["reason"] == "risk:classifier"


def test_it_is_asked_of_a_hooks_calls_too(daemon, classifier):
    token = daemon.request("POST", "/v1/agents", {"name": "laptop"})[1]["token"]
    alone = 'permit (principal, action == Action::"CallWithoutApproval", resource == Tool::"claude-code.Read");'
    assert daemon.request("PUT", "/v1/policy", {"policy_text": POLICY + alone})[0] == 200
    classifier.say(TIGHTEN)
    args = {"file_path": f"/tmp/{uuid.uuid4().hex}"}
    event = {"hook_event_name": "PreToolUse", "session_id": "s", "tool_use_id": uuid.uuid4().hex}
    event |= {"tool_name": "Read", "tool_input": args}
    told = daemon.request("POST", "/v1/hooks/claude-code", event, token=token)[1]["hookSpecificOutput"]
    assert told["permissionDecision"] == "deny"
    assert "risk:new_recipient" in told["permissionDecisionReason"]
    assert classifier.asked == [{"tool_id": "claude-code.Read", "args": args}]


def test_silence_ends_after_four_seconds_and_holds_nobody_else_up(daemon, classifier):
    classifier.say(EASY, pause_s=8.0)
    answers = []
    slow = threading.Thread(target=lambda: answers.append(daemon.call("echo", text())))
    began_s = time.monotonic()
    slow.start()
    assert daemon.request("GET", "/v1/tools")[0] == 200
    slow.join()
    assert answers[0]["approval"]["reason"] == "risk:classifier_failed"
    assert time.monotonic() - began_s < 8.0
    classifier.say(EASY)


def test_no_secret_reaches_it(daemon, classifier):
    classifier.say(EASY)
    secret = uuid.uuid4().hex
    body = {"value": secret, "hosts": ["desk.example"]}
    assert daemon.request("PUT", "/v1/secrets/desk", body)[0] == 200, body
    daemon.call("echo", {"text": f"it is {secret}"})
    assert secret not in json.dumps(classifier.asked)
    assert len(classifier.asked) == 1
    classifier.say(EASY)
    looks_like_one = daemon.call("echo", {"text": "AKIA" + "Q" * 16})
    assert looks_like_one["approval"]["reason"] == "risk:secret_like"
    assert classifier.asked == [], "what looks like a secret is not asked about"


def test_it_is_asked_about_calls_only_that_could_run(daemon, classifier):
    classifier.say(EASY)
    daemon.call("nobodys_tool", {})
    daemon.call("echo", {"text": 5})
    request_id, args = str(uuid.uuid4()), text()
    daemon.call("echo", args, request_id=request_id)
    daemon.call("echo", args, request_id=request_id)
    assert classifier.asked == [{"tool_id": "echo", "args": args}]


def test_where_its_silence_is_only_noted_the_receipt_says_so(tmp_path_factory, classifier):
    with running(tmp_path_factory, classifier, '[risk]\non_classifier_failure = "note"\n') as daemon:
        classifier.say(b"no")
        assert daemon.call("echo", text())["status"] == "ok"
        assert newest(daemon, "intent")["risk"] == ["classifier_unheard"]
        classifier.say({"require_approval": True})
        assert daemon.call("echo", text())["approval"]["reason"] == "risk:classifier"


@pytest.mark.parametrize(
    "url", ["http://risk.example/x", "ftp://127.0.0.1/", "127.0.0.1:1", "http://10.0.0.1/", "https://u@h/"]
)
def test_only_https_or_this_machine_is_asked(url):
    with pytest.raises(ConfigError, match="BRIEFCASE_RISK_CLASSIFIER_URL"):
        parse_settings({"HOME": "/h", "BRIEFCASE_RISK_CLASSIFIER_URL": url})
