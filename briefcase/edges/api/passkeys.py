"""Passkeys at the page: registered by who is logged in, then a signer of theirs (`operator.passkeys`).

Options are written as WebAuthn Level 3 has their JSON, so that a page hands them to the browser as they are.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

from briefcase.adapters.signers import passkeys
from briefcase.core.jose.base64url import encode_base64url
from briefcase.core.operator.approvals import DECIDING_ROLES
from briefcase.core.operator.passkeys import Asked
from briefcase.core.signers.ceremonies import CEREMONY_TTL_US, RP_ID
from briefcase.core.wire.passkeys import (
    NewPasskeyAnswer,
    PasskeyAnswer,
    PasskeyRegistered,
    PasskeyRegistration,
    PasskeyRegistrationOptions,
    PasskeyRuled,
    PasskeyRuling,
    PasskeyRulingOptions,
)
from briefcase.edges.api.approvals import approved, tell
from briefcase.edges.api.routing import Request, Route
from briefcase.edges.api.services import Services
from briefcase.model.types import ApprovalStatus, format_rfc3339

TIMEOUT_MS: Final = CEREMONY_TTL_US // 1_000
_EDDSA, _ES256 = -8, -7  # COSE
_TO: Final = {"approve": ApprovalStatus.APPROVED, "deny": ApprovalStatus.REJECTED}


async def begin_registration(services: Services, request: Request) -> PasskeyRegistrationOptions:
    """`POST /v1/signers/passkeys/registration`."""
    wanted, asker = request.body_as(PasskeyRegistration), request.principal
    await asyncio.to_thread(passkeys.load)
    begun = services.operator.passkeys.begin_registration(
        wanted.name, wanted.origin, asker.name, asker.role, wanted.pairing_code
    )
    user_id = encode_base64url(hashlib.sha256(f"{services.profile.did}\n{asker.name}".encode()).digest())
    known = [
        {"type": "public-key", "id": one.credential_id_b64}
        for one in services.signers.all()
        if one.owner == asker.name and one.credential_id_b64 and not one.is_revoked
    ]
    return PasskeyRegistrationOptions(
        begun.id,
        format_rfc3339(begun.expires_us),
        {
            "rp": {"id": RP_ID, "name": "briefcase"},
            "user": {"id": user_id, "name": asker.name, "displayName": asker.name},
            "challenge": encode_base64url(begun.challenge),
            "pubKeyCredParams": [{"type": "public-key", "alg": algorithm} for algorithm in (_EDDSA, _ES256)],
            "timeout": TIMEOUT_MS,
            "excludeCredentials": known,
            "authenticatorSelection": {"residentKey": "preferred", "userVerification": "required"},
            "attestation": "none",
        },
    )


async def register_passkey(services: Services, request: Request) -> PasskeyRegistered:
    """`POST /v1/signers/passkeys`: durable when this answers."""
    sent = request.body_as(NewPasskeyAnswer)
    signer = await services.operator.passkeys.register(sent.registration_id, sent.credential, request.principal.name)
    return PasskeyRegistered(signer.id, signer.name, signer.owner)


async def begin_passkey_ruling(services: Services, request: Request) -> PasskeyRulingOptions:
    """`POST /v1/signers/passkeys/ruling`."""
    sent = request.body_as(PasskeyRuling)
    await asyncio.to_thread(passkeys.load)
    asked = Asked(sent.approval_id, _TO[sent.to], sent.shown_digest_hex, sent.origin, sent.signer_id)
    begun = services.operator.passkeys.begin_ruling(asked, request.principal.name)
    signed = begun.signed
    return PasskeyRulingOptions(
        begun.id,
        signed.signer_id,
        begun.binding_hex,
        signed.ts,
        signed.nonce,
        format_rfc3339(begun.expires_us),
        {
            "rpId": RP_ID,
            "challenge": encode_base64url(begun.challenge),
            "timeout": TIMEOUT_MS,
            "userVerification": "required",
            "allowCredentials": [
                {"type": "public-key", "id": services.operator.passkeys.credential_of(signed.signer_id)}
            ],
        },
    )


async def rule_by_passkey(services: Services, request: Request) -> PasskeyRuled:
    """`POST /v1/signers/passkeys/rule`: durable when this answers."""
    sent = request.body_as(PasskeyAnswer)
    approval, to = await services.operator.passkeys.rule(
        sent.assertion_id, sent.credential, request.principal.name, sent.reason
    )
    tell(services, approval, to)
    if to is ApprovalStatus.REJECTED:
        return PasskeyRuled(approval.id, "rejected")
    said = approved(services, approval)
    return PasskeyRuled(said.approval_id, said.status, said.approval_token, said.approvers, said.approvals_given)


_PASSKEYS: Final = "/v1/signers/passkeys"
ROUTES: Final = (
    Route(
        "POST",
        f"{_PASSKEYS}/registration",
        DECIDING_ROLES,
        begin_registration,
        "Ask the browser for a new passkey",
        PasskeyRegistrationOptions,
        body=PasskeyRegistration,
    ),
    Route(
        "POST",
        _PASSKEYS,
        DECIDING_ROLES,
        register_passkey,
        "Let a new passkey in as a signer",
        PasskeyRegistered,
        body=NewPasskeyAnswer,
    ),
    Route(
        "POST",
        f"{_PASSKEYS}/ruling",
        DECIDING_ROLES,
        begin_passkey_ruling,
        "Ask a passkey to sign a yes or a no",
        PasskeyRulingOptions,
        body=PasskeyRuling,
    ),
    Route(
        "POST",
        f"{_PASSKEYS}/rule",
        DECIDING_ROLES,
        rule_by_passkey,
        "A passkey's yes or no",
        PasskeyRuled,
        body=PasskeyAnswer,
    ),
)
