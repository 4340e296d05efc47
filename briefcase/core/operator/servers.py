"""MCP servers: what an operator says of them, and which definitions they accepted.

A description and the pins are in the ledger: each change is one transaction with its receipt, made by the servers
themselves (`mcp.registry`). What is beside them has an order:

 1. check the description, and that it sends no secret where that is not for
 2. end the log-in, where the server moves or goes: a log-in is for one address      `operator.logins`
 3. describe, or remove                                                              one transaction
 4. bind the secrets that only this server names                                     in the vault

| a crash | leaves | the next start |
|---|---|---|
| after 2 | the server at its old address, to log in to, with the receipt of that | |
| after 3 | the new description; secrets that nobody bound go nowhere else | takes step 4 |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from briefcase.model.ports import BindableSecrets, Claim
from briefcase.model.types import JsonObject


class EndsLogins(Protocol):
    """Lets go of log-ins (`operator.logins.LoginAdmin`)."""

    async def end(self, server_id: str, by: str) -> None:
        """Let go of a server's log-in, with its receipt."""
        ...


class Described(msgspec.Struct, frozen=True):
    """What a description comes to: where the server is, and what it says of secrets."""

    address: str
    claims: Sequence[Claim]


class ServerStore(Protocol):
    """The servers (`servers.registry`). Durability: a change is on disk with its receipt when it returns."""

    def address(self, server_id: str) -> str | None:
        """Where a server is; None where there is no such server."""
        ...

    def check_known(self, server_id: str) -> None:
        """Raises `CallerError` (`not_found`) where there is no such server."""
        ...

    async def set_server(self, server_id: str, body: JsonObject, by: str) -> object:
        """Add a server, or replace its description.

        Raises:
            CallerError: the description is not as expected, or there are too many servers.
        """
        ...

    async def delete_server(self, server_id: str, by: str) -> None:
        """Remove a server and its pins. Raises as `check_known`."""
        ...

    async def accept(self, server_id: str, digest_hex: str, by: str) -> int:
        """Pin what a server lists now, if it is what the operator looked at; gives the number of tools.

        Raises:
            CallerError: there is no such server, or it lists something else by now (`conflict`).
        """
        ...


class ServerAdmin:
    """Describes, moves and removes servers, and accepts what they list.

    Args:
        servers: the servers.
        describe: reads a description; raises `CallerError` where it is not as expected.
        secrets: the operator's secrets.
        logins: the log-ins at servers.
    """

    def __init__(
        self,
        servers: ServerStore,
        describe: Callable[[str, JsonObject], Described],
        secrets: BindableSecrets,
        logins: EndsLogins,
    ) -> None:
        self._servers = servers
        self._describe = describe
        self._secrets = secrets
        self._logins = logins

    async def set(self, server_id: str, body: JsonObject, by: str) -> None:
        """Add a server, or replace its description: moving a server ends its log-in.

        Args:
            server_id: of `identifiers.SERVER_ID`.
            body: the description.
            by: who does it, for the receipts.

        Raises:
            CallerError: the description is not as expected, there are too many servers, or a secret it names is for
                another destination (`conflict`).
            StoreError: it could not be made durable.
        """
        # 1. check
        described = self._describe(server_id, body)
        await self._secrets.check_claims(described.claims)

        # 2. the log-in, of which a crash right here leaves a server to log in to
        if self._servers.address(server_id) not in {None, described.address}:
            await self._logins.end(server_id, by)

        # 3. the description, with its receipt
        await self._servers.set_server(server_id, body, by)

        # 4. its secrets
        await self._secrets.settle()

    async def delete(self, server_id: str, by: str) -> None:
        """Remove a server, its log-in and its pins.

        Raises:
            CallerError: there is no such server (`not_found`).
            StoreError: it could not be made durable.
        """
        self._servers.check_known(server_id)
        await self._logins.end(server_id, by)
        await self._servers.delete_server(server_id, by)

    async def accept(self, server_id: str, digest_hex: str, by: str) -> int:
        """Accept exactly what was looked at, or nothing; gives the number of tools. Raises as `ServerStore.accept`."""
        return await self._servers.accept(server_id, digest_hex, by)
