"""Passkeys' ceremonies that are open: what was asked of a browser, for whom, and until when. In memory, used once.

A challenge is ours: random for a registration, and for a ruling the SHA-256 of the very text that a device would sign
(`texts.ruling_text`), with the daemon's own time and nonce. So what a passkey signs is one yes or no to one call.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, Generic, TypeVar

import msgspec

from briefcase.core.signers.texts import Signed, ruling_text
from briefcase.model.errors import CallerError
from briefcase.model.types import US_PER_S, ApprovalStatus

CEREMONY_TTL_US: Final = 120 * US_PER_S
MAX_CEREMONIES: Final = 64
RP_ID: Final = "localhost"  # never `127.0.0.1`: an address is no RP ID (WebAuthn Level 3, section 5.1.2)

_ORIGIN: Final = re.compile(r"http://localhost:([1-9][0-9]{0,4})")
_MAX_PORT: Final = 65_535


class Registration(msgspec.Struct, frozen=True):
    """A passkey that is to be made: its challenge (32 bytes), the name it will have, and whose it will be.

    `pairing_id` is the pairing that it uses up; empty where it needs none.
    """

    id: str
    challenge: bytes
    name: str
    owner: str
    origin: str
    expires_us: int
    pairing_id: str = ""


class Assertion(msgspec.Struct, frozen=True):
    """A ruling that is to be signed by a passkey."""

    id: str
    approval_id: str
    to: ApprovalStatus
    signed: Signed
    binding_hex: str
    owner: str
    expires_us: int

    @property
    def challenge(self) -> bytes:
        """What the passkey signs: SHA-256 of the text."""
        return hashlib.sha256(ruling_text(self.to, self.approval_id, self.signed, self.binding_hex)).digest()


_Kind = TypeVar("_Kind", Registration, Assertion)


class Ceremonies(Generic[_Kind]):
    """The open ceremonies of one kind. All methods are called from one event loop."""

    def __init__(self) -> None:
        self._open: dict[str, _Kind] = {}

    def add(self, ceremony: _Kind, now_us: int) -> None:
        """Open a ceremony; past the bound, the one that ends first makes room, since whoever opened it is logged in."""
        self._open = {one.id: one for one in self._open.values() if one.expires_us > now_us}
        if len(self._open) >= MAX_CEREMONIES:
            del self._open[next(iter(self._open))]
        self._open[ceremony.id] = ceremony

    def use(self, ceremony_id: str, owner: str, now_us: int) -> _Kind:
        """End a ceremony and give it, whatever comes of it.

        Raises:
            CallerError: none is open under this id for this person: unknown, used, or over (`replay`).
        """
        ceremony = self._open.get(ceremony_id)
        if ceremony is None or ceremony.owner != owner:
            raise _over()
        del self._open[ceremony_id]
        if ceremony.expires_us <= now_us:
            raise _over()
        return ceremony


def check_origin(origin: str) -> None:
    """Check that a page is the operator page of this host.

    Raises:
        CallerError: another than `http://localhost:PORT`.
    """
    match = _ORIGIN.fullmatch(origin)
    if match is None or int(match[1]) > _MAX_PORT:
        raise CallerError(
            f"expected `origin` as `http://localhost:PORT`, got `{origin[:80]}`",
            hint="open the page under `localhost`: a passkey is for a name, never for an address",
        )


def _over() -> CallerError:
    return CallerError(
        "this was asked for by nobody, used before, or is over", code="replay", hint="begin again at the page"
    )
