"""Hostile peers: an MCP server that answers as it likes, agents that send what they like, an operator in between.

Each round draws a few hundred requests of three agents against a daemon with a hostile server behind it, then looks at
what is left:

I1 each call that the server received has its intent, with the digest of the very arguments that it received
I3 no more calls of a tool that needs approval reached the server than were approved
I4 what the budgets say was spent is what the outcomes say, and no more than the limit
I5 the server's credential and the operator's token are in nothing that an agent, the log or the disk got
I6 a well-behaved agent beside it got the right answer each time, and the chain and the state verify

A round in which few calls reached the server would show nothing, and fails.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import secrets
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Final

from trials import Trials

from briefcase.core.receipts.canonical import canonical_bytes
from support.daemons import RunningDaemon

SERVER: Final = Path(__file__).parent / "hostile_server.py"
ROUNDS: Final = {True: 1, False: 12}
REQUESTS: Final = {True: 120, False: 400}
STARTED_S: Final = 20.0
SETTINGS: Final = "[calls]\ndeadline_ms = 700\n"
POLICY: Final = """
@id("call") permit (principal, action == Action::"Call", resource);
@id("free") permit (principal, action == Action::"CallWithoutApproval", resource) when { resource.category == "read" };
@id("sign") permit (principal, action == Action::"CallWithoutSigner", resource);
"""
META: Final = {"progressToken", "traceparent"}
REACHED: Final = 20  # of so many requests at least one reaches the server


def run(trials: Trials) -> None:
    """So many rounds, each with a server and agents of another seed."""
    for _ in range(ROUNDS[trials.is_short]):
        seed = trials.random.randrange(1 << 31)
        count = REQUESTS[trials.is_short]
        with trials.trial(f"{count} requests of seed {seed}", count) as path:
            _Round(path, seed).run(count)


class _Round:
    """One daemon, one hostile server, three agents."""

    def __init__(self, path: Path, seed: int) -> None:
        self.draw = random.Random(seed)
        self.seed = seed
        self.path = path
        self.record = path / "record"
        self.record.touch()
        self.key = "Zq7-" + secrets.token_urlsafe(24)
        self.heard: list[str] = []  # what agents were answered
        self.approved = 0
        self.requests: list[dict] = []
        self.asked: dict[str, tuple[dict, str]] = {}  # by approval: the call that waits for it, and whose it is
        self.tokens: list[str] = ["none", str(uuid.uuid4())]
        self.states: list[object] = ["bm9uZQ=="]

    def run(self, count: int) -> None:
        data_dir = self.path / "data"
        data_dir.mkdir(mode=0o700)
        (data_dir / "briefcase.toml").write_text(SETTINGS)
        with RunningDaemon(data_dir) as daemon:
            self._prepare(daemon)
            for number in range(count):
                self.draw.choice(self._ways())(daemon)
                if number % 10 == 0:
                    self._honest(daemon)
            self._audit(daemon, count)
            self._verify(daemon)
            daemon.stop()
            self._search(data_dir, daemon.logged())

    def _prepare(self, daemon: RunningDaemon) -> None:
        assert daemon.request("PUT", "/v1/policy", {"policy_text": POLICY})[0] == 200
        assert daemon.request("PUT", "/v1/secrets/key", {"value": self.key})[0] == 200
        self.agents = [
            daemon.request("POST", "/v1/agents", {"name": name})[1]["token"] for name in ("a", "b", "honest")
        ]
        server = {
            "command": sys.executable,
            "args": [str(SERVER), str(self.seed), str(self.record)],
            "secret_env": {"API_KEY": "key"},
            "rules": [{"tool": "write", "category": "write"}, {"tool": "read", "category": "read"}],
        }
        status, answer = daemon.request("POST", "/v1/mcp/servers/hostile", server)
        assert status == 200, answer
        deadline = time.monotonic() + STARTED_S
        while time.monotonic() < deadline:
            listed = daemon.request("GET", "/v1/tools", token=self.agents[2])[1]["tools"]
            if any(tool["id"] == "hostile.read" for tool in listed):
                return
            time.sleep(0.05)
        told = daemon.request("GET", "/v1/mcp/servers/hostile")[1]
        raise AssertionError(f"the hostile server's honest tools were never listed: {told}")

    # --- what agents send -----------------------------------------------------------------------------------------

    def _ways(self) -> tuple:
        return (
            *(self._call,) * 5, *(self._approve,) * 3, self._repeat, self._borrow, self._bytes, self._beside,
            self._continue, self._decide, self._look, self._admin,
        )  # fmt: skip

    def _ask(
        self, daemon: RunningDaemon, path: str, body: object, *, method: str = "POST", token: str | None = None
    ) -> dict:
        token = self.draw.choice(self.agents[:2]) if token is None else token
        status, answer = daemon.request(method, path, body, token=token)
        self.heard.append(json.dumps(answer))
        assert status < 500 or status in {502, 503, 504}, (path, status, answer)
        return answer

    def _fresh(self, **more: object) -> dict:
        tool = self.draw.choice(("read", "read", "read", "write", "write", "write", "leaky", "none"))
        number = self.draw.random()
        text = self.draw.choice(("hi", "\u202e", "x" * 5_000, None, 7, *(f"n{number}" for _ in range(5))))
        context = {"request_id": str(uuid.uuid4())}
        return {"tool_id": f"hostile.{tool}", "args": {"text": text}, "context": context, **more}

    def _call(self, daemon: RunningDaemon) -> None:
        call = self._fresh()
        self.requests.append(call)
        path = self.draw.choice(("/v1/tools/call", "/v1/mcp/call"))
        token = self.draw.choice(self.agents[:2])
        answer = self._ask(daemon, path, {"call": call}, token=token)
        if answer.get("status") == "approval_required":
            self.asked.setdefault(answer["approval"]["id"], (call, token))
        content = answer.get("result", {}).get("content")
        if isinstance(content, dict) and "requestState" in content:
            self.states.append(content["requestState"])

    def _repeat(self, daemon: RunningDaemon) -> None:
        if self.requests:
            self._ask(daemon, "/v1/tools/call", {"call": self.draw.choice(self.requests)})

    def _approve(self, daemon: RunningDaemon) -> None:
        """The operator says yes to what waits, once; who asked for it calls, and calls again."""
        waiting = daemon.request("GET", "/v1/approvals")[1]["approvals"]
        for approval in waiting[:1]:
            status, answer = daemon.request("POST", f"/v1/approvals/{approval['id']}/approve")
            if status != 200:
                continue
            self.approved += 1
            self.tokens.append(answer["approval_token"])
            if approval["id"] in self.asked:
                asked, token = self.asked[approval["id"]]
                self._again(daemon, asked, answer["approval_token"], token)

    def _borrow(self, daemon: RunningDaemon) -> None:
        """Any token with any call asked before, and once more at once."""
        if self.requests:
            self._again(daemon, self.draw.choice(self.requests), self.draw.choice(self.tokens))

    def _again(self, daemon: RunningDaemon, asked: dict, approval_token: str, token: str | None = None) -> None:
        for _ in range(2):
            again = {**asked, "approval_token": approval_token, "context": {"request_id": str(uuid.uuid4())}}
            self._ask(daemon, "/v1/tools/call", {"call": again}, token=token)

    def _bytes(self, daemon: RunningDaemon) -> None:
        call = json.dumps({"call": self._fresh()})
        body = self.draw.choice(
            (
                call[:-2],
                call.replace('"args"', '"args":{},"args"'),
                call.replace("{", "{" * 80, 1),
                '{"call":' + "[" * 5_000,
                call.replace("null", "NaN").replace('"hi"', "1e999"),
                "\ufeff" + call,
                call.replace("hi", "\\ud800"),
                "-eyJ" * 2_000,
            )
        )
        self._ask(daemon, "/v1/tools/call", body.encode())

    def _beside(self, daemon: RunningDaemon) -> None:
        wish = {
            "trace": {"traceparent": "x" * 5_000, "baggage": "y" * 5_000},
            "capabilities": {"elicitation": {"form": {}}, "evil": ["z" * 1_000]},
            "_meta": {"evil": "w" * 1_000},
        }
        chosen = {name: wish[name] for name in self.draw.sample(sorted(wish), 2)}
        self._ask(daemon, "/v1/mcp/call", {"call": self._fresh(), "exchange": chosen})

    def _continue(self, daemon: RunningDaemon) -> None:
        asked = self.draw.choice(self.requests or [self._fresh()])
        state = self.draw.choice(self.states)
        args = {"target": asked["tool_id"], "arguments": asked["args"], "state": state, "responses": {"q": {}}}
        call = {"tool_id": "hostile:continue", "args": args, "context": {"request_id": str(uuid.uuid4())}}
        self._ask(daemon, "/v1/mcp/call", {"call": call})

    def _decide(self, daemon: RunningDaemon) -> None:
        answer = self._ask(daemon, "/v1/decide", {"call": {**self._fresh(), "tool_id": "echo", "args": {"text": "x"}}})
        cost = self.draw.choice((0, -1, 10**15, 3, "7", None))
        outcome = {"receipt_id": answer.get("receipt_id", 1), "status": self.draw.choice(("ok", "error", "so"))}
        self._ask(daemon, "/v1/outcomes", {**outcome, "cost_microusd": cost})

    def _look(self, daemon: RunningDaemon) -> None:
        path = self.draw.choice((
            "/v1/tools", "/v1/mcp/catalog", "/v1/approvals", "/v1/receipts", "/v1/mcp/servers/hostile", "/metrics",
            f"/v1/approvals/{self.draw.choice(self.tokens).partition('.')[0]}",
        ))  # fmt: skip
        if path != "/metrics":
            self._ask(daemon, path, None, method="GET")

    def _admin(self, daemon: RunningDaemon) -> None:
        path = self.draw.choice(("/v1/agents", "/v1/budgets/write", f"/v1/approvals/{uuid.uuid4()}/approve"))
        answer = self._ask(daemon, path, {"name": "mine", "daily_limit_microusd": 10**9})
        assert answer["code"] in {"forbidden", "not_found"}, answer

    def _honest(self, daemon: RunningDaemon) -> None:
        text = f"honest {uuid.uuid4()}"
        call = {"tool_id": "echo", "args": {"text": text}, "context": {"request_id": str(uuid.uuid4())}}
        answer = daemon.request("POST", "/v1/tools/call", {"call": call}, token=self.agents[2])[1]
        assert answer["result"]["content"] == {"echo": text}, answer

    # --- what is left ---------------------------------------------------------------------------------------------

    def _audit(self, daemon: RunningDaemon, count: int) -> None:
        intents: dict[tuple[str, str], int] = {}
        spent = seen = 0
        while page := daemon.request("GET", f"/v1/receipts?offset={seen}&limit=200")[1]["receipts"]:
            seen += len(page)
            for receipt in page:
                event = receipt["event"]
                if event["kind"] == "intent":
                    key = event["tool_id"], event["args_digest"]
                    intents[key] = intents.get(key, 0) + 1
                if event["kind"] == "outcome":
                    spent += event.get("cost_microusd", 0)
        writes = reached = 0
        for line in self.record.read_text().splitlines():
            message = json.loads(line)
            if message.get("method") != "tools/call":
                continue
            params = message["params"]
            assert set(params) <= {"name", "arguments", "_meta"}, params
            assert set(params.get("_meta", {})) <= META, params
            digest = hashlib.sha256(canonical_bytes(params["arguments"])).hexdigest()
            key = f"hostile.{params['name']}", digest
            intents[key] = intents.get(key, 0) - 1
            assert intents[key] >= 0, f"I1: `{line[:200]}` has no intent of its own"
            reached += 1
            writes += params["name"] != "read"
        assert reached * REACHED >= count, f"{reached} of {count} requests reached the server: this shows nothing"
        assert writes <= self.approved, f"I3: {writes} calls that need approval, {self.approved} approved"
        budgets = daemon.request("GET", "/v1/budgets")[1]["budgets"]
        assert spent == sum(line["spent_microusd"] for line in budgets), f"I4: {spent}, {budgets}"

    def _search(self, data_dir: Path, log: str) -> None:
        token = (data_dir / "auth_token").read_text().strip()
        for secret in (self.key, token):
            for text in (*self.heard, *log.splitlines()):
                assert secret not in text, f"I5: a secret is in `{text}`"
                assert secret.encode().hex() not in text, f"I5: a secret is in `{text}`, in hex"
                assert base64.b64encode(secret.encode()).decode() not in text, f"I5: a secret is in `{text}`, in base64"
            for file in data_dir.rglob("*"):
                if file.is_file() and file.name not in {"auth_token", "auditor_token"}:
                    assert secret.encode() not in file.read_bytes(), f"I5: a secret is in `{file.name}`"

    def _verify(self, daemon: RunningDaemon) -> None:
        command = [sys.executable, "-m", "briefcase", "receipts", "verify", "--state"]
        done = subprocess.run(command, env=daemon.env, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, f"I6: {done.stdout} {done.stderr}"
