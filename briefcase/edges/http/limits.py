"""The bounds of one server, each with its unit."""

from __future__ import annotations

import os

import msgspec


class PlaceLimits(msgspec.Struct, frozen=True):
    """What the connections of one server may hold together (`places.py`)."""

    max_connections: int = 1_024
    max_connections_per_uid: int = 256
    max_connections_per_principal: int = 256
    operator_reserve: int = 32
    newcomer_reserve: int = 64
    max_unsent_bytes: int = 64 << 20
    own_uid: int = msgspec.field(default_factory=os.geteuid)

    @property
    def reserves(self) -> int:
        """How many connections of one listener may be open beyond `max_connections`."""
        return self.operator_reserve + self.newcomer_reserve


class HttpLimits(PlaceLimits, frozen=True):
    """The bounds of one server. `allowed_uids` are the users who may connect to its Unix socket."""

    max_head_bytes: int = 16 << 10
    max_headers: int = 64
    head_timeout_ms: int = 10_000
    max_body_bytes: int = 1 << 20
    body_timeout_ms: int = 30_000
    keep_alive_ms: int = 75_000
    write_timeout_ms: int = 30_000
    max_pipelined: int = 16
    drain_ms: int = 10_000
    allowed_uids: frozenset[int] = msgspec.field(default_factory=lambda: frozenset({os.geteuid()}))
