"""The one guarded way out: every byte the daemon sends to another host goes through `GuardedOutbound.request`.

What is refused before anything is sent (`upstream_refused`, `sent=False`):

 1. a URL that two readers could read differently: another scheme, userinfo, a backslash, a control, a space, a
    fragment, a dot segment, a host that is no plain ASCII name or canonical address (`parse_url`)
 2. a header that would break the framing, or that only this module may set (`check_headers`)
 3. plain `http` to a host that the operator did not list
 4. an address in a special-purpose range (`SPECIAL_RANGES`), judged as *resolved*: the connection goes to the very
    addresses that were checked, so a name that resolves differently a moment later gains nothing. One such address
    among several refuses the name.

What is bounded: the whole exchange by one deadline, the answer's head, and its body, before and after decompression.
Redirects are answers like any other and never followed; cookies and proxy settings are ignored; certificates are
always verified. Connections are shared only within a `pool_key`, and a new one is always resolved and judged anew. A
request that is not GET or HEAD is never sent twice, and gets a connection of its own, so that a stale one cannot leave
it in doubt; only where its sender says `keeps_connection` may it follow another on one that was idle for `KEPT_S`, and
only until the upstream shows that it closes connections as soon as that.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import zlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from enum import Enum
from http import HTTPStatus
from types import SimpleNamespace
from typing import Final, NamedTuple

import aiohttp
import msgspec
from yarl import URL

from briefcase.adapters.net.connector import LookingConnector
from briefcase.adapters.net.destinations import DestinationGuard, Lookup, NotAllowedError, parse_listed, system_lookup
from briefcase.adapters.net.urls import Url, check_headers, parse_url
from briefcase.model.errors import ConfigError, UpstreamError
from briefcase.model.ports import HttpRequest, HttpResponse

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
METHODS: Final = SAFE_METHODS | {"POST", "PUT", "PATCH", "DELETE"}
_ANNOUNCED: Final = re.compile(r"\btimeout\s*=\s*(\d{1,9})")  # `Keep-Alive: timeout=5`, as most servers write it


class _Use(Enum):
    """What a pool's connections are used for; the value is how long they are kept in between, in seconds."""

    SAFE = KEEPALIVE_S
    KEPT = KEPT_S
    ALONE = 0.0


class GuardedOutbound:
    """`ports.Outbound` over aiohttp. One event loop; close it with `close`.

    Args:
        allow_private: special-purpose destinations that may be reached all the same, each `host` or `host:port`, and
            the only ones that may be spoken to without TLS. A listed address may be any; a listed name may lead to
            loopback and private ranges, never to link-local ones, where clouds keep their metadata.
        lookup: how names are resolved.
        tls: the trust to verify certificates with; the system's by default.

    Raises:
        ConfigError: an entry is of another form, or `tls` does not verify.
    """

    def __init__(
        self,
        allow_private: Iterable[str] = (),
        *,
        lookup: Lookup = system_lookup,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._tls = tls or ssl.create_default_context()
        if self._tls.verify_mode is not ssl.CERT_REQUIRED or not self._tls.check_hostname:
            raise ConfigError("expected a TLS context that verifies certificates and host names")
        self._guard = DestinationGuard(frozenset(map(parse_listed, allow_private)), lookup)
        self._pools: OrderedDict[tuple[str, _Use], _Pool] = OrderedDict()
        self._hasty: set[str] = set()  # the keys of pools whose upstream closes connections soon
        self._reading = _Reading()

    async def request(self, request: HttpRequest) -> HttpResponse:
        """Send one request to an allowed address and read its whole bounded answer. See `ports.Outbound`."""
        url = self._checked(request)
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
    async def stream(self, request: HttpRequest) -> AsyncIterator[HttpStream]:
        """Send one request to an allowed address and read its answer piece by piece, for streams of events.

        Args:
            request: `timeout_ms` bounds the time until the head has come; the pieces take what time they take, and the
                caller ends them by leaving the block. `max_body_bytes` bounds all of them together.

        Raises:
            UpstreamError: as `request`, and from the pieces as they are read.
        """
        url = self._checked(request)
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

    def _checked(self, request: HttpRequest) -> Url:
        try:
            if request.method not in METHODS:
                raise ValueError(f"expected one of {', '.join(sorted(METHODS))}, got {request.method[:64]!a}")  # noqa: TRY301
            check_headers(request.headers)
            url = parse_url(request.url)
            self._guard.check_scheme(url)
            if url.address is not None:
                self._guard.check_address(url.host, url.port, url.address)
        except (ValueError, NotAllowedError) as error:
            raise _refused(str(error)) from None
        return url

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
            resolver=self._guard,
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


class HttpStream(NamedTuple):
    """An upstream's answer as it comes. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]


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


def _refused(message: str) -> UpstreamError:
    return UpstreamError(message, code="upstream_refused", sent=False)


def _fault_of(error: Exception, url: Url, *, sent: bool) -> UpstreamError:
    """The fault behind a client library's exception; what only the log may see goes into `detail`."""
    causes = [error, error.__cause__, getattr(error, "os_error", None)]
    refusal = next((cause for cause in causes if isinstance(cause, NotAllowedError)), None)
    if refusal is not None:
        return _refused(str(refusal))
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
