"""`briefcase ui`: a link to the operator page that logs a browser in, once, as whose token asks."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final

import click

from briefcase.core.wire.page import PageLink
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.late import webbrowser
from briefcase.edges.cli.lazy import example
from briefcase.edges.cli.messages import note

_DISPLAYS: Final = ("DISPLAY", "WAYLAND_DISPLAY")
_REMOTE: Final = ("SSH_CONNECTION", "SSH_TTY")


@click.command("ui", epilog=example("briefcase ui", "briefcase ui --print"))
@click.option("--print", "only_print", is_flag=True, help="Print the link and open no browser.")
@json_option
@pass_app
def ui(app: App, *, only_print: bool, as_json: bool) -> None:
    """Open the operator page in a browser.

    It shows what waits for a person, receipts and the rest. The link works once, for a minute, and makes that browser
    whoever's token BRIEFCASE_AUTH_TOKEN holds. The page is on this host's loopback alone; over SSH, forward its port.
    """
    reply = app.client().post("/v1/page/links", PageLink)
    if as_json:
        app.json(reply.document)
        return
    url = reply.answer.url
    click.echo(url)
    if not only_print and has_browser(app.environ) and webbrowser.open(url):
        note("opened in your browser; the link works once, for a minute")
    else:
        note("open it in a browser within a minute; it works once (over SSH: `briefcase help page#over-ssh`)")


def has_browser(environ: Mapping[str, str]) -> bool:
    """Whether a browser of whoever types would open here: one with windows, and not on the far side of SSH."""
    if any(environ.get(name) for name in _REMOTE):
        return False
    return sys.platform == "darwin" or any(environ.get(name) for name in _DISPLAYS)
