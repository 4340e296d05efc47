"""A device's call: its token and proof checked here, what they are of in one statement for a group of calls.

 1. there is one bearer token                                          401 `missing_token`
 2. the proof holds for the token, the method and the URL (DPoP)       401 `missing_dpop`, `invalid_dpop`
 3. in the database, in one statement for all calls that wait:
    the device is enrolled, its token is this one, it is not revoked   401 `unknown_device`, `invalid_token`
    the proof is of the enrolled key                                   401 `invalid_dpop`
    the proof was not used before, and now is                          409 `replay_detected`

The order of the words is the contract's: where step 2 fails, the device and its token are looked up first, and what is
wrong with them is told. Nothing about a device is remembered here: a revocation holds from its commit.

A group waits up to `LINGER_S` for more calls (`groups.py`): at 1,667 a second that costs half the processor time of
calls one by one (docs/adr/0033). The verdict of each is in the rows of the group's own transaction. Devices are looked
up in groups, too: thousands that waited for a policy are, at once.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Final, TypeAlias
from uuid import UUID

import asyncpg
import msgspec

from briefcase.core.fleet.rollouts import is_canary
from briefcase.core.fleet.words import (
    INVALID_DPOP,
    INVALID_TOKEN,
    MISSING_DPOP,
    MISSING_TOKEN,
    REPLAY_DETECTED,
    UNKNOWN_DEVICE,
)
from briefcase.core.jose.dpop import Proof, ProofWindow, check_proof
from briefcase.edges.control_plane.database import Database
from briefcase.edges.control_plane.groups import Groups
from briefcase.edges.control_plane.refusals import RefusedError
from briefcase.model.errors import BriefcaseError
from briefcase.model.ports import Clock
from briefcase.model.types import US_PER_S

LINGER_S: Final = 0.01
MAX_WAITING: Final = 4_096  # calls of one process; more are told to come again
WINDOW: Final = ProofWindow(max_age_s=120, max_future_s=120)
JTI_S: Final = 600  # how long a proof's id is remembered at least
SLOT_S: Final = 150
SLOTS: Final = 8  # of the ring of used proofs; those of 840 s can be needed, the slot after them is emptied

_BEARER: Final = "Bearer "

# `lateral` and `offset 0` keep the planner from joining a group with all devices, or with all proofs: what it
# expects of a table that grows by thousands a second is wrong, and each call is a look-up by a whole key.
USE_PROOFS: Final = """
with asked as (
    select * from unnest($1::int[], $2::uuid[], $3::bytea[], $4::text[], $5::bytea[], $6::smallint[])
        as asked (n, device, token_hash, jkt, jti, slot)
), found as (
    select asked.n, asked.device, asked.jti, asked.slot,
           known.tenant, known.last_id, known.bundle_id, known.mandatory_id, known.rollout_id, known.canary_permille,
           known.key_version,
           known.token_hash = asked.token_hash and known.revoked_at is null as is_token,
           known.jkt = asked.jkt as is_key
    from asked left join lateral (
        select * from device_bundles where device_bundles.device = asked.device offset 0
    ) as known on true
), used as (
    insert into dpop_jtis (tenant, device, jti, slot)
    select tenant, device, jti, slot from found
    where is_token and is_key and not exists (
        select from dpop_jtis as old
        where old.tenant = found.tenant and old.device = found.device and old.jti = found.jti
        offset 0
    )
    order by tenant, device, jti
    on conflict do nothing
    returning device, jti
)
select found.*, exists (select from used where used.device = found.device and used.jti = found.jti) as is_new
from found
"""

LOOK_UP: Final = """
select asked.n, known.*, known.token_hash = asked.token_hash and known.revoked_at is null as is_token
from unnest($1::int[], $2::uuid[], $3::bytea[]) as asked (n, device, token_hash)
left join lateral (
    select * from device_bundles where device_bundles.device = asked.device offset 0
) as known on true
"""

Version: TypeAlias = tuple[int, int, int, int]
"""What decides who of a tenant gets what: the highest bundle id, that for all, the mandatory part, the keys' version;
all only grow."""


class Credentials(msgspec.Struct, frozen=True):
    """What a device's call brought, with its signature checked and its key not yet compared."""

    device: UUID
    token_hash: bytes
    proof: Proof

    @property
    def slot(self) -> int:
        """Where in the ring the proof is noted."""
        return slot_of(self.proof.iat_s)


class Device(msgspec.Struct, frozen=True):
    """A device that was let in, with what it gets, read in the same statement, and the version that says so."""

    tenant: str
    device: UUID
    bundle_id: int
    mandatory_id: int
    key_version: int
    version: Version

    @property
    def etag(self) -> str:
        """What it gets, as an entity tag (RFC 9110 section 8.8.3)."""
        return f'"{self.bundle_id}.{self.mandatory_id}.{self.key_version}"'


_Call: TypeAlias = tuple[Credentials, "asyncio.Future[Device]"]
_LookUp: TypeAlias = tuple[tuple[UUID, bytes], "asyncio.Future[asyncpg.Record]"]


class DeviceCalls:
    """Lets devices in; one task commits the groups.

    Args:
        database: what devices are enrolled, and which proofs were used.
        clock: the time that proofs are compared with.
        base_url: the control plane's own address, as devices see it.
        linger_s: how long a group waits for more calls.
    """

    def __init__(self, database: Database, clock: Clock, base_url: str, *, linger_s: float = LINGER_S) -> None:
        self._database = database
        self._clock = clock
        self._base_url = base_url
        self._calls = Groups(self._commit, linger_s=linger_s)
        self._look_ups = Groups(self._read)

    async def run(self) -> None:
        """Commit and look up groups until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._calls.run())
            tasks.create_task(self._look_ups.run())

    async def credentials(
        self, device_id: str, method: str, target: str, tokens: Sequence[str], proofs: Sequence[str]
    ) -> Credentials:
        """Steps 1 and 2.

        Args:
            device_id: from the path.
            method: of the request.
            target: path and query as they were sent.
            tokens: every `authorization` field.
            proofs: every `dpop` field.

        Raises:
            RefusedError: as the module says.
            UnavailableError: the device could not be looked up.
        """
        token = bearer_of(tokens)
        token_hash = hash_token(token)
        device = _parse_device(device_id)
        url = self._base_url + target
        checked = check_proof(proofs, method, url, self._clock.now_us(), access_token=token, window=WINDOW)
        if isinstance(checked, Proof):
            return Credentials(device, token_hash, checked)
        await self._look_up(device, token_hash)
        raise RefusedError(INVALID_DPOP if proofs else MISSING_DPOP, checked.problem)

    async def bearer(self, device_id: str, tokens: Sequence[str]) -> UUID:
        """Let a device in by its token alone, as the contract has it for a remote signer.

        Raises:
            RefusedError: the token is missing or another, or no such device is enrolled.
            UnavailableError: it could not be looked up.
        """
        token_hash = hash_token(bearer_of(tokens))
        device = _parse_device(device_id)
        await self._look_up(device, token_hash)
        return device

    async def let_in(self, credentials: Credentials) -> Device:
        """Step 3.

        Raises:
            RefusedError: as the module says.
            UnavailableError: nobody knows whether the proof was used; the device comes again with another.
        """
        if len(self._calls) >= MAX_WAITING:
            raise BriefcaseError("too many devices wait", code="not_ready")
        return await self._calls.ask(credentials)

    async def look_up(self, credentials: Credentials) -> Device:
        """Read again a device that was let in, after a long wait.

        Raises:
            RefusedError: it was revoked, or its token is another.
            UnavailableError: it could not be read.
        """
        return await self._look_up(credentials.device, credentials.token_hash)

    async def find(self, device: UUID) -> Device:
        """A device that is enrolled, without its token.

        Raises:
            RefusedError: no such device is enrolled any more.
            UnavailableError: it could not be read.
        """
        row = await self._look_ups.ask((device, b""))
        _check_found(row["tenant"] is not None, is_token=True)
        return _device(device, row)

    async def _look_up(self, device: UUID, token_hash: bytes) -> Device:
        row = await self._look_ups.ask((device, token_hash))
        _check_found(row["tenant"] is not None, is_token=bool(row["is_token"]))
        return _device(device, row)

    async def _read(self, group: Sequence[_LookUp]) -> None:
        """One statement for a group."""
        devices, token_hashes = [asked[0] for asked, _ in group], [asked[1] for asked, _ in group]
        for row in await self._database.fetch(LOOK_UP, list(range(len(group))), devices, token_hashes):
            answer = group[row["n"]][1]
            if not answer.done():
                answer.set_result(row)

    async def _commit(self, group: Sequence[_Call]) -> None:
        """One transaction for a group; each caller gets its own verdict."""
        calls = _once(group)
        rows = await self._database.fetch(
            USE_PROOFS,
            list(range(len(calls))),
            [asked.device for asked, _ in calls],
            [asked.token_hash for asked, _ in calls],
            [asked.proof.jkt for asked, _ in calls],
            [asked.proof.replay_key for asked, _ in calls],
            [asked.slot for asked, _ in calls],
        )
        for row in rows:
            asked, answer = calls[row["n"]]
            if not answer.done():
                _tell(answer, asked, row)


def _once(group: Sequence[_Call]) -> list[_Call]:
    """A group without the calls that bring another's proof, which are refused at once."""
    once: dict[tuple[UUID, bytes], _Call] = {}
    for asked, answer in group:
        if once.setdefault((asked.device, asked.proof.replay_key), (asked, answer))[1] is not answer:
            answer.set_exception(_replayed())
    return list(once.values())


def _tell(answer: asyncio.Future[Device], asked: Credentials, row: asyncpg.Record) -> None:
    try:
        check_let_in(row["tenant"], is_token=row["is_token"], is_key=row["is_key"], is_new=row["is_new"])
    except RefusedError as refused:
        answer.set_exception(refused)
    else:
        answer.set_result(_device(asked.device, row))


def _device(device: UUID, row: asyncpg.Record) -> Device:
    rollout_id, bundle_id = row["rollout_id"], row["bundle_id"]
    if rollout_id is not None and is_canary(rollout_id, device, row["canary_permille"]):
        bundle_id = rollout_id
    return Device(row["tenant"], device, bundle_id, row["mandatory_id"], row["key_version"], version_of(row))


def version_of(row: asyncpg.Record) -> Version:
    """The version that a row has."""
    return row["last_id"], row["bundle_id"], row["mandatory_id"], row["key_version"]


def check_let_in(tenant: str | None, *, is_token: bool | None, is_key: bool | None, is_new: bool) -> None:
    """What the database said of a call, in the order of the contract's words.

    Raises:
        RefusedError: the device is not let in.
    """
    _check_found(tenant is not None, is_token=bool(is_token))
    if not is_key:
        raise RefusedError(INVALID_DPOP, "the proof is not of the enrolled key")
    if not is_new:
        raise _replayed()


def bearer_of(tokens: Sequence[str]) -> str:
    """The token of a request.

    Args:
        tokens: every `authorization` field.

    Raises:
        RefusedError: there is not exactly one, or it is of another scheme (`missing_token`).
    """
    if len(tokens) != 1 or not tokens[0].startswith(_BEARER):
        raise RefusedError(MISSING_TOKEN, "expected one `authorization: Bearer` header")
    return tokens[0].removeprefix(_BEARER)


def hash_token(token: str) -> bytes:
    """How a token is stored: SHA-256 of its text."""
    return hashlib.sha256(token.encode(errors="replace")).digest()


def slot_of(iat_s: int) -> int:
    """The part of the ring of used proofs that a time falls into, seconds since the Unix epoch."""
    return iat_s // SLOT_S % SLOTS


def empty_slot(now_us: int) -> int:
    """The part of the ring that no proof of the last `JTI_S` seconds, nor any that would be let in, falls into."""
    return slot_of(now_us // US_PER_S + WINDOW.max_future_s + SLOT_S)


def _check_found(is_known: bool, *, is_token: bool) -> None:  # noqa: FBT001
    if not is_known:
        raise RefusedError(UNKNOWN_DEVICE, "no device of this id is enrolled")
    if not is_token:
        raise RefusedError(INVALID_TOKEN, "the device's token is another, or the device was revoked")


def _replayed() -> RefusedError:
    return RefusedError(REPLAY_DETECTED, "the proof was used before")


def _parse_device(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise RefusedError(UNKNOWN_DEVICE, "expected a device's id, a UUID") from None
