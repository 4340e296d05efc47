"""`briefcase gateway`: the MCP endpoint an agent connects to, in a process of its own."""

from __future__ import annotations

import click

from briefcase.edges.cli.app import App, pass_app
from briefcase.edges.cli.late import gateway_settings, mcp_gateway, otel, uvloop
from briefcase.edges.cli.lazy import example
from briefcase.edges.cli.names import complete_server


@click.command(
    epilog=example(
        "BRIEFCASE_AUTH_TOKEN=... briefcase gateway",
        "BRIEFCASE_MCP_HTTP_ADDR=127.0.0.1:7778 BRIEFCASE_MCP_NO_STDIO=1 briefcase gateway",
        "briefcase gateway --server files",
    )
)
@click.option(
    "--server",
    metavar="ID",
    shell_complete=complete_server,
    help="Present this one MCP server, under its tools' own names.",
)
@click.option("--tool-ids", is_flag=True, help="Name tools by the daemon's ids, as `server.tool`; some clients refuse.")
@click.option("--allow-origin", "origins", multiple=True, metavar="URL", help="A web origin that may connect.")
@pass_app
def gateway(app: App, *, server: str | None, tool_ids: bool, origins: tuple[str, ...]) -> None:
    """Serve MCP to agents, in front of the daemon.

    It serves until the agent at its standard input leaves, or until SIGTERM.

    On standard input and output for one agent, whose token is BRIEFCASE_AUTH_TOKEN; and over Streamable HTTP where
    BRIEFCASE_MCP_HTTP_ADDR names a loopback address, for agents that send their own tokens. The gateway holds no secret
    of yours and takes agents' tokens only, which can approve nothing.
    """
    app.serves = True
    settings = gateway_settings.load_gateway_settings(
        app.environ, app.socket_path, app.data_dir, server=server, keeps_ids=tool_ids, origins=tuple(origins)
    )
    exporting = None
    if settings.otel is not None:
        exporting = otel.Exporting(settings.otel)
    app.begin_log("gateway", None if exporting is None else exporting.send_log)
    uvloop.run(mcp_gateway.serve_gateway(settings, exporting))
