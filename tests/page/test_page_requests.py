"""What a page of somebody else's can make a browser send is refused; and every answer says what a browser may do."""

import re
from pathlib import Path

import pytest

from briefcase.edges.page import rendering, serving
from briefcase.edges.page.asking import MAX_FIELDS, MAX_FORM_BYTES
from briefcase.edges.page.serving import open_localhost
from briefcase.edges.page.table import VIEWS
from briefcase.model.errors import CallerError
from support.api import APPROVER_TOKEN, AUDITOR_TOKEN, KNOWN_SECRET
from support.envoy import free_port
from support.page import link_of, logged_in

HERE = Path(rendering.__file__).parent


async def approval_page(rig, browser):
    approval = rig.store_approval()
    path = f"{browser.base}/approvals/{approval.id}"
    return path, (await browser.get(path)).fields()


def decided(rig):
    return [receipt.event["kind"] for receipt in rig.ledger.chain].count("approval_decided")


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://localhost:3000"}, 403),  # the same site, as browsers see it
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"referer": "http://evil.example/"}, 403),
        ({"content_type": "text/plain"}, 415),
        ({"content_type": "application/json"}, 415),
        ({"content_type": "multipart/form-data; boundary=x"}, 415),
        ({"content_type": ""}, 415),
        ({"host": "evil.example"}, 403),
    ],
)
async def test_a_form_of_another_pages_decides_nothing(rig, said, status):
    browser = await logged_in(rig)
    path, form = await approval_page(rig, browser)
    assert (await browser.post(f"{path}/approve", form, **said)).status == status
    assert decided(rig) == 0
    assert (await browser.post(f"{path}/approve", form)).status == 303
    assert decided(rig) == 1


async def test_a_form_without_its_sessions_own_token_decides_nothing(rig):
    browser, other = await logged_in(rig), await logged_in(rig, APPROVER_TOKEN)
    path, form = await approval_page(rig, browser)
    others = (await other.get(f"{other.base}/approvals")).fields()["form_token"]
    for token in ("", "x" * 43, others):
        assert (await browser.post(f"{path}/approve", {**form, "form_token": token})).status == 403
    without = {name: value for name, value in form.items() if name != "form_token"}
    assert (await browser.post(f"{path}/deny", without)).status == 403
    assert (await browser.post(f"{path}/deny?form_token={form['form_token']}", without)).status == 403
    assert decided(rig) == 0


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:{port}", "localhost", "localhost:1", "LOCALHOST:{port}."])
async def test_only_localhost_and_its_port_name_the_page(rig, host):
    browser = await logged_in(rig)
    host = host.format(port=browser.authority.split(":")[1])
    for path in (f"{browser.base}/approvals", "/ui", "/ui/login?code=x", "/ui/static/page.css"):
        assert (await browser.get(path, host=host)).status == 403


async def test_a_page_is_read_from_no_other_site_and_a_link_from_one_shows_nothing(rig):
    browser = await logged_in(rig)
    for site in ("cross-site", "same-site"):
        assert (await browser.get(f"{browser.base}/approvals", sec_fetch_site=site)).status == 403
        shown = await browser.get("/ui/approvals/3f2504e0-4f89-41d3-9a0c-0305e82c3301", sec_fetch_site=site)
        assert (shown.status, "briefcase ui" in shown.text) == (200, True)


async def test_no_get_changes_anything(rig):
    browser = await logged_in(rig)
    path, form = await approval_page(rig, browser)
    before = len(rig.ledger.chain)
    for view in VIEWS:
        if view.path == "/events":
            continue
        at = view.path.replace("{id}", path.rsplit("/", 1)[1])
        query = "&".join(f"{name}={value}" for name, value in form.items())
        answer = await browser.get(f"{browser.base}{at}?{query}")
        assert answer.status in ({200, 404} if view.method == "GET" else {404})
        assert "set-cookie" not in answer.headers
    assert (await browser.get(f"{browser.base}/logout?{query}")).status == 404
    assert len(rig.ledger.chain) == before
    assert (await browser.get(f"{browser.base}/approvals")).status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"reason=" + b"x" * MAX_FORM_BYTES,
        b"&".join(b"f%d=" % number for number in range(MAX_FIELDS + 1)),
        b"form_token=a&form_token=b",
        "reason=\u00e9".encode(),
        b"reason=%ff%fe",
    ],
)
async def test_a_form_that_is_none_of_ours_is_refused(rig, body):
    browser = await logged_in(rig)
    path, _ = await approval_page(rig, browser)
    answer = await browser.post(f"{path}/approve", body)
    assert answer.status in {400, 413}
    assert decided(rig) == 0


async def test_every_answer_says_what_a_browser_may_do_with_it(rig):
    browser = await logged_in(rig)
    url = await link_of(rig)
    answers = [
        await browser.get(path)
        for path in (
            f"{browser.base}/approvals", f"{browser.base}/none", "/ui", "/ui/static/page.css", "/elsewhere",
            url.removeprefix(browser.origin),
        )
    ]  # fmt: skip
    answers += [await browser.get("/ui", host="evil.example"), await browser.post("/ui/login", {"code": "x"})]
    nonces = set()
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        if answer.headers["content-type"].startswith("text/html"):
            assert answer.headers["cache-control"] == "no-store"
            policy = answer.headers["content-security-policy"]
            nonce = re.search("'nonce-([^']+)'", policy)[1]
            nonces.add(nonce)
            assert policy == (
                f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self'; "
                "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
            )
            assert answer.text.count(f'nonce="{nonce}"') == answer.text.count("<script") + answer.text.count(
                "stylesheet"
            )
    assert len(nonces) == len(answers) - 1


async def test_a_role_sees_its_own_views_and_is_refused_the_others(rig):
    approval = rig.store_approval()
    approver, auditor = await logged_in(rig, APPROVER_TOKEN), await logged_in(rig, AUDITOR_TOKEN)
    assert (await approver.get(f"{approver.base}/approvals/{approval.id}")).status == 200
    refused = await approver.get(f"{approver.base}/receipts")
    assert (refused.status, "the role `approver` may not" in refused.text) == (403, True)
    assert 'href="/ui/' in refused.text
    assert "Receipts</a>" not in refused.text
    assert (await auditor.get(f"{auditor.base}/receipts")).status == 200
    assert (await auditor.get(f"{auditor.base}/approvals/{approval.id}")).status == 403
    form = {"form_token": (await auditor.get(f"{auditor.base}/receipts")).token()}
    assert (await auditor.post(f"{auditor.base}/approvals/{approval.id}/deny", form)).status == 403
    assert decided(rig) == 0


async def test_a_fault_repeats_no_secret(rig):
    browser = await logged_in(rig)
    answer = await browser.get(f"{browser.base}/receipts?since={KNOWN_SECRET}")
    assert answer.status == 400
    assert KNOWN_SECRET not in answer.text


def test_both_loopback_addresses_are_ours_or_the_page_is_not_opened():
    port = free_port()
    ours = open_localhost(port)
    assert [listener.sock.getsockname()[:2] for listener in ours] == [("127.0.0.1", port), ("::1", port)]
    with pytest.raises(CallerError, match="cannot be opened") as refused:
        open_localhost(port)
    assert refused.value.code == "conflict"
    ours.pop(0).close()
    with pytest.raises(CallerError, match="::1"):
        open_localhost(port)  # a browser would ask whoever has it
    ours.pop().close()
    for listener in open_localhost(port):
        listener.close()


def test_templates_say_nothing_is_safe_and_hold_no_script_and_no_style():
    texts = {path.name: path.read_text() for path in (HERE / "templates").iterdir()}
    assert len(texts) > 5
    for name, text in texts.items():
        assert re.search(r"\|\s*safe|Markup|autoescape|raw %}", text) is None, name
        assert re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]* src=)", text) is None, name
        for form in re.findall(r"<form[^>]*method=\"post\".*?</form>", text, re.DOTALL):
            assert 'name="form_token"' in form or name == "login.html", name


def test_what_is_vendored_has_its_licence_beside_it():
    assert (HERE / "static" / "htmx.min.js").stat().st_size < 40_000
    assert "Permission to use, copy, modify" in (HERE / "static" / "htmx.LICENSE").read_text()
    assert sum(path.stat().st_size for path in (HERE / "static").iterdir()) < 60_000


def test_the_page_is_served_to_few_at_a_time():
    assert serving.LIMITS.max_connections <= 128
