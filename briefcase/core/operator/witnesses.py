"""Witnesses of the receipt log: whom the daemon sends its checkpoints, and by which key each cosigns.

The list is one setting of the ledger, changed in the transaction of its receipt; a crash leaves it as it was or as it
is to be. It is written whole, so one change is made at a time. Which of the witnesses are enough is not said here but
in a policy file (`core.receipts.quorums`).
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from briefcase.core.operator.administration import Administration
from briefcase.core.receipts.events import witness_event
from briefcase.core.receipts.note_keys import ALGORITHMS, NoteKey, parse_cosigner_vkey, parse_vkey
from briefcase.model.effects import Entry, PutSetting
from briefcase.model.errors import CallerError, StoreError
from briefcase.model.ports import Clock, Ledger

SETTING: Final = "witnesses"
MAX_WITNESSES: Final = 16


class Witness(msgspec.Struct, frozen=True):
    """One witness: where it takes checkpoints, its verifier key, and since when (microseconds)."""

    url: str
    vkey: str
    added_us: int

    @property
    def key(self) -> NoteKey:
        """Its key, read."""
        return parse_vkey(self.vkey)


class WitnessAddresses(Protocol):
    """What can be sent to (`adapters.witness.client`)."""

    def check_url(self, url: str) -> str:
        """The address as it is kept, without a slash at its end. Raises `CallerError` where nothing is sent there."""
        ...


class WitnessAdmin:
    """Adds and removes witnesses.

    Args:
        administration: takes the receipts.
        ledger: holds the list.
        addresses: which addresses can be sent to.
        clock: the time.
    """

    def __init__(
        self, administration: Administration, ledger: Ledger, addresses: WitnessAddresses, clock: Clock
    ) -> None:
        self._administration = administration
        self._ledger = ledger
        self._addresses = addresses
        self._clock = clock
        self._is_changing = False

    def list(self) -> tuple[Witness, ...]:
        """All of them, in the order they were added.

        Raises:
            StoreError: the list cannot be read.
        """
        data = self._ledger.setting(SETTING)
        try:
            return msgspec.json.decode(data, type=tuple[Witness, ...]) if data else ()
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StoreError("the stored witnesses cannot be read", detail=str(error)) from None

    async def add(self, url: str, vkey: str, by: str) -> Witness:
        """Have a witness cosign from now on.

        Args:
            url: its submission prefix, to which `/add-checkpoint` is appended.
            vkey: its verifier key, of Ed25519 or ML-DSA-44.
            by: who does it, for the receipt.

        Raises:
            CallerError: the address or the key is not as expected, the key is listed (`conflict`), there are too many,
                or another change is under way (`conflict`).
            StoreError: it could not be made durable; nothing changed.
        """
        witness = Witness(self._addresses.check_url(url), vkey, self._clock.now_us())
        key = parse_cosigner_vkey(vkey)
        known = self.list()
        if any(one.key.public_key == key.public_key for one in known):
            raise CallerError(f"the key of `{key.label}` is a witness's already", code="conflict")
        if len(known) >= MAX_WITNESSES:
            raise CallerError(f"there are {MAX_WITNESSES} witnesses already", hint="`briefcase witness remove NAME`")
        await self._put((*known, witness), "added", witness, by)
        return witness

    async def remove(self, chosen: str, by: str) -> Witness:
        """Send a witness nothing more. What it cosigned is no evidence here any more, unless the policy names its key.

        Args:
            chosen: its key's name, or, where several have it, name and id (`NAME+ID`).
            by: who does it, for the receipt.

        Raises:
            CallerError: none is called so (`not_found`), several are, or another change is under way (`conflict`).
            StoreError: it could not be made durable; nothing changed.
        """
        known = self.list()
        meant = [one for one in known if chosen in {one.key.name, one.key.label}]
        if not meant:
            raise CallerError(f"no witness `{chosen[:64]}`", code="not_found", hint="see `briefcase witness list`")
        if len(meant) > 1:
            labels = ", ".join(f"`{one.key.label}`" for one in meant)
            raise CallerError(f"expected one of {labels}, got `{chosen[:64]}`, which several are called")
        await self._put(tuple(one for one in known if one is not meant[0]), "removed", meant[0], by)
        return meant[0]

    async def _put(self, witnesses: tuple[Witness, ...], what: str, changed: Witness, by: str) -> None:
        if self._is_changing:
            raise CallerError(
                "another change of the witnesses is under way", code="conflict", hint="try again when it has ended"
            )
        self._is_changing = True
        key = changed.key
        event = witness_event(what, by, key.label, changed.url, ALGORITHMS[key.type])
        try:
            await self._administration.record(Entry(event, (PutSetting(SETTING, msgspec.json.encode(witnesses)),)))
        finally:
            self._is_changing = False
