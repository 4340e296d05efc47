"""A daemon's providers over the reference gateway, without sockets; restarted as often as a test wants."""

import asyncio
from urllib.parse import parse_qs, urlsplit

import pytest

from briefcase.adapters.providers.composition import compose_providers
from briefcase.adapters.store.database import Database
from briefcase.adapters.system import SystemEntropy
from briefcase.adapters.vault.identity import Identity
from briefcase.adapters.vault.vault import MemoryBackend, Vault
from briefcase.core.operator.providers import Exchange
from briefcase.model.ports import HttpRequest
from support.clock import FakeClock
from support.entropy import FakeEntropy
from support.ledger import MemoryLedger
from support.outbound import AsgiOutbound
from support.providers import BASE_URL, REDIRECT, open_gateway

IDENTITY = Identity(b"\1" * 32)


class Desk:
    """One daemon's providers and the gateway they talk to."""

    def __init__(self, tmp_path, **settings):
        self.path = tmp_path
        self.clock = FakeClock()
        self.backend = MemoryBackend()
        self.ledger = MemoryLedger(self.clock)
        (tmp_path / "gateway").mkdir(mode=0o700)
        self.gateway = open_gateway(tmp_path / "gateway", self.clock, FakeEntropy(), **settings)
        self.outbound = AsgiOutbound(provider=self.gateway)
        self.options = {"is_ga": False, "denies_unknown_status": False}
        self.disabled = set()
        self.database = None
        self.parts = None

    def open(self, **changed):
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
        self.service = self.parts.service
        self.capabilities = self.service._capabilities
        self.client = self.service._client
        return self.service

    async def log_in(self):
        """What the CLI and a browser do together."""
        await self.service.upsert("demo", BASE_URL)
        started = await self.service.start_login("demo", "briefcase", REDIRECT, None)
        parts = urlsplit(started.authorization_url)
        answer = await self.outbound.request(HttpRequest("GET", started.authorization_url))
        assert parts.path == "/oauth/authorize"
        fields = parse_qs(urlsplit(answer.headers["location"]).query)
        assert fields["state"] == [started.state]
        await self.service.exchange("demo", Exchange(fields["code"][0], state=started.state, iss=fields["iss"][0]))

    async def quote(self, symbol="ACME", **kwargs):
        return await self.client.read("demo", "/api/quote", {"symbol": symbol}, timeout_ms=1_000, **kwargs)

    def asked(self, path):
        """How many requests went to a path."""
        return sum(urlsplit(request.url).path == path for request in self.outbound.sent)


@pytest.fixture
def make_desk(tmp_path):
    made = []

    def make(**settings):
        made.append(Desk(tmp_path, **settings))
        return made[-1]

    yield make
    for desk in made:
        desk.gateway.facts.close()
        if desk.database is not None:
            desk.database.close()


@pytest.fixture
def run(make_desk):
    """Run a scenario with a desk in one event loop, and close what it opened."""

    def runner(scenario, *, opens=None, **settings):
        desk = make_desk(**settings)

        async def whole():
            desk.open(**(opens or {}))
            try:
                return await scenario(desk)
            finally:
                await desk.service.close()

        return asyncio.run(whole())

    return runner
