"""Every answer that is no success."""

from __future__ import annotations

import msgspec


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """Every answer that is no success. `code` is a stable word; `request_id` finds it in the daemon's log."""

    code: str
    message: str
    request_id: str
    hint: str | None = None


class ErrorAnswer(msgspec.Struct, frozen=True):
    """The same, as a client reads it: whoever stands between may leave out anything, and the status says enough."""

    code: str = ""
    message: str = ""
    request_id: str = ""
    hint: str | None = None
