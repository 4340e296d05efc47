"""What a browser must not be used for: checks on requests over TCP, made before anybody is authenticated.

A page on the web can make a browser send requests to a loopback port (with a simple POST, or after DNS rebinding).
`Host` must name this listener (RFC 9112 section 3.2), and what a browser adds to say where a request comes from
(`Origin`, `Referer`, Fetch Metadata) must say: from here. Other clients send none of these. On the Unix socket, which
no browser reaches, any `Host` will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from briefcase.model.errors import CallerError

_OWN_SITE: Final = frozenset({b"same-origin", b"none"})
_CHECKED: Final = frozenset({b"host", b"origin", b"referer", b"sec-fetch-site"})


def check_browser_headers(headers: Sequence[tuple[bytes, bytes]], hosts: frozenset[bytes]) -> None:
    """Check that a request over TCP was meant for this daemon.

    Args:
        headers: names in lower case.
        hosts: the `Host` values that name the listener, with their port.

    Raises:
        CallerError: `Host` is missing, twice or another's, or a browser says the request is cross-site (`forbidden`).
    """
    seen: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _CHECKED:
            if name in seen:
                raise _forbidden(f"expected one `{name.decode()}` header")
            seen[name] = value.lower()
    host = seen.get(b"host")
    if host is None or host not in hosts:
        raise _forbidden("expected a `host` header that names this daemon by its loopback address")
    own = b"http://" + host
    if seen.get(b"origin", own) != own:
        raise _forbidden("expected no `origin` but this daemon's own")
    referer = seen.get(b"referer", own)
    if referer != own and not referer.startswith(own + b"/"):
        raise _forbidden("expected no `referer` but this daemon's own")
    if seen.get(b"sec-fetch-site", b"none") not in _OWN_SITE:
        raise _forbidden("expected a request of the same origin")


def _forbidden(message: str) -> CallerError:
    return CallerError(message, code="forbidden", hint="the daemon does not serve pages of other sites")
