"""Proofs of possession (RFC 9449) made claim by claim, so that a check can change exactly one, or forge one."""

from __future__ import annotations

import hmac

import msgspec

from briefcase.core.jose.base64url import encode_base64url
from briefcase.core.jose.dpop import TYP
from briefcase.core.jose.jws import PrivateKey
from briefcase.model.types import JsonObject


def sign_proof(key: PrivateKey, claims: JsonObject, header: JsonObject | None = None) -> str:
    """A proof by a key.

    Args:
        key: signs, whatever the header says.
        claims: its claims; None leaves one out.
        header: members that differ from a good one's; None leaves one out.
    """
    public: JsonObject = dict(key.public.jwk)
    good_header: JsonObject = {"typ": TYP, "alg": key.algorithm, "jwk": public}
    parts = [_encoded(good_header | (header or {})), _encoded(claims)]
    return ".".join((*parts, encode_base64url(key.sign(".".join(parts).encode()))))


def sign_with_public_key(proof: str, key: PrivateKey) -> str:
    """A proof whose signature is an HMAC keyed with the public key, which anybody can make."""
    head, _, _ = proof.rpartition(".")
    public = msgspec.json.encode(key.public.jwk)
    return f"{head}.{encode_base64url(hmac.digest(public, head.encode(), 'sha256'))}"


def _encoded(members: JsonObject) -> str:
    return encode_base64url(msgspec.json.encode({name: value for name, value in members.items() if value is not None}))
