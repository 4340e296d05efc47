"""Where a connection may lead: the special-purpose ranges, the operator's list, and the resolution that keeps to them.

An address is judged as *resolved*, and the connector connects to the very addresses that were checked here.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec

from briefcase.adapters.net.urls import Address, Url, parse_authority
from briefcase.model.errors import ConfigError, UpstreamError

Lookup: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]


class SpecialRange(NamedTuple):
    """A range that is not the public Internet.

    `may_be_listed`: a *name* the operator listed may lead there; a listed address may be any.
    """

    network: ipaddress.IPv4Network | ipaddress.IPv6Network
    name: str
    reference: str
    may_be_listed: bool = False


def _range(network: str, name: str, reference: str, *, may_be_listed: bool = False) -> SpecialRange:
    return SpecialRange(ipaddress.ip_network(network), name, reference, may_be_listed)


# The IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890, RFC 8190), with multicast and what is reserved.
# Entries the registries call globally reachable (AS112, AMT, the anycast addresses of 192.0.0.0/24) are no upstreams
# either. The first match gives the name.
SPECIAL_RANGES: Final = (
    _range("0.0.0.0/8", "this network", "RFC 791 section 3.2"),
    _range("10.0.0.0/8", "private use", "RFC 1918", may_be_listed=True),
    _range("100.64.0.0/10", "shared address space", "RFC 6598", may_be_listed=True),
    _range("127.0.0.0/8", "loopback", "RFC 1122 section 3.2.1.3", may_be_listed=True),
    _range("169.254.0.0/16", "link local", "RFC 3927"),
    _range("172.16.0.0/12", "private use", "RFC 1918", may_be_listed=True),
    _range("192.0.0.0/24", "IETF protocol assignments", "RFC 6890 section 2.1"),
    _range("192.0.2.0/24", "documentation", "RFC 5737"),
    _range("192.31.196.0/24", "AS112", "RFC 7535"),
    _range("192.52.193.0/24", "AMT", "RFC 7450"),
    _range("192.88.99.0/24", "6to4 relay anycast", "RFC 7526"),
    _range("192.168.0.0/16", "private use", "RFC 1918", may_be_listed=True),
    _range("192.175.48.0/24", "AS112", "RFC 7534"),
    _range("198.18.0.0/15", "benchmarking", "RFC 2544"),
    _range("198.51.100.0/24", "documentation", "RFC 5737"),
    _range("203.0.113.0/24", "documentation", "RFC 5737"),
    _range("224.0.0.0/4", "multicast", "RFC 5771"),
    _range("240.0.0.0/4", "reserved", "RFC 1112 section 4"),
    _range("::/128", "unspecified", "RFC 4291"),
    _range("::1/128", "loopback", "RFC 4291", may_be_listed=True),
    _range("::ffff:0:0/96", "IPv4-mapped", "RFC 4291"),
    _range("64:ff9b::/96", "NAT64", "RFC 6052"),
    _range("64:ff9b:1::/48", "NAT64, local use", "RFC 8215"),
    _range("100::/64", "discard only", "RFC 6666"),
    _range("100:0:0:1::/64", "dummy prefix", "RFC 9780"),
    _range("2001::/32", "Teredo", "RFC 4380"),
    _range("2001::/23", "IETF protocol assignments", "RFC 2928"),  # benchmarking, ORCHID, DRIP, AS112, AMT, anycast
    _range("2001:db8::/32", "documentation", "RFC 3849"),
    _range("2002::/16", "6to4", "RFC 3056"),
    _range("2620:4f:8000::/48", "AS112", "RFC 7534"),
    _range("3ffe::/16", "6bone, returned", "RFC 3701"),
    _range("3fff::/20", "documentation", "RFC 9637"),
    _range("5f00::/16", "segment routing identifiers", "RFC 9602"),
    _range("fc00::/7", "unique local", "RFC 4193", may_be_listed=True),
    _range("fe80::/10", "link local", "RFC 4291"),
    _range("ff00::/8", "multicast", "RFC 4291"),
    *(
        _range(network, "not allocated as global unicast", "RFC 4291 section 2.4")
        for network in ("::/3", "4000::/2", "8000::/1")
    ),
)


class Listed(msgspec.Struct, frozen=True):
    """An operator's `allow_private` entry. Without a port, every port."""

    host: str
    port: int | None = None


class NotAllowedError(OSError):
    """A destination that may not be reached. An `OSError`, because that is what a resolver may raise."""


class DestinationGuard:
    """Resolves names, and lets through only what may be connected to."""

    def __init__(self, listed: frozenset[Listed], lookup: Lookup) -> None:
        self._listed = listed
        self._lookup = lookup

    def is_listed(self, host: str, port: int) -> bool:
        """Whether the operator listed a destination."""
        return Listed(host, port) in self._listed or Listed(host) in self._listed

    def check_scheme(self, url: Url) -> None:
        """Refuse to speak without TLS, unless the operator listed the destination."""
        if url.scheme == "http" and not self.is_listed(url.host, url.port):
            raise NotAllowedError(
                "plain http is for destinations under `[net] allow_private` alone: use https, or list it"
            )

    def check_address(self, host: str, port: int, address: Address) -> None:
        """Refuse a special-purpose address, unless the operator listed it, or the name that leads to it."""
        special = special_range(address)
        if getattr(address, "scope_id", None):
            raise NotAllowedError("an address with a zone is not reached")
        if special is None:
            return
        is_itself = str(address) == host
        if not self.is_listed(host, port) or not (is_itself or special.may_be_listed):
            raise NotAllowedError(f"the address is not public: {special.name} ({special.reference})")

    async def resolve(self, host: str, port: int) -> list[Address]:
        """The addresses of a name, each of them checked.

        Raises:
            OSError: the name has no address, or one that may not be reached (`NotAllowedError`).
        """
        addresses = [ipaddress.ip_address(text) for text in await self._lookup(host, port)]
        for address in addresses:
            self.check_address(host, port, address)
        if not addresses:
            raise OSError("the name has no address")
        return addresses


def parse_listed(entry: str) -> Listed:
    """Read one `allow_private` entry, `host` or `host:port`.

    Raises:
        ConfigError: it is of another form.
    """
    try:
        return Listed(*parse_authority(entry))
    except ValueError as error:
        raise ConfigError(f"`allow_private`: {error}, got `{entry}`") from None


def special_range(address: Address) -> SpecialRange | None:
    """The special-purpose range an address is in, or None where it is a public unicast address."""
    return next((known for known in SPECIAL_RANGES if address in known.network), None)


def refused(message: str) -> UpstreamError:
    """The fault of a request that is not sent."""
    return UpstreamError(message, code="upstream_refused", sent=False)


async def system_lookup(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, from the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
