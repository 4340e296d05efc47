"""The requests that a control plane of the contract was recorded answering, sent to this one.

The proofs in them are of one day, address and key, so the clock and the address are told. What this control plane
answers otherwise, on purpose, stands in `OTHERWISE` with its reason.
"""

import hashlib
import json
from pathlib import Path

from briefcase.model.types import parse_rfc3339
from support.clock import FakeClock
from support.entropy import FakeEntropy
from support.fleet_server import RunningControlPlane

RECORDED = json.loads((Path(__file__).parents[1] / "fixtures" / "control_plane" / "recorded_requests.json").read_text())
BASE_URL = "http://127.0.0.1:22796"
MOMENT_US = parse_rfc3339("2026-11-28T13:29:00Z")

OTHERWISE = {
    "admin_policy_set_not_cedar": (400, "what no device could apply is refused where it is published"),
    "admin_policy_set_missing_field": (400, "all that is not of the form is one word, `invalid_request`"),
    "admin_policy_set_no_json": (400, "as above: in JSON"),
    "enroll_bad_uuid": (400, "as above"),
    "audit_bad_limit": (400, "as above"),
    "device_policy_htm_lower": (401, "methods are case-sensitive (RFC 9110 section 9.1)"),
    "device_policy_with_query_htu_without": (
        200,
        "`htu` has no query (RFC 9449 section 4.2); with one it is taken too",
    ),
    "receipts_again": (200, "what is stored with the same hash is taken again"),
}


class RecordedTokens(FakeEntropy):
    """The tokens that the recorded control plane gave, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self._tokens = [row["answer"]["device_token"] for row in RECORDED if "device_token" in row.get("answer", {})]

    def token(self) -> str:
        return self._tokens.pop(0)


def body_of(row) -> str | None:
    if "chain" in row:
        receipts, prev = [], row["chain"]["prev_hash_hex"]
        for n in range(row["chain"]["count"]):
            event = f'{{"kind":"tool_call","tool_id":"echo","decision":"allow","cost_usd":0.0,"n":{n}}}'
            hash_hex = hashlib.sha256((prev + event).encode()).hexdigest()
            number = row["chain"]["first_id"] + n
            receipts.append(
                f'{{"id":{number},"ts":"2026-11-28T13:00:00.123456Z","prev_hash_hex":"{prev}",'
                f'"hash_hex":"{hash_hex}","event":{event}}}'
            )
            prev = hash_hex
        assert prev == row["chain"]["last_hash_hex"]
        return f'{{"receipts":[{",".join(receipts)}]}}'
    if "long_msg_chars" in row:
        return json.dumps({"key_id": row["path"].split("/")[3], "msg_b64": "eHh4" * (row["long_msg_chars"] // 4)})
    if "long_policy" in row:
        return json.dumps({"policy_text": "x" * row["long_policy"], "budgets": {}})
    return row.get("body")


def compare(row, got):
    """What a client of the contract reads of an answer."""
    expected = row.get("answer", {})
    if row["status"] >= 400:
        if "code" in expected:
            assert got.word == expected["code"], (row["case"], got)
        return
    if "policy_bundle" in expected:
        bundle = dict(got.body["policy_bundle"]["bundle"])
        assert list(bundle) == list(expected["policy_bundle"]["bundle"])  # the order that is signed
        if row["case"] != "admin_policy_get_default":  # each has a default policy of its own
            assert bundle["policy_text"] == expected["policy_bundle"]["bundle"]["policy_text"]
            assert bundle["budgets"] == expected["policy_bundle"]["bundle"]["budgets"]
    if "receipts" in expected and "device_id" in row["path"]:
        found = [{name: receipt[name] for name in ("id", "hash_hex")} for receipt in got.body["receipts"]]
        assert found == expected["receipts"], row["case"]
    for name in set(expected) - {"policy_bundle", "receipts", "signature_b64", "remote_signer", "signer"}:
        if name != "policy_signing_pubkey_b64":
            assert got.body[name] == expected[name], (row["case"], name)
    assert set(expected) <= set(got.body), row["case"]


async def test_what_was_recorded_of_another_control_plane_is_answered_alike(database_url, tmp_path):
    async with RunningControlPlane(
        database_url, tmp_path / "cp", clock=FakeClock(MOMENT_US), entropy=RecordedTokens(), base_url=BASE_URL
    ) as plane:
        for row in RECORDED:
            got = await plane.send(row["method"], row["path"], headers=row["headers"], body=body_of(row))
            expected, reason = OTHERWISE.get(row["case"], (row["status"], "as recorded"))
            assert got.status == expected, (row["case"], reason, got)
            if row["case"] not in OTHERWISE:
                compare(row, got)
