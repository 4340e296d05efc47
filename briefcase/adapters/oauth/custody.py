"""What the vault holds of a provider, or of an MCP server: its log-in, its entitlement, the key tokens are bound to.

Each is one value, written whole, so a kill leaves the old or the new and never half a token. Names in the compartment
(`providers` or `mcp`) are `<id>.login`, `<id>.entitlement`, `<id>.key` and `<id>.client`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from briefcase.adapters.keys.places import ProofKeys, VaultKeys
from briefcase.core.jose.jws import KeyHandle
from briefcase.model.errors import ConfigError
from briefcase.model.ports import Secrets

_LOGIN: Final = "login"
_ENTITLEMENT: Final = "entitlement"
_KEY: Final = "key"
_CLIENT: Final = "client"
NO_SECRET: Final = "none"  # RFC 7591 section 2, a `token_endpoint_auth_method`
_T = TypeVar("_T")


class Client(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who an authorization server knows us as, and how we prove it at its token endpoint (RFC 6749 section 2.3).

    `issuer` and `redirect_uri` are set for a client that was registered dynamically: it is of use for those alone.
    """

    client_id: str
    client_secret: str | None = None
    auth_method: str = NO_SECRET
    issuer: str = ""
    redirect_uri: str = ""

    def __repr__(self) -> str:
        return f"Client(client_id={self.client_id!r}, issuer={self.issuer!r}, ...)"


class Login(msgspec.Struct, frozen=True):
    """One grant.

    `with_proof` tells that its server takes DPoP proofs, `is_bound` that the token is of use with them only. `resource`
    is what the token is for (RFC 8707); `scope` what was granted, with spaces between. A log-in that cannot be renewed
    any more `has_ended`: a person must log in again.
    """

    client_id: str
    issuer: str
    token_endpoint: str
    revocation_endpoint: str | None
    access_token: str
    expires_us: int
    refresh_token: str | None = None
    with_proof: bool = False
    has_ended: bool = False
    client_secret: str | None = None
    auth_method: str = NO_SECRET
    resource: str | None = None
    scope: str = ""
    is_bound: bool = False
    issued_us: int = 0

    def __repr__(self) -> str:
        return f"Login(client_id={self.client_id!r}, issuer={self.issuer!r}, ...)"


class Entitlement(msgspec.Struct, frozen=True):
    """One verifiable credential, as it is presented."""

    credential_jwt: str
    expires_us: int

    def __repr__(self) -> str:
        return f"Entitlement(expires_us={self.expires_us})"


class Custody:
    """What is held of every provider.

    Args:
        secrets: the vault's `providers` compartment.
        remember: `Vault.remember`: the redactor must know each token by itself, not only the value it is part of.
        noun: what is held of, in messages.
        keys: where the keys are; by default in the vault.
    """

    def __init__(
        self,
        secrets: Secrets,
        remember: Callable[[bytes, str], object],
        noun: str = "provider",
        keys: ProofKeys | None = None,
    ) -> None:
        self._secrets = secrets
        self._keys = keys or VaultKeys()
        self._remember = remember
        self._noun = noun

    async def login(self, provider_id: str) -> Login | None:
        """The log-in, or None.

        Raises:
            ConfigError: what is held is not what this product writes, or the vault does not open.
            StoreError: the vault failed.
        """
        login = await self._read(provider_id, _LOGIN, Login)
        if login is not None:
            self._remember_login(provider_id, login)
        return login

    async def put_login(self, provider_id: str, login: Login) -> None:
        """Keep a log-in; durable when it returns. Raises as `login`."""
        self._remember_login(provider_id, login)
        await self._secrets.put(f"{provider_id}.{_LOGIN}", msgspec.json.encode(login))

    async def delete_login(self, provider_id: str) -> bool:
        """Forget a log-in; False where there was none."""
        return await self._secrets.delete(f"{provider_id}.{_LOGIN}")

    async def entitlement(self, provider_id: str) -> Entitlement | None:
        """The entitlement, or None. Raises as `login`."""
        entitlement = await self._read(provider_id, _ENTITLEMENT, Entitlement)
        if entitlement is not None:
            self._remember(entitlement.credential_jwt.encode(), provider_id)
        return entitlement

    async def put_entitlement(self, provider_id: str, entitlement: Entitlement) -> None:
        """Keep an entitlement; durable when it returns."""
        self._remember(entitlement.credential_jwt.encode(), provider_id)
        await self._secrets.put(f"{provider_id}.{_ENTITLEMENT}", msgspec.json.encode(entitlement))

    async def client(self, provider_id: str) -> Client | None:
        """The client that was registered, or None. Raises as `login`."""
        client = await self._read(provider_id, _CLIENT, Client)
        if client is not None:
            self._remember_tokens(provider_id, client.client_secret)
        return client

    async def put_client(self, provider_id: str, client: Client) -> None:
        """Keep a registered client; durable when it returns."""
        self._remember_tokens(provider_id, client.client_secret)
        await self._secrets.put(f"{provider_id}.{_CLIENT}", msgspec.json.encode(client))

    async def key(self, provider_id: str) -> KeyHandle:
        """The key that proves possession to this provider and to no other; made at its first use.

        Raises:
            ConfigError: what the vault keeps is damaged, or is not where keys are now.
            StoreError: the vault failed, or the keys' place did.
        """
        name = f"{provider_id}.{_KEY}"
        kept = await self._secrets.get(name)
        if kept is not None:
            return await asyncio.to_thread(self._keys.load, kept)
        key, made = await asyncio.to_thread(self._keys.make)
        await self._secrets.put(name, made)
        return key

    async def forget(self, provider_id: str) -> None:
        """Remove everything that is held of one of them.

        Raises:
            ConfigError, StoreError: the key could not be ended in its place; it is held still.
        """
        kept = await self._secrets.get(f"{provider_id}.{_KEY}")
        if kept is not None:
            await asyncio.to_thread(self._keys.destroy, kept)
        for kind in (_LOGIN, _ENTITLEMENT, _KEY, _CLIENT):
            await self._secrets.delete(f"{provider_id}.{kind}")

    def _remember_login(self, provider_id: str, login: Login) -> None:
        self._remember_tokens(provider_id, login.access_token, login.refresh_token, login.client_secret)

    def _remember_tokens(self, provider_id: str, *tokens: str | None) -> None:
        for token in tokens:
            if token:
                self._remember(token.encode(), provider_id)

    async def _read(self, provider_id: str, kind: str, shape: type[_T]) -> _T | None:
        value = await self._secrets.get(f"{provider_id}.{kind}")
        if value is None:
            return None
        try:
            return msgspec.json.decode(value, type=shape)
        except msgspec.DecodeError:
            raise ConfigError(f"the {kind} of the {self._noun} `{provider_id}` in the vault is damaged") from None
