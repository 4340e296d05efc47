"""Challenges: what a 402 answer asks for, read strictly, since money is moved by it.

| rail | where it stands | what is paid |
|---|---|---|
| `x402_v2` | `PAYMENT-REQUIRED`: base64 of JSON (`x402`) | one of its offers, an `exact` transfer by EIP-3009 |
| `x402` | the JSON body, or `WWW-Authenticate: X402 …` | `payment_id` at `payment_url`, `amount_microusd` |
| `l402` | the JSON body, or `WWW-Authenticate: L402 …` | the Lightning `invoice`, `amount_microusd` |

Version 2 is read where the caller can pay it. A body and a `WWW-Authenticate` that say two things refuse the challenge;
so does anything that is not as this table has it. What a person approves are its `terms`: they leave out what differs
from one challenge to the next (the id, the invoice), so that a yes to a price is a yes to the next challenge with that
price to that recipient, and to no other.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Final, Literal

import msgspec

from briefcase.core.budgets import MAX_COST_MICROUSD
from briefcase.core.jose.htu import normal_url
from briefcase.core.json.strict import parse as parse_json
from briefcase.core.payments.x402 import Asset, Offer, Required, choose_offer, read_required
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.model.errors import CallerError, UpstreamError
from briefcase.model.types import JsonObject, JsonValue, PaymentTerms

X402_V2: Final = "x402_v2"
X402: Final = "x402"
L402: Final = "l402"
REQUIRED_HEADER: Final = "payment-required"
CHALLENGE_HEADER: Final = "www-authenticate"
MAX_HEADER_CHARS: Final = 16 << 10
MAX_DEPTH: Final = 16

_Visible = Annotated[str, msgspec.Meta(max_length=8_192, pattern=r"^[!-~]*$")]
_SCHEME: Final = re.compile(r"(X402|L402|LSAT) +(.+)", re.IGNORECASE)  # LSAT is what L402 was called before
_PARAMETER: Final = re.compile(r'([a-z_]{1,32})=(?:"([!#-\[\]-~ ]*)"|([!#-+\--~]+))(?: *, *|$)')
_NUMBER: Final = re.compile(r"[0-9]{1,15}")


class Said(msgspec.Struct, frozen=True):
    """A challenge of the older rails, as its body or its header says it."""

    rail: Literal["x402", "l402"]
    amount_microusd: Annotated[int, msgspec.Meta(gt=0, le=MAX_COST_MICROUSD)]
    payment_id: _Visible = ""
    payment_url: _Visible = ""
    invoice: _Visible = ""
    macaroon: _Visible = ""


class Challenge(msgspec.Struct, frozen=True):
    """One challenge. `said` is of the older rails, `required` and `offer` of version 2, whose other offers are gone."""

    terms: PaymentTerms
    said: Said | None = None
    required: Required | None = None
    offer: Offer | None = None

    def claim(self, call_id: str) -> str:
        """What this challenge is known by once it is paid, in hex; version 2 has no id: one call pays it once."""
        if self.said is not None:
            named = [self.said.rail, self.said.payment_id, self.said.invoice]
        else:
            named = [X402_V2, call_id, hashlib.sha256(canonical_bytes(self.document)).hexdigest()]
        return hashlib.sha256(canonical_bytes([self.terms.provider_id, *named])).hexdigest()

    @property
    def document(self) -> JsonObject:
        """Version 2's document with the one offer that is to be paid: a helper sees no other."""
        return {} if self.required is None else self.required.document


def read_challenge(  # what is asked, of whom, and what can be paid
    response_headers: Mapping[str, str],
    body: bytes,
    *,
    provider_id: str,
    base_url: str,
    token_url: str,
    assets: Sequence[Asset] | None,
) -> Challenge:
    """Read what a 402 answer asks for.

    Args:
        response_headers: of the answer, names in lower case.
        body: of the answer.
        provider_id: who asks.
        base_url: where the provider is; the older rails are paid at this address and no other.
        token_url: what was asked for: version 2 names the resource that is paid for, which must be this one.
        assets: what version 2 may be paid in; None where it cannot be paid here.

    Raises:
        UpstreamError: it is not as the table of the module has it, names another resource, or asks for what is not
            paid here (`upstream_refused`); nothing was paid.
    """
    header = response_headers.get(REQUIRED_HEADER)
    if header is not None and assets is not None:
        return _read_v2(header, provider_id, token_url, assets)
    found = [said for said in (_of_body(body), _of_header(response_headers.get(CHALLENGE_HEADER, ""))) if said]
    if not found:
        raise refused("the provider's challenge to pay is not as expected")
    if len(found) > 1 and found[0] != found[1]:
        raise refused("the provider asks for two payments at once: its header and its body differ")
    said = found[0]
    pay_to = _address_of(said, base_url)
    if not (said.payment_id if said.rail == X402 else said.invoice and said.macaroon):
        raise refused("the provider's challenge to pay does not say what to pay")
    return Challenge(PaymentTerms(provider_id, said.rail, said.amount_microusd, pay_to, resource=token_url), said=said)


def refused(problem: str) -> UpstreamError:
    """The error of a challenge that is not paid."""
    return UpstreamError(problem, code="upstream_refused", detail=f"status {HTTPStatus.PAYMENT_REQUIRED.value}")


def _read_v2(header: str, provider_id: str, token_url: str, assets: Sequence[Asset]) -> Challenge:
    if len(header) > MAX_HEADER_CHARS:
        raise refused(f"expected `PAYMENT-REQUIRED` of at most {MAX_HEADER_CHARS} characters, got {len(header)}")
    required = read_required(header)
    if normal_url(required.resource_url) != normal_url(token_url) or normal_url(token_url) is None:
        raise refused("the provider's challenge is for another resource than the one that was asked for")
    offer, asset = choose_offer(required, assets)
    amount_microusd = asset.microusd_of(int(offer.amount))
    if not 0 < amount_microusd <= MAX_COST_MICROUSD:
        raise refused("the provider asks for an amount that is no price")
    terms = PaymentTerms(
        provider_id,
        X402_V2,
        amount_microusd,
        offer.pay_to.lower(),
        asset=offer.asset.lower(),
        network=offer.network,
        amount=offer.amount,
        resource=token_url,
    )
    return Challenge(terms, required=required.only(offer), offer=offer)


def _of_body(body: bytes) -> Said | None:
    """What a JSON body asks for; None where it is no challenge at all (a refusal in words, or nothing)."""
    try:
        value = parse_json(body, max_depth=MAX_DEPTH)
    except CallerError:
        return None
    return _said(value) if isinstance(value, dict) and "rail" in value else None


def _of_header(value: str) -> Said | None:
    """What `WWW-Authenticate` asks for (RFC 9110 section 11.6.1, one challenge); None where it is of no rail."""
    if len(value) > MAX_HEADER_CHARS:
        raise refused(f"expected `WWW-Authenticate` of at most {MAX_HEADER_CHARS} characters, got {len(value)}")
    match = _SCHEME.fullmatch(value)
    if match is None:
        return None
    found: dict[str, JsonValue] = {"rail": X402 if match[1].upper() == "X402" else L402}
    at = 0
    while at < len(match[2]):
        parameter = _PARAMETER.match(match[2], at)
        if parameter is None or parameter[1] in found:
            raise refused("the provider's challenge in `WWW-Authenticate` cannot be read in one way")
        text = parameter[2] if parameter[2] is not None else parameter[3]
        found[parameter[1]] = int(text) if parameter[1] == "amount_microusd" and _NUMBER.fullmatch(text) else text
        at = parameter.end()
    return _said(found)


def _said(value: JsonValue) -> Said:
    try:
        return msgspec.convert(value, Said)
    except msgspec.ValidationError as error:
        raise UpstreamError(
            "the provider's challenge to pay is not as expected", code="upstream_refused", detail=str(error)
        ) from None


def _address_of(said: Said, base_url: str) -> str:
    """Whom an older rail pays: an address of the provider's own, whatever its challenge names."""
    if said.rail == L402:
        return f"the Lightning invoice of {base_url}"
    url = said.payment_url or "/pay"
    whole = url if not url.startswith("/") else f"{base_url}{url}"
    normal, home = normal_url(whole), normal_url(base_url + "/")
    if normal is None or home is None or "?" in whole or url.startswith("//") or not normal.startswith(home):
        raise refused("the provider asks to be paid at an address that is not its own")
    return normal
