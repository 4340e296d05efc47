"""People over the socket: what they do is in their own name."""

from support.api import AGENT_TOKEN, APPROVER_TOKEN
from support.principals import AGENT


async def test_a_person_is_let_in_and_what_they_do_is_theirs(rig):
    status, _, made = await rig.ask("POST", "/v1/operators", {"name": "bo", "role": "operator"})
    assert (status, made["name"], made["role"]) == (200, "bo", "operator")
    assert (await rig.ask("GET", "/v1/identity", token=made["token"]))[2]["principal"] == "bo"
    assert (await rig.ask("POST", "/v1/operators", {"name": "cy", "role": "auditor"}, token=made["token"]))[0] == 200
    assert rig.ledger.chain[-1].event["by"] == "bo"
    listed = (await rig.ask("GET", "/v1/operators"))[2]["operators"]
    assert [(one["name"], one["role"], one["added_by"]) for one in listed] == [
        ("ann", "approver", "operator"), ("bo", "operator", "operator"), ("cy", "auditor", "bo"),
    ]  # fmt: skip
    assert made["token"] not in str(listed)

    assert (await rig.ask("POST", "/v1/operators/bo/revoke"))[2] == {"name": "bo"}
    assert (await rig.ask("GET", "/v1/identity", token=made["token"]))[0] == 401


async def test_a_role_that_is_none_is_refused(rig):
    for role in ("agent", "root", "", None):
        status, _, body = await rig.ask("POST", "/v1/operators", {"name": "bo", "role": role})
        assert (status, body["code"]) == (400, "bad_request")


async def test_an_approver_sees_every_approval_whole_and_its_yes_says_who(rig):
    approval = rig.store_approval()
    listed = (await rig.ask("GET", "/v1/approvals", token=APPROVER_TOKEN))[2]["approvals"]
    assert [one["id"] for one in listed] == [approval.id]
    shown = (await rig.ask("GET", f"/v1/approvals/{approval.id}", token=APPROVER_TOKEN))[2]
    said = {"shown_digest_hex": shown["shown_digest_hex"]}
    assert (await rig.ask("POST", f"/v1/approvals/{approval.id}/approve", said, token=AGENT_TOKEN))[0] == 403
    assert (await rig.ask("POST", f"/v1/approvals/{approval.id}/approve", said, token=APPROVER_TOKEN))[0] == 200
    event = rig.ledger.chain[-1].event
    assert (event["kind"], event["by"], event["principal"]) == ("approval_decided", "ann", AGENT.name)


async def test_an_approver_takes_a_yes_back(rig):
    approval = rig.store_approval()
    assert (await rig.ask("POST", f"/v1/approvals/{approval.id}/approve", {}, token=APPROVER_TOKEN))[0] == 200
    assert (await rig.ask("POST", f"/v1/approvals/{approval.id}/deny", {}, token=APPROVER_TOKEN))[0] == 200
