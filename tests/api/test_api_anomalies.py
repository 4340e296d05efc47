"""`GET /v1/ai/anomalies`: an auditor or an operator is told what, why, and from which receipts."""

import pytest

from briefcase.model.effects import Entry
from support.api import AGENT_TOKEN, APPROVER_TOKEN, AUDITOR_TOKEN, OPERATOR_TOKEN


async def put(rig, **event):
    await rig.ledger.commit(Entry({"kind": "outcome", "principal": "scout", "tool_id": "quote", **event}))


@pytest.mark.parametrize("token", [OPERATOR_TOKEN, AUDITOR_TOKEN])
async def test_what_is_found_says_why_and_names_its_receipts(rig, token):
    assert (await rig.ask("GET", "/v1/ai/anomalies", token=token))[2] == {"anomalies": []}
    await put(rig, redactions=1)
    await put(rig, redactions=0)
    await put(rig, cost_microusd=5, cost_over_reserved=True)
    found = (await rig.ask("GET", "/v1/ai/anomalies", token=token))[2]["anomalies"]
    assert [(one["kind"], one["severity"], one["principal"]) for one in found] == [
        ("expensive_call", "medium", "scout"), ("output_poisoning", "medium", "scout"),
    ]  # fmt: skip
    first = rig.ledger.chain[-3]
    assert (found[1]["receipt_id"], found[1]["receipt_ids"], found[1]["ts_rfc3339"]) == (first.id, [first.id], first.ts)
    assert found[1]["message"] == "secrets were cut out of a place of what `quote` answered to `scout`"
    later = (await rig.ask("GET", f"/v1/ai/anomalies?after_id={first.id}", token=token))[2]["anomalies"]
    assert later == found[:1]


@pytest.mark.parametrize("token", [AGENT_TOKEN, APPROVER_TOKEN])
async def test_nobody_else_is_told(rig, token):
    assert (await rig.ask("GET", "/v1/ai/anomalies", token=token))[0] == 403
