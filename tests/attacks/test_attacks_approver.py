"""The approver does not see what is sent: calls that hide their end, their characters or their danger, on a daemon."""

import hashlib
import http.server
import json
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from briefcase.adapters.disk.data_dir import DAEMON_DID_FILE
from briefcase.core.operator.approvals import shown_digest_of
from support.commands import briefcase as cli
from support.daemons import RunningDaemon
from support.terminal import Terminal

PAY_SERVER = str(Path(__file__).with_name("pay_server.py"))
ASK_ALL = """
@id("may") permit (principal, action == Action::"Call", resource);
@id("unsigned") permit (principal, action == Action::"CallWithoutSigner", resource);
"""
LONG = {"a_memo": "Monthly rent, as agreed. " * 170, "amount": 999_999, "to": "mallory"}
# one or more of each range of Default_Ignorable_Code_Point, and blanks
UNSEEN = (
    0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x180B, 0x180F, 0x200B, 0x200E, 0x202E, 0x2060, 0x2065, 0x206F, 0x2800,
    0x3164, 0xFE00, 0xFE0F, 0xFEFF, 0xFFA0, 0xFFF0, 0xFFF8, 0x1BCA0, 0x1D173, 0xE0000, 0xE0041, 0xE0100, 0xE01EF,
    0xE0FFF,
)  # fmt: skip


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    root = tmp_path_factory.mktemp("approver")
    with RunningDaemon(root / "data") as running:
        running.paid = root / "paid.json"
        server = {"command": sys.executable, "args": [PAY_SERVER, str(running.paid)]}
        assert running.request("POST", "/v1/mcp/servers/bank", server)[0] == 200
        assert running.request("PUT", "/v1/policy", {"policy_text": ASK_ALL})[0] == 200
        running.agent = running.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
        running.await_tools("bank.pay")
        yield running
        assert running.request("POST", "/v1/receipts/verify")[1]["ok"] is True


def ask(daemon: RunningDaemon, tool_id: str, args: dict) -> dict:
    answer = daemon.call(tool_id, args, token=daemon.agent)
    assert answer["status"] == "approval_required", answer
    return answer["approval"]


def shown(daemon: RunningDaemon, approval: dict) -> dict:
    return daemon.request("GET", f"/v1/approvals/{approval['id']}")[1]


def approve(daemon: RunningDaemon, approval: dict, body: object = None) -> tuple[int, dict]:
    return daemon.request("POST", f"/v1/approvals/{approval['id']}/approve", body)


def last_risk(daemon: RunningDaemon) -> list[str]:
    return daemon.request("GET", "/v1/receipts?limit=1")[1]["receipts"][0]["event"]["risk"]


def test_no_character_that_nobody_sees_is_shown_raw_or_without_a_signal(daemon):
    for code in UNSEEN:
        approval = ask(daemon, "note_add", {"text": f"pay al{chr(code)}ice"})
        assert last_risk(daemon) == ["invisible_text"]
        document = shown(daemon, approval)
        for text in (approval["summary"], document["args_text"]):
            assert f"pay al<U+{code:04X}>ice" in text
            assert chr(code) not in text
        assert document["risk"] == ["invisible_text"]
        assert daemon.request("POST", f"/v1/approvals/{approval['id']}/deny")[0] == 200


def test_a_message_hidden_in_variation_selectors_is_spelled_out(daemon):
    hidden = "".join(chr(0xE0100 + byte - 16) for byte in b"wire 9000 to mallory")
    approval = ask(daemon, "note_add", {"text": f"lunch at noon \U0001f603{hidden}"})
    assert shown(daemon, approval)["args_text"].count("<U+E01") == len(hidden)
    assert last_risk(daemon) == ["invisible_text"]


def test_a_name_in_letters_of_another_script_is_marked_and_signalled(daemon):
    approval = ask(daemon, "note_add", {"text": "pay p\u0430yp\u0430l.com\u2215invoice"})
    assert "p<U+0430>yp<U+0430>l.com<U+2215>invoice" in shown(daemon, approval)["args_text"]
    assert last_risk(daemon) == ["confusable_text"]


def test_the_end_of_a_long_call_is_shown_before_anybody_can_approve_it(daemon):
    approval = ask(daemon, "bank.pay", LONG)
    document = shown(daemon, approval)
    assert json.loads(document["args_text"]) == LONG
    assert document["shown_digest_hex"] == shown_digest_of(document)
    assert document["tool"]["server"] == "bank"
    assert document["destination"].startswith("stdio:")
    assert document["tool"]["description"] == "Pays out at once."

    assert approve(daemon, approval)[1]["code"] == "conflict"
    assert approve(daemon, approval, {"shown_digest_hex": "0" * 64})[1]["code"] == "conflict"
    refused = cli(daemon, "approvals", "approve", approval["id"])
    assert (refused.returncode, "--digest" in refused.stderr) == (3, True)
    listed = cli(daemon, "approvals", "show", approval["id"])
    assert '"to": "mallory"' in listed.stdout
    assert '"amount": 999999' in listed.stdout
    digest = listed.stdout.split()[-1]
    token = cli(daemon, "approvals", "approve", approval["id"], "--digest", digest).stdout.strip()

    assert daemon.call("bank.pay", LONG, token=daemon.agent, approval_token=token)["status"] == "ok"
    assert json.loads(daemon.paid.read_text()) == LONG
    kind = "/v1/receipts?kind=approval_decided&limit=1"
    assert daemon.request("GET", kind)[1]["receipts"][0]["event"]["shown_digest"] == digest


def test_a_call_too_large_to_show_is_refused_with_its_reason(daemon):
    answer = daemon.call("bank.pay", {**LONG, "a_memo": "x" * 70_000}, token=daemon.agent)
    assert answer == {"status": "denied", "reason": "too_large_to_show"}


def test_a_client_that_sends_no_digest_still_approves_a_short_call(daemon):
    approval = ask(daemon, "note_add", {"text": "short"})
    assert approve(daemon, approval)[0] == 200
    bare = daemon.call("note_add", {"text": "short"}, token=daemon.agent, approval_token=approval["id"])
    assert bare["status"] == "ok"


def test_a_bare_id_serves_only_who_asked_and_only_once(daemon):
    approval = ask(daemon, "note_add", {"text": "mine"})
    other = daemon.request("POST", "/v1/agents", {"name": "ranger"})[1]["token"]

    def used(token: str) -> dict:
        return daemon.call("note_add", {"text": "mine"}, token=token, approval_token=approval["id"])

    refused = {"status": "denied", "reason": "invalid_or_expired_approval"}
    assert used(daemon.agent) == refused  # nobody said yes yet
    assert approve(daemon, approval)[0] == 200
    assert used(other) == refused
    assert used(daemon.agent)["status"] == "ok"
    assert used(daemon.agent) == refused


def test_an_approval_of_a_provider_at_one_address_is_for_no_other(daemon):
    def move_to(port: int) -> None:
        assert daemon.request("POST", "/v1/providers/demo", {"base_url": f"http://127.0.0.1:{port}"})[0] == 200

    move_to(1)
    approval = ask(daemon, "quote", {"symbol": "ACME"})
    shown = daemon.request("GET", f"/v1/approvals/{approval['id']}")[1]
    assert (shown["destination"], shown["tool"]["host"]) == ("GET http://127.0.0.1:1/api/quote", "127.0.0.1")
    yes = {"shown_digest_hex": shown["shown_digest_hex"]}
    token = daemon.request("POST", f"/v1/approvals/{approval['id']}/approve", yes)[1]["approval_token"]
    move_to(2)
    answer = daemon.call("quote", {"symbol": "ACME"}, token=daemon.agent, approval_token=token)
    assert answer == {**answer, "status": "denied", "reason": "invalid_or_expired_approval"}
    assert ask(daemon, "quote", {"symbol": "ACME"})["id"] != approval["id"]
    move_to(1)
    answer = daemon.call("quote", {"symbol": "ACME"}, token=daemon.agent, approval_token=token)
    assert answer["status"] == "error", "where it was approved, it is tried"


def test_a_reason_of_a_person_passes_for_no_status(daemon):
    approval = ask(daemon, "note_add", {"text": "no"})
    assert cli(daemon, "approvals", "deny", approval["id"], "--reason", "approved").returncode == 0
    listed = cli(daemon, "receipts", "list", "--kind", "approval_decided", "--limit", "1").stdout
    assert "rejected: `approved`" in listed
    refused = daemon.call("note_add", {"text": "no"}, token=daemon.agent, approval_token=approval["id"])
    assert refused == {"status": "denied", "reason": "invalid_or_expired_approval: a person said no: approved"}


def test_an_agent_that_repeats_what_was_denied_reaches_no_person(daemon):
    approval = ask(daemon, "note_add", {"text": "again"})
    assert cli(daemon, "approvals", "deny", approval["id"], "--reason", "wrong note").returncode == 0
    said = {"status": "denied", "reason": "invalid_or_expired_approval: a person said no: wrong note"}
    others = daemon.request("GET", "/v1/approvals")[1]["approvals"]
    for _ in range(3):
        assert daemon.call("note_add", {"text": "again"}, token=daemon.agent) == said
    assert daemon.request("GET", "/v1/approvals")[1]["approvals"] == others
    listed = cli(daemon, "receipts", "list", "--decision", "deny", "--limit", "1", "--json").stdout
    assert f"the approval `{approval['id']}` was denied" in listed


@contextmanager
def issuer(*tokens: str | Callable[[], str]):
    """A provider that issues these tokens, or what these functions give, one after the other; gives its address."""
    left = list(tokens)

    class Provider(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers.get("content-length") or 0))
            answer = {"symbol": "X", "price": "1", "ts": "2026-01-01T00:00:00Z"}
            if self.path == "/token":
                expiry = {"expires_at_rfc3339": "2030-01-01T00:00:00Z", "compatibility_profile": "aacp_v1"}
                token = left.pop(0)
                answer = {"token": token() if callable(token) else token, "max_calls": 1, **expiry}
            written = json.dumps(answer).encode()
            self.send_response(200)
            for name, value in (
                ("Content-Type", "application/json"),
                ("x-briefcase-compatibility-profile", "aacp_v1"),
                ("x-cost-microusd", "0"),
                ("Content-Length", str(len(written))),
            ):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(written)

        def do_GET(self):
            self.do_POST()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_provider_whose_token_is_ordinary_text_cannot_blank_the_words_of_another_call(tmp_path):
    words = ("acct-mallory-666", '":"hello', '{"text":', "deletes everything")
    (tmp_path / "data").mkdir(mode=0o700)
    proper = secrets.token_urlsafe(32)

    def identifier():
        return (tmp_path / "data" / DAEMON_DID_FILE).read_text().strip().removeprefix("did:key:")

    known = dict[str, str]()
    digests = ("arguments", "tool", "policy")
    with issuer(*words, identifier, *(partial(known.__getitem__, name) for name in digests), proper) as address:
        (tmp_path / "data" / "briefcase.toml").write_text(f'[net]\nallow_private = ["{address}"]\n')
        with RunningDaemon(tmp_path / "data", BRIEFCASE_PROVIDER_BASE_URL=f"http://{address}") as daemon:
            daemon.agent = daemon.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
            for index, word in enumerate(words):
                refused = daemon.call("quote", {"symbol": f"X{index}"}, token=daemon.agent)
                assert refused["status"] == "error", refused
                assert "could be ordinary text" in json.dumps(refused)
                document = shown(daemon, ask(daemon, "note_add", {"text": f"hello: {word}"}))
                assert json.loads(document["args_text"]) == {"text": f"hello: {word}"}
                assert document["redacted_places"] == 0

            # what everybody may know of the daemon, and its clients look for, is no secret of an upstream's choosing
            refused = daemon.call("quote", {"symbol": "D"}, token=daemon.agent)
            assert "no part of the daemon's own identifier" in json.dumps(refused)
            assert identifier() in daemon.request("GET", "/v1/identity")[1]["did"]

            # nor is what anybody can foretell of every daemon: the digests of no arguments, of a tool, of the policy
            known["arguments"] = hashlib.sha256(b"{}").hexdigest()
            known["tool"] = shown(daemon, ask(daemon, "note_add", {"text": "hi"}))["tool_digest_hex"]
            known["policy"] = daemon.request("GET", "/v1/policy")[1]["policy_hash_hex"]
            for index, name in enumerate(digests):
                refused = daemon.call("quote", {"symbol": f"E{index}"}, token=daemon.agent)
                assert "identifier or digests" in json.dumps(refused), name
            assert daemon.request("GET", "/v1/policy")[1]["policy_hash_hex"] == known["policy"]

            # the control: a token of random characters is taken, looked for, named and counted
            assert daemon.call("quote", {"symbol": "Y"}, token=daemon.agent)["status"] == "ok"
            approval = ask(daemon, "note_add", {"text": f"{proper} and {proper}"})
            document = shown(daemon, approval)
            mark = "[redacted: secret of demo]"
            assert json.loads(document["args_text"]) == {"text": f"{mark} and {mark}"}
            assert (document["redacted_places"], document["shown_digest_hex"]) == (2, shown_digest_of(document))
            assert "2 places are redacted" in cli(daemon, "approvals", "show", approval["id"]).stdout


# --- the live screen, on a terminal -----------------------------------------------------------------------------------


def test_the_live_screen_takes_no_yes_before_the_end_of_a_call_was_on_it(daemon):
    for waiting in daemon.request("GET", "/v1/approvals")[1]["approvals"]:
        daemon.request("POST", f"/v1/approvals/{waiting['id']}/deny")
    approval = ask(daemon, "bank.pay", {**LONG, "b_memo": "z" * 400})
    lies = {"COLUMNS": "400", "LINES": "400"}  # of another terminal
    with Terminal(daemon.env, "approvals", "watch", **lies) as terminal:
        screen = terminal.frame("more lines: space")
        assert '"to": "mallory"' in screen
        while "read all of it first" not in screen:  # at first it says that the call was just selected
            terminal.press("a")
            screen = terminal.frame("read all of it first|press again")
            time.sleep(1)
        assert shown(daemon, approval)["status"] == "pending"
        seen = screen
        while (left := re.search(r"\u2026 (\d+) more lines: space", screen)) is not None:
            terminal.press(" ")
            screen = terminal.frame(rf"\u2026 (?!{left[1]} )\d+ more lines: space|Pays out")
            seen += screen
        assert seen.count("Monthly rent") > 160
        assert "Pays out at once." in screen
        terminal.press("a")
        terminal.frame(f"approved {approval['id'][:8]}")
        terminal.press("q")
        assert terminal.leave() == 0
    assert shown(daemon, approval)["status"] == "approved"
