"""A control plane as it is served: over TLS, behind a named proxy, by several processes over one database."""

import asyncio
import socket
import ssl
from contextlib import AsyncExitStack
from copy import copy
from types import SimpleNamespace

import aiohttp
import msgspec
import pytest

from briefcase.edges.control_plane.app import ControlPlaneApp
from briefcase.edges.control_plane.figures import Figures
from briefcase.edges.control_plane.serving import for_proxies
from briefcase.edges.control_plane.settings import ServeOptions, parse_settings
from briefcase.model.errors import ConfigError
from support.certificates import new_certificate
from support.fleet_server import AUDITOR_TOKEN, POLICY, RunningControlPlane, chain


async def test_it_speaks_tls_with_the_certificate_it_is_given(database_url, tmp_path):
    certificate, key = new_certificate(tmp_path)
    running = RunningControlPlane(database_url, tmp_path / "cp", certificate=certificate, certificate_key=key)
    async with running as plane:
        assert plane.plane.base_url.startswith("https://127.0.0.1:")
        trust = ssl.create_default_context(cafile=certificate)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{plane.plane.base_url}/health", ssl=trust) as answer:
                assert answer.status == 200
            with pytest.raises(aiohttp.ClientError):
                await session.get(f"{plane.plane.base_url}/health")


def test_a_certificate_that_is_none_is_named_before_anything_runs(tmp_path):
    certificate, key = new_certificate(tmp_path)
    certificate.write_text("no certificate")
    with pytest.raises(ConfigError, match="a certificate and its key in PEM") as refused:
        RunningControlPlane("postgresql://u@/d", tmp_path / "cp", certificate=certificate, certificate_key=key)
    assert str(certificate) in refused.value.message


async def test_an_address_that_is_taken_between_the_start_and_the_listener_is_named(database_url, tmp_path):
    running = RunningControlPlane(database_url, tmp_path / "cp")
    with socket.socket() as faster:
        faster.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        faster.bind(running.plane.address)
        faster.listen()
        with pytest.raises(ConfigError, match=r"`127\.0\.0\.1:\d+` cannot be listened on: Address already in use"):
            await running.plane.start()
        await running.plane.stop()


@pytest.mark.parametrize(
    ("address", "is_let_in"),
    [("10.1.2.3", True), ("127.0.0.1", True), ("::1", True), ("10.2.0.1", False), (None, False)],
)
async def test_clear_text_is_taken_from_the_named_proxy_and_from_this_host_alone(address, is_let_in):
    reached, sent = [], []

    async def app(*_):
        reached.append(True)

    async def send(message):
        sent.append(message)

    options = ServeOptions(is_embedded=True, listen="0.0.0.0:1", proxies=("10.1.0.0/16",))
    proxies = parse_settings({"BRIEFCASE_CONTROL_PLANE_ADMIN_TOKEN": "x" * 16}, options).proxies
    scope = {"type": "http", "client": None if address is None else (address, 1)}
    await for_proxies(app, proxies)(scope, None, send)
    assert bool(reached) is is_let_in
    assert is_let_in or sent[0]["status"] == 403


async def test_two_processes_over_one_database_are_one_control_plane(database_url, tmp_path):
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(RunningControlPlane(database_url, tmp_path / "cp"))
        shared = RunningControlPlane(database_url, tmp_path / "cp", base_url=one.plane.base_url)
        other = await stack.enter_async_context(shared)
        device = await one.new_device()
        beside = copy(device)
        beside.plane = other
        proof = device.proof("GET", f"/v1/devices/{device.id}/policy")
        answers = await asyncio.gather(*(at.call("GET", "policy", proof=proof) for at in (device, beside)))
        assert sorted(answer.status for answer in answers) == [200, 409]

        receipts = chain(4)
        assert (await device.upload(receipts[:2])).body["stored"] == 2
        assert (await beside.upload(receipts)).body == {"stored": 2, "last_receipt_id": 4}

        await other.admin("POST", "/v1/admin/policy", {"policy_text": POLICY, "budgets": {}})
        got = await device.call("GET", "policy")
        assert got.body["policy_bundle"]["bundle"]["policy_text"] == POLICY
        assert got.body == (await beside.call("GET", "policy")).body
        await one.admin("POST", f"/v1/admin/devices/{device.id}/revoke")
        assert (await beside.call("GET", "policy")).word == "invalid_token"


async def test_its_figures_are_for_who_may_read_them(plane):
    device = await plane.new_device()
    await device.upload(chain(3))
    await device.upload(chain(3))
    assert (await plane.send("GET", "/metrics")).word == "missing_token"
    got = await plane.admin("GET", "/metrics", token=AUDITOR_TOKEN)
    assert got.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = got.body.splitlines()
    assert "briefcase_fleet_receipts_stored_total 3.0" in lines
    path = 'method="POST",path="/v1/devices/{device}/receipts",status="200"'
    assert f"briefcase_fleet_requests_total{{{path}}} 2.0" in lines
    assert "briefcase_fleet_devices_waiting 0.0" in lines


async def test_what_fails_inside_is_one_word_and_the_log_has_the_rest(plane, capsys):
    class Broken:
        figures = Figures()
        entropy = SimpleNamespace(uuid=lambda: "an-id")

        def __getattr__(self, _):
            raise RuntimeError("hunter2")

    site = ControlPlaneApp(Broken()).site()
    await site.start()
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http", "method": "GET", "path": "/health", "raw_path": b"/health", "query_string": b"",
        "headers": [], "scheme": "http", "http_version": "1.1", "root_path": "",
        "server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2),
    }  # fmt: skip
    await site(scope, receive, send)
    assert sent[0]["status"] == 500
    answer = msgspec.json.decode(sent[1]["body"])
    assert answer.pop("request_id") == "an-id"
    assert answer == {"code": "internal", "message": "the control plane failed inside"}
