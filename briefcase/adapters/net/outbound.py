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
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from briefcase.adapters.net.destinations import (
    DestinationGuard,
    Lookup,
    NotAllowedError,
    parse_listed,
    refused,
    system_lookup,
)
from briefcase.adapters.net.urls import Url, check_headers, parse_url
from briefcase.model.errors import ConfigError
from briefcase.model.ports import HttpRequest, HttpResponse, HttpStream

if TYPE_CHECKING:
    from briefcase.adapters.net.exchanges import Exchanges

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})


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
        if tls is not None and (tls.verify_mode is not ssl.CERT_REQUIRED or not tls.check_hostname):
            raise ConfigError("expected a TLS context that verifies certificates and host names")
        self._tls = tls
        self._guard = DestinationGuard(frozenset(map(parse_listed, allow_private)), lookup)
        self._exchanges: Exchanges | None = None
        self._loading: asyncio.Task[Exchanges] | None = None

    async def request(self, request: HttpRequest) -> HttpResponse:
        """Send one request to an allowed address and read its whole bounded answer. See `ports.Outbound`."""
        url = self._checked(request)
        exchanges = self._exchanges or await self.load()
        return await exchanges.request(url, request)

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
        exchanges = self._exchanges or await self.load()
        async with exchanges.stream(url, request) as answer:
            yield answer

    async def load(self) -> Exchanges:
        """Load what sends requests, on a thread and once; the first request does so where nobody did before."""
        if self._loading is None:
            self._loading = asyncio.create_task(asyncio.to_thread(_load, self._guard, self._tls))
        self._exchanges = await asyncio.shield(self._loading)
        return self._exchanges

    async def close(self) -> None:
        """Close every connection."""
        if self._loading is not None:
            await (await self._loading).close()

    def _checked(self, request: HttpRequest) -> Url:
        if request.method not in METHODS:
            raise refused(f"expected one of {', '.join(sorted(METHODS))}, got {request.method[:64]!a}")
        try:
            check_headers(request.headers)
            url = parse_url(request.url)
            self._guard.check_scheme(url)
            if url.address is not None:
                self._guard.check_address(url.host, url.port, url.address)
        except (ValueError, NotAllowedError) as error:
            raise refused(str(error)) from None
        return url


def _load(guard: DestinationGuard, tls: ssl.SSLContext | None) -> Exchanges:
    from briefcase.adapters.net.exchanges import Exchanges

    return Exchanges(guard, tls)
