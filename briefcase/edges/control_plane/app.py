"""The control plane's paths (`aacp_v1`, "Control plane"), one table that BlackSheep serves."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Final, TypeAlias
from uuid import UUID

import blacksheep
import msgspec

from briefcase.adapters.telemetry.exposition import CONTENT_TYPE, encode_text
from briefcase.core.fleet.batches import BatchError, read_batch
from briefcase.core.jose.base64url import JoseError, decode_base64url, encode_base64url
from briefcase.core.receipts.witnessing import MAX_REQUEST_BYTES
from briefcase.core.receipts.witnessing import PATH as ADD_CHECKPOINT
from briefcase.core.wire.control_plane import MandatoryRecord
from briefcase.core.wire.fleet import (
    ActList,
    AdminToken,
    AdminTokenRevoked,
    Convergence,
    DeviceRevoked,
    DeviceToken,
    FleetDevice,
    FleetDevices,
    FleetReceipts,
    KeyList,
    RolloutList,
    RolloutRecord,
    WitnessAnswer,
    WitnessedLogs,
)
from briefcase.core.wire.relay import (
    MAX_REPORT_BYTES,
    AnswerSent,
    FleetApproval,
    FleetApprovals,
    NewAnswer,
    RelayedAnswers,
    RelayKept,
    RelayReport,
)
from briefcase.edges.control_plane import witness
from briefcase.edges.control_plane.admin_tokens import NewToken
from briefcase.edges.control_plane.administrators import ADMIN, APPROVER, AUDITOR, Administrator
from briefcase.edges.control_plane.archive import DEFAULT_ROWS, MAX_ROWS, Page, Wanted
from briefcase.edges.control_plane.device_calls import Credentials, Device
from briefcase.edges.control_plane.devices import Enrolment, Status
from briefcase.edges.control_plane.http import Answer, Asked, Handler, Site
from briefcase.edges.control_plane.refusals import (
    INVALID_KEY_ID,
    INVALID_MESSAGE,
    INVALID_MESSAGE_SIZE,
    INVALID_REQUEST,
    RefusedError,
)
from briefcase.edges.control_plane.rollouts import NewRollout
from briefcase.edges.control_plane.services import Services
from briefcase.edges.control_plane.signing_keys import Rotation, Signer
from briefcase.edges.control_plane.tracing import RequestTraces
from briefcase.model.errors import BriefcaseError
from briefcase.model.types import MAX_SAFE_INTEGER, format_rfc3339, parse_rfc3339

MAX_WAIT_MS: Final = 55_000
ADVISED_SYNC_MS: Final = 60_000  # each device spreads it by a fifth
MAX_MESSAGE_BYTES: Final = 32_000
DEVICES: Final = "/v1/devices/"
APPROVAL: Final = "/v1/admin/approvals/{device}/{approval}"
MAX_DIGITS: Final = 15  # below 2^53
SEARCHED: Final = {"tool_id": "tool_id", "agent": "principal", "decision": "decision", "approval_id": "approval_id"}
"""Fields of the query by which receipts are searched, and the members of their events that these are."""

Body: TypeAlias = Mapping[str, object]


class ControlPlaneApp:
    """The paths over the services.

    Args:
        services: what they ask.
        traces: takes what is sampled; None where nothing is traced.
    """

    def __init__(self, services: Services, traces: RequestTraces | None = None) -> None:
        self._services = services
        self._traces = traces
        self._table: Mapping[tuple[str, str], Handler] = {
            ("GET", "/health"): self._health,
            ("GET", "/ready"): self._ready,
            ("GET", "/metrics"): self._metrics,
            ("GET", witness.PATH): self._witness,
            ("POST", f"{witness.PATH}{ADD_CHECKPOINT}"): self._add_checkpoint,
            ("GET", "/v1/admin/policy"): self._policy,
            ("POST", "/v1/admin/policy"): self._publish,
            ("POST", "/v1/admin/devices/enroll"): self._enrol,
            ("GET", "/v1/admin/devices"): self._list_devices,
            ("GET", "/v1/admin/devices/{device}"): self._show_device,
            ("POST", "/v1/admin/devices/{device}/revoke"): self._revoke_device,
            ("POST", "/v1/admin/devices/{device}/rotate"): self._rotate_device,
            ("GET", "/v1/admin/mandatory"): self._mandatory,
            ("POST", "/v1/admin/mandatory"): self._publish_mandatory,
            ("GET", "/v1/admin/keys"): self._list_keys,
            ("POST", "/v1/admin/keys/rotate"): self._rotate_keys,
            ("GET", "/v1/admin/rollouts"): self._list_rollouts,
            ("POST", "/v1/admin/rollouts"): self._begin_rollout,
            ("GET", "/v1/admin/rollouts/{rollout}"): self._show_rollout,
            ("POST", "/v1/admin/rollouts/{rollout}/advance"): self._advance_rollout,
            ("POST", "/v1/admin/rollouts/{rollout}/rollback"): self._roll_back,
            ("GET", "/v1/admin/convergence"): self._convergence,
            ("POST", "/v1/admin/tokens"): self._make_token,
            ("POST", "/v1/admin/tokens/{name}/revoke"): self._revoke_token,
            ("GET", "/v1/admin/approvals"): self._list_approvals,
            ("GET", APPROVAL): self._show_approval,
            ("POST", f"{APPROVAL}/answer"): self._answer_approval,
            ("GET", "/v1/audit/receipts"): self._receipts,
            ("GET", "/v1/audit/acts"): self._acts,
            ("GET", "/v1/audit/witness"): self._witnessed,
            ("GET", "/v1/devices/{device}/policy"): self._device_policy,
            ("POST", "/v1/devices/{device}/receipts"): self._upload,
            ("POST", "/v1/devices/{device}/status"): self._status,
            ("POST", "/v1/devices/{device}/approvals"): self._relay,
            ("GET", "/v1/devices/{device}/approvals/answers"): self._answers,
            ("GET", "/v1/devices/{device}/remote-signer"): self._remote_signer,
            ("POST", "/v1/devices/{device}/remote-signer/sign"): self._remote_sign,
        }

    def site(self) -> blacksheep.Application:
        """The paths as an application of BlackSheep's."""
        services = self._services
        # a path is looked for from the top: what devices ask a thousand times a second stands first
        table = dict(sorted(self._table.items(), key=lambda entry: not entry[0][1].startswith(DEVICES)))
        return Site(table, services.figures, services.entropy, self._traces).application()

    # --- anybody --------------------------------------------------------------------------------------------------

    async def _health(self, _: Asked) -> Body:
        return {"status": "ok", "ts": format_rfc3339(self._services.clock.now_us())}

    async def _ready(self, _: Asked) -> Body:
        if not await self._services.database.is_ready():
            raise BriefcaseError("the database does not take writes", code="not_ready")
        await self._services.keys.present()
        return {"status": "ready"}

    async def _witness(self, _: Asked) -> WitnessAnswer:
        found = self._services.witness
        return WitnessAnswer(found.url, found.key.vkey)

    async def _add_checkpoint(self, asked: Asked) -> Answer:
        said = await self._services.witness.add_checkpoint(await asked.body(MAX_REQUEST_BYTES))
        return Answer(said.body, said.status, content_type=said.content_type)

    async def _metrics(self, asked: Asked) -> Answer:
        await self._admin(asked, AUDITOR)
        return Answer(encode_text(self._services.metrics.collect()), content_type=CONTENT_TYPE)

    # --- administrators -------------------------------------------------------------------------------------------

    async def _policy(self, asked: Asked) -> Answer:
        admin = await self._admin(asked)
        return _policy_answer((await self._services.bundles.current(admin.tenant))[1])

    async def _publish(self, asked: Asked) -> Answer:
        admin = await self._admin(asked)
        new = await asked.read(NewPolicy)
        return _policy_answer(await self._services.bundles.publish(admin, new.policy_text, new.budgets))

    async def _enrol(self, asked: Asked) -> Body:
        admin = await self._admin(asked)
        enrolment = await asked.read(Enrolment)
        enrolled = await self._services.devices.enrol(admin, enrolment)
        device = await self._services.calls.find(enrolment.device_id)
        signer = await self._services.keys.signer(device.key_version)
        return {
            "device_id": str(enrolment.device_id),
            "device_token": enrolled.device_token,
            "policy_signing_pubkey_b64": signer.key.public_b64,
            **await self._given(device, signer),
            "last_receipt_id": enrolled.last_receipt_id,
            "remote_signer": self._services.custody.key_of(enrolment.device_id).description,
        }

    async def _list_devices(self, asked: Asked) -> FleetDevices:
        admin = await self._admin(asked, AUDITOR)
        after = asked.query().get("after_id")
        listed = await self._services.devices.list(admin.tenant, after=None if after is None else _parse_uuid(after))
        return FleetDevices(listed)

    async def _show_device(self, asked: Asked) -> FleetDevice:
        admin = await self._admin(asked, AUDITOR)
        return await self._services.devices.show(admin.tenant, _parse_uuid(asked.part("device")))

    async def _revoke_device(self, asked: Asked) -> DeviceRevoked:
        admin = await self._admin(asked)
        device = _parse_uuid(asked.part("device"))
        await self._services.devices.revoke(admin, device)
        return DeviceRevoked(str(device), "revoked")

    async def _rotate_device(self, asked: Asked) -> DeviceToken:
        admin = await self._admin(asked)
        device = _parse_uuid(asked.part("device"))
        return DeviceToken(str(device), await self._services.devices.rotate(admin, device))

    async def _mandatory(self, asked: Asked) -> MandatoryRecord:
        admin = await self._admin(asked, AUDITOR)
        return await self._services.siblings.current(admin.tenant)

    async def _publish_mandatory(self, asked: Asked) -> MandatoryRecord:
        admin = await self._admin(asked)
        new = await asked.read(NewMandatory)
        return await self._services.siblings.publish(admin, new.policy_text)

    async def _list_keys(self, asked: Asked) -> KeyList:
        await self._admin(asked, AUDITOR)
        return await self._services.keys.list()

    async def _rotate_keys(self, asked: Asked) -> KeyList:
        admin = await self._admin(asked)
        return await self._services.keys.rotate(admin, await asked.read(Rotation))

    async def _list_rollouts(self, asked: Asked) -> RolloutList:
        admin = await self._admin(asked, AUDITOR)
        return RolloutList(await self._services.rollouts.list(admin.tenant))

    async def _begin_rollout(self, asked: Asked) -> RolloutRecord:
        admin = await self._admin(asked)
        return await self._services.rollouts.begin(admin, await asked.read(NewRollout))

    async def _show_rollout(self, asked: Asked) -> RolloutRecord:
        admin = await self._admin(asked, AUDITOR)
        return await self._services.rollouts.show(admin.tenant, _rollout_id(asked))

    async def _advance_rollout(self, asked: Asked) -> RolloutRecord:
        admin = await self._admin(asked)
        return await self._services.rollouts.advance(admin, _rollout_id(asked))

    async def _roll_back(self, asked: Asked) -> RolloutRecord:
        admin = await self._admin(asked)
        return await self._services.rollouts.roll_back(admin, _rollout_id(asked))

    async def _convergence(self, asked: Asked) -> Convergence:
        admin = await self._admin(asked, AUDITOR)
        return await self._services.convergences.of(admin.tenant)

    async def _make_token(self, asked: Asked) -> AdminToken:
        admin = await self._admin(asked)
        return await self._services.admin_tokens.make(admin, await asked.read(NewToken))

    async def _revoke_token(self, asked: Asked) -> AdminTokenRevoked:
        admin = await self._admin(asked)
        return await self._services.admin_tokens.revoke(admin, asked.part("name"))

    # --- approvers ------------------------------------------------------------------------------------------------

    async def _list_approvals(self, asked: Asked) -> FleetApprovals:
        admin = await self._admin(asked, APPROVER)
        return FleetApprovals(await self._services.relay.queue(admin.tenant))

    async def _show_approval(self, asked: Asked) -> FleetApproval:
        admin = await self._admin(asked, APPROVER)
        return await self._services.relay.show(admin.tenant, *_approval(asked))

    async def _answer_approval(self, asked: Asked) -> AnswerSent:
        """An approver's alone: the act in the chain names who sent it, and an administrator is not asked."""
        approver = await self._services.admin_tokens.check(asked.fields(b"authorization"), APPROVER)
        device, approval = _approval(asked)
        return await self._services.relay.answer(approver, device, approval, await asked.read(NewAnswer))

    # --- auditors -------------------------------------------------------------------------------------------------

    async def _receipts(self, asked: Asked) -> FleetReceipts:
        admin = await self._admin(asked, AUDITOR)
        query = asked.query()
        return FleetReceipts(await self._services.archive.receipts(admin.tenant, _wanted(query), _page(query)))

    async def _acts(self, asked: Asked) -> ActList:
        admin = await self._admin(asked, AUDITOR)
        return ActList(await self._services.archive.acts(admin.tenant, _page(asked.query())))

    async def _witnessed(self, asked: Asked) -> WitnessedLogs:
        admin = await self._admin(asked, AUDITOR)
        return WitnessedLogs(await self._services.witness.logs(admin.tenant))

    # --- devices --------------------------------------------------------------------------------------------------

    async def _device_policy(self, asked: Asked) -> Answer:
        """The present bundle; `wait_ms` waits for another than the one of `if-none-match`."""
        credentials = await self._credentials(asked)
        device = await self._services.calls.let_in(credentials)
        known = asked.fields(b"if-none-match")
        wait_ms = _number(asked.query(), "wait_ms", 0, MAX_WAIT_MS)
        if device.etag in known and wait_ms:
            look_up = partial(self._services.calls.look_up, credentials)
            device = await self._services.publications.wait_for_another(device, look_up, wait_ms / 1_000)
        headers = ((b"etag", device.etag.encode()),)
        if device.etag in known:
            return Answer(b"", HTTPStatus.NOT_MODIFIED, headers)
        signer = await self._services.keys.signer(device.key_version)
        return Answer(msgspec.json.encode(await self._given(device, signer)), HTTPStatus.OK, headers)

    async def _given(self, device: Device, signer: Signer) -> dict[str, object]:
        """What a device gets: its bundle, and the siblings beside it, signed by one key."""
        bundle = await self._services.bundles.get(device.tenant, device.bundle_id, signer)
        return {
            "policy_bundle": msgspec.Raw(bundle),
            **await self._services.siblings.of(device, signer),
            "next_sync_ms": ADVISED_SYNC_MS,
        }

    async def _upload(self, asked: Asked) -> object:
        credentials = await self._credentials(asked)
        try:
            batch = read_batch(await asked.body())
        except BatchError as error:
            await self._services.calls.let_in(credentials)  # a batch that is refused has used its proof
            raise RefusedError(error.word, error.problem) from None
        if not batch:
            await self._services.calls.let_in(credentials)
            return {"stored": 0}
        stored = await self._services.uploads.store(credentials, batch)
        self._services.figures.receipts_stored += stored.stored
        return stored

    async def _status(self, asked: Asked) -> Body:
        device = await self._services.calls.let_in(await self._credentials(asked))
        await self._services.devices.say(device, await asked.read(Status))
        return {"status": "ok"}

    async def _relay(self, asked: Asked) -> RelayKept:
        device = await self._services.calls.let_in(await self._credentials(asked))
        return await self._services.relay.report(device, await asked.read(RelayReport, MAX_REPORT_BYTES))

    async def _answers(self, asked: Asked) -> RelayedAnswers:
        """Signers' answers; `wait_ms` waits for one."""
        credentials = await self._credentials(asked)
        device = await self._services.calls.let_in(credentials)
        wait_ms = _number(asked.query(), "wait_ms", 0, MAX_WAIT_MS)
        look_up = partial(self._services.calls.look_up, credentials)
        return RelayedAnswers(await self._services.relay.answers(device, look_up, wait_ms / 1_000))

    async def _remote_signer(self, asked: Asked) -> Body:
        device = await self._bearer(asked)
        await self._services.keys.present()  # a file of another control plane's has another secret
        return {"signer": self._services.custody.key_of(device).description}

    async def _remote_sign(self, asked: Asked) -> Body:
        device = await self._bearer(asked)
        wanted = await asked.read(RemoteSigning)
        await self._services.keys.present()
        key = self._services.custody.key_of(device)
        if wanted.key_id != key.key_id:
            raise RefusedError(INVALID_KEY_ID, "expected `key_id` to be the device's own")
        try:
            message = decode_base64url(wanted.msg_b64)
        except JoseError:
            raise RefusedError(INVALID_MESSAGE, "expected `msg_b64` in base64url without padding") from None
        if not 0 < len(message) <= MAX_MESSAGE_BYTES:
            raise RefusedError(INVALID_MESSAGE_SIZE, f"expected a message of 1 to {MAX_MESSAGE_BYTES} bytes")
        return {"signature_b64": encode_base64url(key.sign(message))}

    async def _admin(self, asked: Asked, *others: str) -> Administrator:
        return await self._services.admin_tokens.check(asked.fields(b"authorization"), ADMIN, *others)

    async def _credentials(self, asked: Asked) -> Credentials:
        return await self._services.calls.credentials(
            asked.part("device"), asked.method, asked.target, asked.fields(b"authorization"), asked.fields(b"dpop")
        )

    async def _bearer(self, asked: Asked) -> UUID:
        return await self._services.calls.bearer(asked.part("device"), asked.fields(b"authorization"))


class NewPolicy(msgspec.Struct, frozen=True):
    """What is published: Cedar, and daily limits by category in micro-USD."""

    policy_text: str
    budgets: dict[str, int]


class NewMandatory(msgspec.Struct, frozen=True):
    """What every device is to forbid: Cedar; empty for nothing more."""

    policy_text: str


class RemoteSigning(msgspec.Struct, frozen=True):
    """What a device has signed by its key in custody."""

    key_id: str
    msg_b64: str


def _policy_answer(bundle: bytes) -> Answer:
    return Answer(b'{"policy_bundle":%b}' % bundle)


def _wanted(query: Mapping[str, str]) -> Wanted:
    device = query.get("device_id")
    return Wanted(
        None if device is None else _parse_uuid(device),
        _moment(query, "since"),
        _moment(query, "until"),
        {member: query[name] for name, member in SEARCHED.items() if name in query},
    )


def _moment(query: Mapping[str, str], name: str) -> str | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        return format_rfc3339(parse_rfc3339(text))
    except ValueError as error:
        raise RefusedError(INVALID_REQUEST, f"`{name}`: {error}") from None


def _page(query: Mapping[str, str]) -> Page:
    limit = max(1, _number(query, "limit", DEFAULT_ROWS, MAX_ROWS))
    after_id = _number(query, "after_id", 0, MAX_SAFE_INTEGER) if "after_id" in query else None
    return Page(limit, _number(query, "offset", 0, MAX_SAFE_INTEGER), after_id)


def _number(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > MAX_DIGITS:
        raise RefusedError(INVALID_REQUEST, f"expected `{name}` to be a whole number")
    return min(int(text), most)


def _rollout_id(asked: Asked) -> int:
    text = asked.part("rollout")
    if not text.isascii() or not text.isdigit() or len(text) > MAX_DIGITS:
        raise RefusedError(INVALID_REQUEST, "expected a rollout's id, a whole number")
    return int(text)


def _approval(asked: Asked) -> tuple[UUID, UUID]:
    return _parse_uuid(asked.part("device")), _parse_uuid(asked.part("approval"), "an approval's id")


def _parse_uuid(text: str, what: str = "a device's id") -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise RefusedError(INVALID_REQUEST, f"expected {what}, a UUID") from None
