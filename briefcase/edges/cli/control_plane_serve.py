"""`briefcase control-plane serve`: the server a fleet enrols with."""

from __future__ import annotations

from pathlib import Path

import click

from briefcase.edges.cli.app import App, pass_app
from briefcase.edges.cli.late import (
    control_plane_serving,
    control_plane_settings,
    logs,
    otel,
    service_manager,
    signals,
    system,
    uvloop,
)
from briefcase.edges.cli.lazy import example
from briefcase.model.errors import ConfigError


@click.command(
    "serve",
    epilog=example(
        "briefcase control-plane serve --embedded",
        "briefcase control-plane serve --listen 0.0.0.0:8790 --tls-cert fleet.pem --tls-key fleet.key",
        "briefcase control-plane serve --listen 10.0.0.7:8790 --behind-proxy 10.0.0.0/24 --retention-days 400",
    ),
)
@click.option("--embedded", "is_embedded", is_flag=True, help="Run a PostgreSQL of its own in the data directory.")
@click.option("--listen", default="", metavar="ADDRESS:PORT", help="Where to listen.  [default: 127.0.0.1:8790]")
@click.option("--tls-cert", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Its chain, PEM.")
@click.option("--tls-key", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Its key, PEM.")
@click.option("--behind-proxy", "proxies", multiple=True, metavar="CIDR", help="Who may speak to it in clear text.")
@click.option("--retention-days", type=click.IntRange(1), help="Drop older receipts.  [default: keep all]")
@pass_app
def serve(
    app: App,
    *,
    is_embedded: bool,
    listen: str,
    tls_cert: Path | None,
    tls_key: Path | None,
    proxies: tuple[str, ...],
    retention_days: int | None,
) -> None:
    """Serve policy to a fleet and keep its receipts, until SIGTERM or Ctrl-C.

    Everything is in the PostgreSQL of BRIEFCASE_CONTROL_PLANE_DATABASE_URL, so any number of processes may serve; they
    share the file of BRIEFCASE_CONTROL_PLANE_SIGNING_KEY_FILE. Administrators use BRIEFCASE_CONTROL_PLANE_ADMIN_TOKEN.
    """
    app.serves = True
    options = control_plane_settings.ServeOptions(
        is_embedded=is_embedded,
        listen=listen,
        certificate=tls_cert,
        certificate_key=tls_key,
        proxies=proxies,
        retention_days=retention_days,
    )
    settings = control_plane_settings.parse_settings(app.environ, options)
    _check_installed()
    control_plane_serving.hide_secrets(settings)
    exporting = None if settings.otel is None else otel.Exporting(settings.otel)
    app.begin_log("control-plane", None if exporting is None else exporting.send_log)

    async def run() -> None:
        stop = signals.stop_on_signals()
        plane = control_plane_serving.ControlPlane(settings, system.SystemClock(), system.SystemEntropy(), exporting)
        try:
            await plane.start()
            app.announce(plane.base_url, f"briefcase control-plane enroll {plane.base_url} NAME")
            async with service_manager.managed(app.environ):
                await stop.wait()
        finally:
            await plane.stop()

    uvloop.run(run())
    logs.LOG.say("stopped")


def _check_installed() -> None:
    """Load the server, whose libraries are an extra of the package.

    Raises:
        ConfigError: one of them is not installed.
    """
    try:
        _ = control_plane_serving.ControlPlane
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"a control plane needs `{error.name}`, which is not installed",
            hint="pip install 'agentic-briefcase[control-plane]'; in a checkout: pip install '.[control-plane]'",
        ) from None
