"""Agents: who may call tools. A token is shown once, in the answer that creates it."""

from __future__ import annotations

from typing import Final

from briefcase.core.wire.agents import AgentCreated, AgentList, AgentRequest, AgentRevoked, AgentSummary
from briefcase.edges.api.routing import OPERATOR, Request, Route
from briefcase.edges.api.services import Services
from briefcase.model.types import format_rfc3339


async def list_agents(services: Services, _: Request) -> AgentList:
    """`GET /v1/agents`."""
    return AgentList(
        [
            AgentSummary(
                agent.name,
                list(agent.groups),
                format_rfc3339(agent.created_us),
                None if agent.revoked_us is None else format_rfc3339(agent.revoked_us),
                agent.decides_for,
            )
            for agent in await services.agents.list()
        ]
    )


async def add_agent(services: Services, request: Request) -> AgentCreated:
    """`POST /v1/agents`: the token is shown only once its receipt is durable."""
    wanted = request.body_as(AgentRequest)
    token = await services.operator.agents.add(wanted.name, wanted.groups, request.principal.name, wanted.decides_for)
    return AgentCreated(wanted.name, token)


async def revoke_agent(services: Services, request: Request) -> AgentRevoked:
    """`POST /v1/agents/{name}/revoke`."""
    name = request.params["name"]
    await services.operator.agents.revoke(name, request.principal.name)
    return AgentRevoked(name)


ROUTES: Final = (
    Route("GET", "/v1/agents", OPERATOR, list_agents, "The named agents", AgentList),
    Route("POST", "/v1/agents", OPERATOR, add_agent, "Add an agent and get its token", AgentCreated, body=AgentRequest),
    Route("POST", "/v1/agents/{name}/revoke", OPERATOR, revoke_agent, "End an agent's access", AgentRevoked),
)
