"""The model of the database that the fleet is simulated with answers as PostgreSQL does: the same is asked of both.

The server's code is the same on both sides, and so are its key, its time and its entropy: every answer must be equal to
the byte but for what PostgreSQL's own clock says, and the ids of requests.
"""

import asyncio
import contextlib
import json
import random
import re
import uuid

import pytest

from briefcase.edges.control_plane.key_file import KeyFile
from briefcase.model.ports import HttpRequest
from support.clock import FakeClock
from support.entropy import FakeEntropy
from support.fleet import BASE_URL
from support.fleet_server import ADMIN_TOKEN, POLICY, FleetDevice, Got, RunningControlPlane, chain
from support.model_database import ModelDatabase, Storage
from support.simulated_fleet import ask_site, serve_model

STEPS = 80
BY_POSTGRES = re.compile(
    r'"(enrolled_at|revoked_at|begun_at|changed_at|seen_at|given_at)_rfc3339":"[^"]*"|"request_id":"[^"]*"'
    r'|"p(50|99)_ms":\d+'
)
OTHERS = "00000000-0000-4000-8000-00000000ffff"


class ModelPlane:
    """The control plane over the model, with what a test asks of `RunningControlPlane`."""

    def __init__(self, key_file) -> None:
        self.clock = FakeClock()
        self._key_file = key_file

    async def start(self) -> None:
        database = ModelDatabase(Storage(), lambda: None, lambda: 0)
        services, self._site = await serve_model(
            database, KeyFile(self._key_file), self.clock, FakeEntropy(), name=str(self._key_file)
        )

        self._letting_in = asyncio.create_task(services.calls.run())

    async def stop(self) -> None:
        self._letting_in.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._letting_in

    async def send(self, method, path, *, headers, body=None) -> Got:
        data = None if body is None else body.encode()
        answer = await ask_site(self._site, HttpRequest(method, BASE_URL + path, headers, data))
        return Got(answer.status, answer.body.decode(), answer.headers)


class RawPlane(RunningControlPlane):
    """The control plane over PostgreSQL, whose answers are left as they came."""

    async def send(self, method, path, *, headers, body=None) -> Got:
        async with self._session.request(method, self.address + path, headers=headers, data=body) as answer:
            return Got(answer.status, await answer.text(), answer.headers)


class Sides:
    """Both, asked the same; each answer is compared."""

    def __init__(self, model: ModelPlane, real: RawPlane, seed: int) -> None:
        self.sides = (model, real)
        self.random = random.Random(seed)
        self.devices: list[tuple[FleetDevice, FleetDevice]] = []
        self.tokens = [ADMIN_TOKEN]
        self.seen: set[tuple[str, int]] = set()

    def compare(self, what: str, answers: list[Got]):
        model, real = (BY_POSTGRES.sub("", got.body) for got in answers)
        assert (answers[0].status, model) == (answers[1].status, real), what
        for name in ("etag", "retry-after"):
            assert answers[0].headers.get(name) == answers[1].headers.get(name), what
        self.seen.add((what, answers[0].status))
        return json.loads(answers[0].body or "null")

    async def admin(self, method: str, path: str, body: object = None):
        token = self.random.choice([*self.tokens, ADMIN_TOKEN, "nobodys-token-of-all"])
        headers = {"authorization": f"Bearer {token}"}
        data = None if body is None else json.dumps(body)
        what = re.sub(r"[0-9a-f-]{36}|/\d+|\?.*", "*", f"{method} {path}")
        return self.compare(what, [await side.send(method, path, headers=headers, body=data) for side in self.sides])

    async def device(self, method: str, what: str, body: object = None, *, etag: str = "", twice: bool = False):
        """A device asks, with a new proof for each side or one that is used twice."""
        pair = self.random.choice(self.devices)
        headers = {"if-none-match": etag} if etag else {}
        proofs = [device.proof(method, f"/v1/devices/{device.id}/{what}") for device in pair]
        for _ in range(2 if twice else 1):
            answers = [
                await device.call(method, what, body, proof=proof, headers=headers)
                for device, proof in zip(pair, proofs, strict=True)
            ]
            self.compare(f"{method} {what} twice" if twice else f"{method} {what}", answers)
        return answers[0]

    async def new_device(self) -> None:
        device_id = str(uuid.UUID(int=self.random.getrandbits(128), version=4))
        pair = tuple(_SameProofs(side, device_id) for side in self.sides)
        pair[1].key, pair[1]._signer = pair[0].key, pair[0]._signer
        self.devices.append(pair)
        await self.enrol(pair)

    async def enrol(self, pair) -> None:
        answer = await self.admin("POST", "/v1/admin/devices/enroll", pair[0].enrolment("name"))
        for device in pair:
            device.token = answer.get("device_token", device.token)

    # --- what is asked ------------------------------------------------------------------------------------------------

    async def step(self) -> None:
        draw = self.random
        pair = draw.choice(self.devices)
        newest = draw.randrange(1, 12)
        match draw.randrange(22):
            case 0:
                await self.new_device()
            case 1:
                await self.enrol(pair)
            case 2:
                policy = draw.choice([f"{POLICY} // {draw.randrange(9)}", "", "no cedar"])
                await self.admin("POST", "/v1/admin/policy", {"policy_text": policy, "budgets": {"read": 1}})
            case 3:
                gates = draw.choice([{}, {"min_applied_permille": 1}, {"max_flips": 0}, {"nonsense": 1}])
                body = {
                    "policy_text": POLICY,
                    "budgets": {},
                    "canary_permille": draw.choice([1, 500, 999]),
                    "gates": gates,
                }
                await self.admin("POST", "/v1/admin/rollouts", body)
            case 4 | 5:
                await self.admin("POST", f"/v1/admin/rollouts/{newest}/{draw.choice(['advance', 'rollback'])}")
            case 6:
                await self.admin(
                    "GET", draw.choice(["/v1/admin/rollouts", f"/v1/admin/rollouts/{newest}", "/v1/admin/convergence"])
                )
            case 7:
                text = draw.choice(["", POLICY, 'forbid(principal, action, resource == Tool::"echo");'])
                await self.admin("POST", "/v1/admin/mandatory", {"policy_text": text})
            case 8:
                step = draw.choice(["revoke", "revoke", "rotate"])
                answer = await self.admin("POST", f"/v1/admin/devices/{draw.choice([pair[0].id, OTHERS])}/{step}")
                for device in pair:
                    device.token = answer.get("device_token", device.token)
            case 9:
                path = draw.choice(["devices", f"devices/{pair[0].id}", "mandatory", "policy"])
                await self.admin("GET", f"/v1/admin/{path}")
            case 10:
                await self.admin("GET", "/v1/audit/acts?limit=200")
            case 11:
                await self.admin("GET", f"/v1/audit/receipts?device_id={pair[0].id}&limit=200")
            case 12:
                body = {"name": f"n{draw.randrange(4)}", "role": "admin", "tenant": draw.choice(["", "acme"])}
                self.tokens += [(await self.admin("POST", "/v1/admin/tokens", body)).get("token", ADMIN_TOKEN)]
            case 13:
                await self.admin("POST", f"/v1/admin/tokens/n{draw.randrange(4)}/revoke")
            case 14 | 15:
                got = await self.device("GET", "policy")
                await self.device("GET", "policy", etag=got.headers.get("etag", ""))
            case 16:
                await self.device("GET", "policy", twice=True)
            case 17:
                running = draw.choice([None, 1, newest])
                status = {
                    "running_bundle_id": running,
                    "tried_bundle_id": newest,
                    "last_error": draw.choice([None, "no"]),
                }
                await self.device("POST", "status", status)
            case _:
                await self.device("POST", "receipts", {"receipts": self.receipts()}, twice=draw.random() < 0.2)

    def receipts(self) -> list[dict]:
        """A piece of one of two stories, which begins anywhere, perhaps with a gap or in another order."""
        draw = self.random
        story = chain(12, mark=draw.choice(["", "", "", "another"]))
        if draw.random() < 0.2:
            story[3:] = chain(8, first_id=6, prev_hash_hex=story[2]["hash_hex"])
        first = draw.randrange(6)
        piece = story[first : first + draw.randrange(7)]
        return piece[::-1] if draw.random() < 0.2 else piece


class _SameProofs(FleetDevice):
    """A device whose proofs are the same on both sides: their ids count up."""

    count = 0

    def proof(self, method, path, *, jti=""):
        self.count += 1
        now_us = self.plane.clock.now_us()
        return self._signer.sign(method, BASE_URL + path, f"{self.count:032x}", now_us, access_token=self.token)


@pytest.mark.parametrize("seed", range(4))
async def test_the_model_answers_as_postgresql_does(database_url, tmp_path, seed):
    key_file = tmp_path / "real" / "signing_key"
    async with RawPlane(database_url, tmp_path / "real", base_url=BASE_URL) as real:
        model = ModelPlane(key_file)
        await model.start()
        sides = Sides(model, real, seed)
        await sides.new_device()
        for _ in range(STEPS):
            await sides.step()
        await model.stop()
    assert len(sides.seen) > 20
