"""A fault at each durable system call of a whole call: asked for, approved, intended, executed upstream, concluded.

The daemon runs; `strace -e inject` is attached to it when it is ready, and so counts from the call's first write on.
The upstream is a real server, which tells how often the call had its effect.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Final

import test_crash
import test_ledger_crash as crash
from trials import Trials

from support.daemons import RunningDaemon
from support.upstream import API_KEY, TicketDesk

KILL: Final = "signal=SIGKILL"
FAULTS: Final = (KILL, "error=EIO", "error=ENOSPC")
DURABLE: Final = ("pwrite64", "fdatasync")
COST_MICROUSD: Final = 2_000
# every commit on one thread, however slow the disk is today: the calls are numbered by thread
INLINE: Final = """
from briefcase.adapters.ledger import group
group.INLINE_MAX_US = 1 << 40
"""
TOOL: Final = "ticket_open"
ARGS: Final = {"title": "the door is stuck"}
MANIFEST: Final = f"""
[[tools]]
id = "{TOOL}"
name = "Open a ticket"
description = "Open a ticket"
method = "POST"
url = "{{url}}/api/tickets"
category = "write"
cost_usd = "0.002"
allowed_hosts = ["{{address}}"]
[tools.input_schema]
type = "object"
required = ["title"]
additionalProperties = false
properties.title.type = "string"
[tools.arguments]
title = "body"
[tools.credential]
name = "tickets"
header = "X-Api-Key"
"""


def run_whole_call(trials: Trials) -> None:
    """A fault at each durable system call of a whole call, and the audit of what is left."""
    with TicketDesk() as desk:
        template = trials.directory / "template"
        token = _prepare(template, desk)
        made = _without_fault(trials, template, token, desk)
        positions = [(name, fault, at) for name in made for fault in FAULTS for at in range(1, made[name] + 1)]
        if trials.is_short:  # the last sync: the intent has had its effect; the last write: the engine's root
            last = [("fdatasync", KILL, made["fdatasync"]), ("pwrite64", "error=EIO", made["pwrite64"])]
            positions = [*last, *trials.pick(positions, short=1)]
        injected = 0
        for name, fault, at in positions:
            with trials.trial(f"{name} number {at}: {fault}") as path:
                before = len(desk.seen)
                attempt = Attempt(template, path, token, f"{name}:{fault}:when={at}")
                attempt.audit(desk, before)
                injected += attempt.injected
        with trials.trial("the faults took place", count=0):
            assert injected > len(positions) // 2, f"{injected} of {len(positions)}"


def _without_fault(trials: Trials, template: Path, token: str, desk: TicketDesk) -> dict[str, int]:
    """How often a call without a fault makes each durable system call."""
    made: dict[str, int] = {}
    with trials.trial("no fault") as path:
        attempt = Attempt(template, path, token)
        assert "ok" in attempt.told, attempt.told
        assert not any(attempt.calls[name] for name in crash.UNUSED), "a durable call that is not tried"
        attempt.audit(desk, before=0)
        made |= attempt.calls
    return made


def _prepare(data_dir: Path, desk: TicketDesk) -> str:
    """A data directory whose daemon knows the desk, a budget and an agent; gives the agent's token."""
    (data_dir / "tools").mkdir(mode=0o700, parents=True)
    data_dir.chmod(0o700)
    (data_dir / "tools" / "desk.toml").write_text(MANIFEST.format(url=desk.url, address=desk.address))
    (data_dir / "briefcase.toml").write_text(f'[net]\nallow_private = ["{desk.address}"]\n')
    with RunningDaemon(data_dir) as daemon:
        assert daemon.request("PUT", "/v1/secrets/tickets", {"value": API_KEY})[0] == 200
        assert daemon.request("POST", "/v1/budgets/write", {"daily_limit_microusd": 10 * COST_MICROUSD})[0] == 200
        token = daemon.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
        daemon.stop()
    return token


class Attempt:
    """One whole call against a copy of the data directory, with a fault or without.

    `told` is what the client was answered, by step; `calls` how often the busiest thread made each system call.
    """

    def __init__(self, template: Path, path: Path, token: str, inject: str | None = None) -> None:
        self._token = token
        self.told: dict[str, dict] = {}
        shutil.copytree(template, path / "data")
        (path / "sitecustomize.py").write_text(INLINE)
        search = os.pathsep.join(filter(None, [str(path), os.environ.get("PYTHONPATH")]))
        self._daemon = RunningDaemon(path / "data", PYTHONPATH=search)
        self._approval_token = ""
        try:
            self._daemon.start()
            process = self._daemon.process
            with _traced(process.pid, path / "trace", inject):
                self._steps()
            is_dead = process.poll() is not None
        finally:
            self._daemon.kill()
        trace = (path / "trace").read_text()
        self.injected = is_dead or "(INJECTED)" in trace
        made = Counter(re.findall(r"^(\d+) +(\w+)\(", trace, re.MULTILINE))
        self.calls = {
            name: max((count for (_, called), count in made.items() if called == name), default=0)
            for name in DURABLE + crash.UNUSED
        }

    def _steps(self) -> None:
        """Ask, approve, call; what fails ends it, and nothing later may succeed (I2)."""
        try:
            asked = self._call("asked")
            if asked.get("status") == "approval_required":
                _, approved = self._daemon.request("POST", f"/v1/approvals/{asked['approval']['id']}/approve")
                self._approval_token = approved.get("approval_token", "")
                if self._approval_token:
                    self._call("ok", approval_token=self._approval_token)
            if not self.told.get("ok"):
                again = self._call("again")
                assert again.get("code") == "receipts_unavailable", f"I2: after a failed write: {again}"
        except (OSError, HTTPException, ValueError):
            pass  # the daemon was killed

    def _call(self, step: str, **fields: str) -> dict:
        call = {"tool_id": TOOL, "args": ARGS, "context": {"request_id": str(uuid.uuid4())}, **fields}
        status, answer = self._daemon.request("POST", "/v1/tools/call", {"call": call}, token=self._token)
        if status == 200 and answer["status"] in {"ok", "approval_required"}:
            self.told[step] = answer
        return answer

    def audit(self, desk: TicketDesk, before: int) -> None:
        """Start again without a fault, and look at what is left."""
        daemon = self._daemon
        try:
            daemon.start()
            assert daemon.request("POST", "/v1/receipts/verify")[1]["ok"]
            events = [receipt["event"] for receipt in test_crash.everything(daemon)]
            used = self._audit_chain(events, reached=len(desk.seen) - before)
            if self._approval_token:
                # I3: an approval that an intent has used is used, whatever became of it
                again = daemon.call(TOOL, ARGS, token=self._token, approval_token=self._approval_token)
                assert again["status"] == ("denied" if used else "ok"), again
            assert len(desk.seen) - before <= 1, "I3: the approved call had its effect twice"
            _audit_budget(daemon)
        finally:
            daemon.__exit__()

    def _audit_chain(self, events: list[dict], reached: int) -> int:
        """How many intents there are; I1, I6, and that what was told is what the chain says."""
        kinds = Counter(event["kind"] for event in events)
        intents = [event["id"] for event in events if event["kind"] == "intent"]
        ends = [event["intent_id"] for event in events if event["kind"] in {"outcome", "outcome_unknown"}]
        assert reached <= len(intents) <= 1, f"I1: {reached} effects, {len(intents)} intents"
        assert ends == intents, "an intent without its end"
        assert kinds["approval_required"] >= len([step for step in ("asked", "again") if step in self.told])
        if "ok" in self.told:
            last = self.told["ok"]["result"]["provenance"]["receipt_id"]
            assert [event["kind"] for event in events if event["id"] == last] == ["outcome"]
        return len(intents)


def _audit_budget(daemon: RunningDaemon) -> None:
    """I4: what is spent is what the receipts say; an outcome nobody knows costs its whole reservation."""
    events = [receipt["event"] for receipt in test_crash.everything(daemon)]
    known = sum(event["cost_microusd"] for event in events if event["kind"] == "outcome")
    unknown = COST_MICROUSD * sum(event["kind"] == "outcome_unknown" for event in events)
    (line,) = [found for found in daemon.request("GET", "/v1/budgets")[1]["budgets"] if found["category"] == "write"]
    assert line["reserved_microusd"] == 0
    assert line["spent_microusd"] == known + unknown


@contextmanager
def _traced(pid: int, trace: Path, inject: str | None) -> Iterator[None]:
    """`strace` on every thread of a process; it lets go at the end."""
    command = ["strace", "-f", "-qq", "-o", str(trace), "-p", str(pid)]
    command += ["-e", f"trace={','.join(DURABLE + crash.UNUSED)}"]
    if inject is not None:
        command += ["-e", f"inject={inject}"]
    tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        _wait_for_tracer(pid, tracer)
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        try:
            tracer.wait(timeout=5)
        except subprocess.TimeoutExpired:  # of a process that was killed it may wait for a thread for ever
            tracer.kill()
            tracer.wait()


def _wait_for_tracer(pid: int, tracer: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 20
    threads = [Path(task) / "status" for task in os.scandir(f"/proc/{pid}/task")]
    while not all(f"TracerPid:\t{tracer.pid}\n" in status.read_text() for status in threads):
        assert time.monotonic() < until, "strace could not attach"
        assert tracer.poll() is None, "strace could not attach"
        time.sleep(0.005)
