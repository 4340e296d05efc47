"""Which daemon this is, and the profile it enforces."""

from __future__ import annotations

from typing import Final

import msgspec

from briefcase.api.routing import EVERYONE, Request, Route
from briefcase.api.services import Services


class IdentityAnswer(msgspec.Struct):
    """The daemon's name: the did:key of its signing key."""

    did: str
    profile_mode: str
    compatibility_profile: str


class ProfileAnswer(msgspec.Struct):
    """What is enforced."""

    mode: str
    compatibility_profile: str
    strict_enforcement: bool


async def show_identity(services: Services, _: Request) -> IdentityAnswer:
    """`GET /v1/identity`."""
    profile = services.profile
    return IdentityAnswer(profile.did, profile.mode, profile.compatibility_profile)


async def show_profile(services: Services, _: Request) -> ProfileAnswer:
    """`GET /v1/profile`."""
    profile = services.profile
    return ProfileAnswer(profile.mode, profile.compatibility_profile, profile.strict_enforcement)


ROUTES: Final = (
    Route("GET", "/v1/identity", EVERYONE, show_identity, "Which daemon this is", IdentityAnswer),
    Route("GET", "/v1/profile", EVERYONE, show_profile, "Which profile it enforces", ProfileAnswer),
)
