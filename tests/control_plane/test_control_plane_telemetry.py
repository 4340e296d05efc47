"""What a control plane says of itself: logs as JSON from the first line, traces, figures; no secret in any of it."""

import asyncio
import json
import secrets
import signal
import subprocess
import time
import uuid
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote, urlsplit, urlunsplit

import aiohttp
import asyncpg
import pytest

from briefcase.adapters.telemetry.outlet import OUTLET
from briefcase.edges.control_plane.serving import hide_secrets
from briefcase.edges.control_plane.settings import ServeOptions, parse_settings
from support.canaries import files_below, found_in, new_canary
from support.commands import command_of
from support.fleet_server import FleetDevice, RunningControlPlane, chain
from support.otlp_receiver import OtlpReceiver, attributes_of

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"  # of the examples in W3C Trace Context
DATA = "data"
OF_DEVICES = "/v1/devices/{device}"
PATHS = {"", "/v1/audit/receipts", "/v1/admin/policy", f"{OF_DEVICES}/receipts", f"{OF_DEVICES}/policy"}


def with_password(url: str, password: str) -> str:
    """The URL with a password, which the server does not ask for."""
    parts = urlsplit(url)
    user, _, rest = parts.netloc.partition("@")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{rest}"))


class Served(RunningControlPlane):
    """`briefcase control-plane serve` in a process of its own; `lines` is what it logged."""

    def __init__(self, url: str, directory: Path, admin_token: str, **environ: str) -> None:
        self.lines: list[str] = []
        self._environ = {
            "PATH": "/usr/bin:/bin",
            "BRIEFCASE_DATA_DIR": str(directory / DATA),
            "BRIEFCASE_CONTROL_PLANE_DATABASE_URL": url,
            "BRIEFCASE_CONTROL_PLANE_ADMIN_TOKEN": admin_token,
            **environ,
        }

    @asynccontextmanager
    async def running(self):
        command = command_of("control-plane", "serve", "--listen", "127.0.0.1:0")
        with subprocess.Popen(command, env=self._environ, stderr=subprocess.PIPE, text=True) as process:
            try:
                for line in process.stderr:
                    self.lines.append(line)
                    if json.loads(line)["event"] == "ready":
                        break
                self.address = json.loads(self.lines[-1])["url"]
                self.plane = SimpleNamespace(base_url=self.address)
                async with aiohttp.ClientSession() as self._session:
                    yield self
            finally:
                process.send_signal(signal.SIGTERM)
                self.lines += process.stderr.readlines()
        assert process.returncode == 0


class Now:
    """The time, for proofs that another process checks."""

    @staticmethod
    def now_us() -> int:
        return time.time_ns() // 1_000


@pytest.fixture(scope="module")
def life(shared_postgres, tmp_path_factory):
    """One life of a control plane: what it was given, and all that it gave away, by place."""
    return asyncio.run(live(shared_postgres.new_database(), tmp_path_factory.mktemp("life")))


async def live(url: str, directory: Path):
    password = new_canary()
    admin_token, auditor_token = (f"cnry.{secrets.token_urlsafe(24)}" for _ in range(2))
    with OtlpReceiver() as receiver:
        served = Served(
            with_password(url, password),
            directory,
            admin_token,
            BRIEFCASE_CONTROL_PLANE_AUDITOR_TOKEN=auditor_token,
            **receiver.environment,
        )
        served.clock = Now()
        async with served.running() as plane:
            answers = [
                await plane.admin("GET", "/v1/audit/receipts", token="x" * 40),
                await plane.admin("GET", "/v1/admin/policy", token=auditor_token),
                await plane.admin(
                    "POST", "/v1/admin/policy", {"policy_text": f"no cedar {admin_token}"}, token=admin_token
                ),
                await plane.send("GET", "/health", headers={"authorization": f"Basic {admin_token}"}),
            ]
            named = await plane.admin("POST", "/v1/admin/tokens", {"name": "ops", "role": "admin"}, token=admin_token)
            devices = []
            for _ in range(2):
                device = FleetDevice(plane, str(uuid.uuid4()))
                enrolled = await plane.admin("POST", "/v1/admin/devices/enroll", device.enrolment(), token=admin_token)
                device.token = enrolled.body["device_token"]
                devices.append(device)
            traced = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"}
            answers += [
                await plane.send("GET", f"/v1/{named.body['token']}", headers=traced),
                await devices[0].upload(chain(2)),
                await devices[0].upload(chain(2, mark="fork")),
                await devices[0].call("GET", "policy", proof="nothing"),
                await devices[0].call("GET", "policy", headers={"authorization": f"Bearer {devices[1].token}"}),
                await devices[1].call("POST", "status", {"last_error": f"said {devices[1].token}"[:8]}),
                await plane.admin("GET", "/v1/admin/policy", token=admin_token),
                await plane.admin("GET", "/v1/audit/acts", token=admin_token),
                await plane.admin("GET", "/v1/admin/devices", token=admin_token),
            ]
            metrics = await plane.admin("GET", "/metrics", token=auditor_token)
            receiver.wait_for(lambda: "briefcase_fleet_requests" in receiver.metrics and len(receiver.spans) > 10)
            receiver.wait_for(lambda: [log for log in receiver.logs if log.body.string_value == "refused"])
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("select set_config('briefcase.tenant', '*', false)")
        tables = await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
        rows = [await connection.fetch(f"select * from {table['tablename']}") for table in tables]
        dump = "".join(str([dict(row) for row in of_table]) for of_table in rows)
    finally:
        await connection.close()
    return SimpleNamespace(
        answers=answers,
        lines=served.lines,
        receiver=receiver,
        secrets={
            "database password": password,
            "admin token": admin_token,
            "auditor token": auditor_token,
            "named token": named.body["token"],
            **{f"device token {number}": device.token for number, device in enumerate(devices)},
        },
        sinks={
            "log": "".join(served.lines).encode(),
            "otlp": receiver.raw,
            "metrics": metrics.body.encode(),
            "answers": json.dumps([[got.status, got.body] for got in answers]).encode(),
            "database": dump.encode(),
            **{f"file {name}": data for name, data in files_below(directory / DATA).items()},
        },
    )


def leaks_of(found, planted=None):
    return {
        (name, sink, form)
        for name, secret in found.secrets.items()
        for sink, data in (planted or found.sinks).items()
        for form in found_in(data, secret)
    }


def test_no_secret_is_in_anything_it_says_or_stores(life):
    assert leaks_of(life) == set()


def test_what_a_process_was_started_with_is_cut_out_of_all_that_it_says(tmp_path, monkeypatch):
    monkeypatch.setattr(OUTLET, "redactor", None)
    environ = {
        "BRIEFCASE_DATA_DIR": str(tmp_path),
        "BRIEFCASE_CONTROL_PLANE_DATABASE_URL": "postgresql://u:a%2Fpassword@one:5432,two:5432/fleet?password=another-password",
        "BRIEFCASE_CONTROL_PLANE_ADMIN_TOKEN": "an-admin-token-of-a-test",
        "BRIEFCASE_CONTROL_PLANE_AUDITOR_TOKEN": "an-auditor-token-of-a-test",
    }
    hide_secrets(parse_settings(environ, ServeOptions()))
    said = "a/password a%2Fpassword an-admin-token-of-a-test an-auditor-token-of-a-test another-password, and more"
    assert OUTLET.text(said) == "[redacted] [redacted] [redacted] [redacted] [redacted], and more"


def test_each_place_was_filled_and_each_secret_planted_there_is_found(life):
    assert {"log", "otlp", "metrics", "answers", "database"} < set(life.sinks)
    assert all(len(data) > 100 for sink, data in life.sinks.items() if not sink.startswith("file "))
    for name, secret in life.secrets.items():
        planted = {sink: data[:64] + b"~" + secret.encode() + b"~" + data[64:] for sink, data in life.sinks.items()}
        assert {sink for who, sink, form in leaks_of(life, planted) if (who, form) == (name, "raw")} == set(planted)


def test_every_line_is_one_json_object_from_the_first_to_the_last(life):
    lines = [json.loads(line) for line in life.lines]
    assert (lines[0]["event"], lines[0]["program"]) == ("starting", "control-plane")
    assert lines[-1]["event"] == "stopped"
    assert all({"event", "level", "timestamp"} <= line.keys() for line in lines)


def test_each_refusal_is_a_line_with_the_id_that_the_answer_has(life):
    refused = {line["request_id"]: line for line in map(json.loads, life.lines) if line["event"] == "refused"}
    told = {got.body["request_id"]: got for got in life.answers if got.status >= 400}
    assert refused.keys() == told.keys()
    assert len(told) == 7
    for request_id, got in told.items():
        line = refused[request_id]
        assert (line["code"], line["status"]) == (got.body["code"], got.status)
        assert line["operation"].partition(" ")[2] in PATHS
    logged = {attributes_of(log).get("request_id") for log in life.receiver.logs}
    assert set(told) <= logged


def test_a_request_is_a_span_under_its_callers_with_what_it_asked_of_the_database_below(life):
    spans = life.receiver.spans
    [unknown] = [span for span in spans if span.trace_id.hex() == TRACE_ID]
    assert unknown.parent_span_id.hex() == SPAN_ID
    assert attributes_of(unknown) == {
        "http.request.method": "GET", "http.response.status_code": 404, "briefcase.reason": "not_found",
    }  # fmt: skip
    roots = {span.span_id: attributes_of(span) for span in spans if span.name == "http.request"}
    below = [span for span in spans if span.name == "db.query"]
    assert below
    assert {span.parent_span_id for span in below} <= roots.keys()
    assert {attributes["http.route"] for attributes in roots.values() if "http.route" in attributes} >= {
        "/health", "/v1/admin/devices/enroll", "/v1/devices/{device}/receipts",
    }  # fmt: skip


def test_figures_go_to_the_collector_as_prometheus_reads_them(life):
    requests = life.receiver.metrics["briefcase_fleet_requests"]
    labels = [attributes_of(point) for point in requests.sum.data_points]
    assert {"method": "POST", "path": "/v1/devices/{device}/receipts", "status": "409"} in labels
    assert "process_cpu_seconds_total" in life.receiver.metrics


async def test_a_database_that_is_away_is_said_once_and_its_password_never(tmp_path):
    password = new_canary()
    url = f"postgresql://someone:{quote(password, safe='')}@127.0.0.1:1/fleet"
    environ = Served(url, tmp_path, "an-admin-token-of-a-test")._environ
    command = command_of("control-plane", "serve", "--listen", "127.0.0.1:0")
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        first, second = (json.loads(process.stderr.readline()) for _ in range(2))
        process.kill()
        rest = process.stderr.read()
    assert (first["event"], second["event"], second["level"]) == ("starting", "the database is waited for", "warning")
    assert rest == ""
    assert not found_in(json.dumps([first, second]).encode(), password)
