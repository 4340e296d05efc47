"""People: who else works with this daemon, each by name and with one token, shown once. The rules: `core.people`.

A person is in the ledger, so a change is in the transaction of its receipt: a crash leaves both or neither.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from briefcase.core.operator.administration import Administration
from briefcase.core.operator.agents import check_name, name_subject
from briefcase.core.people import People, Person, PersonRole
from briefcase.core.receipts.events import operator_event
from briefcase.model.errors import CallerError
from briefcase.model.ports import AgentStore, Clock, Entropy

BEGINNING: Final = "bco_"
MAX_PEOPLE: Final = 1_000  # the revoked too: each stays, so that a name in a receipt can be looked up


class PeopleAdmin:
    """Adds and revokes people.

    Args:
        administration: tells whether a receipt can be made durable, and keeps changes of one name apart.
        people: who there is.
        agents: whose names are taken too: a receipt's name is one's alone.
        clock: tells when one was added or revoked.
        entropy: makes the tokens and ids.
        check_may_go: raises `CallerError` where a person is needed still (by default nobody is).
    """

    def __init__(  # noqa: PLR0917 - built in one place
        self,
        administration: Administration,
        people: People,
        agents: AgentStore,
        clock: Clock,
        entropy: Entropy,
        check_may_go: Callable[[Person], object] = bool,
    ) -> None:
        self._administration = administration
        self._people = people
        self._agents = agents
        self._clock = clock
        self._entropy = entropy
        self._check_may_go = check_may_go

    async def add(self, name: str, role: PersonRole, by: str) -> str:
        """Let a person in. A revoked person's name may be taken again, with a new token.

        Args:
            name: of `identifiers.NAME`, no role's word, and nobody else's.
            role: what the token may do.
            by: who adds the person, for the receipt.

        Raises:
            CallerError: the name is not of that form (`bad_request`), or an active person or agent has it, or there
                are too many (`conflict`).
            StoreError: it could not be made durable; nothing changed.

        Returns:
            The token. It is not stored, so this is the only time it can be shown.
        """
        # 1. check
        check_name(name, "a name")
        self._administration.check_open()
        async with self._administration.alone(name_subject(name)):
            if self._people.by_name(name) is not None:
                raise CallerError(
                    f"`{name}` exists already",
                    code="conflict",
                    hint=f"run `briefcase operators revoke {name}` first to give a new token",
                )
            if self._agents.by_name(name) is not None:
                raise CallerError(f"an agent has the name `{name}`", code="conflict", hint="choose another name")
            if len(self._people.all()) >= MAX_PEOPLE:
                raise CallerError(f"{MAX_PEOPLE} people are kept already, the revoked too", code="conflict")

            # 2. change and receipt, one transaction
            token = BEGINNING + self._entropy.token()
            digest_hex = hashlib.sha256(token.encode()).hexdigest()
            person = Person(self._entropy.uuid(), name, role, digest_hex, by, self._clock.now_us())
            await self._people.add(person, operator_event("added", name, role, by))
        return token

    async def revoke(self, name: str, by: str) -> None:
        """End a person's access: the token is refused from now on, and what was decided with it stays decided.

        Raises:
            CallerError: no active person has the name (`not_found`), or they have the last device that signs changes
                where only signers are taken (`conflict`).
            StoreError: it could not be made durable; the token is refused until the daemon restarts.
        """
        # 1. check
        self._administration.check_open()
        async with self._administration.alone(name_subject(name)):
            person = self._people.by_name(name)
            if person is None:
                raise CallerError(f"nobody is named `{name}`", code="not_found", hint="see `briefcase operators list`")
            self._check_may_go(person)

            # 2. change and receipt, one transaction
            event = operator_event("revoked", name, person.role, by)
            await self._people.revoke(person, self._clock.now_us(), event)
