"""Bounds in all, on a real daemon: connections, unread answers, remembered answers, open decisions.

The bounds are set low, so that what took thousands of connections and hundreds of megabytes takes seconds here.
"""

import http.server
import json
import os
import select
import socket
import threading
import uuid
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from support.addresses import free_port
from support.daemons import RunningDaemon, UnixConnection
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")

LARGE = b"[" + b",".join([b'{"k":0}'] * 120_000) + b"]"  # 960 KB: 28 MB as objects, in 240,001 values
TOOL = """
[[tools]]
id = "large"
method = "GET"
url = "http://127.0.0.1:{port}/"
category = "read"
[tools.input_schema]
type = "object"
[[tools]]
id = "slow"
method = "GET"
url = "http://127.0.0.1:{port}/slow"
category = "read"
[tools.input_schema]
type = "object"
"""
CONFIG = """
[net]
allow_private = ["127.0.0.1:{port}"]
[calls]
deadline_ms = 60000
max_open_decisions = 400
max_open_decisions_per_principal = 300
[server]
max_connections = 64
max_connections_per_principal = 16
max_unsent_bytes = 16777216
"""
MIB = 1 << 20


class Large(http.server.BaseHTTPRequestHandler):
    """An upstream whose every answer is a megabyte of small objects; `/slow` answers when it is told to."""

    protocol_version = "HTTP/1.1"
    go = threading.Event()

    def do_GET(self):
        if self.path == "/slow":
            self.go.wait(60)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(LARGE)))
        self.end_headers()
        self.wfile.write(LARGE)

    def log_message(self, *_):
        pass


@contextmanager
def upstream():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Large)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("bounds") / "data"
    (data_dir / "tools").mkdir(parents=True, mode=0o700)
    data_dir.chmod(0o700)
    with upstream() as port:
        (data_dir / "briefcase.toml").write_text(CONFIG.format(port=port))
        manifest = data_dir / "tools" / "large.toml"
        manifest.write_text(TOOL.format(port=port))
        manifest.chmod(0o600)
        with RunningDaemon(data_dir, BRIEFCASE_TCP_ADDR=f"127.0.0.1:{free_port()}") as running:
            yield running


@pytest.fixture
def alone(tmp_path):
    """A daemon with the same bounds that nobody else asks anything."""
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    (data_dir / "briefcase.toml").write_text(CONFIG.format(port=free_port()))
    with RunningDaemon(data_dir) as running:
        yield running


@pytest.fixture
def agent(daemon) -> str:
    status, answer = daemon.request("POST", "/v1/agents", {"name": f"agent-{uuid.uuid4().hex[:12]}"})
    assert status == 200, answer
    return answer["token"]


@pytest.fixture
def held():
    """Connections that are kept, and closed when the test is over."""
    kept: list[socket.socket] = []
    yield kept
    for sock in kept:
        sock.close()


def private_bytes(daemon: RunningDaemon) -> int:
    _, resident, shared, *_ = Path(f"/proc/{daemon.process.pid}/statm").read_text().split()
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def figures(daemon: RunningDaemon) -> dict[str, float]:
    connection = UnixConnection(daemon.socket_path)
    with closing(connection):
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {daemon.operator_token}"})
        lines = connection.getresponse().read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def call_body(tool_id: str, args: dict) -> dict:
    return {"call": {"tool_id": tool_id, "args": args, "context": {"request_id": str(uuid.uuid4())}}}


def raw_call(token: str, path: str = "/v1/tools/call", tool_id: str = "large") -> bytes:
    data = json.dumps(call_body(tool_id, {"text": "hi"} if tool_id == "echo" else {})).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(data) + data


def served_throughout(daemon: RunningDaemon, keep_up, turns: int = 10) -> None:
    """The operator freezes and thaws, whatever is kept up beside it."""
    for _ in range(turns):
        keep_up()
        assert daemon.request("GET", "/v1/approvals")[0] == 200
        status, control = daemon.request("POST", "/v1/controls", {"action": "freeze", "subject": "all"})
        assert status == 200, control
        assert daemon.request("POST", "/v1/controls/lift", {"id": control["id"]})[0] == 200


def connect_unix(daemon: RunningDaemon) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(120)
    sock.connect(daemon.socket_path)
    return sock


# --- h06: connections -----------------------------------------------------------------------------------------------


def test_idle_connections_over_tcp_without_a_token_do_not_keep_the_operator_out(daemon, held):
    host, port = daemon.environment["BRIEFCASE_TCP_ADDR"].split(":")

    def keep_up():
        for _ in range(64):
            sock = socket.socket()
            sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
            sock.connect_ex((host, int(port)))
            held.append(sock)

    served_throughout(daemon, keep_up)
    assert figures(daemon)["briefcase_connections_gave_way_total"] > 0


def test_idle_connections_on_the_operators_own_socket_do_not_keep_the_operator_out(daemon, held):
    served_throughout(daemon, lambda: held.extend(connect_unix(daemon) for _ in range(70)))


def test_an_agents_keep_alive_connections_do_not_keep_the_operator_or_another_agent_out(daemon, agent, held):

    def keep_up():
        for _ in range(70):
            sock = connect_unix(daemon)
            sock.sendall(f"GET /v1/tools HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {agent}\r\n\r\n".encode())
            assert sock.recv(12) == b"HTTP/1.1 200"
            held.append(sock)

    served_throughout(daemon, keep_up, turns=3)
    other = daemon.request("POST", "/v1/agents", {"name": f"other-{uuid.uuid4().hex[:8]}"})[1]["token"]
    assert daemon.request("GET", "/v1/tools", token=other)[0] == 200


def poll(daemon: RunningDaemon, token: str, path: str) -> socket.socket:
    """Begin a long poll; gives its connection."""
    sock = connect_unix(daemon)
    sock.sendall(f"GET {path}wait_ms=60000 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    return sock


def waiting_approval(daemon: RunningDaemon, token: str) -> str:
    asked = daemon.request("POST", "/v1/tools/call", call_body("note_add", {"text": "x"}), token=token)[1]
    return f"/v1/approvals/{asked['approval']['id']}?"


def answered(socks: list[socket.socket]) -> list[bytes]:
    """What came on those that were answered by now."""
    ready, _, _ = select.select(socks, [], [], 0)
    return [sock.recv(65_536) for sock in ready]


def test_an_agent_whose_connections_all_wait_is_served_for_the_oldest_and_so_is_the_operator(daemon, agent, held):
    path = waiting_approval(daemon, agent)
    held += [poll(daemon, agent, path) for _ in range(16)]
    for _ in range(3):
        assert daemon.request("GET", "/v1/tools", token=agent)[0] == 200
    served_throughout(daemon, lambda: None, turns=3)
    assert len(answered(held)) < len(held)


@pytest.mark.parametrize("polled", ["approvals", "events"])
def test_agents_whose_long_polls_fill_all_connections_shut_no_other_agent_out(daemon, agent, held, polled):
    for _ in range(5):
        greedy = daemon.request("POST", "/v1/agents", {"name": f"greedy-{uuid.uuid4().hex[:8]}"})[1]["token"]
        path = waiting_approval(daemon, greedy) if polled == "approvals" else "/v1/mcp/events?after=0&"
        held += [poll(daemon, greedy, path) for _ in range(16)]
    for _ in range(5):
        assert daemon.request("GET", "/v1/tools", token=agent)[0] == 200
    early = answered(held)
    assert 0 < len(early) < 64
    word = b'"status":"pending"' if polled == "approvals" else b'"changes":[]'
    for answer in early:  # what a poll that waited in vain gets, and the end of its connection
        assert answer.startswith(b"HTTP/1.1 200")
        assert word in answer
        assert b"connection: close" in answer


def test_agents_whose_slow_calls_hold_all_connections_shut_no_other_agent_out(daemon, agent, held):
    for _ in range(5):
        greedy = daemon.request("POST", "/v1/agents", {"name": f"greedy-{uuid.uuid4().hex[:8]}"})[1]["token"]
        for _ in range(16):
            sock = connect_unix(daemon)
            sock.sendall(raw_call(greedy, tool_id="slow"))
            held.append(sock)
    try:
        for _ in range(5):
            assert daemon.call("echo", {"text": "served"}, token=agent)["status"] == "ok"
        assert daemon.request("GET", "/v1/approvals")[0] == 200
    finally:
        Large.go.set()
        for sock in held:
            assert sock.recv(1)


# --- h25 and the unread ones: memory --------------------------------------------------------------------------------


def test_remembered_answers_weigh_what_they_are_sent_as(daemon, agent):
    connection = UnixConnection(daemon.socket_path)
    with closing(connection):

        def call():
            headers = {"Authorization": f"Bearer {agent}"}
            connection.request("POST", "/v1/tools/call", json.dumps(call_body("large", {})), headers)
            assert json.loads(connection.getresponse().read())["status"] == "ok"

        for _ in range(3):
            call()  # what the interpreter and the allocator keep anyway
        before = private_bytes(daemon)
        for _ in range(10):
            call()
        assert private_bytes(daemon) - before < 64 * MIB  # ten times 24 MB of objects


def test_answers_that_nobody_reads_are_held_within_one_budget(daemon, held):
    tokens = [
        daemon.request("POST", "/v1/agents", {"name": f"slow-{uuid.uuid4().hex[:8]}"})[1]["token"] for _ in range(4)
    ]
    before = private_bytes(daemon)
    for number in range(60):
        sock = connect_unix(daemon)
        sock.sendall(raw_call(tokens[number % 4]))
        held.append(sock)

    def are_closed() -> bool:
        told = figures(daemon)
        assert told["briefcase_held_bytes"] <= 16 * MIB
        return told["briefcase_slow_readers_closed_total"] >= 20

    wait_until(are_closed)
    assert private_bytes(daemon) - before < 96 * MIB


# --- open decisions ---------------------------------------------------------------------------------------------------


def test_decisions_that_nobody_closes_are_bounded_for_an_agent_and_in_all(alone):
    def decide_until_refused(token: str, most: int) -> int:
        connection = UnixConnection(alone.socket_path)
        with closing(connection):
            for number in range(most):
                body = json.dumps(call_body("echo", {"text": "x" * 10_000}))
                connection.request("POST", "/v1/decide", body, {"Authorization": f"Bearer {token}"})
                answer = json.loads(connection.getresponse().read())
                if answer["status"] != "allowed":
                    assert answer["reason"] == "too_many_open_decisions"
                    return number
        raise AssertionError(f"{most} decisions are open")

    names = (f"decider-{uuid.uuid4().hex[:8]}" for _ in range(2))
    first, second = (alone.request("POST", "/v1/agents", {"name": name})[1]["token"] for name in names)
    assert decide_until_refused(first, 1_000) == 300
    assert decide_until_refused(second, 1_000) == 100
    assert figures(alone)["briefcase_open_decisions"] == 400
    assert alone.call("echo", {"text": "hi"}, token=first)["status"] == "ok"


def test_what_memory_is_is_said_without_the_ledgers_pages(daemon):
    said = figures(daemon)
    with suppress(FileNotFoundError):
        measured = private_bytes(daemon)
        assert abs(said["briefcase_private_memory_bytes"] - measured) < 32 * MIB
    checks = daemon.request("GET", "/v1/diagnostics/compat")[1]["checks"]
    [memory] = [check for check in checks if check["name"] == "memory"]
    assert memory["ok"]
    assert "private" in memory["detail"]


def test_a_host_that_lets_few_files_be_open_does_not_lock_the_operator_out(tmp_path, held):
    (tmp_path / "data").mkdir(mode=0o700)
    few = ("bash", "-c", 'ulimit -n 200 && exec "$0" "$@"')
    with RunningDaemon(tmp_path / "data", wrapper=few) as daemon:
        for _ in range(400):
            sock = socket.socket(socket.AF_UNIX)
            held.append(sock)
            sock.connect(daemon.socket_path)
        status, answer = daemon.request("POST", "/v1/agents", {"name": "scout"})
        assert status == 200, answer
        assert daemon.call("echo", {"text": "served"}, token=answer["token"])["status"] == "ok"
