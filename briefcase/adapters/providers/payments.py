"""Paying for a capability on the demonstration rails, within a budget and with receipts, like any spend.

 1. the amount is reserved in the budget category `payments` and an intent receipt is durable
 2. the rail is paid
 3. the reservation is settled and the outcome receipt is durable

A crash between 1 and 3 leaves an open intent, which the next start closes as spent. The category has no money until
an operator gives it some: `briefcase budgets set --daily-limit-usd 1 payments`. In `ga` nothing is ever paid.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from briefcase.adapters.oauth.wire import MAX_ANSWER_BYTES, TIMEOUT_MS, read_server_answer
from briefcase.adapters.providers.registry import Provider
from briefcase.core.budgets import MAX_COST_MICROUSD, day_of
from briefcase.core.json.strict import parse as parse_json
from briefcase.model.effects import CloseIntent, Entry, OpenIntent, Refused, ReserveBudget, SettleBudget
from briefcase.model.errors import CallerError, UpstreamError
from briefcase.model.ports import Clock, HttpRequest, HttpResponse, Ledger, Outbound
from briefcase.model.types import JsonObject

CATEGORY: Final = "payments"


class Challenge(msgspec.Struct, frozen=True):
    """What a 402 answer asks for."""

    rail: Literal["x402", "l402"]
    amount_microusd: int
    payment_id: str = ""
    invoice: str = ""
    macaroon: str = ""


class _Paid(msgspec.Struct, frozen=True):
    proof: str = ""
    preimage: str = ""


class PaymentClient:
    """Pays challenges.

    Args:
        outbound: the guarded way out.
        ledger: where spend is reserved, settled and receipted.
        clock: the time.
    """

    def __init__(self, outbound: Outbound, ledger: Ledger, clock: Clock) -> None:
        self._outbound = outbound
        self._ledger = ledger
        self._clock = clock

    async def pay(self, provider: Provider, response: HttpResponse) -> str:
        """Pay what a 402 answer asks for.

        Raises:
            UpstreamError: the budget does not allow it (`upstream_refused`), or the rail failed.
            StoreError: a receipt could not be made durable; nothing more is paid.

        Returns:
            The `Authorization` value that proves it.
        """
        challenge = _read_challenge(response)
        if not 0 < challenge.amount_microusd <= MAX_COST_MICROUSD:
            raise UpstreamError("the provider asks for an amount that is no price", code="upstream_refused")

        # 1. reserve
        day, amount = day_of(self._clock.now_us()), challenge.amount_microusd
        settle = SettleBudget(CATEGORY, day, amount, amount)
        event: JsonObject = {"provider_id": provider.id, "rail": challenge.rail, "amount_microusd": amount}
        intent = await self._ledger.commit(
            Entry({"kind": "payment_intent", **event}, (ReserveBudget(CATEGORY, day, amount), OpenIntent(settle)))
        )
        if isinstance(intent, Refused):
            raise UpstreamError(
                f"the provider asks for a payment, and the budget `{CATEGORY}` does not allow it",
                code="upstream_refused",
                hint=f"log in with `briefcase providers oauth-login`, or `briefcase budgets set {CATEGORY}`",
                sent=False,
            )

        # 2. pay
        try:
            proof, problem = await self._pay_rail(provider, challenge), None
        except UpstreamError as error:
            proof, problem = "", error

        # 3. settle; on doubt it is spent
        spent = 0 if problem is not None and not problem.sent else amount
        outcome: JsonObject = {"intent_id": intent.receipt_id, "spent_microusd": spent}
        await self._ledger.commit(
            Entry(
                {"kind": "payment_outcome", **event, **outcome, "status": "error" if problem else "ok"},
                (CloseIntent(intent.receipt_id), msgspec.structs.replace(settle, spent_microusd=spent)),
            )
        )
        if problem is not None:
            raise problem
        return proof

    async def _pay_rail(self, provider: Provider, challenge: Challenge) -> str:
        is_x402 = challenge.rail == "x402"
        path = "/pay" if is_x402 else "/l402/pay"
        asked = {"payment_id": challenge.payment_id} if is_x402 else {"invoice": challenge.invoice}
        response = await self._outbound.request(
            HttpRequest(
                "POST",
                provider.base_url + path,
                {"content-type": "application/json"},
                msgspec.json.encode(asked),
                timeout_ms=TIMEOUT_MS,
                max_body_bytes=MAX_ANSWER_BYTES,
                pool_key=provider.id,
            )
        )
        paid = read_server_answer(response, _Paid, "the payment")
        return f"X402 {paid.proof}" if is_x402 else f"L402 {challenge.macaroon}:{paid.preimage}"


def _read_challenge(response: HttpResponse) -> Challenge:
    """What is to be paid, read strictly: money is moved by it."""
    try:
        return msgspec.convert(parse_json(response.body), Challenge)
    except (CallerError, msgspec.ValidationError) as error:
        raise UpstreamError("the provider's challenge to pay is not as expected", detail=str(error)) from None
