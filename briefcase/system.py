"""The machine's own clock and entropy, as the core's ports."""

from __future__ import annotations

import secrets
import time
import uuid
from typing import Final

_NS_PER_US: Final = 1_000


class SystemClock:
    """`ports.Clock` on the operating system's clocks."""

    def now_us(self) -> int:
        """Wall clock, microseconds since the Unix epoch."""
        return time.time_ns() // _NS_PER_US

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC, nanoseconds."""
        return time.monotonic_ns()


class SystemEntropy:
    """`ports.Entropy` on the operating system's random source."""

    def uuid(self) -> str:
        """A version 4 UUID (RFC 9562 section 5.4)."""
        return str(uuid.uuid4())

    def token(self) -> str:
        """256 random bits, base64url."""
        return secrets.token_urlsafe(32)
