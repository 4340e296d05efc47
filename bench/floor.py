"""The floor: what this machine can do without us. A bare echo over a Unix socket, and one synced commit."""

from __future__ import annotations

import asyncio
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httptools
import lmdb
import uvloop


class Echo(asyncio.Protocol):
    """Answers every POST with its own body, parsed by httptools and nothing else."""

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(self.body), self.body))
        self.body = b""


def _serve_echo(path: str) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_unix_server(Echo, path, backlog=1_024)
        await server.serve_forever()

    uvloop.run(serve())


@contextmanager
def bare_echo() -> Iterator[str]:
    """A bare echo server in a process of its own; gives its socket path."""
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory) / "echo.sock")
        server = multiprocessing.get_context("spawn").Process(target=_serve_echo, args=(path,), daemon=True)
        server.start()
        while not Path(path).exists():
            time.sleep(0.01)
        time.sleep(0.05)
        yield path
        server.kill()
        server.join()


def synced_commits_us(directory: Path, count: int = 500, size_bytes: int = 700) -> list[float]:
    """How long one record takes to be on disk by LMDB with sync on, in microseconds, sorted."""
    with lmdb.open(str(directory), map_size=1 << 28, max_dbs=1) as environment:
        table = environment.open_db(b"records")
        taken = []
        for number in range(count):
            started_ns = time.perf_counter_ns()
            with environment.begin(write=True, db=table) as transaction:
                transaction.put(number.to_bytes(8, "big"), b"x" * size_bytes)
            taken.append((time.perf_counter_ns() - started_ns) / 1_000)
    return sorted(taken)
