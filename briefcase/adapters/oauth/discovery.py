"""From a server's address to who may let us in: the server's metadata, then its authorization server's.

 1. the protected resource's metadata (RFC 9728): where the server's challenge says, on the server's own origin; else at
    the well-known place of its path, else at that of its root
 2. its `resource` is the server's address, or a path above it, on the same origin
 3. it names the authorization server
 4. whose metadata (RFC 8414, OpenID Connect Discovery) is that very issuer's, and offers what we need

Whatever a server names is asked through the guarded way out: an address inside of the network is refused there as it
is resolved.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import msgspec

from briefcase.adapters.net.urls import parse_url
from briefcase.adapters.oauth.challenges import is_scope
from briefcase.adapters.oauth.client import OAuthClient
from briefcase.adapters.oauth.metadata import ServerMetadata, is_same_issuer, origin_of
from briefcase.adapters.oauth.wire import MAX_ANSWER_BYTES, TIMEOUT_MS, read_server_answer
from briefcase.model.errors import UpstreamError
from briefcase.model.ports import HttpRequest, Outbound

WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"  # RFC 9728 section 3
MAX_SERVERS: Final = 16
_WHAT: Final = "the request for the server's OAuth metadata"


class ResourceMetadata(msgspec.Struct, frozen=True):
    """What is used of a protected resource's metadata (RFC 9728 section 2)."""

    resource: str
    authorization_servers: Sequence[str] = ()
    scopes_supported: Sequence[str] = ()
    dpop_bound_access_tokens_required: bool = False

    @property
    def scope(self) -> str:
        """All scopes it names, where they are scopes."""
        scope = " ".join(self.scopes_supported)
        return scope if is_scope(scope) else ""


class Authority(msgspec.Struct, frozen=True):
    """Who may let us in to a server."""

    resource: ResourceMetadata
    server: ServerMetadata


class Discovery:
    """Finds the authority of a server."""

    def __init__(self, outbound: Outbound, oauth: OAuthClient) -> None:
        self._outbound = outbound
        self._oauth = oauth

    async def find(self, endpoint_url: str, metadata_url: str, issuer: str) -> Authority:
        """The authority of a server, by the steps of the module's docstring.

        Args:
            endpoint_url: the server's address.
            metadata_url: where its challenge says that its metadata is; empty where it did not.
            issuer: the only authorization server that will do; empty for the first one it names.

        Raises:
            UpstreamError: something was not there or could not be reached, or is not to be trusted
                (`upstream_refused`).
        """
        resource = await self._resource(endpoint_url, metadata_url)
        if not covers(resource.resource, endpoint_url):
            raise _distrusted("it is another resource's")
        chosen = chosen_server(resource, issuer)
        if urlsplit(endpoint_url).scheme == "https" and urlsplit(chosen).scheme != "https":
            raise _distrusted("its authorization server is without TLS")
        return Authority(resource, await self._oauth.discover_issuer(chosen))

    async def _resource(self, endpoint_url: str, metadata_url: str) -> ResourceMetadata:
        if metadata_url:
            if not _is_same_origin(metadata_url, endpoint_url):
                raise _distrusted("it is on another origin than the server")
            found = await self._read(metadata_url)
            if found is None:
                raise UpstreamError("the server's OAuth metadata is not where it says", code="upstream_refused")
            return found
        for url in resource_urls(endpoint_url):
            found = await self._read(url)
            if found is not None:
                return found
        raise UpstreamError(
            "the server says nothing about logging in: it has no OAuth metadata",
            code="upstream_refused",
            hint="give it a token of its own: `briefcase mcp servers upsert ID URL --bearer-secret SECRET`",
        )

    async def _read(self, url: str) -> ResourceMetadata | None:
        """The metadata at one place; None where a client error says that it is not there."""
        response = await self._outbound.request(
            HttpRequest("GET", url, timeout_ms=TIMEOUT_MS, max_body_bytes=MAX_ANSWER_BYTES)
        )
        if HTTPStatus.BAD_REQUEST <= response.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return None
        return read_server_answer(response, ResourceMetadata, _WHAT)


def resource_urls(endpoint_url: str) -> list[str]:
    """Where a resource's metadata may be, in order (RFC 9728 section 3.1)."""
    parts = urlsplit(endpoint_url)
    root = f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}"
    path = parts.path.rstrip("/")
    return [f"{root}{path}", root] if path else [root]


def covers(resource: str, endpoint_url: str) -> bool:
    """Whether a resource is a server's: the same origin, and its path the server's or one above it.

    RFC 9728 section 3.3 wants what was asked for; a server's metadata at its root stands for all of that origin.
    """
    if not _is_same_origin(resource, endpoint_url) or "?" in resource:
        return resource == endpoint_url
    above = parse_url(resource).target.rstrip("/")
    path = parse_url(endpoint_url).target.partition("?")[0]
    return path == above or path.startswith(f"{above}/")


def chosen_server(resource: ResourceMetadata, issuer: str) -> str:
    """The issuer to ask. Raises `UpstreamError` where none is named, or not the only one that will do."""
    named = list(resource.authorization_servers)[:MAX_SERVERS]
    if issuer:
        named = [server for server in named if is_same_issuer(server, issuer)]
    if issuer and not named:
        raise _distrusted("it does not name the authorization server that the client is registered with")
    chosen = named[0] if named else ""
    try:
        url = parse_url(chosen)
    except ValueError:
        raise _distrusted("it names no authorization server by a plain URL") from None
    if "?" in url.target:
        raise _distrusted("it names an authorization server with a query")
    return chosen


def _is_same_origin(one: str, other: str) -> bool:
    try:
        return origin_of(parse_url(one)) == origin_of(parse_url(other))
    except ValueError:
        return False


def _distrusted(problem: str) -> UpstreamError:
    return UpstreamError(f"the server's OAuth metadata is not to be trusted: {problem}", code="upstream_refused")
