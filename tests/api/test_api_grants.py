"""Grants over the socket: shown before the yes, listed, revoked, and by whom."""

import hashlib

import pytest

from briefcase.model.types import ShownCall, ShownTool
from support.api import AGENT_TOKEN, APPROVER_TOKEN

TEXT = '{"text":"hi there"}'


@pytest.fixture
def waiting(rig):
    approval = rig.store_approval(args_digest_hex=hashlib.sha256(TEXT.encode()).hexdigest())
    tool = ShownTool("echo", "", "read", 0, "builtin")
    rig.ledger.shown[approval.id] = ShownCall(TEXT, tool, reasons=("approval_by_policy",))
    return f"/v1/approvals/{approval.id}"


async def test_a_grant_is_shown_then_given_then_listed_then_ended(rig, waiting):
    terms = {"args": {"fixed": []}, "max_uses": 2, "max_microusd": 0, "expires_at": "2026-01-02T00:00:00Z"}
    status, _, drafted = await rig.ask("POST", f"{waiting}/grant", terms, token=APPROVER_TOKEN)
    assert (status, drafted["max_uses"], drafted["expires_at"]) == (200, 2, "2026-01-02T00:00:00.000000Z")
    assert "at most 2 times" in drafted["sentence"]
    assert rig.ledger.chain == []

    shown = (await rig.ask("GET", waiting, token=APPROVER_TOKEN))[2]["shown_digest_hex"]
    said = {"shown_digest_hex": shown, "grant": terms, "grant_digest_hex": drafted["grant_digest_hex"]}
    assert (await rig.ask("POST", f"{waiting}/approve", {**said, "grant_digest_hex": "0" * 64}))[0] == 409
    assert (await rig.ask("POST", f"{waiting}/approve", {**said, "grant": {**terms, "max_uses": 3}}))[0] == 409
    status, _, given = await rig.ask("POST", f"{waiting}/approve", said, token=APPROVER_TOKEN)
    assert (status, waiting.endswith(given["grant_id"])) == (200, True)

    (listed,) = (await rig.ask("GET", "/v1/grants", token=APPROVER_TOKEN))[2]["grants"]
    assert (listed["status"], listed["granted_by"], listed["uses"], listed["cedar"]) == (
        "active", ["ann"], 0, drafted["cedar"],
    )  # fmt: skip
    revoke = f"/v1/grants/{listed['id']}/revoke"
    assert (await rig.ask("POST", revoke, token=APPROVER_TOKEN))[2] == {"grant_id": listed["id"], "status": "revoked"}
    assert (await rig.ask("GET", "/v1/grants"))[2] == {"grants": []}
    (ended,) = (await rig.ask("GET", "/v1/grants?status=all"))[2]["grants"]
    assert (ended["status"], ended["revoked_by"]) == ("revoked", "ann")
    assert (await rig.ask("POST", revoke))[0] == 409
    assert (await rig.ask("POST", "/v1/grants/nobody/revoke"))[0] == 404


async def test_no_agent_previews_gives_lists_or_ends_a_grant(rig, waiting):
    terms = {"args": "exact", "max_uses": 1}
    for method, path in (("POST", f"{waiting}/grant"), ("GET", "/v1/grants"), ("POST", "/v1/grants/x/revoke")):
        assert (await rig.ask(method, path, terms if method == "POST" else None, token=AGENT_TOKEN))[0] == 403


@pytest.mark.parametrize(
    "terms",
    [
        {},
        {"args": "all", "max_uses": 1},
        {"args": {"fixed": ["to"]}, "max_uses": 1},
        {"args": {"fixed": ["/a~2"]}, "max_uses": 1},
        {"args": {"fixed": ["/text"] * 201}, "max_uses": 1},
        {"args": "exact"},
        {"args": "exact", "max_uses": 0},
        {"args": "exact", "max_uses": True},
        {"args": "exact", "max_uses": 1, "max_microusd": -1},
        {"args": "exact", "expires_at": "tomorrow"},
        {"args": "exact", "expires_at": "2026-01-02T00:00:00"},
        {"args": "exact", "expires_at": "2025-01-02T00:00:00Z"},
        {"args": "exact", "expires_at": "9999-01-02T00:00:00Z"},
        {"args": "exact", "max_uses": None, "expires_at": None},
    ],
)
async def test_terms_that_are_none_are_a_bad_request(rig, waiting, terms):
    for path, body in ((f"{waiting}/grant", terms), (f"{waiting}/approve", {"grant": terms})):
        status, _, answer = await rig.ask("POST", path, body)
        assert (status, answer["code"]) == (400, "bad_request")
    assert rig.ledger.chain == []


async def test_a_grant_without_what_was_shown_of_it_is_refused(rig, waiting):
    said = {"grant": {"args": "exact", "max_uses": 1}}
    assert (await rig.ask("POST", f"{waiting}/approve", said))[0] == 409
    shown = (await rig.ask("GET", waiting))[2]["shown_digest_hex"]
    assert (await rig.ask("POST", f"{waiting}/approve", {**said, "shown_digest_hex": shown}))[0] == 409
    assert rig.ledger.grants() == []
