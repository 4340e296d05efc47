"""A whole fleet in one loop: the server's own code over a model of its database, devices' own code, a network between.

What is real: on a device all of `FleetSync` and what is under it down to the ports; of the control plane its paths,
what decides behind them, and its background tasks. What is simulated: time, the network, PostgreSQL (`model_database`),
the ledger and the vault. Crashes come before or after any durable step of either end, by a count of steps.

A `World` has the operations of a story; `random_story` tells one by a seed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import blacksheep

from briefcase.adapters.vault.identity import Identity
from briefcase.core.fleet.enrolment import read_fleet_state
from briefcase.edges.control_plane.administrators import ADMIN, INSTALLER, Administrator
from briefcase.edges.control_plane.app import ControlPlaneApp
from briefcase.edges.control_plane.database import Database, UnavailableError
from briefcase.edges.control_plane.key_file import KeyFile
from briefcase.edges.control_plane.schema import DEFAULT_TENANT
from briefcase.edges.control_plane.services import Services, compose_services
from briefcase.edges.control_plane.settings import ControlPlaneSettings
from briefcase.edges.control_plane.signing_keys import Process
from briefcase.edges.control_plane.upkeep import Upkeep
from briefcase.model.errors import BriefcaseError, UpstreamError
from briefcase.model.ports import Clock, Entropy, HttpRequest, HttpResponse
from support.crash import Crash, is_crash
from support.fleet import BASE_URL, FleetDesk
from support.fleet_invariants import Invariants
from support.fleet_server import ADMIN_TOKEN, AUDITOR_TOKEN, POLICY
from support.model_database import ModelDatabase, Storage
from support.simulated_loop import SimulatedClock

INTERVAL_MS: Final = 20_000
MOST_STEPS: Final = 12  # durable steps of one sync, or of one request
MINUTE_US: Final = 60_000_000
ADMIN_TIMEOUT_MS: Final = 30_000
BAD_POLICY: Final = "permit(principal, action, resource) when { context.nonsense };"


_SITES: Final[dict[str, tuple[ControlPlaneApp, blacksheep.Application]]] = {}


class SeededEntropy:
    """Ids and tokens that a seed decides."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def token(self) -> str:
        return f"token-{self._random.getrandbits(160):040x}"


class ServerProcess:
    """One process of the control plane; `kill` ends it anywhere, and `start` begins it anew."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._entropy = SeededEntropy(f"{world.seed} {name}")
        self.clock = SimulatedClock(world.loop)
        self.is_up = False
        self.crash_in = 0

    async def start(self) -> None:
        """Start as `serving` does, without a listener."""
        self._database = ModelDatabase(self._world.storage, self._step, self._world.latency)
        services, self._site = await serve_model(
            self._database, KeyFile(self._world.key_file), self.clock, self._entropy, name=self._name
        )
        database: Database = self._database  # type: ignore[assignment]
        upkeep = Upkeep(database, self.clock, uuid.UUID(self._entropy.uuid()))
        self.is_up = True
        for work in (services.calls.run(), services.publications.run(), upkeep.run()):  # no key is replaced here
            self._spawn(work)

    def kill(self) -> None:
        """End it now: nothing that it does goes on."""
        self.is_up, self.crash_in = False, 0
        self._world.counted["crashes of a process"] += 1
        self._database.is_dead = True
        for task in list(self._tasks):
            if task is not asyncio.current_task():
                task.cancel()
        self._world.spawn(self._again())

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """Answer a request, whoever may still wait for it.

        Raises:
            UpstreamError: it ended before it answered.
        """
        invariants, began = self._world.invariants, self._world.invariants.moment
        is_advance = request.url.endswith("/advance")
        if is_advance:
            invariants.asked_to_advance.append(began)
        try:
            task = self._spawn(ask_site(self._site, request))
            await asyncio.wait({task})
            fault = None if task.cancelled() else task.exception()
            if task.cancelled() or (fault is not None and is_crash(fault)):
                raise UpstreamError("the connection was closed")
            response: HttpResponse = task.result()
            self._world.counted[f"answers of {response.status}"] += 1
            invariants.answered(request, began, response)
            return response
        finally:
            if is_advance:
                invariants.asked_to_advance.remove(began)

    def _step(self) -> None:
        if self.crash_in:
            self.crash_in -= 1
            if not self.crash_in:
                self.kill()
                raise Crash

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        fault = None if task.cancelled() else task.exception()
        if fault is not None and not is_crash(fault):
            self._world.faults.append(repr(fault))

    async def _again(self) -> None:
        await asyncio.sleep(self._world.random.uniform(0.5, 20))
        while not self.is_up:
            try:
                await self.start()
            except (UnavailableError, Crash):
                await asyncio.sleep(1)


class Device:
    """One daemon's half: `FleetDesk` in a loop of syncs, with a clock of its own; crashes at any durable step."""

    def __init__(self, world: World, number: int) -> None:
        self._world = world
        self.clock = SimulatedClock(world.loop)
        self.crash_in = 0
        self.is_down = False
        self.is_cut_off = False
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self.desk: FleetDesk = FleetDesk(
            world.directory / f"device{number}",
            outbound=Network(world, self),
            admin_token=ADMIN_TOKEN,
            clock=self.clock,
            entropy=SeededEntropy(f"{world.seed} device {number}"),
            identity=Identity(bytes([number + 1]) * 32),
            interval_ms=INTERVAL_MS,
        )
        self._watch(self.desk.ledger, "commit")
        self._watch(self.desk.database, "run")
        self._watch(self.desk.secrets, "put")

    @property
    def id(self) -> str:
        """Its id, as the tables have it; empty where it was never enrolled."""
        return read_fleet_state(self.desk.ledger).device_id.replace("-", "")

    async def start(self) -> None:
        """Load what is durable, and sync until it crashes."""
        self.is_down = False
        try:
            await self.desk.start()
        except Crash:
            return
        self._watch(self.desk.floors, "note")
        self._spawn(self.desk.sync.run())

    def do(self, work: Callable[[], Awaitable[object]]) -> None:
        """Have its operator or its agents do something, if it is up; what is refused is theirs."""

        async def done() -> None:
            with contextlib.suppress(BriefcaseError):
                await work()

        if not self.is_down:
            self._spawn(done())

    def crash(self) -> None:
        """End it now; it starts again after a while."""
        if self.is_down:
            return
        self.is_down, self.crash_in = True, 0
        self._world.counted["crashes of a device"] += 1
        for task in list(self._tasks):
            if task is not asyncio.current_task():
                task.cancel()
        self._world.spawn(self._again(), name=self.desk.base_url)

    def look(self) -> None:
        """Have the invariants look at what is durable on it."""
        desk, invariants = self.desk, self._world.invariants
        if not self.id:
            return
        self._world.chains[self.id] = desk.ledger.chain
        rows = desk.database.run_now(lambda kept: kept.execute("SELECT progress FROM sync_progress").fetchall())
        for (progress,) in rows:
            invariants.kept_watermark(self.id, json.loads(progress)["uploaded_id"])

    def _watch(self, owner: object, name: str) -> None:
        real = getattr(owner, name)

        async def watched(*args: Any) -> Any:
            self._step()
            result = await real(*args)
            if name == "commit":
                self._committed()
            elif name == "run":
                self.look()
            self._step()
            return result

        setattr(owner, name, watched)

    def _committed(self) -> None:
        self.look()
        event = self.desk.ledger.chain[-1].event
        if event["kind"] == "control_plane_policy_sync":
            self._world.invariants.applied(self.id, event["bundle_id"])  # type: ignore[arg-type]

    def _step(self) -> None:
        if self.is_down:
            raise Crash
        if self.crash_in:
            self.crash_in -= 1
            if not self.crash_in:
                self.crash()
                raise Crash

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        fault = None if task.cancelled() else task.exception()
        if fault is not None and not is_crash(fault):
            self._world.faults.append(repr(fault))

    async def _again(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.sleep(self._world.random.uniform(0.5, 30))
        await self.start()


class Network:
    """A device's way out (`ports.Outbound`): late, twice, in another order, or not at all."""

    def __init__(self, world: World, device: Device | None) -> None:
        self._world = world
        self._device = device

    async def request(self, request: HttpRequest) -> HttpResponse:
        try:
            async with asyncio.timeout(request.timeout_ms / 1_000):
                return await self._carried(request)
        except TimeoutError:
            raise UpstreamError("no answer in time", code="upstream_timeout") from None

    async def _carried(self, request: HttpRequest) -> HttpResponse:
        world = self._world
        await self._leg()
        process = world.some_process()
        if process is None:
            raise UpstreamError("the connection was refused", sent=False)
        answering = world.spawn(process.answer(request))
        if world.random.random() < world.doubles:
            world.counted["requests that came twice"] += 1
            world.spawn(self._again(request))
        await asyncio.wait({answering})
        await self._leg()
        response: HttpResponse = answering.result()
        return response

    async def _leg(self) -> None:
        world = self._world
        if world.random.random() < world.loses or (self._device is not None and self._device.is_cut_off):
            world.counted["requests or answers lost"] += 1
            await asyncio.Event().wait()  # until nobody waits for it any more
        await asyncio.sleep(world.random.expovariate(10))

    async def _again(self, request: HttpRequest) -> None:
        """The same bytes once more, later and perhaps elsewhere; nobody reads the answer."""
        await asyncio.sleep(self._world.random.expovariate(0.2))
        process = self._world.some_process()
        if process is not None:
            await process.answer(request)


class World:
    """Processes, devices, and an administrator; see the module.

    Args:
        seed: decides everything.
        directory: for the devices' files; on a file system in memory, since each is written with a sync.
        devices: how many daemons there are.
        processes: how many processes of the control plane.
    """

    def __init__(self, seed: int, directory: Path, *, devices: int = 3, processes: int = 2) -> None:
        self.loop = asyncio.get_running_loop()
        self.seed = seed
        self.random = random.Random(seed)
        self.directory = directory
        self.key_file = directory / "signing_key"
        self.loses = self.doubles = 0.0
        self.chains: dict[str, Any] = {}
        self.faults: list[str] = []
        self.counted: Counter[str] = Counter()
        self.storage = Storage()
        self.invariants = Invariants(self.storage, self.chains)
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self.processes = [ServerProcess(self, f"process {number}") for number in range(processes)]
        self.devices = []
        for number in range(devices):
            (directory / f"device{number}").mkdir(mode=0o700)
            self.devices.append(Device(self, number))
        self._administration = Network(self, None)

    async def start(self) -> None:
        """Start everything, and enrol every device."""
        for process in self.processes:
            await process.start()
        for device in self.devices:
            await device.start()
            await device.desk.enrol()

    def latency(self) -> float:
        """How long one way to the database takes, seconds."""
        return self.random.expovariate(500)

    def spawn(self, work: Coroutine[Any, Any, Any], name: str = "") -> asyncio.Task[Any]:
        """Have something happen that nobody waits for."""
        task = self.loop.create_task(work, name=name or None)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and not isinstance(task.exception(), (Crash, UpstreamError, type(None))):
            self.faults.append(repr(task.exception()))

    def later(self, most_s: float, happens: Callable[[], object]) -> None:
        """Have something happen within so many seconds."""
        self.loop.call_later(self.random.uniform(0, most_s), happens)

    def some_process(self) -> ServerProcess | None:
        """One that is up, as a balancer in front of them chooses it; None where none is."""
        up = [process for process in self.processes if process.is_up]
        return self.random.choice(up) if up else None

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Ask as an administrator; 0 where no answer came."""
        headers = {"authorization": f"Bearer {ADMIN_TOKEN}", "content-type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = HttpRequest(method, f"{BASE_URL}{path}", headers, data, timeout_ms=ADMIN_TIMEOUT_MS)
        try:
            response = await self._administration.request(request)
        except UpstreamError:
            return 0, {}
        return response.status, json.loads(response.body)

    # --- what an administrator does -----------------------------------------------------------------------------------

    def _policy(self) -> dict[str, object]:
        mark = self.random.randrange(1_000)
        return {"policy_text": f"{POLICY} // {mark}", "budgets": {"read": mark}}

    async def publish(self) -> None:
        """Publish to all."""
        await self.ask("POST", "/v1/admin/policy", self._policy())

    async def begin_rollout(self) -> None:
        """Publish to a canary."""
        permille = self.random.choice((300, 500, 700))
        gates = self.random.choice(({}, {"min_applied_permille": 500}, {"max_apply_failures": 1}))
        await self.ask("POST", "/v1/admin/rollouts", {**self._policy(), "canary_permille": permille, "gates": gates})

    async def step_rollout(self, step: str) -> None:
        """`advance` or `rollback` the newest rollout."""
        newest = max(self.invariants.rollouts, default=0)
        if newest:
            await self.ask("POST", f"/v1/admin/rollouts/{newest}/{step}")

    async def advance_twice(self) -> None:
        """Two administrators, or one whose first request seemed lost."""
        await asyncio.gather(self.step_rollout("advance"), self.step_rollout("advance"))

    async def publish_mandatory(self) -> None:
        """Forbid something on every device."""
        text = f'forbid(principal, action, resource == Tool::"t{self.random.randrange(9)}");'
        await self.ask("POST", "/v1/admin/mandatory", {"policy_text": text})

    async def revoke(self, device: Device) -> None:
        """Revoke a device."""
        await self.ask("POST", f"/v1/admin/devices/{uuid.UUID(device.id)}/revoke")

    # --- the end ------------------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """End every fault; what is down comes back by itself."""
        self.loses = self.doubles = 0.0
        self.storage.is_away = False
        for process in self.processes:
            process.clock.ahead_us = process.crash_in = 0
        for device in self.devices:
            device.is_cut_off = False
            device.clock.ahead_us = device.crash_in = 0

    async def settle(self) -> None:
        """Let everything arrive, once all is well; what does not is noted as a violation."""
        self.heal()
        await asyncio.sleep(60)
        for number, state in self.invariants.rollouts.items():
            if state in {"canary", "active"}:
                await self.ask("POST", f"/v1/admin/rollouts/{number}/rollback")
        await self.publish()
        newest = max(self.invariants.published)
        for device in self.devices:
            await device.desk.enrol()
            await device.desk.sync.sync()
            running, head = device.desk.enrolment.bundle_id, device.desk.ledger.head().id
            self.invariants.check(running == newest, "in the end", f"{running} runs, {newest} is the newest")
            uploaded = (await device.desk.status()).progress.uploaded_id
            self.invariants.check(uploaded == head, "in the end", f"{uploaded} of {head} receipts are stored")
        self.check()
        states = self.invariants.rollouts
        self.counted["bundles published"] += newest
        self.counted["rollouts begun"] += len(states)
        self.counted["rollouts let through to all"] += len(self.invariants.was_active)
        self.counted["tokens ended"] += sum(len(tokens) - 1 for tokens in self.invariants.tokens.values())
        self.counted["receipts stored"] += sum(len(chain) for chain in self.chains.values())
        self.counted["commits"] += self.invariants.moment

    def check(self) -> None:
        """Raise the first violation, if there was one, and what failed inside."""
        self.invariants.look()
        self.invariants.look_at_receipts()
        for device in self.devices:
            device.look()
        if self.invariants.violations:
            raise self.invariants.violations[0]
        assert not self.faults, self.faults

    def close(self) -> None:
        """Let go of the devices' files."""
        for device in self.devices:
            device.desk.database.close()
        self.storage.close()


async def random_story(world: World, seconds: float) -> None:
    """So many seconds of a fleet's life, with everything that may go wrong."""
    chance = world.random
    world.loses, world.doubles = 0.05, 0.15
    until = world.loop.time() + seconds
    while world.loop.time() < until:
        await asyncio.sleep(chance.expovariate(1))
        device, process = chance.choice(world.devices), chance.choice(world.processes)
        happens = chance.choices(*zip(*CHANCES.items(), strict=True))[0]
        happens(world, device, process)
        if world.invariants.violations:
            break
    await world.settle()


def _cut_off(world: World, device: Device, _: ServerProcess) -> None:
    device.is_cut_off = True
    world.later(60, lambda: vars(device).update(is_cut_off=False))


def _database_away(world: World, _: Device, __: ServerProcess) -> None:
    world.counted["database away"] += 1
    world.storage.is_away = True
    world.storage.wake()
    world.later(15, lambda: vars(world.storage).update(is_away=False))


def _step_clock(world: World, device: Device, process: ServerProcess) -> None:
    world.counted["clock steps"] += 1
    clock = world.random.choice((device.clock, process.clock))
    clock.ahead_us = world.random.choice((-1_440, -60, -4, -1, 1, 4, 60, 1_440)) * MINUTE_US
    world.later(60, lambda: vars(clock).update(ahead_us=0))


def _crash_device_in(world: World, device: Device, _: ServerProcess) -> None:
    device.crash_in = 1 + world.random.randrange(2 * MOST_STEPS)


def _crash_process_in(world: World, _: Device, process: ServerProcess) -> None:
    if process.is_up:
        process.crash_in = 1 + world.random.randrange(MOST_STEPS)


def _kill_process(_: World, __: Device, process: ServerProcess) -> None:
    if process.is_up:
        process.kill()


Happening = Callable[[World, Device, ServerProcess], object]
CHANCES: Final[dict[Happening, int]] = {
    lambda _world, device, _process: device.do(device.desk.receipt): 40,
    lambda world, _device, _process: world.spawn(world.publish()): 6,
    lambda world, _device, _process: world.spawn(world.begin_rollout()): 4,
    lambda world, _device, _process: world.spawn(world.step_rollout("advance")): 6,
    lambda world, _device, _process: world.spawn(world.advance_twice()): 3,
    lambda world, _device, _process: world.spawn(world.step_rollout("rollback")): 2,
    lambda world, _device, _process: world.spawn(world.publish_mandatory()): 2,
    lambda world, device, _process: world.spawn(world.revoke(device)): 2,
    lambda _world, device, _process: device.do(device.desk.enrol): 4,
    lambda _world, device, _process: device.do(device.desk.sync.sync): 4,
    _cut_off: 3,
    _database_away: 2,
    _step_clock: 3,
    _crash_device_in: 4,
    _crash_process_in: 4,
    _kill_process: 1,
}


async def serve_model(
    database: ModelDatabase, key_file: KeyFile, clock: Clock, entropy: Entropy, *, name: str = ""
) -> tuple[Services, blacksheep.Application]:
    """Put together what a process serves, over a model of its database, as `serving` does.

    The paths of a process that was there before are taken again, with what is behind them new: BlackSheep takes 20 ms
    to read the signatures of its handlers.
    """
    settings = ControlPlaneSettings(
        directory=Path(),
        host="",
        port=0,
        database_url="",
        base_url=BASE_URL,
        admin_token=ADMIN_TOKEN,
        auditor_token=AUDITOR_TOKEN,
        signing_key_file=Path(),
    )
    real: Database = database  # type: ignore[assignment]
    process = Process(uuid.UUID(entropy.uuid()), name)
    services = compose_services(settings, real, key_file, process, clock=clock, entropy=entropy)
    await services.keys.begin()
    async with real.transaction(DEFAULT_TENANT) as connection:
        await services.bundles.make_tenant(connection, Administrator(DEFAULT_TENANT, INSTALLER, ADMIN))
    if name not in _SITES:
        app = ControlPlaneApp(services)
        _SITES[name] = app, app.site()
        await _SITES[name][1].start()  # type: ignore[no-untyped-call]
    app, site = _SITES[name]
    app._services = services
    return services, site


async def ask_site(site: blacksheep.Application, request: HttpRequest) -> HttpResponse:
    """Ask an application as its listener does (ASGI 3)."""
    parts = urlsplit(request.url)
    body = [request.body or b""]
    sent: list[Any] = []

    async def receive() -> dict[str, object]:
        if not body:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": body.pop(), "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(name.encode(), value.encode()) for name, value in request.headers.items()]
    if request.body is not None:
        headers.append((b"content-length", b"%d" % len(request.body)))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": parts.scheme,
        "path": parts.path,
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 1),
    }
    await site(scope, receive, send)
    answered = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return HttpResponse(sent[0]["status"], answered, b"".join(message.get("body", b"") for message in sent[1:]))
