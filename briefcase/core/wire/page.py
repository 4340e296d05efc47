"""The operator page on the wire: a link that logs one person in once."""

from __future__ import annotations

import msgspec


class PageLink(msgspec.Struct, frozen=True):
    """Where a browser logs in as whoever asked; the link works once, until `expires_at`."""

    url: str
    expires_at: str
