"""Opening the places that the settings name, once, at a start. What is not named is not even loaded.

 1. the token and the TPM, where a setting names them    absent, a wrong PIN, locked: the start is refused
 2. the identity, in its place and in no other           kept elsewhere, or not there any more: the same
 3. each proof key that the vault names                  the same

The modules of a place are of an extra (`[pkcs11]`, `[tpm]`), and are imported where a setting names it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import msgspec

from briefcase.adapters.keys.places import (
    IDENTITY_VARIABLE,
    SOFTWARE,
    TPM,
    KeyPlace,
    ProofKeys,
    VaultKeys,
    elsewhere,
    kept_of,
)
from briefcase.adapters.vault.identity import KEY_NAME, Identity, new_seed
from briefcase.model.errors import ConfigError
from briefcase.model.ports import Secrets

ELSEWHERE_NAME: Final = "ed25519.kept"
PROOF_KEY_SUFFIX: Final = ".key"


class KeySettings(msgspec.Struct, frozen=True):
    """Where the identity and the proof keys are to be, each one of `places.PLACES`, and how a place is reached."""

    identity: str = SOFTWARE
    proofs: str = SOFTWARE
    pkcs11_module: Path = Path()
    pkcs11_token: str = ""
    tpm_tcti: str = ""


class Places:
    """The places that the settings name, open.

    Args:
        settings: name them.
        opened: those that are no software, by name.
    """

    def __init__(self, settings: KeySettings, opened: Mapping[str, KeyPlace]) -> None:
        self._identity = settings.identity
        self._opened = opened
        at_proofs = opened.get(settings.proofs)
        at_identity = opened.get(settings.identity)
        self.proofs: ProofKeys = VaultKeys() if at_proofs is None else at_proofs.proofs
        self.identity_place = VaultKeys.description if at_identity is None else at_identity.identity_description

    def problem(self) -> str | None:
        """Why a place does not answer now, or None."""
        for place in self._opened.values():
            problem = place.problem()
            if problem:
                return f"{place.proofs.description}: {problem}"
        return None

    async def read_identity(self, secrets: Secrets) -> Identity | None:
        """The identity in its place, or None where none was made.

        Args:
            secrets: the vault's `identity` compartment.

        Raises:
            ConfigError: it is kept elsewhere, or its place does not have it.
            StoreError: the vault or the place failed.
        """
        seed, kept = await secrets.get(KEY_NAME), await secrets.get(ELSEWHERE_NAME)
        place = self._opened.get(self._identity)
        if kept is not None:
            if place is None:
                raise elsewhere("the identity", kept_of(kept), self._identity, IDENTITY_VARIABLE)
            return Identity(await asyncio.to_thread(place.open_identity, kept))
        if seed is not None and place is not None:
            raise elsewhere("the identity", None, self._identity, IDENTITY_VARIABLE)
        return None if seed is None else Identity(seed)

    async def load_identity(self, secrets: Secrets) -> Identity:
        """The identity in its place, made there at the first start.

        Raises:
            ConfigError: as `read_identity`, or its place cannot have one.
            StoreError: as `read_identity`.
        """
        identity = await self.read_identity(secrets)
        if identity is not None:
            return identity
        place = self._opened.get(self._identity)
        if place is None:
            seed = new_seed()
            await secrets.put(KEY_NAME, seed)
            return Identity(seed)
        kept = await asyncio.to_thread(place.make_identity)
        await secrets.put(ELSEWHERE_NAME, kept)  # a crash before leaves a key that nothing names
        return Identity(await asyncio.to_thread(place.open_identity, kept))


async def open_places(settings: KeySettings, pin: str, stack: AsyncExitStack) -> Places:
    """Open the places that the settings name.

    Args:
        settings: name them.
        pin: of the token.
        stack: closes them.

    Raises:
        ConfigError: one is not there, or does not open.
    """
    opened: dict[str, KeyPlace] = {}
    for name in sorted({settings.identity, settings.proofs} - {SOFTWARE}):
        place = opened[name] = await asyncio.to_thread(_open, name, settings, pin)
        stack.callback(place.close)
    return Places(settings, opened)


async def check_proof_keys(proofs: ProofKeys, *compartments: Secrets) -> None:
    """Check that every proof key which the vault names can be used.

    Raises:
        ConfigError: one is kept elsewhere, or its place does not have it.
        StoreError: the vault or the place failed.
    """
    for secrets in compartments:
        for name in await secrets.names():
            kept = await secrets.get(name) if name.endswith(PROOF_KEY_SUFFIX) else None
            if kept is not None:
                await asyncio.to_thread(proofs.check, kept)


def _open(name: str, settings: KeySettings, pin: str) -> KeyPlace:
    try:
        if name == TPM:
            from briefcase.adapters.keys.tpm import Tpm

            return Tpm(settings.tpm_tcti)
        from briefcase.adapters.keys.token import Token
    except ImportError:
        raise ConfigError(
            f"keys kept by `{name}` need modules that are not installed",
            hint=f"pip install 'agentic-briefcase[{name}]'",
        ) from None
    return Token(settings.pkcs11_module, settings.pkcs11_token, pin)
