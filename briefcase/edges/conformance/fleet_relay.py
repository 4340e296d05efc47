"""What a control plane promises that relays approvals: what it was given arrives, where it is for, while it waits."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from briefcase.core.fleet import words
from briefcase.edges.conformance.checks import BrokenError, Check, SkipError, body_of, text_of
from briefcase.edges.conformance.fleet_subject import FleetSubject, SubjectDevice, expect_word, offered
from briefcase.model.ports import HttpResponse
from briefcase.model.types import US_PER_S, JsonObject, JsonValue, format_rfc3339

APPROVALS: Final = "/v1/admin/approvals"
ANSWERS: Final = "approvals/answers"
SEALED: Final = "c2VhbGVk"
TTL_US: Final = 600 * US_PER_S
ANSWER: Final[dict[str, JsonValue]] = {
    "action": "approve_binding",
    "signer_id": "conformance",
    "binding_hex": "00" * 32,
    "ts_rfc3339": "2026-01-01T00:00:00Z",
    "nonce": "conformance",
    "sig_b64": "c2ln",
}


async def _carried(subject: FleetSubject) -> None:
    """What a device put is seen by an approver as it was put; the answer comes to that device as it was sent."""
    device, other = await subject.new_device(), await subject.device()
    approval_id = await _put(device)
    token = await _approver(subject)
    path = f"{APPROVALS}/{device.id}/{approval_id}"
    shown = body_of(await subject.admin("GET", path, token=token), HTTPStatus.OK, "an approval")
    if shown.get("sealed_b64") != SEALED or shown.get("status") != "pending":
        raise BrokenError("expected an approver to see what a device sealed, as it was put")
    body_of(await subject.admin("POST", f"{path}/answer", ANSWER, token=token), HTTPStatus.OK, "an answer")
    if await _answers(other):
        raise BrokenError("expected an answer to come to no other device")
    found = await _answers(device)
    if len(found) != 1 or {name: found[0].get(name) for name in ANSWER} != ANSWER:
        raise BrokenError("expected the device to get the answer as it was sent")
    if found[0].get("approval_id") != approval_id:
        raise BrokenError("expected the answer to name its approval")
    said: JsonObject = {"answer_id": text_of(found[0], "answer_id"), "word": "replay"}
    body_of(await _report(device, {"said": [said]}), HTTPStatus.OK, "a device's word about an answer")
    if await _answers(device):
        raise BrokenError("expected an answer that the device spoke of not to come again")


async def _ended(subject: FleetSubject) -> None:
    """What waits no more takes no answer, and what was sealed is gone."""
    device = await subject.new_device()
    approval_id = await _put(device)
    token = await _approver(subject)
    path = f"{APPROVALS}/{device.id}/{approval_id}"
    end: JsonObject = {"approval_id": approval_id, "status": "approved"}
    body_of(await _report(device, {"ended": [end]}), HTTPStatus.OK, "the end of an approval")
    response = await subject.admin("POST", f"{path}/answer", ANSWER, token=token)
    expect_word(response, HTTPStatus.CONFLICT, "conflict", "an answer to what waits no more")
    shown = body_of(await subject.admin("GET", path, token=token), HTTPStatus.OK, "an approval that ended")
    if shown.get("sealed_b64") is not None or shown.get("status") != "approved":
        raise BrokenError("expected an approval that ended to say so, without what was sealed")


async def _roles(subject: FleetSubject) -> None:
    """Only an approver sends an answer, and an approver's token opens nothing else."""
    device = await subject.new_device()
    approval_id = await _put(device)
    path = f"{APPROVALS}/{device.id}/{approval_id}/answer"
    for what, token in (("an auditor's", await subject.auditor()), ("a device's", device.token)):
        response = await subject.admin("POST", path, ANSWER, token=token)
        expect_word(response, HTTPStatus.UNAUTHORIZED, words.INVALID_TOKEN, f"an answer by {what} token")
    response = await subject.admin("GET", "/v1/admin/policy", token=await _approver(subject))
    expect_word(response, HTTPStatus.UNAUTHORIZED, words.INVALID_TOKEN, "the policy, by an approver's token")


async def _approver(subject: FleetSubject) -> str:
    made = await subject.make_token("approver")
    if made is None:
        raise SkipError("the control plane makes no tokens")
    return made[1]


async def _put(device: SubjectDevice) -> str:
    approval_id = device.subject.entropy.uuid()
    expires_at = format_rfc3339(device.subject.clock.now_us() + TTL_US)
    put: JsonObject = {"approval_id": approval_id, "expires_at": expires_at, "sealed_b64": SEALED}
    response = offered(await _report(device, {"put": [put]}), "POST /v1/devices/{id}/approvals")
    kept = body_of(response, HTTPStatus.OK, "an approval that waits")
    if kept.get("waiting") != [approval_id]:
        raise BrokenError("expected what a device put to be what waits")
    return approval_id


async def _report(device: SubjectDevice, report: JsonObject) -> HttpResponse:
    return await device.call("POST", "approvals", msgspec.json.encode(report))


async def _answers(device: SubjectDevice) -> list[JsonObject]:
    answer = body_of(await device.call("GET", ANSWERS), HTTPStatus.OK, "a device's answers")
    try:
        return msgspec.convert(answer.get("answers"), list[dict[str, Any]])
    except msgspec.ValidationError:
        raise BrokenError("expected a list `answers` of objects") from None


CHECKS: Final[Sequence[Check[FleetSubject]]] = (
    Check("relay_carried", "an approval is seen as it was sealed, its answer comes to its device alone", _carried),
    Check("relay_ended", "an approval that waits no more takes no answer, and what was sealed is gone", _ended),
    Check("relay_roles", "an approver sends answers, nobody else does, and does nothing else", _roles),
)
