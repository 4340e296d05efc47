"""The tools that an operator declares in manifests: loaded again without a restart, all of them or none.

 1. read and check every manifest                      refused: what was loaded stays, nothing happened
 2. compare with what is loaded                        no difference: nothing to do, and no receipt
 3. put them in force, with intent and receipt         one assignment: a call sees the old tools or the new ones
 4. bind the secrets that only these tools name        in the vault

The manifests are files, and a start loads them too. So a crash after the intent of 3 leaves what the next start makes
anyway: it closes the intent with the receipt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from briefcase.core.operator.administration import Administration, Settler
from briefcase.core.receipts.events import change_finished_event, tools_loaded_event
from briefcase.model.ports import BindableSecrets
from briefcase.model.types import JsonObject


class ReadTools(msgspec.Struct, frozen=True):
    """Manifests that were read and checked: the digest of each tool, and what puts them in force.

    `put` raises `CallerError` (`conflict`) where others were put in force since these were read.
    """

    digests: Mapping[str, str]
    put: Callable[[], None]


class ToolFiles(Protocol):
    """The manifests (`adapters.tools.load.ToolBox`)."""

    def digests(self) -> Mapping[str, str]:
        """The digest of each tool in force that a manifest declares, by its id."""
        ...

    async def read(self) -> ReadTools:
        """Read every manifest, and put none in force.

        Raises:
            ConfigError: a file is not as it must be on this host.
            CallerError: its content is not as expected, or a tool's id is taken (`invalid_manifest`).
        """
        ...


class Loaded(msgspec.Struct, frozen=True):
    """What a reload changed: ids, each sorted, and how many tools the manifests declare now."""

    tools: int
    added: list[str]
    changed: list[str]
    removed: list[str]


class ToolAdmin:
    """Loads the manifests again.

    Args:
        administration: takes the receipts.
        files: the manifests.
        secrets: the operator's secrets.
    """

    def __init__(self, administration: Administration, files: ToolFiles, secrets: BindableSecrets) -> None:
        self._administration = administration
        self._files = files
        self._secrets = secrets

    async def reload(self, by: str) -> Loaded:
        """Put in force what the manifests say now.

        Args:
            by: who asks for it, for the receipt.

        Raises:
            ConfigError, CallerError: as `ToolFiles.read`, or another reload is under way (`conflict`).
            StoreError: as `Administration.make`.
        """
        # 1. read and check
        read = await self._files.read()

        # 2. compare
        before = self._files.digests()
        loaded = Loaded(
            tools=len(read.digests),
            added=sorted(read.digests.keys() - before.keys()),
            changed=sorted(each for each in before.keys() & read.digests.keys() if before[each] != read.digests[each]),
            removed=sorted(before.keys() - read.digests.keys()),
        )
        if not (loaded.added or loaded.changed or loaded.removed):
            return loaded

        # 3. put in force
        async def put() -> None:
            read.put()

        event = tools_loaded_event(by, loaded.tools, loaded.added, loaded.changed, loaded.removed)
        await self._administration.make("tools", event, put)

        # 4. their secrets
        await self._secrets.settle()
        return loaded

    def settlers(self) -> Mapping[str, Settler]:
        """What the next start does after a crash: the manifests are in force by then."""
        return {"tools_loaded": self._finish}

    async def _finish(self, event: JsonObject) -> JsonObject:
        return change_finished_event(event)
