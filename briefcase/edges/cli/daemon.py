"""`briefcase daemon`: the daemon in the foreground, as a service manager runs it."""

from __future__ import annotations

import click

from briefcase.edges.cli.app import App, pass_app
from briefcase.edges.cli.lazy import example


@click.command(epilog=example("briefcase daemon", "BRIEFCASE_DATA_DIR=/var/lib/briefcase briefcase daemon"))
@pass_app
def daemon(app: App) -> None:
    """Run the daemon in the foreground until SIGTERM or Ctrl-C.

    Its settings come from the environment and from briefcase.toml in the data directory.
    """
    app.serves = True
    app.root.serve(app.environ)
