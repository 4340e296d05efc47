"""A hostile control plane over the real way out: each answer is bounded in size and time, and none is followed."""

import asyncio
import contextlib
import json
import re
from pathlib import Path

import pytest

from briefcase.adapters.fleet import client as client_module
from briefcase.adapters.fleet.client import ControlPlaneClient, Device, PolicyReply, Refusal
from briefcase.adapters.net.outbound import GuardedOutbound
from briefcase.adapters.vault.identity import Identity
from briefcase.core.fleet.bundles import MAX_POLICY_BYTES
from briefcase.core.fleet.uploads import Batch
from briefcase.core.jose.base64url import encode_base64url
from briefcase.core.jose.dpop import TYP
from briefcase.core.jose.jws import parse_compact
from briefcase.core.operator.fleet import EnrolmentRequest
from briefcase.model.errors import UpstreamError
from support.clock import FakeClock
from support.control_plane import SigningKey
from support.entropy import FakeEntropy

RECORDED = json.loads((Path(__file__).parent.parent / "fixtures" / "control_plane" / "recorded.json").read_text())
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
SHORT_MS = 300  # nothing in here ends sooner by being fast
DEVICE_ID = "6f1f4c4e-8d1c-4a55-9c0b-2f2f4f1a7a10"


class Hostile:
    """Answers each request with what `answer` writes, and remembers the heads it was sent."""

    def __init__(self, answer) -> None:
        self.answer = answer
        self.heads: list[bytes] = []
        self.serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        self.outbound = GuardedOutbound([self.address])
        self.client = client_of(self.outbound)
        self.device = Device(f"http://{self.address}", DEVICE_ID, "token-of-the-device")
        return self

    async def __aexit__(self, *_):
        await self.outbound.close()
        self.server.close()
        for task in self.serving:
            task.cancel()
        await asyncio.gather(*self.serving, return_exceptions=True)

    async def serve(self, reader, writer) -> None:
        self.serving.add(asyncio.current_task())
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                await self.answer(writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def client_of(outbound: GuardedOutbound) -> ControlPlaneClient:
    identity = Identity(b"\6" * 32)
    return ControlPlaneClient(
        outbound,
        identity.proof_signer,
        device_pubkey_b64=encode_base64url(identity.public_key),
        clock=FakeClock(),
        entropy=FakeEntropy(),
    )


def written(data: bytes):
    async def write(writer) -> None:
        writer.write(data)
        await writer.drain()

    return write


def whole(body: bytes) -> bytes:
    return OK + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


async def endless(writer) -> None:
    writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        await writer.drain()


async def endless_headers(writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x-more: " + b"y" * 4_000 + b"\r\n")
        await writer.drain()


async def slow(writer) -> None:
    writer.write(OK + b"Content-Length: 1000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def silent(writer) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("answer", [endless, endless_headers])
async def test_an_answer_without_an_end_is_cut_off(answer):
    async with Hostile(answer) as hostile:
        with pytest.raises(UpstreamError):
            await hostile.client.policy(hostile.device)


@pytest.mark.parametrize("answer", [slow, silent])
async def test_a_slow_answer_ends_with_its_time(answer, monkeypatch):
    monkeypatch.setattr(client_module, "TIMEOUT_MS", SHORT_MS)
    monkeypatch.setattr(client_module, "UPLOAD_TIMEOUT_MS", SHORT_MS)
    async with Hostile(answer) as hostile:
        with pytest.raises(UpstreamError) as late:
            await hostile.client.policy(hostile.device)
        assert late.value.code == "upstream_timeout"
        with pytest.raises(UpstreamError):
            await hostile.client.upload(hostile.device, Batch(1, 1, 1, b"{}"))


@pytest.mark.parametrize("status", ["301 Moved Permanently", "307 Temporary Redirect", "308 Permanent Redirect"])
async def test_a_redirect_is_a_refusal_and_carries_the_token_nowhere(status):
    async with Hostile(written(b"")) as elsewhere:
        head = f"HTTP/1.1 {status}\r\nLocation: http://{elsewhere.address}/\r\nContent-Length: 0\r\n\r\n"
        async with Hostile(written(head.encode())) as hostile:
            assert await hostile.client.policy(hostile.device) == Refusal(int(status[:3]))
            answer = await hostile.client.upload(hostile.device, Batch(1, 1, 1, b"{}"))
            assert answer == Refusal(int(status[:3]))
        assert elsewhere.heads == []


async def test_an_address_that_the_operator_did_not_list_is_not_reached_and_gets_no_admin_token():
    async with Hostile(written(whole(b"{}"))) as hostile:
        unlisted = client_of(GuardedOutbound())
        with pytest.raises(UpstreamError) as refused:
            await unlisted.enrol(EnrolmentRequest(f"http://{hostile.address}", "admin-token", DEVICE_ID, "n"))
        assert (refused.value.sent, hostile.heads) == (False, [])


async def test_the_largest_policy_and_its_siblings_arrive_whole():
    text = "\x01" * MAX_POLICY_BYTES  # each character is six bytes on the wire
    body = json.dumps({"policy_bundle": SigningKey().bundle(1, text), "keys": {"x": "y" * 400_000}}).encode()
    async with Hostile(written(whole(body))) as hostile:
        reply = await hostile.client.policy(hostile.device)
        assert isinstance(reply, PolicyReply)
        assert reply.answer.policy_bundle["bundle"]["policy_text"] == text


@pytest.mark.parametrize(
    ("head", "etag"),
    [(b'ETag: "7"\r\n', '"7"'), (b"ETag: " + b"e" * 300 + b"\r\n", ""), (b"ETag: \xe9\r\n", ""), (b"", "")],
)
async def test_an_etag_is_kept_only_where_it_can_be_sent_back(head, etag):
    answer = OK + head + b"Content-Length: 2\r\n\r\n{}"
    async with Hostile(written(answer)) as hostile:
        assert (await hostile.client.policy(hostile.device)).etag == etag


@pytest.mark.parametrize(
    ("after", "expected_ms"), [("7", 7_000), ("9999", 3_600_000), ("-1", None), ("soon", None), ("1" * 99, None)]
)
async def test_a_time_to_come_again_is_bounded(after, expected_ms):
    head = f"HTTP/1.1 503 Unavailable\r\nRetry-After: {after}\r\nContent-Length: 0\r\n\r\n"
    async with Hostile(written(head.encode())) as hostile:
        assert await hostile.client.policy(hostile.device) == Refusal(503, "", expected_ms)


async def test_a_304_to_a_request_that_named_no_etag_is_no_answer():
    async with Hostile(written(b"HTTP/1.1 304 Not Modified\r\n\r\n")) as hostile:
        assert await hostile.client.policy(hostile.device) == Refusal(304)


async def test_a_held_request_says_for_how_long_and_its_proof_keeps_the_query():
    async with Hostile(written(whole(b"{}"))) as hostile:
        await hostile.client.policy(hostile.device, '"7"', 5_000)
        (head,) = hostile.heads
        assert head.startswith(f"GET /v1/devices/{DEVICE_ID}/policy?wait_ms=5000 HTTP/1.1".encode())
        assert b'if-none-match: "7"' in head.lower()
        (proof,) = re.findall(r"(?i)\ndpop: (\S+)", head.decode())
        claims = parse_compact(proof, TYP).claims
        assert claims["htu"] == f"http://{hostile.address}/v1/devices/{DEVICE_ID}/policy?wait_ms=5000"
    # as the recorded server wants it: the same request with a proof that leaves the query out is refused
    assert [("?" in case["htu"], case["status"]) for case in RECORDED["proofs"]] == [(True, 200), (False, 401)]


@pytest.mark.parametrize("echoed", ["tokenofthedevice", "xx_tokenofthedevice", "okenofthe"])
async def test_a_word_that_repeats_the_token_it_was_sent_is_no_word(echoed):
    body = json.dumps({"code": echoed}).encode()
    for status in ("400 Bad Request", "401 Unauthorized"):
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        async with Hostile(written(head + body)) as hostile:
            device = Device(hostile.device.base_url, DEVICE_ID, "tokenofthedevice")
            assert (await hostile.client.policy(device)).word == ""
            assert (await hostile.client.upload(device, Batch(1, 1, 1, b"{}"))).word == ""
            with pytest.raises(UpstreamError) as refused:
                await hostile.client.enrol(EnrolmentRequest(device.base_url, "tokenofthedevice", DEVICE_ID, "n"))
            assert echoed not in refused.value.message + refused.value.detail


def test_no_token_is_in_a_text_of_a_device():
    assert "token-of" not in repr(Device("https://fleet.example", DEVICE_ID, "token-of-the-device"))
