"""Agents on the wire."""

from __future__ import annotations

import msgspec


class AgentSummary(msgspec.Struct, frozen=True):
    """One agent; `revoked_at` is null while its token works. `decides_for` names the agents it asks decisions for."""

    name: str
    groups: list[str] = []
    created_at: str = ""
    revoked_at: str | None = None
    decides_for: str = ""


class AgentList(msgspec.Struct, frozen=True):
    """All of them, revoked ones too."""

    agents: list[AgentSummary]


class AgentRequest(msgspec.Struct, frozen=True):
    """A new agent: its name is the policy's principal.

    `decides_for` lets it ask for decisions of other agents, over AuthZEN: a glob over their names, with `*` only.
    """

    name: str
    groups: list[str] = []
    decides_for: str = ""


class AgentCreated(msgspec.Struct, frozen=True):
    """The new agent's token: it is not stored, so it cannot be shown again."""

    name: str
    token: str


class AgentRevoked(msgspec.Struct, frozen=True):
    """The agent's token is refused from now on."""

    name: str
