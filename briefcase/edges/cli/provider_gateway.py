"""`briefcase provider-gateway`: the provider's side of the contract, for demonstrations and in front of a real API."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from briefcase.edges.cli.app import App, pass_app
from briefcase.edges.cli.late import logs, provider_serving, provider_settings, service_manager, signals, system, uvloop
from briefcase.edges.cli.lazy import example
from briefcase.edges.cli.secrets import read_secret
from briefcase.model.types import MAX_PORT

DEFAULT_PORT: Final = 8_787
STATE_DIR: Final = "provider-gateway"
STATUS_LISTS: Final = ("token", "bitstring")  # as `settings.STATUS_LISTS`, which takes a while to load


@click.command(
    "provider-gateway",
    epilog=example(
        "briefcase provider-gateway",
        "briefcase provider-gateway --port 9000 --base-url https://provider.example --redirect-uri URL",
        "briefcase provider-gateway --admin-secret-stdin < admin-secret.txt",
    ),
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The loopback address to listen on.")
@click.option("--port", type=click.IntRange(0, MAX_PORT), default=DEFAULT_PORT, show_default=True, help="0 is any.")
@click.option("--base-url", default="", metavar="URL", help="The address clients use, where a proxy stands in front.")
@click.option("--state-dir", type=click.Path(path_type=Path, file_okay=False), help="Where keys and facts are kept.")
@click.option("--admin-secret-stdin", is_flag=True, help="Read the secret that opens POST /api/revoke.")
@click.option("--redirect-uri", "redirect_uris", multiple=True, metavar="URL", help="Allowed beside loopback ones.")
@click.option("--max-calls", type=click.IntRange(1), default=100, show_default=True, help="Calls of one capability.")
@click.option("--requires-nonce", is_flag=True, help="Demand a nonce of this server in each proof.")
@click.option(
    "--status-list", type=click.Choice(STATUS_LISTS), default=STATUS_LISTS[0], show_default=True, help="Its form."
)
@click.option("--no-payments", is_flag=True, help="Offer no demonstration payment rails.")
@pass_app
def provider_gateway(  # noqa: PLR0913 - one parameter for each option
    app: App,
    *,
    host: str,
    port: int,
    base_url: str,
    state_dir: Path | None,
    admin_secret_stdin: bool,
    redirect_uris: tuple[str, ...],
    max_calls: int,
    requires_nonce: bool,
    status_list: str,
    no_payments: bool,
) -> None:
    """Run the reference provider until SIGTERM or Ctrl-C.

    It issues capabilities bound to a client's key, checks a proof on every call, and answers GET /api/quote. It listens
    on loopback: TLS is for the proxy in front of it, whose address is --base-url. Anyone who reaches it may log in.
    """
    app.serves = True
    settings = provider_settings.GatewaySettings(
        base_url=base_url.rstrip("/"),
        state_dir=state_dir or app.data_dir / STATE_DIR,
        admin_secret=read_secret("secret") if admin_secret_stdin else "",
        redirect_uris=redirect_uris,
        requires_nonce=requires_nonce,
        status_list=status_list,
        takes_payments=not no_payments,
        max_calls=max_calls,
    )

    async def serve() -> None:
        stop = signals.stop_on_signals()
        server = provider_serving.GatewayServer(settings, host, port, system.SystemClock(), system.SystemEntropy())
        try:
            await server.start()
            app.announce(server.base_url, f"briefcase providers upsert demo {server.base_url}")
            async with service_manager.managed(app.environ):
                await stop.wait()
        finally:
            await server.stop()

    app.begin_log("provider-gateway")
    uvloop.run(serve())
    logs.LOG.say("stopped")
