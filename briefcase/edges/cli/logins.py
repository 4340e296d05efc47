"""What every log-in at the command line does: send the person away, and take what they come back with.

The browser comes back to a listener on loopback (RFC 8252 section 7.3). On a machine without a browser nothing listens:
the person pastes the address their browser ended on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol, Self, TypeVar

import click

from briefcase.core.wire.providers import LoginRevoked
from briefcase.core.wire.servers import ServerLoginRevoked
from briefcase.edges.cli.late import asyncio, loopback, webbrowser
from briefcase.edges.cli.messages import note
from briefcase.model.errors import UpstreamError
from briefcase.model.types import MAX_PORT

PASTE_PORT: Final = 49_152  # nobody listens there: the browser shows the address that is to be pasted
LOGIN_TIMEOUT_S: Final = 300.0
MAX_WORD_CHARS: Final = 64
BROWSED: Final = ("https://", "http://")


class Begun(Protocol):
    """A log-in that the daemon has begun."""

    @property
    def authorization_url(self) -> str:
        """Where to send the person."""
        ...

    @property
    def state(self) -> str:
        """What the answer must carry."""
        ...


_T = TypeVar("_T", bound=Begun)
_F = TypeVar("_F", bound=Callable[..., Any])


class Waiting(NamedTuple):
    """How the answer is waited for: the values of `login_options`."""

    port: int
    timeout_secs: float
    no_browser: bool
    paste: bool

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """From a command's parameters."""
        return cls(**options)


def login_options(command: _F) -> _F:
    """The options of `Waiting`, on a command."""
    for option in (
        click.option("--paste", is_flag=True, help="Without a browser here: paste the address you are sent back to."),
        click.option("--no-browser", is_flag=True, help="Show the address instead of opening a browser."),
        click.option("--timeout-secs", type=click.FloatRange(1), default=LOGIN_TIMEOUT_S, show_default=True),
        click.option("--port", type=click.IntRange(0, MAX_PORT), default=0, help="Where to wait; 0 is any."),
    ):
        command = option(command)
    return command


def obtain(start: Callable[[str], _T], waiting: Waiting) -> tuple[_T, loopback.AuthorizationAnswer, str]:
    """Begin a log-in and wait for its answer.

    Args:
        start: begins it at the daemon, for a redirect address.
        waiting: how to wait.

    Raises:
        CallerError: no answer came in time, or what was pasted is none.

    Returns:
        What was begun, the answer, and the redirect address it came to.
    """
    return _by_paste(start, waiting.port or PASTE_PORT) if waiting.paste else _by_loopback(start, waiting)


def code_of(answer: loopback.AuthorizationAnswer, who: str) -> str:
    """The code of an answer. Raises `UpstreamError` where it is a refusal."""
    if answer.code is None:
        word = (answer.error or "")[:MAX_WORD_CHARS]
        raise UpstreamError(f"the {who} refused the log-in: `{word}`", code="upstream_refused")
    return answer.code


def revocation_words(ended: LoginRevoked | ServerLoginRevoked) -> str:
    """What came of a revocation at the server."""
    if ended.remote_revocation_succeeded:
        return "and at its server"
    if ended.remote_revocation_attempted:
        return "its server did not confirm: end it there as well"
    return "its server was not asked"


def _by_loopback(start: Callable[[str], _T], waiting: Waiting) -> tuple[_T, loopback.AuthorizationAnswer, str]:
    async def wait() -> tuple[_T, loopback.AuthorizationAnswer, str]:
        async with loopback.LoopbackListener(port=waiting.port) as listener:
            started = start(listener.redirect_uri)  # nobody knows of the listener yet: it may block
            listener.state = started.state
            url = _shown(started, "open this address, and agree there:")
            if not waiting.no_browser and not await asyncio.to_thread(webbrowser.open, url):
                note("no browser opened: open it yourself, or use --paste where the browser is on another machine")
            return started, await listener.wait(waiting.timeout_secs), listener.redirect_uri

    return asyncio.run(wait())


def _by_paste(start: Callable[[str], _T], port: int) -> tuple[_T, loopback.AuthorizationAnswer, str]:
    redirect_uri = f"http://{loopback.HOST}:{port}{loopback.PATH}"
    started = start(redirect_uri)
    _shown(started, "open this address in any browser, and agree there:")
    note(f"it ends on an address that begins with {redirect_uri} and does not load: copy that address")
    pasted: str = click.prompt("paste it here", err=True, prompt_suffix=": ")
    return started, loopback.parse_answer(pasted), redirect_uri


def _shown(started: Begun, words: str) -> str:
    """Show where to go; a browser is a program with other uses than pages, and gets nothing but one."""
    url = started.authorization_url
    if not url.startswith(BROWSED):
        raise UpstreamError("expected a page to log in at, got an address of another kind", code="upstream_refused")
    note(words)
    click.echo(url, err=True)
    return url
