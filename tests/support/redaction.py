"""Redactors, and the secrets that one is told of."""

from __future__ import annotations


class KnownSecrets:
    """The secrets of a vault, as it tells a redactor."""

    def __init__(self, *secrets: bytes) -> None:
        self.revision = 1
        self.secrets = frozenset(secrets)

    def redaction_set(self) -> frozenset[bytes]:
        return self.secrets


class FakeRedactor:
    """A redactor that knows the secrets a test names, in the form they are named."""

    def __init__(self, *secrets: bytes) -> None:
        self.secrets = secrets

    def redact(self, value: bytes) -> bytes:
        for secret in self.secrets:
            value = value.replace(secret, b"[redacted]")
        return value

    def redact_text(self, text: str) -> str:
        return self.redact(text.encode()).decode()

    def redact_named(self, value: bytes) -> tuple[bytes, int]:
        return self.redact(value), sum(value.count(secret) for secret in self.secrets)


class NoRedaction(FakeRedactor):
    """A redactor that knows no secret."""

    def __init__(self) -> None:
        super().__init__()
