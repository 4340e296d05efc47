"""Capabilities held ready: minted ahead of need, cached until they expire or run out, bound to this daemon's key.

`take` answers from memory as long as something good is held. What is held is replaced in the background once a fifth
of its time or of its calls is left, one minting at a time for each provider; only a call that finds nothing waits,
and `waits` counts those: in steady state it does not grow.

Minting tries, in this order, what entitles to a capability:

 1. a verifiable credential whose status is known to be good (unknown: by the operator's choice)
 2. the log-in, renewed first where it is about to expire
 3. a payment, where the profile allows one and the budget or a person does (`payments`); only for a call that waits
    for it, never ahead of need

What a provider asks to be paid is remembered until a capability is held. Where it takes a person, the tool raises
`payment_due`: the call that comes next waits for an approval that shows the terms, and pays these and no others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Final, Protocol

import msgspec

from briefcase.adapters.oauth.custody import Custody, Login
from briefcase.adapters.oauth.renewal import Renewals
from briefcase.adapters.oauth.wire import GOOD, MAX_ANSWER_BYTES, TIMEOUT_MS, error_word, read_server_answer
from briefcase.adapters.providers.entitlement import EntitlementClient, EntitlementStatus
from briefcase.adapters.providers.payments import PaymentOrder, Retry
from briefcase.adapters.providers.registry import Provider
from briefcase.core.jose.dpop import ProofSigner
from briefcase.core.payments.challenges import Challenge
from briefcase.model.errors import BriefcaseError, UpstreamError
from briefcase.model.ports import Clock, Entropy, HttpRequest, HttpResponse, Outbound
from briefcase.model.reasons import PAYMENT_DUE, PAYMENT_IN_DOUBT, VC_STATUS_UNKNOWN
from briefcase.model.types import COMPATIBILITY_PROFILE, MAX_SAFE_INTEGER, US_PER_S, PaymentTerms, parse_rfc3339

TOKEN_PATH: Final = "/token"
CREDENTIAL_HEADER: Final = "x-vc-jwt"
MARGIN_US: Final = 5 * US_PER_S  # a capability this close to its end is not started with
LEAST_USE_US: Final = US_PER_S  # one that is of use for less would be minted again and again for the same call
AHEAD_PARTS: Final = 5  # a new one is fetched when one part of this many is left
RETRY_AHEAD_US: Final = 5 * US_PER_S  # after a minting in the background failed


class Payer(Protocol):
    """Pays a 402 challenge (`payments.PaymentClient`)."""

    @property
    def asking_headers(self) -> Mapping[str, str]:
        """What a request says of the rail that is wanted."""
        ...

    def read(self, provider: Provider, response: HttpResponse, token_url: str) -> Challenge:
        """What a 402 answer asks for. Raises `UpstreamError`."""
        ...

    def is_in_doubt(self, provider_id: str) -> bool:
        """Whether nobody knows what became of the last payment to a provider."""
        ...

    def needs_person(self, terms: PaymentTerms) -> bool:
        """Whether these terms are paid only if a person approves them."""
        ...

    def pay(
        self, provider: Provider, challenge: Challenge, order: PaymentOrder, retry: Retry
    ) -> Awaitable[HttpResponse]:
        """Pay, and ask again with the proof. Raises `UpstreamError`."""
        ...


class CapabilitySettings(msgspec.Struct, frozen=True):
    """How strict minting is.

    `denies_unknown_status`: an entitlement of unknown status is none, whoever approves. `demands_profile`: a
    capability without the mark of `aacp_v1` is refused (`ga`).
    """

    denies_unknown_status: bool = False
    demands_profile: bool = False


class Capability(msgspec.Struct):
    """One capability as held; `calls_left` counts down as it is taken."""

    token: str
    minted_us: int
    expires_us: int
    max_calls: int
    calls_left: int

    def __repr__(self) -> str:
        return f"Capability(expires_us={self.expires_us}, calls_left={self.calls_left})"

    def is_good(self, now_us: int) -> bool:
        """Whether a call may be started with it."""
        return self.calls_left > 0 and now_us < self.expires_us - MARGIN_US

    def is_low(self, now_us: int) -> bool:
        """Whether a new one should be fetched."""
        lifetime_us = self.expires_us - self.minted_us
        return (self.expires_us - now_us) * AHEAD_PARTS < lifetime_us or self.calls_left * AHEAD_PARTS < self.max_calls


class _Slot:
    """What is held for one provider."""

    def __init__(self, signer: ProofSigner) -> None:
        self.signer = signer
        self.held: Capability | None = None
        self.minting: asyncio.Task[None] | None = None
        self.epoch = 0  # raised when all that was minted before is to be let go of
        self.quiet_until_us = 0
        self.nonce: str | None = None
        self.status = EntitlementStatus.NONE
        self.due: PaymentTerms | None = None  # what was asked to be paid, since a capability was last had
        self.is_ahead = False  # the minting is for no call, and pays nothing


class _TokenAnswer(msgspec.Struct, frozen=True):
    token: str
    expires_at_rfc3339: str
    max_calls: int
    compatibility_profile: str = ""


class Capabilities:
    """The capabilities of every provider. One event loop."""

    def __init__(  # noqa: PLR0913 - its parts, each named once, here
        self,
        *,
        outbound: Outbound,
        custody: Custody,
        renewals: Renewals,
        entitlements: EntitlementClient,
        payer: Payer | None,
        remember: Callable[[bytes, str], object],
        clock: Clock,
        entropy: Entropy,
        settings: CapabilitySettings,
    ) -> None:
        self._outbound = outbound
        self._custody = custody
        self._renewals = renewals
        self._entitlements = entitlements
        self._payer = payer
        self._remember = remember
        self._clock = clock
        self._entropy = entropy
        self._settings = settings
        self._slots: dict[str, _Slot] = {}
        self.waits = 0
        self.minted = 0

    async def take(
        self, provider: Provider, *, is_approved: bool = False, order: PaymentOrder | None = None
    ) -> Capability:
        """One call's worth of a capability, from memory where one is held.

        Args:
            provider: whose.
            is_approved: whether a person approved the call, so that an entitlement of unknown status will do.
            order: what may be paid for the call; None pays nothing.

        Raises:
            UpstreamError: none is held and none could be had; `sent` is False, because the call itself never left.
        """
        slot = await self._slot(provider)
        now_us = self._clock.now_us()
        while slot.held is None or not slot.held.is_good(now_us):
            self.waits += 1
            await self._wait_for(provider, slot, is_approved=is_approved, order=order)
            now_us = self._clock.now_us()
        held = slot.held
        held.calls_left -= 1
        if held.is_low(now_us) and slot.minting is None and now_us >= slot.quiet_until_us:
            self._start_minting(provider, slot)
        return held

    async def warm(self, provider: Provider) -> None:
        """Have a capability ready before the first call; a failure waits for that call to report it."""
        slot = await self._slot(provider)
        if slot.held is None and slot.minting is None:
            self._start_minting(provider, slot)

    def signals(self, provider: Provider) -> tuple[str, ...]:
        """What a person may decide on: an entitlement whose status cannot be learned, a payment that is asked for."""
        due = self.payment(provider)
        if due is None:
            return self._status_signals(provider)
        is_in_doubt = self._payer is not None and self._payer.is_in_doubt(provider.id)
        doubt = (PAYMENT_IN_DOUBT,) if is_in_doubt else ()
        return (*self._status_signals(provider), PAYMENT_DUE, *doubt)

    def payment(self, provider: Provider) -> PaymentTerms | None:
        """What the next call pays only if a person approves it; from memory, at once."""
        slot = self._slots.get(provider.id)
        if slot is None or slot.due is None or self._payer is None:
            return None
        is_held = slot.held is not None and slot.held.is_good(self._clock.now_us())
        return slot.due if not is_held and self._payer.needs_person(slot.due) else None

    def _status_signals(self, provider: Provider) -> tuple[str, ...]:
        slot = self._slots.get(provider.id)
        if slot is None or slot.status is not EntitlementStatus.UNKNOWN or self._settings.denies_unknown_status:
            return ()
        if slot.minting is None and self._clock.now_us() >= slot.quiet_until_us:
            self._start_minting(provider, slot)  # it may be known again
        return (VC_STATUS_UNKNOWN,)

    async def signer(self, provider: Provider) -> ProofSigner:
        """What proves possession to a provider. Raises as `Custody.key`."""
        return (await self._slot(provider)).signer

    def nonce(self, provider: Provider) -> str | None:
        """The nonce the provider gave last."""
        slot = self._slots.get(provider.id)
        return slot.nonce if slot else None

    def learn_nonce(self, provider: Provider, response: HttpResponse) -> bool:
        """Keep the nonce of an answer (RFC 9449 section 8.2); whether it is one that was not known."""
        slot, nonce = self._slots.get(provider.id), response.headers.get("dpop-nonce")
        if slot is None or nonce is None or nonce == slot.nonce:
            return False
        slot.nonce = nonce
        return True

    def discard(self, provider_id: str, spoilt: Capability | None = None) -> None:
        """Let go of what is held: of one that the provider refused, or of any (an incident, a log-out)."""
        slot = self._slots.get(provider_id)
        if slot is not None and (spoilt is None or slot.held is spoilt):
            slot.held = None
            slot.epoch += spoilt is None  # what is being minted was asked for before
            if spoilt is None:
                slot.due = None  # something else may entitle by now

    async def forget(self, provider_id: str) -> None:
        """Let go of a provider altogether, its minting and its key as well."""
        slot = self._slots.pop(provider_id, None)
        if slot is not None:
            await _cancel(slot.minting)

    async def close(self) -> None:
        """Stop what runs in the background."""
        for provider_id in list(self._slots):
            await self.forget(provider_id)

    async def fresh_login(self, provider: Provider) -> Login | None:
        """The log-in, renewed where it is about to expire. Raises as `Renewals.fresh`."""
        return await self._renewals.fresh(provider.id, lambda: self.signer(provider))

    # --- minting ------------------------------------------------------------------------------------------------

    async def _slot(self, provider: Provider) -> _Slot:
        slot = self._slots.get(provider.id)
        if slot is None:
            signer = ProofSigner(await self._custody.key(provider.id))
            slot = self._slots.setdefault(provider.id, _Slot(signer))
        return slot

    async def _wait_for(
        self, provider: Provider, slot: _Slot, *, is_approved: bool, order: PaymentOrder | None
    ) -> None:
        task = slot.minting
        if task is not None and (slot.is_ahead or (order is not None and order.approved is not None)):
            await asyncio.wait({task})  # it may not pay what this call may: whatever came of it, this one goes on
            return
        if task is None:
            task = self._start_minting(provider, slot, is_approved=is_approved, order=order)
        try:
            await asyncio.shield(task)
        except BriefcaseError as error:
            code, hint, detail = error.code, error.hint, error.detail
            raise UpstreamError(error.message, code=code, hint=hint, detail=detail, sent=False) from None

    def _start_minting(
        self, provider: Provider, slot: _Slot, *, is_approved: bool = False, order: PaymentOrder | None = None
    ) -> asyncio.Task[None]:
        filling = self._fill(provider, slot, is_approved=is_approved, order=order)
        task = asyncio.get_running_loop().create_task(filling)
        task.add_done_callback(_retrieve)
        slot.minting, slot.is_ahead = task, order is None
        return task

    async def _fill(self, provider: Provider, slot: _Slot, *, is_approved: bool, order: PaymentOrder | None) -> None:
        """Mint a capability and put it on the slot.

        INVARIANT (settled): the slot names no minting that is done. A call that found one would wait for it without
        giving way to the loop, and so wait for ever: the slot is settled here and not in a callback, which runs later.
        """
        epoch = slot.epoch
        try:
            capability = await self._mint(provider, slot, is_approved=is_approved, order=order)
            if slot.epoch == epoch:
                slot.held, slot.due = capability, None
        except BaseException:
            slot.quiet_until_us = self._clock.now_us() + RETRY_AHEAD_US
            raise
        finally:
            slot.minting = None

    async def _mint(
        self, provider: Provider, slot: _Slot, *, is_approved: bool, order: PaymentOrder | None
    ) -> Capability:
        headers = await self._entitlement_headers(provider, slot, is_approved=is_approved)
        if not headers and self._payer is None:
            raise _not_entitled(provider)
        asking = {} if self._payer is None else self._payer.asking_headers
        response = await self._ask(provider, slot, {**headers, **asking})
        if response.status == HTTPStatus.PAYMENT_REQUIRED:
            if self._payer is None:
                raise _not_entitled(provider)
            challenge = self._payer.read(provider, response, provider.base_url + TOKEN_PATH)
            slot.due = challenge.terms
            if order is None:
                raise UpstreamError("a payment is asked for, and no call waits for it", sent=False)
            response = await self._payer.pay(provider, challenge, order, partial(self._asked_again, provider, slot))
        capability = self._read(provider, response)
        self.minted += 1
        if slot.status is EntitlementStatus.UNKNOWN:
            capability.calls_left = 1  # a person approved one call, not as many as the provider allows
        return capability

    async def _asked_again(self, provider: Provider, slot: _Slot, headers: Mapping[str, str]) -> HttpResponse:
        """The answer to a request that was paid for. Raises as `_read` where it is a success without a capability."""
        response = await self._ask(provider, slot, headers)
        if response.status in GOOD:
            try:
                self._read(provider, response)
            except UpstreamError as error:  # whatever is wrong with the answer, the request was served
                raise UpstreamError(error.message, code=error.code, hint=error.hint, detail=error.detail) from None
        return response

    def _read(self, provider: Provider, response: HttpResponse) -> Capability:
        """The capability in an answer. Raises `UpstreamError` where there is none that is of use."""
        minted_us = self._clock.now_us()
        answer = read_server_answer(response, _TokenAnswer, "the request for a capability")
        capability = self._checked(answer, minted_us)
        self._remember(answer.token.encode(), provider.id)
        return capability

    def _checked(self, answer: _TokenAnswer, minted_us: int) -> Capability:
        if self._settings.demands_profile and answer.compatibility_profile != COMPATIBILITY_PROFILE:
            raise UpstreamError(f"the provider does not announce `{COMPATIBILITY_PROFILE}`", code="upstream_refused")
        try:
            expires_us = parse_rfc3339(answer.expires_at_rfc3339)
        except ValueError:
            raise UpstreamError("the capability has no time to expire at") from None
        if (
            not 0 < answer.max_calls <= MAX_SAFE_INTEGER
            or not answer.token.isascii()
            or expires_us <= minted_us + MARGIN_US + LEAST_USE_US
        ):
            raise UpstreamError("the capability is of no use: expected calls and time to be left")
        return Capability(answer.token, minted_us, expires_us, answer.max_calls, answer.max_calls)

    async def _entitlement_headers(self, provider: Provider, slot: _Slot, *, is_approved: bool) -> Mapping[str, str]:
        """What entitles to a capability, by the order of the module's docstring; empty where only paying is left."""
        entitlement = await self._custody.entitlement(provider.id)
        slot.status = await self._entitlements.status(provider, entitlement)
        if slot.status is EntitlementStatus.UNKNOWN and (self._settings.denies_unknown_status or not is_approved):
            raise UpstreamError(VC_STATUS_UNKNOWN, code="upstream_refused", sent=False)
        if entitlement is not None and slot.status in {EntitlementStatus.VALID, EntitlementStatus.UNKNOWN}:
            return {CREDENTIAL_HEADER: entitlement.credential_jwt}
        login = await self.fresh_login(provider)
        return {} if login is None else {"authorization": f"Bearer {login.access_token}"}

    async def _ask(self, provider: Provider, slot: _Slot, headers: Mapping[str, str]) -> HttpResponse:
        response = await self._post(provider, slot, headers)
        if self.learn_nonce(provider, response) and error_word(response) == "use_dpop_nonce":
            response = await self._post(provider, slot, headers)
        return response

    async def _post(self, provider: Provider, slot: _Slot, headers: Mapping[str, str]) -> HttpResponse:
        url = provider.base_url + TOKEN_PATH
        proof = slot.signer.sign("POST", url, self._entropy.uuid(), self._clock.now_us(), nonce=slot.nonce)
        return await self._outbound.request(
            HttpRequest(
                "POST",
                url,
                {**headers, "dpop": proof},
                timeout_ms=TIMEOUT_MS,
                max_body_bytes=MAX_ANSWER_BYTES,
                pool_key=provider.id,
            )
        )


def _retrieve(done: asyncio.Task[None]) -> None:
    """Take a failure that nobody waited for, so that it is not logged as lost; the next call reports its own."""
    if not done.cancelled():
        done.exception()


async def _cancel(task: asyncio.Task[None] | None) -> None:
    if task is None:
        return
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _not_entitled(provider: Provider) -> UpstreamError:
    return UpstreamError(
        f"nothing entitles this daemon to a capability of the provider `{provider.id}`",
        code="upstream_refused",
        hint=f"run `briefcase providers oauth-login --id {provider.id}`",
        sent=False,
    )
