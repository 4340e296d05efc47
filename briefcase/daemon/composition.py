"""The daemon: everything composed once, started in order, and stopped in the opposite order.

 1. the process gives up what it does not need: core dumps, being traced
 2. the data directory is checked and locked
 3. the metadata store, which must be the ledger's own (`store.tie`), the vault and the identity are opened
 4. the ledger is opened: it verifies its tail and closes what a crash left open; from now on both are watched
 5. the tools are loaded, and the active policy, or the shipped one installed
 6. the sockets are bound, the host is measured, and what the mode refuses stops the start; then they are served

A step that fails undoes the ones before it and leaves as a `BriefcaseError` that names what to mend.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import msgspec
import uvloop

from briefcase import __version__
from briefcase.adapters.backup.age import AgeSeal
from briefcase.adapters.backup.checkpoints import Checkpoints, check_checkpoint_dir
from briefcase.adapters.backup.create import Backups, discard_staging
from briefcase.adapters.backup.manifest import Manifest
from briefcase.adapters.backup.sealing import SealKey
from briefcase.adapters.children.confinement import Confinement
from briefcase.adapters.disk.data_dir import (
    AUDITOR_TOKEN_FILE,
    DAEMON_DID_FILE,
    DATABASE_FILE,
    LEDGER_DIR,
    LOCK_FILE,
    OPERATOR_TOKEN_FILE,
    DataDirLock,
    prepare_data_dir,
)
from briefcase.adapters.disk.files import write_private
from briefcase.adapters.disk.own_files import OwnFiles
from briefcase.adapters.ledger import Ledger
from briefcase.adapters.ledger.files import read_store_id
from briefcase.adapters.net.outbound import GuardedOutbound
from briefcase.adapters.providers.composition import compose_providers
from briefcase.adapters.providers.service import ProviderService
from briefcase.adapters.servers.catalog import Catalog
from briefcase.adapters.servers.composition import compose_logins
from briefcase.adapters.servers.config import ServerConfig
from briefcase.adapters.servers.logins import Logins
from briefcase.adapters.servers.registry import ServerRegistry
from briefcase.adapters.servers.transports import TransportFactory, claims_of, described
from briefcase.adapters.store.agents import Agents
from briefcase.adapters.store.database import Database
from briefcase.adapters.store.notes import Notes
from briefcase.adapters.store.tie import check_database_present, settle_tie, tie_database
from briefcase.adapters.store.tokens import load_or_create_token
from briefcase.adapters.system import SystemClock, SystemEntropy
from briefcase.adapters.telemetry.log_context import CallLog
from briefcase.adapters.telemetry.logger import get_logger
from briefcase.adapters.telemetry.logs import configure_logs
from briefcase.adapters.telemetry.meter import Meter
from briefcase.adapters.telemetry.metrics import Metrics
from briefcase.adapters.telemetry.outlet import OUTLET
from briefcase.adapters.telemetry.tracing import TracedOutbound
from briefcase.adapters.tools.load import ToolBox
from briefcase.adapters.vault.bindings import SecretDestinations
from briefcase.adapters.vault.identity import Identity, load_identity
from briefcase.adapters.vault.opening import open_vault
from briefcase.adapters.vault.vault import Vault
from briefcase.core.calls.expiry import EXPIRY_GROUP, Expiry
from briefcase.core.calls.flow import Calls
from briefcase.core.calls.ratelimits import PrincipalBuckets, PrincipalLimit, RateLimit, RateLimiter
from briefcase.core.calls.refusals import Refusals
from briefcase.core.calls.settings import CallSettings
from briefcase.core.controls import Controls
from briefcase.core.operator.operator import OperatorPorts, ServerPorts, compose_operator
from briefcase.core.operator.policy import PolicyService
from briefcase.core.policy.engine import CompiledPolicy
from briefcase.core.policy.shadow import Shadow
from briefcase.core.redaction.redactor import SecretRedactor
from briefcase.daemon.settings import Settings
from briefcase.edges.api.app import Api
from briefcase.edges.api.auth import Authenticator
from briefcase.edges.api.figures import watch
from briefcase.edges.api.services import ApprovalChanges, DaemonOperator, Profile, Services
from briefcase.edges.api.tracing import TracedApi
from briefcase.edges.diagnostics.canary import Canary
from briefcase.edges.diagnostics.host import SECRET_VARIABLES, Host
from briefcase.edges.diagnostics.standing import check_start
from briefcase.edges.http.exchange import DirectApp
from briefcase.edges.http.limits import HttpLimits
from briefcase.edges.http.places import SHARES
from briefcase.edges.http.server import HttpServer
from briefcase.edges.http.sockets import Listener, open_agent_listener, open_tcp_listener, open_unix_listener
from briefcase.model.errors import InternalError, StoreError
from briefcase.model.ports import Claim, Policy
from briefcase.model.types import US_PER_S

if TYPE_CHECKING:
    from briefcase.adapters.telemetry.otel import Exporting

_T = TypeVar("_T")

MANIFEST_DIR: Final = "tools"
PROVIDER_GROUP: Final = "providers"
EXPIRY_INTERVAL_S: Final = 1.0
EXPIRY_PAUSE_S: Final = 0.005
OTHER_OPEN_FILES: Final = 1_024  # beside the clients' connections: upstreams, servers, the stores
GC_THRESHOLDS: Final = (20_000, 20, 100)  # a call makes about a hundred containers and no cycle
SWITCH_INTERVAL_S: Final = 0.000_5  # how long the loop waits for the interpreter's lock while a policy is compiled
CLOCK: Final = SystemClock()
ENTROPY: Final = SystemEntropy()
_log: Final = get_logger("briefcase.daemon")
_PR_SET_DUMPABLE: Final = 4  # prctl(2)


def serve(settings: Settings, passphrase: bytes | None, on_ready: Callable[[], None] | None = None) -> None:
    """Run the daemon until SIGTERM or SIGINT; drains, then returns.

    Args:
        settings: from `config.load_settings`.
        passphrase: of the encrypted secret file.
        on_ready: called once, when calls can be served.

    Raises:
        BriefcaseError: it could not start.
    """
    harden_process()
    exporting = _open_export(settings)
    configure_logs(export=None if exporting is None else exporting.send_log)
    uvloop.run(_serve(settings, passphrase, on_ready, exporting))


def _open_export(settings: Settings) -> Exporting | None:
    if settings.otel is None:
        return None
    from briefcase.adapters.telemetry.otel import Exporting  # noqa: PLC0415 - off, it costs nothing

    return Exporting(settings.otel)


def harden_process() -> None:
    """Leave no core dump, let no other process of the user read our memory, hand children no secret."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    for name in SECRET_VARIABLES:
        os.environ.pop(name, None)


def allow_open_files(most: int) -> int:
    """Let the process open as many files as its bounds of connections come to, and give how many the host lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < most:
        _log.warning("fewer files may be open than connections are allowed", wanted=most, allowed=wanted)
    return wanted if soft == resource.RLIM_INFINITY else max(soft, wanted)


def fitting(limits: HttpLimits, listeners: int, open_files: int) -> HttpLimits:
    """The bounds of each listener's connections, such that all of them and the rest of the daemon may be open.

    Past the host's limit no connection is accepted, the operator's neither: there the bounds must be reached first.
    """
    each = (open_files - min(OTHER_OPEN_FILES, open_files // 2)) // listeners
    if limits.max_connections + limits.reserves <= each:
        return limits
    share = max(1, each // SHARES)
    operators, newcomers = min(limits.operator_reserve, share), min(limits.newcomer_reserve, share)
    return msgspec.structs.replace(
        limits,
        max_connections=max(1, each - operators - newcomers),
        operator_reserve=operators,
        newcomer_reserve=newcomers,
    )


def tune_interpreter() -> None:
    """Collect after hundreds of calls, not every seventh, and nothing of start-up; let no thread hold the loop long."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


async def _serve(
    settings: Settings, passphrase: bytes | None, on_ready: Callable[[], None] | None, exporting: Exporting | None
) -> None:
    began = time.monotonic()
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with AsyncExitStack() as stack:
        if exporting is not None:
            stack.push_async_callback(exporting.close)
        services = await _compose(settings, passphrase, stack, exporting)
        tune_interpreter()
        _announce(settings, services, time.monotonic() - began)
        if on_ready is not None:
            on_ready()
        await stop.wait()


class _Stores(NamedTuple):
    """What steps 2 to 4 open."""

    data_dir: Path
    operator_token: str
    auditor_token: str
    database: Database
    agents: Agents
    vault: Vault
    identity: Identity
    redactor: SecretRedactor
    ledger: Ledger


class _Outside(NamedTuple):
    """What step 5 makes of everything outside: the tools, and what runs them."""

    tools: Catalog
    registry: ServerRegistry
    logins: Logins
    providers: ProviderService
    confinement: Confinement
    secrets: SecretDestinations
    controls: Controls


async def _compose(
    settings: Settings, passphrase: bytes | None, stack: AsyncExitStack, exporting: Exporting | None
) -> Services:
    stores = await _open_stores(settings, passphrase, stack)  # steps 2 to 4
    outside = await _load_tools(settings, stores, stack, exporting)  # step 5
    policy = PolicyService(
        ledger=stores.ledger,
        clock=CLOCK,
        tools=outside.tools,
        run_blocking=_run_aside,
        layer=_shadow_layer(settings.file.policy.shadow_every, stack),
    )
    await policy.open()
    return await _serve_api(settings, stores, outside, policy, stack, exporting)  # step 6


async def _open_stores(settings: Settings, passphrase: bytes | None, stack: AsyncExitStack) -> _Stores:
    # 2. the data directory
    data_dir = prepare_data_dir(settings.data_dir)
    lock = DataDirLock(data_dir)
    stack.callback(lock.release)
    discard_staging(data_dir)
    operator_token = load_or_create_token(data_dir / OPERATOR_TOKEN_FILE, ENTROPY)
    auditor_token = load_or_create_token(data_dir / AUDITOR_TOKEN_FILE, ENTROPY)

    # 3. metadata, vault, identity
    database_path = data_dir / DATABASE_FILE
    ledger_id = read_store_id(data_dir)
    check_database_present(database_path, ledger_id)
    database = Database(database_path)
    stack.callback(database.close)
    store_id = tie_database(database, database_path, ledger_id, ENTROPY.uuid())
    agents = Agents(database)
    vault = await open_vault(settings.secret_backend, data_dir, passphrase)
    await vault.warm()
    identity = await load_identity(vault.compartment("identity"))
    write_private(data_dir / DAEMON_DID_FILE, f"{identity.did}\n".encode())  # what clients expect over TCP
    vault.keep_public(identity.did.encode())
    vault.keep_in_sight(operator_token.encode(), OPERATOR_TOKEN_FILE)
    vault.keep_in_sight(auditor_token.encode(), AUDITOR_TOKEN_FILE)
    redactor = SecretRedactor(vault, vault.owner_of)
    OUTLET.redactor = redactor

    # 4. the ledger
    ledger = Ledger.open(data_dir / LEDGER_DIR, CLOCK, store_id=store_id, redactor=redactor)
    stack.push_async_callback(ledger.close)
    settle_tie(database, store_id)
    ledger.watch(database_path, grows=True, first=True)
    for beside in (*database.log_paths, data_dir / LOCK_FILE):
        ledger.watch(beside)
    return _Stores(data_dir, operator_token, auditor_token, database, agents, vault, identity, redactor, ledger)


async def _load_tools(
    settings: Settings, stores: _Stores, stack: AsyncExitStack, exporting: Exporting | None
) -> _Outside:
    data_dir, vault, ledger, redactor = stores.data_dir, stores.vault, stores.ledger, stores.redactor
    outbound = GuardedOutbound(settings.allow_private)
    stack.push_async_callback(outbound.close)
    sent = outbound if exporting is None else TracedOutbound(outbound)
    secrets = SecretDestinations(vault, vault.compartment("hosts"), lambda: _claims(toolbox, registry))
    toolbox = ToolBox(
        manifest_dir=data_dir / MANIFEST_DIR,
        notes=Notes(stores.database),
        file_prefixes=settings.file.file_read.prefixes,
        max_file_bytes=settings.file.file_read.max_bytes,
        own=OwnFiles(data_dir),
        outbound=sent,
        secrets=secrets,
        redactor=redactor,
        clock=CLOCK,
    )
    controls = Controls(ledger, CLOCK)
    providers = compose_providers(
        database=stores.database,
        secrets=vault.compartment("providers"),
        remember=vault.remember,
        holder_did=stores.identity.did,
        outbound=sent,
        ledger=ledger,
        is_disabled=controls.is_disabled,
        clock=CLOCK,
        entropy=ENTROPY,
        is_ga=settings.is_ga,
        denies_unknown_status=settings.vc_unknown_mode == "deny",
    )
    stack.push_async_callback(providers.service.close)
    toolbox.registry.replace(PROVIDER_GROUP, (providers.quote,))
    mcp_logins = compose_logins(
        secrets=vault.compartment("mcp"),
        operator_secrets=secrets,
        remember=vault.remember,
        outbound=outbound,
        clock=CLOCK,
        entropy=ENTROPY,
    )
    stack.push_async_callback(mcp_logins.accounts.close)
    confinement = Confinement(data_dir, settings.unix_sockets, needs_all=settings.is_ga or settings.strict_host)
    registry = ServerRegistry(
        ledger=ledger,
        clock=CLOCK,
        entropy=ENTROPY,
        redactor=redactor,
        new_transport=TransportFactory(outbound, secrets, mcp_logins.accounts, confinement).transport,
        needs_profile=settings.is_ga,
    )
    stack.push_async_callback(registry.stop)
    tools = Catalog(toolbox.registry, registry)
    return _Outside(tools, registry, mcp_logins.logins, providers.service, confinement, secrets, controls)


def _claims(toolbox: ToolBox, registry: ServerRegistry) -> Iterator[Claim]:
    """What all that is loaded and registered says of the operator's secrets."""
    yield from toolbox.claims
    for config in registry.configs():
        yield from claims_of(config)


async def _serve_api(  # noqa: PLR0913, PLR0917 - the last step takes what all the others made
    settings: Settings,
    stores: _Stores,
    outside: _Outside,
    policy: PolicyService,
    stack: AsyncExitStack,
    exporting: Exporting | None,
) -> Services:
    authenticator = Authenticator(stores.operator_token, stores.auditor_token, stores.agents)
    host = Host(
        data_dir=stores.data_dir,
        unix_socket=settings.unix_socket,
        agent_socket=settings.agent_socket,
        strict_host=settings.strict_host,
        args_form=settings.file.receipts.args,
        secret_backend=stores.vault.description,
        canary=Canary(stores.vault),
        engine_problem=stores.ledger.engine_problem,
        policy_problem=policy.problem,
        sign=stores.identity.sign,
        missing_layers=outside.confinement.missing,
        exposed_agents=authenticator.exposed_agents,
    )
    operator = _operator(stores, outside, policy)
    await operator.settle()  # before anything is sent with what a crash left half changed
    await outside.providers.start(settings.provider_base_url)
    listeners = _listeners(settings, host)
    outside.registry.start()  # a server that is started is kept from the sockets, which are there now
    await outside.secrets.settle()
    services = await _services(settings, stores, outside, policy, host, operator, stack)
    limit = PrincipalLimit(**msgspec.structs.asdict(settings.file.principal))
    api = Api(services, authenticator, PrincipalBuckets(limit))
    app: DirectApp = api
    if settings.otel is not None and exporting is not None:
        app = TracedApi(api, settings.otel.sampling, outside.tools, exporting.send_trace)
    bounds = settings.file.server
    limits = HttpLimits(**msgspec.structs.asdict(bounds))
    most = OTHER_OPEN_FILES + len(listeners) * (limits.max_connections + limits.reserves)
    limits = fitting(limits, len(listeners), allow_open_files(most))
    server = HttpServer(app, listeners, limits, on_drain=services.changes.stop)
    watch(services, stores.ledger.counters, server, authenticator)
    if exporting is not None:
        stack.push_async_callback(_cancel, asyncio.create_task(exporting.send_metrics(services.metrics)))
    await server.start()
    stack.push_async_callback(server.drain)
    return services


def _operator(stores: _Stores, outside: _Outside, policy: PolicyService) -> DaemonOperator:
    ports: OperatorPorts[ServerConfig, SealKey | AgeSeal, Manifest] = OperatorPorts(
        ledger=stores.ledger,
        redactor=stores.redactor,
        policy=policy,
        controls=outside.controls,
        agents=stores.agents,
        secrets=outside.secrets,
        providers=outside.providers,
        backups=Backups(stores.data_dir, CLOCK, stores.identity.did, stores.identity.sign),
        servers=ServerPorts(outside.registry, outside.registry, outside.logins, described),
        tools=outside.tools,
        clock=CLOCK,
        entropy=ENTROPY,
    )
    return compose_operator(ports)


async def _services(  # noqa: PLR0913, PLR0917 - as above
    settings: Settings,
    stores: _Stores,
    outside: _Outside,
    policy: PolicyService,
    host: Host,
    operator: DaemonOperator,
    stack: AsyncExitStack,
) -> Services:
    identity, ledger = stores.identity, stores.ledger
    controls = outside.controls
    calls = _calls(settings, stores, outside.tools, policy, controls)
    stack.push_async_callback(_cancel, asyncio.create_task(_expire(calls.expiry)))
    await calls.refusals.recover()
    stack.push_async_callback(_count_refusals, calls.refusals)
    stack.push_async_callback(_cancel, asyncio.create_task(_close_minutes(calls.refusals)))
    return Services(
        calls=calls,
        ledger=ledger,
        tools=outside.tools,
        policy=policy,
        controls=controls,
        agents=stores.agents,
        secrets=outside.secrets,
        redactor=stores.redactor,
        clock=CLOCK,
        entropy=ENTROPY,
        profile=Profile(identity.did, settings.profile_mode, settings.is_ga),
        changes=ApprovalChanges(),
        operator=operator,
        mcp=outside.registry,
        mcp_logins=outside.logins,
        providers=outside.providers,
        host=host,
        checkpoints=_checkpoints(settings, stores.data_dir, ledger, identity, stack),
        meter=Meter(),
        metrics=Metrics(),
    )


def _calls(settings: Settings, stores: _Stores, tools: Catalog, policy: PolicyService, controls: Controls) -> Calls:
    limits = settings.file.calls
    return Calls(
        ledger=stores.ledger,
        policy=policy.active,
        tools=tools,
        controls=controls,
        redactor=stores.redactor,
        clock=CLOCK,
        entropy=ENTROPY,
        limiter=RateLimiter(RateLimit(limits.per_second, limits.burst)),
        new_event=asyncio.Event,
        log=CallLog(stores.redactor),
        settings=CallSettings(
            approval_ttl_us=limits.approval_ttl_s * US_PER_S,
            deadline_ms=limits.deadline_ms,
            args_form=settings.file.receipts.args,
            max_open_decisions=limits.max_open_decisions,
            max_open_decisions_per_principal=limits.max_open_decisions_per_principal,
            max_shown_bytes=limits.max_shown_bytes,
        ),
    )


def _checkpoints(
    settings: Settings, data_dir: Path, ledger: Ledger, identity: Identity, stack: AsyncExitStack
) -> Checkpoints:
    """Signs checkpoints; where the operator named a place for them, on a schedule too."""
    checkpoints = Checkpoints(ledger, identity.did, identity.public_key, identity.sign)
    chosen = settings.file.receipts
    if chosen.checkpoint_dir:
        directory = Path(chosen.checkpoint_dir)
        check_checkpoint_dir(directory, OwnFiles(data_dir))
        keeping = asyncio.create_task(checkpoints.keep(directory, chosen.checkpoint_interval_s))
        stack.push_async_callback(_cancel, keeping)
    return checkpoints


def _shadow_layer(every: int, stack: AsyncExitStack) -> Callable[[CompiledPolicy], Policy]:
    """What lies over the compiled policy: nothing, or a sample compared with the reference engine on its own thread."""
    if not every:
        return lambda compiled: compiled
    worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="policy-shadow")
    stack.callback(worker.shutdown, cancel_futures=True)

    def submit(compare: Callable[[], None]) -> None:
        worker.submit(compare)

    return Shadow(every, submit).over


async def _run_aside(function: Callable[[], _T]) -> _T:
    """Run on a thread what takes long, with the collector at rest, and keep what it made out of every collection.

    Nothing else runs during a full pass, and what a large policy is made of would bring on several, of 50 to 90 ms.
    It is given back when nothing refers to it, as ever: it holds no cycle.
    """
    gc.disable()
    try:
        return await asyncio.to_thread(function)
    finally:
        gc.freeze()
        gc.enable()


def _listeners(settings: Settings, host: Host) -> list[Listener]:
    listeners = [open_unix_listener(settings.unix_socket)]
    try:
        if settings.agent_socket is not None:
            listeners.append(open_agent_listener(settings.agent_socket))
        if settings.tcp_addr is not None:
            listeners.append(open_tcp_listener(*settings.tcp_addr))
        check_start(host, settings.profile_mode, os.environ)
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


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
            if EXPIRY_GROUP in {await expiry.expire_decisions(), await expiry.expire_approvals()}:
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


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _announce(settings: Settings, services: Services, took_s: float) -> None:
    """One line: what was done, and what to do next."""
    head = services.ledger.head()
    tcp = "" if settings.tcp_addr is None else f" and {settings.tcp_addr[0]}:{settings.tcp_addr[1]}"
    agents = "" if settings.agent_socket is None else f" and, for agents, {settings.agent_socket}"
    print(  # noqa: T201 - the daemon's one line for the person who started it
        f"briefcase {__version__} ready in {took_s:.2f} s: {len(services.tools.specs())} tools, {head.id} receipts,"
        f" policy {services.policy.current()[1][:12]}, mode {settings.profile_mode}, listening on"
        f" {settings.unix_socket}{tcp}{agents}; next: briefcase tools list",
        file=sys.stderr,
        flush=True,
    )
