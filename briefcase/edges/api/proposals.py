"""Proposals of a policy: made of a prompt, shown, applied as they were shown, or dropped."""

from __future__ import annotations

from typing import Final

from briefcase.core.operator.proposals import NotApplied
from briefcase.core.wire.proposals import (
    Applied,
    ApplyRequest,
    Compiled,
    Dropped,
    PolicyProposal,
    PromptRequest,
    ProposalList,
)
from briefcase.edges.api.routing import OPERATOR, Request, Route
from briefcase.edges.api.services import Services
from briefcase.model.types import JsonObject


async def compile_prompt(services: Services, request: Request) -> JsonObject:
    """`POST /v1/policy/compile`: a proposal; nothing is set."""
    proposals = services.operator.proposals
    made = await proposals.propose(request.body_as(PromptRequest).prompt, request.principal.name)
    return {"proposal": proposals.shown(made)}


async def list_proposals(services: Services, _: Request) -> JsonObject:
    """`GET /v1/policy/proposals`."""
    proposals = services.operator.proposals
    return {"proposals": [proposals.shown(one) for one in proposals.list()]}


async def show_proposal(services: Services, request: Request) -> JsonObject:
    """`GET /v1/policy/proposals/{id}`."""
    proposals = services.operator.proposals
    return proposals.shown(proposals.proposal(request.params["id"]))


async def apply_proposal(services: Services, request: Request) -> Applied:
    """`POST /v1/policy/proposals/{id}/apply`: by the digest of what was shown; durable when this says `applied`."""
    digest = request.body_as(ApplyRequest).shown_digest_hex
    done = await services.operator.proposals.apply(request.params["id"], digest, request.principal.name)
    if isinstance(done, NotApplied):
        shown = {"shown_digest_hex": done.shown_digest_hex} if done.shown_digest_hex else {}
        return Applied(done.status, message=done.message, **shown)
    return Applied("applied", services.policy.current()[1])


async def drop_proposal(services: Services, request: Request) -> Dropped:
    """`POST /v1/policy/proposals/{id}/drop`."""
    await services.operator.proposals.drop(request.params["id"], request.principal.name)
    return Dropped(request.params["id"])


ROUTES: Final = (
    Route("POST", "/v1/policy/compile", OPERATOR, compile_prompt, "Propose a policy", Compiled, body=PromptRequest),
    Route("GET", "/v1/policy/proposals", OPERATOR, list_proposals, "The policies that are proposed", ProposalList),
    Route("GET", "/v1/policy/proposals/{id}", OPERATOR, show_proposal, "One of them", PolicyProposal),
    Route(
        "POST",
        "/v1/policy/proposals/{id}/apply",
        OPERATOR,
        apply_proposal,
        "Set it as it was shown",
        Applied,
        body=ApplyRequest,
    ),
    Route("POST", "/v1/policy/proposals/{id}/drop", OPERATOR, drop_proposal, "Let it go", Dropped),
)
