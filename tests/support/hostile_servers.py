"""Servers on loopback that do what an upstream should not: raw bytes, written as a test says, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self, TypeAlias

from briefcase.adapters.net.outbound import GuardedOutbound
from support.waiting import until

Serve: TypeAlias = Callable[[socket.socket, bytes], bool]  # whether the connection goes on


class RawServer:
    """Accepts connections and gives each to `serve(connection, head)`, with the request's head as it came.

    `serve` returns True to be given the next request of the same connection.
    """

    def __init__(self, serve: Serve, *, tls: ssl.SSLContext | None = None) -> None:
        self._serve = serve
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"{'https' if tls else 'http'}://{self.address}"
        self.connections = 0
        self.heads: list[bytes] = []
        self.finished = 0  # requests whose `serve` has returned, and their connection closed where it said so
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._talk, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _talk(self, connection: socket.socket) -> None:
        with suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            while head := self._read_head(connection):
                self.heads.append(head)
                goes_on = self._serve(connection, head)
                if not goes_on:
                    connection.close()
                self.finished += 1
                if not goes_on:
                    break
        connection.close()

    @staticmethod
    def _read_head(connection: socket.socket) -> bytes:
        head = b""
        while b"\r\n\r\n" not in head:
            chunk = connection.recv(65_536)
            if not chunk:
                return b""
            head += chunk
        return head


async def close_outbound(outbound: GuardedOutbound) -> None:
    """Close it, and see every connection end: over TLS that takes the other side's word (RFC 8446 section 6.1)."""
    await outbound.close()
    loop: Any = asyncio.get_running_loop()
    watched = loop._selector.get_map()  # of sockets; one is the loop's own
    await until(lambda: len(watched) <= 1)


def answering(*answers: bytes) -> Serve:
    """A server that gives these bytes, one after the other, and the last one from then on; connections stay open."""
    left = list(answers)

    def serve(connection: socket.socket, _head: bytes) -> bool:
        connection.sendall(left.pop(0) if len(left) > 1 else left[0])
        return True

    return serve


def http_answer(body: bytes = b"{}", status: str = "200 OK", **headers: str) -> bytes:
    """A well-formed answer; header names are written with `_` for `-`."""
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    fields.update({name.replace("_", "-"): value for name, value in headers.items()})
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body
