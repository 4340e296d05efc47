"""Soak: call one tool for a long time, on a schedule, and keep what an objective can be judged by.

Arrivals follow the schedule whatever the daemon does, and a late answer is late from the moment its call was due, so
that a stall is charged to every call it held up. Memory is bounded however long the run is and however far the daemon
falls behind: latencies go into HdrHistograms, errors into counters, the samples of the daemon's memory, open files and
our own backlog into straight lines, and a call that finds `MAX_WAITING` before it is not sent and counts as unanswered.
An interrupted run still gives its report, within seconds.
"""

from __future__ import annotations

import asyncio
import os
import platform
import time
import uuid
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import msgspec
import orjson
from hdrh.histogram import HdrHistogram

from briefcase import __version__
from briefcase.adapters.telemetry.memory import read_memory
from briefcase.core.jose.identity_proof import authority_of
from briefcase.core.wire.calls import CALL_ANSWER, CallAnswer, CallDenied, CallFailed, CallNeedsApproval, CallOk
from briefcase.core.wire.errors import ErrorAnswer
from briefcase.core.wire.identity import IdentityAnswer, ProfileAnswer
from briefcase.core.wire.policy import PolicyRecord
from briefcase.core.wire.reading import Kind, read_answer
from briefcase.core.wire.receipts import ReceiptList
from briefcase.edges.client.daemon_connection import Answer, BrokenAnswerError, DaemonConnection
from briefcase.edges.client.expected import ExpectedDaemon
from briefcase.edges.client.pool import Connections, Place
from briefcase.edges.client.reply import Reply
from briefcase.edges.diagnostics.slo import Measured, Objectives, judge, verdict_of
from briefcase.model.errors import BriefcaseError
from briefcase.model.types import JsonObject, JsonValue

_T = TypeVar("_T")
HIGHEST_US: Final = 10 * 60 * 1_000_000
SIGNIFICANT_DIGITS: Final = 3
PERCENTILES: Final = (50.0, 90.0, 95.0, 99.0, 99.9, 100.0)
MAX_ANSWER_BYTES: Final = 16 << 20
CALL_TIMEOUT_S: Final = 60.0
ABOUT_TIMEOUT_S: Final = 5.0
GRACE_S: Final = 5.0  # how long an interrupted run waits for the calls under way
MAX_WAITING: Final = 10_000
MAX_REASONS: Final = 64
SAMPLE_INTERVAL_S: Final = 1.0
REPORT_FORMAT: Final = "briefcase-soak-1"


class SoakPlan(msgspec.Struct, frozen=True):
    """What to do: one call every `interval_ms`, on at most `connections` connections, judged by `objectives`."""

    duration_s: float
    interval_ms: float
    tool_id: str
    args: dict[str, Any]
    connections: int = 1
    objectives: Objectives = Objectives()


class Trend:
    """A straight line through samples over time, by running sums (ordinary least squares)."""

    def __init__(self) -> None:
        self.count = 0
        self.first: float | None = None
        self.last = 0.0
        self._t = self._y = self._tt = self._ty = 0.0

    def add(self, at_s: float, value: float) -> None:
        """One more sample."""
        self.first = value if self.first is None else self.first
        self.last = value
        self.count += 1
        self._t += at_s
        self._y += value
        self._tt += at_s * at_s
        self._ty += at_s * value

    def report(self) -> JsonObject:
        """First, last, and the slope an hour."""
        spread = self.count * self._tt - self._t * self._t
        slope = (self.count * self._ty - self._t * self._y) / spread if spread else 0.0
        return {"first": self.first, "last": self.last, "per_hour": round(slope * 3600, 3)}


class Tally:
    """What a run has measured so far."""

    def __init__(self) -> None:
        self.attempted = 0
        self.answered = 0
        self.append_failures = 0
        self.statuses: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.whole_us = HdrHistogram(1, HIGHEST_US, SIGNIFICANT_DIGITS)
        self.overhead_us = HdrHistogram(1, HIGHEST_US, SIGNIFICANT_DIGITS)
        self.memory_bytes = Trend()
        self.open_files = Trend()
        self.backlog = Trend()

    def measured(self) -> Measured:
        """The part that objectives are judged by."""
        overhead_ms = self.overhead_us.get_value_at_percentile(95) / 1_000 if self.overhead_us.total_count else None
        succeeded = self.statuses["ok"]
        allowed = succeeded + self.statuses["error"]
        return Measured(self.attempted, self.answered, allowed, succeeded, self.append_failures, overhead_ms)

    def report(self) -> JsonObject:
        """Everything, as JSON."""
        return {
            "attempted": self.attempted,
            "answered": self.answered,
            "append_failures": self.append_failures,
            "by_status": dict(self.statuses),
            "by_reason": dict(self.reasons.most_common(MAX_REASONS)),
            "by_error": dict(self.errors),
            "latency_ms": percentiles_ms(self.whole_us),
            "overhead_ms": percentiles_ms(self.overhead_us),
            "latency_histogram": self.whole_us.encode().decode(),
            "overhead_histogram": self.overhead_us.encode().decode(),
            "memory_bytes": self.memory_bytes.report(),
            "open_files": self.open_files.report(),
            "backlog": self.backlog.report(),
        }


class RefusedError(Exception):
    """The daemon answered an error; `code` is its word."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class _TimedConnection(DaemonConnection):
    """A connection that keeps the `Server-Timing` header of its last answer."""

    server_timing = ""

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header of the answer."""
        if name.lower() == b"server-timing":
            self.server_timing = value.decode("latin-1")

    async def ask(self, request: bytes, timeout_s: float) -> Answer:
        """See `DaemonConnection.ask`."""
        self.server_timing = ""
        answer = await super().ask(request, timeout_s)
        return answer._replace(server_timing=self.server_timing)


class SoakClient:
    """Calls one daemon; each of its connections is checked before it carries the token. Close it with `async with`.

    Args:
        place: where the daemon listens.
        expected: who may answer there.
        token: the bearer token.
        connections: how many calls are under way at once.
    """

    def __init__(self, place: Place, expected: ExpectedDaemon, *, token: str, connections: int) -> None:
        host = "localhost" if place.socket_path else authority_of(place.host, place.port)
        self._head = f"host: {host}\r\n"
        self._authorization = f"authorization: Bearer {token}\r\n"
        self._connections = Connections(
            place,
            expected,
            limit=connections,
            new_connection=lambda: _TimedConnection(MAX_ANSWER_BYTES),
            proof_request=lambda path, body: self._request("POST", path, body, authorization=""),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connections.close()

    async def get(self, path: str, kind: Kind[_T]) -> Reply[_T] | None:
        """One answer; None where there is none of this kind."""
        body, endpoint = await self._read(path), f"GET {path.partition('?')[0]}"
        try:
            return Reply(read_answer(body, kind, endpoint), body, endpoint)
        except BriefcaseError:
            return None

    async def figure(self, name: str) -> float | None:
        """One figure of `GET /metrics` that has no labels; None where there is none."""
        text = (await self._read("/metrics")).decode("utf-8", "replace")
        value = next((line[len(name) + 1 :] for line in text.splitlines() if line.startswith(f"{name} ")), "")
        try:
            return float(value)
        except ValueError:
            return None

    async def _read(self, path: str) -> bytes:
        """One answer, soon, or nothing: a daemon that hangs must not hold a report up."""
        try:
            request = self._request("GET", path, None, authorization=self._authorization)
            return (await self._asked(request, ABOUT_TIMEOUT_S)).body
        except (BriefcaseError, BrokenAnswerError, OSError):
            return b""

    async def call(self, plan: SoakPlan) -> tuple[CallAnswer, str]:
        """One tool call: what it came to, and the `Server-Timing` header.

        Raises:
            RefusedError: the daemon answered an error.
            BriefcaseError: another daemon than the expected one answers, which was not sent the token, or the answer is
                that of no call (`unexpected_answer`).
            BrokenAnswerError: the daemon did not answer whole.
            OSError: it could not be reached, or did not answer in time.
        """
        call = {"tool_id": plan.tool_id, "args": plan.args, "context": {"request_id": str(uuid.uuid4())}}
        data = orjson.dumps({"call": call})
        request = self._request("POST", "/v1/tools/call", data, authorization=self._authorization)
        answer = await self._asked(request, CALL_TIMEOUT_S)
        if answer.status != HTTPStatus.OK:
            raise _refused(answer)
        return read_answer(answer.body, CALL_ANSWER, "POST /v1/tools/call"), answer.server_timing

    async def _asked(self, request: bytes, timeout_s: float) -> Answer:
        """An answer, the wait for a connection within the time."""
        async with asyncio.timeout(timeout_s):
            return await self._connections.ask(request, timeout_s)

    def _request(self, method: str, path: str, body: bytes | None, *, authorization: str) -> bytes:
        head = f"{method} {path} HTTP/1.1\r\n{self._head}{authorization}".encode()
        if body is None:
            return head + b"\r\n"
        return b"%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (head, len(body), body)


def _refused(answer: Answer) -> RefusedError:
    try:
        code = read_answer(answer.body, ErrorAnswer, "").code
    except BriefcaseError:
        code = ""
    return RefusedError(code or f"http_{answer.status}")


async def soak(
    plan: SoakPlan, client: SoakClient, *, pid: int | None, on_tick: Callable[[Tally, float], None], stop: asyncio.Event
) -> JsonObject:
    """Run a plan and give its report.

    Args:
        plan: what to call, how often, for how long.
        client: how the daemon is reached.
        pid: the daemon's process where it runs on this host, for its memory and open files.
        on_tick: told about once a second what was measured so far, and for how many seconds.
        stop: set to end early; the report then says `interrupted`.
    """
    tally = Tally()
    before = await about(client)
    started_at = time.time()
    started = time.monotonic()
    running: set[asyncio.Task[None]] = set()
    ticker = asyncio.create_task(_sample(tally, running, pid, on_tick, started))
    number = 0
    try:
        while (due := started + number * plan.interval_ms / 1_000) < started + plan.duration_s and not stop.is_set():
            await _until(due, stop)
            if stop.is_set():
                break
            number += 1
            if len(running) >= MAX_WAITING:
                tally.attempted += 1
                tally.errors["not_sent"] += 1
                continue
            task = asyncio.create_task(_one_call(plan, client, tally, due))
            running.add(task)
            task.add_done_callback(running.discard)
        await _drain(running, stop)
    finally:
        ticker.cancel()
    elapsed_s = time.monotonic() - started
    findings = judge(tally.measured(), plan.objectives)
    return {
        "format": REPORT_FORMAT,
        "plan": msgspec.to_builtins(plan),
        "started_at_unix_s": round(started_at, 3),
        "elapsed_s": round(elapsed_s, 3),
        "interrupted": stop.is_set(),
        "client": {"briefcase": __version__, "python": platform.python_version()},
        "host": {"cpus": os.cpu_count(), "kernel": os.uname().release, "machine": os.uname().machine},
        "before": before,
        "after": await about(client),
        "measured": tally.report(),
        "ok": all(finding.ok for finding in findings),
        "verdict": verdict_of(tally.measured(), plan.objectives),
        "findings": [msgspec.to_builtins(finding) for finding in findings],
    }


async def about(client: SoakClient) -> JsonObject:
    """Which daemon this is: identity and build, mode, policy digest, receipt head, and its disk's slowest commit."""
    identity, profile, policy, newest, max_sync_s = await asyncio.gather(
        client.get("/v1/identity", IdentityAnswer),
        client.get("/v1/profile", ProfileAnswer),
        client.get("/v1/policy", PolicyRecord),
        client.get("/v1/receipts?limit=1", ReceiptList),
        client.figure("briefcase_ledger_max_sync_seconds"),
    )
    receipts = [] if newest is None else newest.answer.receipts
    head: JsonValue = {"id": receipts[0].id, "hash_hex": receipts[0].hash_hex} if receipts else None
    return {
        "identity": {} if identity is None else identity.document,
        "profile": {} if profile is None else profile.document,
        "policy_hash_hex": None if policy is None else policy.answer.policy_hash_hex,
        "receipt_head": head,
        "max_sync_ms": None if max_sync_s is None else round(max_sync_s * 1_000, 3),
    }


def percentiles_ms(histogram: HdrHistogram) -> JsonObject:
    """The usual percentiles of a histogram of microseconds, in milliseconds."""
    if not histogram.total_count:
        return {}
    return {f"p{percent:g}": histogram.get_value_at_percentile(percent) / 1_000 for percent in PERCENTILES}


def phase_us(server_timing: str, phase: str) -> float:
    """One phase of a `Server-Timing` header (W3C Server Timing: `name;dur=milliseconds`), in microseconds."""
    for metric in server_timing.split(","):
        name, *parameters = metric.strip().split(";")
        if name == phase:
            for parameter in parameters:
                key, _, value = parameter.strip().partition("=")
                if key == "dur":
                    return float(value) * 1_000
    return 0.0


async def _one_call(plan: SoakPlan, client: SoakClient, tally: Tally, due: float) -> None:
    tally.attempted += 1
    try:
        answer, timing = await client.call(plan)
        execute_us = phase_us(timing, "execute")
    except RefusedError as error:
        tally.errors[error.code] += 1
        tally.append_failures += error.code == "receipts_unavailable"
        return
    except (BriefcaseError, BrokenAnswerError, OSError, ValueError) as error:  # `ValueError`: a timing that is none
        tally.errors[error.code if isinstance(error, BriefcaseError) else type(error).__name__] += 1
        return
    except asyncio.CancelledError:
        tally.errors["interrupted"] += 1
        raise
    whole_us = (time.monotonic() - due) * 1_000_000
    status, reason = _standing(answer)
    tally.answered += 1
    tally.statuses[status] += 1
    if reason:
        tally.reasons[reason if reason in tally.reasons or len(tally.reasons) < MAX_REASONS else "other"] += 1
    tally.whole_us.record_value(min(max(int(whole_us), 1), HIGHEST_US))
    tally.overhead_us.record_value(min(max(int(whole_us - execute_us), 1), HIGHEST_US))


def _standing(answer: CallAnswer) -> tuple[str, str]:
    """The status word of what a call came to, and the first word of why; empty where it gave a result."""
    match answer:
        case CallOk():
            return "ok", ""
        case CallNeedsApproval():
            return "approval_required", "approval_required"
        case CallDenied(reason):
            return "denied", reason.partition(":")[0]
        case CallFailed(message):
            return "error", message.partition(":")[0]


async def _until(due: float, stop: asyncio.Event) -> None:
    ahead_s = due - time.monotonic()
    if ahead_s <= 0:
        await asyncio.sleep(0)  # late, and still the others' turn: answers, the display, a signal
        return
    try:
        await asyncio.wait_for(stop.wait(), ahead_s)
    except TimeoutError:
        return


async def _drain(running: set[asyncio.Task[None]], stop: asyncio.Event) -> None:
    """Wait for the calls under way; once told to stop only for `GRACE_S`: what is unanswered then, stays so."""
    all_done = asyncio.ensure_future(asyncio.gather(*running, return_exceptions=True))
    stopped = asyncio.create_task(stop.wait())
    either: set[asyncio.Future[Any]] = {all_done, stopped}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.wait({all_done}, timeout=GRACE_S)
    stopped.cancel()
    for task in [*running]:
        task.cancel()
    await all_done


async def _sample(
    tally: Tally,
    running: set[asyncio.Task[None]],
    pid: int | None,
    on_tick: Callable[[Tally, float], None],
    started: float,
) -> None:
    while True:
        await asyncio.sleep(SAMPLE_INTERVAL_S)
        at_s = time.monotonic() - started
        tally.backlog.add(at_s, len(running))
        if pid is not None:
            process = Path("/proc") / str(pid)
            try:
                tally.memory_bytes.add(at_s, read_memory(process).private)
                tally.open_files.add(at_s, len(list((process / "fd").iterdir())))
            except OSError:
                pid = None  # it ended or runs for another user: the rest of the run is without these
        on_tick(tally, at_s)
