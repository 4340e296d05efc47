"""Who is logged in: a link once, a cookie at its own place, and nothing that came from a browser begins a session."""

from urllib.parse import urlsplit

from briefcase.adapters.system import SystemEntropy
from briefcase.core.people import People
from briefcase.edges.page.sessions import CODE_S, IDLE_S, MAX_CODES, MAX_SESSIONS, WHOLE_S, Sessions
from briefcase.model.types import Principal, Role
from support.api import AGENT_TOKEN, APPROVER_TOKEN, AUDITOR_TOKEN
from support.clock import FakeClock
from support.ledger import MemoryLedger
from support.page import Browser, link_of, logged_in

S = 1_000_000


async def test_a_link_says_whose_it_is_and_a_form_uses_it_up(rig):
    url = await link_of(rig, APPROVER_TOKEN)
    browser = Browser(urlsplit(url).netloc)
    path = url.removeprefix(browser.origin)
    for _ in range(3):  # a preview of the link, and a reload, use nothing up
        shown = await browser.get(path)
        assert (shown.status, "Continue as ann" in shown.text) == (200, True)
    code = shown.fields()
    moved = await browser.post("/ui/login", code)
    assert moved.status == 303
    assert moved.headers["location"].endswith("/approvals")
    assert (await browser.get(moved.headers["location"])).status == 200
    for again in (await Browser(browser.authority).post("/ui/login", code), await Browser(browser.authority).get(path)):
        assert again.status == 401
        assert "this link was used, or is too old" in again.text


async def test_a_link_is_too_old_after_a_minute(rig):
    url = await link_of(rig)
    browser = Browser(urlsplit(url).netloc)
    code = (await browser.get(url.removeprefix(browser.origin))).fields()
    rig.clock.advance(us=CODE_S * S)
    assert (await browser.post("/ui/login", code)).status == 401


async def test_the_cookie_is_for_one_place_that_nobody_can_name_and_no_script_reads_it(rig):
    url = await link_of(rig)
    browser = Browser(urlsplit(url).netloc)
    moved = await browser.log_in(url)
    cookie, *attributes = moved.headers["set-cookie"].split("; ")
    assert sorted(attributes) == sorted(["HttpOnly", "SameSite=Strict", f"Path={browser.base}", f"Max-Age={WHOLE_S}"])
    assert len(browser.base.removeprefix("/ui/")) == 22
    assert cookie.split("=")[1] not in moved.headers["location"]
    assert "code=" not in moved.headers["location"]


async def test_a_cookie_opens_no_other_sessions_place_and_a_place_opens_nothing_without_its_cookie(rig):
    ann, operator = await logged_in(rig, APPROVER_TOKEN), await logged_in(rig)
    assert (await Browser(ann.authority).get(f"{operator.base}/receipts")).status == 401
    stolen = ann.cookies[ann.base]
    assert (await operator.get(f"{operator.base}/receipts", cookie=stolen)).status == 401
    both = f"{stolen}; briefcase_page=planted; {operator.cookies[operator.base]}"
    assert (await operator.get(f"{operator.base}/receipts", cookie=both)).status == 200
    assert (await operator.get("/ui/approvals", cookie=both)).status == 200  # the entrance, which shows nothing
    assert (await operator.get(f"{operator.base.upper()}/receipts", cookie=both)).status == 401


async def test_no_value_of_a_browsers_begins_a_session(rig):
    url = await link_of(rig)
    browser = Browser(urlsplit(url).netloc)
    planted = "briefcase_page=" + "p" * 43
    code = (await browser.get(url.removeprefix(browser.origin), cookie=planted)).fields()
    moved = await browser.post("/ui/login", {**code, "place": "x" * 22, "form_token": "y"}, cookie=planted)
    assert "p" * 43 not in moved.headers["set-cookie"]
    base = moved.headers["location"].rsplit("/", 1)[0]
    assert (await browser.get(f"{base}/approvals", cookie=planted)).status == 401


async def test_who_logged_out_is_out_with_the_same_cookie_too(rig):
    browser = await logged_in(rig)
    page = await browser.get(f"{browser.base}/approvals")
    kept, token = browser.cookies[browser.base], page.fields()["form_token"]
    assert (await browser.post(f"{browser.base}/logout", {"form_token": "wrong"})).status == 403
    assert (await browser.get(f"{browser.base}/approvals")).status == 200
    left = await browser.post(f"{browser.base}/logout", {"form_token": token})
    assert (left.status, "Max-Age=0" in left.headers["set-cookie"]) == (200, True)
    assert (await browser.get(f"{browser.base}/approvals", cookie=kept)).status == 401
    assert (await browser.post(f"{browser.base}/logout", {"form_token": token}, cookie=kept)).status == 401


async def test_two_browsers_of_one_person_are_two_sessions(rig):
    one, other = await logged_in(rig), await logged_in(rig)
    token = (await one.get(f"{one.base}/approvals")).fields()["form_token"]
    assert (await other.post(f"{other.base}/logout", {"form_token": token})).status == 403
    await one.post(f"{one.base}/logout", {"form_token": token})
    assert (await other.get(f"{other.base}/approvals")).status == 200


async def test_a_revoked_person_is_out_at_once_and_their_link_is_dead(rig):
    browser, url = await logged_in(rig, APPROVER_TOKEN), await link_of(rig, APPROVER_TOKEN)
    assert (await browser.get(f"{browser.base}/approvals")).status == 200
    assert (await rig.ask("POST", "/v1/operators/ann/revoke"))[0] == 200
    assert (await browser.get(f"{browser.base}/approvals")).status == 401
    assert (await browser.get(url.removeprefix(browser.origin))).status == 401
    assert (await rig.ask("POST", "/v1/operators", {"name": "ann", "role": "operator"}))[0] == 200
    assert (await browser.get(f"{browser.base}/approvals")).status == 401  # another person of that name


async def test_an_agents_token_gets_no_link_and_nothing_opens_for_it(rig):
    status, _, answer = await rig.ask("POST", "/v1/page/links", token=AGENT_TOKEN)
    assert (status, answer["code"]) == (403, "forbidden")
    assert (await rig.ask("POST", "/v1/page/links", token="w" * 43))[0] == 401
    assert (await rig.ask("POST", "/v1/page/links", token=AUDITOR_TOKEN))[0] == 200


def sessions() -> tuple[Sessions, FakeClock]:
    clock = FakeClock()
    return Sessions(People(MemoryLedger(clock)), SystemEntropy(), clock.monotonic_ns), clock


ANN = Principal("operator", Role.OPERATOR)


def test_a_session_ends_with_an_hour_of_silence_and_with_its_day():
    kept, clock = sessions()
    begun = kept.begin(kept.new_code(ANN))
    for _ in range(WHOLE_S // (IDLE_S // 2) - 1):
        clock.advance(us=IDLE_S // 2 * S)
        assert kept.find(begun.session.place, [begun.cookie]) is begun.session
    clock.advance(us=IDLE_S // 2 * S)
    assert kept.find(begun.session.place, [begun.cookie]) is None

    other = kept.begin(kept.new_code(ANN))
    clock.advance(us=(IDLE_S - 1) * S)
    assert kept.is_live(other.session)
    clock.advance(us=S)
    assert not kept.is_live(other.session)  # to be asked for did not prolong it


def test_one_persons_oldest_codes_and_sessions_give_way_and_nobody_elses():
    kept, _ = sessions()
    auditor = kept.begin(kept.new_code(Principal("auditor", Role.AUDITOR)))
    codes = [kept.new_code(ANN) for _ in range(MAX_CODES + 1)]
    assert [kept.holder_of(code) is not None for code in codes] == [False] + [True] * MAX_CODES
    begun = [kept.begin(kept.new_code(ANN)) for _ in range(MAX_SESSIONS + 1)]
    assert [kept.is_live(one.session) for one in begun] == [False] + [True] * MAX_SESSIONS
    assert kept.is_live(auditor.session)
