"""Kill the daemon in the middle of mixed traffic and look at what it left: the six invariants, by audit.

Sixty-four clients call tools, some free, some paid, some waiting for approval, some denied. The daemon is killed
without warning, started again, and then every answer that a client holds is looked for in the chain.
"""

from __future__ import annotations

import json
import os
import random
import threading
import uuid
from collections import Counter
from http.client import HTTPException

import pytest

from support.daemons import RunningDaemon, UnixConnection
from support.upstream import API_KEY, TicketDesk

CLIENTS = 64
CALLS = int(os.environ.get("BRIEFCASE_CRASH_CALLS", "2000"))

MANIFEST = """
[[tools]]
id = "tickets_list"
name = "List tickets"
description = "Tickets by status"
method = "GET"
url = "{url}/api/tickets"
category = "read"
cost_usd = "0.002"
allowed_hosts = ["{address}"]
"""


class Clients:
    """Threads that call until they are told to stop or the daemon goes; they remember every answer."""

    def __init__(self, daemon: RunningDaemon, token: str, seed: int) -> None:
        self.daemon = daemon
        self.token = token
        self.random = random.Random(seed)
        self.answers: list[tuple[str, dict]] = []
        self.tokens: list[tuple[dict, str]] = []
        self.left = CALLS
        self.enough = threading.Event()

    def run(self, kill_after: int) -> None:
        self.kill_after = kill_after
        threads = [threading.Thread(target=self._client) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        self.enough.wait(timeout=120)
        self.daemon.kill()
        for thread in threads:
            thread.join(timeout=60)

    def _client(self) -> None:
        connection = UnixConnection(self.daemon.socket_path)
        try:
            while self.left > 0:
                self.left -= 1
                call = self._next_call()
                connection.request(
                    "POST", "/v1/tools/call", json.dumps({"call": call}), {"Authorization": f"Bearer {self.token}"}
                )
                answer = json.loads(connection.getresponse().read())
                self.answers.append((call["context"]["request_id"], answer))
                if len(self.answers) >= self.kill_after:
                    self.enough.set()
        except (OSError, ValueError, HTTPException):
            pass  # the daemon was killed: what was not answered is not held against it
        finally:
            connection.close()

    def _next_call(self) -> dict:
        kind = self.random.random()
        context = {"request_id": str(uuid.UUID(int=self.random.getrandbits(128), version=4))}
        if kind < 0.2 and self.tokens:
            args, token = self.random.choice(self.tokens)
            return {"tool_id": "note_add", "args": args, "context": context, "approval_token": token}
        if kind < 0.5:
            return {"tool_id": "echo", "args": {"text": str(self.random.random())}, "context": context}
        if kind < 0.7:
            return {"tool_id": "tickets_list", "args": {}, "context": context}
        if kind < 0.8:
            return {"tool_id": "note_add", "args": {"text": str(self.random.randrange(20))}, "context": context}
        if kind < 0.9:
            return {"tool_id": "nothing", "args": {}, "context": context}
        return {"tool_id": "echo", "args": {"wrong": 1}, "context": context}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_after_a_kill_every_answer_has_its_receipt_and_nothing_was_spent_twice(tmp_path, seed):
    with TicketDesk() as desk, RunningDaemon(tmp_path / "data") as daemon:
        token = prepare(daemon, desk)
        clients = Clients(daemon, token, seed)
        clients.tokens = approved_notes(daemon, token, count=20)
        clients.run(kill_after=CALLS // 2)
        reached_upstream = sum(method == "GET" for method, _, _ in desk.seen)
        daemon.start()
        receipts = everything(daemon)

        assert daemon.request("POST", "/v1/receipts/verify")[1]["ok"]
        assert len(clients.answers) >= CALLS // 2
        audit_answers(clients, receipts)
        audit_intents(receipts, reached_upstream)
        audit_approvals(clients, receipts, daemon)
        audit_budget(receipts, daemon)


def prepare(daemon: RunningDaemon, desk: TicketDesk) -> str:
    """Give the daemon the ticket desk, a budget that runs out, and an agent; gives the agent's token."""
    daemon.stop()
    (daemon.data_dir / "tools").mkdir(mode=0o700, exist_ok=True)
    (daemon.data_dir / "tools" / "tickets.toml").write_text(
        MANIFEST.format(url=desk.url, address=desk.address)
        + '[tools.credential]\nname = "tickets"\nheader = "X-Api-Key"\n'
    )
    (daemon.data_dir / "briefcase.toml").write_text(f'[net]\nallow_private = ["{desk.address}"]\n')
    daemon.start()
    assert daemon.request("PUT", "/v1/secrets/tickets", {"value": API_KEY})[0] == 200
    assert daemon.request("POST", "/v1/budgets/read", {"daily_limit_microusd": 2_000 * (CALLS // 20)})[0] == 200
    return daemon.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]


def approved_notes(daemon: RunningDaemon, token: str, count: int) -> list[tuple[dict, str]]:
    """So many approved writes, each of which may run once."""
    approved = []
    for number in range(count):
        args = {"text": f"approved {number}"}
        asked = daemon.call("note_add", args, token=token)
        _, answer = daemon.request("POST", f"/v1/approvals/{asked['approval']['id']}/approve")
        approved.append((args, answer["approval_token"]))
    return approved


def everything(daemon: RunningDaemon) -> list[dict]:
    """All receipts, oldest first."""
    found, offset = [], 0
    while page := daemon.request("GET", f"/v1/receipts?limit=1000&offset={offset}")[1]["receipts"]:
        found += page
        offset += len(page)
    return found[::-1]


def audit_answers(clients: Clients, receipts: list[dict]) -> None:
    """I6, and the promise itself: what a client was told is what the chain says."""
    by_request: dict[str, list[dict]] = {}
    by_id = {receipt["id"]: receipt["event"] for receipt in receipts}
    for receipt in receipts:
        by_request.setdefault(receipt["event"].get("request_id", ""), []).append(receipt["event"])
    for request_id, answer in clients.answers:
        kinds = [event["kind"] for event in by_request.get(request_id, [])]
        match answer["status"]:
            case "ok":
                assert kinds == ["intent", "outcome"]
                last = by_request[request_id][-1]
                assert last["id"] == answer["result"]["provenance"]["receipt_id"]
            case "error":
                assert kinds == ["intent", "outcome"]
            case "denied" if "receipt_id" in answer and not kinds:  # counted: its receipt is the first one's
                first = by_id[answer["receipt_id"]]
                assert (first["kind"], first["reason"]) == ("denied", answer["reason"])
            case "denied":
                assert kinds == ["denied"]
                assert by_request[request_id][0]["reason"] == answer["reason"]
            case "approval_required":
                assert kinds == ["approval_required"]


def audit_intents(receipts: list[dict], reached_upstream: int) -> None:
    """I1: no side effect without an intent; and each intent has exactly one end."""
    events = [receipt["event"] for receipt in receipts]
    intents = {event["id"] for event in events if event["kind"] == "intent"}
    ends = Counter(event["intent_id"] for event in events if event["kind"] in {"outcome", "outcome_unknown"})
    assert set(ends) == intents
    assert set(ends.values()) <= {1}
    paid = sum(event["kind"] == "intent" and event["tool_id"] == "tickets_list" for event in events)
    assert reached_upstream <= paid


def audit_approvals(clients: Clients, receipts: list[dict], daemon: RunningDaemon) -> None:
    """I3: at most once, and a second use after the restart is refused."""
    used = Counter(
        receipt["event"]["approval_id"]
        for receipt in receipts
        if receipt["event"]["kind"] == "intent" and receipt["event"]["approval_id"]
    )
    assert set(used.values()) <= {1}
    for args, token in clients.tokens:
        answer = daemon.call("note_add", args, token=clients.token, approval_token=token)
        once_used = token.partition(".")[0] in used
        assert answer["status"] == ("denied" if once_used else "ok")


def audit_budget(receipts: list[dict], daemon: RunningDaemon) -> None:
    """I4: what was spent is what the receipts say, and never more than the limit."""
    spent = sum(
        receipt["event"].get("cost_microusd", 0) for receipt in receipts if receipt["event"]["kind"] == "outcome"
    )
    unknown = [receipt["event"] for receipt in receipts if receipt["event"]["kind"] == "outcome_unknown"]
    doubtful = sum(event["tool_id"] == "tickets_list" for event in unknown) * 2_000
    (line,) = [x for x in daemon.request("GET", "/v1/budgets")[1]["budgets"] if x["category"] == "read"]
    assert line["spent_microusd"] == spent + doubtful
    assert line["reserved_microusd"] == 0
    assert line["spent_microusd"] <= line["daily_limit_microusd"]
