"""What the vault holds of a provider: its log-in, its entitlement, and the key capabilities are bound to.

Each is one value, written whole, so a kill leaves the old or the new and never half a token. Names in the vault's
`providers` compartment are `<id>.login`, `<id>.entitlement` and `<id>.key`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from briefcase.capability.jws import JwsError, PrivateKey, generate_key, load_private_key
from briefcase.errors import ConfigError
from briefcase.ports import Secrets

_LOGIN: Final = "login"
_ENTITLEMENT: Final = "entitlement"
_KEY: Final = "key"
_T = TypeVar("_T")


class Login(msgspec.Struct, frozen=True):
    """One grant.

    `with_proof` tells that its server takes DPoP proofs. A log-in that can not be renewed any more `has_ended`: a
    person must log in again.
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
    """

    def __init__(self, secrets: Secrets, remember: Callable[[bytes], object]) -> None:
        self._secrets = secrets
        self._remember = remember

    async def login(self, provider_id: str) -> Login | None:
        """The log-in, or None.

        Raises:
            ConfigError: what is held is not what this product writes, or the vault does not open.
            StoreError: the vault failed.
        """
        login = await self._read(provider_id, _LOGIN, Login)
        if login is not None:
            self._remember_login(login)
        return login

    async def put_login(self, provider_id: str, login: Login) -> None:
        """Keep a log-in; durable when it returns. Raises as `login`."""
        self._remember_login(login)
        await self._secrets.put(f"{provider_id}.{_LOGIN}", msgspec.json.encode(login))

    async def delete_login(self, provider_id: str) -> bool:
        """Forget a log-in; False where there was none."""
        return await self._secrets.delete(f"{provider_id}.{_LOGIN}")

    async def entitlement(self, provider_id: str) -> Entitlement | None:
        """The entitlement, or None. Raises as `login`."""
        entitlement = await self._read(provider_id, _ENTITLEMENT, Entitlement)
        if entitlement is not None:
            self._remember(entitlement.credential_jwt.encode())
        return entitlement

    async def put_entitlement(self, provider_id: str, entitlement: Entitlement) -> None:
        """Keep an entitlement; durable when it returns."""
        self._remember(entitlement.credential_jwt.encode())
        await self._secrets.put(f"{provider_id}.{_ENTITLEMENT}", msgspec.json.encode(entitlement))

    async def key(self, provider_id: str) -> PrivateKey:
        """The key that proves possession to this provider and to no other; made at its first use. Raises as `login`."""
        exported = await self._secrets.get(f"{provider_id}.{_KEY}")
        if exported is None:
            key = generate_key()
            await self._secrets.put(f"{provider_id}.{_KEY}", key.export())
            return key
        try:
            return load_private_key(exported)
        except JwsError as error:
            raise ConfigError(f"the key for the provider `{provider_id}` in the vault is damaged: {error}") from None

    async def forget(self, provider_id: str) -> None:
        """Remove everything that is held of a provider."""
        for kind in (_LOGIN, _ENTITLEMENT, _KEY):
            await self._secrets.delete(f"{provider_id}.{kind}")

    def _remember_login(self, login: Login) -> None:
        for token in (login.access_token, login.refresh_token):
            if token:
                self._remember(token.encode())

    async def _read(self, provider_id: str, kind: str, shape: type[_T]) -> _T | None:
        value = await self._secrets.get(f"{provider_id}.{kind}")
        if value is None:
            return None
        try:
            return msgspec.json.decode(value, type=shape)
        except msgspec.DecodeError:
            raise ConfigError(f"the {kind} of the provider `{provider_id}` in the vault is damaged") from None
