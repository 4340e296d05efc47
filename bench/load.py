"""A load driver for HTTP over a Unix socket: closed loop, and open loop counted from the scheduled arrival.

In the closed loop each connection sends its next request when the last one was answered: it shows the most a server
can do. In the open loop requests arrive on a schedule whatever the server does, and a late answer is late from the
moment its request was due, so that a stall is charged to every request that it held up (coordinated omission).
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import uvloop

TIMER_SLACK_NS = 2_000_000
UNLIMITED = """
[calls]
per_second = 1000000
burst = 1000000
max_open_decisions = 10000000
max_open_decisions_per_principal = 10000000
"""  # a daemon's configuration whose limits are out of the way

MakeRequest = Callable[[], bytes]


class Load(NamedTuple):
    """What one run measured. Latencies are nanoseconds, sorted."""

    latencies_ns: list[int]
    elapsed_s: float
    failures: int

    @property
    def per_second(self) -> float:
        """Answered requests a second."""
        return len(self.latencies_ns) / self.elapsed_s

    def percentile_us(self, percent: float) -> float:
        """The latency, in microseconds, that this percentage of requests did not pass."""
        index = min(len(self.latencies_ns) - 1, int(len(self.latencies_ns) * percent / 100))
        return self.latencies_ns[index] / 1_000


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request in flight; counts its answers by status."""

    def __init__(self, on_answer: Callable[[Connection, bool], None]) -> None:
        self._on_answer = on_answer
        self._buffer = b""
        self.due_ns = 0

    def connection_made(self, transport) -> None:
        self.transport = transport

    def send(self, request: bytes, due_ns: int) -> None:
        self.due_ns = due_ns
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._buffer) >= end + 4 + length:
            ok = head.startswith(b"http/1.1 200")
            self._buffer = b""
            self._on_answer(self, ok)


def post(path: str, token: str, bodies: Iterator[bytes]) -> MakeRequest:
    """Requests that each post the next body."""
    start = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n".encode()
    kind = b"Content-Type: application/json\r\nContent-Length: "

    def make() -> bytes:
        body = next(bodies)
        return b"%s%s%d\r\n\r\n%s" % (start, kind, len(body), body)

    return make


def echo_calls(tool_id: str = "echo") -> Iterator[bytes]:
    """Bodies of `echo` calls, each with a request id of its own."""
    run = time.time_ns() & 0xFFFFFFFFFFFF
    for number in itertools.count():
        request_id = f"{number:08x}-0000-4000-8000-{run:012x}"
        text = b'{"call":{"tool_id":"%s","args":{"text":"hello"},"context":{"request_id":"%s"}}}'
        yield text % (tool_id.encode(), request_id.encode())


def closed_loop(socket_path: str, make: MakeRequest, *, connections: int, requests: int) -> Load:
    """Keep every connection busy until so many requests are answered."""
    return uvloop.run(_closed_loop(socket_path, make, connections, requests))


def open_loop(socket_path: str, make: MakeRequest, *, connections: int, rate: float, seconds: float) -> Load:
    """Let requests arrive at a constant rate, waiting for a free connection where there is none."""
    return uvloop.run(_open_loop(socket_path, make, connections, rate, seconds))


async def _connect(socket_path: str, connections: int, on_answer) -> list[Connection]:
    loop = asyncio.get_running_loop()
    made = [await loop.create_unix_connection(lambda: Connection(on_answer), socket_path) for _ in range(connections)]
    return [protocol for _, protocol in made]


async def _closed_loop(socket_path: str, make: MakeRequest, connections: int, requests: int) -> Load:
    latencies: list[int] = []
    failures = 0
    left = requests
    done = asyncio.Event()

    def on_answer(connection: Connection, ok: bool) -> None:
        nonlocal failures, left
        now_ns = time.perf_counter_ns()
        latencies.append(now_ns - connection.due_ns)
        failures += not ok
        if left:
            left -= 1
            connection.send(make(), time.perf_counter_ns())
        elif len(latencies) >= requests:
            done.set()

    pool = await _connect(socket_path, connections, on_answer)
    started_ns = time.perf_counter_ns()
    for connection in pool[:requests]:
        left -= 1
        connection.send(make(), time.perf_counter_ns())
    await done.wait()
    elapsed_s = (time.perf_counter_ns() - started_ns) / 1e9
    for connection in pool:
        connection.transport.close()
    return Load(sorted(latencies), elapsed_s, failures)


async def _open_loop(socket_path: str, make: MakeRequest, connections: int, rate: float, seconds: float) -> Load:
    latencies: list[int] = []
    failures = 0
    waiting: deque[int] = deque()
    total = int(rate * seconds)
    done = asyncio.Event()

    def on_answer(connection: Connection, ok: bool) -> None:
        nonlocal failures
        latencies.append(time.perf_counter_ns() - connection.due_ns)
        failures += not ok
        if waiting:
            connection.send(make(), waiting.popleft())
        else:
            free.append(connection)
        if len(latencies) >= total:
            done.set()

    free = deque(await _connect(socket_path, connections, on_answer))
    pool = list(free)
    started_ns = time.perf_counter_ns()
    for number in range(total):
        due_ns = started_ns + int(number * 1e9 / rate)
        while (ahead_ns := due_ns - time.perf_counter_ns()) > 0:
            # the loop's timers are whole milliseconds: sleep through all but the last two, then poll
            await asyncio.sleep(max(ahead_ns - TIMER_SLACK_NS, 0) / 1e9)
        if free:
            free.popleft().send(make(), due_ns)
        else:
            waiting.append(due_ns)
    await done.wait()
    elapsed_s = (time.perf_counter_ns() - started_ns) / 1e9
    for connection in pool:
        connection.transport.close()
    return Load(sorted(latencies), elapsed_s, failures)


def spread(values: list[float]) -> str:
    """A median with the range around it, for people."""
    return f"{statistics.median(values):,.1f} [{min(values):,.1f} to {max(values):,.1f}]"
