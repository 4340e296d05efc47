"""A policy that answers what it was told to."""

from __future__ import annotations

from briefcase.model.types import Allow


class FakePolicy:
    """A policy that answers what it was told to."""

    digest_hex = "ab" * 32
    reads_arguments = False

    def __init__(self, verdict=None) -> None:
        self.verdict = verdict or Allow(("permit-all",))

    def decide(self, principal, tool, args, risk, now_us):
        return self.verdict
