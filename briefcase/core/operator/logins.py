"""Log-ins at MCP servers: made, revoked, and ended where their server moves or goes. Each leaves receipts.

| a crash after the intent of | leaves | the next start |
|---|---|---|
| `finish` | the old log-in, the new one or none | says so (`outcome_unknown`): log in again |
| `revoke` | the log-in, or none; revoked at its server, or not | ends it here; `at_server` is unknown |
| `end` | the log-in, or none | ends it |

Beginning a log-in changes nothing that outlives the process, and is no change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

from briefcase.core.operator.administration import Administration, Settler
from briefcase.core.receipts.events import change_finished_event, login_event
from briefcase.core.wire.servers import ServerLoginRevoked
from briefcase.model.types import JsonObject

_Config = TypeVar("_Config")
_Config_co = TypeVar("_Config_co", covariant=True)
_Config_contra = TypeVar("_Config_contra", contravariant=True)


class Connected(Protocol[_Config_co]):
    """The servers' connections (`servers.registry.ServerRegistry`)."""

    def config(self, server_id: str) -> _Config_co:
        """A server's description. Raises `CallerError` (`not_found`) where there is no such server."""
        ...

    async def reopen(self, server_id: str) -> None:
        """Connect anew, now: what it is let in with has changed. Raises as `config`."""
        ...


class ServerLogins(Protocol[_Config_contra]):
    """The log-ins at servers (`servers.logins.Logins`). Durability: what is changed is on disk when it returns."""

    async def exchange(self, config: _Config_contra, code: str, state: str, iss: str | None) -> None:
        """Exchange the code that a person came back with, and keep what it gives.

        Raises:
            CallerError: the `state` is of no log-in of this server, or was used; the `iss` is missing or another.
            UpstreamError: the authorization server refused, could not be reached, or gave what is no token.
        """
        ...

    async def revoke(self, config: _Config_contra) -> ServerLoginRevoked:
        """End a log-in: here first, then at its server where that can be done."""
        ...

    async def forget(self, server_id: str) -> None:
        """Let go of everything that is held of a server, where there is anything."""
        ...


class LoginAdmin(Generic[_Config]):
    """Finishes and ends log-ins.

    Args:
        administration: takes the receipts.
        connected: the servers' connections.
        logins: what is held of each.
    """

    def __init__(
        self, administration: Administration, connected: Connected[_Config], logins: ServerLogins[_Config]
    ) -> None:
        self._administration = administration
        self._connected = connected
        self._logins = logins

    async def finish(self, server_id: str, code: str, state: str, iss: str | None, *, by: str) -> None:
        """Finish a log-in; the server is connected to anew with what it gave.

        Args:
            server_id: the server.
            code: what the person came back with.
            state: likewise.
            iss: likewise; None where there was none.
            by: who does it, for the receipt.

        Raises:
            CallerError: there is no such server (`not_found`), or as `ServerLogins.exchange`.
            UpstreamError: as `ServerLogins.exchange`.
            StoreError: the log-in could not be kept, or as `Administration.make`.
        """
        config = self._connected.config(server_id)
        await self._administration.make(
            subject_of(server_id),
            login_event("made", by, server_id),
            lambda: self._logins.exchange(config, code, state, iss),
        )
        await self._connected.reopen(server_id)

    async def revoke(self, server_id: str, by: str) -> ServerLoginRevoked:
        """End a log-in, here and at its server; the connection that was made with it ends as well.

        Raises:
            CallerError: there is no such server (`not_found`).
            StoreError: as `Administration.make`.
        """
        config = self._connected.config(server_id)
        revoked = await self._administration.make(
            subject_of(server_id), login_event("revoked", by, server_id), lambda: self._logins.revoke(config)
        )
        await self._connected.reopen(server_id)
        return revoked

    async def end(self, server_id: str, by: str) -> None:
        """Let go of a server's log-in: it moves, or goes. Raises as `Administration.make`."""
        await self._administration.make(
            subject_of(server_id), login_event("ended", by, server_id), lambda: self._logins.forget(server_id)
        )

    def settlers(self) -> Mapping[str, Settler]:
        """What the next start does after a crash: see the module's table."""
        return {"mcp_login_revoked": self._finish_revoke, "mcp_login_ended": self._finish_end}

    async def _finish_revoke(self, event: JsonObject) -> JsonObject:
        return {**await self._finish_end(event), "at_server": "unknown"}

    async def _finish_end(self, event: JsonObject) -> JsonObject:
        await self._logins.forget(str(event["server_id"]))
        return change_finished_event(event)


def subject_of(server_id: str) -> str:
    """What the changes of a server's log-in are of."""
    return f"server:{server_id}"
