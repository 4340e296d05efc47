"""Keys in a PKCS#11 token (OASIS PKCS#11 3.0): made there, marked sensitive and never extractable, used by their id.

The token is found by its label, opened once with the user's PIN, and kept open: the PIN is not kept. A token that is
taken out while the daemon runs fails each signature until the daemon is started again.

| fault | said as |
|---|---|
| the module is none, or is no PKCS#11 library | the path, and why |
| no token of this label, or several | the label, and those that are there |
| the PIN is wrong, locked, expired, or was never set | which of them |
| the token has no Ed25519 | that, with the setting that keeps the identity elsewhere |
| a key that the vault names is not there | the key's id |
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from threading import Lock
from typing import Any, Final

import msgspec
import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.exceptions import (
    MultipleTokensReturned,
    NoSuchKey,
    NoSuchToken,
    PinExpired,
    PinIncorrect,
    PinInvalid,
    PinLenRange,
    PinLocked,
    PKCS11Error,
    UserPinNotInitialized,
)
from pkcs11.util.ec import encode_named_curve_parameters

from briefcase.adapters.keys.places import (
    IDENTITY_VARIABLE,
    PKCS11,
    PROOF_VARIABLE,
    ProofKeys,
    TokenKey,
    elsewhere,
    kept_of,
)
from briefcase.adapters.vault.identity import IdentityKey
from briefcase.core.jose.base64url import encode_base64url
from briefcase.core.jose.did import KEY_BYTES
from briefcase.core.jose.jws import ES256, KeyHandle, PublicKey, parse_public_jwk
from briefcase.model.errors import ConfigError, StoreError

ID_BYTES: Final = 16
LABEL: Final = "briefcase"
_COORDINATE_BYTES: Final = 32
_ED25519: Final = bytes.fromhex("130c656477617264733235353139")  # PKCS#11 3.0, 2.3.10: the curve's name as DER
_ED25519_MECHANISMS: Final = {Mechanism.EDDSA, Mechanism.EC_EDWARDS_KEY_PAIR_GEN}
_OCTET_STRING: Final = 0x04
_UNCOMPRESSED: Final = b"\x04"
_PRIVATE: Final = {
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.PRIVATE: True,
    Attribute.SIGN: True,
}
_PIN_PROBLEMS: Final = {
    PinIncorrect: "its PIN is another",
    PinInvalid: "its PIN is another",
    PinLenRange: "its PIN is of another length",
    PinLocked: "its PIN is locked after too many wrong ones",
    PinExpired: "its PIN has expired",
    UserPinNotInitialized: "it has no user PIN",
}


class Token:
    """One token, open.

    Args:
        module: the PKCS#11 library.
        label: the token's.
        pin: the user's.

    Raises:
        ConfigError: as the module says.
    """

    def __init__(self, module: Path, label: str, pin: str) -> None:
        self._lock = Lock()
        self._token = _find(module, label)
        try:
            self._session = self._token.open(rw=True, user_pin=pin)
        except tuple(_PIN_PROBLEMS) as error:
            raise ConfigError(
                f"the token `{label}` does not open: {_PIN_PROBLEMS[type(error)]}",
                hint="a wrong PIN counts: try it by hand before the daemon does again",
            ) from None
        except PKCS11Error as error:
            raise ConfigError(f"the token `{label}` does not open: {_word(error)}") from None
        self.description = f"PKCS#11 token `{label}` ({self._token.manufacturer_id}, {self._token.model})"
        self.identity_description = self.description
        self.proofs: ProofKeys = TokenKeys(self)

    def close(self) -> None:
        """Log out."""
        with self._lock:
            self._session.close()

    def problem(self) -> str | None:
        """Why the token does not answer, or None."""
        try:
            with self._lock:
                self._session.generate_random(8)
        except PKCS11Error as error:
            return f"it does not answer: {_word(error)}"
        return None

    def make_identity(self) -> bytes:
        """See `places.KeyPlace`."""
        if not self._token.slot.get_mechanisms() >= _ED25519_MECHANISMS:
            raise ConfigError(
                f"the {self.description} has no Ed25519, which the identity is",
                hint=f"keep the identity elsewhere ({IDENTITY_VARIABLE}); this token may keep the proof keys",
            )
        return msgspec.json.encode(self.make(KeyType.EC_EDWARDS))

    def open_identity(self, kept: bytes) -> IdentityKey | bytes:
        """See `places.KeyPlace`."""
        return TokenIdentity(self, _kept(kept, "the identity", IDENTITY_VARIABLE))

    def make(self, kind: KeyType) -> TokenKey:
        """A new pair of keys.

        Raises:
            StoreError: the token refused.
        """
        curve = _ED25519 if kind is KeyType.EC_EDWARDS else encode_named_curve_parameters("secp256r1")
        key_id = secrets.token_bytes(ID_BYTES)
        try:
            with self._lock:
                parameters = self._session.create_domain_parameters(kind, {Attribute.EC_PARAMS: curve}, local=True)
                public, _ = parameters.generate_keypair(id=key_id, label=LABEL, store=True, private_template=_PRIVATE)
                point: bytes = public[Attribute.EC_POINT]
        except PKCS11Error as error:
            raise _refused("make a key", error) from None
        return TokenKey(key_id.hex(), point.hex())

    def find(self, key: TokenKey) -> Any:  # noqa: ANN401 - the library's objects are made of parts at run time
        """The private half of a key.

        Raises:
            ConfigError: the token does not have it.
            StoreError: it does not answer.
        """
        try:
            with self._lock:
                return self._session.get_key(object_class=ObjectClass.PRIVATE_KEY, id=bytes.fromhex(key.id_hex))
        except NoSuchKey:
            raise ConfigError(
                f"the {self.description} has no key `{key.id_hex}`, which the vault names",
                hint="put in the token that it was made in; `briefcase help keys` says how to begin anew",
            ) from None
        except PKCS11Error as error:
            raise _refused("find a key", error) from None

    def sign(self, private: Any, data: bytes, mechanism: Mechanism) -> bytes:  # noqa: ANN401 - as `find`
        """A signature.

        Raises:
            StoreError: the token refused.
        """
        try:
            with self._lock:
                signature: bytes = private.sign(data, mechanism=mechanism)
        except PKCS11Error as error:
            raise _refused("sign", error) from None
        return signature

    def destroy(self, key: TokenKey) -> None:
        """Remove both halves of a key, where they are there.

        Raises:
            StoreError: the token refused.
        """
        try:
            with self._lock:
                for found in list(self._session.get_objects({Attribute.ID: bytes.fromhex(key.id_hex)})):
                    found.destroy()
        except PKCS11Error as error:
            raise _refused("remove a key", error) from None


class TokenIdentity:
    """The daemon's identity in a token.

    Args:
        token: open.
        key: an Ed25519 key in it.

    Raises:
        ConfigError: the token does not have it, or it is of another kind.
    """

    def __init__(self, token: Token, key: TokenKey) -> None:
        self._token = token
        self._private = token.find(key)
        self.public_key = _point(key, KEY_BYTES)

    def sign(self, message: bytes) -> bytes:
        """The Ed25519 signature of a message. Raises as `Token.sign`."""
        return self._token.sign(self._private, message, Mechanism.EDDSA)


class TokenProofKey:
    """A proof key in a token (`jws.KeyHandle`). Takes and raises as `TokenIdentity`."""

    algorithm = ES256

    def __init__(self, token: Token, key: TokenKey) -> None:
        self._token = token
        self._private = token.find(key)
        point = _point(key, 1 + 2 * _COORDINATE_BYTES).removeprefix(_UNCOMPRESSED)
        x, y = (encode_base64url(part) for part in (point[:_COORDINATE_BYTES], point[_COORDINATE_BYTES:]))
        self.public: PublicKey = parse_public_jwk({"kty": "EC", "crv": "P-256", "x": x, "y": y})

    def sign(self, signing_input: bytes) -> bytes:
        """The ES256 signature over these bytes. Raises as `Token.sign`."""
        return self._token.sign(self._private, hashlib.sha256(signing_input).digest(), Mechanism.ECDSA)


class TokenKeys:
    """Proof keys in a token (`places.ProofKeys`)."""

    def __init__(self, token: Token) -> None:
        self._token = token
        self.description = token.description

    def make(self) -> tuple[KeyHandle, bytes]:
        """See `ProofKeys`."""
        key = self._token.make(KeyType.EC)
        return TokenProofKey(self._token, key), msgspec.json.encode(key)

    def load(self, kept: bytes) -> KeyHandle:
        """See `ProofKeys`."""
        return TokenProofKey(self._token, _kept(kept))

    def check(self, kept: bytes) -> None:
        """See `ProofKeys`."""
        self._token.find(_kept(kept))

    def destroy(self, kept: bytes) -> None:
        """See `ProofKeys`."""
        self._token.destroy(_kept(kept))


def _kept(data: bytes, what: str = "a proof key", variable: str = PROOF_VARIABLE) -> TokenKey:
    found = kept_of(data)
    if not isinstance(found, TokenKey):
        raise elsewhere(what, found, PKCS11, variable)
    return found


def _find(module: Path, label: str) -> pkcs11.Token:
    try:
        library = pkcs11.lib(str(module))
        found = [token.label for token in library.get_tokens()]
        return library.get_token(token_label=label)
    except NoSuchToken:
        there = ", ".join(f"`{name}`" for name in found if name) or "none"
        raise ConfigError(f"expected a token `{label}`, got {there}", hint="put it in, then start again") from None
    except MultipleTokensReturned:
        raise ConfigError(f"expected one token `{label}`, got several", hint="give them labels of their own") from None
    except PKCS11Error as error:
        raise ConfigError(f"the PKCS#11 module `{module}` does not answer: {_word(error)}") from None
    except (RuntimeError, OSError) as error:
        raise ConfigError(f"`BRIEFCASE_PKCS11_MODULE`: `{module}` is no PKCS#11 module", detail=str(error)) from None


def _point(key: TokenKey, size: int) -> bytes:
    """The public half, out of the octet string that tokens put it in."""
    point = bytes.fromhex(key.point_hex)
    if len(point) == size + 2 and point[0] == _OCTET_STRING and point[1] == size:
        point = point[2:]
    if len(point) != size:
        raise ConfigError(f"the key `{key.id_hex}` in the vault is of another kind than it must be")
    return point


def _refused(what: str, error: PKCS11Error) -> StoreError:
    return StoreError(
        f"the PKCS#11 token could not {what}: {_word(error)}",
        code="secret_unavailable",
        hint="put the token in, and start the daemon again",
    )


def _word(error: PKCS11Error) -> str:
    return f"{type(error).__name__}{f' ({error})' if str(error) else ''}"
