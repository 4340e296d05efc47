"""For whom an agent may ask: itself, and the agents that its token was made to decide for."""

from __future__ import annotations

import msgspec

from briefcase.model.ports import AgentStore
from briefcase.model.types import Principal, Role


def may_ask_for(asker: Principal, name: str) -> bool:
    """Whether this principal may have calls of the named agent decided.

    An operator may for every agent, an agent for itself and for the names its `decides_for` matches: `*` stands for
    any run of characters, and the whole name must match.
    """
    if asker.role is Role.OPERATOR or (asker.role is Role.AGENT and asker.name == name):
        return True
    if asker.role is not Role.AGENT or not asker.decides_for:
        return False
    return _matches(asker.decides_for, name)


def principal_of(asker: Principal, name: str, agents: AgentStore) -> Principal | None:
    """Who acts when `asker` asks about the agent of this name; None where that is nobody it may ask for.

    The agent's own rights count, and the receipt says who asked.
    """
    if not may_ask_for(asker, name):
        return None
    if asker.role is Role.AGENT and asker.name == name:
        return asker
    agent = agents.by_name(name)
    return None if agent is None else msgspec.structs.replace(agent, asked_by=asker.name)


def _matches(pattern: str, name: str) -> bool:
    """Whether the whole name is the pattern, whose `*` stands for any characters; each part is searched for once."""
    first, *middle = pattern.split("*")
    if not middle:
        return name == pattern
    last = middle.pop()
    at, end = len(first), len(name) - len(last)
    if at > end or not name.startswith(first) or not name.endswith(last):
        return False
    for part in middle:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
