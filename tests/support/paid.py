"""A provider that is paid by x402 version 2, hostile where a test says so; and a wallet that signs what it is asked."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from briefcase.model.errors import UpstreamError
from briefcase.model.ports import Clock, HttpRequest, HttpResponse
from briefcase.model.types import US_PER_S, JsonObject, format_rfc3339

PAY_TO: Final = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C"
OFFER: Final[dict[str, Any]] = {
    "scheme": "exact",
    "network": "eip155:84532",
    "amount": "2000",
    "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
    "payTo": PAY_TO,
    "maxTimeoutSeconds": 60,
    "extra": {"assetTransferMethod": "eip3009", "name": "USD Coin", "version": "2"},
}
TRANSACTION: Final = "0x126e884a817724edb61a9b087b0531ae3a6891ee615e32cc5e7a53e0015fa961"


def encoded(document: object) -> str:
    return base64.b64encode(json.dumps(document).encode()).decode()


class PaidProvider:
    """Answers `/token` and `/api/quote` of one provider; `AsgiOutbound.answer` is where it goes.

    `offer` is what it asks for now. `takes` says whether a payment that came buys a capability.
    """

    def __init__(self, base_url: str, clock: Clock, *, max_calls: int = 5) -> None:
        self.token_url = f"{base_url}/token"
        self.clock = clock
        self.max_calls = max_calls
        self.offer: dict[str, Any] = copy.deepcopy(OFFER)
        self.resource = self.token_url
        self.takes: Callable[[HttpRequest], HttpResponse | None] = lambda _: None
        self.revokes = False
        self.payments: list[dict[str, Any]] = []

    def __call__(self, request: HttpRequest) -> HttpResponse | None:
        if request.url == self.token_url:
            return self._token(request)
        if "/api/quote" in request.url:
            if self.revokes:
                return HttpResponse(401, {"x-briefcase-error": "invalid_token"}, b"")
            return _answer({"symbol": "ACME", "price": 1, "ts": "now"})
        return None

    def _token(self, request: HttpRequest) -> HttpResponse:
        signed = request.headers.get("payment-signature")
        if signed is None:
            return self.asks()
        paid = json.loads(base64.b64decode(signed))
        nonces = [payment["payload"]["authorization"]["nonce"] for payment in self.payments]
        is_replay = paid["payload"]["authorization"]["nonce"] in nonces
        self.payments.append(paid)
        refusal = self.takes(request)
        if refusal is not None:
            return refusal
        if is_replay:
            return HttpResponse(402, {"x-briefcase-error": "replay_detected"}, b'{"error":"replay_detected"}')
        until_us = self.clock.now_us() + 600 * US_PER_S
        settled = {"success": True, "payer": "0x" + "2" * 40, "transaction": TRANSACTION, "network": "eip155:84532"}
        body = {
            "token": f"Zk3xQ9vB7mT2wL8pR4sN6yH1cJ5d{len(self.payments)}",
            "expires_at_rfc3339": format_rfc3339(until_us),
            "max_calls": self.max_calls,
            "compatibility_profile": "aacp_v1",
        }
        return _answer(body, {"payment-response": encoded(settled)})

    def asks(self) -> HttpResponse:
        """The 402 that it answers now."""
        document = {"x402Version": 2, "resource": {"url": self.resource}, "accepts": [self.offer], "extensions": {}}
        return HttpResponse(402, {"payment-required": encoded(document)}, b"{}")


class Wallet:
    """A helper in memory. `answer` replaces what it answers; `spoil` changes what it signs; `fails` is raised."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.asked: list[JsonObject] = []
        self.answer: JsonObject | None = None
        self.spoil: Callable[[dict[str, Any]], object] = lambda _: None
        self.fails: UpstreamError | None = None

    async def ask(self, request: JsonObject) -> JsonObject:
        self.asked.append(request)
        if self.fails is not None:
            raise self.fails
        if self.answer is not None:
            return self.answer
        if request["rail"] != "x402_v2":
            return {"rail": request["rail"], "proof": f"proof-{len(self.asked)}", "preimage": f"pre-{len(self.asked)}"}
        required = request["payment_required"]
        assert isinstance(required, dict)
        signed = sign(required, self.clock.now_us() // US_PER_S, len(self.asked))
        self.spoil(signed)
        return {"rail": "x402_v2", "payment_signature_b64": encoded(signed)}


def sign(required: Mapping[str, Any], now_s: int, number: int) -> dict[str, Any]:
    """What a wallet makes of a challenge; its signature is no signature."""
    (offer,) = required["accepts"]
    authorization = {
        "from": "0x" + "2" * 40,
        "to": offer["payTo"],
        "value": offer["amount"],
        "validAfter": str(now_s - 5),
        "validBefore": str(now_s + offer["maxTimeoutSeconds"]),
        "nonce": f"0x{number:064x}",
    }
    return {
        "x402Version": 2,
        "resource": required["resource"],
        "accepted": offer,
        "payload": {"signature": "0x" + "a" * 130, "authorization": authorization},
        "extensions": {},
    }


def _answer(body: object, headers: Mapping[str, str] | None = None) -> HttpResponse:
    return HttpResponse(200, dict(headers or {}), json.dumps(body).encode())
