"""The policies that decided before: the newest `MAX_KEPT` texts, each put down in the transaction that set it.

An index says what was set, when and by whom; the texts lie in as many places, used in turn, so that nothing has to be
removed and the ledger does not grow with each change.
"""

from __future__ import annotations

from typing import Final

import msgspec

from briefcase.model.effects import PutSetting
from briefcase.model.errors import StoreError
from briefcase.model.ports import Ledger

MAX_KEPT: Final = 32
INDEX: Final = "policy_history"
PLACE: Final = "policy_history:"


class KeptPolicy(msgspec.Struct, frozen=True):
    """One that was set: the SHA-256 of the text that decided, when, by whom, how many policies, and its place."""

    digest_hex: str
    set_us: int
    by: str
    policies: int
    place: int


class PolicyHistory:
    """Reads and extends the history. Whoever extends it does so one change at a time.

    Args:
        ledger: where it is kept.
        kept: its index, as far as it is known.
    """

    def __init__(self, ledger: Ledger, kept: tuple[KeptPolicy, ...] = ()) -> None:
        self._ledger = ledger
        self._kept = kept

    def load(self) -> None:
        """Read the index.

        Raises:
            StoreError: it is unreadable.
        """
        kept = self._ledger.setting(INDEX)
        try:
            self._kept = () if kept is None else msgspec.json.decode(kept, type=tuple[KeptPolicy, ...])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StoreError("the policy's history is unreadable", detail=str(error)) from error

    def kept(self) -> tuple[KeptPolicy, ...]:
        """What was set, oldest first; the last one is the active policy."""
        return self._kept

    def stored(self, digest_hex: str) -> bytes | None:
        """What was stored of the newest with this digest; None where none is kept."""
        found = next((one for one in reversed(self._kept) if one.digest_hex == digest_hex), None)
        return None if found is None else self._ledger.setting(f"{PLACE}{found.place}")

    def extended(self, one: KeptPolicy, stored: bytes) -> tuple[PolicyHistory, tuple[PutSetting, ...]]:
        """The history with one more, and what puts it down; its place is chosen here."""
        place = (self._kept[-1].place + 1) % MAX_KEPT if self._kept else 0
        kept = (*self._kept[-MAX_KEPT + 1 :], msgspec.structs.replace(one, place=place))
        puts = PutSetting(f"{PLACE}{place}", stored), PutSetting(INDEX, msgspec.json.encode(kept))
        return PolicyHistory(self._ledger, kept), puts
