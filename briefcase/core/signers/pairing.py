"""Pairings that are open: each for one device, for five minutes, and until a device came with its code.

They are in memory alone: a code is a secret, and a restart ends every pairing. A message that was not made with the
code does not use a pairing up, so that nobody who knows its id alone can end it.
"""

from __future__ import annotations

import hmac
from typing import Final

import msgspec

from briefcase.model.errors import CallerError
from briefcase.model.types import US_PER_S

PAIRING_TTL_US: Final = 300 * US_PER_S
MAX_PAIRINGS: Final = 16


class Pairing(msgspec.Struct, frozen=True):
    """An open pairing. `code` is 256 bits, base64url; `owner` is whose device it will be, `by` who opened it."""

    id: str
    code: str
    owner: str
    by: str
    expires_us: int


class Pairings:
    """The open pairings. All methods are called from one event loop."""

    def __init__(self) -> None:
        self._open: dict[str, Pairing] = {}

    def add(self, pairing: Pairing, now_us: int) -> None:
        """Open a pairing.

        Raises:
            CallerError: as many as may be are open (`rate_limited`).
        """
        self._open = {one.id: one for one in self._open.values() if one.expires_us > now_us}
        if len(self._open) >= MAX_PAIRINGS:
            raise CallerError(
                f"{MAX_PAIRINGS} pairings are open", code="rate_limited", hint="each ends within five minutes"
            )
        self._open[pairing.id] = pairing

    def get(self, pairing_id: str, now_us: int) -> Pairing:
        """An open pairing.

        Raises:
            CallerError: there is none: unknown, used, or over (`pairing_not_found`).
        """
        pairing = self._open.get(pairing_id)
        if pairing is None or pairing.expires_us <= now_us:
            raise no_pairing()
        return pairing

    def of_code(self, owner: str, code: str, now_us: int) -> Pairing:
        """The pairing that is open for a person, by its code.

        Raises:
            CallerError: there is none: unknown, somebody else's, used, or over (`pairing_not_found`).
        """
        for one in self._open.values():
            is_theirs = one.owner == owner and one.expires_us > now_us
            if is_theirs and hmac.compare_digest(one.code.encode(), code.encode(errors="surrogatepass")):
                return one
        raise no_pairing()

    def use(self, pairing: Pairing) -> None:
        """End a pairing: a device came with its code."""
        self._open.pop(pairing.id, None)


def no_pairing() -> CallerError:
    """There is no such pairing; which of the reasons it is, nobody is told."""
    return CallerError(
        "no pairing is open under this id or code",
        code="pairing_not_found",
        hint="an operator opens one with `briefcase signers pair`; it is used once, within five minutes",
    )
