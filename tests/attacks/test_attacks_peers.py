"""Who is that? Strangers behind the daemon's address, names used again, tokens of the wrong role, a clock put back."""

import contextlib
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import uuid

import pytest

from briefcase.adapters.disk.data_dir import DAEMON_DID_FILE
from briefcase.core.wire.calls import CallOk
from briefcase.core.wire.identity import IdentityAnswer
from briefcase.edges.client.daemon_connection import BrokenAnswerError
from briefcase.edges.client.expected import ExpectedDaemon
from briefcase.edges.client.pool import Place
from briefcase.edges.diagnostics.soak import SoakClient, SoakPlan
from briefcase.model.errors import BriefcaseError
from support.addresses import free_port
from support.commands import briefcase as cli
from support.daemons import RunningDaemon
from support.waiting import BOUND_S

NOBODY_UID = 65_534
FLOOD_BYTES = 64 << 20
ASK_ALL = """
@id("a") permit (principal, action == Action::"Call", resource);
@id("c") permit (principal, action == Action::"CallWithoutSigner", resource);
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to listen as another user")


def request_size(data: bytes) -> int:
    """How many bytes the first request in `data` has; 0 while it is not whole: its body may come later."""
    head, end, _ = data.partition(b"\r\n\r\n")
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    size = len(head) + len(end) + (int(found[1]) if found else 0)
    return size if end and len(data) >= size else 0


class Stranger:
    """Listens where a daemon is expected, keeps what it is told, and answers with what `answer` makes of it."""

    def __init__(self, listener: socket.socket, answer=lambda _: b"") -> None:
        self.listener = listener
        self.answer = answer
        self.heard = b""
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                with connection:
                    self.connection = connection
                    connection.settimeout(20)
                    with contextlib.suppress(TimeoutError, ConnectionError):
                        begun = b""
                        while data := connection.recv(65_536):
                            self.heard += data
                            begun += data
                            while size := request_size(begun):
                                connection.sendall(self.answer(begun[:size]))
                                begun = begun[size:]

    def close(self) -> None:
        self.listener.close()


def reset_one(listener: socket.socket) -> None:
    """Take one connection and end it at once, as a crash does."""
    connection, _ = listener.accept()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("2i", 1, 0))
    connection.close()


def http(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def agent(daemon: RunningDaemon, name: str = "scout") -> str:
    status, answer = daemon.request("POST", "/v1/agents", {"name": name})
    assert status == 200, answer
    return answer["token"]


def call(daemon: RunningDaemon, token: str, path: str = "/v1/tools/call", **more) -> dict:
    asked = {"tool_id": "echo", "args": {"text": "hi"}, "context": {"request_id": str(uuid.uuid4())}, **more}
    return daemon.request("POST", path, {"call": asked}, token=token)[1]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("peers") / "data"
    with RunningDaemon(data_dir, BRIEFCASE_TCP_ADDR=f"127.0.0.1:{free_port()}") as running:
        yield running


@pytest.fixture
def url(daemon):
    return f"http://{daemon.environment['BRIEFCASE_TCP_ADDR']}"


@pytest.fixture
def stranger_url():
    made = []

    def listen(answer=lambda _: b"") -> tuple[Stranger, str]:
        stranger = Stranger(socket.create_server(("127.0.0.1", 0)), answer)
        made.append(stranger)
        return stranger, f"http://127.0.0.1:{stranger.listener.getsockname()[1]}"

    yield listen
    for stranger in made:
        stranger.close()


def over_tcp(daemon: RunningDaemon, url: str, **variables: str) -> subprocess.CompletedProcess:
    return cli(daemon, "tools", "list", BRIEFCASE_DAEMON_UNIX_SOCKET="", BRIEFCASE_DAEMON_BASE_URL=url, **variables)


# --- over a Unix socket ----------------------------------------------------------------------------------------------


@pytest.mark.root
@needs_root
@pytest.mark.parametrize("program", ["cli", "gateway"])
def test_no_token_goes_to_another_users_process_at_the_sockets_path(daemon, tmp_path, program):
    place = tmp_path / "shared"
    place.mkdir(0o777)
    path = place / "d.sock"
    script = (
        "import os, socket, sys; os.setgid(65534); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); print('up', flush=True)\n"
        "c, _ = s.accept(); print(c.recv(65536), flush=True)"
    )
    os.chmod(place, 0o777)  # noqa: PTH101 - whatever the umask is
    for parent in place.parents:
        if parent.stat().st_uid == 0 and parent != parent.parent and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True) as squatter:
        assert squatter.stdout.readline() == "up\n"
        if program == "cli":
            ran = cli(daemon, "tools", "list", BRIEFCASE_DAEMON_UNIX_SOCKET=str(path))
            told = ran.stderr
            assert ran.returncode == 6
        else:
            told = through_gateway(daemon, agent(daemon, "gate"), BRIEFCASE_DAEMON_UNIX_SOCKET=str(path))
        heard = squatter.communicate()[0]
    assert heard == "b''\n"
    assert re.search(rf"to run as uid 0, got uid {NOBODY_UID}; no token was sent", told)


@pytest.mark.root
@needs_root
def test_a_daemon_of_another_user_is_taken_where_its_uid_is_named(daemon, tmp_path):
    named = cli(daemon, "tools", "list", BRIEFCASE_DAEMON_UID=str(NOBODY_UID))
    assert named.returncode == 0  # and the owner of the data directory still is
    wrong = cli(daemon, "tools", "list", BRIEFCASE_DAEMON_UID="alice")
    assert (wrong.returncode, "expected a numeric uid, got `alice`" in wrong.stderr) == (9, True)


# --- over TCP --------------------------------------------------------------------------------------------------------


def test_the_daemon_proves_itself_and_gets_the_token_of_the_file(daemon, url):
    ran = over_tcp(daemon, url)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_token_file_never_goes_to_who_proves_nothing(daemon, stranger_url):
    for answer in (lambda _: b"", lambda _: http(b"{}"), lambda _: http(b'{"did":"did:key:z6Mk","sig_b64":"AA"}')):
        stranger, url = stranger_url(answer)
        ran = over_tcp(daemon, url)
        assert ran.returncode in {5, 6}
        assert daemon.operator_token.encode() not in stranger.heard
        assert b"uthorization" not in stranger.heard


def test_a_stranger_gets_neither_the_memory_nor_the_time_of_who_asks_for_a_proof(daemon, stranger_url):
    sent = 0
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n%b\r\n" % (1 << 20, b"x" * (1 << 20))

    def flood(data: bytes) -> bytes:
        nonlocal sent
        stranger.connection.sendall(head if data.endswith(b"}") else b"")
        while data.endswith(b"}") and sent < FLOOD_BYTES:
            stranger.connection.sendall(chunk)
            sent += len(chunk)
        return b""

    stranger, url = stranger_url(flood)
    ran = over_tcp(daemon, url)
    assert (ran.returncode, "got no proof" in ran.stderr) == (6, True)
    assert sent < FLOOD_BYTES
    assert b"uthorization" not in stranger.heard

    with socket.create_server(("127.0.0.1", 0)) as listener:
        resetting = threading.Thread(target=reset_one, args=(listener,))
        resetting.start()
        ran = over_tcp(daemon, f"http://127.0.0.1:{listener.getsockname()[1]}")
        resetting.join()
    assert ran.returncode == 5


def test_the_token_file_stays_where_no_did_is_known(daemon, url, tmp_path):
    other = tmp_path / "other"
    other.mkdir(0o700)
    (other / "auth_token").touch(0o600)
    (other / "auth_token").write_text(daemon.operator_token)
    ran = over_tcp(daemon, url, BRIEFCASE_DATA_DIR=str(other))
    assert ran.returncode == 6
    assert "nothing here tells which daemon to expect" in ran.stderr


def test_a_broken_did_file_stops_who_connects_over_tcp_and_nobody_at_the_socket(daemon, url, tmp_path):
    other = tmp_path / "other"
    other.mkdir(0o700)
    for name, text in (("auth_token", daemon.operator_token), (DAEMON_DID_FILE, "did:key:zBroken")):
        (other / name).touch(0o600)
        (other / name).write_text(text)
    socket_path = daemon.socket_path
    ran = cli(daemon, "tools", "list", BRIEFCASE_DATA_DIR=str(other), BRIEFCASE_DAEMON_UNIX_SOCKET=socket_path)
    assert ran.returncode == 0, ran.stderr
    ran = over_tcp(daemon, url, BRIEFCASE_DATA_DIR=str(other))
    assert ran.returncode == 9
    assert "to hold the daemon's `did:key`" in ran.stderr


async def test_each_new_connection_of_a_soak_is_checked_before_it_carries_the_token(tmp_path):
    port = free_port()
    plan = SoakPlan(duration_s=1, interval_ms=10, tool_id="echo", args={"text": "x"})

    async def soaked(daemon: RunningDaemon) -> tuple[str, bytes]:
        did = daemon.request("GET", "/v1/identity")[1]["did"]
        expected = ExpectedDaemon(frozenset(), did)
        token = daemon.operator_token
        async with SoakClient(Place("", "127.0.0.1", port), expected, token=token, connections=1) as client:
            assert isinstance((await client.call(plan))[0], CallOk)
            daemon.kill()
            stranger = Stranger(socket.create_server(("127.0.0.1", port)), lambda _: http(b'{"status":"ok"}'))
            refused = ""
            for _ in range(3):  # the first may meet the connection that the daemon left behind
                try:
                    await client.call(plan)
                except BriefcaseError as error:
                    refused = error.code
                except (BrokenAnswerError, OSError):
                    continue
            assert await client.get("/v1/identity", IdentityAnswer) is None
            stranger.close()
            return refused, stranger.heard

    with RunningDaemon(tmp_path / "data", BRIEFCASE_TCP_ADDR=f"127.0.0.1:{port}") as daemon:
        refused, heard = await soaked(daemon)
    assert refused == "untrusted_daemon"
    assert b"/v1/identity/proof" in heard
    assert b"uthorization" not in heard


def test_a_stranger_who_passes_the_nonce_on_gets_no_token(daemon, url, stranger_url):
    host, port = url.removeprefix("http://").split(":")

    onward = socket.create_connection((host, int(port)))

    def relay(data: bytes) -> bytes:
        onward.sendall(re.sub(rb"(?i)host: [^\r]+", f"Host: {host}:{port}".encode(), data))
        onward.settimeout(60 if data.endswith(b"}") else 0.01)  # the body comes after the head
        try:
            return onward.recv(65_536)
        except TimeoutError:
            return b""

    with onward:
        stranger, at = stranger_url(relay)
        ran = over_tcp(daemon, at)
    assert (ran.returncode, "over something else; no token was sent" in ran.stderr) == (6, True)
    assert b"/v1/identity/proof" in stranger.heard
    assert daemon.operator_token.encode() not in stranger.heard


def test_a_connection_that_closes_after_the_check_is_not_made_anew_unchecked(daemon, stranger_url):
    stranger, at = stranger_url(lambda _: b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
    ran = over_tcp(daemon, at, BRIEFCASE_AUTH_TOKEN=daemon.operator_token)
    assert ran.returncode == 5
    assert daemon.operator_token.encode() not in stranger.heard


def test_a_token_given_by_hand_goes_with_one_line_of_warning_and_not_past_a_pin(daemon, stranger_url):
    stranger, url = stranger_url(lambda data: http(b'{"tools":[]}' if b"/v1/tools" in data else b"{}"))
    ran = over_tcp(daemon, url, BRIEFCASE_AUTH_TOKEN="t" * 40)
    assert ran.returncode == 0
    assert ran.stderr.startswith("briefcase: warning: expected the daemon `did:key:")
    assert ran.stderr.count("\n") == 1
    assert b"Bearer " + b"t" * 40 in stranger.heard
    pinned = (daemon.data_dir / "identity_did").read_text().strip()
    stranger.heard = b""
    ran = over_tcp(daemon, url, BRIEFCASE_AUTH_TOKEN="t" * 40, BRIEFCASE_DAEMON_DID=pinned)
    assert ran.returncode == 6
    assert b"Bearer" not in stranger.heard


@pytest.mark.parametrize("nonce", ["", "short", "x" * 129, "with\nline-feed-in-it", 7, None])
def test_a_nonce_that_could_say_something_else_is_refused(daemon, url, nonce):
    ran = subprocess.run(
        ["curl", "-s", "-d", json.dumps({"nonce": nonce}), f"{url}/v1/identity/proof"], capture_output=True, check=True
    )
    assert json.loads(ran.stdout)["code"] == "bad_request"


def test_no_proof_is_given_over_a_unix_socket(daemon):
    status, answer = daemon.request("POST", "/v1/identity/proof", {"nonce": "n" * 32}, token="")
    assert (status, answer["code"]) == (404, "not_found")


# --- which token -----------------------------------------------------------------------------------------------------


def through_gateway(daemon: RunningDaemon, token: str, **variables: str) -> str:
    """What a gateway with this token answers to `tools/list`, with its standard error."""
    opening = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    lines = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": opening},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
    ]
    environment = {**daemon.env, "BRIEFCASE_AUTH_TOKEN": token, **variables}
    command = [sys.executable, "-m", "briefcase", "gateway"]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        told = ""
        for line in lines:
            process.stdin.write(json.dumps(line) + "\n")
            process.stdin.flush()
            if "id" in line:
                told += process.stdout.readline()
                if '"error"' in told:
                    break
        process.stdin.close()
        process.terminate()
        return told + process.stderr.read()


def test_the_gateway_takes_no_token_but_an_agents(daemon):
    assert '"echo"' in through_gateway(daemon, agent(daemon, "reader"))
    for token in (daemon.operator_token, (daemon.data_dir / "auditor_token").read_text().strip()):
        told = through_gateway(daemon, token)
        assert '"echo"' not in told
        assert "expected an agent's token" in told


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [".", ".."])
def test_a_name_that_no_path_can_name_is_refused(daemon, name):
    assert daemon.request("POST", "/v1/agents", {"name": name})[1]["code"] == "bad_request"
    assert daemon.request("POST", "/v1/agents", {"name": "ok", "groups": [name]})[1]["code"] == "bad_request"


def test_an_agent_that_takes_a_revoked_name_inherits_nothing(daemon):
    first = agent(daemon, "heir")
    decision = call(daemon, first, "/v1/decide")
    assert decision["status"] == "allowed"
    remembered = str(uuid.uuid4())
    answered = call(daemon, first, context={"request_id": remembered})
    assert answered["status"] == "ok"
    old = daemon.request("GET", "/v1/policy")[1]["policy_text"]
    assert daemon.request("PUT", "/v1/policy", {"policy_text": ASK_ALL})[0] == 200
    try:
        approval = call(daemon, first)["approval"]["id"]
        assert daemon.request("POST", f"/v1/approvals/{approval}/approve")[0] == 200
        assert daemon.request("POST", "/v1/agents/heir/revoke")[0] == 200
        second = agent(daemon, "heir")

        assert daemon.request("GET", f"/v1/approvals/{approval}", token=second)[0] == 404
        asked = call(daemon, second, approval_token=approval)
        assert (asked["status"], asked.get("reason")) == ("denied", "invalid_or_expired_approval")
        assert call(daemon, second)["approval"]["id"] != approval
        again = call(daemon, second, context={"request_id": remembered})
        assert again.get("result") is None  # the answer belongs to the first
        closed = daemon.request(
            "POST", "/v1/outcomes", {"receipt_id": decision["receipt_id"], "status": "ok"}, token=second
        )
        assert closed[1]["code"] == "not_found"
    finally:
        assert daemon.request("PUT", "/v1/policy", {"policy_text": old})[0] == 200


def test_a_call_whose_end_comes_after_its_agents_token_ended_is_not_made(daemon):
    token = agent(daemon, "late")
    asked = {"tool_id": "echo", "args": {"text": "hi"}, "context": {"request_id": str(uuid.uuid4())}}
    body = json.dumps({"call": asked}).encode()
    fields = f"host: x\r\nauthorization: Bearer {token}\r\ncontent-length: {len(body)}\r\n\r\n"
    head = f"POST /v1/tools/call HTTP/1.1\r\n{fields}"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(daemon.socket_path)
        connection.sendall(head.encode() + body[:10])
        while daemon.request("GET", "/v1/tools", token=token)[0] == 200:  # the head was read before this was
            assert daemon.request("POST", "/v1/agents/late/revoke")[0] == 200
        connection.sendall(body[10:])
        connection.settimeout(BOUND_S)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 401 ")


def test_what_an_agent_waited_for_is_not_told_once_its_token_ended(daemon):
    token = agent(daemon, "poll")
    after = daemon.request("GET", "/v1/mcp/events?after=-1", token=token)[1]["next"]
    answers = []
    path = f"/v1/mcp/events?after={after}&wait_ms=30000"
    waiting = threading.Thread(target=lambda: answers.append(daemon.request("GET", path, token=token)))
    waiting.start()
    assert daemon.request("POST", "/v1/agents/poll/revoke")[0] == 200
    assert daemon.request("POST", "/v1/mcp/servers/late", {"command": "/bin/true"})[0] == 200
    waiting.join(BOUND_S)
    assert answers[0][0] == 401
