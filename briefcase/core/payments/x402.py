"""x402 version 2: the offers of a `PAYMENT-REQUIRED`, what a signed payment must say, and what came of it.

Only one kind of offer is taken: scheme `exact`, on an EVM network, by EIP-3009 (`transferWithAuthorization`), in an
asset that the operator's table has. An authorization names its payer, recipient, value, times and a nonce, and is good
once; whoever holds it can have it settled until `validBefore`. So everything that it says is held against the offer
before it leaves (`check_payload`); its signature is the wallet's and the chain's matter.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from briefcase.core.json.strict import parse as parse_json
from briefcase.model.errors import CallerError, UpstreamError
from briefcase.model.types import MICROUSD_PER_USD, US_PER_S, JsonObject, JsonValue

SIGNATURE_HEADER: Final = "payment-signature"
RESPONSE_HEADER: Final = "payment-response"
MAX_PAYLOAD_CHARS: Final = 16 << 10
MAX_DEPTH: Final = 16
MAX_OFFERS: Final = 16
SLACK_S: Final = 30  # between a wallet's clock and ours
ASSET: Final = r"^eip155:[0-9]{1,18}/erc20:0x[0-9a-fA-F]{40}(?: (?:[0-9]|1[0-8]))?$"

_Address = Annotated[str, msgspec.Meta(pattern="^0x[0-9a-fA-F]{40}$")]
_Units = Annotated[str, msgspec.Meta(pattern="^[1-9][0-9]{0,29}$")]
_Seconds = Annotated[str, msgspec.Meta(pattern="^(?:0|[1-9][0-9]{0,11})$")]
_T = TypeVar("_T")


class Asset(msgspec.Struct, frozen=True):
    """A token that is worth a dollar: `decimals` says how many of its smallest units are one."""

    network: str
    address: str
    decimals: int = 6

    def microusd_of(self, units: int) -> int:
        """What so many of its smallest units are worth, in micro-USD, rounded up."""
        one: int = 10**self.decimals
        return -(-units * MICROUSD_PER_USD // one)


def parse_asset(text: str) -> Asset:
    """An asset from its text (`ASSET`): CAIP-19, then its decimals where they are not six."""
    name, _, decimals = text.partition(" ")
    network, _, token = name.partition("/")
    return Asset(network, token.removeprefix("erc20:"), int(decimals or 6))


USDC: Final = (  # circle.com: USDC contract addresses
    Asset("eip155:8453", "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"),  # Base
    Asset("eip155:84532", "0x036CbD53842c5426634e7929541eC2318f3dCF7e"),  # Base Sepolia, a test network
)


class Offer(msgspec.Struct, frozen=True, rename="camel"):
    """One way to pay; `amount` counts smallest units. `document` is the offer as the provider wrote it."""

    scheme: str
    network: str
    amount: _Units
    asset: str
    pay_to: _Address
    max_timeout_seconds: Annotated[int, msgspec.Meta(ge=1, le=3_600)]
    extra: dict[str, Any] = {}

    @property
    def is_exact(self) -> bool:
        """Whether it is a transfer of just this amount by EIP-3009."""
        return self.scheme == "exact" and self.extra.get("assetTransferMethod", "eip3009") == "eip3009"


class _Resource(msgspec.Struct, frozen=True):
    url: Annotated[str, msgspec.Meta(min_length=1, max_length=2_048)]


class _Required(msgspec.Struct, frozen=True):
    version: Literal[2] = msgspec.field(name="x402Version")
    resource: _Resource
    accepts: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1, max_length=MAX_OFFERS)]


class Required(msgspec.Struct, frozen=True):
    """A `PAYMENT-REQUIRED`: the document as it came, and its offers, each beside the object that says it."""

    document: JsonObject
    resource_url: str
    offers: tuple[tuple[Offer, JsonObject], ...]

    def only(self, offer: Offer) -> Required:
        """The same document with one offer."""
        kept = tuple(pair for pair in self.offers if pair[0] is offer)
        return Required({**self.document, "accepts": [said for _, said in kept]}, self.resource_url, kept)


class Authorization(msgspec.Struct, frozen=True, rename="camel"):
    """An EIP-3009 authorization; `from` is a word of Python."""

    payer: _Address = msgspec.field(name="from")
    to: _Address
    value: _Units
    valid_after: _Seconds
    valid_before: _Seconds
    nonce: Annotated[str, msgspec.Meta(pattern="^0x[0-9a-fA-F]{64}$")]


class _Signed(msgspec.Struct, frozen=True):
    signature: Annotated[str, msgspec.Meta(pattern="^0x(?:[0-9a-fA-F]{2}){64,2048}$")]
    authorization: Authorization


class _Payload(msgspec.Struct, frozen=True):
    version: Literal[2] = msgspec.field(name="x402Version")
    accepted: dict[str, Any]
    payload: _Signed
    resource: dict[str, Any] | None = None


class Settlement(msgspec.Struct, frozen=True):
    """What a provider says came of a payment."""

    success: bool
    transaction: Annotated[str, msgspec.Meta(max_length=256, pattern=r"^[!-~]*$")] = ""
    network: Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[!-~]*$")] = ""
    payer: Annotated[str, msgspec.Meta(max_length=256, pattern=r"^[!-~]*$")] = ""


def read_required(header: str) -> Required:
    """Read a `PAYMENT-REQUIRED`.

    Raises:
        UpstreamError: it is no such document (`upstream_refused`); nothing was paid.
    """
    document = _object_of(header, "PAYMENT-REQUIRED")
    read = _converted(document, _Required, "PAYMENT-REQUIRED")
    offers = tuple((_converted(said, Offer, "PAYMENT-REQUIRED"), said) for said in read.accepts if _is_of_evm(said))
    return Required(document, read.resource.url, offers)


def choose_offer(required: Required, assets: Sequence[Asset]) -> tuple[Offer, Asset]:
    """The first offer that can be paid, and what it is paid in.

    Raises:
        UpstreamError: none can (`upstream_refused`).
    """
    known = {(asset.network, asset.address.lower()): asset for asset in assets}
    for offer, _ in required.offers:
        asset = known.get((offer.network, offer.asset.lower()))
        if asset is not None and offer.is_exact:
            return offer, asset
    raise UpstreamError(
        "the provider asks to be paid in a way that is not paid here",
        code="upstream_refused",
        hint="`exact` by EIP-3009 is, in the assets of `[payments]` in `briefcase.toml`",
    )


def check_payload(payload_b64: str, required: Required, now_us: int) -> None:
    """Check that a signed payment is for the one offer of a challenge, and for nothing more.

    Args:
        payload_b64: what would become `PAYMENT-SIGNATURE`.
        required: the challenge, with the offer that was approved.
        now_us: the time, microseconds.

    Raises:
        UpstreamError: it says anything else, or cannot be read (`upstream_refused`); it must not leave.
    """
    (offer, said), document = required.offers[0], _object_of(payload_b64, "the helper's payment")
    paid = _converted(document, _Payload, "the helper's payment")
    authorized, now_s = paid.payload.authorization, now_us // US_PER_S
    checks = {
        "another offer": paid.accepted == said,
        "another resource": paid.resource in (None, required.document["resource"]),
        "another recipient": authorized.to.lower() == offer.pay_to.lower(),
        "another amount": authorized.value == offer.amount,
        "another time": int(authorized.valid_after) <= now_s + SLACK_S
        and now_s < int(authorized.valid_before) <= now_s + offer.max_timeout_seconds + SLACK_S,
    }
    wrong = [what for what, holds in checks.items() if not holds]
    if wrong:
        raise UpstreamError(
            f"the helper signed a payment for {wrong[0]} than was asked for; it was not sent", code="upstream_refused"
        )


def read_settlement(header: str | None) -> Settlement | None:
    """What `PAYMENT-RESPONSE` says; None where it says nothing that can be read."""
    if header is None:
        return None
    try:
        return _converted(_object_of(header, "PAYMENT-RESPONSE"), Settlement, "PAYMENT-RESPONSE")
    except UpstreamError:
        return None


def _is_of_evm(said: JsonObject) -> bool:
    """Whether an offer is on an EVM network: others have addresses of other kinds, and are passed over."""
    network, asset = said.get("network"), said.get("asset")
    return isinstance(network, str) and network.startswith("eip155:") and isinstance(asset, str)


def _object_of(text: str, what: str) -> JsonObject:
    """The JSON object in a text of base64, read strictly. Raises `UpstreamError`."""
    problem = f"{what} is not as expected"
    if len(text) > MAX_PAYLOAD_CHARS:
        raise UpstreamError(problem, code="upstream_refused", detail=f"{len(text)} characters")
    try:
        value = parse_json(base64.b64decode(text, validate=True), max_depth=MAX_DEPTH)
    except (binascii.Error, ValueError):
        raise UpstreamError(problem, code="upstream_refused", detail="no base64") from None
    except CallerError as error:
        raise UpstreamError(problem, code="upstream_refused", detail=error.message) from None
    if not isinstance(value, dict):
        raise UpstreamError(problem, code="upstream_refused", detail="no JSON object")
    return value


def _converted(value: JsonValue, kind: type[_T], what: str) -> _T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise UpstreamError(f"{what} is not as expected", code="upstream_refused", detail=str(error)) from None
