"""Kept connections to one daemon, each checked before anything but the check goes over it (`expected.py`)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final, NamedTuple

from briefcase.core.jose.identity_proof import authority_of
from briefcase.edges.client.daemon_connection import Answer, BrokenAnswerError, DaemonConnection
from briefcase.edges.client.expected import ExpectedDaemon
from briefcase.edges.client.proof import PROOF_PATH, Proof
from briefcase.edges.http.limits import HttpLimits

CONNECT_TIMEOUT_S: Final = 5.0
FULL_QUEUE_PAUSE_S: Final = 0.005
IDLE_MARGIN_S: Final = 15.0  # a request that is under way when the daemon closes its connection is lost
MAX_IDLE_S: Final = HttpLimits().keep_alive_ms / 1_000 - IDLE_MARGIN_S


class Place(NamedTuple):
    """Where a daemon listens: the path of a socket, or else a host and a port."""

    socket_path: str = ""
    host: str = ""
    port: int = 0


class Connections:
    """At most `limit` connections to one place, the one used last first.

    A connection that is lost while nobody uses it is forgotten, and one that was idle for `MAX_IDLE_S` is closed before
    the daemon closes it. A request is never sent twice.

    Args:
        place: where the daemon listens.
        expected: who may answer there.
        limit: how many requests are under way at once; others wait.
        new_connection: makes a connection's protocol.
        proof_request: the whole request, for a path and a body, that asks for the proof over TCP.
    """

    def __init__(
        self,
        place: Place,
        expected: ExpectedDaemon,
        *,
        limit: int,
        new_connection: Callable[[], DaemonConnection],
        proof_request: Callable[[str, bytes], bytes],
    ) -> None:
        self._place = place
        self._expected = expected
        self._new_connection = new_connection
        self._proof_request = proof_request
        self._connections: list[DaemonConnection] = []
        self._free: list[DaemonConnection] = []
        self._slots = asyncio.Semaphore(limit)

    async def close(self) -> None:
        """Cut every connection."""
        self._free.clear()
        for connection in list(self._connections):
            await connection.close()

    async def ask(self, request: bytes, timeout_s: float) -> Answer:
        """Send one whole request and await the whole answer.

        Args:
            request: head and body.
            timeout_s: how long the answer may take.

        Raises:
            BriefcaseError: another daemon than the expected one is there (`untrusted_daemon`); nothing was sent.
            BrokenAnswerError: there is no answer, or none that can be taken.
            OSError: no connection, or no answer in time.
        """
        async with self._slots:
            connection = self._taken() or await self._connect()
            try:
                return await connection.ask(request, timeout_s)
            finally:
                if connection.is_free:
                    self._free.append(connection)
                else:
                    self._connections.remove(connection)

    def _taken(self) -> DaemonConnection | None:
        """The connection used last. Those under one that was idle for too long were idle for longer."""
        while self._free:
            connection = self._free.pop()
            if connection.is_free and connection.idle_s < MAX_IDLE_S:
                return connection
            connection.cut()
            self._connections.remove(connection)
        return None

    async def _connect(self) -> DaemonConnection:
        loop, place = asyncio.get_running_loop(), self._place
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            if place.socket_path:
                sock = await _reach(place.socket_path)
                _, connection = await loop.create_unix_connection(self._new_connection, sock=sock)
            else:
                _, connection = await loop.create_connection(self._new_connection, place.host, place.port)
            try:
                await self._check_daemon(connection)
            except BaseException:
                connection.cut()
                raise
        self._connections.append(connection)
        return connection

    async def _check_daemon(self, connection: DaemonConnection) -> None:
        """Check who answers on a new connection, before it carries a token.

        Raises:
            BriefcaseError: not the daemon that is expected (`untrusted_daemon`).
        """
        if self._place.socket_path:
            self._expected.check_socket(connection.socket, self._place.socket_path)
            return
        try:
            peer = connection.socket.getpeername()
        except OSError:
            raise BrokenAnswerError("the connection is gone") from None
        proof = Proof(self._expected, authority_of(*peer[:2]))
        answer = Answer(0, b"")
        if self._expected.did is not None:
            answer = await connection.ask(self._proof_request(PROOF_PATH, proof.body), CONNECT_TIMEOUT_S)
        proof.check(answer.body)


async def _reach(socket_path: str) -> socket.socket:
    """Connect to a Unix socket; where its queue is full, which is said at once, until there is a place in it."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(0)
    try:
        while True:
            try:
                sock.connect(socket_path)
            except BlockingIOError:
                await asyncio.sleep(FULL_QUEUE_PAUSE_S)
            else:
                return sock
    except BaseException:
        sock.close()
        raise
