"""Agents and people: who there is, letting somebody in, and ending their access. A token is shown once."""

from __future__ import annotations

from typing import Final

from briefcase.core.wire.agents import AgentCreated, AgentList, AgentRevoked
from briefcase.core.wire.operators import OperatorCreated, OperatorList, OperatorRevoked
from briefcase.edges.api.in_process import path_of
from briefcase.edges.page.asking import Asked, Moved, Shown, View

HOME: Final = "/people"
ROLES: Final = ("approver", "auditor", "operator")


async def list_everyone(asked: Asked) -> Shown:
    """`GET /people`."""
    agents = (await asked.get("/v1/agents", AgentList)).agents
    people = (await asked.get("/v1/operators", OperatorList)).operators
    return Shown("people", "People and agents", {"agents": agents, "people": people, "roles": ROLES})


async def add_agent(asked: Asked) -> Shown:
    """`POST /people/agents`."""
    groups = asked.form.get("groups", "").replace(",", " ").split()
    made = await asked.post("/v1/agents", AgentCreated, name=asked.form.get("name", ""), groups=groups)
    return _token(made.name, made.token, "an agent")


async def add_person(asked: Asked) -> Shown:
    """`POST /people/persons`."""
    wanted = {name: asked.form.get(name, "") for name in ("name", "role")}
    made = await asked.post("/v1/operators", OperatorCreated, **wanted)
    return _token(made.name, made.token, f"an {made.role}")


async def revoke_agent(asked: Asked) -> Moved:
    """`POST /people/agents/revoke`."""
    await asked.post(path_of("v1", "agents", asked.form.get("name", ""), "revoke"), AgentRevoked)
    return Moved(HOME)


async def revoke_person(asked: Asked) -> Moved:
    """`POST /people/persons/revoke`."""
    await asked.post(path_of("v1", "operators", asked.form.get("name", ""), "revoke"), OperatorRevoked)
    return Moved(HOME)


def _token(name: str, token: str, what: str) -> Shown:
    return Shown("token", f"The token of {name}", {"name": name, "token": token, "what": what})


VIEWS: Final = (
    View("GET", HOME, list_everyone),
    View("POST", "/people/agents", add_agent),
    View("POST", "/people/persons", add_person),
    View("POST", "/people/agents/revoke", revoke_agent),
    View("POST", "/people/persons/revoke", revoke_person),
)
