"""Capability tokens (`aacp_v1`): a signed, short-lived right to a few calls of one scope, bound to a key.

Claims: `iss, iat, exp, jti, scope, max_calls, cost_microusd`, and `cnf.jkt` (RFC 9449 section 6.1) when bound.
What a token cannot know, that it was revoked and how many calls it has had, its issuer keeps.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from briefcase.core.jose.base64url import JoseError
from briefcase.core.jose.jws import PublicKey, Signer, check_signature, parse_compact
from briefcase.model.types import MAX_SAFE_INTEGER, US_PER_S, JsonObject

TYP: Final = "aacp-capability+jwt"
MAX_CLOCK_SKEW_S: Final = 5

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_SAFE_INTEGER)]


class Confirmation(msgspec.Struct, frozen=True):
    """`cnf`: the thumbprint of the key that the holder must prove to have."""

    jkt: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{43}$")]


class Capability(msgspec.Struct, frozen=True, omit_defaults=True):
    """The claims of a token; times in seconds, as JWT has them."""

    iss: _Text
    iat: _Count
    exp: _Count
    jti: _Text
    scope: _Text
    max_calls: Annotated[int, msgspec.Meta(ge=1, le=MAX_SAFE_INTEGER)]
    cost_microusd: _Count
    cnf: Confirmation | None = None

    @property
    def jkt(self) -> str | None:
        """The thumbprint this token is bound to, if it is."""
        return self.cnf.jkt if self.cnf else None


def issue_capability(signer: Signer, capability: Capability) -> str:
    """Sign a token; the signer was made with this module's `TYP`."""
    claims: JsonObject = msgspec.to_builtins(capability)
    return signer.sign(claims)


def verify_capability(token: str, key: PublicKey, issuer: str, now_us: int) -> Capability | str:
    """Check a token's signature, issuer and time.

    Args:
        token: the compact JWS as presented.
        key: the issuer's key.
        issuer: the only `iss` that is accepted.
        now_us: the time, microseconds.

    Returns:
        The claims, or what is wrong with the token, in words that hold nothing of it.
    """
    try:
        jws = parse_compact(token, TYP)
        check_signature(jws, key)
        capability = msgspec.convert(jws.claims, Capability)
    except (JoseError, msgspec.ValidationError) as error:
        return str(error)
    now_s = now_us // US_PER_S
    if capability.iss != issuer:
        return "the token is another issuer's"
    if capability.exp <= now_s:
        return f"the token expired {now_s - capability.exp} s ago"
    if capability.iat > now_s + MAX_CLOCK_SKEW_S:
        return "the token was issued in the future"
    return capability
