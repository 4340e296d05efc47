"""The gateway's way to the daemon: pooled HTTP over its Unix socket, with the calling agent's own token.

What the daemon answers is trusted as to its form only as far as the contract goes; a daemon that can not be reached,
or that refuses the token, is a `DaemonError`, and the agent is told no more than its message.
"""

from __future__ import annotations

import asyncio
from typing import Final, Self

import aiohttp
import orjson

from briefcase.gateway.settings import GatewaySettings
from briefcase.types import JsonObject

MAX_ANSWER_BYTES: Final = 16 << 20
MAX_CONNECTIONS: Final = 256
ANSWER_TIMEOUT_S: Final = 120.0  # past every deadline of the daemon's own: it, not we, ends a call
CONNECT_TIMEOUT_S: Final = 5.0
_PIECE_BYTES: Final = 64 << 10


class DaemonError(Exception):
    """The daemon refused a request, or could not be asked. `status` is its HTTP status, 0 where there was none."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class Daemon:
    """One pool of connections to one daemon; use it as a context manager."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._base = (settings.daemon_url or "http://briefcase").rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        socket = self._settings.daemon_socket
        connector = (
            aiohttp.TCPConnector(limit=MAX_CONNECTIONS)
            if socket is None
            else aiohttp.UnixConnector(path=str(socket), limit=MAX_CONNECTIONS)
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, token: str, path: str) -> JsonObject:
        """Ask for one document.

        Raises:
            DaemonError: refused, unreachable, or not a JSON object within the bound.
        """
        return await self._ask("GET", token, path, None)

    async def post(self, token: str, path: str, body: bytes) -> JsonObject:
        """Send one JSON document and read the answer. Raises as `get`."""
        return await self._ask("POST", token, path, body)

    async def _ask(self, method: str, token: str, path: str, body: bytes | None) -> JsonObject:
        session = self._opened()
        try:
            async with session.request(
                method, self._base + path, data=body, headers=_headers(token, body), allow_redirects=False
            ) as response:
                data = await _read(response)
                if response.status != 200:  # noqa: PLR2004 - OK
                    raise _refused(response.status, data)
        except (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise _unreachable(error) from None
        return _object(data)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the daemon's client is used outside its context")
        return self._session


def _headers(token: str, body: bytes | None) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {token}"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    return headers


async def _read(response: aiohttp.ClientResponse) -> bytes:
    pieces, size = [], 0
    async for piece in response.content.iter_chunked(_PIECE_BYTES):
        size += len(piece)
        if size > MAX_ANSWER_BYTES:
            raise DaemonError(0, "payload_too_large", "the daemon's answer is larger than expected")
        pieces.append(piece)
    return b"".join(pieces)


def _object(data: bytes) -> JsonObject:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise DaemonError(0, "internal", "the daemon's answer is not the expected JSON")
    return value


def _refused(status: int, data: bytes) -> DaemonError:
    try:
        body = _object(data)
    except DaemonError:
        body = {}
    return DaemonError(status, str(body.get("code", "internal")), str(body.get("message", f"the daemon said {status}")))


def _unreachable(error: BaseException) -> DaemonError:
    return DaemonError(0, "daemon_unreachable", f"the daemon can not be reached ({type(error).__name__})")
