"""What authorization servers say of themselves (RFC 8414, OpenID Connect Discovery), checked before it is used."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec

from briefcase.adapters.net.urls import Url, parse_url
from briefcase.core.jose import pkce
from briefcase.model.errors import UpstreamError

METADATA_NAMES: Final = ("oauth-authorization-server", "openid-configuration")  # RFC 8414 sections 3 and 5
BASIC: Final = "client_secret_basic"  # RFC 7591 section 2
POST: Final = "client_secret_post"
_BARE: Final = re.compile(r"[a-z]+://[^/?#]+")


class ServerMetadata(msgspec.Struct, frozen=True):
    """What is used of a server's metadata (RFC 8414 section 2)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    revocation_endpoint: str | None = None
    code_challenge_methods_supported: Sequence[str] = ()
    authorization_response_iss_parameter_supported: bool = False
    dpop_signing_alg_values_supported: Sequence[str] = ()
    registration_endpoint: str | None = None
    scopes_supported: Sequence[str] = ()
    token_endpoint_auth_methods_supported: Sequence[str] = (BASIC,)  # RFC 8414 section 2: the default
    client_id_metadata_document_supported: bool = False


def metadata_url(issuer: str, name: str) -> str:
    """Where an issuer's metadata is: between its host and its path (RFC 8414 section 3.1)."""
    parts = urlsplit(issuer)
    return f"{parts.scheme}://{parts.netloc}/.well-known/{name}{parts.path.rstrip('/')}"


def metadata_urls(issuer: str) -> list[str]:
    """Where an issuer's metadata may be, in order; last behind its path (OpenID Connect Discovery section 4)."""
    urls = [metadata_url(issuer, name) for name in METADATA_NAMES]
    if urlsplit(issuer).path.strip("/"):
        urls.append(f"{issuer.rstrip('/')}/.well-known/{METADATA_NAMES[1]}")
    return urls


def is_same_issuer(one: str, other: str) -> bool:
    """Whether two texts name one issuer: an empty path and `/` are the same (RFC 3986 section 6.2.3).

    Any other difference is one of issuers, a slash behind a path too: RFC 8414 section 3.3 compares them as strings.
    """
    return one == other or _with_path(one) == _with_path(other)


def _with_path(issuer: str) -> str:
    return f"{issuer}/" if _BARE.fullmatch(issuer) else issuer


def check_metadata(metadata: ServerMetadata, base_url: str) -> None:
    """Check metadata before it is used.

    Raises:
        UpstreamError: it is another issuer's (RFC 8414 section 3.3), offers no S256, or an endpoint is no plain URL on
            the issuer's host and scheme (`upstream_refused`).
    """
    if metadata.issuer.rstrip("/") != base_url:  # which is kept without the slash at its end
        raise _distrusted("it names another issuer")
    if pkce.METHOD not in metadata.code_challenge_methods_supported:
        raise _distrusted("it does not offer PKCE with S256")
    issuer = parse_url(base_url)
    used = metadata.authorization_endpoint, metadata.token_endpoint, metadata.revocation_endpoint
    for url in _endpoints(*used):
        if origin_of(url) != origin_of(issuer):
            raise _distrusted("an endpoint is on another host than the issuer")


def check_issuer_metadata(metadata: ServerMetadata, issuer: str) -> None:
    """Check the metadata of an issuer that a server we do not know named.

    Its endpoints may be on other hosts, as some large issuers have them, but neither by an address nor without TLS
    where the issuer itself is not so: the browser of the person who logs in goes there unguarded.

    Raises:
        UpstreamError: it is not that very issuer's (`is_same_issuer`), offers no S256, or an endpoint is not to be
            asked (`upstream_refused`).
    """
    if not is_same_issuer(metadata.issuer, issuer):
        raise _distrusted("it names another issuer")
    if pkce.METHOD not in metadata.code_challenge_methods_supported:
        raise _distrusted("it does not offer PKCE with S256")
    own = parse_url(issuer)
    used = metadata.authorization_endpoint, metadata.token_endpoint, metadata.revocation_endpoint
    for url in _endpoints(*used, metadata.registration_endpoint):
        if origin_of(url) != origin_of(own) and (url.scheme != "https" or url.address is not None):
            raise _distrusted("an endpoint is on another host, and that without TLS or by its address")


def _endpoints(*named: str | None) -> list[Url]:
    try:
        return [parse_url(endpoint) for endpoint in named if endpoint is not None]
    except ValueError:
        raise _distrusted("an endpoint is not a plain URL") from None


def origin_of(url: Url) -> tuple[str, str, int]:
    """What must be the same for two URLs to be of one server (RFC 6454)."""
    return url.scheme, url.host, url.port


def _distrusted(problem: str) -> UpstreamError:
    return UpstreamError(
        f"the server's OAuth metadata is not to be trusted: {problem}", code="upstream_refused", sent=False
    )
