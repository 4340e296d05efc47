"""Agents: who may call tools. A token is shown once, in the answer that creates it."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from briefcase.api.routing import OPERATOR, Request, Route
from briefcase.api.services import Services
from briefcase.model.errors import CallerError
from briefcase.model.types import format_rfc3339
from briefcase.receipts.events import agent_event
from briefcase.store.agents import check_agent_name


class AgentSummary(msgspec.Struct):
    """One agent; `revoked_at` is null while its token works."""

    name: str
    groups: list[str]
    created_at: str
    revoked_at: str | None


class AgentList(msgspec.Struct):
    """All of them, revoked ones too."""

    agents: list[AgentSummary]


class AgentRequest(msgspec.Struct):
    """A new agent: its name is the policy's principal."""

    name: str
    groups: list[str] = []


class AgentCreated(msgspec.Struct):
    """The new agent's token: it is not stored, so it can not be shown again."""

    name: str
    token: str


class AgentRevoked(msgspec.Struct):
    """The agent's token is refused from now on."""

    name: str


async def list_agents(services: Services, _: Request) -> AgentList:
    """`GET /v1/agents`."""
    return AgentList(
        [
            AgentSummary(
                agent.name,
                list(agent.groups),
                format_rfc3339(agent.created_us),
                None if agent.revoked_us is None else format_rfc3339(agent.revoked_us),
            )
            for agent in await services.agents.list()
        ]
    )


async def add_agent(services: Services, request: Request) -> AgentCreated:
    """`POST /v1/agents`: the token is shown only once its receipt is durable."""
    wanted = request.body_as(AgentRequest)
    check_agent_name(wanted.name)
    token = await services.administration.make(
        agent_event("added", wanted.name, wanted.groups, request.principal.name),
        lambda: services.agents.add(wanted.name, tuple(wanted.groups), services.clock.now_us()),
        lambda token: {"token_digest": hashlib.sha256(token.encode()).hexdigest()},
    )
    return AgentCreated(wanted.name, token)


async def revoke_agent(services: Services, request: Request) -> AgentRevoked:
    """`POST /v1/agents/{name}/revoke`: while receipts cannot be made durable nothing is allowed, nor revoked."""
    name = request.params["name"]

    async def revoke() -> None:
        if not await services.agents.revoke(name, services.clock.now_us()):
            raise _no_agent(name)

    if not any(agent.name == name and agent.revoked_us is None for agent in await services.agents.list()):
        raise _no_agent(name)
    await services.administration.make(agent_event("revoked", name, (), request.principal.name), revoke)
    return AgentRevoked(name)


def _no_agent(name: str) -> CallerError:
    return CallerError(f"no active agent `{name}`", code="not_found", hint="see `briefcase agents list`")


ROUTES: Final = (
    Route("GET", "/v1/agents", OPERATOR, list_agents, "The named agents", AgentList),
    Route("POST", "/v1/agents", OPERATOR, add_agent, "Add an agent and get its token", AgentCreated, body=AgentRequest),
    Route("POST", "/v1/agents/{name}/revoke", OPERATOR, revoke_agent, "End an agent's access", AgentRevoked),
)
