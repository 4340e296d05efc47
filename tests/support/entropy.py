"""Identifiers that can be foreseen."""

from __future__ import annotations

import uuid


class FakeEntropy:
    """Identifiers that count up."""

    def __init__(self) -> None:
        self.count = 0

    def uuid(self) -> str:
        self.count += 1
        return str(uuid.UUID(int=self.count, version=4))

    def token(self) -> str:
        self.count += 1
        return f"token-{self.count:037d}"
