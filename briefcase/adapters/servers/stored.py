"""What the ledger holds of MCP servers: their descriptions, written whole, and the pins of each, with receipts."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping, Sequence
from typing import Final

import msgspec

from briefcase.adapters.servers.config import ServerConfig
from briefcase.adapters.servers.definitions import Definition, stored_definition
from briefcase.core.redaction.redactor import redact_value
from briefcase.model.effects import Effect, Entry, PutSetting, Refused
from briefcase.model.errors import CallerError, StoreError
from briefcase.model.ports import Ledger, Redactor
from briefcase.model.types import JsonObject

SERVERS_SETTING: Final = "mcp.servers"
PINS_SETTING: Final = "mcp.pins."


class Pins(msgspec.Struct, frozen=True):
    """What was accepted of one server: its definitions by name, as they are stored.

    `is_listed` says that a listing was accepted, which may have been empty: what comes later is no first one.
    """

    tools: dict[str, msgspec.Raw]
    is_listed: bool = False


class StoredServers:
    """Reads and writes them.

    Args:
        ledger: holds them.
        redactor: finds secrets in what is to be pinned.
    """

    def __init__(self, ledger: Ledger, redactor: Redactor) -> None:
        self._ledger = ledger
        self._redactor = redactor
        self.changing = asyncio.Lock()  # the list of servers is written whole: one change after the other

    def configs(self) -> Sequence[ServerConfig]:
        """All descriptions.

        Raises:
            StoreError: they cannot be read.
        """
        data = self._ledger.setting(SERVERS_SETTING)
        try:
            return msgspec.json.decode(data, type=list[ServerConfig]) if data else []
        except msgspec.DecodeError as error:
            raise StoreError("the stored MCP servers cannot be read", detail=str(error)) from None

    def pins(self, server_id: str) -> tuple[dict[str, Definition], bool]:
        """What was accepted of a server, and whether a listing was. Raises as `configs`."""
        data = self._ledger.setting(PINS_SETTING + server_id)
        try:
            pins = msgspec.json.decode(data, type=Pins) if data else Pins({})
            read = [stored_definition(bytes(body)) for body in pins.tools.values()]
            is_listed = pins.is_listed or bool(pins.tools)  # those before `is_listed` was noted held at least one tool
            return {definition.name: definition for definition in read if isinstance(definition, Definition)}, is_listed
        except msgspec.DecodeError as error:
            raise StoreError(f"the pins of the MCP server `{server_id}` cannot be read", detail=str(error)) from None

    async def commit(self, event: JsonObject, *effects: Effect) -> None:
        """Append a receipt, and what changes with it.

        Raises:
            StoreError: it could not be made durable, or was refused; nothing changed.
        """
        await self._committed(Entry(event, effects))

    async def commit_pins(self, event: JsonObject, pins: PutSetting) -> None:
        """Pin what `encoding_pins` made, with its receipt. Raises as `commit`."""
        await self._committed(Entry(redact_value(self._redactor, event), (pins,), is_filtered=True, is_large=True))

    async def _committed(self, entry: Entry) -> None:
        committed = await self._ledger.commit(entry)
        if isinstance(committed, Refused):
            raise StoreError(f"the change was not stored: {committed.reason}")

    def encoding_pins(self, server_id: str, current: Mapping[str, Definition]) -> Generator[None, None, PutSetting]:
        """Encode `Pins`, a definition at a time.

        # INVARIANT (settings): each definition is asked here what the ledger asks of a setting that comes unfiltered.
        """
        pieces = list[bytes]()
        for name, definition in sorted(current.items()):
            piece = b"%b:%b" % (msgspec.json.encode(name), definition.data)
            if self._redactor.redact(b"{%b}" % piece) != b"{%b}" % piece:
                raise CallerError(
                    "a definition holds a secret of the vault by now",
                    code="conflict",
                    hint=f"look again with `briefcase mcp servers diff {server_id}`",
                )
            pieces.append(piece)
            yield
        return PutSetting(PINS_SETTING + server_id, b'{"tools":{%b},"is_listed":true}' % b",".join(pieces))


def configs_effect(configs: Mapping[str, ServerConfig]) -> PutSetting:
    """What stores these descriptions, and no others."""
    return PutSetting(SERVERS_SETTING, msgspec.json.encode([configs[server_id] for server_id in sorted(configs)]))


def no_pins_effect(server_id: str) -> PutSetting:
    """What forgets the pins of a server."""
    return PutSetting(PINS_SETTING + server_id, msgspec.json.encode(Pins({})))
