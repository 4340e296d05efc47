"""A rollout: to some devices first, to all only through its gates, back under a new id."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from briefcase.core.fleet.rollouts import Evidence, Gates, is_canary, shut_gates
from support.fleet_server import AUDITOR_TOKEN, POLICY, chain

NEW = "permit(principal, action, resource); // new"


async def begin(plane, **members):
    body = {"policy_text": NEW, "budgets": {}, "canary_permille": 500} | members
    return await plane.admin("POST", "/v1/admin/rollouts", body)


async def fleet(plane, rollout_id: int, count: int = 12):
    """Devices that get a rollout's bundle first, and devices that do not."""
    first, others = [], []
    while len(first) + len(others) < count or not first or not others:
        device = await plane.new_device()
        got = await device.call("GET", "policy")
        (first if got.body["policy_bundle"]["bundle"]["bundle_id"] == rollout_id else others).append(device)
    return first, others


async def runs(device) -> tuple[int, str]:
    bundle = (await device.call("GET", "policy")).body["policy_bundle"]["bundle"]
    return bundle["bundle_id"], bundle["policy_text"]


async def test_a_rollout_goes_to_some_then_to_all_through_its_gates(plane):
    begun = await begin(plane)
    rollout_id = begun.body["rollout_id"]
    assert (begun.body["state"], rollout_id) == ("canary", 2)
    first, others = await fleet(plane, rollout_id)
    at = f"/v1/admin/rollouts/{rollout_id}"

    held = await plane.admin("POST", f"{at}/advance")
    assert (held.status, held.word) == (409, "gate_shut")
    assert "min-applied" in held.body["message"]
    assert {await runs(device) for device in others} == {(1, (await runs(others[0]))[1])}

    for device in first:
        await device.call("POST", "status", {"running_bundle_id": rollout_id, "tried_bundle_id": rollout_id})
    assert (await plane.admin("POST", f"{at}/advance")).body["state"] == "active"
    assert {await runs(device) for device in (*first, *others)} == {(rollout_id, NEW)}

    assert (await plane.admin("POST", f"{at}/advance")).word == "gate_shut"  # the others do not run it yet
    for device in others:
        await device.call("POST", "status", {"running_bundle_id": rollout_id})
    assert (await plane.admin("POST", f"{at}/advance")).body["state"] == "done"
    assert (await plane.admin("POST", f"{at}/rollback")).word == "conflict"


async def test_a_rollback_gives_all_the_old_text_under_a_higher_id(plane):
    rollout_id = (await begin(plane)).body["rollout_id"]
    first, others = await fleet(plane, rollout_id)
    before = await runs(others[0])
    back = await plane.admin("POST", f"/v1/admin/rollouts/{rollout_id}/rollback")
    assert back.body["state"] == "rolled_back"
    assert {await runs(device) for device in (*first, *others)} == {(rollout_id + 1, before[1])}
    assert (await plane.admin("POST", f"/v1/admin/rollouts/{rollout_id}/advance")).status == 409


async def test_a_device_that_could_not_apply_it_holds_the_rollout(plane):
    rollout_id = (await begin(plane, gates={"min_applied_permille": 1})).body["rollout_id"]
    first, _ = await fleet(plane, rollout_id)
    await first[0].call("POST", "status", {"running_bundle_id": rollout_id, "tried_bundle_id": rollout_id})
    failed = {"running_bundle_id": 1, "tried_bundle_id": rollout_id, "last_error": "invalid_policy"}
    await first[1].call("POST", "status", failed)
    held = await plane.admin("POST", f"/v1/admin/rollouts/{rollout_id}/advance")
    assert "max-apply-failures: 1 canary devices could not apply it" in held.body["message"]


async def test_recorded_calls_that_would_be_decided_otherwise_hold_the_rollout(plane):
    begun = await begin(plane, policy_text="forbid(principal, action, resource);", gates={"max_flips": 0})
    rollout_id = begun.body["rollout_id"]
    first, _ = await fleet(plane, rollout_id)
    for device in first:
        await device.call("POST", "status", {"running_bundle_id": rollout_id})
    tool = {"category": "read", "cost_microusd": 0, "net_access": False, "fs_access": False, "source": "builtin"}
    event = {
        "kind": "intent",
        "id": 1,
        "ts": "2026-01-01T00:00:00Z",
        "principal": "scout",
        "tool_id": "echo",
        "tool": tool,
        "args": "{}",
    }
    await first[0].upload(chain(1, event=event))
    shown = await plane.admin("GET", f"/v1/admin/rollouts/{rollout_id}", token=AUDITOR_TOKEN)
    assert shown.body["evidence"] == {
        "devices": len(first), "applied": len(first), "apply_failures": 0, "replayed": 1, "flips": 1
    }  # fmt: skip
    held = await plane.admin("POST", f"/v1/admin/rollouts/{rollout_id}/advance")
    assert held.body["message"].endswith("max-flips: 1 of 1 recorded calls would be decided otherwise")


async def test_while_a_rollout_is_under_way_nothing_else_decides_who_gets_what(plane):
    rollout_id = (await begin(plane)).body["rollout_id"]
    assert (await plane.admin("POST", "/v1/admin/policy", {"policy_text": POLICY, "budgets": {}})).word == "conflict"
    assert (await begin(plane)).word == "conflict"
    await plane.admin("POST", f"/v1/admin/rollouts/{rollout_id}/rollback")
    published = await plane.admin("POST", "/v1/admin/policy", {"policy_text": POLICY, "budgets": {}})
    assert published.body["policy_bundle"]["bundle"]["bundle_id"] == rollout_id + 2


@pytest.mark.parametrize(
    "members",
    [
        {"canary_permille": 0},
        {"canary_permille": 1000},
        {"canary_permille": "5"},
        {"gates": {"max_flips": -1}},
        {"gates": {"max_flip": 0}},
        {"policy_text": "not Cedar"},
        {"budgets": {"read": -1}},
    ],
)
async def test_a_rollout_that_is_not_as_it_must_be_does_not_begin(plane, members):
    assert (await begin(plane, **members)).status == 400
    assert (await plane.admin("GET", "/v1/admin/rollouts")).body == {"rollouts": []}


async def test_each_step_of_a_rollout_is_an_act(plane):
    rollout_id = (await begin(plane)).body["rollout_id"]
    await plane.admin("POST", f"/v1/admin/rollouts/{rollout_id}/rollback")
    acts = (await plane.admin("GET", "/v1/audit/acts")).body["acts"]
    assert [act["event"]["act"] for act in acts][:4] == [
        "policy_published", "rollout_rolled_back", "rollout_begun", "policy_published"
    ]  # fmt: skip
    assert json.dumps(acts).count('"rollout_id"') == 2


@given(st.integers(1, 2**53 - 1), st.uuids(), st.integers(1, 999), st.integers(1, 999))
def test_a_larger_share_takes_no_device_back(rollout_id, device, share, more):
    assert not is_canary(rollout_id, device, share) or is_canary(rollout_id, device, max(share, more))


@given(st.builds(Gates, max_flips=st.none() | st.integers(0, 9)), st.builds(Evidence, *[st.integers(0, 9)] * 5))
def test_what_shows_more_harm_never_opens_a_gate(gates, evidence):
    def gate_names(seen):
        return {gate.gate for gate in shut_gates(gates, seen)}

    worse = Evidence(
        evidence.devices,
        max(0, evidence.applied - 1),
        evidence.apply_failures + 1,
        evidence.replayed,
        evidence.flips + 1,
    )
    assert gate_names(evidence) <= gate_names(worse)


async def test_two_who_advance_at_once_take_one_step(plane, monkeypatch):
    rollout_id = (await begin(plane)).body["rollout_id"]
    first, _ = await fleet(plane, rollout_id)
    for device in first:
        await device.call("POST", "status", {"running_bundle_id": rollout_id})
    rollouts = plane.services.rollouts
    real, both, looking = rollouts.show, asyncio.Barrier(2), [1, 2]

    async def show(*args):
        shown = await real(*args)
        if looking:
            looking.pop()
            await both.wait()  # each has seen the gates of the canary open
        return shown

    monkeypatch.setattr(rollouts, "show", show)
    at = f"/v1/admin/rollouts/{rollout_id}"
    answers = await asyncio.gather(*(plane.admin("POST", f"{at}/advance") for _ in range(2)))
    assert sorted(answer.status for answer in answers) == [200, 409]
    assert {answer.word for answer in answers} == {None, "conflict"}
    assert (await plane.admin("GET", at)).body["state"] == "active"  # the others do not run it: it is not done
