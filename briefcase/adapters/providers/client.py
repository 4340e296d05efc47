"""One protected call: a capability taken from memory, a fresh proof, the answer; and what may be tried once more.

 1. the provider is enabled
 2. take a capability
 3. send the request with `Authorization: DPoP` and a proof made for it
 4. refused for its nonce: once more with the new one (RFC 9449 section 9)
 5. refused for its proof, and no nonce is asked for: once more with the other spelling of `htu`, which is remembered
    where it is taken (RFC 9449 leaves the query out; some providers compare it with the query)
 6. refused for its token (revoked, expired, used up, lost by the provider): once more with a new capability

A refusal by step 4, 5 or 6 means that the provider did nothing, so trying again repeats nothing. Any other failure is
the caller's to see; a read may then be served from memory, if the operator allowed it, and says so in its source.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode

import msgspec

from briefcase.adapters.oauth.wire import error_word, refusal_of
from briefcase.adapters.providers.capabilities import Capabilities, Capability
from briefcase.adapters.providers.payments import PaymentOrder
from briefcase.adapters.providers.registry import Provider, Providers
from briefcase.core.json.strict import parse as parse_json
from briefcase.model.errors import CallerError, UpstreamError
from briefcase.model.ports import Clock, Entropy, HttpRequest, HttpResponse, Outbound
from briefcase.model.reasons import CAPABILITY_REVOKED, REPLAY_DETECTED
from briefcase.model.types import US_PER_S, JsonValue, PaymentTerms, ToolResult, format_rfc3339

COST_HEADER: Final = "x-cost-microusd"
RENEWABLE: Final = frozenset({"invalid_token", CAPABILITY_REVOKED, "max_calls_exceeded"})
INVALID_DPOP: Final = "invalid_dpop"  # the word of providers that compare `htu` by text; RFC 9449's is another
OUTAGES: Final = frozenset({"upstream_failed", "upstream_timeout"})
MAX_REMEMBERED: Final = 1_024
MAX_COST_CHARS: Final = 16


class Health(msgspec.Struct):
    """How a provider has behaved since the daemon started."""

    calls: int = 0
    failures: int = 0
    replays: int = 0
    refusals: int = 0
    served_stale: int = 0
    last_ok_us: int | None = None
    last_problem: str = ""
    last_problem_us: int | None = None


class _Remembered(msgspec.Struct, frozen=True):
    content: JsonValue
    at_us: int


class ProviderClient:
    """Calls the resources of providers.

    Args:
        outbound: the guarded way out.
        providers: which there are.
        capabilities: what they are called with.
        clock: the time.
        entropy: makes the ids of proofs.
    """

    def __init__(
        self, outbound: Outbound, providers: Providers, capabilities: Capabilities, clock: Clock, entropy: Entropy
    ) -> None:
        self._outbound = outbound
        self._providers = providers
        self._capabilities = capabilities
        self._clock = clock
        self._entropy = entropy
        self._health: dict[str, Health] = {}
        self._keeps_query: set[str] = set()  # providers that take a proof only for the URL with its query
        self._remembered: OrderedDict[tuple[str, str], _Remembered] = OrderedDict()

    def health(self, provider_id: str) -> Health:
        """The counters of one provider."""
        return self._health.setdefault(provider_id, Health())

    def base_url(self, provider_id: str) -> str:
        """Where a provider is; empty where there is none of that id."""
        provider = self._providers.find(provider_id)
        return "" if provider is None else provider.base_url

    def signals(self, provider_id: str) -> tuple[str, ...]:
        """The risk signals of calling a provider now."""
        provider = self._providers.find(provider_id)
        return () if provider is None else self._capabilities.signals(provider)

    def payment(self, provider_id: str) -> PaymentTerms | None:
        """What the next call of a provider pays only if a person approves it."""
        provider = self._providers.find(provider_id)
        return None if provider is None else self._capabilities.payment(provider)

    async def read(
        self,
        provider_id: str,
        path: str,
        query: Mapping[str, str],
        *,
        timeout_ms: int,
        is_approved: bool = False,
        order: PaymentOrder | None = None,
    ) -> ToolResult:
        """Read one resource.

        Args:
            provider_id: which provider.
            path: below its base URL, with its leading slash.
            query: the parameters.
            timeout_ms: how long the answer may take.
            is_approved: whether a person approved the call.
            order: what may be paid for the call; None pays nothing.

        Raises:
            UpstreamError: unknown, disabled, not entitled or unreachable, or it refused or answered no JSON.
        """
        provider = self._enabled(provider_id)
        target = f"{path}?{urlencode(query)}"
        try:
            result = await self._fetch(provider, target, timeout_ms, is_approved=is_approved, order=order)
        except UpstreamError as error:
            self._note_problem(provider, error)
            stale = self._recall(provider, target) if error.code in OUTAGES else None
            if stale is None:
                raise
            return stale
        self._note_success(provider, target, result.content)
        return result

    def forget(self, provider_id: str) -> None:
        """Let go of the answers and counters of a provider."""
        self._health.pop(provider_id, None)
        self._keeps_query.discard(provider_id)
        self.forget_answers(provider_id)

    def forget_answers(self, provider_id: str) -> None:
        """Let go of the answers of a provider: nothing is served from memory without what entitled to it."""
        for key in [key for key in self._remembered if key[0] == provider_id]:
            del self._remembered[key]

    # 1. enabled
    def _enabled(self, provider_id: str) -> Provider:
        provider = self._providers.find(provider_id)
        if provider is None or not self._providers.is_enabled(provider_id):
            state = "not known" if provider is None else "disabled"
            raise UpstreamError(
                f"the provider `{provider_id}` is {state}",
                code="upstream_refused",
                hint=f"run `briefcase providers {'upsert' if provider is None else 'enable'} {provider_id}`",
                sent=False,
            )
        return provider

    async def _fetch(
        self, provider: Provider, target: str, timeout_ms: int, *, is_approved: bool, order: PaymentOrder | None
    ) -> ToolResult:
        capability = await self._capabilities.take(provider, is_approved=is_approved, order=order)  # 2
        response = await self._send(provider, capability, target, timeout_ms)  # 3
        if self._capabilities.learn_nonce(provider, response) and error_word(response) == "use_dpop_nonce":  # 4
            response = await self._send(provider, capability, target, timeout_ms)
        if _may_want_other_htu(response):  # 5
            response = await self._send_other_htu(provider, capability, target, timeout_ms)
        if error_word_of(response) in RENEWABLE:  # 6
            self._capabilities.discard(provider.id, capability)
            capability = await self._capabilities.take(provider, is_approved=is_approved, order=order)
            response = await self._send(provider, capability, target, timeout_ms)
        if response.status != HTTPStatus.OK:
            raise self._refused(provider, response)
        try:
            content = parse_json(response.body)
        except CallerError as error:
            raise UpstreamError("the provider's answer is no JSON in one reading", detail=error.message) from None
        return ToolResult(content, f"provider:{provider.id}", reported_cost(response))

    async def _send_other_htu(
        self, provider: Provider, capability: Capability, target: str, timeout_ms: int
    ) -> HttpResponse:
        keeps_query = provider.id not in self._keeps_query
        response = await self._send(provider, capability, target, timeout_ms, keeps_query=keeps_query)
        if not _may_want_other_htu(response):
            (self._keeps_query.add if keeps_query else self._keeps_query.discard)(provider.id)
        return response

    async def _send(
        self,
        provider: Provider,
        capability: Capability,
        target: str,
        timeout_ms: int,
        *,
        keeps_query: bool | None = None,
    ) -> HttpResponse:
        url = provider.base_url + target
        signer = await self._capabilities.signer(provider)
        proof = signer.sign(
            "GET",
            url,
            self._entropy.uuid(),
            self._clock.now_us(),
            access_token=capability.token,
            nonce=self._capabilities.nonce(provider),
            keeps_query=provider.id in self._keeps_query if keeps_query is None else keeps_query,
        )
        headers = {"authorization": f"DPoP {capability.token}", "dpop": proof, "accept": "application/json"}
        return await self._outbound.request(
            HttpRequest("GET", url, headers, timeout_ms=timeout_ms, pool_key=provider.id)
        )

    def _refused(self, provider: Provider, response: HttpResponse) -> UpstreamError:
        word = error_word(response)
        health = self.health(provider.id)
        health.refusals += 1
        if word == REPLAY_DETECTED:
            health.replays += 1
        if word in {REPLAY_DETECTED, CAPABILITY_REVOKED}:
            return UpstreamError(word, code="upstream_refused", detail=word)
        return refusal_of(response, f"the call to the provider `{provider.id}`")

    # --- what is remembered -------------------------------------------------------------------------------------

    def _note_success(self, provider: Provider, target: str, content: JsonValue) -> None:
        health = self.health(provider.id)
        health.calls += 1
        health.last_ok_us = self._clock.now_us()
        if provider.max_stale_s:
            self._remembered[provider.id, target] = _Remembered(content, self._clock.now_us())
            self._remembered.move_to_end((provider.id, target))
            if len(self._remembered) > MAX_REMEMBERED:
                self._remembered.popitem(last=False)

    def _note_problem(self, provider: Provider, error: UpstreamError) -> None:
        health = self.health(provider.id)
        health.calls += 1
        health.failures += 1
        health.last_problem = error.message
        health.last_problem_us = self._clock.now_us()

    def _recall(self, provider: Provider, target: str) -> ToolResult | None:
        found = self._remembered.get((provider.id, target))
        if found is None or self._clock.now_us() - found.at_us > provider.max_stale_s * US_PER_S:
            return None
        self.health(provider.id).served_stale += 1
        return ToolResult(found.content, f"provider:{provider.id} remembered from {format_rfc3339(found.at_us)}", 0)


def error_word_of(response: HttpResponse) -> str:
    """The stable word of a refusal; empty for an answer that is none, whatever is in its body."""
    return "" if response.status < HTTPStatus.BAD_REQUEST else error_word(response)


def _may_want_other_htu(response: HttpResponse) -> bool:
    """Whether a refusal may be for the spelling of `htu`: it is for the proof, and asks for no nonce."""
    is_refused = response.status == HTTPStatus.UNAUTHORIZED and error_word(response) == INVALID_DPOP
    return is_refused and "dpop-nonce" not in response.headers


def reported_cost(response: HttpResponse) -> int | None:
    """What the provider says the call cost, micro-USD; None where it says nothing that is a number."""
    text = response.headers.get(COST_HEADER, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_COST_CHARS else None
