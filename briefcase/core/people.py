"""The people who work with the daemon: each has a name, a role and a token of their own, so that receipts say who.

| role | may |
|---|---|
| operator | do everything |
| approver | see what waits for a person, and say yes or no |
| auditor | read receipts and diagnostics |

The tokens of `auth_token` and of the auditor's variable are nobody's in particular and stay what they are: the first
operator can always let others in. Only a token's SHA-256 is kept, in the ledger, in the transaction of the receipt of
who added or revoked the person (`operator.people`); so a row that somebody wrote by hand is found
(`receipts verify --state`).
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from briefcase.model.effects import Entry, PutSetting, Refused
from briefcase.model.errors import StoreError
from briefcase.model.ports import Ledger
from briefcase.model.types import JsonObject, Principal, Role

SETTING: Final = "people"
PersonRole = Literal["operator", "approver", "auditor"]
ROLES: Final[dict[PersonRole, Role]] = {"operator": Role.OPERATOR, "approver": Role.APPROVER, "auditor": Role.AUDITOR}


class Person(msgspec.Struct, frozen=True):
    """One person. `token_digest` is the SHA-256 of the token, in hex; `revoked_us` is None while the token works.

    `id` is never used again, while a name may be, once its person was revoked.
    """

    id: str
    name: str
    role: PersonRole
    token_digest: str
    by: str
    created_us: int
    revoked_us: int | None = None


class People:
    """The named people, kept in the ledger. All methods are called from one event loop.

    Args:
        ledger: where they are kept, each change with its receipt.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        stored = ledger.setting(SETTING)
        self._people = msgspec.json.decode(stored, type=tuple[Person, ...]) if stored else ()
        self._asked = self._people  # what the last commit asked for stores; commits take effect in their order
        self._by_digest: dict[bytes, Principal] = {}
        self._index()

    def all(self) -> tuple[Person, ...]:
        """Everyone, the revoked too, oldest first."""
        return self._people

    def by_token_digest(self, digest: bytes) -> Principal | None:
        """The person whose token has this SHA-256 (32 bytes), unless revoked; from memory, at once."""
        return self._by_digest.get(digest)

    def by_name(self, name: str) -> Person | None:
        """The person of this name whose token works, or will once that is durable."""
        return next((one for one in self._asked if one.name == name and one.revoked_us is None), None)

    def is_active(self, principal: Principal) -> bool:
        """Whether a token of this principal's works; those that are nobody's in particular always do."""
        return not principal.identity or any(one.identity == principal.identity for one in self._by_digest.values())

    async def add(self, person: Person, event: JsonObject) -> None:
        """Let a person in, once that is durable.

        Args:
            person: the new one, of a name that nobody active has.
            event: its receipt.

        Raises:
            StoreError: it could not be made durable; nothing changed.
        """
        try:
            await self._store((*self._asked, person), event)
        except BaseException:
            self._asked = tuple(one for one in self._asked if one.id != person.id)
            raise
        self._people = (*self._people, person)
        self._index()

    async def revoke(self, person: Person, now_us: int, event: JsonObject) -> None:
        """End a person's access, at once: tightening need not wait for the disk. Durable when this returns.

        Raises:
            StoreError: it could not be made durable. The token is refused until the daemon restarts: revoke again.
        """
        ended = msgspec.structs.replace(person, revoked_us=now_us)
        self._people = _with(self._people, ended)
        self._index()
        try:
            await self._store(_with(self._asked, ended), event)
        except BaseException:
            self._asked = _with(self._asked, person)
            raise

    async def _store(self, people: tuple[Person, ...], event: JsonObject) -> None:
        self._asked = people
        committed = await self._ledger.commit(Entry(event, (PutSetting(SETTING, msgspec.json.encode(people)),)))
        if isinstance(committed, Refused):
            raise StoreError(f"the change was not stored: {committed.reason}")

    def _index(self) -> None:
        known = {principal.identity: principal for principal in self._by_digest.values()}
        active = [(one, f"{one.name}#{one.id}") for one in self._people if one.revoked_us is None]
        self._by_digest = {
            bytes.fromhex(one.token_digest): known.get(identity)
            or Principal(one.name, ROLES[one.role], identity=identity)
            for one, identity in active
        }


def _with(people: tuple[Person, ...], changed: Person) -> tuple[Person, ...]:
    return tuple(changed if one.id == changed.id else one for one in people)
