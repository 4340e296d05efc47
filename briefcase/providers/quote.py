"""`quote`: the built-in paid tool, a price from the `demo` provider."""

from __future__ import annotations

from typing import Final

from briefcase.model.ports import CallContext, Clock
from briefcase.model.types import JsonObject, ToolResult, ToolSpec
from briefcase.providers.client import ProviderClient
from briefcase.strict_json import parse as parse_json
from briefcase.tools.definition import with_digest
from briefcase.tools.schema import ArgsCheck

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


class QuoteTool:
    """A `ports.Tool` over the provider client."""

    def __init__(self, client: ProviderClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._spec = with_digest(SPEC)
        self._check = ArgsCheck(SPEC.input_schema)

    @property
    def spec(self) -> ToolSpec:
        """The definition, with its digest."""
        return self._spec

    def signals(self) -> tuple[str, ...]:
        """The risk signals of the provider."""
        return self._client.signals(PROVIDER_ID)

    def check_args(self, args: JsonObject) -> str | None:
        """Validate against the compiled schema."""
        return self._check.problem_of(args)

    async def execute(self, canonical_args: bytes, context: CallContext) -> ToolResult:
        """Ask the provider, with the canonical bytes that were decided on. Raises `UpstreamError`."""
        args = parse_json(canonical_args)
        assert isinstance(args, dict)  # noqa: S101 - canonical bytes of a call's arguments are an object
        left_ms = (context.deadline_ns - self._clock.monotonic_ns()) // 1_000_000
        timeout_ms = max(1, min(left_ms, MAX_TIMEOUT_MS))
        query = {"symbol": str(args["symbol"])}
        return await self._client.read(PROVIDER_ID, PATH, query, timeout_ms=timeout_ms, is_approved=context.is_approved)
