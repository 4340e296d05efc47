"""Syncing with a control plane: on demand, and in a loop for as long as the daemon runs.

One round of a sync:

 1. ask for the policy, with the `etag` of what is known
 2. apply what holds of the answer                                  `operator.bundles`
 3. upload receipts, whatever 1 and 2 came to, unless nobody answers or the device is known no more
 4. note how it went: `last_sync`, or `last_error`, on every path
 5. tell the control plane how the device stands, where that is news `reporting`

Between two rounds the loop waits as `core.fleet.device` says, and where the control plane holds a request until there
is something new, it lets it: such an answer is taken as one round more. One round at a time; enrolling and leaving wait
for it. No failure in here stops a call, and none ends the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import msgspec

from briefcase.adapters.fleet.client import ControlPlaneClient, Device, PolicyReply, Refusal, refusal_words
from briefcase.adapters.fleet.custody import DeviceTokens
from briefcase.adapters.fleet.reporting import StatusReporter
from briefcase.adapters.fleet.standing import Standing
from briefcase.adapters.fleet.uploads import ReceiptUploader, UploadResult
from briefcase.adapters.store.sync_progress import SyncProgress, SyncProgressStore
from briefcase.adapters.telemetry.logger import get_logger
from briefcase.core.fleet.answers import PolicyAnswer, UnexpectedAnswerError
from briefcase.core.fleet.device import next_sync_ms
from briefcase.core.fleet.enrolment import Enrolment, enrolled
from briefcase.core.fleet.uploads import resumed_at
from briefcase.core.fleet.words import NOT_OURS_ANY_MORE, UNREACHABLE
from briefcase.core.operator.bundles import Applied, BundleAdmin
from briefcase.core.operator.fleet import FleetAdmin, Wanted
from briefcase.model.errors import BriefcaseError, StoreError, UpstreamError
from briefcase.model.ports import Clock, Ledger

MAX_WAIT_MS: Final = 55_000  # of a request that is held: proxies end what is silent for a minute
MIN_WAIT_MS: Final = 1_000
IDLE_MS: Final = 3_600_000
FADING_INTERVALS: Final = 3
_log: Final = get_logger("briefcase.fleet")


class Synced(msgspec.Struct, frozen=True):
    """What a round came to. `problem` is what was wrong, a word and a sentence; empty where nothing was.

    `is_disowned` says that the control plane knows this device no more, `is_away` that nobody answered.
    """

    policy_applied: bool = False
    receipts_uploaded: int = 0
    problem: str = ""
    is_disowned: bool = False
    is_away: bool = False
    has_more: bool = False
    advised_ms: int | None = None
    fresh_until_us: int | None = None


class SyncStatus(msgspec.Struct, frozen=True):
    """An enrolment and how far its sync has come."""

    enrolment: Enrolment
    progress: SyncProgress


class SyncParts(msgspec.Struct, frozen=True, kw_only=True):
    """What a sync works with. `seed` gives a random number from 0 up to 1, for jitter."""

    client: ControlPlaneClient
    tokens: DeviceTokens
    store: SyncProgressStore
    ledger: Ledger
    clock: Clock
    seed: Callable[[], float]
    interval_ms: int


class FleetSync:
    """Enrols, syncs and leaves, one at a time. One event loop.

    Args:
        admin: enrols and leaves.
        bundles: applies what the control plane answers.
        parts: the rest.
    """

    def __init__(self, admin: FleetAdmin, bundles: BundleAdmin, parts: SyncParts) -> None:
        self._admin = admin
        self._bundles = bundles
        self._parts = parts
        self._uploader = ReceiptUploader(parts.client, parts.ledger)
        self._reporter = StatusReporter(parts.client)
        self._one_at_a_time = asyncio.Lock()
        self._changed = asyncio.Event()
        self._etag = ""
        self._standing: Standing | None = None

    # --- what an operator asks for ------------------------------------------------------------------------------------

    @property
    def progress(self) -> SyncProgress | None:
        """How far the sync has come, from memory; None where there was none since the start."""
        return None if self._standing is None else self._standing.progress

    async def status(self) -> SyncStatus | None:
        """The enrolment and its progress, or None where there is none.

        Raises:
            StoreError: what is kept cannot be read.
        """
        enrolment = self._admin.state().enrolment
        if enrolment is None:
            return None
        return SyncStatus(enrolment, (await self._standing_of(enrolment)).progress)

    async def enrol(self, wanted: Wanted, by: str) -> None:
        """Enrol, and apply the first policy; a policy that cannot be applied is in `last_error`.

        Raises:
            CallerError, UpstreamError, StoreError: as `FleetAdmin.enrol`; nothing is enrolled.
        """
        async with self._one_at_a_time:
            answer = await self._admin.enrol(wanted, by)
            self._forget()
            standing = await self._standing_of(self._enrolment())
            await standing.note_enrolled()
            head_id = self._parts.ledger.head().id
            await standing.note_uploaded(resumed_at(standing.progress.uploaded_id, answer.last_receipt_id, head_id))
            applied = await self._bundles.apply(answer)
            if applied.refused is not None:
                await standing.note_failed(f"{applied.refused.reason}: {applied.refused.problem}", is_disowned=False)
        self._changed.set()

    async def leave(self, by: str) -> None:
        """Leave the control plane. Raises as `FleetAdmin.leave`."""
        async with self._one_at_a_time:
            standing = await self._standing_of(self._enrolment())
            await self._admin.leave(by)
            await standing.note_left()
            self._forget()
        self._changed.set()

    async def sync(self) -> Synced | None:
        """Sync now; None where this daemon is not enrolled.

        Raises:
            UpstreamError: something was wrong, which `last_error` says, too.
            StoreError: something could not be made durable.
        """
        async with self._one_at_a_time:
            if self._admin.state().enrolment is None:
                return None
            self._etag = ""  # who asks wants to know, not to hear that nothing changed
            synced = await self._round(None)
        if synced.problem:
            code = "upstream_refused" if synced.is_disowned else "upstream_failed"
            raise UpstreamError(
                f"the sync failed: {synced.problem}",
                code=code,
                hint="the last good policy stays in force: `briefcase help policy-sync`",
            )
        return synced

    # --- the loop -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Sync until cancelled."""
        while True:
            self._changed.clear()
            wait_ms = IDLE_MS
            try:
                if self._admin.state().enrolment is not None:
                    wait_ms = await self._sync_once()
            except BriefcaseError as error:  # the ledger or the metadata store: each has said why
                _log.error("a sync could not be recorded", problem=error.message, detail=error.detail)
                wait_ms = self._parts.interval_ms
            except Exception as error:  # noqa: BLE001 - a device that stops asking keeps an old policy, and nobody sees it
                _log.error("a sync failed inside", detail=repr(error), exc_info=error)
                wait_ms = self._parts.interval_ms
            await self._idle(wait_ms)

    async def _sync_once(self) -> int:
        """One round; gives for how long to wait after it."""
        async with self._one_at_a_time:
            synced = await self._round(None)
            standing = await self._standing_of(self._enrolment())
        if synced.problem:
            _log.warning("the sync with the control plane failed", problem=synced.problem)
        if synced.has_more:
            return MIN_WAIT_MS
        progress = standing.progress
        return next_sync_ms(
            progress.state, self._parts.interval_ms, synced.advised_ms, progress.failures, self._parts.seed()
        )

    async def _idle(self, wait_ms: int) -> None:
        """Wait; a control plane that holds requests may end it sooner, and so does enrolling or leaving."""
        until_ns = self._parts.clock.monotonic_ns() + wait_ms * 1_000_000
        while self._etag and not self._changed.is_set():
            left_ms = (until_ns - self._parts.clock.monotonic_ns()) // 1_000_000
            if left_ms <= MIN_WAIT_MS or not await self._poll(min(left_ms, MAX_WAIT_MS)):
                break
        left_s = (until_ns - self._parts.clock.monotonic_ns()) / 1_000_000_000
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), max(0.0, left_s))

    async def _poll(self, wait_ms: int) -> bool:
        """Let the control plane hold a request; False where it does not, or did not answer."""
        enrolment = self._admin.state().enrolment
        if enrolment is None:
            return False
        began_ns = self._parts.clock.monotonic_ns()
        polling = asyncio.ensure_future(self._ask(await self._device(enrolment), wait_ms))
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({polling, changed}, return_when=asyncio.FIRST_COMPLETED)
            if not polling.done():
                return False
            reply = polling.result()
        except UpstreamError:
            return False  # the next round says what is wrong
        finally:
            polling.cancel()
            changed.cancel()
        if isinstance(reply, PolicyReply) and reply.answer is not None:
            async with self._one_at_a_time:
                if self._admin.state().enrolment is None:
                    return False
                return (await self._round(reply)).policy_applied  # or one that answers at once would be asked at once
        took_ms = (self._parts.clock.monotonic_ns() - began_ns) // 1_000_000
        return isinstance(reply, PolicyReply) and took_ms >= wait_ms // 2

    # --- one round ----------------------------------------------------------------------------------------------------

    async def _round(self, reply: PolicyReply | Refusal | None) -> Synced:
        """One round; the steps of the module. `reply` where 1 is done."""
        standing = await self._standing_of(self._enrolment())
        device = await self._device(self._enrolment())
        try:
            # 1. and 2. the policy
            synced = await self._take_policy(device, reply)

            # 3. receipts
            synced = await self._send_receipts(device, standing, synced)
        except StoreError as error:
            await standing.note_failed(f"{error.code}: {error.message}", is_disowned=False)
            raise

        # 4. how it went
        if synced.problem:
            self._etag = ""  # what was refused is judged again
            await standing.note_failed(synced.problem, is_disowned=synced.is_disowned)
        else:
            await standing.note_synced(synced.fresh_until_us)

        # 5. tell
        if not (synced.is_away or synced.is_disowned):
            await self._reporter.report(device, self._enrolment(), standing.progress)
        return synced

    async def _take_policy(self, device: Device, reply: PolicyReply | Refusal | None) -> Synced:
        try:
            return await self._applied(reply or await self._ask(device, 0))
        except UpstreamError as error:
            return Synced(problem=_problem_of(error), is_away=not error.sent or error.code == "upstream_timeout")

    async def _send_receipts(self, device: Device, standing: Standing, synced: Synced) -> Synced:
        if synced.is_away or synced.is_disowned:
            return synced
        try:
            return _with_upload(synced, await self._uploader.upload(device, standing))
        except UpstreamError as error:
            return msgspec.structs.replace(synced, problem=synced.problem or _problem_of(error), is_away=True)

    async def _applied(self, reply: PolicyReply | Refusal) -> Synced:
        if isinstance(reply, Refusal):
            is_disowned = reply.word in NOT_OURS_ANY_MORE
            problem = f"{reply.word or UNREACHABLE}: the control plane answered {refusal_words(reply)}"
            return Synced(problem=problem, is_disowned=is_disowned, advised_ms=reply.retry_after_ms)
        if reply.answer is None:
            return Synced()
        applied = await self._take(reply.answer)
        if applied.refused is None:
            self._etag = reply.etag
        problem = "" if applied.refused is None else f"{applied.refused.reason}: {applied.refused.problem}"
        return Synced(
            policy_applied=applied.policy_applied,
            problem=problem,
            advised_ms=reply.answer.next_sync_ms,
            fresh_until_us=applied.fresh_until_us,
        )

    async def _take(self, answer: PolicyAnswer) -> Applied:
        applied = await self._bundles.apply(answer)
        if applied.policy_applied:
            bundle_id = self._enrolment().bundle_id
            _log.info("a policy of the control plane was applied", bundle_id=bundle_id)
        return applied

    async def _ask(self, device: Device, wait_ms: int) -> PolicyReply | Refusal:
        etag = "" if not wait_ms and await self._is_fading() else self._etag
        return await self._parts.client.policy(device, etag, wait_ms)

    async def _is_fading(self) -> bool:
        """Whether the word that the running bundle is the present one ends soon: only a whole answer renews it."""
        fresh_until_us = (await self._standing_of(self._enrolment())).progress.fresh_until_us
        margin_us = FADING_INTERVALS * self._parts.interval_ms * 1_000
        return 0 < fresh_until_us < self._parts.clock.now_us() + margin_us

    # --- who this device is -------------------------------------------------------------------------------------------

    def _enrolment(self) -> Enrolment:
        return enrolled(self._admin.state())

    async def _device(self, enrolment: Enrolment) -> Device:
        token = await self._parts.tokens.current()
        return Device(enrolment.base_url, enrolment.device_id, token or "")

    async def _standing_of(self, enrolment: Enrolment) -> Standing:
        if self._standing is None:
            store = self._parts.store
            progress = await store.load(enrolment.base_url, enrolment.device_id)
            self._standing = Standing(store, enrolment, progress, self._parts.clock)
        return self._standing

    def _forget(self) -> None:
        self._etag, self._standing = "", None
        self._reporter = StatusReporter(self._parts.client)


def _problem_of(error: UpstreamError) -> str:
    """What was wrong where no answer came that could be read, as `last_error` has it."""
    return error.message if isinstance(error, UnexpectedAnswerError) else f"{UNREACHABLE}: {error.message}"


def _with_upload(synced: Synced, uploaded: UploadResult) -> Synced:
    """A round with what came of its upload; what was wrong before is what is said."""
    problem, is_disowned = synced.problem, synced.is_disowned
    if uploaded.refusal is not None:
        is_disowned = uploaded.refusal.word in NOT_OURS_ANY_MORE
        word = uploaded.refusal.word or UNREACHABLE
        problem = problem or f"{word}: the control plane answered the upload with {refusal_words(uploaded.refusal)}"
    elif uploaded.stopped is not None:
        what = "takes no more receipts of this device" if uploaded.stopped.is_alarm else "did not take the receipts"
        problem = problem or f"{uploaded.stopped.word}: the control plane {what}"
    return msgspec.structs.replace(
        synced,
        receipts_uploaded=uploaded.sent,
        problem=problem,
        is_disowned=is_disowned,
        has_more=uploaded.has_more,
    )
