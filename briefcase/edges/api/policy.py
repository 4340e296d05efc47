"""The active policy: read it, replace it whole, see what it was before and go back to it."""

from __future__ import annotations

from typing import Final

from briefcase.core.wire.policy import (
    KeptPolicyRecord,
    PolicyChange,
    PolicyHistoryList,
    PolicyRecord,
    RollbackRequest,
)
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


async def list_history(services: Services, _: Request) -> PolicyHistoryList:
    """`GET /v1/policy/history`: newest first."""
    kept = services.policy.history()[::-1]
    active = services.policy.active().digest_hex
    newest = next((index for index, one in enumerate(kept) if one.digest_hex == active), -1)
    return PolicyHistoryList(
        [
            KeptPolicyRecord(one.digest_hex, format_rfc3339(one.set_us), one.by, one.policies, index == newest)
            for index, one in enumerate(kept)
        ]
    )


async def show_kept(services: Services, request: Request) -> PolicyRecord:
    """`GET /v1/policy/history/{digest}`."""
    digest_hex = request.params["digest"]
    stored = services.policy.kept(digest_hex)
    return PolicyRecord(stored.deciding_text, digest_hex, format_rfc3339(stored.updated_us))


async def roll_back(services: Services, request: Request) -> PolicyRecord:
    """`POST /v1/policy/rollback`: validated anew, as every policy that is set."""
    digest_hex = request.body_as(RollbackRequest).policy_hash_hex
    await services.operator.policy.roll_back(digest_hex, request.principal.name)
    return _record(services)


def _record(services: Services) -> PolicyRecord:
    text, digest_hex, updated_us = services.policy.current()
    return PolicyRecord(text, digest_hex, format_rfc3339(updated_us))


ROUTES: Final = (
    Route("GET", "/v1/policy", OPERATOR, show_policy, "The active policy", PolicyRecord),
    Route("PUT", "/v1/policy", OPERATOR, replace_policy, "Replace the policy", PolicyRecord, body=PolicyChange),
    Route("GET", "/v1/policy/history", OPERATOR, list_history, "The policies that were set", PolicyHistoryList),
    Route("GET", "/v1/policy/history/{digest}", OPERATOR, show_kept, "A policy that was set", PolicyRecord),
    Route("POST", "/v1/policy/rollback", OPERATOR, roll_back, "Set one again", PolicyRecord, body=RollbackRequest),
)
