"""Proofs of possession (DPoP, RFC 9449): made for each request, checked by the twelve steps of section 4.3.

A proof is good once: whoever checks one also claims its `replay_key` in a `replay.ReplayCache`, before acting.
Everything here is a function of its arguments; the caller says what time it is and which URL was asked for.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Sequence
from typing import Annotated, Final

import msgspec

from briefcase.core.jose.base64url import JoseError, encode_base64url
from briefcase.core.jose.htu import normal_url
from briefcase.core.jose.jws import KeyHandle, PublicKey, Signer, check_signature, parse_compact, parse_public_jwk
from briefcase.model.types import US_PER_S, JsonObject

TYP: Final = "dpop+jwt"
MAX_JTI_CHARS: Final = 128
REPLAY_KEY_BYTES: Final = 16

INVALID_PROOF: Final = "invalid_dpop_proof"  # RFC 9449 section 12.2
USE_NONCE: Final = "use_dpop_nonce"
INVALID_TOKEN: Final = "invalid_token"  # RFC 6750 section 3.1, an error's name


class ProofWindow(msgspec.Struct, frozen=True):
    """How far `iat` may be from now (RFC 9449 section 11.1), in whole seconds."""

    max_age_s: int = 60
    max_future_s: int = 5


class Proof(msgspec.Struct, frozen=True):
    """A proof that holds. `replay_key` names it for the replay cache, `iat_s` says how long it is of use."""

    jkt: str
    iat_s: int
    replay_key: bytes


class Refusal(msgspec.Struct, frozen=True):
    """A proof that does not hold: the OAuth error word, the step of section 4.3 that failed, and what was wrong."""

    error: str
    step: int
    problem: str


class _Claims(msgspec.Struct, frozen=True):
    """Section 4.2. `iat` is whole seconds."""

    jti: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_JTI_CHARS)]
    htm: str
    htu: str
    iat: int
    ath: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{43}$")] | None = None
    nonce: str | None = None


class ProofSigner:
    """Makes proofs with one key (RFC 9449 section 4.2). The header, which holds the public key, is encoded once."""

    def __init__(self, key: KeyHandle) -> None:
        self.jkt = key.public.thumbprint
        self.algorithm = key.algorithm
        self._signer = Signer(key, TYP, jwk=dict(key.public.jwk))

    def sign(
        self,
        method: str,
        url: str,
        jti: str,
        now_us: int,
        *,
        access_token: str | None = None,
        nonce: str | None = None,
        keeps_query: bool = False,
    ) -> str:
        """One proof for one request.

        Args:
            method: the HTTP method of the request.
            url: its URL; query and fragment are left out of the proof.
            jti: at least 96 unpredictable bits, used for no other proof.
            now_us: the time, microseconds.
            access_token: the token sent with the request; its hash becomes `ath`.
            nonce: what the server asked for with `DPoP-Nonce`.
            keeps_query: leave the query in, for a server that compares `htu` with it (RFC 9449 leaves it out).
        """
        htu = url.partition("#")[0]
        if not keeps_query:
            htu = htu.partition("?")[0]
        claims: JsonObject = {"jti": jti, "htm": method, "htu": htu, "iat": now_us // US_PER_S}
        if access_token is not None:
            claims["ath"] = token_hash(access_token)
        if nonce is not None:
            claims["nonce"] = nonce
        return self._signer.sign(claims)


def check_proof(  # noqa: PLR0911 - an exit for each step, an argument for each thing it is compared with
    values: Sequence[str],
    method: str,
    url: str,
    now_us: int,
    *,
    access_token: str | None = None,
    bound_jkt: str | None = None,
    nonces: Collection[str] | None = None,
    window: ProofWindow = ProofWindow(),  # noqa: B008 - frozen
) -> Proof | Refusal:
    """Check a proof by the steps of RFC 9449 section 4.3, numbered as there; the dearest, 6, is done last but one.

     1. there is not more than one `DPoP` header field
     2. its value is a single and well-formed JWT
     3. all required claims are there
     4. `typ` is `dpop+jwt`
     5. `alg` is a supported asymmetric algorithm
     6. the signature verifies with the public key in `jwk`
     7. `jwk` holds no private key
     8. `htm` is the method of the request
     9. `htu` is its URL, without query and fragment
    10. `nonce` is one the server gave, where it asks for one
    11. `iat` is within the window
    12. `ath` is the hash of the access token, and the token is bound to this key

    Args:
        values: every `DPoP` field value of the request.
        method: the request's method.
        url: the request's URL as the client sees it.
        now_us: the time, microseconds.
        access_token: the token presented with it, at a protected resource.
        bound_jkt: the key's thumbprint the token is bound to (`cnf.jkt`).
        nonces: the nonces that are good now; None where the server asks for none.
        window: how old, and how far in the future, a proof may be.
    """
    if len(values) != 1:
        return Refusal(INVALID_PROOF, 1, f"expected one `DPoP` header, got {len(values)}")
    try:
        jws = parse_compact(values[0], TYP)  # steps 2, 4, 5
    except JoseError as error:
        return Refusal(INVALID_PROOF, 2, str(error))
    try:
        claims = msgspec.convert(jws.claims, _Claims)
    except msgspec.ValidationError as error:
        return Refusal(INVALID_PROOF, 3, str(error))
    try:
        key = parse_public_jwk(jws.header.get("jwk"))  # step 7, before anything is computed with it
    except JoseError as error:
        return Refusal(INVALID_PROOF, 7, str(error))
    refusal = _check_request(claims, method, url, nonces) or _check_age(claims.iat, now_us, window)
    if refusal:
        return refusal
    try:
        check_signature(jws, key)  # step 6, the dearest, once everything cheap holds
    except JoseError as error:
        return Refusal(INVALID_PROOF, 6, str(error))
    return _check_binding(claims, key, access_token, bound_jkt)


def token_hash(access_token: str) -> str:
    """The `ath` of a token: base64url of its SHA-256 (RFC 9449 section 4.2)."""
    return encode_base64url(hashlib.sha256(access_token.encode("ascii", "replace")).digest())


def replay_key(jkt: str, jti: str) -> bytes:
    """What names a proof in a replay cache: the key's thumbprint and the proof's id, in 16 bytes of SHA-256."""
    return hashlib.sha256(f"{jkt}\0{jti}".encode()).digest()[:REPLAY_KEY_BYTES]


def _check_request(claims: _Claims, method: str, url: str, nonces: Collection[str] | None) -> Refusal | None:
    if claims.htm != method:
        return Refusal(INVALID_PROOF, 8, f"expected `htm` to be `{method}`")
    normal = normal_url(url)
    if normal is None or normal_url(claims.htu) != normal:
        return Refusal(INVALID_PROOF, 9, f"expected `htu` to be `{normal}`")
    if nonces is not None and claims.nonce not in nonces:
        return Refusal(USE_NONCE, 10, "expected `nonce` to be the one in `DPoP-Nonce`")
    return None


def _check_age(iat_s: int, now_us: int, window: ProofWindow) -> Refusal | None:
    age_s = now_us // US_PER_S - iat_s
    if not -window.max_future_s <= age_s <= window.max_age_s:
        return Refusal(INVALID_PROOF, 11, f"expected `iat` within {window.max_age_s} s, got {age_s} s ago")
    return None


def _check_binding(claims: _Claims, key: PublicKey, access_token: str | None, bound_jkt: str | None) -> Proof | Refusal:
    if access_token is not None and not hmac.compare_digest(token_hash(access_token), claims.ath or ""):
        return Refusal(INVALID_PROOF, 12, "expected `ath` to be the hash of the access token")
    if bound_jkt is not None and not hmac.compare_digest(bound_jkt, key.thumbprint):
        return Refusal(INVALID_TOKEN, 12, "the access token is bound to another key")
    return Proof(key.thumbprint, claims.iat, replay_key(key.thumbprint, claims.jti))
