"""`quote`: the built-in paid tool, a price from the `demo` provider."""

from __future__ import annotations

from typing import Final

import msgspec

from briefcase.adapters.net.urls import parse_url
from briefcase.adapters.providers.client import ProviderClient
from briefcase.adapters.providers.payments import PaymentOrder
from briefcase.adapters.tools.definition import check_unchanged, with_digest
from briefcase.adapters.tools.schema import ArgsCheck
from briefcase.model.ports import CallContext, Clock, Destination
from briefcase.model.types import JsonObject, PaymentTerms, ToolResult, ToolSpec

PROVIDER_ID: Final = "demo"
PATH: Final = "/api/quote"
COST_MICROUSD: Final = 2_000
MAX_TIMEOUT_MS: Final = 10_000

SPEC: Final = ToolSpec(
    id="quote",
    name="Quote",
    description="The price of a symbol now",
    input_schema={
        "type": "object",
        "properties": {"symbol": {"type": "string", "pattern": "^[A-Za-z0-9.-]{1,16}$"}},
        "required": ["symbol"],
        "additionalProperties": False,
    },
    output_schema={
        "type": "object",
        "properties": {"symbol": {"type": "string"}, "price": {"type": "number"}, "ts": {"type": "string"}},
        "required": ["symbol", "price", "ts"],
    },
    category="read",
    cost_microusd=COST_MICROUSD,
    net_access=True,
    source=f"provider:{PROVIDER_ID}",
)


class _Execution(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the call goes and what it pays, as the definition's digest covers it."""

    base_url: str
    path: str
    payment: PaymentTerms | None = None


class _Bound(msgspec.Struct, frozen=True):
    base_url: str
    payment: PaymentTerms | None
    spec: ToolSpec


class QuoteTool:
    """A `ports.Tool` over the provider client."""

    def __init__(self, client: ProviderClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._bound = self._spec_at("", None)
        self._check = ArgsCheck(SPEC.input_schema)

    @property
    def spec(self) -> ToolSpec:
        """The definition; its digest covers the provider's address and what is to be paid to it.

        An approval is for a call that goes there and pays that, and for no other.
        """
        base_url, payment = self._client.base_url(PROVIDER_ID), self.payment
        if (self._bound.base_url, self._bound.payment) != (base_url, payment):
            self._bound = self._spec_at(base_url, payment)
        return self._bound.spec

    @property
    def payment(self) -> PaymentTerms | None:
        """What the call pays only if a person approves it."""
        return self._client.payment(PROVIDER_ID)

    @property
    def destination(self) -> Destination:
        """The resource of the provider, where it is now."""
        base_url = self._client.base_url(PROVIDER_ID)
        if not base_url:
            return Destination(SPEC.source)
        return Destination(f"GET {base_url}{PATH}", host=parse_url(base_url).host, method="GET")

    @staticmethod
    def _spec_at(base_url: str, payment: PaymentTerms | None) -> _Bound:
        """The definition where the provider is at an address, empty where there is none, and asks for a payment."""
        spec = with_digest(SPEC, _Execution(base_url, PATH, payment)) if base_url else with_digest(SPEC)
        return _Bound(base_url, payment, spec)

    def signals(self) -> tuple[str, ...]:
        """The risk signals of the provider."""
        return self._client.signals(PROVIDER_ID)

    def check_args(self, args: JsonObject) -> str | None:
        """Validate against the compiled schema."""
        return self._check.problem_of(args)

    async def execute(self, args: JsonObject, context: CallContext) -> ToolResult:
        """Ask the provider that was decided on. Raises `UpstreamError`, also where it has moved since."""
        check_unchanged(SPEC.id, self.spec, context.tool_digest_hex)
        left_ms = (context.deadline_ns - self._clock.monotonic_ns()) // 1_000_000
        timeout_ms = max(1, min(left_ms, MAX_TIMEOUT_MS))
        query = {"symbol": str(args["symbol"])}
        approved = self.payment if context.is_approved else None  # as decided on: the digest covers it
        order = PaymentOrder(context.call_id, context.first_intent_id, approved)
        return await self._client.read(
            PROVIDER_ID, PATH, query, timeout_ms=timeout_ms, is_approved=context.is_approved, order=order
        )
