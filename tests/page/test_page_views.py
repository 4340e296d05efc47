"""What a page says: the whole call and nothing that acts, a yes to exactly that, and clear words where it is stale."""

import asyncio
import hashlib
import re

import msgspec
import pytest

from briefcase.core.operator.approvals import shown_digest_of
from briefcase.core.wire.approvals import ShownApproval
from briefcase.edges.page import rendering
from briefcase.model.types import ApprovalStatus, LastApproval, PaymentTerms, ShownCall, ShownTool
from support.api import APPROVER_TOKEN
from support.page import logged_in

TWO_ARGS = '{"text":"hi","to":"bo"}'
HTML = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'><b>"
BIDI = "a\u202etxt.exe\u2066b\u2069"
ZERO_WIDTH = "pay\u200bpal\u2060\ufeff"
ANSI = "\x1b[31mred\x1b[0m\r\n\tx"
ALIKE = "p\u0430ypal.com"
TEMPLATE = "{{ session.form_token }}{% raw %}"
HOSTILE = [HTML, BIDI, ZERO_WIDTH, ANSI, ALIKE, TEMPLATE]
UNSEEN = "\u202e\u2066\u2069\u200b\u2060\ufeff\x1b\r"


def shown(**changes):
    tool = ShownTool("Add a note", "Keep a note", "write", 2_000, "builtin")
    return ShownCall(**{"args_text": '{"text":"hi"}', "tool": tool, "reasons": ("the policy asks",), **changes})


def stored(rig, call=None, **changes):
    approval = rig.store_approval(**changes)
    rig.ledger.shown[approval.id] = call or shown()
    return approval


async def page_of(browser, approval):
    return await browser.get(f"{browser.base}/approvals/{approval.id}")


async def test_the_whole_call_is_shown_and_a_yes_is_to_exactly_that(rig):
    tool = ShownTool("Send mail", "Sends a letter", "mail", 2_000, "mcp:post", server="post")
    payment = PaymentTerms("acme", "x402_v2", 250_000, "0xabc", asset="USDC", network="base", amount="250000")
    call = shown(
        args_text='{"to":"bo@x.example","body":"a\\nb"}', tool=tool, risk=("new_recipient",), policy_ids=("mail",),
        reasons=("letters are read first",), redacted_places=2, question='{"why":"which one"}', payment=payment,
    )  # fmt: skip
    approval = stored(rig, call, approvers=2)
    browser = await logged_in(rig, APPROVER_TOKEN)
    page = await page_of(browser, approval)
    for said in (
        "Send mail", "Sends a letter", "mcp:post", "bo@x.example", "$0.002", "$0.25 to 0xabc", "new_recipient",
        "letters are read first", "mail", "2 places", "which one", "2 people", "Nobody said yes yet",
    ):  # fmt: skip
        assert said in page.text, said
    document = (await rig.ask("GET", f"/v1/approvals/{approval.id}", token=APPROVER_TOKEN))[2]
    form = page.fields()
    assert form["shown_digest_hex"] == shown_digest_of(document)
    moved = await browser.post(f"{browser.base}/approvals/{approval.id}/approve", {**form, "reason": "fine"})
    assert (moved.status, moved.headers["location"]) == (303, f"{browser.base}/approvals/{approval.id}")
    event = rig.ledger.chain[-1].event
    assert (event["kind"], event["by"], event["status"], event["shown_digest"]) == (
        "approval_decided", "ann", "pending", form["shown_digest_hex"],
    )  # fmt: skip
    after = await page_of(browser, approval)
    assert "Said yes: ann" in after.text
    assert "/approve" not in after.text, "nobody says yes twice"


async def test_a_yes_to_what_changed_meanwhile_is_refused_and_says_so(rig):
    approval = stored(rig)
    browser = await logged_in(rig)
    form = (await page_of(browser, approval)).fields()
    rig.ledger.shown[approval.id] = shown(args_text='{"text":"another"}')
    stale = await browser.post(f"{browser.base}/approvals/{approval.id}/approve", form)
    assert (stale.status, "the call is not as it was shown" in stale.text, "look at it again" in stale.text) == (
        409, True, True,
    )  # fmt: skip
    assert f'href="{browser.base}/approvals/{approval.id}"' in stale.text
    assert rig.ledger.chain[-1:] == [] or rig.ledger.chain[-1].event["kind"] != "approval_decided"
    for digest in ("", "0" * 63, "x" * 64):
        assert (
            await browser.post(f"{browser.base}/approvals/{approval.id}/approve", {**form, "shown_digest_hex": digest})
        ).status in {400, 409}


async def test_what_somebody_else_decided_meanwhile_is_told_in_either_tab(rig):
    approval = stored(rig)
    one, other = await logged_in(rig), await logged_in(rig, APPROVER_TOKEN)
    form, same = (await page_of(one, approval)).fields(), (await page_of(other, approval)).fields()
    assert (await other.post(f"{other.base}/approvals/{approval.id}/deny", {**same, "reason": "no"})).status == 303
    late = await one.post(f"{one.base}/approvals/{approval.id}/approve", form)
    assert (late.status, "rejected" in late.text) == (409, True)
    again = await page_of(one, approval)
    assert "by ann" in again.text
    assert 'id="approve"' not in again.text


async def test_a_yes_is_taken_back(rig):
    approval = stored(rig)
    browser = await logged_in(rig)
    path = f"{browser.base}/approvals/{approval.id}"
    await browser.post(f"{path}/approve", (await browser.get(path)).fields())
    page = await browser.get(path)
    assert "Take the yes back" in page.text
    assert "approval_token" not in page.text
    assert (await browser.post(f"{path}/deny", page.fields())).status == 303
    assert rig.ledger.approval(approval.id).status is ApprovalStatus.REJECTED


@pytest.mark.parametrize("text", HOSTILE, ids=["html", "bidi", "zero-width", "ansi", "alike", "template"])
async def test_nothing_that_an_agent_or_a_server_wrote_acts_or_hides(rig, text):
    args = msgspec.json.encode({text: text, "text": text}).decode()
    tool = ShownTool(text, text, text, 1, text, server=text, host=text, method=text)
    call = shown(args_text=args, tool=tool, risk=(text,), policy_ids=(text,), reasons=(text,), question=args)
    approval = stored(rig, call, principal=text, reason=text, summary=text, approvers=3, approved_by=(text,))
    browser = await logged_in(rig)
    token = (await page_of(browser, approval)).fields()["form_token"]
    await rig.services.operator.budgets.set("read", 1, text)
    receipt = len(rig.ledger.chain)
    for path in (f"/approvals/{approval.id}", "/approvals", "/receipts", f"/receipts/{receipt}"):
        page = await browser.get(browser.base + path)
        assert page.status == 200
        assert "<script>alert" not in page.text
        assert "<img" not in page.text
        assert not set(page.text) & set(UNSEEN), path
        assert "p\u0430ypal" not in page.text
        assert page.text.count(token) == page.text.count('name="form_token"'), path


async def test_what_somebody_types_into_a_filter_does_not_act(rig):
    browser = await logged_in(rig)
    page = await browser.get(f"{browser.base}/receipts?principal=%22%3E%3Cscript%3Ealert(1)%3C/script%3E%E2%80%AE")
    assert page.status == 200
    assert "<script>alert" not in page.text
    assert "\u202e" not in page.text


async def test_a_megabyte_is_shown_to_its_end(rig):
    text = "z" * (1 << 20) + "the-end"
    approval = stored(rig, shown(args_text=f'{{"text":"{text}"}}'))
    browser = await logged_in(rig)
    page = await page_of(browser, approval)
    assert text in page.text
    assert page.text.index(text) < page.text.index('id="approve"')


async def test_what_differs_from_the_last_yes_stands_beside_it(rig):
    before = stored(rig, shown(args_text='{"a":"1","b":"2","c":"3"}'), id="3f2504e0-4f89-41d3-9a0c-0305e82c3300")
    last = LastApproval(before.id, "8" * 64, 1_767_225_600_000_000, "bo", "9" * 64)
    approval = stored(rig, shown(args_text='{"a":"1","b":"4","d":"5"}', last_approved=last))
    browser = await logged_in(rig)
    page = (await page_of(browser, approval)).text
    differences = page[page.index("Other than the last yes") : page.index("3 arguments")]
    said = {word: f"&#34;{word}&#34;" in differences for word in ("1", "2", "4", "5", "left out")}
    assert said == {"1": False, "2": True, "4": True, "5": True, "left out": False}
    assert "left out" in differences
    assert "by bo" in page


async def test_pages_of_many_stay_small(rig):
    for number in range(200):
        stored(rig, id=f"3f2504e0-4f89-41d3-9a0c-{number:012d}", summary="x" * 200)
        await rig.services.operator.budgets.set("read", number, "operator")
    browser = await logged_in(rig)
    receipts = await browser.get(f"{browser.base}/receipts")
    assert len(receipts.text) < 60_000
    older = receipts.text.split('href="')[-1].split('"')[0].replace("&amp;", "&")
    assert f">{len(rig.ledger.chain) - 50}<" in (await browser.get(older)).text


async def test_a_receipt_says_whether_its_hash_is_that_of_what_it_says(rig):
    for number in range(2):
        await rig.services.operator.budgets.set("read", number, "operator")
    browser = await logged_in(rig)
    path = f"{browser.base}/receipts/2"
    good = (await browser.get(path)).text
    assert "is the SHA-256 of what it says" in good
    assert "is that of receipt 1" in good
    rig.ledger.chain[1].event["by"] = "mallory"
    rig.ledger.chain[0] = msgspec.structs.replace(rig.ledger.chain[0], hash_hex="0" * 64)
    bad = (await browser.get(path)).text
    assert "IS NOT that of what it says" in bad
    assert "is that of receipt 1" not in bad


async def test_what_waits_is_told_within_a_second_and_the_end_of_the_session_too(rig):
    browser = await logged_in(rig, APPROVER_TOKEN)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(browser.authority.split(":")[1]))
    lines = [
        f"GET {browser.base}/events HTTP/1.1", f"host: {browser.authority}",
        f"cookie: {browser.cookies[browser.base]}", "sec-fetch-site: same-origin",
    ]  # fmt: skip
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
    await reader.readuntil(b"text/event-stream")
    await reader.readuntil(b"event: changed")
    approval = stored(rig)
    await rig.services.operator.budgets.set("read", 1, "operator")  # whatever waits has its receipt
    await reader.readuntil(b"event: changed")
    await rig.ask("POST", f"/v1/approvals/{approval.id}/deny", {})
    await reader.readuntil(b"event: changed")
    await rig.ask("POST", "/v1/operators/ann/revoke")
    await reader.readuntil(b"event: over")
    writer.close()


@pytest.mark.parametrize(
    ("microusd", "said"), [(0, "$0.00"), (2_000, "$0.002"), (-1_500_000, "-$1.50"), (1_234_000_001, "$1,234.000001")]
)
def test_dollars_are_exact(microusd, said):
    assert rendering.dollars(microusd) == said


def test_a_time_is_read_and_what_is_none_is_shown_as_it_is():
    assert rendering.when("2026-01-31T12:00:00.5Z") == "2026-01-31 12:00:00 UTC"
    assert rendering.when("soon") == "soon"
    assert rendering.time_left("2026-01-01T00:01:01Z", 1_767_225_600_000_000) == "1 min 1 s"
    assert rendering.time_left("2025-01-01T00:00:00Z", 1_767_225_600_000_000) == "no time"
    assert rendering.time_left("soon", 0) == "soon"


async def test_a_policy_is_set_only_in_place_of_the_one_that_it_was_compared_with(rig):
    browser = await logged_in(rig)
    token = (await browser.get(f"{browser.base}/policy")).token()
    text = "permit (principal, action, resource);\n// more"
    compared = await browser.post(f"{browser.base}/policy/compare", {"form_token": token, "policy_text": text})
    assert compared.status == 200
    assert "+// more" in compared.text
    form = {**compared.fields(), "policy_text": text.replace("\n", "\r\n")}
    stale = await browser.post(f"{browser.base}/policy/set", {**form, "was": "0" * 64})
    assert (stale.status, "the policy was changed meanwhile" in stale.text) == (409, True)
    assert (await browser.post(f"{browser.base}/policy/set", form)).status == 303
    assert rig.services.policy.text == text
    assert (await browser.post(f"{browser.base}/policy/set", form)).status == 409
    bad = {"form_token": token, "policy_text": "\u202e", "was": rig.services.policy.current()[1]}
    refused = await browser.post(f"{browser.base}/policy/set", bad)
    assert (refused.status, "line 1 column 1" in refused.text) == (400, True)


async def test_a_token_is_shown_once_and_its_access_ends_from_the_page(rig):
    browser = await logged_in(rig)
    form = {"form_token": (await browser.get(f"{browser.base}/people")).token()}
    made = await browser.post(f"{browser.base}/people/persons", {**form, "name": "bo", "role": "approver"})
    token = re.search(r"bco_[\w-]+", made.text)[0]
    assert (await rig.ask("GET", "/v1/identity", token=token))[2]["principal"] == "bo"
    listed = await browser.get(f"{browser.base}/people")
    assert "bo" in listed.text
    assert token not in listed.text
    assert (await browser.post(f"{browser.base}/people/persons/revoke", {**form, "name": "bo"})).status == 303
    assert (await rig.ask("GET", "/v1/identity", token=token))[0] == 401
    taken = await browser.post(f"{browser.base}/people/persons", {**form, "name": "ann", "role": "approver"})
    assert (taken.status, "`ann` exists already" in taken.text) == (409, True)


async def test_budgets_and_controls_are_set_by_who_is_logged_in(rig):
    browser = await logged_in(rig)
    form = {"form_token": (await browser.get(f"{browser.base}/budgets")).token()}
    assert (
        await browser.post(f"{browser.base}/budgets/set", {**form, "category": "read", "dollars": "2.5"})
    ).status == 303
    assert "$2.50" in (await browser.get(f"{browser.base}/budgets")).text
    for dollars in ("-1", "1e9", "2.1234567", "", "\u0662"):
        wrong = {**form, "category": "read", "dollars": dollars}
        assert (await browser.post(f"{browser.base}/budgets/set", wrong)).status == 400
    wanted = {"action": "require_approval", "subject": "tool", "name": "echo", "holds": "an hour"}
    assert (await browser.post(f"{browser.base}/controls/add", {**form, **wanted})).status == 303
    assert (await browser.post(f"{browser.base}/controls/freeze", form)).status == 303
    page = await browser.get(f"{browser.base}/controls")
    assert "Everything is frozen" in page.text
    assert [control.action for control in rig.controls.active()] == ["require_approval", "freeze"]
    assert rig.controls.active()[0].until_us == rig.clock.now_us() + 3_600_000_000
    for control in rig.controls.active():
        assert (await browser.post(f"{browser.base}/controls/lift", {**form, "id": control.id})).status == 303
    assert rig.controls.active() == ()
    assert {receipt.event["by"] for receipt in rig.ledger.chain if "by" in receipt.event} == {"operator"}


async def test_a_passkeys_answer_that_is_none_is_refused(rig):
    browser = await logged_in(rig)
    form = {"form_token": (await browser.get(f"{browser.base}/signers")).token()}
    for credential in ("", "[]", "{", "null"):
        sent = {**form, "registration_id": "x", "credential": credential}
        refused = await browser.post(f"{browser.base}/passkeys/register", sent)
        assert (refused.status, refused.headers["content-type"]) == (400, "text/html; charset=utf-8")
    begun = await browser.post(f"{browser.base}/passkeys/registration", {**form, "name": "laptop"})
    assert (begun.status, begun.headers["content-type"]) == (200, "application/json")
    assert '"id":"localhost"' in begun.text.replace(" ", "")


@pytest.mark.parametrize("name", ["\u0430nn", "ann\u202e", "an\u0303", "a\tnn"])
async def test_a_policy_that_a_form_would_change_stands_in_none(rig, name):
    browser = await logged_in(rig)
    token = (await browser.get(f"{browser.base}/policy")).token()
    text = f'permit (principal, action, resource) when {{ context.args.to != "{name}" }};'
    compared = await browser.post(f"{browser.base}/policy/compare", {"form_token": token, "policy_text": text})
    assert ("textarea" in compared.text, "policy rollback" in compared.text) == (False, True)
    rig.services.policy.text = text
    page = await browser.get(f"{browser.base}/policy")
    assert ("textarea" in page.text, "policy set FILE" in page.text, "&lt;U+" in page.text) == (False, True, True)


def test_every_member_of_what_is_shown_stands_on_the_page():
    """The digest of a yes is over all of them: what the page left out would be approved unseen."""
    template = (rendering.HERE / "templates" / "approval.html").read_text()
    by_name = {
        "tool", "destination", "payment", "risk", "policy_ids", "reasons", "redacted_places", "args_text", "grant",
        "approvers", "approved_by", "kind", "stands_in", "status", "created_at", "expires_at", "principal",
        "decided_by", "decided_at", "decision_reason", "shown_digest_hex", "id", "reason", "approvers_exclude",
    }  # fmt: skip
    as_other = {
        "question_text": "members(question",
        "last_approved": "Last yes",
        "approvals_given": "approved_by",  # their names say how many
        "summary": "members(arguments",  # its whole form
        "tool_id": "tool.name",
        "args_digest_hex": "members(arguments",
        "tool_digest_hex": "tool.description",
        "question_digest_hex": "members(question",
        "approval_token": "",  # what the daemon gives the agent
    }
    assert set(ShownApproval.__struct_fields__) == by_name | set(as_other)
    for name in by_name:
        assert re.search(rf"approval\.{name}\b|\b{name}\b", template), name
    for words in as_other.values():
        assert words in template


async def test_a_call_that_takes_no_yes_of_who_set_the_policy_says_so(rig):
    browser = await logged_in(rig)
    said = "Whoever set the policy that decides now says no yes to this."
    assert said not in (await page_of(browser, stored(rig, shown()))).text
    assert said in (await page_of(browser, stored(rig, shown(), excludes_author=True))).text


async def test_a_grant_is_shown_as_a_sentence_and_as_cedar_before_the_yes_that_gives_it(rig):
    approval = stored(rig, shown(args_text=TWO_ARGS), args_digest_hex=hashlib.sha256(TWO_ARGS.encode()).hexdigest())
    browser = await logged_in(rig, APPROVER_TOKEN)
    path = f"{browser.base}/approvals/{approval.id}"
    form = {"form_token": (await page_of(browser, approval)).token()}
    wanted = {**form, "args": "some", "fixed /to": "on", "max_uses": "3", "max_usd": "1.5", "lasts": "a day"}
    drafted = await browser.post(f"{path}/grant", wanted)
    assert drafted.status == 200, drafted.text
    assert "The yes lets more pass" in drafted.text
    assert rig.ledger.approval(approval.id).status is ApprovalStatus.PENDING
    yes = drafted.fields()
    assert (await browser.post(f"{path}/approve", {**yes, "grant_digest_hex": "0" * 64})).status == 409
    wider = {**yes, "grant": yes["grant"].replace('"max_uses":3', '"max_uses":300')}
    assert wider != yes
    assert (await browser.post(f"{path}/approve", wider)).status == 409
    assert (await browser.post(f"{path}/approve", yes)).status == 303
    listed = await browser.get(f"{browser.base}/grants")
    assert "active" in listed.text
    ended = await browser.post(f"{browser.base}/grants/revoke", {**form, "id": approval.id})
    assert ended.status == 303
    assert "revoked" in (await browser.get(f"{browser.base}/grants")).text


@pytest.mark.parametrize(
    "wrong", [{"max_uses": "x"}, {"max_uses": "-1"}, {"max_usd": "free"}, {"lasts": "", "max_uses": ""}]
)
async def test_a_grant_without_an_end_or_with_no_number_is_refused(rig, wrong):
    approval = stored(rig, shown(args_text=TWO_ARGS), args_digest_hex=hashlib.sha256(TWO_ARGS.encode()).hexdigest())
    browser = await logged_in(rig)
    form = {"form_token": (await page_of(browser, approval)).token(), "args": "exact", "lasts": "a day"}
    assert (await browser.post(f"{browser.base}/approvals/{approval.id}/grant", {**form, **wrong})).status == 400
