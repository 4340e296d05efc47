"""Which daemon this is, and the profile it enforces."""

from __future__ import annotations

from typing import Final

import msgspec

from briefcase import __version__
from briefcase.api.routing import EVERYONE, Request, Route
from briefcase.api.services import Services
from briefcase.diagnostics.profile import RULES


class IdentityAnswer(msgspec.Struct):
    """The daemon's name: the did:key of its signing key; and the version that runs."""

    did: str
    profile_mode: str
    compatibility_profile: str
    version: str


class RuleRecord(msgspec.Struct):
    """One rule: what it requires, and what follows in this mode where it does not hold (noted, failed, refused)."""

    name: str
    requires: str
    effect: str


class ProfileAnswer(msgspec.Struct):
    """What is enforced."""

    mode: str
    compatibility_profile: str
    strict_enforcement: bool
    strict_host: bool
    rules: list[RuleRecord]


async def show_identity(services: Services, _: Request) -> IdentityAnswer:
    """`GET /v1/identity`."""
    profile = services.profile
    return IdentityAnswer(profile.did, profile.mode, profile.compatibility_profile, __version__)


async def show_profile(services: Services, _: Request) -> ProfileAnswer:
    """`GET /v1/profile`."""
    profile = services.profile
    return ProfileAnswer(
        profile.mode,
        profile.compatibility_profile,
        profile.strict_enforcement,
        services.host is not None and services.host.strict_host,
        [RuleRecord(name, rule.requires, getattr(rule, profile.mode)) for name, rule in RULES.items()],
    )


ROUTES: Final = (
    Route("GET", "/v1/identity", EVERYONE, show_identity, "Which daemon this is", IdentityAnswer),
    Route("GET", "/v1/profile", EVERYONE, show_profile, "Which profile it enforces", ProfileAnswer),
)
