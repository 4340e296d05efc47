"""What each noun answers, over the socket."""

import pytest

from briefcase import __version__
from briefcase.core.approvals.lifecycle import parse_approval_token
from briefcase.core.operator.approvals import SHOWN_DIGEST, shown_digest_of
from briefcase.model.types import ApprovalKind, ApprovalStatus, ShownCall, ShownTool
from support.api import AGENT_TOKEN, KNOWN_SECRET, OTHER_TOKEN, Rig, request
from support.principals import AGENT, OTHER_AGENT
from support.waiting import until

AN_ID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
ANOTHER_ID = "3f2504e0-4f89-41d3-9a0c-0305e82c3302"


# --- health, identity, tools ------------------------------------------------------------------------------------------


async def test_readiness_names_the_failing_part_and_not_why(rig):
    rig.ledger.broken = "EIO on /data/receipts"
    status, _, body = await rig.ask("GET", "/ready", token=None)
    assert (status, body["code"], body["failing"]) == (503, "not_ready", ["receipts"])
    assert "EIO" not in body["message"]


async def test_identity_and_profile_say_which_daemon_this_is(rig):
    who = {
        "did": "did:key:z6Mk", "profile_mode": "reference", "compatibility_profile": "aacp_v1",
        "version": __version__, "principal": AGENT.name, "role": "agent", "identity_key": "", "proof_keys": "",
    }  # fmt: skip
    assert (await rig.ask("GET", "/v1/identity", token=AGENT_TOKEN))[2] == who
    how = {"mode": "reference", "compatibility_profile": "aacp_v1", "strict_enforcement": False}
    profile = (await rig.ask("GET", "/v1/profile", token=AGENT_TOKEN))[2]
    assert profile == profile | how
    assert {rule["effect"] for rule in profile["rules"]} == {"noted", "failed", "refused"}


async def test_tools_are_listed_as_the_contract_writes_them(rig):
    echo, pay = (await rig.ask("GET", "/v1/tools", token=AGENT_TOKEN))[2]["tools"]
    assert (echo["id"], echo["category"], echo["cost"]) == ("echo", "read", {"estimated_usd": 0.0})
    assert echo["output_firewall"] == {"mode": "allow_all", "allowed_paths": []}
    assert (pay["category"], pay["cost"]) == ({"other": "payments"}, {"estimated_usd": 0.002})


async def test_manifests_are_loaded_again_by_the_operator_alone(rig):
    rig.manifests.written = {"pay": "2", "refund": "1"}
    assert (await rig.ask("POST", "/v1/tools/reload", {}, token=AGENT_TOKEN))[0] == 403
    status, _, loaded = await rig.ask("POST", "/v1/tools/reload", {})
    assert (status, loaded) == (200, {"tools": 2, "added": ["refund"], "changed": ["pay"], "removed": []})
    assert rig.ledger.kinds()[-2:] == ["change_intent", "tools_loaded"]


# --- approvals --------------------------------------------------------------------------------------------------------


async def test_pending_approvals_are_listed_to_the_operator_and_an_agent_sees_its_own(rig):
    rig.store_approval()
    rig.store_approval(id=ANOTHER_ID, principal=OTHER_AGENT.name)
    rig.store_approval(id="gone", expires_us=rig.clock.now_us())
    rig.store_approval(id="decided", status=ApprovalStatus.REJECTED)

    async def seen(**who):
        return [approval["id"] for approval in (await rig.ask("GET", "/v1/approvals", **who))[2]["approvals"]]

    assert await seen() == [AN_ID, ANOTHER_ID]
    assert await seen(token=AGENT_TOKEN) == [AN_ID]
    assert await seen(token=OTHER_TOKEN) == [ANOTHER_ID]


async def test_a_yes_that_was_not_used_yet_is_listed_where_it_is_asked_for_until_it_is_taken_back(rig):
    rig.store_approval()
    rig.store_approval(id=ANOTHER_ID, principal=OTHER_AGENT.name, created_us=0)
    rig.store_approval(id="over", status=ApprovalStatus.APPROVED, expires_us=rig.clock.now_us())
    rig.store_approval(id="used", status=ApprovalStatus.CONSUMED)
    await rig.ask("POST", f"/v1/approvals/{AN_ID}/approve")

    async def listed(status, **who):
        answer = (await rig.ask("GET", f"/v1/approvals?status={status}", **who))[2]
        return [(approval["id"], approval["status"]) for approval in answer["approvals"]]

    assert await listed("pending") == [(ANOTHER_ID, "pending")]
    assert await listed("approved") == [(AN_ID, "approved")]
    assert await listed("open") == [(ANOTHER_ID, "pending"), (AN_ID, "approved")]
    assert await listed("open", token=OTHER_TOKEN) == [(ANOTHER_ID, "pending")]
    assert (await rig.ask("GET", "/v1/approvals?status=used"))[0] == 400
    assert await listed("consumed") == [("used", "consumed")]
    assert await listed("expired") == [("over", "expired")]
    assert [found for found, _ in await listed("all")] == [AN_ID, ANOTHER_ID, "over", "used"]
    assert await listed("all&limit=2") == [("over", "expired"), ("used", "consumed")]
    assert await listed("all", token=OTHER_TOKEN) == [(ANOTHER_ID, "pending")]
    assert (await rig.ask("GET", "/v1/approvals?status=all&limit=1001"))[0] == 400

    assert (await rig.ask("POST", f"/v1/approvals/{AN_ID}/deny", {"reason": "no longer"}))[0] == 200
    assert await listed("approved") == []
    (denied,) = (await rig.ask("GET", "/v1/approvals?status=rejected"))[2]["approvals"]
    assert (denied["decided_by"], denied["decision_reason"]) == ("operator", "no longer")
    assert denied["decided_at"].startswith("20")


async def test_an_agent_hears_why_and_not_by_whom(rig):
    rig.store_approval()
    await rig.ask("POST", f"/v1/approvals/{AN_ID}/deny", {"reason": "wrong customer"})
    for path in (f"/v1/approvals/{AN_ID}", "/v1/approvals?status=rejected"):
        answer = (await rig.ask("GET", path, token=AGENT_TOKEN))[2]
        heard = answer.get("approvals", [answer])[0]
        assert (heard["status"], heard["decision_reason"]) == ("rejected", "wrong customer")
        assert "decided_by" not in heard


async def test_an_approval_is_shown_under_the_digest_of_all_its_other_fields_once_it_is_approved_too(rig):
    rig.store_approval()
    path = f"/v1/approvals/{AN_ID}"
    for status in ("pending", "approved", "rejected"):
        shown = (await rig.ask("GET", path))[2]
        assert (shown["status"], "approval_token" in shown) == (status, status == "approved")
        assert shown[SHOWN_DIGEST] == shown_digest_of(shown)
        await rig.ask("POST", f"{path}/{'approve' if status == 'pending' else 'deny'}")


async def test_a_yes_is_receipted_and_gives_a_token_that_its_own_agent_can_read(rig):
    rig.store_approval()
    path = f"/v1/approvals/{AN_ID}"
    status, _, shown = await rig.ask("GET", path, token=AGENT_TOKEN)
    assert (status, shown["status"], shown["summary"]) == (200, "pending", 'echo {"text":"hi"}')
    assert "approval_token" not in shown

    status, _, approved = await rig.ask("POST", f"{path}/approve")
    assert (status, approved["approval_id"]) == (200, AN_ID)
    assert parse_approval_token(rig.ledger.approval_secret(), approved["approval_token"]) == AN_ID
    (receipt,) = rig.ledger.chain
    assert (receipt.event["kind"], receipt.event["status"], receipt.event["by"]) == (
        "approval_decided",
        "approved",
        "operator",
    )

    shown = (await rig.ask("GET", path, token=AGENT_TOKEN))[2]
    assert (shown["status"], shown["approval_token"]) == ("approved", approved["approval_token"])
    assert (await rig.ask("GET", path, token=OTHER_TOKEN))[0] == 404


async def test_who_may_decide_is_shown_the_whole_call_and_an_agent_is_not(rig):
    rig.store_approval(summary="echo " + "x" * 4_100)
    text = '{"text":"' + f'{KNOWN_SECRET}"' + ',"to":"mallory"}'
    rig.ledger.shown[AN_ID] = ShownCall(
        text, ShownTool("echo", "", "read", 2_000, "GET https://e", host="e"), redacted_places=3
    )
    path = f"/v1/approvals/{AN_ID}"
    assert "args_text" not in (await rig.ask("GET", path, token=AGENT_TOKEN))[2]
    shown = (await rig.ask("GET", path))[2]
    assert shown["args_text"] == '{"text":"[redacted]","to":"mallory"}'
    assert shown["redacted_places"] == 3 + 1  # three when it was asked for, and a secret of later
    assert shown["tool"] == {
        "name": "echo", "description": "", "category": "read", "cost": {"estimated_usd": 0.002}, "host": "e",
    }  # fmt: skip
    assert shown["shown_digest_hex"] == shown_digest_of(shown)

    assert (await rig.ask("POST", f"{path}/approve"))[0] == 409
    assert (await rig.ask("POST", f"{path}/approve", {"shown_digest_hex": "0" * 64}))[0] == 409
    assert (await rig.ask("POST", f"{path}/approve", {"shown_digest_hex": "0"}))[0] == 400
    said = {"shown_digest_hex": shown["shown_digest_hex"], "reason": "checked"}
    assert (await rig.ask("POST", f"{path}/approve", said))[0] == 200
    event = rig.ledger.chain[-1].event
    assert (event["shown_digest"], event["reason"]) == (shown["shown_digest_hex"], "checked")


async def test_a_no_is_receipted_with_its_reason_in_visible_characters(rig):
    rig.store_approval()
    status, _, denied = await rig.ask("POST", f"/v1/approvals/{AN_ID}/deny", {"reason": "not\u202etoday"})
    assert (status, denied) == (200, {"approval_id": AN_ID, "status": "rejected"})
    assert rig.ledger.chain[0].event["reason"] == "not<U+202E>today"
    assert (await rig.ask("GET", f"/v1/approvals/{AN_ID}"))[2]["status"] == "rejected"


async def test_a_secret_in_the_reason_of_a_no_is_not_receipted(rig):
    rig.store_approval()
    reason = {"reason": f"it held {KNOWN_SECRET}"}
    assert (await rig.ask("POST", f"/v1/approvals/{AN_ID}/deny", reason))[0] == 200
    assert rig.ledger.chain[0].event["reason"] == "it held [redacted]"


@pytest.mark.parametrize(
    ("verb", "state"),
    [
        ("approve", "approved"),
        *((verb, state) for verb in ("approve", "deny") for state in ("rejected", "consumed", "expired", "late")),
    ],
)
async def test_what_does_not_wait_can_not_be_decided(rig, state, verb):
    if state == "late":
        rig.store_approval(expires_us=rig.clock.now_us())
    else:
        rig.store_approval(status=ApprovalStatus(state))
    status, _, body = await rig.ask("POST", f"/v1/approvals/{AN_ID}/{verb}")
    assert (status, body["code"]) == (409, "conflict")
    assert rig.ledger.chain == []


async def test_what_takes_a_signer_device_can_be_denied_here_but_not_approved(rig):
    rig.store_approval(kind=ApprovalKind.MOBILE_SIGNER)
    assert (await rig.ask("POST", f"/v1/approvals/{AN_ID}/approve"))[0] == 403
    assert rig.ledger.chain == []
    assert (await rig.ask("POST", f"/v1/approvals/{AN_ID}/deny"))[0] == 200


async def test_an_approval_nobody_made_is_not_found(rig):
    for method, path in (("GET", ""), ("POST", "/approve"), ("POST", "/deny")):
        assert (await rig.ask(method, f"/v1/approvals/{AN_ID}{path}"))[0] == 404


# --- the long poll ----------------------------------------------------------------------------------------------------


async def waiting(rig: Rig, wait_ms: int = 60_000):
    """A client whose long poll has begun to wait."""
    client = await rig.connect()
    await client.send(request("GET", f"/v1/approvals/{AN_ID}?wait_ms={wait_ms}", token=AGENT_TOKEN))
    await until(lambda: AN_ID in rig.changes._waiting)
    return client


@pytest.mark.parametrize(("verb", "status"), [("approve", "approved"), ("deny", "rejected")])
async def test_a_long_poll_is_woken_by_the_decision(rig, monkeypatch, verb, status):
    monkeypatch.setattr("briefcase.edges.api.approvals.RECHECK_MS", 60_000)

    rig.store_approval()
    clients = [await waiting(rig) for _ in range(50)]
    await rig.ask("POST", f"/v1/approvals/{AN_ID}/{verb}")
    for client in clients:
        assert (await client.answer())[2]["status"] == status
        await client.close()
    assert rig.changes._waiting == {}


async def test_a_long_poll_that_sees_no_change_answers_when_its_time_is_over(rig):
    rig.store_approval()
    client = await waiting(rig, wait_ms=50)
    rig.clock.mono_ns += 51_000_000
    assert (await client.answer())[2]["status"] == "pending"
    await client.close()


async def test_a_long_poll_sees_a_change_that_nobody_announced(rig, monkeypatch):
    monkeypatch.setattr("briefcase.edges.api.approvals.RECHECK_MS", 20)

    rig.store_approval()
    client = await waiting(rig)
    rig.clock.wall_us += 900_000_000
    assert (await client.answer())[2]["status"] == "expired"
    await client.close()


async def test_a_long_poll_ends_with_its_client(rig, monkeypatch):
    monkeypatch.setattr("briefcase.edges.api.approvals.RECHECK_MS", 60_000)

    rig.store_approval()
    client = await waiting(rig)
    await client.close()
    await until(lambda: not rig.changes._waiting and not rig.server._state.tasks)


async def test_a_long_poll_does_not_outlast_the_server(rig, monkeypatch):
    monkeypatch.setattr("briefcase.edges.api.approvals.RECHECK_MS", 60_000)

    rig.store_approval()
    client = await waiting(rig)
    await rig.server.drain()
    assert (await client.answer())[2]["status"] == "pending"
    await client.close()


@pytest.mark.parametrize("wait_ms", ["-1", "x", "1.5", ""])
async def test_a_wait_that_is_no_time_is_a_bad_request(rig, wait_ms):
    rig.store_approval()
    assert (await rig.ask("GET", f"/v1/approvals/{AN_ID}?wait_ms={wait_ms}"))[0] == 400


# --- receipts, budgets, policy, agents, secrets -----------------------------------------------------------------------


async def test_receipts_are_listed_newest_first_through_each_filter(rig):
    for limit in (1, 2, 3):
        await rig.ask("POST", "/v1/budgets/read", {"daily_limit_microusd": limit})
        rig.clock.advance(us=1_000_000)
    rig.store_approval()
    await rig.ask("POST", f"/v1/approvals/{AN_ID}/deny")

    async def ids(query: str) -> list[int]:
        return [receipt["id"] for receipt in (await rig.ask("GET", f"/v1/receipts?{query}"))[2]["receipts"]]

    assert await ids("") == [4, 3, 2, 1]
    assert await ids("limit=2&offset=1") == [3, 2]
    assert await ids("after_id=2") == [4, 3]
    assert await ids("order=oldest&after_id=1&to_id=3") == [2, 3]
    assert await ids("order=oldest&limit=1&kind=budget_set") == [1]
    hashes = (await rig.ask("GET", "/v1/receipts/hashes?after_id=1&limit=2"))[2]["hashes"]
    assert hashes == [receipt.hash_hex for receipt in rig.ledger.chain[1:3]]
    assert await ids("kind=budget_set") == [3, 2, 1]
    assert await ids("tool_id=echo") == [4]
    assert await ids(f"approval_id={AN_ID}") == [4]
    assert await ids("decision=allow") == []
    assert await ids("since=2026-01-01T00:00:01Z&until=2026-01-01T00:00:02Z") == [3, 2]
    assert await ids("since=2026-01-01T01:00:02%2B01:00") == [4, 3]


async def test_one_receipt_is_shown_by_its_id(rig):
    await rig.ask("POST", "/v1/budgets/read", {"daily_limit_microusd": 1})
    assert (await rig.ask("GET", "/v1/receipts/1"))[2]["event"]["kind"] == "budget_set"
    for number in ("0", "2", "x", "9" * 30, "-1", "%D9%A1"):
        assert (await rig.ask("GET", f"/v1/receipts/{number}"))[0] == 404


async def test_verification_says_what_it_could_not_exclude_and_takes_an_anchor(rig):
    await rig.ask("POST", "/v1/budgets/read", {"daily_limit_microusd": 1})
    found = (await rig.ask("POST", "/v1/receipts/verify"))[2]
    assert (found["ok"], found["checked"], found["not_checked"]) == (True, 1, ["tail_truncation"])
    assert "first_bad" not in found
    anchored = (await rig.ask("POST", "/v1/receipts/verify", {"anchor": found["head"]}))[2]
    assert anchored["not_checked"] == []
    await rig.ask("POST", "/v1/budgets/read", {"daily_limit_microusd": 2})
    later = (await rig.ask("POST", "/v1/receipts/verify", {"after": found["head"]}))[2]
    assert (later["ok"], later["checked"]) == (True, 1)
    assert "receipts_before_checkpoint" in later["not_checked"]
    bad = {"anchor": {"id": 1, "hash_hex": "xyz"}}
    assert (await rig.ask("POST", "/v1/receipts/verify", bad))[0] == 400


async def test_a_budget_is_set_with_its_receipt_and_listed(rig):
    record = (await rig.ask("POST", "/v1/budgets/payments", {"daily_limit_microusd": 5_000_000}))[2]
    assert record == {
        "category": "payments",
        "daily_limit_microusd": 5_000_000,
        "spent_microusd": 0,
        "reserved_microusd": 0,
    }
    assert record in (await rig.ask("GET", "/v1/budgets"))[2]["budgets"]
    assert rig.ledger.kinds() == ["budget_set"]


async def test_a_policy_is_shown_and_replaced_whole_and_a_bad_one_leaves_the_old(rig):
    old = (await rig.ask("GET", "/v1/policy"))[2]
    status, _, body = await rig.ask("PUT", "/v1/policy", {"policy_text": "forbit"})
    assert (status, body["code"], body["message"]) == (400, "invalid_policy", "line 1 column 1: unexpected token")
    assert (await rig.ask("GET", "/v1/policy"))[2] == old
    new = (await rig.ask("PUT", "/v1/policy", {"policy_text": "permit (principal, action, resource); // 2"}))[2]
    assert new["policy_hash_hex"] != old["policy_hash_hex"]


async def test_agents_are_added_and_listed(rig):
    added = (await rig.ask("POST", "/v1/agents", {"name": "new", "groups": ["a"]}))[2]
    assert added.keys() == {"name", "token"}
    assert added["token"].startswith("bca_")
    assert (await rig.ask("GET", "/v1/tools", token=added["token"]))[0] == 200
    listed = (await rig.ask("GET", "/v1/agents"))[2]["agents"]
    assert {agent["name"] for agent in listed if agent["revoked_at"] is None} == {
        "new",
        AGENT.name,
        OTHER_AGENT.name,
    }


async def test_a_secret_is_set_listed_by_name_and_removed_and_its_value_never_comes_back(rig):
    answers = [
        await rig.ask("PUT", "/v1/secrets/tickets-api", {"value": "canary-in-the-mine"}),
        await rig.ask("GET", "/v1/secrets"),
        await rig.ask("PUT", "/v1/secrets/other", b'{"value": 5, "canary": 1}'),
        await rig.ask("PUT", "/v1/secrets/other", b'{"value": "canary"'),
        await rig.ask("PUT", "/v1/secrets/other", {"value": "short"}),
    ]
    assert rig.secrets.kept == {"tickets-api": b"canary-in-the-mine"}
    assert answers[1][2] == {"secrets": ["tickets-api"], "hosts": {}}
    assert [status for status, _, _ in answers] == [200, 200, 400, 400, 400]
    assert "canary" not in repr(answers)
    assert (await rig.ask("DELETE", "/v1/secrets/tickets-api"))[0] == 200
    assert (await rig.ask("DELETE", "/v1/secrets/tickets-api"))[0] == 404
    change = ["change_intent", "secret_set", "change_intent", "secret_removed"]
    assert rig.ledger.kinds() == change
    assert "canary" not in repr(rig.ledger.chain)
