"""The relay: approvals of devices on their way to signers, and signers' answers on their way back.

A device puts what waits, sealed so that nothing here can read it; an approver sends an answer, which the device
fetches, verifies and says a word about. This program can hold up either or lose it, and no more: the device takes an
answer by the signature of a signer that it pinned itself, over a binding that names the device and the approval.

Everything is bounded: `MAX_WAITING` of a device wait at a time, one answer of each approver for each approval, and a
row ends an hour after its approval did. What was sealed goes as soon as its approval waits no more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
from sqlalchemy import Row, Select, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from briefcase.core.jose.base64url import JoseError, decode_base64url, encode_base64url
from briefcase.core.wire.relay import (
    LATE,
    MAX_SEALED_BYTES,
    MAX_WAITING,
    AnswerRecord,
    AnswerSent,
    FleetApproval,
    NewAnswer,
    NotKept,
    RelayedAnswer,
    RelayedHead,
    RelayedPut,
    RelayedStatus,
    RelayKept,
    RelayReport,
)
from briefcase.edges.control_plane import schema
from briefcase.edges.control_plane.administrators import Administrator
from briefcase.edges.control_plane.audit import ANSWERED, Act, append_act
from briefcase.edges.control_plane.database import Database, DeviceConnection, UnavailableError
from briefcase.edges.control_plane.device_calls import Device
from briefcase.edges.control_plane.refusals import CONFLICT, INVALID_REQUEST, NOT_FOUND, RefusedError
from briefcase.model.ports import Clock, Entropy
from briefcase.model.types import US_PER_S, format_rfc3339, parse_rfc3339

WITHDRAWN: Final = "withdrawn"

ANSWERS: Final = "briefcase_answers"
"""Where processes are told, with the commit, that a signer answered."""

POLL_S: Final = 2.0
MAX_AGE_US: Final = 86_400 * US_PER_S  # an approval is not kept as waiting for longer, whatever its device says
KEPT_US: Final = 3_600 * US_PER_S  # how long an ended one is seen
MAX_ENDED: Final = 128  # of one device
MAX_LISTED: Final = 1_000

ONE_AT_A_TIME: Final = "select pg_advisory_xact_lock(hashtextextended('relay ' || $1::text, 0))"
END: Final = """
update relayed_approvals as kept set status = ended.status, head = '', sealed = '', changed_at = $5
from unnest($3::uuid[], $4::text[]) as ended (approval, status)
where kept.tenant = $1 and kept.device = $2 and kept.approval = ended.approval and kept.status = 'pending'
"""
SAY: Final = """
update relayed_answers as kept set word = said.word, message = said.message
from unnest($3::uuid[], $4::text[], $5::text[]) as said (answer, word, message)
where kept.tenant = $1 and kept.device = $2 and kept.answer = said.answer and kept.word is null
"""
KEPT: Final = "select approval, status from relayed_approvals where tenant = $1 and device = $2"
PUT: Final = """
insert into relayed_approvals (tenant, device, approval, status, head, sealed, put_at, expires_at, changed_at)
values ($1, $2, $3, 'pending', $4, $5, $6, $7, $6)
on conflict (tenant, device, approval) do update
set status = excluded.status, head = excluded.head, sealed = excluded.sealed, expires_at = excluded.expires_at,
    changed_at = excluded.changed_at
where relayed_approvals.status in ('pending', 'withdrawn')
"""
# An answer that its device said nothing of, and whose approval waits no more, is told so here.
TELL_LATE: Final = """
update relayed_answers as late set word = $3, message = 'the approval is ' || of.status || ' at the device'
from relayed_approvals as of
where late.tenant = $1 and late.device = $2 and late.word is null and of.status <> 'pending'
    and of.tenant = late.tenant and of.device = late.device and of.approval = late.approval
"""
TRIM: Final = """
delete from relayed_approvals where (tenant, device, approval) in (
    select tenant, device, approval from relayed_approvals
    where tenant = $1 and device = $2 and status <> 'pending' order by changed_at desc offset $3
)
"""
OPEN: Final = """
select answer, approval, body from relayed_answers where device = $1 and tenant = $2 and word is null
order by sent_at, answer limit 100
"""
ANSWERED_DEVICES: Final = "select distinct device from relayed_answers where word is null and device = any($1::uuid[])"
EXPIRE: Final = """
update relayed_approvals set status = 'expired', head = '', sealed = '', changed_at = $1
where status = 'pending' and expires_at <= $1
"""
TELL_EXPIRED: Final = """
update relayed_answers as late set word = $1, message = 'the approval is ' || of.status
from relayed_approvals as of
where late.word is null and of.status = 'expired'
    and of.tenant = late.tenant and of.device = late.device and of.approval = late.approval
"""
FORGET: Final = """
delete from relayed_approvals as kept
where status <> 'pending' and changed_at <= $1 or exists (
    select 1 from devices where devices.tenant = kept.tenant and devices.device = kept.device
        and devices.revoked_at is not null
)
"""


class Relay:
    """Carries approvals and answers; wakes the devices that wait for one.

    Args:
        database: where they are between the two.
        clock: the time that approvals end by.
        entropy: makes the ids of answers.
        poll_s: how often answers are looked for without a notification.
    """

    def __init__(self, database: Database, clock: Clock, entropy: Entropy, *, poll_s: float = POLL_S) -> None:
        self._database = database
        self._clock = clock
        self._entropy = entropy
        self._poll_s = poll_s
        self._waiting: dict[UUID, asyncio.Event] = {}
        self._is_over = False

    @property
    def waiting(self) -> int:
        """Devices that wait for an answer now."""
        return len(self._waiting)

    # --- devices --------------------------------------------------------------------------------------------------

    async def report(self, device: Device, report: RelayReport) -> RelayKept:
        """Take what changed at a device, in one transaction.

        Raises:
            RefusedError: a time or a sealed text is of another form (`invalid_request`).
            UnavailableError: nobody knows whether it was taken; it may be sent again.
        """
        now_us = self._clock.now_us()
        puts = [_Put.read(put, now_us) for put in report.put]
        tenant, now = device.tenant, _moment(now_us)
        async with self._database.device_transaction() as connection:
            await connection.execute(ONE_AT_A_TIME, str(device.device))
            # 1. what the device made of answers, and then which approvals ended: an answer that it took is not late
            said = report.said
            answers = [UUID(each.answer_id) for each in said]
            await connection.execute(
                SAY, tenant, device.device, answers, [each.word for each in said], [each.message for each in said]
            )
            ended = [UUID(each.approval_id) for each in report.ended]
            await connection.execute(END, tenant, device.device, ended, [each.status for each in report.ended], now)
            await connection.execute(TELL_LATE, tenant, device.device, LATE)
            # 2. what waits
            not_kept = await self._put(connection, device, puts, now)
            # 3. no more than it may have
            await connection.execute(TRIM, tenant, device.device, MAX_ENDED)
            kept = await connection.fetch(KEPT, tenant, device.device)
        return RelayKept([str(row["approval"]) for row in kept if row["status"] == "pending"], not_kept)

    async def answers(
        self, device: Device, look_up: Callable[[], Awaitable[Device]], timeout_s: float
    ) -> list[RelayedAnswer]:
        """The answers that wait for a device; with none, wait for one.

        Args:
            device: as it was let in.
            look_up: reads it again after the wait; what that raises is the answer.
            timeout_s: the longest wait; 0 waits for none.

        Raises:
            RefusedError: the device was revoked meanwhile.
            UnavailableError: they could not be read.
        """
        answered = asyncio.Event()
        before = self._waiting.pop(device.device, None)
        if before is not None:
            before.set()  # a device waits once: the request before is answered
        self._waiting[device.device] = answered
        try:
            found = await self._open(device)
            if not found and timeout_s and not self._is_over:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(answered.wait(), timeout_s)
                found = await self._open(await look_up())
        finally:
            if self._waiting.get(device.device) is answered:
                del self._waiting[device.device]
        return found

    async def run(self) -> None:
        """Wake devices until cancelled; a database that is away is asked again."""
        while True:
            with contextlib.suppress(UnavailableError, asyncpg.PostgresError):
                heard = asyncio.Event()
                async with self._database.listening(ANSWERS, heard):
                    await self._follow(heard)
            await asyncio.sleep(self._poll_s)

    def end(self) -> None:
        """Let every device that waits have its answer now: the process stops."""
        self._is_over = True
        for waiting in self._waiting.values():
            waiting.set()

    async def _follow(self, heard: asyncio.Event) -> None:
        while True:
            if self._waiting:
                for row in await self._database.fetch(ANSWERED_DEVICES, list(self._waiting)):
                    if row["device"] in self._waiting:
                        self._waiting[row["device"]].set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_s):
                    await heard.wait()
            heard.clear()

    async def _open(self, device: Device) -> list[RelayedAnswer]:
        rows = await self._database.fetch(OPEN, device.device, device.tenant)
        return [
            RelayedAnswer(
                answer_id=str(row["answer"]),
                approval_id=str(row["approval"]),
                **msgspec.structs.asdict(msgspec.json.decode(row["body"], type=NewAnswer)),
            )
            for row in rows
        ]

    async def _put(
        self, connection: DeviceConnection, device: Device, puts: list[_Put], now: datetime
    ) -> list[NotKept]:
        rows = await connection.fetch(KEPT, device.tenant, device.device)
        states: dict[UUID, str] = {row["approval"]: row["status"] for row in rows}
        waiting = sum(status == "pending" for status in states.values())
        not_kept = []
        for put in puts:
            word, before = put.word, states.get(put.approval, WITHDRAWN)
            if before not in {"pending", WITHDRAWN}:
                word = LATE
            elif before == WITHDRAWN and waiting >= MAX_WAITING:
                word = "too_many_approvals"
            if word:
                not_kept.append(NotKept(str(put.approval), word))
                continue
            waiting += before == WITHDRAWN
            states[put.approval] = "pending"
            values = (put.approval, put.head, put.sealed, now, _moment(put.expires_us))
            await connection.execute(PUT, device.tenant, device.device, *values)
        return not_kept

    # --- approvers ------------------------------------------------------------------------------------------------

    async def queue(self, tenant: str) -> list[FleetApproval]:
        """The approvals of a tenant's devices, without what is sealed. Raises `UnavailableError`."""
        approvals = schema.relayed_approvals
        found = _selected(tenant).order_by(approvals.c.status != "pending", approvals.c.expires_at)
        async with self._database.transaction(tenant) as connection:
            rows = (await connection.execute(found.limit(MAX_LISTED))).all()
            answers = await self._answers_of(connection, tenant)
        return [self._shown(row, answers) for row in rows]

    async def show(self, tenant: str, device: UUID, approval: UUID) -> FleetApproval:
        """One approval, with what is sealed.

        Raises:
            RefusedError: no device of the tenant has put one of this id (`not_found`).
            UnavailableError: it could not be read.
        """
        table = schema.relayed_approvals
        async with self._database.transaction(tenant) as connection:
            row = await _one(connection, tenant, device, approval)
            sealed = await connection.scalar(
                select(table.c.sealed).where(
                    table.c.tenant == tenant, table.c.device == device, table.c.approval == approval
                )
            )
            answers = await self._answers_of(connection, tenant, device, approval)
        shown = self._shown(row, answers)
        return msgspec.structs.replace(shown, sealed_b64=encode_base64url(sealed)) if sealed else shown

    async def answer(self, approver: Administrator, device: UUID, approval: UUID, answer: NewAnswer) -> AnswerSent:
        """Keep a signer's answer for its device; a later one of the same approver takes its place.

        Raises:
            RefusedError: there is no such approval (`not_found`), or it waits no more (`conflict`).
            UnavailableError: nobody knows whether it was kept; it may be sent again.
        """
        now_us, tenant, table = self._clock.now_us(), approver.tenant, schema.relayed_answers
        answer_id = UUID(self._entropy.uuid())
        row = {"answer": answer_id, "body": msgspec.json.encode(answer).decode(), "sent_at": _moment(now_us)}
        key = {"tenant": tenant, "device": device, "approval": approval, "sent_by": approver.name}
        async with self._database.transaction(tenant) as connection:
            status = self._status_of(await _one(connection, tenant, device, approval, is_locked=True))
            if status != "pending":
                raise RefusedError(CONFLICT, f"expected an approval that waits, got one that is {status}")
            await connection.execute(
                upsert(table)
                .values(**key, **row)
                .on_conflict_do_update(
                    index_elements=[table.c[name] for name in key], set_={**row, "word": None, "message": None}
                )
            )
            about = {"device_id": str(device), "approval_id": str(approval), "answer": answer.action}
            act = Act(tenant, approver.name, ANSWERED, {**about, "signer_id": answer.signer_id})
            await append_act(connection, act, now_us)
            await connection.execute(text("select pg_notify(:channel, '')"), {"channel": ANSWERS})
        return AnswerSent(str(answer_id))

    async def _answers_of(
        self, connection: AsyncConnection, tenant: str, device: UUID | None = None, approval: UUID | None = None
    ) -> Mapping[tuple[UUID, UUID], list[AnswerRecord]]:
        table = schema.relayed_answers
        wanted = select(table).where(table.c.tenant == tenant).order_by(table.c.sent_at)
        if device is not None:
            wanted = wanted.where(table.c.device == device, table.c.approval == approval)
        found: dict[tuple[UUID, UUID], list[AnswerRecord]] = {}
        for row in await connection.execute(wanted):
            body = msgspec.json.decode(row.body, type=NewAnswer)
            record = AnswerRecord(
                answer_id=str(row.answer),
                sent_by=row.sent_by,
                sent_at_rfc3339=_time(row.sent_at),
                action=body.action,
                signer_id=body.signer_id,
                word=row.word,
                message=row.message,
            )
            found.setdefault((row.device, row.approval), []).append(record)
        return found

    def _status_of(self, row: Row[Any]) -> RelayedStatus:
        is_over = row.status == "pending" and row.expires_at <= _moment(self._clock.now_us())
        status: RelayedStatus = "expired" if is_over else row.status
        return status

    def _shown(self, row: Row[Any], answers: Mapping[tuple[UUID, UUID], list[AnswerRecord]]) -> FleetApproval:
        return FleetApproval(
            device_id=str(row.device),
            device_name=row.name,
            approval_id=str(row.approval),
            status=self._status_of(row),
            put_at_rfc3339=_time(row.put_at),
            expires_at_rfc3339=_time(row.expires_at),
            head=msgspec.json.decode(row.head, type=RelayedHead) if row.head else msgspec.UNSET,
            answers=answers.get((row.device, row.approval), []),
        )


class _Put(msgspec.Struct, frozen=True):
    """An approval that a device puts, read; `word` says why it cannot be kept."""

    approval: UUID
    expires_us: int
    head: str
    sealed: bytes
    word: str

    @classmethod
    def read(cls, put: RelayedPut, now_us: int) -> _Put:
        try:
            expires_us = min(parse_rfc3339(put.expires_at), now_us + MAX_AGE_US)
            sealed = decode_base64url(put.sealed_b64)
        except (ValueError, JoseError):
            raise RefusedError(INVALID_REQUEST, "expected `expires_at` as RFC 3339, `sealed_b64` base64url") from None
        head = "" if put.head is None else msgspec.json.encode(put.head).decode()
        word = LATE if expires_us <= now_us else "too_large" if len(sealed) > MAX_SEALED_BYTES else ""
        return cls(UUID(put.approval_id), expires_us, head, sealed, word)


async def forget_ended(database: Database, now_us: int) -> None:
    """End what has expired, and delete what ended long enough ago or is of a revoked device.

    Args:
        database: of every tenant.
        now_us: the time, microseconds.

    Raises:
        UnavailableError: some of it may have been done; all of it may be done again.
    """
    await database.fetch(EXPIRE, _moment(now_us))
    await database.fetch(TELL_EXPIRED, LATE)
    await database.fetch(FORGET, _moment(now_us - KEPT_US))


def _selected(tenant: str) -> Select[Any]:
    """Every approval of a tenant's devices that are in force, with the device's name and without what is sealed."""
    approvals, devices = schema.relayed_approvals, schema.devices
    columns = [column for column in approvals.c if column.name != "sealed"]
    of = (devices.c.tenant == approvals.c.tenant) & (devices.c.device == approvals.c.device)
    return (
        select(*columns, devices.c.name)
        .join_from(approvals, devices, of)
        .where(approvals.c.tenant == tenant, devices.c.revoked_at.is_(None))
    )


async def _one(
    connection: AsyncConnection, tenant: str, device: UUID, approval: UUID, *, is_locked: bool = False
) -> Row[Any]:
    table = schema.relayed_approvals
    wanted = _selected(tenant).where(table.c.device == device, table.c.approval == approval)
    row: Row[Any] | None = (await connection.execute(wanted.with_for_update(of=table) if is_locked else wanted)).first()
    if row is None:
        raise RefusedError(NOT_FOUND, "no device of the fleet has such an approval")
    return row


def _moment(time_us: int) -> datetime:
    return datetime.fromtimestamp(time_us / US_PER_S, UTC)


def _time(moment: datetime) -> str:
    return format_rfc3339(round(moment.timestamp() * US_PER_S))
