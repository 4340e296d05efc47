"""Step 5 of a start: the rules over the stores and the outside.

The active policy, what an operator does, and the flow of a call, with what runs beside the requests for as long as the
daemon does: ends that nobody asks for, and counts of refusals.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, NamedTuple, TypeVar

from briefcase.adapters.backup.age import AgeSeal
from briefcase.adapters.backup.create import Backups
from briefcase.adapters.backup.manifest import Manifest
from briefcase.adapters.backup.sealing import SealKey
from briefcase.adapters.fleet.syncing import FleetSync, SyncParts
from briefcase.adapters.servers.config import ServerConfig
from briefcase.adapters.servers.transports import described
from briefcase.adapters.signers.device_keys import DeviceKeys
from briefcase.adapters.signers.passkeys import BrowserPasskeys
from briefcase.adapters.store.sync_progress import SyncProgressStore
from briefcase.adapters.telemetry.log_context import CallLog
from briefcase.adapters.telemetry.logger import get_logger
from briefcase.core.calls.classifying import ClassifiedCalls
from briefcase.core.calls.expiry import EXPIRY_GROUP, Expiry
from briefcase.core.calls.flow import Calls
from briefcase.core.calls.ratelimits import RateLimit, RateLimiter
from briefcase.core.calls.refusals import Refusals
from briefcase.core.calls.settings import CallSettings
from briefcase.core.fleet.device import MS_PER_S
from briefcase.core.operator.fleet import FleetPorts
from briefcase.core.operator.operator import OperatorPorts, ServerPorts, SignerPorts, compose_operator
from briefcase.core.operator.policy import PolicyService
from briefcase.core.policy.engine import CompiledPolicy
from briefcase.core.policy.shadow import Shadow
from briefcase.daemon.outside import Outside
from briefcase.daemon.start import CLOCK, ENTROPY, Start
from briefcase.daemon.stores import Stores
from briefcase.edges.api.services import DaemonOperator
from briefcase.edges.api.turnstile import Turnstile
from briefcase.model.errors import InternalError, StoreError
from briefcase.model.ports import Policy, Turns
from briefcase.model.types import US_PER_S

EXPIRY_INTERVAL_S: Final = 1.0
EXPIRY_PAUSE_S: Final = 0.005

_T = TypeVar("_T")
_log: Final = get_logger("briefcase.daemon")


class Rules(NamedTuple):
    """What decides, and what an operator changes."""

    policy: PolicyService
    operator: DaemonOperator
    calls: Calls
    turnstile: Turnstile
    fleet: FleetSync


async def compose_rules(start: Start, stores: Stores, outside: Outside) -> Rules:
    """Load the active policy, or install the shipped one, and close each change that a crash left open.

    Raises:
        StoreError: a change could not be made durable.
    """
    policy = PolicyService(
        ledger=stores.ledger,
        clock=CLOCK,
        tools=outside.tools,
        run_blocking=_run_aside,
        layer=_shadow_layer(start),
    )
    await policy.open()
    stores.vault.keep_public(policy.active().digest_hex.encode())
    operator = _operator(start, stores, outside, policy)
    await operator.settle()  # before anything is sent with what a crash left half changed
    turnstile = Turnstile()
    calls = _calls(start, stores, outside, policy, turnstile)
    start.keep_running(_expire(calls.expiry))
    await calls.refusals.recover()
    start.stack.push_async_callback(_count_refusals, calls.refusals)
    start.keep_running(_close_minutes(calls.refusals))
    return Rules(policy, operator, calls, turnstile, _fleet_sync(start, stores, outside, operator))


def _operator(start: Start, stores: Stores, outside: Outside, policy: PolicyService) -> DaemonOperator:
    ports: OperatorPorts[ServerConfig, SealKey | AgeSeal, Manifest] = OperatorPorts(
        ledger=stores.ledger,
        redactor=stores.redactor,
        policy=policy,
        controls=outside.controls,
        grants=outside.grants,
        people=stores.people,
        signers=SignerPorts(
            stores.signers,
            DeviceKeys(),
            BrowserPasskeys(),
            stores.identity.did,
            needs_bound=start.settings.is_ga,
            signers_only=not start.file.approvals.operator_token,
        ),
        agents=stores.agents,
        secrets=outside.secrets,
        providers=outside.providers,
        backups=Backups(stores.data_dir, CLOCK, stores.identity.did, stores.identity.sign),
        servers=ServerPorts(outside.registry, outside.registry, outside.logins, described),
        fleet=FleetPorts(
            outside.fleet.client, outside.fleet.tokens, outside.fleet.floors, needs_profile=start.settings.is_ga
        ),
        tools=outside.tools,
        manifests=outside.toolbox,
        witnesses=outside.witnesses,
        prompting=outside.prompting,
        clock=CLOCK,
        entropy=ENTROPY,
    )
    return compose_operator(ports)


def _fleet_sync(start: Start, stores: Stores, outside: Outside, operator: DaemonOperator) -> FleetSync:
    parts = SyncParts(
        client=outside.fleet.client,
        tokens=outside.fleet.tokens,
        store=SyncProgressStore(stores.database),
        ledger=stores.ledger,
        clock=CLOCK,
        seed=random.SystemRandom().random,
        interval_ms=start.settings.sync_interval_s * MS_PER_S,
    )
    return FleetSync(operator.fleet, operator.bundles, parts)


def _calls(start: Start, stores: Stores, outside: Outside, policy: PolicyService, turns: Turns) -> Calls:
    limits = start.file.calls
    make: Callable[..., Calls] = Calls
    if outside.classifier is not None:
        only_notes = start.file.risk.on_classifier_failure == "note"
        make = partial(ClassifiedCalls, outside.classifier, only_notes=only_notes)
    return make(
        ledger=stores.ledger,
        policy=policy.active,
        tools=outside.tools,
        controls=outside.controls,
        grants=outside.grants,
        redactor=stores.redactor,
        clock=CLOCK,
        entropy=ENTROPY,
        limiter=RateLimiter(RateLimit(limits.per_second, limits.burst)),
        new_event=asyncio.Event,
        turns=turns,
        log=CallLog(stores.redactor),
        settings=CallSettings(
            approval_ttl_us=limits.approval_ttl_s * US_PER_S,
            denial_ttl_us=limits.denial_ttl_s * US_PER_S,
            deadline_ms=limits.deadline_ms,
            args_form=start.file.receipts.args,
            max_open_decisions=limits.max_open_decisions,
            max_open_decisions_per_principal=limits.max_open_decisions_per_principal,
            max_shown_bytes=limits.max_shown_bytes,
            has_signer=lambda: stores.signers.was_paired,
        ),
    )


def _shadow_layer(start: Start) -> Callable[[CompiledPolicy], Policy]:
    """What lies over the compiled policy: nothing, or a sample compared with the reference engine on its own thread."""
    every = start.file.policy.shadow_every
    if not every:
        return lambda compiled: compiled
    worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="policy-shadow")
    start.stack.callback(worker.shutdown, cancel_futures=True)

    def submit(compare: Callable[[], None]) -> None:
        worker.submit(compare)

    return Shadow(every, submit).over


async def _run_aside(function: Callable[[], _T]) -> _T:
    """Run on a thread what takes long, with the collector at rest, and keep what it made out of every collection.

    Nothing else runs during a full pass, and what a large policy is made of would bring on several, of 50 to 90 ms.
    It is given back when nothing refers to it, as ever: it holds no cycle.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return await asyncio.to_thread(function)
    finally:
        gc.freeze()
        if collects:
            gc.enable()


async def _expire(expiry: Expiry) -> None:
    """Close decisions that nobody closed, and end approvals whose time is over.

    What cannot be recorded is left for the next start to close.

    After a full group the callers who came meanwhile have the loop and the writer for as long as the group took.
    """
    pause_s = EXPIRY_INTERVAL_S
    while True:
        await asyncio.sleep(pause_s)
        pause_s, began_s = EXPIRY_INTERVAL_S, time.monotonic()
        try:
            expired = await expiry.expire_approvals()
            if expired:
                _log.info("approvals expired", count=expired)
            if EXPIRY_GROUP in {await expiry.expire_decisions(), expired}:
                pause_s = max(time.monotonic() - began_s, EXPIRY_PAUSE_S)
        except StoreError:
            pass  # the gate has said why
        except InternalError as error:
            _log.error("a decision could not be closed", problem=error.message, detail=error.detail)


async def _close_minutes(refusals: Refusals) -> None:
    """Commit what was counted of refusals, a minute after their first."""
    while True:
        await asyncio.sleep(EXPIRY_INTERVAL_S)
        with contextlib.suppress(StoreError):  # the gate has said why; the counts stay for the next time
            await refusals.close_over()


async def _count_refusals(refusals: Refusals) -> None:
    """Commit what was counted since the last minute, before the ledger closes."""
    with contextlib.suppress(StoreError):  # the gate has said why; the next start names what is lost
        await refusals.close_over(at_stop=True)
