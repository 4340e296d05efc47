"""Devices that upload and sync, and an administrator who publishes, lists and revokes, while everything breaks.

Each keeps to the contract: an answer that did not come, or a 503, is unknown, and the same is sent again with a new
proof. What each was told is in the history.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
from history import BUNDLE, Answer
from machines import until
from plane import ADMIN_TOKEN

from briefcase.core.jose.dpop import ProofSigner
from briefcase.core.jose.jws import EDDSA, generate_key

POLICY: Final = "permit(principal, action, resource);"
BATCH: Final = 4
TIMEOUT_S: Final = 5.0
PAUSE_S: Final = 0.1
ENROLLED_S: Final = 60.0
GENESIS: Final = "0" * 64
_UNKNOWN: Final = (0, {})


class Load:
    """Everybody who asks.

    Args:
        session: sends.
        base_url: of the proxy.
        devices: how many devices upload all the time.
    """

    def __init__(self, session: aiohttp.ClientSession, base_url: str, devices: int) -> None:
        self._session = session
        self.base_url = base_url
        self.fault = "nothing"
        self.answers: list[Answer] = []
        self.acknowledged_s: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.problems: list[str] = []
        self.publications = 1  # the default policy
        self.revoked = 0
        self.devices = [LoadDevice(self) for _ in range(devices)]

    async def start(self) -> list[asyncio.Task[None]]:
        """Enrol every device; gives the tasks that go on until cancelled."""
        for device in self.devices:
            await until(device.enrol, ENROLLED_S)
        work = [*(device.live() for device in self.devices), self._publish(), self._list(), self._revoke()]
        return [asyncio.create_task(one) for one in work]

    async def send(
        self, method: str, path: str, headers: Mapping[str, str], body: object = None
    ) -> tuple[int, Mapping[str, Any]]:
        """One request; 0 where its outcome is unknown."""
        data = None if body is None else json.dumps(body)
        try:
            async with self._session.request(
                method, self.base_url + path, headers=headers, data=data, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)
            ) as got:
                text = await got.text()
        except (TimeoutError, OSError, aiohttp.ClientError):
            self.statuses["no answer"] += 1
            return _UNKNOWN
        self.statuses[str(got.status)] += 1
        if got.status == 503 and "retry-after" not in got.headers and got.content_type == "application/json":
            self.problems.append(f"{self.fault}: {method} {path} was answered with 503 and not told to come again")
        if got.status == 500:
            self.problems.append(f"{self.fault}: {method} {path} was answered with 500: {text[:200]}")
        try:
            return got.status, json.loads(text) if text else {}
        except ValueError:
            return got.status, {}

    async def admin(self, method: str, path: str, body: object = None) -> tuple[int, Mapping[str, Any]]:
        """One request of the administrator."""
        return await self.send(method, path, {"authorization": f"Bearer {ADMIN_TOKEN}"}, body)

    def saw(self, register: str, began_s: float, value: int, most: int) -> None:
        """Note an answer."""
        self.answers.append(Answer(register, began_s, time.monotonic(), value, most, self.fault))

    async def _publish(self) -> None:
        for number in range(1, 1 << 30):
            began_s = time.monotonic()
            self.publications += 1
            body = {"policy_text": f"{POLICY} // {number}", "budgets": {}}
            status, answer = await self.admin("POST", "/v1/admin/policy", body)
            if status == 200:
                self.saw(BUNDLE, began_s, answer["policy_bundle"]["bundle"]["bundle_id"], self.publications)
            await asyncio.sleep(0.5)

    async def _list(self) -> None:
        """Read the watermarks as an administrator does, and the present policy."""
        by_id = {device.id: device for device in self.devices}
        while True:
            began_s = time.monotonic()
            status, answer = await self.admin("GET", "/v1/admin/devices")
            for listed in answer.get("devices", ()) if status == 200 else ():
                device = by_id.get(listed["device_id"])
                if device is not None:
                    self.saw(device.id, began_s, listed["last_receipt_id"], len(device.hashes))
            began_s = time.monotonic()
            status, answer = await self.admin("GET", "/v1/admin/policy")
            if status == 200:
                self.saw(BUNDLE, began_s, answer["policy_bundle"]["bundle"]["bundle_id"], self.publications)
            await asyncio.sleep(0.3)

    async def _revoke(self) -> None:
        """Devices that are enrolled, and revoked, and get nothing any more."""
        while True:
            device = LoadDevice(self)
            if await device.enrol():
                status, _ = await self.admin("POST", f"/v1/admin/devices/{device.id}/revoke")
                if status == 200:
                    self.revoked += 1
                    for what in ("policy", "policy", "policy"):
                        status, _ = await device.call("GET", what)
                        if status == 200:
                            self.problems.append(f"{self.fault}: a revoked device got its policy")
            await asyncio.sleep(1)


class LoadDevice:
    """One device with a chain of its own."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self.id = str(uuid.uuid4())
        self.hashes: list[str] = []
        self.acknowledged = 0
        self._receipts: list[dict[str, object]] = []
        self._token = ""
        key = generate_key(EDDSA)
        self._key_b64 = key.public.jwk["x"]
        self._signer = ProofSigner(key)

    async def enrol(self) -> bool:
        """Enrol; False where the outcome is unknown."""
        body = {"device_id": self.id, "device_name": "device", "device_pubkey_b64": self._key_b64}
        status, answer = await self._load.admin("POST", "/v1/admin/devices/enroll", body)
        self._token = answer.get("device_token", self._token) if status == 200 else self._token
        return status == 200

    async def live(self) -> None:
        """Upload, and look at the policy now and then."""
        turn = 0
        while True:
            turn += 1
            await self._upload()
            if turn % 3 == 0:
                await self._sync()
            await asyncio.sleep(PAUSE_S)

    async def call(self, method: str, what: str, body: object = None) -> tuple[int, Mapping[str, Any]]:
        """One request with a new proof."""
        path = f"/v1/devices/{self.id}/{what}"
        now_us = time.time_ns() // 1_000
        url = self._load.base_url + path
        proof = self._signer.sign(method, url, uuid.uuid4().hex, now_us, access_token=self._token)
        return await self._load.send(method, path, {"authorization": f"Bearer {self._token}", "dpop": proof}, body)

    async def _upload(self) -> None:
        while len(self.hashes) < self.acknowledged + BATCH:
            self._append()
        began_s = time.monotonic()
        sent = self._receipts[self.acknowledged : self.acknowledged + BATCH]
        status, answer = await self.call("POST", "receipts", {"receipts": sent})
        told = answer.get("last_receipt_id")
        if told is not None:
            self._load.saw(self.id, began_s, told, len(self.hashes))
        if status == 200:
            self.acknowledged = max(self.acknowledged, told or 0)
            self._load.acknowledged_s.append(time.monotonic())
        elif status in {400, 409}:
            if told is not None and told < self.acknowledged:
                self._load.problems.append(f"{self._load.fault}: {self.acknowledged} was acknowledged, {told} is there")
            elif answer.get("code") != "replay_detected":
                self._load.problems.append(f"{self._load.fault}: an upload was refused: {answer}")
                self.acknowledged = told or self.acknowledged

    async def _sync(self) -> None:
        began_s = time.monotonic()
        status, answer = await self.call("GET", "policy")
        if status == 200:
            bundle_id = answer["policy_bundle"]["bundle"]["bundle_id"]
            self._load.saw(BUNDLE, began_s, bundle_id, self._load.publications)

    def _append(self) -> None:
        number = len(self.hashes) + 1
        previous = self.hashes[-1] if self.hashes else GENESIS
        event = {"id": number, "kind": "tool_call", "of": self.id}
        hash_hex = hashlib.sha256((previous + json.dumps(event)).encode()).hexdigest()
        self.hashes.append(hash_hex)
        self._receipts.append(
            {
                "id": number,
                "ts": "2026-01-01T00:00:00Z",
                "prev_hash_hex": previous,
                "hash_hex": hash_hex,
                "event": event,
            }
        )


async def end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for them; what one of them raised is raised."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task
