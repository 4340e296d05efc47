"""A browser with an authenticator in software: what `navigator.credentials` would give, by its `toJSON`."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from briefcase.core.jose.base64url import encode_base64url

ORIGIN = "http://localhost:8787"
PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


class SoftPasskey:
    """One passkey; each use counts, unless `counts` is False. The keyword arguments are what a bad browser does."""

    def __init__(self, seed: int = 5, *, origin: str = ORIGIN, rp_id: str = "localhost", counts: bool = True) -> None:
        self.key = ec.derive_private_key(seed, ec.SECP256R1())
        self.credential_id = hashlib.sha256(bytes([seed])).digest()
        self.origin, self.rp_id, self.counts = origin, rp_id, counts
        self.count = 0

    def create(self, options: dict[str, Any], *, flags: int = PRESENT | VERIFIED, **client: Any) -> dict[str, Any]:
        numbers = self.key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        attested = bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id + cbor2.dumps(cose)
        data = self._authenticator_data(flags | ATTESTED) + attested
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        return self._credential({
            "clientDataJSON": encode_base64url(self._client_data("webauthn.create", options, client)),
            "attestationObject": encode_base64url(attestation),
        })  # fmt: skip

    def get(self, options: dict[str, Any], *, flags: int = PRESENT | VERIFIED, **client: Any) -> dict[str, Any]:
        said, data = self._client_data("webauthn.get", options, client), self._authenticator_data(flags)
        signature = self.key.sign(data + hashlib.sha256(said).digest(), ec.ECDSA(hashes.SHA256()))
        return self._credential({
            "clientDataJSON": encode_base64url(said),
            "authenticatorData": encode_base64url(data),
            "signature": encode_base64url(signature),
        })  # fmt: skip

    def _credential(self, response: dict[str, Any]) -> dict[str, Any]:
        name = encode_base64url(self.credential_id)
        return {"id": name, "rawId": name, "type": "public-key", "response": response, "clientExtensionResults": {}}

    def _client_data(self, kind: str, options: dict[str, Any], changes: dict[str, Any]) -> bytes:
        data = {"type": kind, "challenge": options["challenge"], "origin": self.origin, "crossOrigin": False}
        return json.dumps({**data, **changes}).encode()

    def _authenticator_data(self, flags: int) -> bytes:
        self.count += self.counts
        return hashlib.sha256(self.rp_id.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big")
