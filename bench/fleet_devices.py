"""Simulated devices of a fleet, and the connections they share: as cheap as a driver in Python gets.

A request is signed ahead where the run is short (a proof is good for two minutes), and when it is due where it is long.
Devices share connections, as they do behind a proxy; a run may also open one for each request, which is what a device
does that wakes once a minute.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import NamedTuple
from uuid import UUID, uuid4

from load import Load

from briefcase.core.jose.dpop import ProofSigner
from briefcase.core.jose.jws import EDDSA, generate_key
from briefcase.edges.control_plane.device_calls import hash_token

GENESIS = "0" * 64
TICK_S = 0.002
CLOSING_S = 0.5  # for the ends of TLS sessions
OK, NOT_MODIFIED = b"200", b"304"
EVENT = json.dumps(
    {
        "args_hash_hex": "ab" * 32,
        "decision": "deny",
        "kind": "denied",
        "principal": "agent:research",
        "reason": "x" * 549,
        "request_id": "8c5f0f6e-2d6e-4f7f-9a57-0b0c9d1f2a3b",
        "tool_id": "http.fetch",
    }
)
"""796 bytes, as a denied call's event is."""
RECEIPT = b'{"event":%b,"hash_hex":"%b","id":%d,"prev_hash_hex":"%b","ts":"2026-11-29T12:00:00.000000Z"}'


class Device:
    """One device with a key and a chain of its own."""

    __slots__ = ("_head", "_last_id", "_path", "_signer", "_start", "_token", "id", "public_key", "token_hash")

    def __init__(self, base_url: str) -> None:
        self.id: UUID = uuid4()
        key = generate_key(EDDSA)
        self.public_key = key.public.jwk["x"]
        self._signer = ProofSigner(key)
        self._token = f"token-of-{self.id}"
        self.token_hash = hash_token(self._token)
        self._path = f"/v1/devices/{self.id}"
        self._start = base_url
        self._last_id = 0
        self._head = GENESIS.encode()

    @property
    def jkt(self) -> str:
        """The thumbprint of its key."""
        return self._signer.jkt

    def sync(self, etag: str, wait_ms: int = 0) -> bytes:
        """A request for its policy that names the bundle it has."""
        path = f"{self._path}/policy" + (f"?wait_ms={wait_ms}" if wait_ms else "")
        return f"GET {path} HTTP/1.1\r\n{self._fields('GET', path)}If-None-Match: {etag}\r\n\r\n".encode()

    def upload(self, count: int) -> bytes:
        """A request with its next receipts, which is taken to be answered well."""
        event, lines = EVENT.encode(), []
        for number in range(self._last_id + 1, self._last_id + count + 1):
            before, self._head = self._head, hashlib.sha256(self._head + event).hexdigest().encode()
            lines.append(RECEIPT % (event, self._head, number, before))
        self._last_id += count
        path, body = f"{self._path}/receipts", b'{"receipts":[%b]}' % b",".join(lines)
        head = f"POST {path} HTTP/1.1\r\n{self._fields('POST', path)}Content-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    def _fields(self, method: str, path: str) -> str:
        proof = self._signer.sign(
            method, self._start + path, uuid4().hex, time.time_ns() // 1_000, access_token=self._token, keeps_query=True
        )
        return f"Host: fleet\r\nAuthorization: Bearer {self._token}\r\nDPoP: {proof}\r\n"


class Stream(NamedTuple):
    """Requests that arrive on a schedule: how many a second, what they are, and the status that is good."""

    rate: float
    requests: Iterator[bytes]
    good: bytes


class Run(NamedTuple):
    """What a run of requests showed. `client_s` is the driver's own processor time."""

    load: Load
    client_s: float
    first_problem: bytes


class _Connection(asyncio.Protocol):
    """One connection with at most one request in flight."""

    def __init__(self, on_answer: Callable[[_Connection, bytes], None]) -> None:
        self._on_answer = on_answer
        self._buffer = b""
        self.due_ns = 0

    def connection_made(self, transport) -> None:
        self.transport = transport

    def send(self, request: bytes, due_ns: int) -> None:
        self.due_ns = due_ns
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        data = self._buffer + data
        end = data.find(b"\r\n\r\n")
        at = data.find(b"ontent-length:", 0, max(end, 0))
        length = int(data[at + 14 : data.find(b"\r\n", at)]) if at >= 0 else 0
        if end < 0 or len(data) < end + 4 + length:
            self._buffer = data
            return
        self._buffer = b""
        self._on_answer(self, data)

    def connection_lost(self, error) -> None:
        if error is not None:
            self._on_answer(self, b"HTTP/1.1 000 " + repr(error).encode())


class Wire:
    """Where the control plane's processes are, and how devices reach them.

    Args:
        ports: one a process, on this host; connections go to each in turn.
        tls: for a client that speaks TLS.
        socket_path: of a Unix socket, instead of ports.
    """

    def __init__(self, ports: Sequence[int] = (), tls: ssl.SSLContext | None = None, socket_path: str = "") -> None:
        self._ports = ports
        self._tls = tls
        self._socket_path = socket_path

    async def connect(self, number: int, on_answer) -> _Connection:
        """One more connection."""
        loop = asyncio.get_running_loop()
        if self._socket_path:
            return (await loop.create_unix_connection(lambda: _Connection(on_answer), self._socket_path))[1]
        port = self._ports[number % len(self._ports)]
        return (await loop.create_connection(lambda: _Connection(on_answer), "127.0.0.1", port, ssl=self._tls))[1]

    async def one(self, request: bytes) -> bytes:
        """The answer to one request on a connection of its own."""
        answer = asyncio.get_running_loop().create_future()
        connection = await self.connect(0, lambda _, data: answer.done() or answer.set_result(data))
        connection.send(request, 0)
        data = await answer
        connection.transport.abort()  # the end of a TLS session would outlive the loop
        return data


async def closed_loop(wire: Wire, requests: Iterable[bytes], *, connections: int, good: bytes = OK) -> Run:
    """Keep every connection busy until the requests are used up."""
    left, seen, done = iter(requests), _Seen(good), asyncio.Event()
    busy = connections

    def on_answer(connection: _Connection, data: bytes) -> None:
        nonlocal busy
        seen.note(connection, data)
        request = next(left, None)
        if request is not None:
            connection.send(request, time.perf_counter_ns())
            return
        busy -= 1
        if not busy:
            done.set()

    pool = [await wire.connect(number, on_answer) for number in range(connections)]
    seen.begin()
    for connection in pool:
        connection.send(next(left), time.perf_counter_ns())
    await done.wait()
    return seen.end(pool)


async def open_loop(wire: Wire, stream: Stream, seconds: float, *, connections: int) -> Run:
    """Let requests arrive on a schedule, whatever the server does: a late answer is late from when it was due."""
    seen, done, waiting = _Seen(stream.good), asyncio.Event(), deque[int]()
    left = total = int(stream.rate * seconds)

    def on_answer(connection: _Connection, data: bytes) -> None:
        nonlocal left
        seen.note(connection, data)
        left -= 1
        if waiting:
            connection.send(next(stream.requests), waiting.popleft())
        else:
            free.append(connection)
        if not left:
            done.set()

    free = deque([await wire.connect(number, on_answer) for number in range(connections)])
    pool = list(free)
    seen.begin()
    async for due_ns in _arrivals(stream.rate, total):
        if free:
            free.popleft().send(next(stream.requests), due_ns)
        else:
            waiting.append(due_ns)
    await done.wait()
    return seen.end(pool)


async def open_loop_of_new_connections(wire: Wire, stream: Stream, seconds: float) -> Run:
    """As `open_loop`, with a connection for each request, which the device ends."""
    seen, total = _Seen(stream.good), int(stream.rate * seconds)

    async def one(number: int, request: bytes, due_ns: int) -> None:
        answer = asyncio.get_running_loop().create_future()
        connection = await wire.connect(number, lambda _, data: answer.done() or answer.set_result(data))
        connection.send(request, due_ns)
        seen.note(connection, await answer)
        connection.transport.close()

    seen.begin()
    async with asyncio.TaskGroup() as group:
        number = 0
        async for due_ns in _arrivals(stream.rate, total):
            group.create_task(one(number, next(stream.requests), due_ns))
            number += 1
    run = seen.end([])
    await asyncio.sleep(CLOSING_S)
    return run


async def _arrivals(rate: float, total: int) -> AsyncIterator[int]:
    started_ns, number = time.perf_counter_ns(), 0
    while number < total:
        due = min(total, int((time.perf_counter_ns() - started_ns) * rate / 1e9) + 1)
        for one in range(number, due):
            yield started_ns + int(one * 1e9 / rate)
        number = max(number, due)
        await asyncio.sleep(TICK_S)


class _Seen:
    """The answers of a run."""

    def __init__(self, good: bytes) -> None:
        self._good = b"HTTP/1.1 " + good
        self._latencies_ns: list[int] = []
        self._failures = 0
        self._problem = b""

    def begin(self) -> None:
        self._began_ns, self._began_cpu_ns = time.perf_counter_ns(), time.process_time_ns()

    def note(self, connection: _Connection, data: bytes) -> None:
        self._latencies_ns.append(time.perf_counter_ns() - connection.due_ns)
        if not data.startswith(self._good):
            self._failures += 1
            self._problem = self._problem or data

    def end(self, pool: list[_Connection]) -> Run:
        elapsed_s = (time.perf_counter_ns() - self._began_ns) / 1e9
        client_s = (time.process_time_ns() - self._began_cpu_ns) / 1e9
        for connection in pool:
            connection.transport.close()
        return Run(Load(sorted(self._latencies_ns), elapsed_s, self._failures), client_s, self._problem)
