"""Diagnostics: what is enforced, and every rule of it measured now."""

from __future__ import annotations

import asyncio
import base64
from typing import Annotated, Final

import msgspec

from briefcase.adapters.signed_manifest import EVIDENCE
from briefcase.core.wire.diagnostics import CheckRecord, Checks, Searched, Signed, SignRequest
from briefcase.edges.api.routing import OPERATOR, READERS, Request, Route
from briefcase.edges.api.services import Services
from briefcase.edges.diagnostics.canary import OVERLAP_BYTES, PIECE_BYTES
from briefcase.edges.diagnostics.profile import Check
from briefcase.edges.diagnostics.standing import Moment, compat_checks, security_checks
from briefcase.model.errors import CallerError
from briefcase.model.ports import ReceiptFilter
from briefcase.model.types import parse_rfc3339

_PIECE_CHARS: Final = 4 * (PIECE_BYTES + OVERLAP_BYTES + 2) // 3


class Piece(msgspec.Struct):
    """A piece of a file, in base64."""

    data_b64: Annotated[str, msgspec.Meta(max_length=_PIECE_CHARS)]


async def show_compat(services: Services, _: Request) -> Checks:
    """`GET /v1/diagnostics/compat`."""
    host, mode = services.host, services.profile.mode
    moment = await _moment(services)
    return _answer(services, await asyncio.to_thread(compat_checks, host, mode, moment))


async def show_security(services: Services, _: Request) -> Checks:
    """`GET /v1/diagnostics/security`."""
    host, mode = services.host, services.profile.mode
    return _answer(services, await asyncio.to_thread(security_checks, host, mode))


async def sign_evidence(services: Services, request: Request) -> Signed:
    """`POST /v1/diagnostics/sign`: only digests of evidence, under a prefix nothing else is signed with."""
    digest = request.body_as(SignRequest).sha256_hex
    signature = services.host.sign(f"{EVIDENCE.signed_prefix}{digest}".encode())
    return Signed(services.profile.did, base64.b64encode(signature).decode())


async def search_piece(services: Services, request: Request) -> Searched:
    """`POST /v1/diagnostics/canary`: answers places, never what is there."""
    try:
        data = base64.b64decode(request.body_as(Piece).data_b64, validate=True)
    except ValueError:
        raise CallerError("`data_b64`: expected base64") from None
    found = services.host.canary.search(data)
    return Searched(found.places, found.secrets, found.too_short)


async def _moment(services: Services) -> Moment:
    newest = await services.ledger.receipts(ReceiptFilter(limit=1))
    _, policy_hash_hex, policy_set_us = services.policy.current()
    connections = services.mcp.connections()
    return Moment(
        now_us=services.clock.now_us(),
        newest_receipt_us=parse_rfc3339(newest[0].ts) if newest else None,
        policy_hash_hex=policy_hash_hex,
        policy_set_us=policy_set_us,
        gate_problem=services.ledger.gate_problem(),
        receipts=services.ledger.head().id,
        servers={one.config.id: one.state.value for one in connections},
        incompatible=tuple(one.config.id for one in connections if one.config.allow_incompatible),
    )


def _answer(services: Services, checks: tuple[Check, ...]) -> Checks:
    profile = services.profile
    records = [CheckRecord(check.name, check.ok, check.detail, check.effect, check.hint) for check in checks]
    return Checks(profile.mode, profile.compatibility_profile, records)


ROUTES: Final = (
    Route("GET", "/v1/diagnostics/compat", READERS, show_compat, "What answers and receipts depend on", Checks),
    Route("GET", "/v1/diagnostics/security", READERS, show_security, "What keeps others out", Checks),
    Route("POST", "/v1/diagnostics/sign", OPERATOR, sign_evidence, "Sign evidence", Signed, body=SignRequest),
    Route(
        "POST", "/v1/diagnostics/canary", OPERATOR, search_piece, "Look for the vault's secrets", Searched, body=Piece
    ),
)
