"""A daemon's providers over the reference gateway, without sockets; restarted as often as a test wants."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from briefcase.adapters.ledger import Ledger
from briefcase.adapters.providers.capabilities import Capabilities
from briefcase.adapters.providers.client import ProviderClient
from briefcase.adapters.providers.composition import ProviderParts, compose_providers
from briefcase.adapters.providers.payments import PaymentOrder
from briefcase.adapters.providers.service import ProviderService
from briefcase.adapters.store.database import Database
from briefcase.adapters.system import SystemEntropy
from briefcase.adapters.vault.identity import Identity
from briefcase.adapters.vault.vault import MemoryBackend, Vault
from briefcase.core.operator.providers import Exchange
from briefcase.model.ports import HttpRequest
from briefcase.model.types import PaymentTerms, ToolResult
from support.clock import FakeClock
from support.entropy import FakeEntropy
from support.ledger import MemoryLedger
from support.outbound import AsgiOutbound
from support.providers import BASE_URL, REDIRECT, open_gateway

IDENTITY = Identity(b"\1" * 32)


class ProviderDesk:
    """One daemon's providers and the gateway they talk to; `open` composes them, `close` lets go of everything."""

    parts: ProviderParts
    vault: Vault

    def __init__(self, tmp_path: Path, **settings: Any) -> None:
        self.path = tmp_path
        self.clock = FakeClock()
        self.backend = MemoryBackend()
        self.ledger: MemoryLedger | Ledger = MemoryLedger(self.clock)
        (tmp_path / "gateway").mkdir(mode=0o700)
        self.gateway = open_gateway(tmp_path / "gateway", self.clock, FakeEntropy(), **settings)
        self.outbound = AsgiOutbound(provider=self.gateway)
        self.options: dict[str, Any] = {"is_ga": False, "denies_unknown_status": False}
        self.disabled: set[str] = set()
        self.calls = 0
        self.database: Database | None = None

    def open(self, **changed: Any) -> ProviderService:
        """Compose anew, as a restart does; inside a running loop."""
        if self.database is not None:
            self.database.close()
        self.database = Database(self.path / "briefcase.sqlite")
        self.vault = Vault(self.backend, "memory")
        self.options |= changed
        self.parts = compose_providers(
            database=self.database,
            secrets=self.vault.compartment("providers"),
            remember=self.vault.remember,
            holder_did=IDENTITY.did,
            outbound=self.outbound,
            ledger=self.ledger,
            is_disabled=self.disabled.__contains__,
            clock=self.clock,
            entropy=SystemEntropy(),
            **self.options,
        )
        return self.service

    async def close(self) -> None:
        await self.service.close()
        if self.database is not None:
            self.database.close()
        self.gateway.facts.close()

    @property
    def service(self) -> ProviderService:
        return self.parts.service

    @property
    def client(self) -> ProviderClient:
        return self.parts.client

    @property
    def capabilities(self) -> Capabilities:
        return self.service._capabilities

    async def log_in(self) -> None:
        """What the CLI and a browser do together."""
        await self.service.upsert("demo", BASE_URL)
        started = await self.service.start_login("demo", "briefcase", REDIRECT, None)
        parts = urlsplit(started.authorization_url)
        answer = await self.outbound.request(HttpRequest("GET", started.authorization_url))
        assert parts.path == "/oauth/authorize"
        fields = parse_qs(urlsplit(answer.headers["location"]).query)
        assert fields["state"] == [started.state]
        await self.service.exchange("demo", Exchange(fields["code"][0], state=started.state, iss=fields["iss"][0]))

    async def quote(self, symbol: str = "ACME", approved: PaymentTerms | None = None, **kwargs: Any) -> ToolResult:
        """One call; `approved` is what a person said may be paid for it."""
        self.calls += 1
        order = PaymentOrder(f"call-{self.calls}", self.calls, approved)
        query = {"symbol": symbol}
        return await self.client.read("demo", "/api/quote", query, timeout_ms=60_000, order=order, **kwargs)

    def asked(self, path: str) -> int:
        """How many requests went to a path."""
        return sum(urlsplit(request.url).path == path for request in self.outbound.sent)
