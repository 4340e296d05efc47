"""Step 6 of a start: the sockets are bound, the host is measured, and the API is served."""

from __future__ import annotations

import random
import resource
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from briefcase.adapters.backup.checkpoints import Checkpoints, check_checkpoint_dir
from briefcase.adapters.disk.own_files import OwnFiles
from briefcase.adapters.fleet.relaying import ApprovalRelay, RelayParts
from briefcase.adapters.telemetry.logger import get_logger
from briefcase.adapters.telemetry.meter import Meter
from briefcase.adapters.telemetry.metrics import Metrics
from briefcase.adapters.telemetry.refusal_log import RefusalLog
from briefcase.adapters.vault.note_signatures import verify_note_signature
from briefcase.adapters.witness.kept import load_policy
from briefcase.adapters.witness.rounds import Witnessing, WitnessingParts
from briefcase.core.anomalies import Anomalies
from briefcase.core.calls.ratelimits import PrincipalBuckets, PrincipalLimit
from briefcase.core.calls.settings import HookSettings
from briefcase.core.receipts.note_keys import LOG_ED25519, NoteKey
from briefcase.daemon.outside import Outside
from briefcase.daemon.proxies import serve_proxies
from briefcase.daemon.rules import Rules
from briefcase.daemon.settings import Settings, agent_socket_inside
from briefcase.daemon.start import CLOCK, ENTROPY, Start
from briefcase.daemon.stores import Stores
from briefcase.edges.api.app import Api, refusal_words
from briefcase.edges.api.approvals import tell
from briefcase.edges.api.auth import Authenticator
from briefcase.edges.api.figures import watch
from briefcase.edges.api.services import ApprovalChanges, Profile, Services
from briefcase.edges.api.tracing import TracedApi
from briefcase.edges.diagnostics.canary import Canary
from briefcase.edges.diagnostics.host import Host, KeyPlaces
from briefcase.edges.diagnostics.standing import check_start
from briefcase.edges.http.exchange import DirectApp
from briefcase.edges.http.limits import HttpLimits
from briefcase.edges.http.places import SHARES
from briefcase.edges.http.server import HttpServer
from briefcase.edges.http.sockets import Listener, open_agent_listener, open_tcp_listener, open_unix_listener
from briefcase.edges.page.serving import PageServer

OTHER_OPEN_FILES: Final = 1_024  # beside the clients' connections: upstreams, servers, the stores

_log: Final = get_logger("briefcase.daemon")


async def serve_api(start: Start, stores: Stores, outside: Outside, rules: Rules) -> Services:
    """Bind the sockets, measure the host, connect to the MCP servers, and take requests.

    Raises:
        ConfigError: a socket could not be bound, or the mode refuses what it finds here (`insecure_host`).
    """
    settings = start.settings
    authenticator = Authenticator(stores.operator_token, stores.auditor_token, stores.people, stores.agents)
    host = _host(start, stores, outside, rules, authenticator)
    await outside.providers.start(settings.provider_base_url)
    with ExitStack() as bound:
        listeners = _listeners(settings, stores.data_dir, bound)
        check_start(host, settings.profile_mode)
        outside.registry.start()  # a server that is started is kept from the sockets, which are there now
        await outside.secrets.settle()
        buckets = PrincipalBuckets(PrincipalLimit(**msgspec.structs.asdict(start.file.principal)))
        page = PageServer(start.file.page.port, buckets)
        services = _services(start, stores, outside, rules, host=host, page=page)
        server = _server(start, services, _app(start, services, rules, authenticator, buckets), listeners)
        start.stack.push_async_callback(server.drain)
        start.stack.push_async_callback(page.stop)
        bound.pop_all()  # the server closes them from now on
    watch(services, stores.ledger.counters, server, authenticator)
    if start.exporting is not None:
        start.keep_running(start.exporting.send_metrics(services.metrics))
    start.keep_running(rules.fleet.run())
    if start.file.fleet.relay != "off":
        start.keep_running(_relay(start, stores, outside, rules, services).run())
    start.keep_running(services.witnessing.run())
    await serve_proxies(start, services, authenticator, buckets)
    await server.start()
    return services


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


def _host(start: Start, stores: Stores, outside: Outside, rules: Rules, authenticator: Authenticator) -> Host:
    return Host(
        data_dir=stores.data_dir,
        unix_socket=start.settings.unix_socket,
        agent_socket=start.settings.agent_socket,
        strict_host=start.settings.strict_host,
        args_form=start.file.receipts.args,
        secret_backend=stores.vault.description,
        canary=Canary(stores.vault),
        environ=start.environ,
        engine_problem=stores.ledger.engine_problem,
        policy_problem=rules.policy.problem,
        sign=stores.identity.sign,
        missing_layers=outside.confinement.missing,
        exposed_agents=authenticator.exposed_agents,
        has_signer=lambda: stores.signers.was_paired,
        key_places=KeyPlaces(stores.places.identity_place, stores.places.proofs.description, stores.places.problem),
    )


def _listeners(settings: Settings, data_dir: Path, bound: ExitStack) -> list[Listener]:
    listeners: list[Listener] = []

    def add(listener: Listener) -> None:
        bound.callback(listener.close)
        listeners.append(listener)

    add(open_unix_listener(settings.unix_socket))
    agents = settings.agent_socket
    if agents is not None:
        if data_dir in (agents.parent.resolve() / agents.name).parents:  # over a link
            raise agent_socket_inside(agents, data_dir)
        add(open_agent_listener(agents))
    if settings.tcp_addr is not None:
        add(open_tcp_listener(*settings.tcp_addr))
    return listeners


def _services(
    start: Start, stores: Stores, outside: Outside, rules: Rules, *, host: Host, page: PageServer
) -> Services:
    settings = start.settings
    checkpoints = _checkpoints(start, stores)
    return Services(
        calls=rules.calls,
        ledger=stores.ledger,
        tools=outside.tools,
        policy=rules.policy,
        controls=outside.controls,
        people=stores.people,
        signers=stores.signers,
        agents=stores.agents,
        secrets=outside.secrets,
        redactor=stores.redactor,
        clock=CLOCK,
        entropy=ENTROPY,
        profile=Profile(stores.identity.did, settings.profile_mode, settings.is_ga),
        changes=ApprovalChanges(),
        operator=rules.operator,
        mcp=outside.registry,
        mcp_logins=outside.logins,
        providers=outside.providers,
        fleet=rules.fleet,
        host=host,
        checkpoints=checkpoints,
        witnessing=_witnessing(start, stores, outside, rules, checkpoints),
        meter=Meter(),
        metrics=Metrics(),
        anomalies=Anomalies(stores.ledger, start.file.anomalies),
        hooks=HookSettings(_asks_client(start), start.file.hooks.wait_ms),
        page=page,
        signers_only=not start.file.approvals.operator_token,
    )


def _asks_client(start: Start) -> bool:
    """Whether a hook's client asks its user: a prompt signs nothing, so not where only signers are taken."""
    return start.file.hooks.on_approval == "ask" and start.file.approvals.operator_token


def _relay(start: Start, stores: Stores, outside: Outside, rules: Rules, services: Services) -> ApprovalRelay:
    """Has approvals that wait reach signers through the control plane."""
    parts = RelayParts(
        enrolment=lambda: rules.operator.fleet.state().enrolment,
        client=outside.fleet.client,
        tokens=outside.fleet.tokens,
        ledger=stores.ledger,
        approvers=rules.operator.approvals,
        desk=rules.operator.signers,
        signers=stores.signers,
        sign=stores.identity.sign,
        tell=partial(tell, services),
        says_heads=start.file.fleet.relay == "redacted",
    )
    return ApprovalRelay(parts)


def _checkpoints(start: Start, stores: Stores) -> Checkpoints:
    """Signs checkpoints; where the operator named a place for them, on a schedule too."""
    identity, chosen = stores.identity, start.file.receipts
    checkpoints = Checkpoints(stores.ledger, identity.did, identity.public_key, identity.sign)
    if chosen.checkpoint_dir:
        directory = Path(chosen.checkpoint_dir)
        check_checkpoint_dir(directory, OwnFiles(stores.data_dir))
        start.keep_running(checkpoints.keep(directory, chosen.checkpoint_interval_s))
    return checkpoints


def _witnessing(start: Start, stores: Stores, outside: Outside, rules: Rules, checkpoints: Checkpoints) -> Witnessing:
    """Has the log witnessed; a policy file that cannot be read stops the start."""
    identity, chosen = stores.identity, start.file.receipts
    log = NoteKey(identity.did, LOG_ED25519, identity.public_key)
    policy = None
    if chosen.witness_policy:
        policy = load_policy(Path(chosen.witness_policy), "`[receipts] witness_policy`", log)
    parts = WitnessingParts(
        checkpoints=checkpoints,
        ledger=stores.ledger,
        admin=rules.operator.witnesses,
        client=outside.witnesses,
        data_dir=stores.data_dir,
        policy=policy,
        log=log,
        verify=verify_note_signature,
        clock=CLOCK,
        seed=random.SystemRandom().random,
        interval_s=chosen.witness_interval_s,
    )
    return Witnessing(parts)


def _app(
    start: Start, services: Services, rules: Rules, authenticator: Authenticator, buckets: PrincipalBuckets
) -> DirectApp:
    refusals = RefusalLog(CLOCK.monotonic_ns)
    start.stack.callback(refusals.close)
    api = Api(services, authenticator, buckets, rules.turnstile, refusals)
    if start.settings.otel is None or start.exporting is None:
        return api
    return TracedApi(api, start.settings.otel.sampling, services.tools, start.exporting.send_trace)


def _server(start: Start, services: Services, app: DirectApp, listeners: list[Listener]) -> HttpServer:
    limits = HttpLimits(**msgspec.structs.asdict(start.file.server))
    most = OTHER_OPEN_FILES + len(listeners) * (limits.max_connections + limits.reserves)
    limits = fitting(limits, len(listeners), allow_open_files(most))
    return HttpServer(app, listeners, limits, on_drain=services.changes.stop, refusal_words=refusal_words())
