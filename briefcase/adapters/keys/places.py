"""The places where the daemon's own keys can be: what each does, and the ordinary one, the vault.

Two kinds of keys are the daemon's own: its identity (Ed25519), which signs checkpoints, backups and its proofs to a
control plane; and a proof key (P-256) for each provider and MCP server that binds tokens to one (DPoP).

| place | the identity | a proof key |
|---|---|---|
| `software` | in the vault, and in the daemon's memory | in the vault, and in memory |
| `pkcs11` | in the token, and never elsewhere | in the token, and never elsewhere |
| `tpm` | sealed by the TPM, **unsealed into memory** at a start | in the vault as a blob that this TPM alone can use |

The vault says where each key is (`Kept`). A place is never changed in silence: a key that is kept elsewhere than the
settings say stops the start.
"""

from __future__ import annotations

from typing import Final, Protocol, TypeAlias

import msgspec

from briefcase.adapters.vault.identity import IdentityKey
from briefcase.core.jose.base64url import JoseError
from briefcase.core.jose.jws import KeyHandle, generate_key, load_private_key
from briefcase.model.errors import ConfigError

SOFTWARE: Final = "software"
PKCS11: Final = "pkcs11"
TPM: Final = "tpm"
PLACES: Final = (SOFTWARE, PKCS11, TPM)
IDENTITY_VARIABLE: Final = "BRIEFCASE_IDENTITY_KEY"
PROOF_VARIABLE: Final = "BRIEFCASE_PROOF_KEYS"


class TokenKey(msgspec.Struct, frozen=True, tag_field="place", tag=PKCS11):
    """A key in a token, as the vault keeps it: its `CKA_ID`, and its public half as the token gave it, both in hex."""

    id_hex: str
    point_hex: str


class TpmKey(msgspec.Struct, frozen=True, tag_field="place", tag=TPM):
    """A key of a TPM, as the vault keeps it: `TPM2B_PUBLIC` and `TPM2B_PRIVATE`, which its TPM alone can load."""

    public_hex: str
    private_hex: str


Kept: TypeAlias = TokenKey | TpmKey


class ProofKeys(Protocol):
    """A place of proof keys. Each method blocks for as long as the place takes.

    Raises:
        ConfigError: what the vault keeps is of another place, or the place does not have it.
        StoreError: the place did not answer.
    """

    @property
    def description(self) -> str:
        """The place, for people."""
        ...

    def make(self) -> tuple[KeyHandle, bytes]:
        """A new key, and what the vault is to keep of it."""
        ...

    def load(self, kept: bytes) -> KeyHandle:
        """A key that was made here."""
        ...

    def check(self, kept: bytes) -> None:
        """Check that a key can be used, at a start."""
        ...

    def destroy(self, kept: bytes) -> None:
        """End a key, wherever it is kept beside the vault."""
        ...


class KeyPlace(Protocol):
    """A place of keys outside of the vault, open. Each method blocks for as long as the place takes.

    Raises:
        ConfigError: the place does not have the key, or what the vault keeps is of another place.
        StoreError: the place did not answer.
    """

    @property
    def proofs(self) -> ProofKeys:
        """The proof keys in it."""
        ...

    @property
    def identity_description(self) -> str:
        """Where an identity of this place is, for people."""
        ...

    def make_identity(self) -> bytes:
        """A new identity; what the vault is to keep of it."""
        ...

    def open_identity(self, kept: bytes) -> IdentityKey | bytes:
        """An identity that was made here: a key that signs there, or its private half."""
        ...

    def problem(self) -> str | None:
        """Why the place does not answer now, or None."""
        ...

    def close(self) -> None:
        """Let it go."""
        ...


class VaultKeys:
    """Proof keys in the vault itself, as private JWKs."""

    description = "the vault, and memory while the daemon runs"

    def make(self) -> tuple[KeyHandle, bytes]:
        """See `ProofKeys`."""
        key = generate_key()
        return key, key.export()

    def load(self, kept: bytes) -> KeyHandle:
        """See `ProofKeys`."""
        self.check(kept)
        try:
            return load_private_key(kept)
        except JoseError as error:
            raise ConfigError(f"a proof key in the vault is damaged: {error}") from None

    def check(self, kept: bytes) -> None:
        """See `ProofKeys`."""
        found = kept_of(kept)
        if found is not None:
            raise elsewhere("a proof key", found, SOFTWARE, PROOF_VARIABLE)

    def destroy(self, kept: bytes) -> None:
        """See `ProofKeys`: the vault forgets it by itself."""


def kept_of(data: bytes) -> Kept | None:
    """What the vault keeps of a key that is elsewhere; None where it keeps the key itself."""
    try:
        return msgspec.json.decode(data, type=Kept)
    except msgspec.DecodeError:
        return None


def elsewhere(what: str, found: Kept | None, wanted: str, variable: str) -> ConfigError:
    """What to raise where a key is kept elsewhere than the settings say."""
    place = SOFTWARE if found is None else PKCS11 if isinstance(found, TokenKey) else TPM
    return ConfigError(
        f"{what} is kept by `{place}`, and `{variable}` says `{wanted}`",
        hint=f"set {variable}={place}: a key does not move; `briefcase help keys` says how to begin anew",
    )
