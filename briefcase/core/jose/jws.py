"""Compact JWS (RFC 7515) with public-key signatures only: EdDSA on Ed25519 (RFC 8037) and ES256 (RFC 7518).

Reading is strict, because two readers of one token must not differ: canonical base64url without padding, JSON
objects without duplicate members, a `typ` per kind of token, no `crit`, and never a key from anywhere but the
verifier's own hands. `none` and the HMAC algorithms do not exist here, so no token can choose them.

Key arithmetic and signatures are `joserfc`'s; this module decides what is handed to it. The library is
loaded with the first key: no start needs one, and it takes 30 ms with the X.509 that comes with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from briefcase.core.jose.base64url import JoseError, decode_base64url, encode_base64url
from briefcase.core.jose.did import decode_did_key, encode_did_key
from briefcase.core.json.strict import parse as parse_json
from briefcase.model.errors import CallerError
from briefcase.model.types import JsonObject, JsonValue

if TYPE_CHECKING:
    from joserfc.jwa import JWSAlgModel
    from joserfc.jwk import ECKey, OKPKey

MAX_TOKEN_CHARS: Final = 8_192
MAX_DEPTH: Final = 8
SIGNATURE_BYTES: Final = 64  # both algorithms
COMPACT_PARTS: Final = 3  # RFC 7515 section 3.1
COORDINATE_BYTES: Final = 32
EDDSA: Final = "EdDSA"
ES256: Final = "ES256"
ALGORITHMS: Final = (EDDSA, ES256)

_CURVES: Final = {EDDSA: ("OKP", "Ed25519", ("x",)), ES256: ("EC", "P-256", ("x", "y"))}
_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})  # RFC 7518 section 6
_KEY_SOURCES: Final = frozenset({"crit", "jku", "x5u", "x5c", "x5t", "x5t#S256"})  # each could name another key
_MAX_CACHED_KEYS: Final = 4_096


class PublicKey:
    """A verification key.

    Attributes:
        algorithm: `EdDSA` or `ES256`; a key verifies with exactly one.
        jwk: its required members only, in lexicographic order.
        thumbprint: base64url of the SHA-256 over them (RFC 7638): the `jkt` of a bound token.
    """

    __slots__ = ("_key", "_model", "algorithm", "jwk", "thumbprint")

    def __init__(self, algorithm: str, key: OKPKey | ECKey) -> None:
        kty, crv, coordinates = _CURVES[algorithm]
        members = key.as_dict(private=False)
        self.algorithm = algorithm
        self.jwk: dict[str, str] = {"crv": crv, "kty": kty} | {name: str(members[name]) for name in coordinates}
        self.thumbprint = encode_base64url(hashlib.sha256(msgspec.json.encode(self.jwk)).digest())
        self._key = key
        self._model = _model_of(algorithm)

    def is_signature(self, signing_input: bytes, signature: bytes) -> bool:
        """Whether a signature is this key's over exactly these bytes."""
        if len(signature) != SIGNATURE_BYTES:
            return False
        return bool(self._model.verify(signing_input, signature, self._key))


class KeyHandle(Protocol):
    """A key that signs, wherever its private part is; `sign` blocks for as long as that takes."""

    @property
    def public(self) -> PublicKey:
        """The key that verifies."""
        ...

    @property
    def algorithm(self) -> str:
        """`EdDSA` or `ES256`."""
        ...

    def sign(self, signing_input: bytes) -> bytes:
        """The 64-byte signature over these bytes.

        Raises:
            ConfigError, StoreError: the key's place does not have it any more, or does not answer.
        """
        ...


class PrivateKey:
    """A signing key in memory. Its private part leaves only through `export`, for the vault."""

    __slots__ = ("_key", "_model", "public")

    def __init__(self, algorithm: str, key: OKPKey | ECKey) -> None:
        self._key = key
        self._model = _model_of(algorithm)
        self.public = PublicKey(algorithm, key)

    @property
    def algorithm(self) -> str:
        """`EdDSA` or `ES256`."""
        return self.public.algorithm

    def sign(self, signing_input: bytes) -> bytes:
        """The 64-byte signature over these bytes."""
        return bytes(self._model.sign(signing_input, self._key))

    def export(self) -> bytes:
        """The key as a private JWK in JSON: a secret."""
        return msgspec.json.encode(self._key.as_dict(private=True))


class Jws(msgspec.Struct, frozen=True):
    """One compact JWS, taken apart and not yet verified."""

    header: JsonObject
    claims: JsonObject
    signing_input: bytes
    signature: bytes


class Signer:
    """Signs tokens of one kind with one key; the encoded header is made once.

    Args:
        key: the signing key.
        typ: the token's kind (RFC 8725 section 3.11).
        **header: further header members.
    """

    def __init__(self, key: KeyHandle, typ: str, **header: JsonValue) -> None:
        self.key = key
        self._prefix = encode_base64url(msgspec.json.encode({"typ": typ, "alg": key.algorithm} | header)) + "."

    def sign(self, claims: JsonObject) -> str:
        """The compact JWS over these claims."""
        signing_input = self._prefix + encode_base64url(msgspec.json.encode(claims))
        return f"{signing_input}.{encode_base64url(self.key.sign(signing_input.encode()))}"


def generate_key(algorithm: str = ES256) -> PrivateKey:
    """Make a new signing key for `EdDSA` or `ES256`."""
    from joserfc.jwk import ECKey, OKPKey

    return PrivateKey(algorithm, OKPKey.generate_key("Ed25519") if algorithm == EDDSA else ECKey.generate_key("P-256"))


def load_private_key(exported: bytes) -> PrivateKey:
    """Read what `PrivateKey.export` wrote.

    Raises:
        JoseError: it is no private key of a known kind.
    """
    try:
        members: dict[str, str | list[str]] = msgspec.json.decode(exported, type=dict[str, str])
        algorithm = _algorithm_of(members)
        key = _import_key(algorithm, members)
    except (ValueError, KeyError, TypeError, msgspec.DecodeError):
        raise JoseError("expected a private JWK of Ed25519 or P-256") from None
    if not key.is_private:
        raise JoseError("expected a private JWK, got a public one")
    return PrivateKey(algorithm, key)


def parse_public_jwk(value: JsonValue) -> PublicKey:
    """Read a public JWK that someone else wrote (RFC 7517, RFC 8037).

    Raises:
        JoseError: not an Ed25519 or P-256 key on its curve, or one that carries private members.
    """
    if not isinstance(value, dict):
        raise JoseError("expected `jwk` to be an object")
    if not _PRIVATE_MEMBERS.isdisjoint(value):
        raise JoseError("expected a public `jwk`, got one with a private member")
    algorithm = _algorithm_of(value)
    coordinates = []
    for name in _CURVES[algorithm][2]:
        text = value.get(name)
        if not isinstance(text, str) or len(decode_base64url(text)) != COORDINATE_BYTES:
            raise JoseError(f"expected `jwk` member `{name}` to be {COORDINATE_BYTES} bytes in base64url")
        coordinates.append(text)
    return _import_public(algorithm, *coordinates)


def parse_compact(token: str, typ: str, *, max_chars: int = MAX_TOKEN_CHARS) -> Jws:
    """Take a compact JWS apart, without verifying it.

    Args:
        token: the text.
        typ: the kind of token that is expected; compared as RFC 7515 section 4.1.9 says.
        max_chars: the longest text that is looked at.

    Raises:
        JoseError: it is no compact JWS of that kind with one of `ALGORITHMS`, or its header names where to find a key.
    """
    if len(token) > max_chars:
        raise JoseError(f"expected a token of at most {max_chars} characters, got {len(token)}")
    parts = token.split(".")
    if len(parts) != COMPACT_PARTS:
        raise JoseError(f"expected a compact JWS of three parts, got {len(parts)}")
    header, claims = (_parse_object(part) for part in parts[:2])
    found = header.get("typ")
    if not isinstance(found, str) or found.lower().removeprefix("application/") != typ.lower():
        raise JoseError(f"expected `typ` to be `{typ}`")
    if header.get("alg") not in ALGORITHMS:
        raise JoseError(f"expected `alg` to be one of {', '.join(ALGORITHMS)}")
    forbidden = _KEY_SOURCES.intersection(header)
    if forbidden:
        raise JoseError(f"expected no header member `{min(forbidden)}`")
    return Jws(header, claims, f"{parts[0]}.{parts[1]}".encode("ascii"), decode_base64url(parts[2]))


def check_signature(jws: Jws, key: PublicKey) -> None:
    """Verify a JWS with the verifier's own key.

    Raises:
        JoseError: the algorithm is not the key's, or the signature is not the key's over these bytes.
    """
    if jws.header["alg"] != key.algorithm:
        raise JoseError(f"expected `alg` to be the key's own, `{key.algorithm}`")
    if not key.is_signature(jws.signing_input, jws.signature):
        raise JoseError("the signature does not verify")


def did_of(key: PublicKey) -> str:
    """The `did:key` of an Ed25519 key.

    Raises:
        JoseError: the key is of another kind.
    """
    if key.algorithm != EDDSA:
        raise JoseError(f"expected a key for `{EDDSA}`, got one for `{key.algorithm}`")
    return encode_did_key(decode_base64url(key.jwk["x"]))


def key_of(did: str) -> PublicKey:
    """The key a `did:key` names.

    Raises:
        JoseError: it names no Ed25519 key.
    """
    raw = decode_did_key(did)
    if raw is None:
        raise JoseError("expected the `did:key` of an Ed25519 key")
    return parse_public_jwk({"kty": "OKP", "crv": "Ed25519", "x": encode_base64url(raw)})


def _parse_object(part: str) -> JsonObject:
    try:
        value = parse_json(decode_base64url(part), max_depth=MAX_DEPTH)
    except CallerError as error:
        raise JoseError(error.message) from None
    if not isinstance(value, dict):
        raise JoseError("expected a JSON object in each of the first two parts")
    return value


def _algorithm_of(members: Mapping[str, object]) -> str:
    for algorithm, (kty, crv, _) in _CURVES.items():
        if members.get("kty") == kty and members.get("crv") == crv:
            return algorithm
    raise JoseError("expected `jwk` to be a key of Ed25519 or P-256")


@lru_cache(maxsize=_MAX_CACHED_KEYS)
def _import_public(algorithm: str, *coordinates: str) -> PublicKey:
    kty, crv, names = _CURVES[algorithm]
    members: dict[str, str | list[str]] = {"kty": kty, "crv": crv, **dict(zip(names, coordinates, strict=True))}
    try:
        return PublicKey(
            algorithm, _import_key(algorithm, members)
        )  # reads the point: one that is not on the curve fails here
    except (ValueError, KeyError, TypeError):
        raise JoseError("expected `jwk` to be a point on its curve") from None


def _import_key(algorithm: str, members: dict[str, str | list[str]]) -> OKPKey | ECKey:
    from joserfc.jwk import ECKey, OKPKey

    return OKPKey.import_key(members) if algorithm == EDDSA else ECKey.import_key(members)


def _model_of(algorithm: str) -> JWSAlgModel:
    from joserfc.jws import JWSRegistry

    return JWSRegistry.algorithms[algorithm]
