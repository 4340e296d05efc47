"""The recorded exchanges with another daemon of the same contract, sent to ours.

Where ours answers otherwise on purpose, `OURS` says so: a daemon that lets an approval be approved twice, or answers an
unknown algorithm with plain text, is none to copy. What the recorded device signed is checked as it stands.
"""

import json
from pathlib import Path

import msgspec
import pytest

from briefcase.model.types import parse_rfc3339
from support.api import Rig

FIXTURE = Path(__file__).parent.parent / "fixtures" / "signer_pairing.json"
RECORDED = json.loads(FIXTURE.read_text())
NOW_US = parse_rfc3339("2026-11-28T13:30:09Z")
APPROVAL_ID = "dab04a99-c28d-46e8-9480-6c1a534ed60c"
OURS = {
    "unknown algorithm:complete": (400, "bad_request"),  # theirs: 422, plain text
    "approve again": (409, "conflict"),  # theirs: 200 once more
}


class Script:
    """Entropy that says the recorded identifiers and codes again."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.codes: list[str] = []

    def uuid(self) -> str:
        return self.ids.pop(0)

    def token(self) -> str:
        return self.codes.pop(0)


@pytest.fixture
async def rig(tmp_path):
    async with Rig(tmp_path) as made:
        yield made


async def test_every_recorded_exchange_is_answered_alike(rig, monkeypatch):
    rig.clock.wall_us = NOW_US
    script, desk = Script(), rig.services.operator.signers
    monkeypatch.setattr(desk, "_parts", msgspec.structs.replace(desk._parts, entropy=script))
    asked = 0
    for at, one in enumerate(RECORDED):
        if "request" not in one:
            continue
        asked += 1
        request, theirs = one["request"], one["response"]
        if request["path"] == "/v1/tools/call":  # the call itself: `test_signers_end_to_end`
            if "approval_required" in str(theirs):
                rig.store_approval(id=APPROVAL_ID, tool_id="note_add", expires_us=NOW_US + 600_000_000)
            continue
        if theirs["status"] == 200 and "pairing_code" in theirs["body"]:
            script.ids, script.codes = [theirs["body"]["pairing_id"]], [theirs["body"]["pairing_code"]]
        elif theirs["status"] == 200 and "msg2_b64" in theirs["body"]:
            following = RECORDED[at + 1]
            payload = following.get("payload")
            script.ids = [json.loads(payload)["signer_id"] if payload else "00000000-0000-4000-8000-000000000009"]
        asking = {} if request["bearer"] else {"token": None}
        status, _, body = await rig.ask(request["method"], request["path"], request["body"], **asking)
        if one["case"] in OURS:
            assert (status, body["code"]) == OURS[one["case"]]
            continue
        assert status == theirs["status"], (one["case"], body)
        if status != 200:
            assert body["code"] == theirs["body"]["code"], one["case"]
        else:
            assert set(theirs["body"]) <= set(body), one["case"]
        if "approvals" in theirs["body"]:
            assert [shown["id"] for shown in body["approvals"]] == [APPROVAL_ID]
            fields = set(theirs["body"]["approvals"][0])
            assert fields <= set(body["approvals"][0]), one["case"]
    assert asked == 39
    assert rig.ledger.approval(APPROVAL_ID).status == "approved"
