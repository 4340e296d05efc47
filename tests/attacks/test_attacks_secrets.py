"""The canary matrix: a secret of each adapter, repeated by its upstream wherever an upstream can say something, looked
for in every place that text leaves the daemon by. (The two token files are in the data directory, and in its backup.)

Two daemons live the same life: one as it is, in which nothing is found, and the control, in which redaction is switched
off and the same search finds each adapter's secret exactly where `CONTROL` says. A cell that is empty in the control
too cannot hold the secret: its texts are a closed set. docs/attacks.md shows the table.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
import sys
import threading
import time
import uuid
import zipfile
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from secret_echo_server import http_server

sys.path.insert(0, str(Path(__file__).parent.parent / "servers"))

from oauth_world import World

from support.canaries import files_below, found_in
from support.commands import briefcase
from support.daemons import RunningDaemon, UnixConnection
from support.hostile_servers import RawServer
from support.otlp_receiver import OtlpReceiver
from support.waiting import wait_until

TESTS = Path(__file__).parent.parent
ECHO_SERVER = Path(__file__).parent / "secret_echo_server.py"
LEAKY = (sys.executable, str(TESTS / "telemetry" / "leaky_daemon.py"))

ADAPTERS = (
    "built-in", "HTTP manifest", "MCP stdio", "MCP HTTP", "MCP access token", "MCP refresh token", "provider", "OAuth",
)  # fmt: skip
TOKENS = ("operator token", "auditor token")
SINKS = (
    "agent", "operator", "receipts", "metrics", "log", "otlp", "ledger file", "database file", "bundle", "backup",
    "temporary files",
)  # fmt: skip

# where the control run finds each secret: the cells that only redaction keeps empty
EVERYWHERE = {"agent", "operator", "receipts", "ledger file", "backup"}
LOGGED = {"log", "otlp"}
CONTROL = {
    "built-in": EVERYWHERE | {"database file"},
    "operator token": EVERYWHERE | {"database file"},
    "auditor token": EVERYWHERE | {"database file"},
    "HTTP manifest": EVERYWHERE - {"operator"},
    "MCP stdio": EVERYWHERE | LOGGED,
    "MCP HTTP": EVERYWHERE | LOGGED,
    "MCP access token": EVERYWHERE - {"operator"},
    "MCP refresh token": EVERYWHERE | LOGGED,
    "provider": EVERYWHERE,
    "OAuth": EVERYWHERE,
}


class Life(NamedTuple):
    """What one daemon was trusted with, and all it gave away."""

    secrets: dict[str, str]
    sinks: dict[str, bytes]
    said_of_the_bundle: str

    def leaks(self) -> set[tuple[str, str]]:
        """(whose secret, in which sink)."""
        return {
            (name, sink) for name, secret in self.secrets.items() for sink, data in self.sinks.items()
            if found_in(data, secret)
        }  # fmt: skip


def token_like_a_word() -> str:
    """A token that follows the grammar of an upstream's stable error words, so that it can be said in place of one."""
    return f"z{secrets.token_hex(16)}"


def http_manifest(server: RawServer) -> str:
    common = {"method": "GET", "category": "read", "allowed_hosts": [server.address]}
    credential = {"name": "manifest", "header": "X-Api-Key"}
    tools = [
        {"id": way, "url": f"{server.url}/{way}", "credential": credential, **common}
        for way in ("body", "error", "kind")
    ]
    return json.dumps({"tools": tools})


def echo_api_key(connection, head: bytes) -> bool:
    way = head.split(b" ")[1].strip(b"/").decode()
    [secret] = [line[11:] for line in head.decode().split("\r\n") if line.lower().startswith("x-api-key: ")]
    body = json.dumps({"sent": secret, secret: 1}).encode()
    status = "500 Oops" if way == "error" else "200 OK"
    kind = f"application/{secret}" if way == "kind" else "application/json"
    connection.sendall(
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nX-Echo: {secret}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    return True


class Issuer:
    """A provider with its own authorization server: issues canaries, and says them wherever it can."""

    def __init__(self) -> None:
        self.access, self.capability = token_like_a_word(), token_like_a_word()
        self.refuses_mint = True
        self.server = RawServer(self.serve)

    def serve(self, connection, head: bytes) -> bool:
        path = head.split(b" ")[1].decode().partition("?")[0]
        status, extra = "200 OK", ""
        match path:
            case _ if ".well-known" in path:
                status, body = "404 Not Found", {}
            case "/oauth/token":
                body = {"access_token": self.access, "token_type": "Bearer", "expires_in": 3_600}
            case "/token" if self.refuses_mint:
                status, body, extra = "403 Forbidden", {"error": self.access}, f"x-echo: {self.access}\r\n"
            case "/token":
                body = {
                    "token": self.capability,
                    "expires_at_rfc3339": "2030-01-01T00:00:00Z",
                    "max_calls": 9,
                    "compatibility_profile": "aacp_v1",
                }
            case _ if "symbol=ERR" in head.decode():
                status, body = "400 Bad", {"error": self.capability}
            case _:
                body = {"symbol": self.capability, "price": "1", "ts": "2026-01-01T00:00:00Z", "said": self.capability}
        data = json.dumps(body).encode()
        connection.sendall(
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nx-briefcase-compatibility-profile: aacp_v1\r\n"
            f"x-cost-microusd: 0\r\nConnection: close\r\n{extra}Content-Length: {len(data)}\r\n\r\n".encode()
            + data
        )
        connection.shutdown(socket.SHUT_WR)
        with suppress(OSError):  # a form that was not read would make of the close a reset, and lose the answer
            while connection.recv(4_096):
                pass
        return False


class TellingWorld(World):
    """An MCP server with a log-in: says the access token in calls, and the refresh token where it renews nothing."""

    def __init__(self) -> None:
        super().__init__(lambda: time.time_ns() // 1_000, "", "")
        self.override = self.refuse
        self.access_token, self.refresh_token = token_like_a_word(), token_like_a_word()

    def issue(self, grant):
        self.access[self.access_token] = grant | {"until_us": self.now_us() + self.lifetime_s * 1_000_000}
        tokens = {"access_token": self.access_token, "refresh_token": self.refresh_token}
        return self.json({**tokens, "token_type": "Bearer", "expires_in": self.lifetime_s, "scope": grant["scope"]})

    def refuse(self, _method, _url, _headers, body):
        if b"grant_type=refresh_token" in body:
            return self.json({"error": self.refresh_token, "error_description": self.refresh_token}, 400)
        if b'"change"' in body:
            error = {"code": -32000, "message": f"not with {self.access_token}"}
            return self.json({"jsonrpc": "2.0", "id": json.loads(body)["id"], "error": error})
        return None


@contextmanager
def served(world: World):
    """Let a world answer at a port of the loopback; both of its servers are there."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            url = f"{world.server}{self.path}"
            status, headers, data = world.respond(self.command, url, dict(self.headers), body)
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 - as `http.server` calls them

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        world.server = world.authority = f"http://127.0.0.1:{server.server_address[1]}"
        yield world
        server.shutdown()


class Client:
    """Asks, and keeps every byte that came back, heads too."""

    def __init__(self, daemon: RunningDaemon, token: str) -> None:
        self.daemon, self.token, self.heard = daemon, token, b""

    def ask(self, method: str, path: str, body: object = None) -> dict:
        connection = UnixConnection(self.daemon.socket_path)
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, path, data, {"Authorization": f"Bearer {self.token}"})
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        self.heard += str(response.headers).encode() + answer
        return json.loads(answer) if answer[:1] in b"{[" else {}

    def call(self, tool_id: str, args: dict, path: str = "/v1/tools/call", **more: object) -> dict:
        call = {"tool_id": tool_id, "args": args, "context": {"request_id": str(uuid.uuid4())}, **more}
        return self.ask("POST", path, {"call": call})


def live(home: Path, wrapper: tuple[str, ...] = ()) -> Life:
    """Let a daemon do everything that handles a credential, with upstreams that repeat theirs; collect what left it."""
    data_dir, temporary = home / "data", home / "tmp"
    (data_dir / "tools").mkdir(parents=True)
    temporary.mkdir()
    for directory in (data_dir, data_dir / "tools"):
        directory.chmod(0o700)
    issuer, mcp_http = Issuer(), http_server()
    threading.Thread(target=mcp_http.serve_forever, daemon=True).start()
    mcp_address = f"127.0.0.1:{mcp_http.server_address[1]}"
    with (
        RawServer(echo_api_key) as manifest, issuer.server as provider, OtlpReceiver() as receiver,
        served(TellingWorld()) as world,
    ):  # fmt: skip
        addresses = [manifest.address, mcp_address, provider.address, world.server.removeprefix("http://")]
        (data_dir / "briefcase.toml").write_text(f"[net]\nallow_private = {json.dumps(addresses)}\n")
        (data_dir / "tools" / "ways.json").write_text(http_manifest(manifest))
        (data_dir / "tools" / "ways.json").chmod(0o600)
        environment = {
            **receiver.environment,
            "OTEL_TRACES_SAMPLER": "always_on",
            "BRIEFCASE_PROVIDER_BASE_URL": provider.url,
            "TMPDIR": str(temporary),
        }
        with RunningDaemon(data_dir, wrapper=wrapper, **environment) as daemon:
            life = _collected(daemon, issuer, world, f"http://{mcp_address}/mcp", home)
        life.sinks["otlp"] = receiver.raw
        life.sinks["temporary files"] = b"".join(files_below(temporary).values())
    mcp_http.shutdown()
    mcp_http.server_close()
    return life


def _collected(daemon: RunningDaemon, issuer: Issuer, world: TellingWorld, mcp_url: str, home: Path) -> Life:
    kept = {name: secrets.token_urlsafe(24) for name in ("built-in", "HTTP manifest", "MCP stdio", "MCP HTTP")}
    kept |= {"provider": issuer.capability, "OAuth": issuer.access}
    kept |= {"MCP access token": world.access_token, "MCP refresh token": world.refresh_token}
    kept |= {"operator token": daemon.operator_token, "auditor token": _auditor_token(daemon)}
    operator, auditor = Client(daemon, daemon.operator_token), Client(daemon, kept["auditor token"])
    agent = Client(daemon, daemon.request("POST", "/v1/agents", {"name": "scout"})[1]["token"])
    names = {
        "own": "built-in",
        "manifest": "HTTP manifest",
        "stdio": "MCP stdio",
        "refusing": "MCP stdio",
        "http": "MCP HTTP",
    }
    for name, adapter in names.items():
        operator.ask("PUT", f"/v1/secrets/{name}", {"value": kept[adapter]})

    # the agent says what it has got hold of
    for secret in (kept["built-in"], *(kept[token] for token in TOKENS)):
        agent.call("echo", {"text": secret})
        agent.call("echo", {"text": 1, secret: secret})
        agent.call(secret, {})
        note = {"text": secret}
        approval_id = agent.call("note_add", note)["approval"]["id"]
        approved = operator.ask("POST", f"/v1/approvals/{approval_id}/approve")
        agent.call("note_add", note, approval_token=approved["approval_token"])
        agent.call("note_add", {"text": f"pending {secret}"})
        asked = agent.call("note_add", {"text": f"second {secret}"})
        operator.ask("POST", f"/v1/approvals/{asked['approval']['id']}/deny", {"reason": f"not with {secret}"})

    # HTTP tools, MCP servers, the provider with a log-in: each repeats what it was let in with
    for way in ("body", "error", "kind"):
        agent.call(way, {})
    stdio = {"command": sys.executable, "args": [str(ECHO_SERVER)], "secret_env": {"API_KEY": "stdio"}}
    operator.ask("POST", "/v1/mcp/servers/stdio", stdio)
    refusing = {**stdio, "args": [str(ECHO_SERVER), "refuse"], "secret_env": {"API_KEY": "refusing"}}
    operator.ask("POST", "/v1/mcp/servers/refusing", refusing)
    operator.ask("POST", "/v1/mcp/servers/web", {"endpoint_url": mcp_url, "bearer_secret": "http"})
    shut = {"endpoint_url": f"{mcp_url}/refuse", "bearer_secret": "http"}
    operator.ask("POST", "/v1/mcp/servers/shut", shut)
    wait_until(lambda: {"stdio.t", "web.t"} <= {tool["id"] for tool in agent.ask("GET", "/v1/tools")["tools"]})
    for server in ("stdio", "web"):
        for how in ("result", "iserror", "error", "long"):
            agent.call(f"{server}.t", {"k": how})
            agent.call(f"{server}.t", {"k": how}, "/v1/mcp/call")
        for operation in ("resources.list", "prompts.list"):
            agent.call(f"{server}:{operation}", {}, "/v1/mcp/call")
        agent.call(f"{server}:resources.read", {"uri": "x"}, "/v1/mcp/call")
        agent.call(f"{server}.annotated", {})
    _log_in(operator, agent, world)
    exchange = {"code": "c", "redirect_uri": "http://127.0.0.1:1/cb", "client_id": "b", "code_verifier": "v" * 43}
    assert "code" not in operator.ask("POST", "/v1/providers/demo/oauth/exchange", exchange)
    agent.call("quote", {"symbol": "A"})
    operator.ask("GET", "/v1/diagnostics/providers")
    issuer.refuses_mint = False
    agent.call("quote", {"symbol": "B"})
    agent.call("quote", {"symbol": "ERR"})

    # people look at everything
    for server in ("refusing", "shut"):
        path = f"/v1/mcp/servers/{server}"
        wait_until(lambda path=path: operator.ask("GET", path).get("summary", {}).get("problem"))
    for path in ("/v1/tools", "/v1/mcp/catalog"):
        agent.ask("GET", path)
    for path in (
        "/v1/approvals", "/v1/agents", "/v1/secrets", "/v1/policy", "/v1/budgets", "/v1/mcp/servers",
        "/v1/mcp/servers/stdio", "/v1/mcp/servers/refusing", "/v1/mcp/servers/web", "/v1/mcp/servers/stdio/diff",
        "/v1/mcp/servers/shut", "/v1/mcp/servers/world", "/v1/providers",
        "/v1/diagnostics/providers", "/v1/diagnostics/security", "/v1/tools", "/v1/mcp/catalog",
    ):  # fmt: skip
        operator.ask("GET", path)
    sinks = {
        "metrics": _heard(daemon, daemon.operator_token, "/metrics"),
        "receipts": _heard(daemon, kept["auditor token"], "/v1/receipts?limit=1000"),
    }
    auditor.ask("GET", "/v1/diagnostics/security")
    bundle, backup = home / "bundle.zip", home / "backup"
    said_of_the_bundle = briefcase(daemon, "diagnostics", "bundle", "--out", str(bundle)).stderr
    briefcase(daemon, "backup", "create", "--out", str(backup))
    sinks["agent"], sinks["operator"] = agent.heard, operator.heard + auditor.heard
    running = files_below(daemon.data_dir)
    daemon.stop()
    for files in (running, files_below(daemon.data_dir)):
        sinks["ledger file"] = sinks.get("ledger file", b"") + b"".join(
            data for name, data in files.items() if name.startswith("ledger")
        )
        sinks["database file"] = sinks.get("database file", b"") + b"".join(
            data for name, data in files.items() if "sqlite" in name
        )
    sinks["log"] = daemon.logged().encode()
    sinks["bundle"] = _unzipped(bundle)
    sinks["backup"] = b"".join(data for name, data in files_below(backup).items() if not name.endswith("_token"))
    return Life(kept, sinks, said_of_the_bundle)


def _log_in(operator: Client, agent: Client, world: TellingWorld) -> None:
    """Log in to an MCP server, call it, and have the renewal of its log-in refused."""
    name, endpoint = "/v1/mcp/servers/world", f"{world.server}/mcp"
    operator.ask("POST", name, {"endpoint_url": endpoint, "rules": [{"tool": "*", "category": "read"}]})
    wait_until(lambda: operator.ask("GET", name).get("summary", {}).get("needs_login"))
    for lifetime_s in (600, 1):
        world.lifetime_s = lifetime_s
        begun = operator.ask("POST", f"{name}/oauth/start", {"redirect_uri": "http://127.0.0.1:1/cb"})
        operator.ask("POST", f"{name}/oauth/exchange", world.agree(begun["authorization_url"]))
        wait_until(lambda: "world.whoami" in {tool["id"] for tool in agent.ask("GET", "/v1/tools")["tools"]})
        agent.call("world.whoami", {"echo": True})
        agent.call("world.change", {})
    wait_until(lambda: "could not be renewed" in str(agent.call("world.change", {})))


def _auditor_token(daemon: RunningDaemon) -> str:
    return (daemon.data_dir / "auditor_token").read_text().strip()


def _heard(daemon: RunningDaemon, token: str, path: str) -> bytes:
    client = Client(daemon, token)
    client.ask("GET", path)
    return client.heard


def _unzipped(path: Path) -> bytes:
    if not path.exists():
        return b""
    with zipfile.ZipFile(path) as archive:
        return b"".join(archive.read(name) for name in archive.namelist())


@pytest.fixture(scope="module")
def tight(tmp_path_factory) -> Life:
    return live(tmp_path_factory.mktemp("tight"))


@pytest.fixture(scope="module")
def control(tmp_path_factory) -> Life:
    return live(tmp_path_factory.mktemp("control"), LEAKY)


def test_the_matrix_is_whole_and_every_sink_was_really_filled(tight):
    assert set(tight.secrets) == {*ADAPTERS, *TOKENS}
    assert set(tight.sinks) == set(SINKS)
    assert {sink for sink, data in tight.sinks.items() if not data} <= {"log", "temporary files"}
    for sink in ("agent", "operator", "receipts", "ledger file", "otlp"):
        assert b"[redacted]" in tight.sinks[sink], sink


@pytest.mark.parametrize("name", [*ADAPTERS, *TOKENS])
def test_what_an_upstream_repeats_is_in_no_sink(tight, name):
    assert {sink for who, sink in tight.leaks() if who == name} == set()


@pytest.mark.parametrize("name", [*ADAPTERS, *TOKENS])
def test_not_even_the_beginning_of_a_secret_is_left_where_a_text_was_cut_short(tight, name):
    beginning = tight.secrets[name][:12].encode()
    assert [sink for sink, data in tight.sinks.items() if beginning in data] == []


@pytest.mark.parametrize("name", [*ADAPTERS, *TOKENS])
def test_with_redaction_switched_off_the_same_search_finds_it(control, name):
    assert {sink for who, sink in control.leaks() if who == name} == CONTROL[name]


def test_with_redaction_switched_off_a_bundle_refuses_itself(control):
    assert control.sinks["bundle"] == b""
    assert "secret" in control.said_of_the_bundle


def test_the_page_shows_what_the_control_finds():
    page = (TESTS.parent / "docs" / "attacks.md").read_text()
    rows = [re.split(r" *\| *", line)[1:-1] for line in page.splitlines() if line.startswith("| ")]
    [head] = [row for row in rows if row[0] == "secret of"]
    assert tuple(head[1:]) == SINKS
    shown = {row[0]: {sink for sink, cell in zip(SINKS, row[1:], strict=True) if cell} for row in rows
             if row[0] in CONTROL}  # fmt: skip
    assert shown == CONTROL


def test_what_a_server_says_of_itself_with_a_secret_is_held_back_and_listed_with_its_reason(tight):
    said = tight.sinks["operator"].decode()
    for held in ("described", "titled", "defaulted", "annotated", "bad name [redacted]", "capability: experimental"):
        assert f'{{"name":"{held}","problem":"' in said, held
    for held in ("resources: x://[redacted]", "prompts: p"):
        assert held in said
    assert b"stdio.described" not in tight.sinks["agent"]


def test_a_retry_is_not_answered_with_what_became_a_secret_since(tmp_path):
    secret, request_id = secrets.token_urlsafe(24), str(uuid.uuid4())
    (tmp_path / "data").mkdir(mode=0o700)
    with RunningDaemon(tmp_path / "data") as daemon:
        agent = daemon.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
        first = daemon.call("echo", {"text": secret}, token=agent, request_id=request_id)
        assert secret in json.dumps(first)
        assert daemon.request("PUT", "/v1/secrets/late", {"value": secret})[0] == 200
        again = daemon.call("echo", {"text": secret}, token=agent, request_id=request_id)
        assert again == json.loads(json.dumps(first).replace(secret, "[redacted]"))


def _pieces(secret: str, length: int = 8) -> set[str]:
    return {secret[at : at + length].lower() for at in range(len(secret) - length + 1)}


def test_no_fault_of_a_setting_a_policy_or_a_name_repeats_a_part_of_a_secret(tmp_path):
    secret = secrets.token_urlsafe(48)
    (tmp_path / "data").mkdir(mode=0o700)
    with RunningDaemon(tmp_path / "data") as daemon:
        assert daemon.request("PUT", "/v1/secrets/known", {"value": secret})[0] == 200
        long = "x" * 50 + secret
        asked = (
            ("PUT", "/v1/policy", {"policy_text": f'permit (principal == Agent::"{long} , action, resource);'}),
            ("PUT", "/v1/policy", {"policy_text": f'permit (principal, action, resource) when {{ "{long}" {"y" * 90}'}),
            ("PUT", "/v1/policy", f'{{"policy_text": "{long}", "policy_text": "{long}"}}'.encode()),
            ("POST", "/v1/budgets/read", f'{{"daily_limit_microusd": {long}}}'.encode()),
            ("POST", "/v1/agents", {"name": long}),
            ("POST", "/v1/providers/demo", {"base_url": f"https://{long}"}),
            ("GET", f"/v1/receipts?since={long}", None),
            ("POST", f"/v1/providers/{long}/enable", None),
            ("PUT", f"/v1/secrets/{long}%21", {"value": "v" * 20}),
            ("POST", "/v1/mcp/servers/fx", {"endpoint_url": f"http://h/{long}\n"}),
        )
        for method, path, body in asked:
            status, answer = daemon.request(method, path, body)
            assert 400 <= status < 500, (path, answer)
            said = json.dumps(answer).lower()
            assert [piece for piece in _pieces(secret) if piece in said] == [], (path, answer)
            assert answer["code"]
        said = daemon.request("PUT", "/v1/policy", {"policy_text": "permit (principal, action, resourc);"})[1]
        assert "resourc" in said["message"]  # what holds no secret is quoted


TESTS = Path(__file__).parent.parent
