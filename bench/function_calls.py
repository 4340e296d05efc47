"""How many functions a request calls, Python's and C's, by `sys.setprofile`: a figure that nothing moves but code.

    function_calls.py [--json FILE] [--list ROW]

A whole daemon runs in this process, with its ledger in a temporary directory, and a client on a thread. A count begins
where a request's bytes reach the connection and ends when the answer's are written; the loop's thread alone is counted,
and each group is committed on it. Each row is warmed up, and counted several times, of which the least is given: now
and then a timer of the daemon falls into one. Frames of coroutines count each time they go on; what native modules
call does not count, nor do types.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Final

sys.path.insert(0, str(Path(__file__).parent))

from load import UNLIMITED, echo_calls, post

from briefcase.adapters.ledger import group
from briefcase.daemon.run import serve
from briefcase.edges.http.connection import Connection

WARM_UP: Final = 8
COUNTED: Final = 8
NEVER_US: Final = 1 << 60

Counts = dict[str, list[str]]


class Counter:
    """Counts the calls of the loop's thread, from a connection's bytes to the end of its answer, while it is armed."""

    def __init__(self) -> None:
        self.is_armed = False
        self.calls: list[str] = []
        self.ended = threading.Event()
        receive = Connection.data_received

        def data_received(connection: Connection, data: bytes) -> None:
            if self.is_armed:
                sys.setprofile(self._take)
            receive(connection, data)

        Connection.data_received = data_received  # type: ignore[method-assign] # where a count begins

    def _take(self, frame: FrameType, event: str, arg: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_name == "_become_idle":  # what a connection does when it has answered
            sys.setprofile(None)
            self.ended.set()
        elif event == "call":
            self.calls.append(f"{Path(code.co_filename).name} {code.co_qualname}")
        elif event == "c_call":
            self.calls.append(f"C {getattr(arg, '__qualname__', arg)} in {code.co_qualname}")

    def count(self, request: Callable[[], object]) -> list[str]:
        """What one request calls."""
        self.calls, self.is_armed = [], True
        self.ended.clear()
        request()
        assert self.ended.wait(10), "the connection did not become idle"
        self.is_armed = False
        return self.calls


def main() -> int:
    """Count every row and print it; gives the exit code."""
    parser = argparse.ArgumentParser(description="Count the function calls of a call, a decision and an outcome.")
    parser.add_argument("--json", type=Path, help="where the counts are written")
    parser.add_argument("--list", metavar="ROW", help="print each call of `call`, `decide` or `outcome`")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="calls-") as scratch:
        found = count(Path(scratch))
    for name, calls in found.items():
        native = sum(call.startswith("C ") for call in calls)
        print(f"{name:8} {len(calls):4} calls: {len(calls) - native} of Python's and {native} of C's")
        if name == asked.list:
            print(*calls, sep="\n")
    if asked.json:
        asked.json.write_text(json.dumps({name: len(calls) for name, calls in found.items()}) + "\n")
    return 0


def count(scratch: Path) -> Counts:
    """Count every row with a daemon in this process, which has to be a fresh one."""
    group.INLINE_MAX_US = NEVER_US  # type: ignore[misc] # however slow the disk is, nothing goes over the writer's thread
    data_dir, path = scratch / "data", scratch / "d.sock"
    data_dir.mkdir(mode=0o700)
    (data_dir / "briefcase.toml").write_text(UNLIMITED)
    environ = {"HOME": str(scratch), "BRIEFCASE_DATA_DIR": str(data_dir), "BRIEFCASE_UNIX_SOCKET": str(path)}
    counter, found = Counter(), Counts()

    def drive() -> None:
        with _stop_at_end():
            token = (data_dir / "auth_token").read_text().strip()
            agent = _post(_connect(path), "/v1/agents", token, b'{"name": "counted"}')["token"]
            found.update(_counted(counter, _connect(path), agent))

    serve({**environ, "BRIEFCASE_SECRET_BACKEND": "file"}, threading.Thread(target=drive).start)
    return found


@contextlib.contextmanager
def _stop_at_end() -> Iterator[None]:
    try:
        yield
    finally:
        os.kill(os.getpid(), signal.SIGTERM)


def _counted(counter: Counter, connection: socket.socket, token: str) -> Counts:
    bodies = echo_calls()

    def call() -> list[str]:
        return counter.count(lambda: _post(connection, "/v1/tools/call", token, next(bodies)))

    def decide() -> list[str]:
        return counter.count(lambda: _post(connection, "/v1/decide", token, next(bodies)))

    def outcome() -> list[str]:
        decided = _post(connection, "/v1/decide", token, next(bodies))
        body = json.dumps({"receipt_id": decided["receipt_id"], "status": "ok"}).encode()
        return counter.count(lambda: _post(connection, "/v1/outcomes", token, body))

    rows = {"call": call, "decide": decide, "outcome": outcome}
    return {name: min([row() for _ in range(WARM_UP + COUNTED)][WARM_UP:], key=len) for name, row in rows.items()}


def _connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    return connection


def _post(connection: socket.socket, path: str, token: str, body: bytes) -> dict:
    """One request, in one piece: what comes in two is read in two."""
    connection.sendall(post(path, token, iter([body]))())
    response = http.client.HTTPResponse(connection, method="POST")
    response.begin()
    answer = json.loads(response.read())
    assert response.status == 200, answer
    return answer


if __name__ == "__main__":
    sys.exit(main())
