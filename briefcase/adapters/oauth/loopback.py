"""Where the browser brings the answer of a log-in: one listener on loopback, for one answer (RFC 8252 section 7.3).

Used by the command line. It answers every request with a page of its own that repeats nothing of what it was sent,
and takes the first one to its path that carries the `state` of this log-in; others change nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from http import HTTPStatus
from typing import Final, Self
from urllib.parse import parse_qs, urlsplit

import msgspec

from briefcase.model.errors import CallerError

PATH: Final = "/callback"
HOST: Final = "127.0.0.1"
MAX_HEAD_BYTES: Final = 16 << 10
HEAD_TIMEOUT_S: Final = 10.0

_PAGE: Final = "<!doctype html><meta charset=utf-8><title>briefcase</title><p>{}</p><p>You can close this window.</p>"
_ANSWER: Final = (
    "HTTP/1.1 {} OK\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\ncache-control: no-store\r\n"
    "content-security-policy: default-src 'none'\r\nreferrer-policy: no-referrer\r\nconnection: close\r\n\r\n{}"
)


class AuthorizationAnswer(msgspec.Struct, frozen=True):
    """What an authorization server sends back: a code or an error, the state, and the server's name."""

    code: str | None
    error: str | None
    state: str | None
    iss: str | None

    def __repr__(self) -> str:
        return f"AuthorizationAnswer(error={self.error!r}, iss={self.iss!r}, ...)"


class LoopbackListener:
    """Waits for one answer. Use it as an asynchronous context; `redirect_uri` is known once it is entered.

    Args:
        state: the `state` of this log-in; it may be set after entering, before the browser is sent away.
        port: the port, 0 for any free one.
    """

    def __init__(self, state: str = "", port: int = 0) -> None:
        self.state = state
        self.redirect_uri = ""
        self._port = port
        self._server: asyncio.Server | None = None
        self._answer: asyncio.Future[AuthorizationAnswer]

    async def __aenter__(self) -> Self:
        self._answer = asyncio.get_running_loop().create_future()
        try:
            self._server = await asyncio.start_server(self._serve, HOST, self._port, limit=MAX_HEAD_BYTES)
        except OSError as error:
            raise CallerError(f"`{HOST}:{self._port}` cannot be listened on", hint="choose another port") from error
        port = self._server.sockets[0].getsockname()[1]
        self.redirect_uri = f"http://{HOST}:{port}{PATH}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        self._answer.cancel()

    async def wait(self, timeout_s: float) -> AuthorizationAnswer:
        """The answer.

        Raises:
            CallerError: none came in time.
        """
        try:
            return await asyncio.wait_for(asyncio.shield(self._answer), timeout_s)
        except TimeoutError:
            hint = "on a machine without a browser, paste the address you were sent back to instead"
            raise CallerError(f"no answer came within {timeout_s:g} s", code="request_timeout", hint=hint) from None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HEAD_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
            status, page = self._take(head)
            body = _PAGE.format(page)
            writer.write(_ANSWER.format(status, len(body), body).encode())
            await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # not an HTTP client that means us: say nothing
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def _take(self, head: bytes) -> tuple[int, str]:
        method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        target = rest.partition(" ")[0]
        if method != "GET" or urlsplit(target).path != PATH:
            return HTTPStatus.NOT_FOUND, "Nothing is here."
        try:
            answer = parse_answer(target)
        except CallerError:
            return HTTPStatus.BAD_REQUEST, "This is not an answer to a log-in."
        if not self.state or not hmac.compare_digest((answer.state or "").encode(), self.state.encode()):
            return HTTPStatus.BAD_REQUEST, "This answer belongs to another log-in."
        if not self._answer.done():
            self._answer.set_result(answer)
        return HTTPStatus.OK, "The log-in is with briefcase now." if answer.code else "The log-in was refused."


def parse_answer(address: str) -> AuthorizationAnswer:
    """Read the address a person was sent back to, as a whole or as its path and query.

    Raises:
        CallerError: it carries neither one code nor one error, or a parameter twice (RFC 6749 section 3.1).
    """
    try:
        fields = parse_qs(urlsplit(address.strip()).query, keep_blank_values=True, max_num_fields=32)
    except ValueError:
        raise CallerError("expected the address you were sent back to, with its `code`") from None
    if any(len(fields.get(name, ())) > 1 for name in ("code", "error", "state", "iss")):
        raise CallerError("expected each parameter of the answer once")
    code, error, state, iss = (fields.get(name, [None])[0] for name in ("code", "error", "state", "iss"))
    if (code is None) == (error is None):
        raise CallerError("expected the address you were sent back to, with its `code`")
    return AuthorizationAnswer(code, error, state, iss)
