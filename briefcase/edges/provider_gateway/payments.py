"""Demonstration payment rails: the shapes of x402 and L402, with nothing behind them that moves money.

Nothing is stored before it is used: a payment's proof is a keyed hash of its id, and only its use is a fact.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

import msgspec

from briefcase.core.jose.base64url import JoseError, decode_base64url, encode_base64url
from briefcase.edges.provider_gateway.authority import fact_key
from briefcase.edges.provider_gateway.facts import Fact, Facts, Kind
from briefcase.edges.provider_gateway.keys import GatewayKeys
from briefcase.edges.provider_gateway.settings import GatewaySettings
from briefcase.model.ports import Clock, Entropy
from briefcase.model.types import US_PER_S, JsonObject

CHALLENGE_HEADER: Final = "www-authenticate"
X402: Final = "x402"
L402: Final = "l402"


class Payment(msgspec.Struct, frozen=True, array_like=True):
    """What an id or an invoice says: rail, a random part, when it ends, and our keyed hash over them."""

    rail: str
    nonce: str
    expires_s: int
    mac: str


class Payments:
    """The payment rails of one gateway."""

    def __init__(
        self, settings: GatewaySettings, keys: GatewayKeys, facts: Facts, clock: Clock, entropy: Entropy
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._facts = facts
        self._clock = clock
        self._entropy = entropy

    def challenge(self, rail: str) -> JsonObject:
        """What a 402 answer asks for."""
        payment = self._new_payment(L402 if rail == L402 else X402)
        amount: JsonObject = {"amount_microusd": self._settings.cost_microusd * self._settings.max_calls}
        text = _encode(payment)
        if payment.rail == L402:
            return {"rail": L402, "invoice": text, "macaroon": self._macaroon(payment)} | amount
        return {"rail": X402, "payment_id": text, "payment_url": f"{self._settings.base_url}/pay"} | amount

    def pay(self, payment_id: str) -> str | None:
        """The proof that an x402 payment was made; None for an id that is not ours or has expired."""
        payment = self._parse(payment_id, X402)
        return None if payment is None else f"{payment_id}.{self._keys.mac('x402 proof', payment_id)}"

    def pay_invoice(self, invoice: str) -> str | None:
        """The preimage that an L402 payment buys; None for an invoice that is not ours or has expired."""
        payment = self._parse(invoice, L402)
        return None if payment is None else self._preimage(payment)

    def find_paid(self, rail: str, credentials: str) -> Payment | None:
        """The payment that a proof (x402) or `macaroon:preimage` (L402) is for; None where it proves nothing."""
        if rail == X402:
            payment_id, _, mac = credentials.rpartition(".")
            payment = self._parse(payment_id, X402)
            return payment if payment and self._keys.is_mac(mac, "x402 proof", payment_id) else None
        macaroon, _, preimage = credentials.partition(":")
        payment = self._parse(macaroon.rpartition(".")[0], L402)
        if payment is None:
            return None
        is_ours = hmac.compare_digest(self._macaroon(payment).encode(), macaroon.encode())
        return payment if is_ours and hmac.compare_digest(self._preimage(payment).encode(), preimage.encode()) else None

    def spend(self, payment: Payment) -> bool:
        """Use a payment, once; on disk when this returns."""
        key = fact_key(f"payment {payment.nonce}")
        if self._facts.value(Kind.SPENT, key) is not None:
            return False
        self._facts.add(Fact(Kind.SPENT, key, 1, payment.expires_s), sync=True)
        return True

    def _new_payment(self, rail: str) -> Payment:
        expires_s = self._clock.now_us() // US_PER_S + self._settings.payment_ttl_s
        nonce = self._entropy.token()
        return Payment(rail, nonce, expires_s, self._keys.mac("payment", rail, nonce, str(expires_s)))

    def _parse(self, text: str, rail: str) -> Payment | None:
        try:
            payment = msgspec.json.decode(decode_base64url(text), type=Payment)
        except (JoseError, msgspec.DecodeError):
            return None
        is_ours = self._keys.is_mac(payment.mac, "payment", payment.rail, payment.nonce, str(payment.expires_s))
        is_current = payment.expires_s > self._clock.now_us() // US_PER_S
        return payment if is_ours and is_current and payment.rail == rail else None

    def _preimage(self, payment: Payment) -> str:
        return self._keys.mac("l402 preimage", payment.nonce)

    def _macaroon(self, payment: Payment) -> str:
        """The invoice and the hash of what pays it. A demonstration's macaroon: it has no caveats of its own."""
        return f"{_encode(payment)}.{hashlib.sha256(self._preimage(payment).encode()).hexdigest()}"


def header_of(challenge: JsonObject) -> str:
    """A challenge as `WWW-Authenticate` has it (RFC 9110 section 11.6.1), its rail as the scheme."""
    told = [f'{name}="{value}"' for name, value in challenge.items() if isinstance(value, str) and name != "rail"]
    return f"{str(challenge['rail']).upper()} {', '.join(told)}, amount_microusd={challenge['amount_microusd']}"


def _encode(payment: Payment) -> str:
    return encode_base64url(msgspec.json.encode(payment))
