"""The authority over capabilities: issues them, and checks each protected call.

`check_call`, step by step; what fails is answered with the words of `Refused` and nothing has happened:

 1. exactly one `Authorization`, `DPoP` or `Bearer`                          401 invalid_token
 2. the token is ours, unexpired, and its use can be counted                 401 invalid_token
 3. bound: a proof by the twelve steps of RFC 9449; unbound: `Bearer` only   401 invalid_dpop_proof, use_dpop_nonce
 4. the scope                                                                403 insufficient_scope
 5. not revoked                                                              403 capability_revoked
 6. the proof was not used before                                            409 replay_detected
 7. a call is left; it is counted                                            429 max_calls_exceeded

Steps 6 and 7 are kept (`facts`) before the call goes on. Nothing in between awaits, so calls cannot overtake.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

import msgspec

from briefcase.core.jose import tokens
from briefcase.core.jose.dpop import INVALID_PROOF, INVALID_TOKEN, USE_NONCE, Proof, Refusal, check_proof
from briefcase.core.jose.jws import ALGORITHMS, Signer
from briefcase.core.jose.replay import Claim
from briefcase.core.jose.tokens import Capability, Confirmation, issue_capability, verify_capability
from briefcase.edges.provider_gateway.facts import KEY_BYTES, Fact, Facts, Kind
from briefcase.edges.provider_gateway.keys import GatewayKeys
from briefcase.edges.provider_gateway.settings import SCOPE, GatewaySettings
from briefcase.model.ports import Clock, Entropy
from briefcase.model.reasons import CAPABILITY_REVOKED, REPLAY_DETECTED
from briefcase.model.types import US_PER_S

NONCE_PERIOD_S: Final = 60
MAX_VERIFIED: Final = 10_000
DPOP_SCHEME: Final = "dpop"
BEARER_SCHEME: Final = "bearer"


class Refused(msgspec.Struct, frozen=True):
    """Why a request is not served: HTTP status, stable word, explanation, and further header fields."""

    status: int
    error: str
    description: str
    headers: tuple[tuple[str, str], ...] = ()


class Asked(msgspec.Struct, frozen=True):
    """What is checked of a request: method, URL as the client sees it, every `Authorization` and `DPoP` field value."""

    method: str
    url: str
    authorization: tuple[str, ...] = ()
    proofs: tuple[str, ...] = ()


class Authority:
    """Capabilities of one gateway."""

    def __init__(
        self, settings: GatewaySettings, keys: GatewayKeys, facts: Facts, clock: Clock, entropy: Entropy
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._facts = facts
        self._clock = clock
        self._entropy = entropy
        self._signer = Signer(keys.signing, tokens.TYP)
        self._verified: dict[str, Capability] = {}

    def issue(self, jkt: str | None) -> tuple[str, Capability]:
        """A new token, bound to a key where one was proven."""
        now_s = self._clock.now_us() // US_PER_S
        capability = Capability(
            iss=self._settings.base_url,
            iat=now_s,
            exp=now_s + self._settings.capability_ttl_s,
            jti=self._entropy.uuid(),
            scope=SCOPE,
            max_calls=self._settings.max_calls,
            cost_microusd=self._settings.cost_microusd,
            cnf=None if jkt is None else Confirmation(jkt),
        )
        return issue_capability(self._signer, capability), capability

    def check_call(self, asked: Asked, scope: str) -> Capability | Refused:
        """Check one protected call and count it, as the module's steps say; `scope` is what the resource needs."""
        # 1. the credentials
        scheme, token = split_credentials(asked.authorization)
        if scheme not in {DPOP_SCHEME, BEARER_SCHEME}:
            return refuse_token("expected one `Authorization` with a capability token")

        # 2. the token
        capability = self._verify(token)
        if isinstance(capability, str):
            return refuse_token(capability)

        # 3. the binding
        proof = self._check_binding(capability, scheme, token, asked)
        if isinstance(proof, Refused):
            return proof

        # 4. and 5. what it is for, and whether it still is
        if capability.scope != scope:
            return Refused(HTTPStatus.FORBIDDEN, "insufficient_scope", f"expected the scope `{scope}`")
        if self._facts.value(Kind.REVOKED, fact_key(capability.jti)) is not None:
            return Refused(HTTPStatus.FORBIDDEN, CAPABILITY_REVOKED, "this capability was revoked")

        # 6. and 7. once, and not too often
        return self._claim(proof) or self._count(capability) or capability

    def check_new_proof(self, asked: Asked) -> str | Refused | None:
        """The thumbprint a new token is to be bound to; None where no proof was sent."""
        if not asked.proofs:
            return None
        proof = self._check_proof(asked)
        if isinstance(proof, Refused):
            return proof
        return self._claim(proof) or proof.jkt

    def revoke(self, jti: str) -> None:
        """End a capability; on disk when this returns. It is remembered as long as any token can live."""
        expires_s = self._clock.now_us() // US_PER_S + self._settings.capability_ttl_s + tokens.MAX_CLOCK_SKEW_S
        self._facts.add(Fact(Kind.REVOKED, fact_key(jti), 1, expires_s), sync=True)

    def jti_of(self, token: str) -> str | None:
        """The id of one of our unexpired tokens."""
        capability = self._verify(token)
        return None if isinstance(capability, str) else capability.jti

    def nonce(self, periods_ago: int = 0) -> str:
        """The nonce of this period (RFC 9449 section 8); computed, so that a restart forgets none."""
        period = self._clock.now_us() // US_PER_S // NONCE_PERIOD_S - periods_ago
        return self._keys.mac("nonce", str(period))

    def _verify(self, token: str) -> Capability | str:
        """A token comes with each of its calls, so its signature is checked once and remembered; its time is not."""
        now_us = self._clock.now_us()
        known = self._verified.get(token)
        if known is not None and known.exp > now_us // US_PER_S:
            return known
        capability = verify_capability(token, self._keys.signing.public, self._settings.base_url, now_us)
        if isinstance(capability, str):
            return capability
        if capability.iat < self._facts.lost_before_s:
            return "the token was issued before the host restarted: ask for a new one"
        if len(self._verified) >= MAX_VERIFIED:
            del self._verified[next(iter(self._verified))]
        self._verified[token] = capability
        return capability

    def _check_binding(self, capability: Capability, scheme: str, token: str, asked: Asked) -> Proof | Refused | None:
        if capability.jkt is None:
            return None if scheme == BEARER_SCHEME else refuse_token("the token is not bound: use the scheme `Bearer`")
        if scheme != DPOP_SCHEME:
            return refuse_token("the token is bound to a key: use the scheme `DPoP` and send a proof")
        return self._check_proof(asked, token=token, bound_jkt=capability.jkt)

    def _check_proof(self, asked: Asked, *, token: str | None = None, bound_jkt: str | None = None) -> Proof | Refused:
        answer = check_proof(
            asked.proofs,
            asked.method,
            asked.url,
            self._clock.now_us(),
            access_token=token,
            bound_jkt=bound_jkt,
            nonces={self.nonce(), self.nonce(1)} if self._settings.requires_nonce else None,
            window=self._settings.window,
        )
        return self._refuse_proof(answer) if isinstance(answer, Refusal) else answer

    def _refuse_proof(self, refusal: Refusal) -> Refused:
        nonce = (("dpop-nonce", self.nonce()),) if refusal.error == USE_NONCE else ()
        return Refused(HTTPStatus.UNAUTHORIZED, refusal.error, refusal.problem, (challenge(refusal.error), *nonce))

    def _claim(self, proof: Proof | None) -> Refused | None:
        if proof is None:
            return None
        claim = self._facts.proofs.claim(proof.replay_key, proof.iat_s, self._clock.now_us() // US_PER_S)
        if claim is Claim.FRESH:
            self._facts.add_proof(proof.replay_key, proof.iat_s)
            return None
        if claim is Claim.REPLAYED:
            return Refused(HTTPStatus.CONFLICT, REPLAY_DETECTED, "this proof was used before")
        if claim is Claim.TOO_OLD:
            return Refused(
                HTTPStatus.UNAUTHORIZED,
                INVALID_PROOF,
                "the proof is too old to be told from a replay",
                (challenge(INVALID_PROOF),),
            )
        return Refused(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "temporarily_unavailable",
            "too many proofs at once",
            (("retry-after", "1"),),
        )

    def _count(self, capability: Capability) -> Refused | None:
        key = fact_key(capability.jti)
        used = (self._facts.value(Kind.CALLS, key) or 0) + 1
        if used > capability.max_calls:
            return Refused(
                HTTPStatus.TOO_MANY_REQUESTS,
                "max_calls_exceeded",
                f"the capability was good for {capability.max_calls} calls",
            )
        self._facts.add(Fact(Kind.CALLS, key, used, capability.exp), sync=False)
        return None


def split_credentials(authorization: Sequence[str]) -> tuple[str, str]:
    """Scheme (in lower case) and credentials of the one `Authorization` field; both empty where it is not one."""
    if len(authorization) != 1:
        return "", ""
    scheme, _, credentials = authorization[0].partition(" ")
    return scheme.lower(), credentials.strip(" ")


def refuse_token(description: str) -> Refused:
    """A 401 that says what was wrong with the token (RFC 6750 section 3.1, RFC 9449 section 7.1)."""
    return Refused(HTTPStatus.UNAUTHORIZED, INVALID_TOKEN, description, (challenge(INVALID_TOKEN),))


def challenge(error: str) -> tuple[str, str]:
    """The `WWW-Authenticate` field of a refusal."""
    return "www-authenticate", f'DPoP error="{error}", algs="{" ".join(ALGORITHMS)}"'


def fact_key(name: str) -> bytes:
    """What names a token, a family or a payment among the facts."""
    return hashlib.sha256(name.encode()).digest()[:KEY_BYTES]
