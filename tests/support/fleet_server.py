"""A control plane in this process, and a device that speaks to it as the contract has it."""

from __future__ import annotations

import hashlib
import io
import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import aiohttp

from briefcase.core.jose.dpop import ProofSigner
from briefcase.core.jose.jws import EDDSA, generate_key
from briefcase.edges.control_plane.serving import ControlPlane
from briefcase.edges.control_plane.settings import ControlPlaneSettings
from briefcase.model.ports import Clock, Entropy
from support.clock import FakeClock
from support.entropy import FakeEntropy
from support.fleet_schema import check_answer

ADMIN_TOKEN = "admin-test-token"
AUDITOR_TOKEN = "auditor-test-token"
POLICY = "permit(principal, action, resource);"
GENESIS = "0" * 64


class Got(NamedTuple):
    """An answer."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def word(self) -> object:
        """The word of a refusal."""
        return self.body.get("code") if isinstance(self.body, dict) else None


class RunningControlPlane:
    """One process's worth of a control plane on a loopback port, with a clock that a test moves."""

    def __init__(
        self,
        url: str,
        directory: Path,
        *,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
        base_url: str = "",
        certificate: Path | None = None,
        certificate_key: Path | None = None,
    ) -> None:
        self.clock = clock or FakeClock()
        settings = ControlPlaneSettings(
            directory=directory,
            host="127.0.0.1",
            port=0,
            database_url=url,
            base_url=base_url,
            admin_token=ADMIN_TOKEN,
            auditor_token=AUDITOR_TOKEN,
            signing_key_file=directory / "signing_key",
            certificate=certificate,
            certificate_key=certificate_key,
        )
        self.plane = ControlPlane(settings, self.clock, entropy or FakeEntropy())

    async def __aenter__(self) -> Self:
        self.services = await self.plane.start()
        host, port = self.plane.address
        self.address = f"http://{host}:{port}"
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self.plane.stop()

    async def send(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, body: str | bytes | None = None
    ) -> Got:
        """One request as it is written."""
        data = None if body is None else io.BytesIO(body.encode() if isinstance(body, str) else body)
        async with self._session.request(method, self.address + path, headers=headers, data=data) as answer:
            text = await answer.text()
            is_json = answer.content_type == "application/json"
            check_answer(method, path, answer.status, text)
            return Got(answer.status, json.loads(text) if is_json and text else text, answer.headers)

    async def admin(self, method: str, path: str, body: object = None, *, token: str = ADMIN_TOKEN) -> Got:
        """One request of an administrator."""
        data = None if body is None else json.dumps(body)
        return await self.send(method, path, headers={"authorization": f"Bearer {token}"}, body=data)

    async def new_device(self, *, name: str = "laptop", token: str = ADMIN_TOKEN) -> FleetDevice:
        """An enrolled device."""
        device = FleetDevice(self, str(uuid.uuid4()))
        got = await self.admin("POST", "/v1/admin/devices/enroll", device.enrolment(name), token=token)
        assert got.status == 200, got
        device.token = got.body["device_token"]
        return device


class FleetDevice:
    """A device with a key of its own, its chain of receipts, and a proof for each request."""

    def __init__(self, plane: RunningControlPlane, device_id: str) -> None:
        self.plane = plane
        self.id = device_id
        self.key = generate_key(EDDSA)
        self.token = ""
        self._signer = ProofSigner(self.key)

    def enrolment(self, name: str = "laptop") -> dict[str, str]:
        return {"device_id": self.id, "device_name": name, "device_pubkey_b64": self.key.public.jwk["x"]}

    def proof(self, method: str, path: str, *, jti: str = "") -> str:
        url = self.plane.plane.base_url + path
        now_us = self.plane.clock.now_us()
        return self._signer.sign(method, url, jti or uuid.uuid4().hex, now_us, access_token=self.token)

    async def call(
        self, method: str, what: str, body: object = None, *, proof: str | None = None, headers: Mapping[str, str] = {}
    ) -> Got:
        """One request of the device, with a new proof or the one that is given."""
        path = f"/v1/devices/{self.id}/{what}"
        fields = {"authorization": f"Bearer {self.token}", "dpop": proof or self.proof(method, path), **headers}
        data = body if isinstance(body, str) or body is None else json.dumps(body)
        return await self.plane.send(method, path, headers=fields, body=data)

    async def upload(self, receipts: Sequence[Mapping[str, object]]) -> Got:
        return await self.call("POST", "receipts", {"receipts": list(receipts)})


def chain(
    count: int,
    *,
    first_id: int = 1,
    prev_hash_hex: str = GENESIS,
    mark: str = "",
    event: Mapping[str, object] | None = None,
) -> list[dict[str, Any]]:
    """Receipts that link to each other; `mark` makes another chain of the same ids, `event` is each one's event."""
    receipts = []
    for receipt_id in range(first_id, first_id + count):
        told = event or {"id": receipt_id, "kind": "tool_call", "mark": mark}
        # hashed as `json.dumps` writes it inside the body
        hash_hex = hashlib.sha256((prev_hash_hex + json.dumps(told)).encode()).hexdigest()
        receipts.append(
            {
                "id": receipt_id,
                "ts": "2026-01-01T00:00:00.000000Z",
                "prev_hash_hex": prev_hash_hex,
                "hash_hex": hash_hex,
                "event": told,
            }
        )
        prev_hash_hex = hash_hex
    return receipts
