"""Rollouts of a tenant: begun, shown with what the canary devices show, advanced through their gates, rolled back.

Each step is one transaction under the lock of the rollout's row, with its act in the audit chain. The evidence is read
before, so a device that fails in between is seen by the next who looks, not by this step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import Row, desc, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from briefcase.core.fleet.rollouts import ROLLOUT, Evidence, Gates, RolloutState, is_canary, shut_gates
from briefcase.core.policy.backtest import Backtest, RecordedCall, read_lines
from briefcase.core.policy.engine import compile_policy
from briefcase.core.wire.fleet import Convergence, RolloutRecord
from briefcase.edges.control_plane import schema
from briefcase.edges.control_plane.administrators import Administrator
from briefcase.edges.control_plane.audit import ADVANCED, BEGUN, ROLLED_BACK, Act, append_act
from briefcase.edges.control_plane.bundles import Bundles, check_budgets, check_text
from briefcase.edges.control_plane.convergence import Convergences
from briefcase.edges.control_plane.database import Database
from briefcase.edges.control_plane.refusals import CONFLICT, GATE_SHUT, NOT_FOUND, RefusedError
from briefcase.model.errors import CallerError
from briefcase.model.ports import Clock
from briefcase.model.types import US_PER_S, format_rfc3339

MAX_REPLAYED: Final = 20_000  # the newest receipts of the canary devices
EVIDENCE_OF: Final = timedelta(days=30)
MAX_LISTED: Final = 100


class NewRollout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is rolled out, to how many of a thousand devices first, and what must hold before it goes to all."""

    policy_text: str
    budgets: dict[str, int]
    canary_permille: Annotated[int, msgspec.Meta(ge=1, le=999)]
    gates: Gates = Gates()


class Rollouts:
    """The rollouts of every tenant.

    Args:
        database: where they are.
        bundles: signs what is rolled out.
        convergences: measures how soon devices run it.
        clock: tells when a step was taken, and measures the replay.
    """

    def __init__(self, database: Database, bundles: Bundles, convergences: Convergences, clock: Clock) -> None:
        self._database = database
        self._bundles = bundles
        self._convergences = convergences
        self._clock = clock

    async def begin(self, admin: Administrator, new: NewRollout) -> RolloutRecord:
        """Sign a bundle that goes to the canary devices.

        Raises:
            RefusedError: the text or a budget is not as it must be, or another rollout is under way (`conflict`).
            UnavailableError: nobody knows whether it began.
        """
        policy_text = new.policy_text.strip()
        await asyncio.to_thread(check_text, policy_text)
        check_budgets(new.budgets)
        table = schema.rollouts
        async with self._database.transaction(admin.tenant) as connection:
            before = await self._bundles.lock_head(connection, admin.tenant)
            await self._bundles.check_none_under_way(connection, admin.tenant)
            rollout_id = await self._bundles.store(connection, admin, policy_text, new.budgets, is_for_all=False)
            await connection.execute(
                insert(table).values(
                    tenant=admin.tenant,
                    rollout_id=rollout_id,
                    before_id=before,
                    state=RolloutState.CANARY,
                    canary_permille=new.canary_permille,
                    gates=msgspec.json.encode(new.gates).decode(),
                )
            )
            about: dict[str, str | int] = {"rollout_id": rollout_id, "canary_permille": new.canary_permille}
            await append_act(connection, Act(admin.tenant, admin.name, BEGUN, about), self._clock.now_us())
        return await self.show(admin.tenant, rollout_id)

    async def list(self, tenant: str) -> list[RolloutRecord]:
        """The rollouts of a tenant, the newest first. Raises `UnavailableError`."""
        table = schema.rollouts
        query = select(table).where(table.c.tenant == tenant).order_by(desc(table.c.rollout_id)).limit(MAX_LISTED)
        async with self._database.transaction(tenant) as connection:
            return [_shown(row) for row in await connection.execute(query)]

    async def show(self, tenant: str, rollout_id: int) -> RolloutRecord:
        """One rollout with what its canary devices show, and the gates that are shut.

        Raises:
            RefusedError: there is none of this id (`not_found`).
            UnavailableError: it could not be read.
        """
        async with self._database.transaction(tenant) as connection:
            row = await _find(connection, tenant, rollout_id)
        evidence, chosen = await self._evidence(tenant, row)
        shown = _shown(row)
        return msgspec.structs.replace(
            shown,
            evidence=evidence,
            shut_gates=shut_gates(shown.gates, evidence),
            convergence=await self._convergence(tenant, row, chosen),
        )

    async def advance(self, admin: Administrator, rollout_id: int) -> RolloutRecord:
        """Give the bundle to all devices, if every gate is open; an active one whose devices all run it is done.

        Raises:
            RefusedError: a gate is shut (`gate_shut`), there is no such rollout, or it has ended, or somebody else took
                a step meanwhile (`conflict`).
            UnavailableError: nobody knows whether it was advanced.
        """
        shown = await self.show(admin.tenant, rollout_id)
        if shown.shut_gates:
            problems = "; ".join(f"{gate.gate}: {gate.problem}" for gate in shown.shut_gates)
            raise RefusedError(GATE_SHUT, f"rollout {rollout_id} stays where it is: {problems}")
        async with self._database.transaction(admin.tenant) as connection:
            await self._bundles.lock_head(connection, admin.tenant)
            row = await _find(connection, admin.tenant, rollout_id)
            state = RolloutState(row.state)
            if state != shown.state:  # the gates that were looked at are another step's
                raise RefusedError(CONFLICT, f"rollout {rollout_id} became {state} meanwhile: advance it again")
            to = RolloutState.ACTIVE if state is RolloutState.CANARY else RolloutState.DONE
            await self._step(connection, admin, row, to, ADVANCED)
            if to is RolloutState.ACTIVE:
                await self._bundles.give_to_all(connection, admin.tenant, rollout_id)
        return await self.show(admin.tenant, rollout_id)

    async def roll_back(self, admin: Administrator, rollout_id: int) -> RolloutRecord:
        """Give all devices the text from before, under a new id.

        Raises:
            RefusedError: there is no such rollout, or it has ended (`conflict`).
            UnavailableError: nobody knows whether it was rolled back.
        """
        async with self._database.transaction(admin.tenant) as connection:
            await self._bundles.lock_head(connection, admin.tenant)
            row = await _find(connection, admin.tenant, rollout_id)
            await self._step(connection, admin, row, RolloutState.ROLLED_BACK, ROLLED_BACK)
            before = await self._bundles.read(connection, admin.tenant, row.before_id)
            await self._bundles.store(connection, admin, before.policy_text, before.budgets)
        return await self.show(admin.tenant, rollout_id)

    async def _step(
        self, connection: AsyncConnection, admin: Administrator, row: Row[*tuple[Any, ...]], to: RolloutState, act: str
    ) -> None:
        state = RolloutState(row.state)
        if not ROLLOUT.may(state, to):
            raise RefusedError(CONFLICT, f"rollout {row.rollout_id} is {state} and cannot become {to}")
        table = schema.rollouts
        await connection.execute(
            update(table)
            .where(table.c.tenant == row.tenant, table.c.rollout_id == row.rollout_id)
            .values(state=to, changed_at=func.now())
        )
        about: dict[str, str | int] = {"rollout_id": row.rollout_id}
        await append_act(connection, Act(admin.tenant, admin.name, act, about), self._clock.now_us())

    async def _convergence(self, tenant: str, row: Row[*tuple[Any, ...]], chosen: Sequence[UUID]) -> Convergence | None:
        """How soon the canary runs it, and once it was given to all, how soon all; None once another was given."""
        if row.state == RolloutState.CANARY:
            return await self._convergences.of_some(tenant, chosen, row.rollout_id, row.begun_at)
        of_all = await self._convergences.of(tenant)
        return of_all if of_all.bundle_id == row.rollout_id else None

    async def _evidence(self, tenant: str, row: Row[*tuple[Any, ...]]) -> tuple[Evidence, Sequence[UUID]]:
        """What the devices that get the bundle show, the canary's and once it is active all; and these devices."""
        devices, status = schema.devices, schema.device_status
        query = (
            select(devices.c.device, status.c.running_bundle_id, status.c.tried_bundle_id, status.c.last_error)
            .select_from(
                devices.outerjoin(status, (status.c.tenant == devices.c.tenant) & (status.c.device == devices.c.device))
            )
            .where(devices.c.tenant == tenant, devices.c.revoked_at.is_(None))
        )
        share = row.canary_permille if row.state == RolloutState.CANARY else 1_000
        async with self._database.transaction(tenant) as connection:
            chosen = [
                found for found in await connection.execute(query) if is_canary(row.rollout_id, found.device, share)
            ]
            text = (await self._bundles.read(connection, tenant, row.rollout_id)).policy_text
            calls = await _recorded(connection, tenant, [found.device for found in chosen])
        replayed, flips = await asyncio.to_thread(self._replay, text, calls)
        evidence = Evidence(
            devices=len(chosen),
            applied=sum(found.running_bundle_id == row.rollout_id for found in chosen),
            apply_failures=sum(
                found.tried_bundle_id == row.rollout_id
                and found.running_bundle_id != row.rollout_id
                and found.last_error is not None
                for found in chosen
            ),
            replayed=replayed,
            flips=flips,
        )
        return evidence, [found.device for found in chosen]

    def _replay(self, policy_text: str, calls: Sequence[RecordedCall]) -> tuple[int, int]:
        backtest = Backtest(compile_policy(policy_text), self._clock)
        backtest.add(calls)
        report = backtest.report()
        return report.replayed, sum(flip.calls for flip in report.flips)


async def _find(connection: AsyncConnection, tenant: str, rollout_id: int) -> Row[*tuple[Any, ...]]:
    table = schema.rollouts
    query = select(table).where(table.c.tenant == tenant, table.c.rollout_id == rollout_id).with_for_update()
    row = (await connection.execute(query)).first()
    if row is None:
        raise RefusedError(NOT_FOUND, f"no rollout {rollout_id} was begun")
    return row


async def _recorded(connection: AsyncConnection, tenant: str, chosen: Sequence[UUID]) -> list[RecordedCall]:
    """The newest calls of these devices that can be replayed; receipts of other programs are passed over."""
    table = schema.receipts
    query = (
        select(table.c.event)
        .where(table.c.tenant == tenant, table.c.device.in_(chosen), table.c.received_at > func.now() - EVIDENCE_OF)
        .order_by(desc(table.c.received_at), desc(table.c.id))
        .limit(MAX_REPLAYED)
    )
    calls: list[RecordedCall] = []
    for event in await connection.scalars(query):
        try:
            calls += read_lines(b'{"event":%b}' % event.encode())
        except CallerError:
            continue
    return calls


def _shown(row: Row[*tuple[Any, ...]]) -> RolloutRecord:
    return RolloutRecord(
        rollout_id=row.rollout_id,
        before_id=row.before_id,
        state=row.state,
        canary_permille=row.canary_permille,
        gates=msgspec.json.decode(row.gates, type=Gates),
        begun_at_rfc3339=format_rfc3339(int(row.begun_at.timestamp() * US_PER_S)),
        changed_at_rfc3339=format_rfc3339(int(row.changed_at.timestamp() * US_PER_S)),
    )
