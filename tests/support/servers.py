"""A registry with the fixture server behind it, over real pipes and sockets, and a ledger in memory."""

import asyncio
import atexit
import contextlib
import os
import sys
import tempfile
import uuid
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

from briefcase.adapters.children.confinement import Confinement
from briefcase.adapters.net.outbound import GuardedOutbound
from briefcase.adapters.servers.composition import compose_logins
from briefcase.adapters.servers.connection import State
from briefcase.adapters.servers.registry import ServerRegistry
from briefcase.adapters.servers.starts import Starts
from briefcase.adapters.servers.transports import TransportFactory
from briefcase.adapters.system import SystemClock, SystemEntropy
from briefcase.core.mcp.call_options import CallOptions
from briefcase.model.ports import CallContext
from support.entropy import FakeEntropy
from support.ledger import MemoryLedger
from support.redaction import FakeRedactor
from support.secrets import FakeSecrets
from support.waiting import until

FIXTURE = str(Path(__file__).parents[1] / "servers" / "fixture_server.py")
SECRET = "s3cr3t-value-of-the-vault"


@cache
def confinement() -> Confinement:
    """What a server of these tests is kept from: an empty directory, measured once."""
    directory = Path(tempfile.mkdtemp(prefix="bc-data-"))
    atexit.register(directory.rmdir)
    return Confinement(directory, (), needs_all=False)


class Rig:
    """A registry with a ledger in memory; `call` executes one of its tools as the daemon's flow does."""

    def __init__(self, outbound: GuardedOutbound, *, needs_profile: bool = False, places: int = 8) -> None:
        self.clock = SystemClock()
        self.ledger = MemoryLedger(self.clock)
        self.redactor = FakeRedactor(SECRET.encode())
        self.outbound = outbound
        self.needs_profile = needs_profile
        self.places = places
        self.new_registry()

    def new_registry(self) -> None:
        self.operator_secrets = FakeSecrets(known=SECRET)
        self.parts = compose_logins(
            secrets=FakeSecrets(known=SECRET),
            operator_secrets=self.operator_secrets,
            remember=lambda *_: None,
            outbound=self.outbound,
            clock=self.clock,
            entropy=SystemEntropy(),
        )
        self.registry = ServerRegistry(
            ledger=self.ledger,
            clock=self.clock,
            entropy=FakeEntropy(),
            redactor=self.redactor,
            new_transport=TransportFactory(
                self.outbound, self.operator_secrets, self.parts.accounts, confinement(), os.environ
            ).transport,
            starts=Starts(self.places),
            needs_profile=self.needs_profile,
        )

    async def ready(self, server_id: str = "fx", state: State = State.READY) -> None:
        connection = self.registry.connection(server_id)
        await until(lambda: connection.state is state)

    async def call(
        self,
        tool_id: str,
        args: dict[str, Any] | None = None,
        *,
        options: CallOptions | None = None,
        principal: str = "scout",
        within_ms: int = 50_000,
    ) -> Any:
        tool = self.registry.resolve(tool_id)
        assert tool is not None, f"no tool {tool_id}"
        assert tool.check_args(args or {}) is None
        request_id = str(uuid.uuid4())
        exchange = self.registry.exchanges.open(principal, request_id, options or CallOptions())
        self.exchange = exchange
        deadline_ns = self.clock.monotonic_ns() + within_ms * 1_000_000
        context = CallContext(
            call_id="c", principal=principal, request_id=request_id, deadline_ns=deadline_ns, channel=exchange
        )
        try:
            return (await tool.execute(args or {}, context)).content
        finally:
            exchange.end()


@contextlib.asynccontextmanager
async def served(
    transport: str = "stdio", era: str = "stateless", *options: str, needs_profile: bool = False, **body: Any
) -> AsyncIterator[Rig]:
    """A rig with the fixture server `fx` connected."""
    async with contextlib.AsyncExitStack() as stack:
        if transport == "http":
            process = await asyncio.create_subprocess_exec(
                sys.executable, FIXTURE, "http", "--era", era, *options, stdout=asyncio.subprocess.PIPE
            )
            stack.push_async_callback(ended, process)
            assert process.stdout is not None
            url = (await process.stdout.readline()).decode().strip()
            body["endpoint_url"] = url
            allowed = [url.removeprefix("http://").partition("/")[0]]
        else:
            body |= {"command": sys.executable, "args": [FIXTURE, "stdio", "--era", era, *options]}
            allowed = []
        outbound = GuardedOutbound(allowed)
        stack.push_async_callback(outbound.close)
        rig = Rig(outbound, needs_profile=needs_profile)
        await rig.registry.set_server("fx", body, "operator")
        try:
            yield rig
        finally:
            await rig.registry.stop()


async def ended(process: Process) -> None:
    """Kill a process and let go of its pipes, which asyncio closes only when they are collected."""
    process.kill()
    await process.wait()
    transport: Any = vars(process)["_transport"]
    transport.close()


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().split()[2]
