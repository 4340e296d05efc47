"""The active policy: read it, or replace it whole."""

from __future__ import annotations

from typing import Final

from briefcase.core.wire.policy import PolicyChange, PolicyRecord
from briefcase.edges.api.routing import OPERATOR, Request, Route
from briefcase.edges.api.services import Services
from briefcase.model.types import format_rfc3339


async def show_policy(services: Services, _: Request) -> PolicyRecord:
    """`GET /v1/policy`."""
    return _record(services)


async def replace_policy(services: Services, request: Request) -> PolicyRecord:
    """`PUT /v1/policy`: validated, then swapped whole; a text that does not validate leaves the old one."""
    await services.operator.policy.set(request.body_as(PolicyChange).policy_text, request.principal.name)
    return _record(services)


def _record(services: Services) -> PolicyRecord:
    text, digest_hex, updated_us = services.policy.current()
    return PolicyRecord(text, digest_hex, format_rfc3339(updated_us))


ROUTES: Final = (
    Route("GET", "/v1/policy", OPERATOR, show_policy, "The active policy", PolicyRecord),
    Route("PUT", "/v1/policy", OPERATOR, replace_policy, "Replace the policy", PolicyRecord, body=PolicyChange),
)
