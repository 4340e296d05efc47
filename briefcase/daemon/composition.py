"""The daemon, composed once: six steps, each of which needs only those before it.

 1. settings   the environment becomes a value; the process gives up core dumps and being traced     `run`, `settings`
 2. directory  the data directory is checked and locked; the vault begins to open                     `run`
 3. stores     vault, identity and metadata are opened, and the ledger, whose metadata it must be: it verifies its
               tail and closes what a crash left open; from now on both are watched                   `stores`
 4. outside    the tools are loaded; providers, MCP servers and log-ins are put together              `outside`
 5. rules      the active policy is loaded, or the shipped one installed; what an operator changes is whole again; the
               flow of a call begins to end what nobody ends                                          `rules`
 6. edges      the sockets are bound, the host is measured, and what the mode refuses stops the start; then requests
               are taken                                                                              `serving`

A step that fails undoes the ones before it, the last one first, and leaves as a `BriefcaseError` that names what to
mend; a vault that this start made is removed again. A stop undoes them in the same order.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import AsyncExitStack
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import uvloop

from briefcase import __version__
from briefcase.adapters.service_manager import managed
from briefcase.adapters.telemetry.logger import get_logger
from briefcase.adapters.telemetry.logs import LOG, configure_logs
from briefcase.adapters.telemetry.signals import stop_on_signals
from briefcase.adapters.vault.vault import Vault
from briefcase.core.characters.marks import load_patterns
from briefcase.daemon.config_file import CONFIG_FILE, load_file
from briefcase.daemon.outside import reach_outside
from briefcase.daemon.rules import compose_rules
from briefcase.daemon.serving import serve_api
from briefcase.daemon.settings import Settings
from briefcase.daemon.start import Start
from briefcase.daemon.stores import discard_new_vault, open_stores
from briefcase.edges.api.services import Services

if TYPE_CHECKING:
    from briefcase.adapters.telemetry.otel import Exporting

GC_THRESHOLDS: Final = (20_000, 20, 100)  # a call makes about a hundred containers and no cycle
LOADED_LATER: Final = (  # 150 ms; what of it a start does need is loaded by then
    "briefcase.adapters.net.exchanges",
    "briefcase.adapters.telemetry.exposition",
    "joserfc.jwk",
    "joserfc.jws",
)
SWITCH_INTERVAL_S: Final = 0.000_5  # how long the loop waits for the interpreter's lock while a policy is compiled


_log: Final = get_logger("briefcase.daemon")


class Foundation(NamedTuple):
    """What steps 1 and 2 made.

    `opening` becomes the vault, `began_s` is when the start began (monotonic), `pin` opens the token where keys are.
    """

    settings: Settings
    environ: Mapping[str, str]
    data_dir: Path
    opening: Future[Vault]
    began_s: float
    pin: str = ""

    def __repr__(self) -> str:
        return f"Foundation(data_dir={self.data_dir!r}, ...)"


def run(foundation: Foundation, on_ready: Callable[[], None] | None = None) -> None:
    """Take steps 3 to 6, serve until SIGTERM or SIGINT, and undo them.

    Args:
        foundation: what steps 1 and 2 made.
        on_ready: called once, when calls can be served.

    Raises:
        BriefcaseError: a step failed.
    """
    exporting = _open_export(foundation.settings)
    configure_logs(export=None if exporting is None else exporting.send_log, path=foundation.settings.log_file)
    LOG.say_start("daemon")
    uvloop.run(_serve(foundation, on_ready, exporting))


async def compose(foundation: Foundation, stack: AsyncExitStack, exporting: Exporting | None = None) -> Services:
    """Take steps 3 to 6.

    Args:
        foundation: what steps 1 and 2 made.
        stack: undoes what was done, in the opposite order.
        exporting: where telemetry goes, if it goes anywhere.
    """
    file = load_file(foundation.data_dir / CONFIG_FILE, foundation.environ)
    start = Start(foundation.settings, file, foundation.environ, stack, exporting)
    try:
        stores = await open_stores(start, foundation.data_dir, foundation.opening, foundation.pin)  # 3
        outside = reach_outside(start, stores)  # 4
        rules = await compose_rules(start, stores, outside)  # 5
        return await serve_api(start, stores, outside, rules)  # 6
    except BaseException:
        discard_new_vault(foundation.opening)
        raise


async def _serve(foundation: Foundation, on_ready: Callable[[], None] | None, exporting: Exporting | None) -> None:
    stop = stop_on_signals()
    async with AsyncExitStack() as stack:
        if exporting is not None:
            stack.push_async_callback(exporting.close)
        services = await compose(foundation, stack, exporting)
        tune_interpreter()
        _announce(foundation.settings, services, time.monotonic() - foundation.began_s)
        if on_ready is not None:
            on_ready()
        loading = asyncio.create_task(asyncio.to_thread(load_the_rest))
        stack.push_async_callback(asyncio.wait, [loading])
        async with managed(foundation.environ):
            await stop.wait()
    _log.info("stopped")


def _open_export(settings: Settings) -> Exporting | None:
    if settings.otel is None:
        return None
    from briefcase.adapters.telemetry.otel import Exporting

    return Exporting(settings.otel)


def tune_interpreter() -> None:
    """Collect after hundreds of calls, not every seventh, and nothing of start-up; let no thread hold the loop long."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()


def load_the_rest() -> None:
    """Load what no start needs and a first call of its kind would wait for; and keep it out of every collection."""
    for name in LOADED_LATER:
        import_module(name)
    load_patterns()
    gc.freeze()


def _announce(settings: Settings, services: Services, took_s: float) -> None:
    """Say that calls are served: a line of the log, or one for the person who started the daemon on a terminal."""
    head = services.ledger.head()
    tools = sum(not spec.runs_at_client for spec in services.tools.specs())
    policy = services.policy.current()[1][:12]
    tcp = None if settings.tcp_addr is None else f"{settings.tcp_addr[0]}:{settings.tcp_addr[1]}"
    places = {"unix_socket": settings.unix_socket, "tcp": tcp, "agent_socket": settings.agent_socket}
    listening = {name: str(place) for name, place in places.items() if place is not None}
    if not LOG.is_for_people:
        facts = {"tools": tools, "receipts": head.id, "policy": policy, "mode": settings.profile_mode}
        _log.info("ready", took_ms=round(took_s * 1_000), **facts, **listening)
        return
    sys.stderr.write(
        f"briefcase {__version__} ready in {took_s:.2f} s: {tools} tools, {head.id} receipts, policy {policy}, mode"
        f" {settings.profile_mode}, listening on {', '.join(listening.values())}; next: briefcase tools list\n"
    )
    sys.stderr.flush()
