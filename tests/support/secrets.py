"""Secrets in a dictionary: their custody, where they go, and what they are bound to."""

from __future__ import annotations

from collections.abc import Sequence

from briefcase.model.errors import CallerError
from briefcase.model.ports import Claim


class FakeSecrets:
    """A compartment of the vault, and what a redactor must know of it.

    `asked` is which names were read, `destinations` where to; nothing is bound, so each goes anywhere.
    """

    revision = 1

    def __init__(self, **values: str) -> None:
        self.kept = {name: value.encode() for name, value in values.items()}
        self.asked: list[str] = []
        self.destinations: list[str] = []

    async def get(self, name: str) -> bytes | None:
        self.asked.append(name)
        return self.kept.get(name)

    async def get_for(self, name: str, destination: str) -> bytes | None:
        self.destinations.append(destination)
        return await self.get(name)

    async def put(self, name: str, value: bytes) -> None:
        self.kept[name] = value

    async def delete(self, name: str) -> bool:
        return self.kept.pop(name, None) is not None

    async def names(self) -> Sequence[str]:
        return sorted(self.kept)

    def redaction_set(self) -> frozenset[bytes]:
        return frozenset(self.kept.values())


class FakeBindings:
    """The operator's secrets and their destinations: refuses claims where `problem` says, counts what settles."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.bound: dict[str, tuple[str, ...]] = {}
        self.problem: str | None = None
        self.settled = 0

    async def put(self, name: str, value: bytes, destinations: Sequence[str] | None = None) -> None:
        self.kept[name] = value
        if destinations is not None:
            await self.bind(name, destinations)

    async def bind(self, name: str, destinations: Sequence[str]) -> tuple[str, ...]:
        self.bound[name] = tuple(sorted(destinations))
        return self.bound[name]

    async def delete(self, name: str) -> bool:
        self.bound.pop(name, None)
        return self.kept.pop(name, None) is not None

    async def names(self) -> Sequence[str]:
        return sorted(self.kept)

    async def check_claims(self, claims: Sequence[Claim]) -> None:
        if self.problem and claims:
            raise CallerError(self.problem, code="conflict")

    async def settle(self) -> None:
        self.settled += 1
