"""The control plane's OpenAPI document: each path of `app.py`, who may ask, and how it looks on the wire.

`docs/control-plane-openapi.json` is its golden copy: `python -m docs.generate` rewrites it, and tests compare it, hold
it to every path that is served, and hold every answer they see against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

import msgspec

from briefcase import __version__
from briefcase.core.fleet.batches import Upload
from briefcase.core.openapi.describing import Api, Operation, describe
from briefcase.core.wire.control_plane import MandatoryRecord
from briefcase.core.wire.fields import Natural
from briefcase.core.wire.fleet import (
    ActList,
    AdminToken,
    AdminTokenRevoked,
    ControlPlaneHealth,
    ControlPlaneReady,
    Convergence,
    DeviceEnrolled,
    DevicePolicy,
    DeviceRevoked,
    DeviceToken,
    FleetDevice,
    FleetDevices,
    FleetPolicy,
    FleetReceipts,
    FleetRefusal,
    KeyList,
    ReceiptsStored,
    RemoteSignature,
    RemoteSigner,
    RolloutList,
    RolloutRecord,
    StatusTaken,
    WitnessAnswer,
    WitnessedLogs,
)
from briefcase.core.wire.relay import (
    AnswerSent,
    FleetApproval,
    FleetApprovals,
    NewAnswer,
    RelayedAnswers,
    RelayKept,
    RelayReport,
)
from briefcase.edges.control_plane.admin_tokens import NewToken
from briefcase.edges.control_plane.administrators import ADMIN, APPROVER, AUDITOR
from briefcase.edges.control_plane.app import APPROVAL, NewMandatory, NewPolicy, RemoteSigning
from briefcase.edges.control_plane.devices import Enrolment, Status
from briefcase.edges.control_plane.rollouts import NewRollout
from briefcase.edges.control_plane.signing_keys import Rotation
from briefcase.model.types import JsonObject

ADMINS: Final = (ADMIN,)
READERS: Final = (ADMIN, AUDITOR)
APPROVERS: Final = (ADMIN, APPROVER)
DEVICE: Final = "device"
BEARER: Final = ("device_token",)
PROVEN: Final = ("device_token", "proof")
PLAIN: Final = "text/plain"
COSIGNS_NOT: Final = {
    HTTPStatus.BAD_REQUEST.value: "of another form, or `old` is past the checkpoint",
    HTTPStatus.FORBIDDEN.value: "no signature by the device's key",
    HTTPStatus.NOT_FOUND.value: "of no device, or of a revoked one",
    HTTPStatus.CONFLICT.value: "`old` is not the last size, which the body says (`text/x.tlog.size`); or another root",
    HTTPStatus.UNPROCESSABLE_ENTITY.value: "the proof does not lead from the last checkpoint to this one",
}

API: Final = Api(
    "briefcase control plane",
    "The API of a fleet's control plane (aacp_v1)",
    __version__,
    FleetRefusal,
    {
        "admin_token": {
            "type": "http",
            "scheme": "bearer",
            "description": "of an administrator, auditor or approver",
        },
        "device_token": {"type": "http", "scheme": "bearer", "description": "the device's own"},
        "proof": {
            "type": "apiKey",
            "in": "header",
            "name": "DPoP",
            "description": "a proof by the enrolled key (RFC 9449), its `jti` used once in ten minutes",
        },
    },
    ("admin_token",),
)


class DevicesQuery(msgspec.Struct, frozen=True):
    """A page of devices by id, those above one."""

    after_id: str | None = None


class PageQuery(msgspec.Struct, frozen=True):
    """A page of a listing, the newest first."""

    limit: Natural = 100
    offset: Natural = 0


class ReceiptsQuery(PageQuery, frozen=True):
    """Receipts of one device or of all, by time and by members of their events; after an id the oldest first."""

    device_id: str | None = None
    since: str | None = None
    until: str | None = None
    tool_id: str | None = None
    agent: str | None = None
    decision: str | None = None
    approval_id: str | None = None
    after_id: Natural | None = None


class WaitQuery(msgspec.Struct, frozen=True):
    """How long to wait for another bundle than the one of `If-None-Match`, in milliseconds."""

    wait_ms: Natural = 0


class AnswersQuery(msgspec.Struct, frozen=True):
    """How long to wait for an answer, in milliseconds."""

    wait_ms: Natural = 0


def _open(path: str, name: str, summary: str, answer: type[msgspec.Struct]) -> Operation:
    return Operation("GET", path, name, summary, answer, security=())


def _read(path: str, name: str, summary: str, answer: type, query: type[msgspec.Struct] | None = None) -> Operation:
    return Operation("GET", path, name, summary, answer, query=query, roles=READERS)


def _act(path: str, name: str, summary: str, answer: type, body: type[msgspec.Struct] | None = None) -> Operation:
    return Operation("POST", path, name, summary, answer, body, roles=ADMINS)


def _device(asked: str, name: str, summary: str, answer: type, body: type | None = None) -> Operation:
    method, _, what = asked.partition(" ")
    path = f"/v1/devices/{{device}}/{what}"
    return Operation(method, path, name, summary, answer, body, roles=(DEVICE,), security=PROVEN)


OPERATIONS: Final[Sequence[Operation]] = (
    _open("/health", "health", "Whether the process runs", ControlPlaneHealth),
    _open(
        "/ready",
        "ready",
        "Whether it can decide: the database takes writes, the signing key is here",
        ControlPlaneReady,
    ),
    msgspec.structs.replace(_read("/metrics", "metrics", "Figures of this process, for Prometheus", str), media=PLAIN),
    _open("/witness", "show_witness", "The control plane's address and key as a witness", WitnessAnswer),
    Operation(
        "POST",
        "/witness/add-checkpoint",
        "add_checkpoint",
        "Cosign a device's checkpoint (C2SP tlog-witness); its signature says who asks, refusals are text",
        str,
        str,
        media=PLAIN,
        security=(),
        others=COSIGNS_NOT,
    ),
    msgspec.structs.replace(
        _read("/v1/admin/policy", "show_policy", "The bundle of devices that are in no rollout", FleetPolicy),
        roles=ADMINS,
    ),
    _act("/v1/admin/policy", "publish_policy", "Sign a policy and give it to all devices", FleetPolicy, NewPolicy),
    _act("/v1/admin/devices/enroll", "enrol", "Enrol a device, or give it another token", DeviceEnrolled, Enrolment),
    _read(
        "/v1/admin/devices", "list_devices", "Devices, and what each last said of itself", FleetDevices, DevicesQuery
    ),
    _read("/v1/admin/devices/{device}", "show_device", "One device", FleetDevice),
    _act("/v1/admin/devices/{device}/revoke", "revoke_device", "End a device's token", DeviceRevoked),
    _act("/v1/admin/devices/{device}/rotate", "rotate_device", "Give a device another token", DeviceToken),
    _read("/v1/admin/mandatory", "show_mandatory", "What each device forbids", MandatoryRecord),
    _act("/v1/admin/mandatory", "publish_mandatory", "Have each device forbid more", MandatoryRecord, NewMandatory),
    _read("/v1/admin/keys", "list_keys", "The keys that sign, and which process holds which", KeyList),
    _act("/v1/admin/keys/rotate", "rotate_keys", "Prepare a key, or sign with the prepared one", KeyList, Rotation),
    _read("/v1/admin/rollouts", "list_rollouts", "Rollouts, the newest first", RolloutList),
    _act("/v1/admin/rollouts", "begin_rollout", "Give a policy to some devices first", RolloutRecord, NewRollout),
    _read("/v1/admin/rollouts/{rollout}", "show_rollout", "A rollout, with what its devices show", RolloutRecord),
    _act("/v1/admin/rollouts/{rollout}/advance", "advance_rollout", "Go on, if each gate is open", RolloutRecord),
    _act("/v1/admin/rollouts/{rollout}/rollback", "roll_back", "Give all the text from before", RolloutRecord),
    _read("/v1/admin/convergence", "convergence", "How soon devices run the bundle for all", Convergence),
    _act(
        "/v1/admin/tokens",
        "make_token",
        "Make a token of an administrator, auditor or approver",
        AdminToken,
        NewToken,
    ),
    _act("/v1/admin/tokens/{name}/revoke", "revoke_token", "End a named token", AdminTokenRevoked),
    Operation(
        "GET",
        "/v1/admin/approvals",
        "list_approvals",
        "What waits for signers at the devices, without what is sealed",
        FleetApprovals,
        roles=APPROVERS,
    ),
    Operation("GET", APPROVAL, "show_approval", "One approval, as it was sealed", FleetApproval, roles=APPROVERS),
    Operation(
        "POST",
        f"{APPROVAL}/answer",
        "answer_approval",
        "Send a signer's answer to the device, which verifies it",
        AnswerSent,
        NewAnswer,
        roles=(APPROVER,),
    ),
    _read("/v1/audit/receipts", "search_receipts", "Receipts of devices, as they came", FleetReceipts, ReceiptsQuery),
    _read("/v1/audit/acts", "list_acts", "What administrators did, in a chain of hashes", ActList, PageQuery),
    _read("/v1/audit/witness", "list_witnessed", "Devices' logs as cosigned, and what did not fit", WitnessedLogs),
    msgspec.structs.replace(
        _device("GET policy", "device_policy", "The device's bundle, with its siblings", DevicePolicy),
        query=WaitQuery,
        others={HTTPStatus.NOT_MODIFIED.value: "it is the one of `If-None-Match`"},
        headers={"If-None-Match": "the `ETag` of the bundle that is known"},
    ),
    _device("POST receipts", "upload_receipts", "Store receipts, all or none", ReceiptsStored, Upload),
    _device("POST status", "say_status", "Keep what the device says of itself", StatusTaken, Status),
    _device("POST approvals", "relay_approvals", "Keep what waits for the device's signers", RelayKept, RelayReport),
    msgspec.structs.replace(
        _device("GET approvals/answers", "list_answers", "What signers answered the device", RelayedAnswers),
        query=AnswersQuery,
    ),
    msgspec.structs.replace(
        _device("GET remote-signer", "show_remote_signer", "The key that is kept for the device", RemoteSigner),
        security=BEARER,
    ),
    msgspec.structs.replace(
        _device("POST remote-signer/sign", "sign", "Sign with that key", RemoteSignature, RemoteSigning),
        security=BEARER,
    ),
)


def openapi_document(operations: Sequence[Operation] = OPERATIONS) -> JsonObject:
    """Describe the API."""
    return describe(API, operations)
