"""What is kept of an enrolment beside the ledger: the device's token in the vault, the floors in a file.

The floors, and which signing key took the place of which, are in a file of the data directory that no backup holds
(`control_plane_floors`): a backup that is copied back over a data directory takes the ledger back, and with it the id
of the running bundle and the pinned key, but not this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from briefcase.adapters.disk.files import read_private, write_private
from briefcase.core.fleet.bundles import PolicyKey
from briefcase.model.errors import ConfigError
from briefcase.model.ports import Secrets

FLOORS_FILE: Final = "control_plane_floors"
TOKEN_NAME: Final = "device.token"  # noqa: S105 - a secret's name
OWNER: Final = "control_plane"


class DeviceTokens:
    """The device's token (`operator.fleet.DeviceTokens`).

    Args:
        secrets: the vault's compartment for it.
        remember: checks a credential that was issued to us, and has it cut out of every text from now on.
    """

    def __init__(self, secrets: Secrets, remember: Callable[[bytes, str], object]) -> None:
        self._secrets = secrets
        self._remember = remember

    async def current(self) -> str | None:
        """The token, or None where there is none. Raises as `Secrets.get`."""
        kept = await self._secrets.get(TOKEN_NAME)
        return None if kept is None else kept.decode("ascii", "replace")

    async def keep(self, token: str) -> None:
        """Store it; see `operator.fleet.DeviceTokens`."""
        value = token.encode()
        self._remember(value, OWNER)
        await self._secrets.put(TOKEN_NAME, value)

    async def forget(self) -> None:
        """Remove it, where there is one."""
        await self._secrets.delete(TOKEN_NAME)


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file: the highest bundle id of each key, and which key took the place of which."""

    floors: dict[PolicyKey, int] = {}
    successors: dict[PolicyKey, PolicyKey] = {}


class FloorFile:
    """The floors of one data directory (`operator.bundles.Floors`).

    Args:
        data_dir: where the file is.

    Raises:
        ConfigError: the file is not as it was written.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / FLOORS_FILE
        kept = read_private(self._path)
        try:
            self._kept = _read(kept or b"{}")
        except msgspec.DecodeError:
            raise ConfigError(
                f"`{self._path}` is not as the daemon wrote it",
                hint="remove it only when you know that nobody put an older ledger here",
            ) from None

    def floor(self, key_b64: PolicyKey) -> int:
        """The highest id noted of a key, or 0."""
        return self._kept.floors.get(key_b64, 0)

    async def note(self, key_b64: PolicyKey, bundle_id: int) -> None:
        """Note an id; durable when this returns."""
        if bundle_id > self.floor(key_b64):
            floors = {**self._kept.floors, key_b64: bundle_id}
            await self._write(msgspec.structs.replace(self._kept, floors=floors))

    def successors(self) -> Mapping[PolicyKey, PolicyKey]:
        """Which key took the place of which."""
        return self._kept.successors

    async def note_successors(self, successors: Mapping[PolicyKey, PolicyKey]) -> None:
        """Note which key took the place of which; what is noted already stays. Durable when this returns."""
        noted = {**successors, **self._kept.successors}
        if noted != self._kept.successors:
            await self._write(msgspec.structs.replace(self._kept, successors=noted))

    async def _write(self, kept: _Kept) -> None:
        await asyncio.to_thread(write_private, self._path, msgspec.json.encode(kept))
        self._kept = kept


def _read(data: bytes) -> _Kept:
    try:
        return msgspec.json.decode(data, type=_Kept)
    except msgspec.ValidationError:
        return _Kept(msgspec.json.decode(data, type=dict[PolicyKey, int]))  # as it was before keys were rotated
