"""The way of a plain program to the daemon: a few kept connections, each checked before a token leaves.

A request is never sent twice. A kept connection that the daemon has closed meanwhile is found out before it is used.
"""

from __future__ import annotations

import http.client
import os
import select
import socket
import threading
import time
from typing import Final

from briefcase.adapters.disk.data_dir import data_dir_of
from briefcase.core.jose.identity_proof import authority_of
from briefcase.edges.client import late
from briefcase.edges.client.conversations import Answer, Question
from briefcase.edges.client.expected import ExpectedDaemon, expected_daemon
from briefcase.edges.client.place import Place
from briefcase.edges.client.verdicts import BoundaryFault
from briefcase.edges.http.limits import HttpLimits
from briefcase.model.errors import BriefcaseError

CONNECT_TIMEOUT_S: Final = 5.0
FULL_QUEUE_PAUSE_S: Final = 0.005
MAX_IDLE_S: Final = HttpLimits().keep_alive_ms / 1_000 - 15.0
MAX_KEPT: Final = 8
MAX_ANSWER_BYTES: Final = 16 << 20


class Link:
    """Connections to one daemon, for any number of threads; each has one request under way.

    Args:
        place: where the daemon listens.
        token: the agent's.
    """

    def __init__(self, place: Place, token: str) -> None:
        self._place = place
        self._token = token
        self._expected: ExpectedDaemon | None = None
        self._lock = threading.Lock()
        self._kept: list[_Connection] = []

    def ask(self, question: Question) -> Answer:
        """Send one request and read its answer.

        Raises:
            BoundaryFault: there is no daemon, another than the expected one, or no answer.
        """
        connection = self._taken() or self._connected()
        is_whole = False
        try:
            headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
            answer = connection.exchange(question, headers)
            is_whole = True
        except TimeoutError:
            raise BoundaryFault(
                "request_timeout", "the daemon did not answer in time", may_have_run=question.runs
            ) from None
        except (OSError, http.client.HTTPException) as error:
            message = f"the connection broke before the answer ({type(error).__name__})"
            raise BoundaryFault("daemon_unreachable", message, may_have_run=question.runs) from None
        finally:
            self._give_back(connection, is_whole=is_whole)
        return answer

    def close(self) -> None:
        """Close what is kept."""
        with self._lock:
            kept, self._kept = self._kept, []
        for connection in kept:
            connection.close()

    def _taken(self) -> _Connection | None:
        while True:
            with self._lock:
                connection = self._kept.pop() if self._kept else None
            if connection is None or connection.is_fresh:
                return connection
            connection.close()

    def _give_back(self, connection: _Connection, *, is_whole: bool) -> None:
        with self._lock:
            if is_whole and connection.sock is not None and len(self._kept) < MAX_KEPT:
                connection.idle_since_s = time.monotonic()
                self._kept.append(connection)
                return
        connection.close()

    def _connected(self) -> _Connection:
        if self._expected is None:
            self._expected = expected_daemon(os.environ, lambda: data_dir_of(os.environ))
        connection = _Connection(self._place)
        try:
            connection.connect()
            connection.check(self._expected)
        except BriefcaseError as error:
            connection.close()
            raise BoundaryFault(error.code, error.message, error.hint) from None
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            message = f"no daemon answers at `{self._place}` ({type(error).__name__})"
            raise BoundaryFault("daemon_unreachable", message, "start it with `briefcase up`") from None
        return connection


class _Connection(http.client.HTTPConnection):
    """`http.client` over either kind of address. One that was lost is not made anew: it would be unchecked."""

    auto_open = False

    def __init__(self, place: Place) -> None:
        super().__init__(place.host or "localhost", place.port or None)
        self.place = place
        self.idle_since_s = 0.0

    @property
    def is_fresh(self) -> bool:
        """Whether it can be used again: not idle for long, and nothing has come that nobody asked for, an end least."""
        if self.sock is None or time.monotonic() - self.idle_since_s > MAX_IDLE_S:
            return False
        return not select.select([self.sock], [], [], 0)[0]

    def connect(self) -> None:
        """Connect; where the queue of a Unix socket is full, until there is a place in it."""
        place = self.place
        family = socket.AF_UNIX if place.socket_path else socket.AF_INET6 if ":" in place.host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(CONNECT_TIMEOUT_S)
        until_s = time.monotonic() + CONNECT_TIMEOUT_S
        while True:
            try:
                self.sock.connect(place.socket_path or (place.host, place.port))
            except BlockingIOError:
                if time.monotonic() > until_s:
                    raise
                time.sleep(FULL_QUEUE_PAUSE_S)
            else:
                return

    def check(self, expected: ExpectedDaemon) -> None:
        """Check who answers, before a token leaves.

        Raises:
            BriefcaseError: not the daemon that is expected (`untrusted_daemon`).
        """
        if self.place.socket_path:
            expected.check_socket(self.sock, self.place.socket_path)
            return
        proof = late.proof.Proof(expected, authority_of(*self.sock.getpeername()[:2]))
        answer = Answer(0, b"")
        if expected.did is not None:
            asked = Question("POST", late.proof.PROOF_PATH, proof.body, CONNECT_TIMEOUT_S)
            answer = self.exchange(asked, {"Content-Type": "application/json"})
        proof.check(answer.body)

    def exchange(self, question: Question, headers: dict[str, str]) -> Answer:
        """Send one request and read its answer."""
        self.sock.settimeout(question.within_s)
        self.request(question.method, self.place.prefix + question.path, body=question.body, headers=headers)
        response = self.getresponse()
        body = response.read(MAX_ANSWER_BYTES + 1)
        if len(body) > MAX_ANSWER_BYTES:
            raise http.client.HTTPException("the answer is too large")
        return Answer(response.status, body)
