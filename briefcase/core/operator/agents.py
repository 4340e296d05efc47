"""Agents: who may call tools, each with a name (the policy's principal), groups, and one token shown once.

| a crash after the intent of | leaves | the next start |
|---|---|---|
| `add` | no agent, or one whose token nobody was shown | ends that agent: its name is free again |
| `revoke` | an agent that works, or a revoked one without a receipt | revokes it, with a receipt |

The intent of `add` holds the SHA-256 of the token, so that no other agent of the name is taken for that one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Final

from briefcase.core.operator.administration import Administration, Settler
from briefcase.core.people import People
from briefcase.core.receipts.events import agent_event, change_finished_event, change_undone_event
from briefcase.model.errors import CallerError
from briefcase.model.identifiers import DECIDES_FOR, DECIDES_FOR_RULE, NAME_RULE, is_name
from briefcase.model.ports import AgentStore, Clock, Entropy
from briefcase.model.types import JsonObject, Role

TOKEN_PREFIX: Final = "bca_"
RESERVED_NAMES: Final = frozenset(role.value for role in Role if role is not Role.AGENT)
MAX_GROUPS: Final = 64
_DECIDES_FOR: Final = re.compile(DECIDES_FOR)


class AgentAdmin:
    """Adds and revokes agents.

    Args:
        administration: takes the receipts, and keeps changes of one name apart.
        agents: where they are kept.
        people: whose names are taken too.
        clock: tells when one was added or revoked.
        entropy: makes the tokens.
    """

    def __init__(
        self, administration: Administration, agents: AgentStore, people: People, clock: Clock, entropy: Entropy
    ) -> None:
        self._administration = administration
        self._agents = agents
        self._people = people
        self._clock = clock
        self._entropy = entropy

    async def add(self, name: str, groups: Sequence[str], by: str, decides_for: str = "") -> str:
        """Create an agent. A revoked agent's name may be taken again, with a new token.

        Args:
            name: of `identifiers.NAME`, no role's word, and nobody else's.
            groups: group names of the same form.
            by: who adds it, for the receipt.
            decides_for: the names of the agents it may ask decisions for, of `DECIDES_FOR`; empty for its own only.

        Raises:
            CallerError: a name is not of that form (`bad_request`), or an active agent or person has it (`conflict`).
            StoreError: as `Administration.make`.

        Returns:
            The token. It is not stored, so this is the only time it can be shown.
        """
        # 1. check
        check_name(name, "an agent name")
        chosen = _checked_groups(groups)
        if decides_for and _DECIDES_FOR.fullmatch(decides_for) is None:
            raise CallerError(f"expected agents' names as {DECIDES_FOR_RULE}, got `{decides_for[:80]}`")
        token = TOKEN_PREFIX + self._entropy.token()
        digest = hashlib.sha256(token.encode())

        # 2. intent, effect, receipt
        async def add() -> None:
            if self._people.by_name(name) is not None:
                raise CallerError(f"a person has the name `{name}`", code="conflict", hint="choose another name")
            await self._agents.add(name, chosen, digest.digest(), self._clock.now_us(), decides_for)

        await self._administration.make(
            name_subject(name),
            {**agent_event("added", name, groups, by, decides_for), "token_digest": digest.hexdigest()},
            add,
        )
        return token

    async def revoke(self, name: str, by: str) -> None:
        """End an agent's access; while receipts cannot be made durable nothing is allowed, nor revoked.

        Raises:
            CallerError: no active agent has the name (`not_found`).
            StoreError: as `Administration.make`.
        """
        # 1. check
        if not any(agent.name == name and agent.revoked_us is None for agent in await self._agents.list()):
            raise _no_agent(name)

        # 2. intent, effect, receipt
        async def revoke() -> None:
            if not await self._agents.revoke(name, self._clock.now_us()):
                raise _no_agent(name)

        await self._administration.make(name_subject(name), agent_event("revoked", name, (), by), revoke)

    def settlers(self) -> Mapping[str, Settler]:
        """What the next start does after a crash: see the module's table."""
        return {"agent_added": self._undo_add, "agent_revoked": self._finish_revoke}

    async def _undo_add(self, event: JsonObject) -> JsonObject | None:
        name, digest_hex = str(event["agent"]), event.get("token_digest")
        if not isinstance(digest_hex, str):  # an older release wrote the intent
            return None
        if self._agents.by_token_digest(bytes.fromhex(digest_hex)) is not None:
            await self._agents.revoke(name, self._clock.now_us())
        return change_undone_event(event)

    async def _finish_revoke(self, event: JsonObject) -> JsonObject:
        await self._agents.revoke(str(event["agent"]), self._clock.now_us())
        return change_finished_event(event)


def check_name(name: str, what: str) -> None:
    """Check that a new agent or person may have this name.

    Raises:
        CallerError: it is not of `identifiers.NAME`, or reserved.
    """
    _check_form(name, what)
    if name in RESERVED_NAMES:
        raise CallerError(f"the name `{name}` is reserved", hint="choose another name")


def _checked_groups(groups: Sequence[str]) -> tuple[str, ...]:
    chosen = tuple(sorted(set(groups)))
    if len(chosen) > MAX_GROUPS:
        raise CallerError(f"expected at most {MAX_GROUPS} groups, got {len(chosen)}")
    for group in chosen:
        _check_form(group, "a group")
    return chosen


def _check_form(name: str, what: str) -> None:
    if not is_name(name):
        raise CallerError(f"expected {what} of {NAME_RULE}, got `{name[:80]}`")


def name_subject(name: str) -> str:
    """What is changed when an agent or a person of this name is: one at a time."""
    return f"name:{name}"


def _no_agent(name: str) -> CallerError:
    return CallerError(f"no active agent `{name}`", code="not_found", hint="see `briefcase agents list`")
