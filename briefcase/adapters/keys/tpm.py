"""Keys of a TPM 2.0 (TCG TPM 2.0 Library, part 3), through the TCG software stack (`tpm2-pytss`).

Nothing is stored in the TPM: under its storage root key, which it derives anew at each start, a key is a blob in the
vault that this TPM alone can load. A proof key is made there and signs there. The identity is Ed25519, which TPMs do
not have: its seed is sealed under the same root, and unsealed into the daemon's memory at a start. Whoever copies the
disk has nothing of either; whoever reads the daemon's memory has the identity, and not the proof keys.

A TPM holds three loaded objects: each signature loads its key, signs, and lets it go.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from threading import Lock
from typing import Final

import msgspec
from tpm2_pytss import (
    ESAPI,
    ESYS_TR,
    TPM2_ALG,
    TPM2B_DATA,
    TPM2B_ECC_PARAMETER,
    TPM2B_PRIVATE,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPM2B_SENSITIVE_DATA,
    TPMA_OBJECT,
    TPMS_SENSITIVE_CREATE,
    TPMT_SIG_SCHEME,
    TSS2_Exception,
)

from briefcase.adapters.keys.places import (
    IDENTITY_VARIABLE,
    PROOF_VARIABLE,
    TPM,
    ProofKeys,
    TpmKey,
    elsewhere,
    kept_of,
)
from briefcase.adapters.vault.identity import IdentityKey, new_seed
from briefcase.core.jose.base64url import encode_base64url
from briefcase.core.jose.jws import ES256, KeyHandle, PublicKey, parse_public_jwk
from briefcase.model.errors import ConfigError, StoreError

_COORDINATE_BYTES: Final = 32
_STORAGE: Final = "ecc256:aes128cfb"
_OURS: Final = TPMA_OBJECT.FIXEDTPM | TPMA_OBJECT.FIXEDPARENT | TPMA_OBJECT.USERWITHAUTH
_SIGNS: Final = _OURS | TPMA_OBJECT.SIGN_ENCRYPT | TPMA_OBJECT.SENSITIVEDATAORIGIN
_SEALED: Final = _OURS | TPMA_OBJECT.NODA
_FORMAT_ONE: Final = 0x80  # a fault of what was given, not of the TPM's state (part 2, section 6.6)


class Tpm:
    """One TPM, open, with its storage root.

    Args:
        tcti: how it is reached, as the software stack writes it: `device:/dev/tpmrm0`.

    Raises:
        ConfigError: it cannot be reached, or does not make a storage root.
    """

    def __init__(self, tcti: str) -> None:
        self._lock = Lock()
        try:
            self._tpm = ESAPI(tcti)
            self._root = self._tpm.create_primary(None, _STORAGE)[0]
        except (TSS2_Exception, RuntimeError) as error:
            raise ConfigError(
                f"the TPM at `{tcti}` cannot be used: {error}",
                hint="`BRIEFCASE_TPM_TCTI` names it; the user of the daemon must be in the group of its device (tss)",
            ) from None
        self.description = f"TPM 2.0 at `{tcti}`"
        self.identity_description = f"sealed by the {self.description}, and in memory while the daemon runs"
        self.proofs: ProofKeys = TpmKeys(self)

    def close(self) -> None:
        """Let it go."""
        with self._lock, contextlib.suppress(TSS2_Exception):
            self._tpm.flush_context(self._root)
        self._tpm.close()

    def problem(self) -> str | None:
        """Why the TPM does not answer, or None."""
        try:
            with self._lock:
                self._tpm.get_random(8)
        except TSS2_Exception as error:
            return f"it does not answer: {error}"
        return None

    def make_identity(self) -> bytes:
        """See `places.KeyPlace`."""
        return msgspec.json.encode(self.seal(new_seed()))

    def open_identity(self, kept: bytes) -> IdentityKey | bytes:
        """See `places.KeyPlace`: the private half, unsealed."""
        return self.unseal(_kept(kept, "the identity", IDENTITY_VARIABLE))

    def make(self) -> TpmKey:
        """A new P-256 key that signs. Raises `StoreError`."""
        with self._lock, self._told("make a key"):
            private, public, *_ = self._tpm.create(
                self._root, None, TPM2B_PUBLIC.parse("ecc256:ecdsa-sha256", objectAttributes=_SIGNS)
            )
        return TpmKey(public.marshal().hex(), private.marshal().hex())

    def seal(self, secret: bytes) -> TpmKey:
        """A secret as a blob that this TPM alone opens. Raises `StoreError`."""
        sensitive = TPM2B_SENSITIVE_CREATE(TPMS_SENSITIVE_CREATE(data=TPM2B_SENSITIVE_DATA(secret)))
        with self._lock, self._told("seal a secret"):
            private, public, *_ = self._tpm.create(
                self._root, sensitive, TPM2B_PUBLIC.parse("keyedhash", objectAttributes=_SEALED), TPM2B_DATA()
            )
        return TpmKey(public.marshal().hex(), private.marshal().hex())

    def unseal(self, key: TpmKey) -> bytes:
        """A secret that was sealed here. Raises as `load`."""
        with self._loaded(key) as handle, self._told("unseal a secret"):
            return bytes(self._tpm.unseal(handle))

    def sign(self, key: TpmKey, digest: bytes) -> bytes:
        """The signature over a SHA-256 digest, as r and s of 32 bytes each. Raises as `load`."""
        with self._loaded(key) as handle, self._told("sign"):
            answer = self._tpm.sign(handle, digest, TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL))
            signed = answer.signature.ecdsa  # a view: `answer` owns its memory
            return b"".join(_padded(part) for part in (signed.signatureR, signed.signatureS))

    def check(self, key: TpmKey) -> None:
        """Check that this TPM can load a key. Raises as `load`."""
        with self._loaded(key):
            pass

    @contextlib.contextmanager
    def _loaded(self, key: TpmKey) -> Iterator[ESYS_TR]:
        """A key while it is in the TPM.

        Raises:
            ConfigError: it is of another TPM, or this one was cleared.
            StoreError: the TPM does not answer.
        """
        with self._lock:
            try:
                handle = self._tpm.load(self._root, _private_of(key), _public_of(key))
            except TSS2_Exception as error:
                if error.rc & _FORMAT_ONE:
                    raise ConfigError(
                        "the TPM does not take a key that the vault names: it is another TPM's, or it was cleared",
                        hint="`briefcase help keys` says how to begin anew",
                        detail=str(error),
                    ) from None
                raise _refused("load a key", error) from None
            try:
                yield handle
            finally:
                self._tpm.flush_context(handle)

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except TSS2_Exception as error:
            raise _refused(what, error) from None


class TpmProofKey:
    """A proof key of a TPM (`jws.KeyHandle`).

    Args:
        tpm: open.
        key: as the vault keeps it.
    """

    algorithm = ES256

    def __init__(self, tpm: Tpm, key: TpmKey) -> None:
        self._tpm = tpm
        self._key = key
        public = _public_of(key)
        point = public.publicArea.unique.ecc  # a view: `public` owns its memory
        x, y = (encode_base64url(_padded(part)) for part in (point.x, point.y))
        self.public: PublicKey = parse_public_jwk({"kty": "EC", "crv": "P-256", "x": x, "y": y})

    def sign(self, signing_input: bytes) -> bytes:
        """The ES256 signature over these bytes. Raises `ConfigError` and `StoreError`."""
        return self._tpm.sign(self._key, hashlib.sha256(signing_input).digest())


class TpmKeys:
    """Proof keys of a TPM (`places.ProofKeys`)."""

    def __init__(self, tpm: Tpm) -> None:
        self._tpm = tpm
        self.description = tpm.description

    def make(self) -> tuple[KeyHandle, bytes]:
        """See `ProofKeys`."""
        key = self._tpm.make()
        return TpmProofKey(self._tpm, key), msgspec.json.encode(key)

    def load(self, kept: bytes) -> KeyHandle:
        """See `ProofKeys`."""
        self.check(kept)
        return TpmProofKey(self._tpm, _kept(kept))

    def check(self, kept: bytes) -> None:
        """See `ProofKeys`."""
        self._tpm.check(_kept(kept))

    def destroy(self, kept: bytes) -> None:
        """See `ProofKeys`: the TPM keeps nothing of it."""


def _kept(data: bytes, what: str = "a proof key", variable: str = PROOF_VARIABLE) -> TpmKey:
    found = kept_of(data)
    if not isinstance(found, TpmKey):
        raise elsewhere(what, found, TPM, variable)
    return found


def _public_of(key: TpmKey) -> TPM2B_PUBLIC:
    return TPM2B_PUBLIC.unmarshal(bytes.fromhex(key.public_hex))[0]


def _private_of(key: TpmKey) -> TPM2B_PRIVATE:
    return TPM2B_PRIVATE.unmarshal(bytes.fromhex(key.private_hex))[0]


def _padded(part: TPM2B_ECC_PARAMETER) -> bytes:
    return bytes(part).rjust(_COORDINATE_BYTES, b"\0")


def _refused(what: str, error: TSS2_Exception) -> StoreError:
    return StoreError(f"the TPM could not {what}: {error}", code="secret_unavailable", hint="see the TPM's own log")
