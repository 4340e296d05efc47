"""A small daemon that speaks the contract, and a gateway in front of it, both in the test's own loop."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import tempfile
import uuid
from pathlib import Path

import aiohttp
import orjson
from aiohttp import web

from briefcase.core.wire.identity import IdentityAnswer, ProfileAnswer
from briefcase.edges.client.expected import ExpectedDaemon
from briefcase.edges.gateway.serve import running_core, running_http
from briefcase.edges.gateway.settings import GatewaySettings
from support.wire import example

SCOUT = "scout-token-" + "s" * 32
RANGER = "ranger-token-" + "r" * 32
AGENTS = {SCOUT: "scout", RANGER: "ranger"}
STATELESS = "2026-07-28"
HANDSHAKE = "2025-11-25"
OWN_DAEMON = ExpectedDaemon(frozenset({os.geteuid()}), takes_unproven=True)
AGENT = web.RequestKey("agent", str)
CLIENT = {"name": "rig", "version": "1"}


def tool(tool_id: str, category: str = "read") -> dict:
    return {
        "id": tool_id,
        "name": tool_id,
        "description": f"the {tool_id} tool",
        "input_schema": {"type": "object", "properties": {"text": {"type": "string"}}},
        "output_schema": {},
        "category": category,
        "cost": {"estimated_usd": 0.0},
        "output_firewall": {"mode": "allow_all", "allowed_paths": []},
    }


class FakeDaemon:
    """Answers as CONTRACT.md says; `answers` replaces what a tool does, `approvals` is who waits for what."""

    def __init__(self, *, catalog: dict | None = None) -> None:
        self.tools = [tool("echo"), tool("note_add", "write")]
        self.catalog = catalog
        self.calls: list[tuple[str, dict]] = []
        self.cancelled: list[str] = []
        self.approvals: dict[str, dict] = {}
        self.answers: dict[str, object] = {"note_add": self.needs_approval}
        self.events: dict[str, list[dict]] = {}
        self.changes: list[dict] = []
        self.changed = asyncio.Event()
        self.polls = 0
        self.looks: list[list[str]] = []
        self.looked = asyncio.Event()
        self.revoked: set[str] = set()

    async def needs_approval(self, name: str, call: dict) -> dict:
        for approval in self.approvals.values():
            brought = call.get("approval_token")
            if brought in {approval["approval_token"], approval["id"]} and approval["status"] == "approved":
                if approval["call"] != [name, call["tool_id"], call["args"]]:
                    break
                approval["status"] = "consumed"
                return ok({"noted": call["args"]})
        else:
            if "approval_token" not in call:
                return self.ask(name, call)
        return {"status": "denied", "reason": "invalid_or_expired_approval"}

    def ask(self, name: str, call: dict) -> dict:
        for kept in self.approvals.values():
            if kept["status"] in {"pending", "approved"} and kept["call"] == [name, call["tool_id"], call["args"]]:
                shown = {key: kept[key] for key in kept.keys() - {"call", "by", "approval_token"}}
                return {"status": "approval_required", "approval": shown}
        approval_id = str(uuid.uuid4())
        approval = {
            "id": approval_id,
            "created_at": "2026-01-01T00:00:00Z",
            "expires_at": "2026-01-01T00:15:00Z",
            "tool_id": call["tool_id"],
            "reason": "approval_required",
            "kind": "local",
            "summary": f"{call['tool_id']} {call['args']}",
            "status": "pending",
        }
        self.approvals[approval_id] = {
            **approval,
            "approval_token": f"{approval_id}.secret",
            "call": [name, call["tool_id"], call["args"]],
            "by": name,
        }
        return {"status": "approval_required", "approval": approval}

    def approve(self) -> str:
        approval = next(kept for kept in self.approvals.values() if kept["status"] == "pending")
        approval["status"] = "approved"
        return approval["approval_token"]

    def reject(self, why: str) -> None:
        approval = next(kept for kept in self.approvals.values() if kept["status"] == "pending")
        approval.update(status="rejected", decided_at="2026-01-01T00:00:01Z", decision_reason=why)

    async def next_look(self) -> list[str]:
        """The ids that the gateway asks after next."""
        self.looked.clear()
        async with asyncio.timeout(10):
            await self.looked.wait()
        return self.looks[-1]

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self.authenticate])
        app.router.add_get("/v1/tools", self.list_tools)
        app.router.add_get("/v1/profile", self.profile)
        app.router.add_get("/v1/identity", self.identity)
        app.router.add_post("/v1/tools/call", self.call)
        app.router.add_get("/v1/approvals", self.list_approvals)
        app.router.add_get("/v1/approvals/{id}", self.approval)
        if self.catalog is not None:
            app.router.add_get("/v1/mcp/catalog", self.get_catalog)
            app.router.add_post("/v1/mcp/call", self.call)
            app.router.add_get("/v1/mcp/calls/{id}", self.call_events)
            app.router.add_post("/v1/mcp/calls/{id}/cancel", self.cancel)
            app.router.add_get("/v1/mcp/events", self.get_changes)
        return app

    @web.middleware
    async def authenticate(self, request, handler):
        name = AGENTS.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if name is None or name in self.revoked:
            return web.json_response({"code": "unauthorized", "message": "the token is not known"}, status=401)
        request[AGENT] = name
        return await handler(request)

    async def list_tools(self, request):
        return web.json_response({"tools": self.tools})

    async def identity(self, request: web.Request) -> web.Response:
        return web.json_response(example(IdentityAnswer, principal=request[AGENT], role="agent"))

    async def profile(self, request):
        return web.json_response(example(ProfileAnswer, mode="reference", compatibility_profile="aacp_v1"))

    async def get_catalog(self, request):
        return web.json_response({"mode": "reference", "compatibility_profile": "aacp_v1", **self.catalog})

    async def approval(self, request):
        approval = self.approvals.get(request.match_info["id"])
        if approval is None or approval["by"] != request[AGENT]:
            return web.json_response({"code": "not_found", "message": "no such approval"}, status=404)
        shown = {key: value for key, value in approval.items() if key not in {"call", "by", "approval_token"}}
        if approval["status"] == "approved":
            shown["approval_token"] = approval["approval_token"]
        return web.json_response(shown)

    async def list_approvals(self, request):
        ids = request.query["ids"].split(",")
        self.looks.append(ids)
        self.looked.set()
        own = [self.approvals[id_] for id_ in ids if id_ in self.approvals]
        shown = [{key: kept[key] for key in kept.keys() - {"call", "by", "approval_token"}} for kept in own]
        return web.json_response({"approvals": shown})

    async def call(self, request):
        body = await request.json()
        call = body["call"]
        self.calls.append((request[AGENT], {**call, "exchange": body.get("exchange")}))
        answer = self.answers.get(call["tool_id"], lambda name, call: ok({"echo": call["args"].get("text")}))
        if callable(answer):
            answer = answer(request[AGENT], call)
        if asyncio.iscoroutine(answer):
            answer = await answer
        return web.json_response(answer)

    async def call_events(self, request):
        events = self.events.get(request.match_info["id"])
        if events is None:
            return web.json_response({"code": "not_found", "message": "no such call"}, status=404)
        after = int(request.query["after"])
        if not events[after:]:
            await asyncio.sleep(0.005)
        return web.json_response({"notifications": events[after:], "next": len(events), "done": False})

    async def cancel(self, request):
        self.cancelled.append(request.match_info["id"])
        return web.json_response({"cancelled": True})

    async def get_changes(self, request):
        self.polls += 1
        self.last_poll = request
        after = int(request.query["after"])
        after = len(self.changes) if after < 0 else after
        if int(request.query["after"]) >= 0 and not self.changes[after:]:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await self.changed.wait()
            self.changed.clear()
        return web.json_response({"changes": self.changes[after:], "next": len(self.changes)})

    def change(self, **change) -> None:
        self.changes.append(change)
        self.changed.set()


def ok(content: object, source: str = "builtin") -> dict:
    provenance = {"source": source, "cost_usd": 0.0, "timestamp": "2026-01-01T00:00:00Z", "receipt_id": 7}
    return {"status": "ok", "result": {"content": content, "provenance": provenance}}


def asking_daemon() -> FakeDaemon:
    """A daemon whose `fx.ask` asks its client a name, and wants the answer approved."""
    daemon = FakeDaemon(catalog={"servers": {"fx": {"capabilities": {"tools": {}}}}, "tools": {}, "hidden": []})
    asked = {"method": "elicitation/create", "params": {"message": "name?", "requestedSchema": {}}}
    wanted = {"resultType": "input_required", "inputRequests": {"q": asked}, "requestState": "daemon-state"}
    daemon.answers["fx.ask"] = lambda *_: ok(wanted, "mcp:fx")
    daemon.answers["fx:continue"] = daemon.needs_approval
    return daemon


GOING_ON = {
    "target": "fx.ask",
    "arguments": {},
    "state": "daemon-state",
    "responses": {"q": {"action": "accept", "content": {"name": "A"}}},
}


class Rig:
    """A client's view of the gateway: `post` sends raw, `rpc` sends one request and gives status and message."""

    def __init__(self, daemon: FakeDaemon, base: str, session: aiohttp.ClientSession) -> None:
        self.daemon = daemon
        self.base = base
        self.http = session

    async def post(self, body: object, *, path: str = "/mcp", token: str | None = SCOUT, **headers: str):
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        sent = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(self.base + path, data=io.BytesIO(data), headers=sent)

    async def rpc(self, method: str, params: dict | None = None, *, request_id: object = 1, **more):
        body = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params or {}}
        async with await self.post(body, **more) as response:
            return response.status, await messages(response)

    async def stateless(self, method: str, params: dict | None = None, *, capabilities: dict | None = None, **more):
        """One request of 2026-07-28, with everything it must carry; gives status and the last message."""
        params = dict(params or {})
        params["_meta"] = {
            "io.modelcontextprotocol/protocolVersion": STATELESS,
            "io.modelcontextprotocol/clientInfo": CLIENT,
            "io.modelcontextprotocol/clientCapabilities": capabilities or {},
            **params.get("_meta", {}),
        }
        headers = {"MCP_Protocol_Version": STATELESS, "Mcp_Method": method}
        name = params.get("name", params.get("uri"))
        if name is not None:
            headers["Mcp_Name"] = name
        status, got = await self.rpc(method, params, **{**headers, **more})
        return status, got[-1] if got else {}

    async def call(self, name: str, arguments: dict, **more) -> dict:
        """A stateless `tools/call`; gives its result."""
        params = {"name": name, "arguments": arguments, **more.pop("params", {})}
        status, message = await self.stateless("tools/call", params, **more)
        assert status == 200, message
        return message["result"]

    async def initialize(self, revision: str = HANDSHAKE, *, capabilities: dict | None = None, **more) -> dict:
        """Open a session; gives the headers its requests carry."""
        params = {"protocolVersion": revision, "capabilities": capabilities or {}, "clientInfo": CLIENT}
        body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
        async with await self.post(body, **more) as response:
            assert response.status == 200, await response.text()
            self.initialized = (await messages(response))[0]["result"]
            return {"Mcp_Session_Id": response.headers["Mcp-Session-Id"], "MCP_Protocol_Version": revision}


async def messages(response: aiohttp.ClientResponse) -> list[dict]:
    """Everything an answer holds, whichever form it has."""
    data = await response.read()
    if response.content_type == "text/event-stream":
        return [orjson.loads(line[6:]) for line in data.splitlines() if line.startswith(b"data: ")]
    return [orjson.loads(data)] if data else []


@contextlib.asynccontextmanager
async def rig(daemon: FakeDaemon | None = None, **settings):
    """A gateway in front of a daemon."""
    daemon = daemon or FakeDaemon()
    with tempfile.TemporaryDirectory(prefix="bc-") as directory:
        socket = Path(directory) / "d.sock"
        runner = web.AppRunner(daemon.app(), shutdown_timeout=0.1)
        await runner.setup()
        await web.UnixSite(runner, str(socket)).start()
        chosen = GatewaySettings(
            **{
                "daemon_socket": socket,
                "expected": OWN_DAEMON,
                "http_addr": ("127.0.0.1", 0),
                "stdio": False,
                **settings,
            }
        )
        try:
            async with (
                running_core(chosen) as core,
                running_http(core, chosen) as (host, port),
                aiohttp.ClientSession() as session,
            ):
                yield Rig(daemon, f"http://{host}:{port}", session)
        finally:
            await runner.cleanup()
