"""Which daemon this is, its proof of that, who is asking, and the profile it enforces."""

from __future__ import annotations

from typing import Final

from briefcase import __version__
from briefcase.core.jose.base64url import encode_base64url
from briefcase.core.jose.identity_proof import check_nonce, identity_proof_text
from briefcase.core.wire.identity import IdentityAnswer, ProfileAnswer, ProofAnswer, ProofRequest, RuleRecord
from briefcase.edges.api.routing import EVERYONE, NOBODY_NEEDED, Request, Route
from briefcase.edges.api.services import Services
from briefcase.edges.diagnostics.profile import RULES
from briefcase.model.errors import CallerError
from briefcase.model.types import Role


async def show_identity(services: Services, request: Request) -> IdentityAnswer:
    """`GET /v1/identity`."""
    profile, asker, places = services.profile, request.principal, services.host.key_places
    is_told = asker.role is not Role.AGENT
    return IdentityAnswer(
        did=profile.did,
        profile_mode=profile.mode,
        compatibility_profile=profile.compatibility_profile,
        version=__version__,
        principal=asker.name,
        role=asker.role.value,
        identity_key=places.identity if is_told else "",
        proof_keys=places.proofs if is_told else "",
    )


async def prove_identity(services: Services, request: Request) -> ProofAnswer:
    """`POST /v1/identity/proof`: over TCP, before a client sends a token."""
    nonce = request.body_as(ProofRequest).nonce
    check_nonce(nonce)
    if not request.authority:
        raise CallerError(
            "expected this request over TCP: over a Unix socket the kernel tells who listens", code="not_found"
        )
    did = services.profile.did
    signature = services.host.sign(identity_proof_text(did, request.authority, nonce))
    return ProofAnswer(did, encode_base64url(signature))


async def show_profile(services: Services, _: Request) -> ProfileAnswer:
    """`GET /v1/profile`."""
    profile = services.profile
    return ProfileAnswer(
        profile.mode,
        profile.compatibility_profile,
        profile.strict_enforcement,
        services.host.strict_host,
        [RuleRecord(name, rule.requires, getattr(rule, profile.mode)) for name, rule in RULES.items()],
    )


ROUTES: Final = (
    Route("GET", "/v1/identity", EVERYONE, show_identity, "Which daemon this is", IdentityAnswer),
    Route(
        "POST",
        "/v1/identity/proof",
        NOBODY_NEEDED,
        prove_identity,
        "The daemon's proof that it is who answers",
        ProofAnswer,
        body=ProofRequest,
    ),
    Route("GET", "/v1/profile", EVERYONE, show_profile, "Which profile it enforces", ProfileAnswer),
)
