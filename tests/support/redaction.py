"""Redactors that know no secret, or one as it is."""

from __future__ import annotations

import json


class NoRedaction:
    def redact(self, value: bytes) -> bytes:
        return value

    def redact_text(self, text: str) -> str:
        return json.loads(self.redact(json.dumps(text).encode()))

    def redact_named(self, value: bytes) -> tuple[bytes, int]:
        return value, 0


class OneSecret(NoRedaction):
    def __init__(self, secret: str) -> None:
        self.secret = secret.encode()

    def redact(self, value: bytes) -> bytes:
        return value.replace(self.secret, b"[redacted]")
