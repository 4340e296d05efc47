"""The page in Chromium: `make page` runs it, with a virtual authenticator and axe-core.

Chromium is the system's; Playwright and axe-core are put under `build/page` by `make page`.
"""

import http.server
import os
import re
import shutil
import threading
from pathlib import Path

import pytest

from support.daemons import RunningDaemon

HERE = Path(os.environ.get("BRIEFCASE_PAGE_DIR", ""))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
AXE = HERE / "node_modules" / "axe-core" / "axe.min.js"
POLICY = """
@id("work") permit (principal, action == Action::"Call", resource);
@id("unsigned") permit (principal, action == Action::"CallWithoutSigner", resource);
"""
HOSTILE = "<script>document.title='hit'</script>\u202etxt.exe\u200b p\u0430ypal.com \x1b[31m " + "A" * 600
VIEWS = (
    "approvals", "approvals/ended", "grants", "receipts", "anomalies", "receipts/1", "receipts/999",
    "tools", "people", "budgets", "policy",
    "controls", "signers", "health",
)  # fmt: skip
SIZES = [(width, scheme) for width in (1_280, 360) for scheme in ("light", "dark")]
MAX_PAGE_BYTES = 60_000

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and AXE.is_file()), reason="needs Chromium, Playwright and axe-core: run `make page`"
)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    data = tmp_path_factory.mktemp("page") / "data"
    data.mkdir(mode=0o700)
    (data / "briefcase.toml").write_text("[page]\nport = 0\n")
    (data / "briefcase.toml").chmod(0o600)
    with RunningDaemon(data) as daemon:
        assert daemon.request("PUT", "/v1/policy", {"policy_text": POLICY})[0] == 200
        daemon.agent = daemon.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
        yield daemon


@pytest.fixture(scope="module")
def chromium():
    sync_playwright = pytest.importorskip("playwright.sync_api").sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def is_of_the_policy(said):
    """Whether a page did what its own policy forbids; that nobody frames it is what it is for."""
    return "Content Security" in said and "frame-ancestors" not in said


@pytest.fixture
def open_page(served, chromium):
    """A page of a profile of its own that is logged in, whose errors fail the test."""
    contexts, errors = [], []

    def opened(**options):
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if is_of_the_policy(said.text) else None)
        page.goto(served.request("POST", "/v1/page/links")[1]["url"])
        page.click("button.main")
        page.wait_for_url("**/approvals")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


def waits(served, text):
    return served.call("note_add", {"text": text}, token=served.agent)["approval"]["id"]


def status_of(served, approval_id):
    return served.request("GET", f"/v1/approvals/{approval_id}")[1]["status"]


def base_of(page):
    return re.match(r"(http://localhost:\d+/ui/[\w-]{22})", page.url)[1]


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_each_view_is_small_fits_and_has_no_violation_of_axe(served, open_page, width, scheme):
    approval = waits(served, HOSTILE)
    page = open_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    base, axe, shots = base_of(page), AXE.read_text(), HERE / "shots"
    shots.mkdir(exist_ok=True)
    for view in (*VIEWS, f"approvals/{approval}"):
        answer = page.goto(f"{base}/{view}")
        assert len(answer.body()) < MAX_PAGE_BYTES, view
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, view
        name = view.replace("/", "-").replace(approval, "one")
        page.screenshot(path=shots / f"{name}-{width}-{scheme}.png", full_page=True)
        found = page.evaluate(
            "async (source) => { (0, eval)(source); const said = await axe.run();"
            " return said.violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.html)}`); }",
            axe,
        )
        assert found == [], view
    assert page.title() != "hit"


def test_a_call_appears_by_itself_and_is_approved_by_keys_once_it_was_read(served, open_page):
    page = open_page(viewport={"width": 900, "height": 500})
    approval = waits(served, "line\n" * 300)
    page.wait_for_selector(f"a.card[href$='{approval}']", timeout=5_000)
    for _ in range(50):
        page.keyboard.press("j")
        if page.evaluate("document.activeElement.getAttribute('href')?.split('/').at(-1)") == approval:
            break
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/{approval}")
    page.wait_for_timeout(600)
    page.keyboard.press("a")
    page.wait_for_timeout(300)
    assert status_of(served, approval) == "pending", "it was not read to its end"
    page.keyboard.press("End")
    page.wait_for_timeout(300)
    page.keyboard.press("a")
    page.wait_for_selector(".word.approved")
    assert status_of(served, approval) == "approved"


def test_without_scripts_a_call_is_approved_and_denied(served, open_page):
    page = open_page(java_script_enabled=False)
    yes, no = waits(served, "yes"), waits(served, "no")
    base = base_of(page)
    page.goto(f"{base}/approvals/{yes}")
    page.fill("#reason", "fine")
    page.click("#approve")
    page.goto(f"{base}/approvals/{no}")
    page.click("#deny")
    assert (status_of(served, yes), status_of(served, no)) == ("approved", "rejected")


def test_a_page_whose_call_was_decided_elsewhere_says_so(served, open_page):
    approval = waits(served, "two tabs")
    page = open_page()
    page.goto(f"{base_of(page)}/approvals/{approval}")
    served.request("POST", f"/v1/approvals/{approval}/deny", {})
    page.wait_for_selector("#changed:not([hidden])", timeout=5_000)
    assert page.is_disabled("#approve")


def test_a_passkey_is_registered_and_its_yes_is_a_signature(served, open_page):
    page = open_page()
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    authenticator = {
        "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
        "isUserVerified": True, "automaticPresenceSimulation": True,
    }  # fmt: skip
    session.send("WebAuthn.addVirtualAuthenticator", {"options": authenticator})
    base = base_of(page)
    page.goto(f"{base}/signers")
    page.fill("#passkey [name=name]", "laptop")
    page.click("#register")
    page.wait_for_selector("td b:has-text('laptop')", timeout=10_000)

    approval = waits(served, "sign this")
    page.goto(f"{base}/approvals/{approval}")
    page.click("#passkey-yes")
    page.wait_for_selector(".word.approved", timeout=10_000)
    assert status_of(served, approval) == "approved"
    decided = served.request("GET", "/v1/receipts?kind=approval_decided&limit=1")[1]["receipts"][0]["event"]
    assert (decided["approval_id"], bool(decided.get("signer_id") or decided.get("signer"))) == (approval, True)


def test_another_origin_of_localhost_is_sent_no_cookie_and_cannot_frame_the_page(served, open_page, tmp_path):
    seen = []

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.headers.get("cookie"))
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<iframe></iframe>")

        def log_message(self, *_):
            pass

    page = open_page()
    base = base_of(page)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        approval = waits(served, "not by another page")
        page.goto(f"http://localhost:{other.server_port}/ui/x")
        page.evaluate(
            "async (url) => { document.querySelector('iframe').src = url;"
            " await fetch(url + '/deny', {method: 'POST', mode: 'no-cors', credentials: 'include',"
            " body: new URLSearchParams({reason: 'x'})}).catch(() => null); }",
            f"{base}/approvals/{approval}",
        )
        page.wait_for_timeout(500)
        framed = [frame.content() for frame in page.frames[1:]]
        other.shutdown()
    assert seen
    assert set(seen) == {None}
    assert all("note_add" not in text and "Add a note" not in text for text in framed)
    assert status_of(served, approval) == "pending"
