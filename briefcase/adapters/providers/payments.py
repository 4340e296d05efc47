"""Paying what a provider asks for a capability: within a budget or a person's yes, with receipts, like any spend.

 1. the terms may be paid: a person approved just these for this call, or the budget `payments` allows them and nothing
    is in doubt; one call pays once, and nothing is paid that no call waits for
 2. the amount is reserved and an intent receipt with the terms is durable; it claims the challenge as a call claims its
    request id, and for as long (`adapters/ledger/intents`)
 3. the rail is paid: by the operator's helper, or on the demonstration rails by asking the provider
 4. the provider is asked again, with the proof
 5. the reservation is settled and the outcome receipt is durable

| what happened | spent | in doubt |
|---|---|---|
| the helper was not started, or signed no version 2 payment that may leave; nothing was sent | 0 | no |
| a rail that moves the money itself (`x402`, `l402`) failed half-way | all of it | yes |
| the proof was sent, and no capability came of it | all of it | yes |
| a capability | all of it | no |

While a payment is in doubt the next one to that provider needs a person, whatever the budget holds: a mark in the
ledger, set by the intent and taken away by a good outcome, says so. A crash between 2 and 5 leaves both the mark and an
open intent, which the next start closes as spent (`outcome_unknown`): nothing is paid twice by itself.

The category has no money until an operator gives it some: `briefcase budgets set --daily-limit-usd 1 payments`. In `ga`
nothing is paid without a helper.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Final, Protocol, TypeAlias
from urllib.parse import urlsplit

import msgspec

from briefcase.adapters.oauth.wire import GOOD, MAX_ANSWER_BYTES, TIMEOUT_MS, error_word, read_server_answer
from briefcase.adapters.providers.registry import Provider
from briefcase.core import budgets
from briefcase.core.payments.challenges import L402, X402, X402_V2, Challenge, Said, read_challenge, refused
from briefcase.core.payments.x402 import (
    RESPONSE_HEADER,
    SIGNATURE_HEADER,
    USDC,
    Asset,
    Settlement,
    check_payload,
    read_settlement,
)
from briefcase.model.effects import (
    ClaimRequest,
    CloseIntent,
    Committed,
    Entry,
    OpenIntent,
    PutSetting,
    Refused,
    ReserveBudget,
    SettleBudget,
)
from briefcase.model.errors import UpstreamError
from briefcase.model.ports import Clock, HttpRequest, HttpResponse, Ledger, Outbound
from briefcase.model.reasons import BUDGET_EXCEEDED, OUTCOME_UNKNOWN
from briefcase.model.types import JsonObject, PaymentTerms

CATEGORY: Final = "payments"
RAIL_HEADER: Final = "x-accept-payment-rail"
MARK: Final = "payment:"  # of a setting of the ledger, before the provider's id
_PROOF: Final = re.compile(r"[!-~]{1,16384}")

Retry: TypeAlias = Callable[[Mapping[str, str]], Awaitable[HttpResponse]]


class Helper(Protocol):
    """The operator's program that holds the wallet (`payment_helper.PaymentHelper`)."""

    async def ask(self, request: JsonObject) -> JsonObject:
        """Have one payment made. Raises `UpstreamError`; `sent` says whether it may have been."""
        ...


class PaymentOrder(msgspec.Struct):
    """What one call may have paid for it: what a person approved, if anybody was asked; `is_used` from the first on."""

    call_id: str
    intent_id: int
    approved: PaymentTerms | None = None
    is_used: bool = False


class PaymentSettings(msgspec.Struct, frozen=True):
    """How payments are made: what version 2 may be paid in, and whether L402 is asked for."""

    assets: Sequence[Asset] = USDC
    prefers_l402: bool = False


class _Paid(msgspec.Struct, frozen=True):
    proof: str = ""
    preimage: str = ""
    payment_signature_b64: str = ""


class _Sent(msgspec.Struct, frozen=True):
    """What came of steps 3 and 4: an answer, or what went wrong, and whether anything may have been paid."""

    response: HttpResponse | None
    problem: UpstreamError | None
    may_be_paid: bool
    settlement: Settlement | None = None

    @property
    def is_good(self) -> bool:
        """Whether what was paid for came."""
        return self.response is not None and self.response.status in GOOD


class PaymentClient:
    """Pays challenges.

    Args:
        outbound: the guarded way out.
        ledger: where spend is reserved, settled and receipted.
        clock: the time.
        helper: holds the wallet; None pays on the demonstration rails.
        settings: how.
    """

    def __init__(
        self, outbound: Outbound, ledger: Ledger, clock: Clock, helper: Helper | None, settings: PaymentSettings
    ) -> None:
        self._outbound = outbound
        self._ledger = ledger
        self._clock = clock
        self._helper = helper
        self._settings = settings

    @property
    def asking_headers(self) -> Mapping[str, str]:
        """What a request says of the rail that is wanted."""
        return {RAIL_HEADER: L402} if self._settings.prefers_l402 else {}

    def read(self, provider: Provider, response: HttpResponse, token_url: str) -> Challenge:
        """What a 402 answer asks for. Raises as `read_challenge`."""
        assets = None if self._helper is None or self._settings.prefers_l402 else self._settings.assets
        return read_challenge(
            response.headers,
            response.body,
            provider_id=provider.id,
            base_url=provider.base_url,
            token_url=token_url,
            assets=assets,
        )

    def is_in_doubt(self, provider_id: str) -> bool:
        """Whether nobody knows what became of the last payment to a provider."""
        return bool(self._ledger.setting(MARK + provider_id))

    def needs_person(self, terms: PaymentTerms) -> bool:
        """Whether these terms are paid only if a person approves them."""
        line = self._ledger.budget(CATEGORY, budgets.day_of(self._clock.now_us()))
        return self.is_in_doubt(terms.provider_id) or budgets.is_over(line, terms.amount_microusd)

    async def pay(self, provider: Provider, challenge: Challenge, order: PaymentOrder, retry: Retry) -> HttpResponse:
        """Pay a challenge, and ask again for what it is paid for.

        Args:
            provider: who asks.
            challenge: what for.
            order: the call that waits for it.
            retry: asks again, with these header fields.

        Raises:
            UpstreamError: it may not be paid, or was paid before (`upstream_refused`), or the payment failed.
            StoreError: a receipt could not be made durable; nothing more is paid.

        Returns:
            The provider's answer, which may be a refusal; 402 never comes back.
        """
        # 1. may it be paid
        self._check_order(challenge.terms, order)

        # 2. reserve
        order.is_used = True
        terms, claim = challenge.terms, challenge.claim(order.call_id)
        day = budgets.day_of(self._clock.now_us())
        settle = SettleBudget(CATEGORY, day, terms.amount_microusd, terms.amount_microusd)
        event = _event_of(terms, order, claim)
        intent = await self._ledger.commit(
            Entry(
                {"kind": "payment_intent", **event},
                (
                    ClaimRequest(_payee(provider), claim),
                    ReserveBudget(CATEGORY, day, terms.amount_microusd, approved=order.approved is not None),
                    OpenIntent(settle),
                    PutSetting(MARK + provider.id, claim.encode()),
                ),
            )
        )
        if isinstance(intent, Refused):
            raise _over_budget() if intent.reason == BUDGET_EXCEEDED else _paid_before()

        # 3. and 4. pay, and ask again
        sent = await self._send(provider, challenge, retry)

        # 5. settle; on doubt it is spent
        await self._settle(provider, event, intent, settle, sent)
        if sent.problem is not None:
            raise sent.problem
        if sent.response is None or sent.response.status == HTTPStatus.PAYMENT_REQUIRED:
            raise refused("the provider asks to be paid again for what was just paid: nothing more is paid")
        return sent.response

    def _check_order(self, terms: PaymentTerms, order: PaymentOrder) -> None:
        if order.is_used:
            raise refused("the provider asks to be paid twice for one call: nothing more is paid")
        if order.approved is not None:
            if order.approved != terms:
                raise UpstreamError(
                    "the provider asks for another payment than the one that was approved: nothing is paid",
                    code="upstream_refused",
                    hint="call again: a person is asked, and sees what it asks for now",
                    sent=False,
                )
            return
        if self.is_in_doubt(terms.provider_id):
            raise UpstreamError(
                "nobody knows what became of the last payment to this provider: the next one needs a person",
                code="upstream_refused",
                hint="call again: a person is asked; `briefcase receipts list --kind payment_outcome` shows the last",
                sent=False,
            )
        if self.needs_person(terms):
            raise _over_budget()

    async def _send(self, provider: Provider, challenge: Challenge, retry: Retry) -> _Sent:
        moves_money = challenge.terms.rail != X402_V2  # a signature moves none before the provider has it
        try:
            proof = await self._proof(provider, challenge)
        except UpstreamError as error:
            return _Sent(None, error, may_be_paid=moves_money and error.sent)
        try:
            response = await retry(proof)
        except UpstreamError as error:
            return _Sent(None, error, may_be_paid=moves_money or error.sent)
        return _Sent(
            response, None, may_be_paid=True, settlement=read_settlement(response.headers.get(RESPONSE_HEADER))
        )

    async def _settle(
        self, provider: Provider, event: JsonObject, intent: Committed, settle: SettleBudget, sent: _Sent
    ) -> None:
        spent = settle.reserved_microusd if sent.may_be_paid else 0
        is_doubtful = sent.may_be_paid and not sent.is_good
        outcome: JsonObject = {
            "kind": "payment_outcome",
            **event,
            "intent_id": intent.receipt_id,
            "spent_microusd": spent,
            "status": "ok" if sent.is_good else "error",
        }
        if is_doubtful:
            outcome["reason"] = OUTCOME_UNKNOWN
        if sent.problem is not None:
            outcome["error"] = sent.problem.message
        elif not sent.is_good and sent.response is not None:
            outcome["error"] = f"answered with {sent.response.status} {error_word(sent.response)}".strip()
        if sent.settlement is not None:
            said = {"transaction": sent.settlement.transaction, "payer": sent.settlement.payer}
            outcome |= {name: value for name, value in said.items() if value}
        done = (CloseIntent(intent.receipt_id), msgspec.structs.replace(settle, spent_microusd=spent))
        cleared = () if is_doubtful else (PutSetting(MARK + provider.id, b""),)
        await self._ledger.commit(Entry(outcome, (*done, *cleared)))

    async def _proof(self, provider: Provider, challenge: Challenge) -> Mapping[str, str]:
        """The header fields that prove a payment."""
        if challenge.required is not None:
            asked: JsonObject = {"payment_required": challenge.document}
            signature = (await self._ask_helper(provider, X402_V2, asked)).payment_signature_b64
            check_payload(signature, challenge.required, self._clock.now_us())
            return {SIGNATURE_HEADER: signature}
        said = challenge.said
        if said is None:
            raise refused("the provider's challenge to pay does not say what to pay")
        paid = await (
            self._pay_demonstration(provider, said) if self._helper is None else self._pay_said(provider, said)
        )
        proof = paid.proof if said.rail == X402 else paid.preimage
        if not _PROOF.fullmatch(proof):
            raise UpstreamError("what proves the payment is not as expected")
        return {"authorization": f"X402 {proof}" if said.rail == X402 else f"L402 {said.macaroon}:{proof}"}

    async def _pay_said(self, provider: Provider, said: Said) -> _Paid:
        asked: JsonObject = {"amount_microusd": said.amount_microusd}
        if said.rail == X402:
            asked |= {"payment_id": said.payment_id, "payment_url": said.payment_url}
        else:
            asked |= {"invoice": said.invoice}
        return await self._ask_helper(provider, said.rail, asked)

    async def _ask_helper(self, provider: Provider, rail: str, asked: JsonObject) -> _Paid:
        if self._helper is None:
            raise refused("the provider asks to be paid by a helper, and there is none")
        home = provider.base_url if urlsplit(provider.base_url).path else f"{provider.base_url}/"
        answer = await self._helper.ask({"rail": rail, "provider_base_url": home, **asked})
        try:
            return msgspec.convert(answer, _Paid)
        except msgspec.ValidationError as error:
            raise UpstreamError("the payment helper failed: its answer is not as expected", detail=str(error)) from None

    async def _pay_demonstration(self, provider: Provider, said: Said) -> _Paid:
        is_x402 = said.rail == X402
        path = "/pay" if is_x402 else "/l402/pay"
        asked = {"payment_id": said.payment_id} if is_x402 else {"invoice": said.invoice}
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
        return read_server_answer(response, _Paid, "the payment")


def _payee(provider: Provider) -> str:
    """Whose challenge an intent claims; no agent has a name with a colon."""
    return f"provider:{provider.id}"


def _event_of(terms: PaymentTerms, order: PaymentOrder, claim: str) -> JsonObject:
    """What both receipts of a payment say: what is paid to whom, for which call, by whose leave."""
    said = {name: value for name, value in msgspec.to_builtins(terms).items() if value != ""}
    return {
        **said,
        "principal": f"provider:{terms.provider_id}",
        "request_id": claim,
        "call_id": order.call_id,
        "call_intent_id": order.intent_id,
        "is_approved": order.approved is not None,
    }


def _over_budget() -> UpstreamError:
    return UpstreamError(
        f"the provider asks for a payment, and the budget `{CATEGORY}` does not allow it",
        code="upstream_refused",
        hint=f"call again: a person is asked, and sees what is paid to whom; or log in with `briefcase providers"
        f" oauth-login`, or `briefcase budgets set {CATEGORY}`",
        sent=False,
    )


def _paid_before() -> UpstreamError:
    return refused("the provider asks to be paid for a challenge that was paid before: nothing is paid")
