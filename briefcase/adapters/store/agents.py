"""Agents: who may call tools, each with a name (the policy's principal), groups, and one token shown once.

Only a token's SHA-256 is stored. Looking one up reads a dictionary and nothing else, so authentication costs no
I/O; it needs no constant time, because what is compared is the digest of 256 random bits, and learning how much of
a digest agrees leads to no token. A revoked agent is refused from the moment `revoke` starts to run.

A name may be taken again, an identity never: `name#row.created_us`. Rows stay when an agent is revoked, and the time
tells apart two rows of one number, one of which a restored backup has forgotten.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Sequence

import msgspec

from briefcase.adapters.store.database import Database
from briefcase.model.errors import CallerError
from briefcase.model.identifiers import is_name
from briefcase.model.ports import ActiveAgent
from briefcase.model.types import Principal, Role


class Agent(msgspec.Struct, frozen=True):
    """One agent as listed. `revoked_us` is None while its token works."""

    name: str
    groups: tuple[str, ...]
    created_us: int
    revoked_us: int | None = None
    decides_for: str = ""


class Agents:
    """The agents of one database.

    Args:
        database: where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._active: dict[bytes, Principal] = database.run_now(_load_active)
        self._by_name = {principal.name: principal for principal in self._active.values()}
        self._changing = asyncio.Lock()  # the map changes in the order the table does

    async def active(self) -> Sequence[ActiveAgent]:
        """Those whose tokens work, as their rows say now."""

        def select(connection: sqlite3.Connection) -> list[ActiveAgent]:
            rows = connection.execute(
                "SELECT name, groups, token_sha256, decides_for FROM agents WHERE revoked_us IS NULL"
            )
            return [ActiveAgent(row[0], tuple(json.loads(row[1])), row[2].hex(), row[3]) for row in rows]

        return await self._database.run(select)

    def by_token_digest(self, digest: bytes) -> Principal | None:
        """The agent whose token has this SHA-256 (32 bytes), unless it was revoked."""
        return self._active.get(digest)

    def by_name(self, name: str) -> Principal | None:
        """The agent of this name whose token works."""
        return self._by_name.get(name)

    async def add(
        self, name: str, groups: tuple[str, ...], token_digest: bytes, now_us: int, decides_for: str = ""
    ) -> None:
        """Create an agent. A revoked agent's name may be taken again, with a new token.

        Args:
            name: checked (`operator.agents`).
            groups: likewise, sorted.
            token_digest: SHA-256 of its token, 32 bytes.
            now_us: the time, microseconds.
            decides_for: the glob of the names it may ask decisions for; checked.

        Raises:
            CallerError: an active agent has the name (`conflict`).
            StoreError: it could not be stored.
        """

        def insert(connection: sqlite3.Connection) -> Principal:
            taken = connection.execute("SELECT 1 FROM agents WHERE name = ? AND revoked_us IS NULL", (name,)).fetchone()
            if taken:
                raise CallerError(
                    f"the agent `{name}` exists already",
                    code="conflict",
                    hint=f"run `briefcase agents revoke {name}` first to give it a new token",
                )
            added = connection.execute(
                "INSERT INTO agents (name, token_sha256, groups, created_us, decides_for) VALUES (?, ?, ?, ?, ?)",
                (name, token_digest, json.dumps(groups), now_us, decides_for),
            )
            return _principal(added.lastrowid, name, groups, now_us, decides_for)

        async with self._changing:
            self._active[token_digest] = self._by_name[name] = await self._database.run(insert)

    async def revoke(self, name: str, now_us: int) -> bool:
        """End an agent's access at once, and durably when this returns.

        Raises:
            StoreError: it could not be stored: refused until the daemon restarts, so revoke again.

        Returns:
            Whether an active agent had the name.
        """
        self._forget(name)

        def update(connection: sqlite3.Connection) -> int:
            return connection.execute(
                "UPDATE agents SET revoked_us = ? WHERE name = ? AND revoked_us IS NULL", (now_us, name)
            ).rowcount

        async with self._changing:
            revoked = await self._database.run(update)
            self._forget(name)
        return revoked > 0

    async def list(self) -> tuple[Agent, ...]:
        """All agents, revoked ones too, by name and age."""

        def select(connection: sqlite3.Connection) -> tuple[Agent, ...]:
            rows = connection.execute(
                "SELECT name, groups, created_us, revoked_us, decides_for FROM agents ORDER BY name, id"
            )
            return tuple(Agent(row[0], tuple(json.loads(row[1])), row[2], row[3], row[4]) for row in rows)

        return await self._database.run(select)

    def _forget(self, name: str) -> None:
        for digest in [digest for digest, principal in self._active.items() if principal.name == name]:
            del self._active[digest]
        self._by_name.pop(name, None)


def _load_active(connection: sqlite3.Connection) -> dict[bytes, Principal]:
    rows = connection.execute(
        "SELECT token_sha256, id, name, groups, created_us, decides_for FROM agents WHERE revoked_us IS NULL"
    )
    return {
        row[0]: _principal(row[1], row[2], tuple(json.loads(row[3])), row[4], row[5])
        for row in rows
        if is_name(row[2])  # older versions took `.` and `..`, which nobody could revoke
    }


def _principal(row_id: int | None, name: str, groups: tuple[str, ...], created_us: int, decides_for: str) -> Principal:
    return Principal(name, Role.AGENT, groups, identity=f"{name}#{row_id}.{created_us}", decides_for=decides_for)
