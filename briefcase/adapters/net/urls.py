"""URLs and headers in their one reading: what two readers could read differently is refused (RFC 3986, RFC 9110)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from briefcase.model.identifiers import FIELD_NAME_CHAR
from briefcase.model.types import MAX_PORT

MAX_URL_CHARS: Final = 8_192
MAX_HOST_CHARS: Final = 253  # RFC 1035 section 2.3.4

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# RFC 3986, narrowed: no userinfo, no fragment, nothing outside of visible ASCII, none of the characters it excludes.
_URL: Final = re.compile(r"(https?)://([^/?#@\\]+)((?:/[^?#]*)?)((?:\?[^#]*)?)", re.ASCII)
_NOT_IN_URL: Final = re.compile(r'[^!-~]|["<>\\^`{|}]|%(?![0-9A-Fa-f]{2})')
_AUTHORITY: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([1-9][0-9]{0,4}))?")
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMERIC_LABEL: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")  # WHATWG URL section 3.5: it would be read as an IPv4 address
_DOT_SEGMENT: Final = re.compile(r"(?:^|/|\\|%2f|%5c)(?:\.|%2e){1,2}(?:$|/|\\|%2f|%5c)", re.IGNORECASE)

_HEADER_NAME: Final = re.compile(rf"{FIELD_NAME_CHAR}{{1,128}}")
_HEADER_VALUE: Final = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")  # RFC 9110 section 5.5, without tab and obs-text
RESERVED_HEADERS: Final = frozenset({
    "accept-encoding", "connection", "content-length", "expect", "host", "http2-settings", "keep-alive",
    "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
})  # fmt: skip


class Url(msgspec.Struct, frozen=True):
    """A URL in its one reading: `host` a lower-case name or an address without brackets, `target` what is sent."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def address(self) -> Address | None:
        """The host as an address, where it is one."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def authority(self) -> str:
        """Host and port, always with the port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_url(text: str) -> Url:
    """Read a URL, or refuse whatever could be read in two ways.

    Raises:
        ValueError: what was expected; the message does not repeat the URL, which may hold a credential.
    """
    if len(text) > MAX_URL_CHARS:
        raise ValueError(f"expected a URL of at most {MAX_URL_CHARS} characters, got {len(text)}")
    bad = _NOT_IN_URL.search(text)
    if bad is not None:
        raise ValueError(f"expected only characters of RFC 3986 in the URL, got {bad[0]!a} at {bad.start()}")
    match = _URL.fullmatch(text)
    if match is None:
        raise ValueError("expected `https://host[:port]/path[?query]`, without userinfo and without a fragment")
    scheme, authority, path, query = match.groups()
    if _DOT_SEGMENT.search(path):
        raise ValueError("expected a path without dot segments")
    host, port = parse_authority(authority)
    return Url(scheme, host, port or (443 if scheme == "https" else 80), (path or "/") + query)


def parse_authority(text: str) -> tuple[str, int | None]:
    """Read `host[:port]`: the host as `Url.host`, the port or None.

    Raises:
        ValueError: the host is no ASCII name and no address in its canonical form, or the port is out of range.
    """
    match = _AUTHORITY.fullmatch(text.lower())
    if match is None or (match[2] and int(match[2]) > MAX_PORT):
        raise ValueError("expected `host` or `host:port`, the host an ASCII name or a canonical address")
    host, port = match[1], int(match[2]) if match[2] else None
    if host.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host[1:-1])), port
        except ValueError:
            raise ValueError("expected an IPv6 address in brackets (RFC 4291), without a zone") from None
    labels = host.split(".")
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(host)), port
        except ValueError:
            raise ValueError("expected an IPv4 address as four decimal numbers") from None
    if len(host) > MAX_HOST_CHARS or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("expected a host name of plain labels, without a trailing dot")
    return host, port


def check_headers(headers: Mapping[str, str]) -> None:
    """Check the headers of a request.

    Raises:
        ValueError: a name or a value that would change the framing, or a name that is not the caller's to set; the
            message does not repeat the value.
    """
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"expected a header name (RFC 9110), got {name[:64]!a}")
        if name.lower() in RESERVED_HEADERS:
            raise ValueError(f"the header `{name}` is not to be set: it belongs to the connection")
        if not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"expected visible ASCII in the header `{name}`, without controls or outer spaces")
