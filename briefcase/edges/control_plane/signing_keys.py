"""Which key signs: the life of a signing key, from its making to its end, alike for all processes of a control plane.

| state | its private half | a device |
|---|---|---|
| prepared | in the key files of those processes that were given it | hears of it by the present key's word (`keys`) |
| present | in every key file, or its process signs nothing | pins it with the first thing that it signs |
| retired | destroyed by each process that sees it | follows its word to the next one (`key_chain`) |
| discarded | destroyed by each process that sees it | takes the later word of the present key |

The database says which key is in which state, and holds public keys and words alone. What a request is answered with is
signed by the key that was present in the statement which let the device in, by every process; one whose file lacks that
key refuses (`not_ready`), and says so on `/ready`. A key is switched to when every process that runs has it.

    prepare                                                  a crash right after it leaves
     1. lock the head
     2. the key file: the next key, and the word about it     a key that nobody heard of; the next `prepare` takes it
     3. commit: its row, the acts, the version                a prepared key
    switch
     1. lock the head
     2. check that each process that runs holds the key
     3. commit: both rows, the acts, the version              a new present key; nobody signs with the old one any more
     4. each process: destroy the old one's private half      a file that still has it; the next look destroys it

Publications lock the head, too, though not against each other: a bundle is signed by the key that is present when it is
committed. The order of locks is a tenant's bundle head, this head, tenants.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from functools import partial
from typing import Final, Literal
from uuid import UUID

import asyncpg
import msgspec
from sqlalchemy import RowMapping, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from briefcase.adapters.telemetry.logger import get_logger
from briefcase.core.fleet.bundles import PolicyKey
from briefcase.core.fleet.envelopes import Envelope, NextKey, decode_payload
from briefcase.core.wire.fleet import KeyList, KeyProcess, KeyRecord
from briefcase.edges.control_plane import audit, schema
from briefcase.edges.control_plane.administrators import Administrator
from briefcase.edges.control_plane.database import CHANGES, EVERY_TENANT, LOCK_TABLES, Database, UnavailableError
from briefcase.edges.control_plane.key_file import KeyFile, with_next, without_ended
from briefcase.edges.control_plane.keys import SigningKey
from briefcase.edges.control_plane.refusals import CONFLICT, FORBIDDEN, INVALID_REQUEST, RefusedError
from briefcase.model.errors import BriefcaseError
from briefcase.model.ports import Clock
from briefcase.model.types import US_PER_S, format_rfc3339, parse_rfc3339

LOOK_S: Final = 2.0
LIVE_S: Final = 30  # a process that was not heard of for so long does not run
MAX_CHAIN: Final = 63  # words of earlier keys; a device takes 64 with the present one's (`core/fleet/keys.py`)

PREPARED: Final = "prepared"
PRESENT: Final = "present"
RETIRED: Final = "retired"
DISCARDED: Final = "discarded"

READ: Final = """
select head.version, keys.number, keys.public_b64, keys.state, keys.word, keys.changed_at
from signing_head as head cross join signing_keys as keys order by keys.number
"""
SAY_HELD: Final = """
with forgotten as (delete from signing_processes where seen_at < now() - interval '1 hour')
insert into signing_processes (process, address, held, seen_at) values ($1, $2, $3, now())
on conflict (process) do update set held = excluded.held, seen_at = excluded.seen_at
"""
GONE: Final = "delete from signing_processes where process = $1"

_log: Final = get_logger("briefcase.control_plane")


class Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked of `rotate`: prepare a key, or another in place of one, or switch to one that is prepared."""

    switch_to: str = ""
    replaces: str = ""


class Process(msgspec.Struct, frozen=True):
    """This process, by an id that is used once and an address for people."""

    id: UUID
    address: str


class Signer(msgspec.Struct, frozen=True):
    """What is signed with now, and the siblings that say which key comes after which."""

    key: SigningKey
    earlier: tuple[PolicyKey, ...]
    """The keys before it, by this process's own file: what they signed is signed anew."""
    siblings: dict[str, msgspec.Raw]


class _Row(msgspec.Struct, frozen=True):
    number: int
    public_b64: PolicyKey
    state: Literal["prepared", "present", "retired", "discarded"]
    word: str
    changed_us: int


class _Seen(msgspec.Struct, frozen=True):
    """The keys as the database had them in one version."""

    version: int
    rows: tuple[_Row, ...] = ()

    def of(self, *states: str) -> tuple[_Row, ...]:
        return tuple(row for row in self.rows if row.state in states)

    def keys_of(self, *states: str) -> tuple[PolicyKey, ...]:
        return tuple(row.public_b64 for row in self.of(*states))

    @property
    def present(self) -> _Row:
        for row in self.of(PRESENT):
            return row
        raise UnavailableError("the database has no present signing key")


class SigningKeys:
    """The keys of all processes, as one process has them.

    Args:
        database: says which key is in which state.
        file: this process's key file.
        process: this process.
        clock: the time.
    """

    def __init__(self, database: Database, file: KeyFile, process: Process, clock: Clock) -> None:
        self._database = database
        self._file = file
        self._process = process
        self._clock = clock
        self._seen = _Seen(0)
        self._signer: tuple[int, Signer] | None = None
        self._file_lock = asyncio.Lock()

    # --- signing ------------------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Say which keys this process holds; the first process of all lets its own one sign.

        Raises:
            UnavailableError: the database did not take it.
        """
        await self._say_held()
        ring = self._file.ring
        first = ring.held[0]
        async with self._database.device_transaction() as connection:
            await connection.execute(LOCK_TABLES)
            await connection.execute("insert into signing_head (id, version) values (1, 1) on conflict do nothing")
            if await connection.fetchval("select count(*) from signing_keys"):
                return
            for number, kept in enumerate(ring.upto(first), 1):
                state = PRESENT if kept.public_b64 == first else RETIRED
                await connection.execute(
                    "insert into signing_keys (number, public_b64, state, word) values ($1, $2, $3, $4)",
                    *(number, kept.public_b64, state, _encode(kept.word)),
                )

    async def signer(self, version: int) -> Signer:
        """What is signed with in a version of the keys, as a statement of this moment said it is.

        Raises:
            MissingKeyError: this process's file does not have the present key.
            UnavailableError: the keys could not be read.
        """
        if self._seen.version != version:
            await self._look()
        return self._present()

    async def present(self) -> Signer:
        """What is signed with now. Raises as `signer`."""
        await self._look()
        return self._present()

    async def for_publication(self, connection: AsyncConnection) -> SigningKey:
        """The key that signs what is stored in a transaction; it stays the present one until that ends.

        Raises:
            MissingKeyError: this process's file does not have it.
        """
        await self.hold(connection)
        table = schema.signing_keys
        public_b64: str = (
            await connection.execute(select(table.c.public_b64).where(table.c.state == PRESENT))
        ).scalar_one()
        return self._file.ring.signing_key(public_b64)

    async def hold(self, connection: AsyncConnection) -> None:
        """Let no other key become the present one until a transaction ends."""
        await connection.execute(select(schema.signing_head.c.version).with_for_update(read=True))

    # --- what an administrator does -----------------------------------------------------------------------------------

    async def list(self) -> KeyList:
        """The keys, the newest first, and which process holds which. Raises `UnavailableError`."""
        processes = schema.signing_processes
        async with self._database.transaction(EVERY_TENANT) as connection:
            seen = await _read(connection)
            rows = (await connection.execute(_LIVE.order_by(processes.c.address))).all()
        return KeyList(
            [KeyRecord(row.public_b64, row.state, format_rfc3339(row.changed_us)) for row in reversed(seen.rows)],
            [KeyProcess(row.address, row.held.split()) for row in rows],
        )

    async def rotate(self, admin: Administrator, asked: Rotation) -> KeyList:
        """Prepare a key, or switch to one; what was done already is not done again.

        Raises:
            RefusedError: the administrator is one of a tenant (`forbidden`); another key is prepared, or a process
                does not hold the one that was asked for (`conflict`).
            MissingKeyError: this process's file has no key to go on with.
            UnavailableError: nobody knows whether it was done.
        """
        if not admin.is_first:
            raise RefusedError(FORBIDDEN, "expected the administrator of the environment: the key is all tenants'")
        if asked.switch_to and asked.replaces:
            raise RefusedError(INVALID_REQUEST, "expected `switch_to` or `replaces`, got both")
        await self._keep()
        if asked.switch_to:
            await self._switch(admin, asked.switch_to)
        else:
            await self._prepare(admin, asked.replaces)
        with contextlib.suppress(BriefcaseError):  # it is done, and the next look does the rest
            await self._keep()
        return await self.list()

    async def _prepare(self, admin: Administrator, replaced: PolicyKey) -> None:
        async with self._database.transaction(EVERY_TENANT) as connection:
            # 1. lock
            seen = await _locked(connection)
            prepared = seen.keys_of(PREPARED)
            if prepared and prepared[0] != replaced:
                return
            discarded = (*seen.keys_of(DISCARDED), *prepared)
            if replaced and replaced not in discarded:
                raise RefusedError(CONFLICT, "no such key is prepared")

            # 2. the file
            present = seen.present.public_b64
            earlier_us = [_issued_us(row.word) + 1 for row in seen.of(PREPARED, DISCARDED)]
            issued_us = max([self._clock.now_us(), *earlier_us])  # of two words of one key devices take the later
            edit = partial(with_next, present=present, issued_us=issued_us, discarded=discarded)
            async with self._file_lock:
                ring = await asyncio.to_thread(self._file.change, edit)
            following = ring.keys[len(ring.upto(present))]

            # 3. the rows
            table = schema.signing_keys
            for public_b64 in prepared:
                await _move(connection, public_b64, DISCARDED)
                await self._note(connection, admin, audit.KEY_DISCARDED, public_b64)
            await connection.execute(
                insert(table).values(
                    number=seen.rows[-1].number + 1,
                    public_b64=following.public_b64,
                    state=PREPARED,
                    word=_encode(following.word),
                )
            )
            await self._note(connection, admin, audit.KEY_PREPARED, following.public_b64)
            await _tell(connection)

    async def _switch(self, admin: Administrator, key_b64: PolicyKey) -> None:
        async with self._database.transaction(EVERY_TENANT) as connection:
            # 1. lock
            seen = await _locked(connection)
            if seen.present.public_b64 == key_b64:
                return
            if key_b64 not in seen.keys_of(PREPARED):
                raise RefusedError(CONFLICT, "no such key is prepared")

            # 2. who holds it
            self._file.ring.signing_key(key_b64)
            rows = (await connection.execute(_LIVE)).all()
            lacking = sorted(row.address for row in rows if key_b64 not in row.held.split())
            if lacking:
                raise RefusedError(
                    CONFLICT, f"the key is not in the key file of {', '.join(lacking)}: copy this process's file there"
                )

            # 3. the rows
            await _move(connection, seen.present.public_b64, RETIRED)
            await _move(connection, key_b64, PRESENT)
            await self._note(connection, admin, audit.KEY_SWITCHED, key_b64)
            await _tell(connection)

    async def _note(self, connection: AsyncConnection, admin: Administrator, act: str, key_b64: PolicyKey) -> None:
        """Add the act to the chain of every tenant, whose devices it is about."""
        tenants = schema.tenants
        for tenant in (await connection.scalars(select(tenants.c.tenant).order_by(tenants.c.tenant))).all():
            about: dict[str, str | int] = {"policy_signing_pubkey_b64": key_b64}
            await audit.append_act(connection, audit.Act(tenant, admin.name, act, about), self._clock.now_us())

    # --- what every process does --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow the keys until cancelled; what is away is looked at again."""
        said = ""
        while True:
            try:
                await self._keep()
                said = ""
            except BriefcaseError as error:
                if said != error.message:
                    _log.warning("the signing keys cannot be looked at", problem=error.message, detail=error.detail)
                said = error.message
            await asyncio.sleep(LOOK_S)

    async def end(self) -> None:
        """Let nobody wait for this process any more; it stops."""
        with contextlib.suppress(UnavailableError):
            await self._database.fetch(GONE, self._process.id)

    async def _keep(self) -> None:
        """Take up what the file and the database say now, and destroy what signs no more."""
        await self._look()
        present, discarded = self._seen.present.public_b64, self._seen.keys_of(DISCARDED)
        edit = partial(without_ended, present=present, discarded=discarded)
        async with self._file_lock:
            await asyncio.to_thread(self._file.read_again)
            if edit(self._file.ring) != self._file.ring:
                await asyncio.to_thread(self._file.change, edit)
        await self._say_held()

    async def _look(self) -> None:
        rows = await self._database.fetch(READ)
        self._seen = _Seen(rows[0]["version"] if rows else 0, tuple(map(_row, rows)))

    async def _say_held(self) -> None:
        held = " ".join(self._file.ring.held)
        await self._database.fetch(SAY_HELD, self._process.id, self._process.address, held)

    def _present(self) -> Signer:
        seen = self._seen
        key = self._file.ring.signing_key(seen.present.public_b64)
        if self._signer is None or self._signer[0] != seen.version or self._signer[1].key.public_b64 != key.public_b64:
            earlier = tuple(kept.public_b64 for kept in self._file.ring.upto(key.public_b64)[:-1])
            self._signer = (seen.version, Signer(key, earlier, _siblings(seen)))
        return self._signer[1]


_LIVE: Final = select(schema.signing_processes).where(
    schema.signing_processes.c.seen_at > func.now() - timedelta(seconds=LIVE_S)
)


async def _locked(connection: AsyncConnection) -> _Seen:
    await connection.execute(select(schema.signing_head.c.version).with_for_update())
    return await _read(connection)


async def _read(connection: AsyncConnection) -> _Seen:
    rows = (await connection.execute(text(READ))).mappings().all()
    return _Seen(rows[0]["version"], tuple(map(_row, rows)))


async def _move(connection: AsyncConnection, public_b64: PolicyKey, state: str) -> None:
    table = schema.signing_keys
    await connection.execute(
        update(table).where(table.c.public_b64 == public_b64).values(state=state, changed_at=func.now())
    )


async def _tell(connection: AsyncConnection) -> None:
    """Make another version of the keys, and wake every process with the commit."""
    await connection.execute(update(schema.signing_head).values(version=schema.signing_head.c.version + 1))
    await connection.execute(text("select pg_notify(:channel, '')"), {"channel": CHANGES})


def _row(row: asyncpg.Record | RowMapping) -> _Row:
    changed_us = int(row["changed_at"].timestamp() * US_PER_S)
    return _Row(row["number"], row["public_b64"], row["state"], row["word"], changed_us)


def _siblings(seen: _Seen) -> dict[str, msgspec.Raw]:
    """`key_chain`: the words of earlier keys; `keys`: the present key's word, or the last one where it has none."""
    chain = [row.word for row in seen.of(RETIRED, PRESENT) if row.word][-MAX_CHAIN:]
    words = chain + [row.word for row in seen.of(PREPARED)]
    siblings = {"keys": msgspec.Raw(words[-1].encode())} if words else {}
    return siblings | ({"key_chain": msgspec.Raw(f"[{','.join(chain)}]".encode())} if chain else {})


def _issued_us(word: str) -> int:
    envelope = msgspec.json.decode(word, type=Envelope)
    return parse_rfc3339(msgspec.json.decode(decode_payload(envelope.payload), type=NextKey).issued_at)


def _encode(word: Envelope | None) -> str:
    return "" if word is None else msgspec.json.encode(word).decode()
