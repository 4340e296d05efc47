"""`briefcase hook`: the documented answers of each client, and exit 2 on everything that is no answer."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from support.daemons import RunningDaemon
from support.hooks import Hooks, claude_event

COMMAND = [sys.executable, "-m", "briefcase", "hook"]
ALLOWED = {"hookSpecificOutput": {"hookEventName": "PreToolUse", "permissionDecision": "allow"}}


def environment(hooks, **changes):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BRIEFCASE_")}
    own = {"BRIEFCASE_DATA_DIR": str(hooks.daemon.data_dir), "BRIEFCASE_AUTH_TOKEN": hooks.token}
    own["BRIEFCASE_DAEMON_UNIX_SOCKET"] = str(hooks.daemon.socket_path)
    return {**kept, **own, **changes}


def run(hooks, event, *words, **changes):
    """One event through the command; gives its exit code, standard output and standard error."""
    data = event if isinstance(event, bytes) else json.dumps(event).encode()
    found = subprocess.run(
        [*COMMAND, *(words or ("claude-code",))], input=data, env=environment(hooks, **changes), capture_output=True,
        check=False, timeout=60,
    )  # fmt: skip
    return found.returncode, found.stdout, found.stderr.decode()


def blocked(found):
    """What the command says of a call that it blocks: on standard error, and nothing on standard output."""
    code, out, err = found
    assert (code, out) == (2, b""), found
    assert err.startswith("briefcase: ")
    assert err.endswith(". The call is blocked.\n")
    return err


# --- the clients' own forms -------------------------------------------------------------------------------------------

SESSIONS = {
    "claude-code": (
        claude_event(),
        claude_event(tool="Bash", args={"command": "rm -rf /", "description": "clean up"}),
        lambda answer: answer["hookSpecificOutput"]["permissionDecision"],
        lambda answer: answer["hookSpecificOutput"]["permissionDecisionReason"],
    ),
    "codex": (
        {
            "session_id": "0199c3c4", "turn_id": "t1", "transcript_path": None, "cwd": "/p", "model": "gpt",
            "permission_mode": "default", "hook_event_name": "PreToolUse", "tool_name": "update_plan",
            "tool_input": {}, "tool_use_id": "call_1",
        },
        {
            "session_id": "0199c3c4", "turn_id": "t1", "transcript_path": None, "cwd": "/p", "model": "gpt",
            "permission_mode": "default", "hook_event_name": "PreToolUse", "tool_name": "apply_patch",
            "tool_input": {"command": "*** Begin Patch\n*** Delete File: a\n*** End Patch"}, "tool_use_id": "call_2",
        },
        lambda answer: answer.get("hookSpecificOutput", {}).get("permissionDecision", "allow"),
        lambda answer: answer["hookSpecificOutput"]["permissionDecisionReason"],
    ),
    "gemini": (
        {
            "session_id": "s", "transcript_path": "/t.json", "cwd": "/p", "hook_event_name": "BeforeTool",
            "timestamp": "2026-11-29T20:00:00Z", "tool_name": "read_file", "tool_input": {"file_path": "/p/a"},
        },
        {
            "session_id": "s", "transcript_path": "/t.json", "cwd": "/p", "hook_event_name": "BeforeTool",
            "timestamp": "2026-11-29T20:00:01Z", "tool_name": "run_shell_command", "tool_input": {"command": "rm -r /"},
        },
        lambda answer: answer["decision"],
        lambda answer: answer["reason"],
    ),
    "cursor": (
        {
            "conversation_id": "c", "generation_id": "g", "model": "m", "hook_event_name": "preToolUse",
            "cursor_version": "2.6.0", "workspace_roots": ["/p"], "user_email": None, "transcript_path": None,
            "tool_name": "Read", "tool_input": {"file_path": "/p/a"}, "tool_use_id": "call_3", "cwd": "/p",
        },
        {
            "conversation_id": "c", "generation_id": "g", "model": "m", "hook_event_name": "beforeShellExecution",
            "cursor_version": "2.6.0", "workspace_roots": ["/p"], "command": "rm -rf /", "cwd": "/p", "sandbox": False,
        },
        lambda answer: answer["permission"],
        lambda answer: answer["agent_message"],
    ),
    "copilot": (
        {"sessionId": "s", "timestamp": 1_700_000_000_000, "cwd": "/", "toolName": "view", "toolArgs": {"path": "/a"}},
        {
            "sessionId": "s", "timestamp": 1_700_000_000_001, "cwd": "/p", "toolName": "bash",
            "toolArgs": '{"command":"rm -rf /","description":"clean up"}',
        },
        lambda answer: answer["permissionDecision"],
        lambda answer: answer["permissionDecisionReason"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("client", SESSIONS)
def test_a_recorded_session_is_answered_in_its_clients_words(hooks, client):
    reads, runs, decision, reason = SESSIONS[client]
    code, out, err = run(hooks, reads, client)
    assert (code, decision(json.loads(out)), err) == (0, "allow", "")
    code, out, err = run(hooks, runs, client)
    assert (code, decision(json.loads(out)), err) == (0, "deny", "")
    assert reason(json.loads(out)).startswith("briefcase: approval_required: ")


OTHERS = {
    "a read of Cursor": ("cursor", {
        "conversation_id": "c", "hook_event_name": "beforeReadFile", "file_path": "/p/a", "content": "x",
        "attachments": [],
    }, "allow"),
    "an MCP tool of Cursor": ("cursor", {
        "conversation_id": "c", "hook_event_name": "beforeMCPExecution", "tool_name": "query", "tool_input": "{}",
    }, "deny"),
    "an MCP tool of Cursor by its server": ("cursor", {
        "conversation_id": "c", "hook_event_name": "beforeMCPExecution", "server": "db", "tool_name": "query",
        "tool_input": '{"sql": "1"}',
    }, "deny"),
    "a tool of Copilot in the format of VS Code": ("copilot", {
        "hook_event_name": "PreToolUse", "session_id": "s", "timestamp": "2026-11-29T20:00:00Z", "cwd": "/p",
        "tool_name": "Read", "tool_input": {"path": "/p/a"},
    }, "allow"),
    "a shell of Copilot in the format of VS Code": ("copilot", {
        "hook_event_name": "PreToolUse", "session_id": "s", "timestamp": "2026-11-29T20:00:00Z", "cwd": "/p",
        "tool_name": "Bash", "tool_input": {"command": "ls"},
    }, "deny"),
    "a permission of Codex": ("codex", {
        "session_id": "s", "turn_id": "t", "hook_event_name": "PermissionRequest", "tool_name": "Bash",
        "tool_input": {"command": "ls"},
    }, "deny"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_the_other_events_that_decide_are_answered_too(hooks, name):
    client, event, word = OTHERS[name]
    words = json.dumps(hooks.answer(event, client))
    assert f'"{word}"' in words
    assert ('"allow"' in words) == (word == "allow")


AFTERWARDS = {
    "gemini": {"session_id": "s", "hook_event_name": "AfterTool", "tool_name": "read_file", "tool_input": {},
               "tool_response": {"llmContent": "x"}},
    "cursor": {"conversation_id": "c", "hook_event_name": "afterShellExecution", "command": "ls", "output": ""},
    "copilot": {"sessionId": "s", "toolName": "view", "toolArgs": {},
                "toolResult": {"resultType": "success", "textResultForLlm": "x"}},
}  # fmt: skip


@pytest.mark.parametrize("client", AFTERWARDS)
def test_what_a_client_tells_without_naming_the_call_is_taken_and_decides_nothing(hooks, client):
    assert hooks.answer(AFTERWARDS[client], client) == {}


def test_what_came_of_a_call_of_cursor_is_recorded_beside_it(hooks):
    head = hooks.head()
    base = {"conversation_id": "c2", "tool_name": "Grep", "tool_input": {"pattern": "x"}, "tool_use_id": "u1"}
    assert hooks.answer({**base, "hook_event_name": "preToolUse"}, "cursor") == {"permission": "allow"}
    failed = {**base, "hook_event_name": "postToolUseFailure", "error_message": "timed out", "failure_type": "timeout"}
    assert hooks.answer(failed, "cursor") == {}
    decided, observed = hooks.since(head)
    assert (observed["kind"], observed["error"], observed["of_receipt_id"]) == ("observed", "timed out", decided["id"])


NO_EVENTS = {
    "gemini": [{"session_id": "s", "hook_event_name": "BeforeTool", "tool_name": "read_file"},
               {"session_id": "s", "hook_event_name": "BeforeModel"}],
    "cursor": [{"conversation_id": "c", "hook_event_name": "preToolUse", "tool_name": "Read", "tool_input": {}},
               {"conversation_id": "c", "hook_event_name": "beforeShellExecution", "command": ["ls"]},
               {"conversation_id": "c", "hook_event_name": "beforeMCPExecution", "tool_name": "t", "tool_input": "{"},
               {"conversation_id": "c", "hook_event_name": "beforeMCPExecution", "tool_name": "t", "tool_input": "[]"},
               {"hook_event_name": "preToolUse"}],
    "copilot": [{"sessionId": "s", "toolName": "view", "toolArgs": '{"path": "/a", "path": "/b"}'},
                {"sessionId": "s", "toolName": "view", "toolArgs": 7}, {"sessionId": "s"}, {"toolName": "view"}],
    "codex": [{"session_id": "s", "hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_input": {}}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("client", "event"), [(client, event) for client, found in NO_EVENTS.items() for event in found]
)
def test_what_is_no_event_of_a_client_is_denied_in_its_words(hooks, client, event):
    words = json.dumps(hooks.answer(event, client))
    assert '"deny"' in words
    assert "briefcase: bad_request: " in words
    assert '"allow"' not in words


# --- exit 2 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [("claude",), ("CODEX",), ("claude-code", "codex"), ("claude-code", "--what"), ("claude-code", "--timeout-ms", "x"),
     ("claude-code", "--timeout-ms", "0"), ("claude-code", "--timeout-ms=-1"), ("--token-file",)],
)  # fmt: skip
def test_a_command_line_that_is_none_blocks(hooks, words):
    blocked(run(hooks, claude_event(), *words))


def test_without_a_token_or_with_a_bad_one_the_call_is_blocked(hooks, tmp_path):
    assert "no token" in blocked(run(hooks, claude_event(), BRIEFCASE_AUTH_TOKEN=""))
    assert "printable ASCII" in blocked(run(hooks, claude_event(), BRIEFCASE_AUTH_TOKEN="x\r\nhost: y"))
    file = tmp_path / "token"
    words = ("claude-code", "--token-file", str(file))
    assert "is not there" in blocked(run(hooks, claude_event(), *words))
    file.write_text(hooks.token)
    file.chmod(0o644)
    blocked(run(hooks, claude_event(), *words))
    file.chmod(0o600)
    code, out, _ = run(hooks, claude_event(), *words, BRIEFCASE_AUTH_TOKEN="")
    assert (code, json.loads(out)) == (0, ALLOWED)


def test_a_token_that_nobody_has_is_denied_in_the_clients_words(hooks):
    code, out, _ = run(hooks, claude_event(), BRIEFCASE_AUTH_TOKEN="n" * 43)
    assert code == 0
    assert json.loads(out)["hookSpecificOutput"]["permissionDecision"] == "deny"


def test_without_a_daemon_the_call_is_blocked(hooks, tmp_path):
    gone = str(tmp_path / "gone.sock")
    assert "does not answer" in blocked(run(hooks, claude_event(), BRIEFCASE_DAEMON_UNIX_SOCKET=gone))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    base = {"BRIEFCASE_DAEMON_UNIX_SOCKET": "", "BRIEFCASE_DAEMON_BASE_URL": f"http://127.0.0.1:{port}"}
    assert "does not answer" in blocked(run(hooks, claude_event(), **base))


@pytest.mark.parametrize("url", ["https://127.0.0.1:1", "http://example.com:80", "http://127.0.0.1", "127.0.0.1:80"])
def test_an_address_that_is_not_loopback_is_not_asked(hooks, url):
    base = {"BRIEFCASE_DAEMON_UNIX_SOCKET": "", "BRIEFCASE_DAEMON_BASE_URL": url}
    assert "BRIEFCASE_DAEMON_BASE_URL" in blocked(run(hooks, claude_event(), **base))


def test_an_event_past_the_bound_is_blocked(hooks):
    assert "at most" in blocked(run(hooks, b"[" * ((8 << 20) + 1)))
    code, out, _ = run(hooks, claude_event(args={"file_path": "x" * (2 << 20)}))
    assert (code, b"allow" in out) in {(2, False), (0, False)}


class Impostor:
    """Listens, and answers each connection with the same bytes; keeps what it was sent. Use it with `with`."""

    def __init__(self, path, answer, *, closes=True, listens_as=None):
        self.seen = b""
        self._answer, self._closes = answer, closes
        self._listener = socket.socket(socket.AF_UNIX) if path else socket.create_server(("127.0.0.1", 0))
        if path:
            self._listener.bind(str(path))
            if listens_as is not None:
                os.seteuid(listens_as)  # what the kernel notes at `listen`
            self._listener.listen()
            if listens_as is not None:
                os.seteuid(0)
        self.port = None if path else self._listener.getsockname()[1]
        self._kept = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._kept.append(connection)
                with suppress(ConnectionError):
                    self.seen += connection.recv(1 << 16)
                    connection.sendall(self._answer)
                if self._closes:
                    connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self._kept:
            connection.close()


BAD_ANSWERS = {
    "nothing": b"",
    "no HTTP": b"hello\r\n\r\n",
    "no length": b'HTTP/1.1 200 OK\r\n\r\n{"a": 1}',
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\n{}",
    "chunks": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n{}",
    "half": b'HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{"a": 1}',
    "more": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}{}",
    "a list": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
    "no JSON": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    "an error": b'HTTP/1.1 503 Unavailable\r\ncontent-length: 42\r\n\r\n{"code": "not_ready", "message": "not yet"}',
    "a redirect": b"HTTP/1.1 302 Found\r\ncontent-length: 2\r\nlocation: /\r\n\r\n{}",
    "another 2xx": b"HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\n{}",
    "no end of its head": b"HTTP/1.1 200 OK\r\nx: " + b"y" * (2 << 20),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_what_is_no_whole_answer_blocks(hooks, tmp_path, name):
    path = tmp_path / "s"
    with Impostor(path, BAD_ANSWERS[name]):
        blocked(run(hooks, claude_event(), BRIEFCASE_DAEMON_UNIX_SOCKET=str(path)))


def test_a_daemon_that_hangs_blocks_in_time(hooks, tmp_path):
    path, words = tmp_path / "s", ("claude-code", "--timeout-ms", "300")
    with Impostor(path, b"", closes=False):
        said = blocked(run(hooks, claude_event(), *words, BRIEFCASE_DAEMON_UNIX_SOCKET=str(path)))
    assert "in time" in said or "SIGALRM" in said


def test_a_client_that_never_ends_its_event_is_blocked_in_time(hooks):
    reading, writing = os.pipe()
    try:
        found = subprocess.run(
            [*COMMAND, "claude-code", "--timeout-ms", "300"], stdin=reading, env=environment(hooks),
            capture_output=True, check=False, timeout=60,
        )  # fmt: skip
    finally:
        os.close(reading)
        os.close(writing)
    assert "SIGALRM" in blocked((found.returncode, found.stdout, found.stderr.decode()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_hook_that_is_ended_blocks(hooks, tmp_path, number):
    path = tmp_path / "s"
    with Impostor(path, b"", closes=False) as impostor:
        hook = subprocess.Popen(
            [*COMMAND, "claude-code"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment(hooks, BRIEFCASE_DAEMON_UNIX_SOCKET=str(path)),
        )  # fmt: skip
        hook.stdin.write(json.dumps(claude_event()).encode())
        hook.stdin.close()
        hook.stdin = None
        while not impostor.seen:
            pass
        hook.send_signal(number)
        out, err = hook.communicate(timeout=60)
    assert number.name in blocked((hook.returncode, out, err.decode()))


def test_nobody_to_read_the_answer_is_no_yes(hooks):
    hook = subprocess.Popen(
        [*COMMAND, "claude-code"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment(hooks),
    )  # fmt: skip
    hook.stdout.close()
    hook.stdout = None
    _, err = hook.communicate(json.dumps(claude_event()).encode(), timeout=60)
    assert hook.returncode == 2
    assert b"The call is blocked" in err


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="another user's process is needed")
def test_another_users_socket_gets_no_token(hooks, tmp_path):
    path = tmp_path / "s"
    with Impostor(path, b"", listens_as=65534) as impostor:
        assert "no token was sent" in blocked(run(hooks, claude_event(), BRIEFCASE_DAEMON_UNIX_SOCKET=str(path)))
        assert impostor.seen == b""


# --- over loopback TCP ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def over_tcp(tmp_path_factory):
    """A daemon that listens on TCP, and the variables of a hook that asks it there."""
    data_dir = tmp_path_factory.mktemp("hooks-tcp") / "data"
    data_dir.mkdir(mode=0o700)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with RunningDaemon(data_dir, BRIEFCASE_TCP_ADDR=f"127.0.0.1:{port}") as daemon:
        yield Hooks(daemon), f"http://127.0.0.1:{port}"


def test_over_tcp_the_daemon_proves_itself_before_a_token_leaves(over_tcp):
    hooks, url = over_tcp
    base = {"BRIEFCASE_DAEMON_UNIX_SOCKET": "", "BRIEFCASE_DAEMON_BASE_URL": url}
    code, out, err = run(hooks, claude_event(), **base)
    assert (code, json.loads(out), err) == (0, ALLOWED, "")


def test_over_tcp_an_impostor_gets_no_token(hooks):
    with Impostor(None, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}") as impostor:
        base = {"BRIEFCASE_DAEMON_UNIX_SOCKET": "", "BRIEFCASE_DAEMON_BASE_URL": f"http://127.0.0.1:{impostor.port}"}
        did = hooks.daemon.request("GET", "/v1/identity")[1]["did"]
        assert "no token was sent" in blocked(run(hooks, claude_event(), **base, BRIEFCASE_DAEMON_DID=did))
        assert hooks.token.encode() not in impostor.seen


# --- what it loads ----------------------------------------------------------------------------------------------------


def test_the_command_loads_no_framework(hooks):
    code = (
        "import json, sys; sys.argv = ['briefcase', 'hook', 'claude-code']\n"
        "from briefcase.__main__ import main; code = main()\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr); sys.exit(code)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(claude_event()).encode(), env=environment(hooks),
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    assert json.loads(found.stdout) == ALLOWED
    loaded = set(json.loads(found.stderr))
    assert not loaded & {"click", "asyncio", "msgspec", "orjson", "http.client", "email", "ssl", "cryptography", "rich"}
