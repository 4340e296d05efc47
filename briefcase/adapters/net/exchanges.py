"""One exchange with an upstream over aiohttp, bounded: what `outbound` lets through is sent here, and its answer read.

`outbound` loads this module with its first request: the library and the trust it verifies with take as long to load as
a third of a daemon's start. Connections are shared only within a `pool_key`; the connector resolves and judges each new
one. A request that is not GET or HEAD gets a connection of its own, or, where its sender says `keeps_connection`, one
that was idle for less than `KEPT_S`, until the upstream shows that it closes connections as soon as that.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import zlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from enum import Enum
from http import HTTPStatus
from types import SimpleNamespace
from typing import Final

import aiohttp
import msgspec
from yarl import URL

from briefcase.adapters.net.connector import GuardedResolver, LookingConnector
from briefcase.adapters.net.destinations import DestinationGuard, NotAllowedError, refused
from briefcase.adapters.net.urls import Url
from briefcase.model.errors import UpstreamError
from briefcase.model.ports import HttpRequest, HttpResponse, HttpStream

MAX_ANSWER_HEADERS: Final = 128
MAX_HEADER_BYTES: Final = 8_190
MAX_READING_BYTES: Final = 128 << 20  # of all answers that are being read at a moment
MAX_HASTY: Final = 4_096
MAX_POOLS: Final = 64
MAX_CONNECTIONS_PER_POOL: Final = 144  # an MCP server's running calls and the daemon's own requests to it
KEEPALIVE_S: Final = 30.0
KEPT_S: Final = 1.0  # a second less than the shortest that servers are known to have unless told otherwise
CLOSES_SOON_S: Final = 3  # what a server announces must leave a margin, too
USER_AGENT: Final = "briefcase"
SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
_ANNOUNCED: Final = re.compile(r"\btimeout\s*=\s*(\d{1,9})")  # `Keep-Alive: timeout=5`, as most servers write it


class _Use(Enum):
    """What a pool's connections are used for; the value is how long they are kept in between, in seconds."""

    SAFE = KEEPALIVE_S
    KEPT = KEPT_S
    ALONE = 0.0


class Exchanges:
    """Sends requests whose destination and headers are checked, and reads their answers. One event loop.

    Args:
        guard: judges the addresses of a name.
        tls: the trust to verify certificates with; the system's by default.
    """

    def __init__(self, guard: DestinationGuard, tls: ssl.SSLContext | None = None) -> None:
        self._guard = guard
        self._tls = tls or ssl.create_default_context()
        self._pools: OrderedDict[tuple[str, _Use], _Pool] = OrderedDict()
        self._hasty: set[str] = set()  # the keys of pools whose upstream closes connections soon
        self._reading = _Reading()

    async def request(self, url: Url, request: HttpRequest) -> HttpResponse:
        """Send one request and read its whole bounded answer. See `ports.Outbound`."""
        progress = _progress_of(request)
        try:
            async with asyncio.timeout(request.timeout_ms / 1_000), self._session(request) as session:
                return await self._exchange(session, url, request, progress)
        except TimeoutError:
            fault = _too_late(request, sent=progress.sent)
        except (aiohttp.ClientError, ValueError, OSError) as error:
            self._note_lost(request, progress)
            fault = _fault_of(error, url, sent=progress.sent)
        raise fault  # here, so that it does not carry the client's exception, which carries the request's headers

    @asynccontextmanager
    async def stream(self, url: Url, request: HttpRequest) -> AsyncIterator[HttpStream]:
        """Send one request and read its answer piece by piece. See `outbound.GuardedOutbound.stream`."""
        progress = _progress_of(request)
        headers = {**request.headers, "Accept-Encoding": "identity"}
        fault: UpstreamError | None = None
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(request.timeout_ms / 1_000):
                    session = await stack.enter_async_context(self._session(request))
                    sending = _sending(session, url, msgspec.structs.replace(request, headers=headers), progress)
                    response = await stack.enter_async_context(sending)
            except TimeoutError:
                fault = _too_late(request, sent=progress.sent)
            except (aiohttp.ClientError, ValueError, OSError) as error:
                self._note_lost(request, progress)
                fault = _fault_of(error, url, sent=progress.sent)
            if fault is not None:
                raise fault  # here, as in `request`
            _check_status(response)
            answered = self._headers_of(response, request)
            if answered.get("content-encoding", "identity").strip().lower() != "identity":
                raise UpstreamError("the upstream's answer is encoded: a stream of events is not")
            yield HttpStream(response.status, answered, _pieces(response, url, request.max_body_bytes))

    async def close(self) -> None:
        """Close every connection."""
        pools = list(self._pools.values())
        self._pools.clear()
        for pool in pools:
            await pool.session.close()

    @asynccontextmanager
    async def _session(self, request: HttpRequest) -> AsyncIterator[aiohttp.ClientSession]:
        """The session of a request's pool; the pool that was idle longest goes when there are too many."""
        key = (request.pool_key, self._use_of(request))
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = _Pool(self._open_session(key[1]))
        self._pools.move_to_end(key)
        pool.users += 1
        try:
            await self._close_idle()
            yield pool.session
        finally:
            pool.users -= 1

    async def _close_idle(self) -> None:
        idle = [key for key, pool in self._pools.items() if not pool.users]
        for key in idle[: max(0, len(self._pools) - MAX_POOLS)]:
            await self._pools.pop(key).session.close()

    def _use_of(self, request: HttpRequest) -> _Use:
        if request.method in SAFE_METHODS:
            return _Use.SAFE
        return _Use.KEPT if request.keeps_connection and request.pool_key not in self._hasty else _Use.ALONE

    def _open_session(self, use: _Use) -> aiohttp.ClientSession:
        connector = LookingConnector(
            resolver=GuardedResolver(self._guard),
            use_dns_cache=False,  # what was checked is what is connected to, each time
            ssl=self._tls,
            limit=MAX_CONNECTIONS_PER_POOL,
            **({"force_close": True} if use is _Use.ALONE else {"keepalive_timeout": use.value}),
        )
        watch = aiohttp.TraceConfig()
        watch.on_connection_reuseconn.append(_note_reuse)
        watch.on_request_headers_sent.append(_note_sending)
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),  # the deadline is over the whole exchange, not of its parts
            auto_decompress=False,  # done here, bounded
            trust_env=False,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_ANSWER_HEADERS,
            skip_auto_headers=("Content-Type",),
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "gzip"},
            trace_configs=[watch],
        )

    async def _exchange(
        self, session: aiohttp.ClientSession, url: Url, request: HttpRequest, progress: SimpleNamespace
    ) -> HttpResponse:
        async with _sending(session, url, request, progress) as response:
            _check_status(response)
            body = await self._reading.read(response, request.max_body_bytes)
            headers = self._headers_of(response, request)
            return HttpResponse(response.status, headers, _decoded(body, headers, request.max_body_bytes))

    def _headers_of(self, response: aiohttp.ClientResponse, request: HttpRequest) -> dict[str, str]:
        names = dict.fromkeys(name.lower() for name in response.headers)
        headers = {name: ", ".join(response.headers.getall(name)) for name in names}
        announced = _ANNOUNCED.search(headers.get("keep-alive", "").lower())
        if announced is not None and int(announced[1]) < CLOSES_SOON_S:
            self._note_hasty(request)
        return headers

    def _note_hasty(self, request: HttpRequest) -> None:
        """Keep no connection of this pool; what is known of others is forgotten where it is known of too many."""
        if len(self._hasty) >= MAX_HASTY:
            self._hasty.clear()
        self._hasty.add(request.pool_key)

    def _note_lost(self, request: HttpRequest, progress: SimpleNamespace) -> None:
        """One request in doubt because a kept connection was closed is enough: the pool keeps none from now on."""
        if progress.sent and progress.is_reused and not progress.is_safe:
            self._note_hasty(request)


class _Pool:
    """One session, and how many exchanges it is in."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.users = 0


class _Reading:
    """What is being read of all upstreams' answers: each is bounded, and so are all of them together."""

    def __init__(self) -> None:
        self.total_bytes = 0

    async def read(self, response: aiohttp.ClientResponse, max_body_bytes: int) -> bytes:
        """The body as it was sent. Past a bound nothing more is read: leaving the response unread closes it."""
        body = bytearray()
        try:
            async for chunk in response.content.iter_any():
                body += chunk
                self.total_bytes += len(chunk)
                if len(body) > max_body_bytes:
                    raise _too_large(max_body_bytes)
                if self.total_bytes > MAX_READING_BYTES:
                    raise UpstreamError("too many answers of upstreams are being read at once")
            return bytes(body)
        finally:
            self.total_bytes -= len(body)


class _ResentError(aiohttp.ClientError):
    """The client library was about to send once more what may be sent only once."""


def _progress_of(request: HttpRequest) -> SimpleNamespace:
    return SimpleNamespace(sent=False, is_reused=False, is_safe=request.method in SAFE_METHODS)


async def _note_reuse(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
    """A kept connection will be used, unless news on it says otherwise."""
    context.trace_request_ctx.is_reused = True


async def _note_sending(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
    """Just before the head is written: from here on the request may have arrived, and only a safe one is sent again."""
    progress = context.trace_request_ctx
    if progress.sent and not progress.is_safe:
        raise _ResentError("the upstream closed the connection without an answer")
    progress.sent = True


def _sending(
    session: aiohttp.ClientSession, url: Url, request: HttpRequest, progress: SimpleNamespace
) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
    return session.request(
        request.method,
        URL(f"{url.scheme}://{url.authority}{url.target}", encoded=True),
        headers=request.headers,
        data=request.body,
        allow_redirects=False,
        trace_request_ctx=progress,
    )


def _check_status(response: aiohttp.ClientResponse) -> None:
    if response.status < HTTPStatus.OK:  # RFC 9110 section 15.2
        raise UpstreamError("the upstream wanted another protocol")


async def _pieces(response: aiohttp.ClientResponse, url: Url, max_body_bytes: int) -> AsyncIterator[bytes]:
    size = 0
    fault: UpstreamError | None = None
    try:
        async for piece in response.content.iter_any():
            size += len(piece)
            if size > max_body_bytes:
                raise _too_large(max_body_bytes)
            yield piece
    except (aiohttp.ClientError, ValueError, OSError) as error:
        fault = _fault_of(error, url, sent=True)
    if fault is not None:
        raise fault  # here, as in `request`


def _decoded(body: bytes, headers: Mapping[str, str], max_body_bytes: int) -> bytes:
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity" or not body:
        return body
    if encoding not in {"gzip", "x-gzip"}:
        raise UpstreamError("the upstream's answer is encoded otherwise: expected gzip")
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        decoded = inflater.decompress(body, max_body_bytes + 1)
    except zlib.error:
        raise UpstreamError("the upstream's answer is damaged: it is no gzip") from None
    if len(decoded) > max_body_bytes:
        raise _too_large(max_body_bytes)
    if not inflater.eof or inflater.unused_data:
        raise UpstreamError("the upstream's answer is damaged: its gzip is cut off, or goes on after its end")
    return decoded


def _too_late(request: HttpRequest, *, sent: bool) -> UpstreamError:
    message = f"the upstream did not answer within {request.timeout_ms} ms"
    return UpstreamError(message, code="upstream_timeout", sent=sent)


def _too_large(max_body_bytes: int) -> UpstreamError:
    return UpstreamError(f"the upstream's answer is too large: expected at most {max_body_bytes} bytes")


def _fault_of(error: Exception, url: Url, *, sent: bool) -> UpstreamError:
    """The fault behind a client library's exception; what only the log may see goes into `detail`."""
    causes = [error, error.__cause__, getattr(error, "os_error", None)]
    refusal = next((cause for cause in causes if isinstance(cause, NotAllowedError)), None)
    if refusal is not None:
        return refused(str(refusal))
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        what = "the upstream's certificate could not be verified"
    elif isinstance(error, aiohttp.ClientConnectorDNSError):
        what = "the upstream's name could not be resolved"
    elif isinstance(error, aiohttp.ClientConnectorError):
        what = "the upstream could not be connected to"
    elif isinstance(error, aiohttp.ServerDisconnectedError | _ResentError):
        what = "the upstream closed the connection without an answer"
    else:
        what = "the upstream's answer could not be read"
    # not the exception's own text: some repeat the request's headers, or what the upstream echoed of them
    detail = f"{url.authority}: {type(error).__name__} {getattr(error, 'os_error', '')}"
    return UpstreamError(what, detail=detail, sent=sent)
