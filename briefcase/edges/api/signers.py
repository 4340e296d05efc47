"""Signers: pairing a device, what it sees and signs, and those an operator may revoke.

What a device asks for needs no token: its signature says who asks (`operator.signers`).
"""

from __future__ import annotations

from typing import Final

from briefcase.core.operator.signers import Arrival, SignedRuling
from briefcase.core.signers.signers import Signer
from briefcase.core.signers.texts import Signed
from briefcase.core.wire.approvals import Approved, Denied
from briefcase.core.wire.signers import (
    PairingCompleted,
    PairingCompletion,
    PairingRequest,
    PairingStarted,
    SignedDecision,
    SignedListing,
    SignerApprovals,
    SignerList,
    SignerRevoked,
    SignerSummary,
)
from briefcase.edges.api.approvals import approved, tell
from briefcase.edges.api.routing import NOBODY_NEEDED, OPERATOR, READERS, Request, Route
from briefcase.edges.api.services import Services
from briefcase.model.types import Approval, ApprovalStatus, JsonObject, format_rfc3339


async def start_pairing(services: Services, request: Request) -> PairingStarted:
    """`POST /v1/signer/pair/start`: the code is in this answer and nowhere else."""
    owner = request.body_as(PairingRequest).owner
    pairing = services.operator.signers.start_pairing(owner, request.principal.name)
    return PairingStarted(pairing.id, pairing.code, format_rfc3339(pairing.expires_us))


async def complete_pairing(services: Services, request: Request) -> PairingCompleted:
    """`POST /v1/signer/pair/{id}/complete`: durable when this answers."""
    sent = request.body_as(PairingCompletion)
    arrival = Arrival(sent.msg1_b64, sent.algorithm, sent.signer_pubkey_b64, sent.device_name or "")
    return PairingCompleted(await services.operator.signers.complete_pairing(request.params["id"], arrival))


async def list_waiting(services: Services, request: Request) -> JsonObject:
    """`POST /v1/signer/approvals`: each call whole, as the device is to show it."""
    asked = request.body_as(SignedListing)
    signed = Signed(asked.signer_id, asked.ts_rfc3339, asked.nonce, asked.sig_b64)
    desk = services.operator.signers
    waiting = await desk.waiting(signed, asked.approval_id)
    return {"approvals": list(waiting.documents), "device_did": desk.device_did, "left_off": waiting.left_off}


async def approve_signed(services: Services, request: Request) -> Approved:
    """`POST /v1/signer/approvals/{id}/approve`: durable when this answers."""
    return approved(services, await _rule(services, request, ApprovalStatus.APPROVED))


async def deny_signed(services: Services, request: Request) -> Denied:
    """`POST /v1/signer/approvals/{id}/deny`: durable when this answers."""
    return Denied((await _rule(services, request, ApprovalStatus.REJECTED)).id, "rejected")


async def list_signers(services: Services, _: Request) -> SignerList:
    """`GET /v1/signers`."""
    return SignerList([_summary(signer) for signer in services.signers.all()])


async def revoke_signer(services: Services, request: Request) -> SignerRevoked:
    """`POST /v1/signers/{id}/revoke`."""
    signer_id = request.params["id"]
    await services.operator.signers.revoke(signer_id, request.principal.name)
    return SignerRevoked(signer_id)


async def _rule(services: Services, request: Request, to: ApprovalStatus) -> Approval:
    sent = request.body_as(SignedDecision)
    signed = Signed(sent.signer_id, sent.ts_rfc3339, sent.nonce, sent.sig_b64)
    ruling = SignedRuling(request.params["id"], to, signed, sent.binding_hex, sent.reason)
    approval = await services.operator.signers.rule(ruling)
    tell(services, approval, to)
    return approval


def _summary(signer: Signer) -> SignerSummary:
    return SignerSummary(
        signer.id,
        signer.name,
        signer.algorithm,
        signer.owner,
        signer.by,
        format_rfc3339(signer.paired_us),
        signer.form,
        None if signer.revoked_us is None else format_rfc3339(signer.revoked_us),
        signer.public_key_b64,
    )


_DEVICE: Final = "/v1/signer"
ROUTES: Final = (
    Route(
        "POST",
        f"{_DEVICE}/pair/start",
        OPERATOR,
        start_pairing,
        "Open a pairing for one device",
        PairingStarted,
        body=PairingRequest,
    ),
    Route(
        "POST",
        f"{_DEVICE}/pair/{{id}}/complete",
        NOBODY_NEEDED,
        complete_pairing,
        "Pair the device that has the code",
        PairingCompleted,
        body=PairingCompletion,
    ),
    Route(
        "POST",
        f"{_DEVICE}/approvals",
        NOBODY_NEEDED,
        list_waiting,
        "What waits, shown whole to a paired device",
        SignerApprovals,
        body=SignedListing,
    ),
    Route(
        "POST",
        f"{_DEVICE}/approvals/{{id}}/approve",
        NOBODY_NEEDED,
        approve_signed,
        "A paired device's yes",
        Approved,
        body=SignedDecision,
    ),
    Route(
        "POST",
        f"{_DEVICE}/approvals/{{id}}/deny",
        NOBODY_NEEDED,
        deny_signed,
        "A paired device's no",
        Denied,
        body=SignedDecision,
    ),
    Route("GET", "/v1/signers", READERS, list_signers, "The paired signers", SignerList),
    Route("POST", "/v1/signers/{id}/revoke", OPERATOR, revoke_signer, "End a signer", SignerRevoked),
)
