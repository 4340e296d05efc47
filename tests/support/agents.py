"""Named agents in a dictionary."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from briefcase.model.ports import ActiveAgent
from briefcase.model.types import Principal, Role


class FakeAgent(msgspec.Struct, frozen=True):
    """One agent as it would be stored."""

    name: str
    groups: tuple[str, ...]
    created_us: int
    revoked_us: int | None = None
    decides_for: str = ""


class FakeAgents:
    """Agents by the digests of their tokens; none, where a test names none."""

    def __init__(self, **tokens: Principal) -> None:
        self.known = {hashlib.sha256(token.encode()).digest(): principal for token, principal in tokens.items()}

    def by_token_digest(self, digest: bytes) -> Principal | None:
        return self.known.get(digest)

    def by_name(self, name: str) -> Principal | None:
        return next((agent for agent in self.known.values() if agent.name == name), None)

    async def active(self) -> Sequence[ActiveAgent]:
        return []

    async def add(
        self, name: str, groups: tuple[str, ...], token_digest: bytes, now_us: int, decides_for: str = ""
    ) -> None:
        self.known[token_digest] = Principal(name, Role.AGENT, groups, decides_for=decides_for)

    async def revoke(self, name: str, now_us: int) -> bool:
        kept = {digest: agent for digest, agent in self.known.items() if agent.name != name}
        revoked, self.known = len(kept) < len(self.known), kept
        return revoked

    async def list(self) -> Sequence[FakeAgent]:
        return [FakeAgent(agent.name, agent.groups, 0, decides_for=agent.decides_for) for agent in self.known.values()]
