"""A server that wants a log-in, process by process: log in, call, widen the scope, revoke, the failing call after it.

Then every credential that was used is looked for in everything that is left behind.
"""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.canaries import files_below, found_in, written_forms_of
from support.commands import await_address, briefcase, command_of
from support.daemons import RunningDaemon
from support.waiting import BOUND_S, wait_until

WORLD = Path(__file__).parent / "servers" / "oauth_world.py"
SERVERS = "/v1/mcp/servers"


@contextmanager
def serving(*options):
    """The server and its authorization server as a process; gives its origin."""
    process = subprocess.Popen(
        [sys.executable, WORLD, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        yield process.stdout.readline().strip()
        process.stdin.close()
        process.wait(BOUND_S)


@pytest.fixture(params=[(), ("--dpop",)], ids=["bearer", "bound"])
def daemon(request, tmp_path):
    with ExitStack() as stack:
        origin = stack.enter_context(serving(*request.param))
        data_dir = tmp_path / "data"
        data_dir.mkdir(mode=0o700)
        (data_dir / "briefcase.toml").write_text(f"[net]\nallow_private = ['{urlsplit(origin).netloc}']\n")
        running = stack.enter_context(RunningDaemon(data_dir))
        running.origin = origin
        yield running


def server_of(daemon):
    (server,) = daemon.request("GET", SERVERS)[1]["servers"]
    return server


def server_that_is(daemon, **fields):
    """Its server, once that is what the fields say."""

    def found():
        server = server_of(daemon)
        return server if all(server[name] == field for name, field in fields.items()) else None

    return wait_until(found, lambda: server_of(daemon))


def server_that_says_its_problem(daemon, **fields):
    """As `server_that_is`, once the failed connection is noted as well: that comes a moment after the challenge."""
    wait_until(lambda: server_of(daemon)["problem"], lambda: server_of(daemon))
    return server_that_is(daemon, **fields)


def log_in(daemon, *options):
    """`oauth-login`, with a browser that only follows where it is sent."""
    words = command_of("mcp", "servers", "oauth-login", "docs", "--no-browser", *options)
    with subprocess.Popen(words, env=daemon.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
        with urllib.request.urlopen(await_address(command), timeout=BOUND_S) as page:
            assert b"is with briefcase now" in page.read()
        out, err = command.communicate(timeout=BOUND_S)
    assert (command.returncode, out.decode()) == (0, "logged in to `docs`\n"), err.decode()
    assert "of-the-World" not in out.decode() + err.decode()


def let_tools_be_called(daemon):
    """Nobody is asked; the description changes and the address does not, so the log-in stays."""
    body = {"endpoint_url": f"{daemon.origin}/mcp", "rules": [{"tool": "*", "category": "read"}]}
    assert daemon.request("POST", f"{SERVERS}/docs", body)[0] == 200
    server_that_is(daemon, state="ready", has_oauth_refresh=True)


def test_log_in_call_widen_revoke_and_the_failing_call_after_it(daemon):
    assert briefcase(daemon, "mcp", "servers", "upsert", "docs", f"{daemon.origin}/mcp").returncode == 0
    wanting = server_that_says_its_problem(daemon, needs_login=True)
    assert "oauth-login docs" in wanting["problem"]
    assert wanting["has_oauth_refresh"] is False
    agent = daemon.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
    status, _ = daemon.request("POST", f"{SERVERS}/docs/oauth/start", {"redirect_uri": "x"}, token=agent)
    assert status == 403, "an agent logs nobody in"
    auditor = (daemon.data_dir / "auditor_token").read_text().strip()
    assert daemon.request("POST", f"{SERVERS}/docs/oauth/revoke", token=auditor)[0] == 403
    asked = {"code": "c", "state": "guessed"}
    assert daemon.request("POST", f"{SERVERS}/docs/oauth/exchange", asked)[1]["code"] == "bad_request"
    assert daemon.request("POST", f"{SERVERS}/other/oauth/exchange", asked)[1]["code"] == "not_found"

    log_in(daemon)
    server_that_is(daemon, state="ready", has_oauth_refresh=True, needs_login=False)
    let_tools_be_called(daemon)
    answer = daemon.call("docs.whoami", {"echo": True}, token=agent)
    assert answer["status"] == "ok", answer
    text = answer["result"]["content"]["content"][0]["text"]
    assert "of-the-World" not in text
    assert agent not in text
    assert "redacted" in text, "the server saw a token and gave it back; the agent does not see it"

    refused = daemon.call("docs.change", {}, token=agent)
    assert refused["status"] == "error"
    assert "wider scope `write`" in refused["message"]
    log_in(daemon)
    server_that_is(daemon, state="ready", needs_login=False)
    assert daemon.call("docs.change", {}, token=agent)["status"] == "ok"

    daemon.kill()
    daemon.start()
    server_that_is(daemon, state="ready", has_oauth_refresh=True)
    assert daemon.call("docs.change", {}, token=agent)["status"] == "ok"

    revoked = json.loads(briefcase(daemon, "mcp", "servers", "oauth-revoke", "docs", "--json").stdout)
    assert revoked == {
        "server_id": "docs",
        "had_refresh_token": True,
        "remote_revocation_attempted": True,
        "remote_revocation_succeeded": True,
    }
    server_that_is(daemon, needs_login=True, has_oauth_refresh=False)
    failed = daemon.call("docs.change", {}, token=agent)
    assert (failed["status"], "oauth-login docs" in failed["message"]) == ("error", True), failed
    assert briefcase(daemon, "receipts", "verify").returncode == 0


def test_a_pasted_address_logs_in_and_what_is_not_this_log_ins_does_not(daemon):
    briefcase(daemon, "mcp", "servers", "upsert", "docs", f"{daemon.origin}/mcp")
    server_that_is(daemon, needs_login=True)

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    def paste(change):
        words = command_of("mcp", "servers", "oauth-login", "docs", "--paste", "--scope", "read")
        with subprocess.Popen(
            words, env=daemon.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as command:
            written = b""
            while not written.endswith(b"paste it here: "):
                written += command.stderr.read(1)
            address = re.search(r"^http\S+/authorize\S+", written.decode(), re.MULTILINE)[0]
            assert "scope=read&" in address
            with pytest.raises(urllib.error.HTTPError) as stopped:
                urllib.request.build_opener(Stay).open(address, timeout=BOUND_S)
            with stopped.value as answer:
                back = answer.headers["location"]
            out, err = command.communicate(change(back).encode() + b"\n", timeout=BOUND_S)
        return command.returncode, out.decode(), err.decode()

    code, out, err = paste(lambda back: re.sub("state=[^&]+", "state=another", back))
    assert (code, out) == (2, ""), err
    assert "another log-in" in err
    code, out, err = paste(lambda back: re.sub("iss=[^&]+", "iss=https://evil.example", back))
    assert code == 2, err
    assert "`iss` differs" in err
    code, out, err = paste(lambda back: back)
    assert (code, out) == (0, "logged in to `docs`\n"), err
    server_that_is(daemon, state="ready")


def test_a_log_in_ends_with_its_server_and_with_its_address(daemon):
    def describe(path="/mcp"):
        assert daemon.request("POST", f"{SERVERS}/docs", {"endpoint_url": f"{daemon.origin}{path}"})[0] == 200

    describe()
    server_that_is(daemon, needs_login=True)
    log_in(daemon)
    server_that_is(daemon, has_oauth_refresh=True)
    describe("/elsewhere")
    assert server_of(daemon)["has_oauth_refresh"] is False
    describe()
    assert server_of(daemon)["has_oauth_refresh"] is False, "moving there and back is not staying"
    server_that_is(daemon, needs_login=True)
    log_in(daemon)
    server_that_is(daemon, has_oauth_refresh=True)
    assert daemon.request("POST", f"{SERVERS}/docs/delete")[0] == 200
    describe()
    assert server_of(daemon)["has_oauth_refresh"] is False, "the next server of that name is another one"


def test_no_credential_of_a_log_in_is_left_anywhere(daemon, tmp_path):
    """The same search finds each of them where it is planted."""
    body = {"endpoint_url": f"{daemon.origin}/mcp", "rules": [{"tool": "*", "category": "read"}]}
    daemon.request("POST", f"{SERVERS}/docs", body)
    server_that_is(daemon, needs_login=True)
    log_in(daemon)
    server_that_is(daemon, state="ready")
    said = [json.dumps(daemon.call("docs.whoami", {"echo": True})).encode() for _ in range(3)]
    asked = (SERVERS, f"{SERVERS}/docs", "/v1/receipts?limit=100", "/v1/tools", "/v1/diagnostics/security")
    said += [json.dumps(daemon.request("GET", path)[1]).encode() for path in asked]
    with urllib.request.urlopen(f"{daemon.origin}/the-credentials", timeout=BOUND_S) as answer:
        credentials = json.loads(answer.read())
    assert {"access", "refresh", "client secret", "code", "code_verifier"} <= set(credentials)
    daemon.stop()
    left = files_below(tmp_path) | {f"answer {number}": data for number, data in enumerate(said)}
    for name, secret in credentials.items():
        assert not {(name, path) for path, data in left.items() if found_in(data, secret)}
        for form, written in written_forms_of(secret).items():
            assert found_in(b"x" + written + b"y", secret), (name, form)
