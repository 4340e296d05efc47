"""Calls that are held while a person decides: one look for all of an agent's, and no connection between two looks.

 1. a call that needs a person is held until the decision, until its time is over, or until its client leaves
 2. for an agent that has held calls, one task looks at their approvals every `PACE_S`, `IDS_AT_ONCE` in one request
 3. meanwhile the client hears that its request lives: its stream is opened, and there is progress where it asked for it
 4. a call past the bounds is not held, and is answered at once

Holding decides nothing. Whoever held goes on with the approval's id, which the daemon uses up once; where nobody holds
any more, the agent's retry does.

# INVARIANT (held): what a call holds here ends with its request, whatever ends that.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final, TypeAlias

from briefcase.core.wire.approvals import MAX_IDS, ApprovalList, ApprovalRecord
from briefcase.edges.gateway.context import Context
from briefcase.edges.gateway.daemon import Daemon, DaemonError
from briefcase.model.types import JsonValue

PACE_S: Final = 0.2
LOOKS_A_SECOND: Final = 500  # of all agents together: more agents are looked after less often
IDS_AT_ONCE: Final = MAX_IDS
MAX_HELD: Final = 4_096
MAX_HELD_FOR_EACH: Final = 256
TELL_S: Final = 5.0

Decision: TypeAlias = "asyncio.Future[ApprovalRecord]"


class Holding:
    """Every call of the process that is held.

    Args:
        daemon: whom to ask.
        hold_s: how long a request may be held, from its beginning; 0 for not at all.
    """

    def __init__(self, daemon: Daemon, hold_s: float) -> None:
        self._daemon = daemon
        self._hold_s = hold_s
        self._held: dict[str, dict[str, list[Decision]]] = {}  # by the agent's token, and the approval's id
        self._counts: Counter[str] = Counter()
        self._looking: dict[str, asyncio.Task[None]] = {}

    async def decided(
        self, approval_id: str, context: Context, progress_token: JsonValue, at_least_s: float = 0.0
    ) -> ApprovalRecord | None:
        """Hold a call until a person has decided.

        Args:
            approval_id: what the person decides.
            context: whose call it is, and since when.
            progress_token: what the client wants to hear of it by; None where it does not.
            at_least_s: how long it is held whatever the setting says.

        Raises:
            DaemonError: the agent's token is not taken any more.

        Returns:
            The approval as it was decided; None where it was not in time, or is not held.
        """
        loop = asyncio.get_running_loop()
        until_s = max(context.began_s + self._hold_s, loop.time() + at_least_s)
        if not context.may_hold or until_s <= loop.time() or not self._has_room(context.token):
            return None
        with self._waiting(context.token, approval_id) as decision:
            context.channel.when_left(decision.cancel)
            if self._hold_s:
                await context.channel.begin()
            while not decision.done() and (left_s := until_s - loop.time()) > 0:
                if progress_token is not None:
                    await _tell(context, progress_token, approval_id, left_s)
                await asyncio.wait({decision}, timeout=min(left_s, TELL_S))
            return decision.result() if decision.done() and not decision.cancelled() else None

    def _has_room(self, token: str) -> bool:
        return self._counts.total() < MAX_HELD and self._counts[token] < MAX_HELD_FOR_EACH

    @contextmanager
    def _waiting(self, token: str, approval_id: str) -> Iterator[Decision]:
        decision: Decision = asyncio.get_running_loop().create_future()
        held = self._held.setdefault(token, {})
        held.setdefault(approval_id, []).append(decision)
        self._counts[token] += 1
        if token not in self._looking:
            self._looking[token] = asyncio.create_task(self._look_after(token))
        try:
            yield decision
        finally:
            decision.cancel()
            held[approval_id].remove(decision)
            if not held[approval_id]:
                del held[approval_id]
            self._counts[token] -= 1
            if not self._counts[token]:
                del self._counts[token], self._held[token]
                self._looking.pop(token).cancel()

    async def _look_after(self, token: str) -> None:
        """Look at an agent's held calls until it has none, which cancels this."""
        while True:
            await asyncio.sleep(max(PACE_S, len(self._looking) / LOOKS_A_SECOND))
            ids = list(self._held[token])
            try:
                for at in range(0, len(ids), IDS_AT_ONCE):
                    path = f"/v1/approvals?ids={','.join(ids[at : at + IDS_AT_ONCE])}"
                    found = (await self._daemon.get(token, path, ApprovalList)).answer
                    self._settle(token, found.approvals)
            except DaemonError as error:
                if error.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
                    self._refuse(token, error)
                # a daemon that is away for a moment has decided nothing: the call is held on

    def _settle(self, token: str, approvals: list[ApprovalRecord]) -> None:
        for approval in approvals:
            if approval.status != "pending":
                for decision in self._held[token].get(approval.id, ()):
                    if not decision.done():
                        decision.set_result(approval)

    def _refuse(self, token: str, error: DaemonError) -> None:
        for decisions in self._held[token].values():
            for decision in decisions:
                if not decision.done():
                    decision.set_exception(DaemonError(error.status, error.code, error.message))


async def _tell(context: Context, progress_token: JsonValue, approval_id: str, left_s: float) -> None:
    """Progress is the time that is left, below nothing: so it grows, and stays under what the tool's server tells."""
    message = f"a person must approve this call (approval {approval_id}); it is held for {left_s:.0f} s more"
    told = {"progressToken": progress_token, "progress": -round(left_s, 3), "message": message}
    await context.channel.notify("notifications/progress", told)
