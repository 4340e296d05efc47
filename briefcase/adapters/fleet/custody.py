"""What is kept of an enrolment beside the ledger: the device's token in the vault, the floors in a file.

The floors are in a file of the data directory that no backup holds (`control_plane_floors`): a backup that is copied
back over a data directory takes the ledger back, and with it the id of the running bundle, but not this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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


class FloorFile:
    """The floors of one data directory (`operator.fleet.Floors`).

    Args:
        data_dir: where the file is.

    Raises:
        ConfigError: the file is not as it was written.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / FLOORS_FILE
        kept = read_private(self._path)
        try:
            self._floors = msgspec.json.decode(kept or b"{}", type=dict[PolicyKey, int])
        except msgspec.DecodeError:
            raise ConfigError(
                f"`{self._path}` is not as the daemon wrote it",
                hint="remove it only when you know that nobody put an older ledger here",
            ) from None

    def floor(self, key_b64: PolicyKey) -> int:
        """The highest id noted of a key, or 0."""
        return self._floors.get(key_b64, 0)

    async def note(self, key_b64: PolicyKey, bundle_id: int) -> None:
        """Note an id; durable when this returns."""
        if bundle_id <= self.floor(key_b64):
            return
        floors = {**self._floors, key_b64: bundle_id}
        await asyncio.to_thread(write_private, self._path, msgspec.json.encode(floors))
        self._floors = floors
