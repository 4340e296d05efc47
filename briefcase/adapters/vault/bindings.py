"""Where each of the operator's secrets may go: a list of destinations kept beside it, checked as it is sent.

A secret's name is all that a manifest or a server says of it, and two of them may say the same name for two hosts. So a
secret leaves only for a destination it is bound to:

- `host` or `host:port` for what goes over HTTP; without a port it is 443
- `process/ID` for the environment of the MCP server ID, which can send it anywhere

The operator binds a secret (`secrets set --host`, `secrets bind`). One that nobody bound is bound to the one
destination that names it, when that is loaded, registered or first used. Where two name it, it goes nowhere until the
operator says where.

Order of a change: a secret that gets other destinations is bound to none first, so a crash in between sends it nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from briefcase.adapters.net.urls import parse_authority, parse_url
from briefcase.model.errors import CallerError, StoreError, UpstreamError
from briefcase.model.ports import Claim, Secrets

MAX_DESTINATIONS: Final = 32
PROCESS: Final = "process/"
HTTPS_PORT: Final = 443
# The record is a value of the vault, so the redactor knows it: nobody writes this line by accident.
_MARK: Final = b"briefcase: a secret's destinations\n"
_PROCESS: Final = re.compile(r"process/[a-z0-9._-]{1,64}")


class SecretDestinations:
    """`ports.BoundSecrets` over the vault.

    Args:
        secrets: the operator's secrets.
        kept: the vault's compartment of their destinations.
        claims: what is loaded and registered now says of secrets.
    """

    def __init__(self, secrets: Secrets, kept: Secrets, claims: Callable[[], Iterable[Claim]] = tuple) -> None:
        self._secrets = secrets
        self._kept = kept
        self._claims = claims

    async def get_for(self, name: str, destination: str) -> bytes | None:
        """See `ports.BoundSecrets`."""
        value = await self._secrets.get(name)
        if value is None:
            return None
        bound = await self.destinations(name)
        if bound is None:
            claimed = self._claimed(name) | {destination}
            if len(claimed) > 1:
                raise _refused(f"the secret `{name}` is named for {_listed(claimed)}, and is bound to none", name)
            bound = await self.bind(name, (destination,))
        if destination not in bound:
            raise _refused(f"the secret `{name}` is bound to {_listed(bound)}, not to `{destination}`", name)
        return value

    async def destinations(self, name: str) -> tuple[str, ...] | None:
        """Where a secret may go; None where nobody said yet.

        Raises:
            StoreError: the record is not one of ours (`secret_unavailable`).
        """
        record = await self._kept.get(name)
        if record is None:
            return None
        if not record.startswith(_MARK):
            raise StoreError(f"the destinations of the secret `{name}` are unreadable", code="secret_unavailable")
        return tuple(record.removeprefix(_MARK).decode().split())

    async def all_destinations(self) -> dict[str, list[str]]:
        """The destinations of each secret that has some."""
        found = {}
        for name in await self._kept.names():
            bound = await self.destinations(name)
            if bound is not None:
                found[name] = list(bound)
        return found

    async def bind(self, name: str, destinations: Sequence[str]) -> tuple[str, ...]:
        """Say where a secret may go, in place of what was said; durable when this returns."""
        bound = tuple(sorted(set(destinations)))
        await self._kept.put(name, _MARK + "\n".join(bound).encode())
        return bound

    async def put(self, name: str, value: bytes, destinations: Sequence[str] | None = None) -> None:
        """Set a secret; where destinations are given, it is bound to these, else it keeps what it has."""
        if destinations is None:
            await self._secrets.put(name, value)
            await self.settle()
            return
        await self.bind(name, ())
        # (a crash right here leaves a secret that goes nowhere)
        await self._secrets.put(name, value)
        await self.bind(name, destinations)

    async def delete(self, name: str) -> bool:
        """Remove a secret and where it may go; False where it was not set."""
        if await self._kept.get(name) is not None:
            await self.bind(name, ())
        # (a crash from here on leaves a name that goes nowhere: who sets it again says where)
        was_set = await self._secrets.delete(name)
        await self._kept.delete(name)
        return was_set

    async def names(self) -> Sequence[str]:
        """The names of all secrets, sorted."""
        return await self._secrets.names()

    async def settle(self) -> None:
        """Bind every secret that nobody bound and that one destination names."""
        for name in {claim.secret for claim in self._claims()}:
            claimed = self._claimed(name)
            if len(claimed) == 1 and await self.destinations(name) is None:
                await self.bind(name, tuple(claimed))

    async def check_claims(self, claims: Sequence[Claim]) -> None:
        """Check what a new registration says, before anything of it is kept.

        Raises:
            CallerError: a secret is bound to, or named for, another destination (`conflict`).
        """
        for claim in claims:
            bound = await self.destinations(claim.secret)
            others = {
                known.destination
                for known in (*self._claims(), *claims)
                if known.secret == claim.secret and known.by != claim.by
            }
            if bound is None and others <= {claim.destination}:
                continue
            if bound is not None and claim.destination in bound:
                continue
            known = _listed(others if bound is None else bound)
            raise CallerError(
                f"the secret `{claim.secret}` is for {known}, and {claim.by} would send it to `{claim.destination}`",
                code="conflict",
                hint=f"use another name, or allow both: `briefcase secrets bind {claim.secret} --host …`",
            )

    def _claimed(self, name: str) -> set[str]:
        return {claim.destination for claim in self._claims() if claim.secret == name}


def host_of(url: str) -> str:
    """The destination of a URL.

    Raises:
        ValueError: it is no URL this product would send to.
    """
    parsed = parse_url(url)
    host = f"[{parsed.host}]" if ":" in parsed.host else parsed.host
    return host if (parsed.scheme, parsed.port) == ("https", HTTPS_PORT) else f"{host}:{parsed.port}"


def parse_destinations(texts: Sequence[str]) -> tuple[str, ...]:
    """Read destinations that an operator wrote.

    Raises:
        CallerError: one is none, or there are none or too many.
    """
    if not 0 < len(texts) <= MAX_DESTINATIONS:
        raise CallerError(f"expected 1 to {MAX_DESTINATIONS} hosts, got {len(texts)}")
    return tuple(_parse_destination(text) for text in texts)


def _parse_destination(text: str) -> str:
    if _PROCESS.fullmatch(text):
        return text
    try:
        host, port = parse_authority(text)
    except ValueError as error:
        hint = "write `desk.example.com`, `desk.example.com:8443`, or `process/ID` for the server ID"
        raise CallerError(str(error), hint=hint) from None
    shown = f"[{host}]" if ":" in host else host
    return shown if port in {None, HTTPS_PORT} else f"{shown}:{port}"


def _listed(destinations: Iterable[str]) -> str:
    return ", ".join(f"`{destination}`" for destination in sorted(destinations)) or "no host"


def _refused(problem: str, name: str) -> UpstreamError:
    hint = f"say where it may go: `briefcase secrets bind {name} --host HOST`"
    return UpstreamError(problem, code="sandbox_violation", hint=hint, sent=False)
