"""What goes out: no markup, no mention, no link of a stranger's, no argument, bounded."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from briefcase.core.wire.approvals import ApprovalRecord
from briefcase.core.wire.receipts import ReceiptRecord
from briefcase.edges.notifier.events import ALARMS, Event, event_of_approval, event_of_receipt
from briefcase.edges.notifier.wording import MAX_LINES, MAX_TEXT_CHARS, harmless, message_of, webhook_body
from briefcase.model.errors import CODES

ACTS = set("<>&@*`~|[]()\\#!{}^$%\"'")
UUID = "00000000-0000-4000-8000-000000000001"
HASH = "0" * 64


def event(number=1, **fields):
    given = {"kind": "waits", "severity": "medium", "at": "2026-01-01T00:00:00Z", "ref": UUID, "says": "a call waits"}
    return Event(**{"id": f"approval:{number}", **given, **fields})


def receipt(**members):
    return ReceiptRecord(7, "2026-01-01T00:00:00Z", HASH, HASH, members)


HOSTILE = {
    "a mention of Slack": ("<!channel> <@U123>", "<@"),
    "a mention of Discord": ("@everyone", "@"),
    "a link of Markdown": ("[approve](https://evil.example)", "]("),
    "an image of Markdown": ("![x](https://evil.example/pixel)", "!["),
    "HTML": ("<img src=x onerror=alert(1)>", "<img"),
    "an address that readers link": ("see https://evil.example/yes", "https://"),
    "a bare name that readers link": ("see evil.example", "evil.example"),
    "a mail address": ("mail ann@example.com", "@"),
    "a scheme without slashes": ("javascript:alert", "javascript:"),
    "bold": ("**approved** _really_", "*"),
    "a new line and a forged command": ("x\n  briefcase approvals approve 1", "\n"),
    "text that runs backwards": ("abc\u202edlrow", "\u202e"),
    "what nobody sees": ("a\u200bb\u2060c", "\u200b"),
    "a letter that looks like another": ("p\u0430ypal", "\u0430"),
    "an escape of a terminal": ("\x1b]0;owned\x07", "\x1b"),
}


@pytest.mark.parametrize(("text", "part"), HOSTILE.values(), ids=HOSTILE.keys())
def test_what_a_stranger_wrote_acts_nowhere(text, part):
    one = event(agent=text, tool=text, reason=text, summary=text)
    message = message_of([one, event(2, summary=text)], 0, "")
    assert part in text
    assert part not in harmless(text)
    assert message.title == "briefcase: 2 calls wait"
    assert part not in message.body.replace("\n", "" if part == "\n" else "\n")
    assert part not in json.loads(webhook_body(message))["data"]["events"][0]["summary"]
    assert part not in message_of([one], 0, "").title


@given(st.text(max_size=400))
def test_no_text_keeps_a_character_that_means_something_where_it_is_read(text):
    shown = harmless(text)
    assert not ACTS & set(shown)
    assert "://" not in shown
    assert shown.isprintable()


def test_the_name_of_a_tool_can_be_read():
    assert harmless("mcp.files/note_add-2:x") == "mcp\uff0efiles/note_add-2:x"
    assert harmless("1.50 USD for 3 calls") == "1.50 USD for 3 calls"


def test_a_long_text_is_cut_and_says_so():
    assert harmless("x" * 1_000_000) == "x" * MAX_TEXT_CHARS + "…"


def test_fifty_calls_are_one_message_with_a_bound():
    message = message_of([event(number, summary="s" * 10_000) for number in range(50)], 7, "")
    assert message.title == "briefcase: 50 calls wait, 7 more"
    assert len(message.data["events"]) == MAX_LINES
    assert message.body.endswith("and 47 more: briefcase approvals list")
    assert len(message.body) < 5_000


def test_a_message_leads_to_the_page_or_names_the_command_and_approves_nothing():
    assert message_of([event()], 0, "").body.endswith(f"\n  briefcase approvals show {UUID}")
    assert message_of([event()], 0, "http://localhost:8790/").body.endswith(
        f"\n  http://localhost:8790/ui/approvals/{UUID}"
    )
    alarm = event(kind="policy_set", ref="7", id="receipt:7")
    assert message_of([alarm], 0, "http://localhost:8790").body.endswith("\n  briefcase receipts show 7")
    assert "token" not in json.dumps(message_of([event()], 0, "").data)


def test_the_same_events_are_the_same_message_whenever_it_is_made():
    assert message_of([event(), event(2)], 0, "").id == message_of([event(), event(2)], 0, "").id
    assert message_of([event()], 0, "").id != message_of([event(2)], 0, "").id


def test_an_approvers_event_has_the_redacted_summary_or_none_and_no_token():
    one = ApprovalRecord(
        id=UUID, created_at="t", expires_at="t", principal="scout", tool_id="note_add", reason="policy", kind="local",
        summary="note_add {}", approval_token="secret-token",
    )  # fmt: skip
    assert event_of_approval(one, with_summary=True).summary == "note_add {}"
    assert event_of_approval(one, with_summary=False).summary == ""
    assert "secret-token" not in str(event_of_approval(one, with_summary=True))


def test_of_a_receipt_no_argument_is_told():
    members = {
        "kind": "approval_required", "approval_id": UUID, "principal": "scout", "tool_id": "note_add",
        "reason": "policy", "args": '{"text":"private"}', "args_excerpt": "private", "detail": "private",
    }  # fmt: skip
    found = event_of_receipt(receipt(**members))
    assert found.id == f"approval:{UUID}"
    assert "private" not in str(found) + str(message_of([found], 0, ""))


@pytest.mark.parametrize("kind", ["boot", "intent", "outcome", "denied", "", *CODES])
def test_of_other_receipts_nobody_is_told(kind):
    if kind not in ALARMS:
        assert event_of_receipt(receipt(kind=kind, approval_id=UUID)) is None


@pytest.mark.parametrize("members", [{}, {"kind": 5}, {"kind": "approval_required"}, {"kind": "policy_set", "by": 5}])
def test_a_receipt_with_other_types_is_read_all_the_same(members):
    found = event_of_receipt(receipt(**members))
    assert found is None or found.agent == ""
