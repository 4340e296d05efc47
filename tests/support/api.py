"""A served API on a Unix socket in a temporary directory, with everything behind it in memory."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import tempfile
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, NoReturn, Self, TypeAlias, cast

import msgspec
import pytest

from briefcase.adapters.backup.age import AgeSeal
from briefcase.adapters.backup.checkpoints import Checkpoints
from briefcase.adapters.backup.create import Backups
from briefcase.adapters.backup.manifest import Manifest
from briefcase.adapters.backup.sealing import SealKey
from briefcase.adapters.fleet.client import ControlPlaneClient
from briefcase.adapters.fleet.custody import DeviceTokens, FloorFile
from briefcase.adapters.fleet.syncing import FleetSync, SyncParts
from briefcase.adapters.providers.composition import compose_providers
from briefcase.adapters.servers.composition import compose_logins
from briefcase.adapters.servers.config import ServerConfig
from briefcase.adapters.servers.registry import ServerRegistry
from briefcase.adapters.servers.starts import Starts
from briefcase.adapters.servers.transports import described
from briefcase.adapters.signers.device_keys import DeviceKeys
from briefcase.adapters.signers.passkeys import BrowserPasskeys
from briefcase.adapters.store.database import Database
from briefcase.adapters.store.sync_progress import SyncProgressStore
from briefcase.adapters.system import SystemEntropy
from briefcase.adapters.telemetry.meter import Meter
from briefcase.adapters.telemetry.metrics import Metrics
from briefcase.adapters.vault.bindings import SecretDestinations
from briefcase.adapters.vault.identity import Identity
from briefcase.adapters.vault.note_signatures import verify_note_signature
from briefcase.adapters.vault.vault import MemoryBackend, Vault
from briefcase.adapters.witness.client import WitnessClient
from briefcase.adapters.witness.rounds import Witnessing, WitnessingParts
from briefcase.core.anomalies import Anomalies, AnomalySettings
from briefcase.core.calls.answers import Answer, encode_answer
from briefcase.core.calls.flow import Calls
from briefcase.core.calls.ratelimits import PrincipalBuckets, PrincipalLimit
from briefcase.core.controls import Controls
from briefcase.core.fleet.bundles import MandatoryPart
from briefcase.core.grants.held import Grants
from briefcase.core.jose.base64url import encode_base64url
from briefcase.core.operator.fleet import FleetPorts
from briefcase.core.operator.operator import OperatorPorts, ServerPorts, SignerPorts, compose_operator
from briefcase.core.operator.policy import NO_MANDATORY, PolicyService
from briefcase.core.people import SETTING as PEOPLE
from briefcase.core.people import People, Person
from briefcase.core.receipts.note_keys import LOG_ED25519, NoteKey
from briefcase.core.redaction.redactor import SecretRedactor
from briefcase.core.signers.signers import Signers
from briefcase.edges.api.app import Api, refusal_words
from briefcase.edges.api.auth import Authenticator
from briefcase.edges.api.services import ApprovalChanges, Profile, Services
from briefcase.edges.diagnostics.canary import Canary
from briefcase.edges.diagnostics.host import Host
from briefcase.edges.http.limits import HttpLimits
from briefcase.edges.http.server import HttpServer
from briefcase.edges.http.sockets import open_tcp_listener, open_unix_listener
from briefcase.edges.page.serving import PageServer
from briefcase.model.errors import CallerError, UpstreamError
from briefcase.model.ports import Claim
from briefcase.model.types import Approval, ApprovalKind, ApprovalStatus, JsonObject, Principal
from support.agents import FakeAgents
from support.clock import FakeClock
from support.entropy import FakeEntropy
from support.ledger import MemoryLedger
from support.outbound import AsgiOutbound
from support.principals import AGENT, OTHER_AGENT
from support.redaction import KnownSecrets
from support.secrets import FakeSecrets
from support.tools import FakeTool, FakeToolFiles, FakeTools, spec

Headers: TypeAlias = Iterable[tuple[str, str]]

KNOWN_SECRET = "canary-of-a-credential-0123"
OPERATOR_TOKEN = "o" * 43
AUDITOR_TOKEN = "a" * 43
APPROVER_TOKEN = "p" * 43
AGENT_TOKEN = "s" * 43
OTHER_TOKEN = "r" * 43


class FakeCalls:
    """A flow that records what reached it, and answers when it is let go."""

    def __init__(self) -> None:
        self.seen: list[tuple[Principal, bytes]] = []
        self.go = asyncio.Event()
        self.go.set()
        self.reached = asyncio.Event()
        self.finished = 0
        self.turned_away: list[tuple[str, int]] = []
        self.open_decisions = 0
        self.refusals = self
        self.error: Exception | None = None
        self.payload: JsonObject = {"status": "denied", "reason": "policy_denied"}

    async def read(self, principal: Principal, body: bytes) -> bytes:
        return body  # the flow's own tests read bodies

    async def call(self, principal: Principal, body: bytes) -> Answer:
        self.seen.append((principal, body))
        self.reached.set()
        await self.go.wait()
        self.finished += 1
        if self.error is not None:
            raise self.error
        return encode_answer(self.payload, {"parse": 12, "policy": 3_456})

    decide = call
    close = call

    async def turn_away(self, principal: Principal, declared_bytes: int) -> CallerError:
        fault = CallerError("more than one principal may send", code="rate_limited")
        fault.receipt_id = 7
        self.turned_away.append((principal.name, declared_bytes))
        return fault


class ActivePolicy(msgspec.Struct, frozen=True):
    """What decides, as far as the API asks."""

    digest_hex: str


class FakePolicyStore:
    """A policy's text, which is valid where it permits anything."""

    def __init__(self) -> None:
        self.text = "permit (principal, action, resource);"
        self.broken: str | None = None

    def problem(self) -> str | None:
        return self.broken

    def current(self) -> tuple[str, str, int]:
        return self.text, hashlib.sha256(self.text.encode()).hexdigest(), 1_767_225_600_000_000

    def author(self) -> str:
        return "operator"

    def history(self) -> tuple[()]:
        return ()

    def active(self) -> ActivePolicy:
        return ActivePolicy(self.current()[1])

    def mandatory(self) -> MandatoryPart:
        return NO_MANDATORY

    async def set(self, text: str, by: str) -> None:
        if "permit" not in text:
            raise CallerError("line 1 column 1: unexpected token", code="invalid_policy")
        self.text = text


class Rig:
    """The server and the means to talk to it; use it with `async with`."""

    def __init__(
        self,
        tmp_path: Path,
        *,
        tcp: bool = False,
        buckets: PrincipalLimit | None = None,
        outbound: AsgiOutbound | None = None,
        **limits: Any,
    ) -> None:
        self.path = tmp_path / "d.sock"
        self.buckets = PrincipalBuckets(buckets or PrincipalLimit())
        self.tcp = tcp
        self.limits = HttpLimits(**limits)
        self.clock = FakeClock()
        self.ledger = MemoryLedger(self.clock)
        self.page = PageServer(0, self.buckets)
        self.calls = FakeCalls()
        self.changes = ApprovalChanges()
        approver = Person("1", "ann", "approver", hashlib.sha256(APPROVER_TOKEN.encode()).hexdigest(), "operator", 0)
        self.ledger.settings[PEOPLE] = msgspec.json.encode([approver])
        self.people = People(self.ledger)
        self.signers = Signers(self.ledger, self.people, DeviceKeys())
        self.agents = FakeAgents(**{AGENT_TOKEN: AGENT, OTHER_TOKEN: OTHER_AGENT})
        self.secrets = FakeSecrets()
        self.destinations = SecretDestinations(self.secrets, FakeSecrets(), lambda: self.claims)
        self.claims: list[Claim] = []
        redactor = SecretRedactor(KnownSecrets(KNOWN_SECRET.encode()))
        self.controls = controls = Controls(self.ledger, self.clock)
        tools = FakeTools(FakeTool(spec()), FakeTool(spec("pay", category="payments", cost_microusd=2_000)))
        self.manifests = FakeToolFiles(pay="1")
        policy = FakePolicyStore()
        identity, vault = Identity(b"\1" * 32), Vault(MemoryBackend(), "memory")
        self.outbound = outbound or AsgiOutbound()
        self.store = tempfile.TemporaryDirectory(prefix="bc-")
        self.database = Database(Path(self.store.name) / "briefcase.sqlite")
        self.providers = compose_providers(
            database=self.database,
            secrets=vault.compartment("providers"),
            remember=vault.remember,
            holder_did=identity.did,
            outbound=self.outbound,
            ledger=self.ledger,
            is_disabled=controls.is_disabled,
            clock=self.clock,
            entropy=SystemEntropy(),
            is_ga=False,
            denies_unknown_status=False,
        ).service
        logins = compose_logins(
            secrets=vault.compartment("mcp"),
            operator_secrets=self.destinations,
            remember=vault.remember,
            outbound=self.outbound,
            clock=self.clock,
            entropy=SystemEntropy(),
        )
        self.accounts = logins.accounts
        registry = ServerRegistry(
            ledger=self.ledger,
            clock=self.clock,
            entropy=SystemEntropy(),
            redactor=redactor,
            new_transport=self.no_transport,
            starts=Starts(1),
            needs_profile=False,
        )
        self.authenticator = Authenticator(OPERATOR_TOKEN, AUDITOR_TOKEN, self.people, self.agents)
        self.host = Host(
            data_dir=Path(self.store.name),
            unix_socket=self.path,
            strict_host=False,
            args_form="redacted",
            secret_backend=vault.description,
            canary=Canary(vault),
            environ={},
            engine_problem=lambda: None,
            policy_problem=policy.problem,
            sign=identity.sign,
            missing_layers=dict,
            exposed_agents=self.authenticator.exposed_agents,
        )
        client = ControlPlaneClient(
            self.outbound,
            identity.proof_signer,
            device_pubkey_b64=encode_base64url(identity.public_key),
            clock=self.clock,
            entropy=SystemEntropy(),
        )
        witnesses = WitnessClient(self.outbound)
        tokens = DeviceTokens(vault.compartment("fleet"), vault.remember)
        ports: OperatorPorts[ServerConfig, SealKey | AgeSeal, Manifest] = OperatorPorts(
            ledger=self.ledger,
            redactor=redactor,
            policy=cast("PolicyService", policy),
            controls=controls,
            grants=Grants(self.ledger),
            people=self.people,
            signers=SignerPorts(self.signers, DeviceKeys(), BrowserPasskeys(), "did:key:z6Mk", needs_bound=False),
            agents=self.agents,
            secrets=self.destinations,
            providers=self.providers,
            servers=ServerPorts(registry, registry, logins.logins, described),
            backups=Backups(Path(self.store.name), self.clock, identity.did, identity.sign),
            fleet=FleetPorts(client, tokens, FloorFile(Path(self.store.name))),
            tools=tools,
            manifests=self.manifests,
            witnesses=witnesses,
            clock=self.clock,
            entropy=FakeEntropy(),
        )
        operator = compose_operator(ports)
        parts = SyncParts(
            client=client,
            tokens=tokens,
            store=SyncProgressStore(self.database),
            ledger=self.ledger,
            clock=self.clock,
            seed=lambda: 0.5,
            interval_ms=60_000,
        )
        checkpoints = Checkpoints(self.ledger, identity.did, identity.public_key, identity.sign)
        self.services = Services(
            calls=cast("Calls", self.calls),  # classes, not ports: the fakes do what the API asks of them
            ledger=self.ledger,
            tools=tools,
            policy=cast("PolicyService", policy),
            controls=controls,
            people=self.people,
            signers=self.signers,
            agents=self.agents,
            secrets=self.destinations,
            redactor=redactor,
            clock=self.clock,
            entropy=FakeEntropy(),
            profile=Profile("did:key:z6Mk", "reference", strict_enforcement=False),
            changes=self.changes,
            operator=operator,
            mcp=registry,
            mcp_logins=logins.logins,
            providers=self.providers,
            fleet=FleetSync(operator.fleet, operator.bundles, parts),
            host=self.host,
            checkpoints=checkpoints,
            witnessing=Witnessing(
                WitnessingParts(
                    checkpoints=checkpoints,
                    ledger=self.ledger,
                    admin=operator.witnesses,
                    client=witnesses,
                    data_dir=Path(self.store.name),
                    policy=None,
                    log=NoteKey(identity.did, LOG_ED25519, identity.public_key),
                    verify=verify_note_signature,
                    clock=self.clock,
                    seed=lambda: 0.5,
                    interval_s=60,
                )
            ),
            anomalies=Anomalies(self.ledger, AnomalySettings()),
            meter=Meter(),
            metrics=Metrics(),
            page=self.page,
        )
        self.port = 0

    async def __aenter__(self) -> Self:
        listeners = [open_unix_listener(self.path)]
        if self.tcp:
            listeners.append(open_tcp_listener("127.0.0.1", 0))
            self.port = listeners[1].sock.getsockname()[1]
        api = Api(self.services, self.authenticator, self.buckets)
        self.server = HttpServer(api, listeners, self.limits, on_drain=self.changes.stop, refusal_words=refusal_words())
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.calls.go.set()
        await self.server.drain()
        await self.page.stop()
        await self.accounts.close()
        await self.providers.close()
        self.database.close()
        self.store.cleanup()

    async def no_transport(self, config: ServerConfig) -> NoReturn:
        raise UpstreamError(f"`{config.id}` is not reachable from a test")

    async def connect(self, *, tcp: bool = False) -> Client:
        if tcp:
            return Client(*await asyncio.open_connection("127.0.0.1", self.port))
        return Client(*await asyncio.open_unix_connection(self.path))

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = OPERATOR_TOKEN,
        headers: Headers = (),
        tcp: bool = False,
    ) -> tuple[int, dict[str, str], Any]:
        """One request on a connection of its own: status, headers, parsed body."""
        client = await self.connect(tcp=tcp)
        try:
            await client.send(request(method, path, body, token=token, headers=headers))
            return await client.answer()
        finally:
            await client.close()

    async def raw(self, data: bytes, *, tcp: bool = False) -> bytes:
        """Everything the server says to some bytes, until it closes."""
        client = await self.connect(tcp=tcp)
        try:
            await client.send(data)
            return await client.rest()
        finally:
            await client.close()

    def store_approval(self, **changes: Any) -> Approval:
        fields: dict[str, Any] = {
            "id": "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
            "status": ApprovalStatus.PENDING,
            "kind": ApprovalKind.LOCAL,
            "created_us": self.clock.now_us(),
            "expires_us": self.clock.now_us() + 900_000_000,
            "principal": AGENT.name,
            "tool_id": "echo",
            "tool_digest_hex": "0" * 64,
            "args_digest_hex": "1" * 64,
            "binding_hex": "2" * 64,
            "reason": "approval_by_policy",
            "summary": 'echo {"text":"hi"}',
        }
        approval = Approval(**{**fields, **changes})
        self.ledger.stored_approvals[approval.id] = approval
        return approval


class Client:
    """One connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused while sending: the answer is there
            self.writer.write(data)
            await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        """The next answer: status, headers, parsed body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        status_line, *lines = head.decode().rstrip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        body = await self.reader.readexactly(int(headers["content-length"]))
        is_json = headers["content-type"] == "application/json"
        return int(status_line.split()[1]), headers, json.loads(body) if is_json else {"text": body.decode()}

    async def rest(self) -> bytes:
        """What comes until the server closes, however our own writes fail then."""
        said = b""
        with contextlib.suppress(ConnectionError):
            while data := await self.reader.read(65_536):
                said += data
        return said

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await self.writer.wait_closed()


def request(
    method: str,
    path: str,
    body: object = None,
    *,
    token: str | None = OPERATOR_TOKEN,
    headers: Headers = (),
    host: str | None = "localhost",
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1"]
    if host is not None:
        lines.append(f"host: {host}")
    if token is not None:
        lines.append(f"authorization: Bearer {token}")
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    if body is not None:
        lines.append(f"content-length: {len(data)}")
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """A served API with nothing set otherwise."""
    async with Rig(tmp_path) as served:
        yield served
