"""A receipt becomes an API Activity of OCSF, its own bytes in it; with `record_integrity` the events are a chain."""

import hashlib
import json
from itertools import pairwise

import pytest

from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.core.receipts.ocsf import OcsfWriter
from briefcase.model.types import Receipt

CALL = {
    "approval_id": None,
    "auth_method": "token",
    "call_id": "c-1",
    "decision": "allow",
    "groups": ["research"],
    "kind": "intent",
    "policy_digest": "ab" * 32,
    "policy_ids": ["reads"],
    "principal": "scout",
    "reason": "",
    "request_id": "r-1",
    "role": "agent",
    "tool": {"category": "read", "cost_microusd": 0},
    "tool_id": "echo",
}
REQUIRED = {  # of class 6003 in schema 1.8.0, and of the objects it requires
    "activity_id", "actor", "api", "category_uid", "class_uid", "metadata", "severity_id", "src_endpoint", "time",
    "type_uid",
}  # fmt: skip


def receipt(receipt_id=1, prev="0" * 64, **event):
    event = {"id": receipt_id, "ts": "2026-11-29T14:00:00.123456Z", **event}
    hashed = hashlib.sha256(prev.encode() + canonical_bytes(event)).hexdigest()
    return Receipt(receipt_id, event["ts"], prev, hashed, event)


def of(**event):
    return OcsfWriter().event(receipt(**event))


def test_a_call_is_an_api_activity_with_all_that_the_class_requires():
    event = of(**CALL)
    assert REQUIRED - set(event) == set()
    assert (event["class_uid"], event["category_uid"], event["type_uid"]) == (6003, 6, 600302)
    assert (event["metadata"]["version"], event["metadata"]["product"]["name"]) == ("1.8.0", "briefcase")
    assert event["time"] == 1795960800123
    assert event["actor"]["user"] == {
        "name": "scout", "type": "Service", "type_id": 4, "groups": [{"name": "research"}]
    }  # fmt: skip
    assert event["api"] == {"operation": "echo", "service": {"name": "briefcase"}, "request": {"uid": "r-1"}}
    assert (event["action_id"], event["disposition_id"]) == (1, 1)
    assert event["policy"] == {"uid": "ab" * 32, "name": "reads"}
    assert "attestation" not in event


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({**CALL, "kind": "denied", "decision": "deny", "reason": "policy_denied"}, (2, 2, 2, 2)),
        ({**CALL, "kind": "approval_required", "decision": "approval_required"}, (99, 0, 99, 1)),
        ({"kind": "outcome", "decision": "allow", "status": "ok", "tool_id": "echo"}, (1, 1, 1, 1)),
        ({"kind": "outcome", "decision": "allow", "status": "ok", "tool_error": True}, (2, 1, 1, 2)),
        ({"kind": "outcome", "decision": "allow", "status": "error", "error": "upstream"}, (2, 1, 1, 2)),
        ({"kind": "outcome_unknown", "decision": "allow"}, (0, 1, 1, 3)),
        ({**CALL, "kind": "delegated"}, (0, 1, 1, 1)),
    ],
)
def test_how_a_call_was_decided_and_ended_is_said_in_the_schemas_numbers(said, expected):
    event = of(**said)
    assert (event["status_id"], event["action_id"], event["disposition_id"], event["severity_id"]) == expected


@pytest.mark.parametrize(
    ("kind", "activity"),
    [("agent_added", 1), ("policy_set", 3), ("secret_removed", 4), ("approval_decided", 3), ("boot", 99)],
)
def test_an_operators_change_is_an_activity_by_its_kind(kind, activity):
    event = of(kind=kind, by="operator")
    assert (event["activity_id"], event["type_uid"]) == (activity, 600300 + activity)
    assert (event["api"]["operation"], event["actor"]["user"]["type_id"]) == (kind, 2)
    assert "action_id" not in event


def test_what_nobody_did_is_the_daemons():
    assert of(kind="boot")["actor"]["user"] == {"name": "briefcase daemon", "type": "System", "type_id": 3}


def test_an_event_can_be_held_against_the_chain_by_what_is_in_it():
    event = of(**CALL)
    hashed = hashlib.sha256((event["unmapped"]["prev_hash_hex"] + event["raw_data"]).encode()).hexdigest()
    assert event["metadata"]["uid"] == hashed


def test_with_record_integrity_each_event_has_its_own_hash_and_names_the_one_before():
    writer = OcsfWriter(with_integrity=True, authority_uid="did:key:z6Mk")
    events = [writer.event(receipt(number + 1, f"{number:064}", **CALL)) for number in range(3)]
    for event in events:
        attestation = dict(event["attestation"])
        fingerprint = attestation.pop("fingerprint")
        hashed = hashlib.sha256(canonical_bytes({**event, "attestation": attestation})).hexdigest()
        assert fingerprint == {"algorithm": "SHA-256", "algorithm_id": 3, "value": hashed}
        assert (attestation["authority_uid"], attestation["chain_uid"]) == (
            "did:key:z6Mk",
            events[0]["metadata"]["uid"],
        )
        assert (event["metadata"]["version"], event["metadata"]["profiles"][-1]) == ("1.9.0", "record_integrity")
    assert "prev_event" not in events[0]["attestation"]
    for before, event in pairwise(events):
        assert event["attestation"]["prev_event"] == {
            "uid": before["metadata"]["uid"],
            "type_uid": before["type_uid"],
            "fingerprint": before["attestation"]["fingerprint"],
        }
    assert json.loads(canonical_bytes(events[1])) == events[1]  # what was hashed is what a later event does not change
