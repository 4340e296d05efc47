"""Every answer that is no success."""

from __future__ import annotations

import msgspec


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """Every answer that is no success. `code` is a stable word; `request_id` finds it in the daemon's log."""

    code: str
    message: str
    request_id: str
    hint: str | None = None
