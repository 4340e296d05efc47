"""One canary for each credential, in every form, looked for in everything the daemon says, writes and stores.

Where a credential must be is said at `ALLOWED`. The control runs say that the search would find it: one with redaction
switched off, and one with each canary planted into each place.
"""

from __future__ import annotations

import gzip
import json
import sys
import uuid
from pathlib import Path
from typing import NamedTuple

import pytest

from support.canaries import files_below, forms_of, found_in, new_canary, written_forms_of
from support.daemons import RunningDaemon, UnixConnection
from support.hostile_servers import RawServer
from support.otlp_receiver import OtlpReceiver

LEAKY = (sys.executable, str(Path(__file__).parent / "leaky_daemon.py"))

# where each credential must be, and nothing else may hold it
ALLOWED = {("operator token", "file auth_token")}


class Run(NamedTuple):
    """One daemon's life: its credentials, and all it gave away, by place."""

    secrets: dict[str, str]
    sinks: dict[str, bytes]


def echo_everything(connection, head: bytes) -> bool:
    """An upstream that gives back the credential it was sent, in the way its path asks for."""
    path = head.split(b" ")[1].split(b"?")[0].decode().removeprefix("/")
    [secret] = [line[11:] for line in head.decode().split("\r\n") if line.lower().startswith("x-api-key: ")]
    everything = {name: form.decode() for name, form in written_forms_of(secret).items()}
    body = json.dumps({"sent": secret, "forms": everything}).encode()
    kind, status, extra = "application/json", "200 OK", f"X-Echo: {secret}\r\n"
    match path:
        case "error":
            status = "500 Oops"
        case "refusal":
            status = "401 Unauthorized"
        case "redirect":
            status, extra = "302 Found", f"Location: http://127.0.0.1/?key={forms_of(secret)['url'].decode()}\r\n"
        case "gzip":
            body, extra = gzip.compress(body), extra + "Content-Encoding: gzip\r\n"
        case "text":
            kind, body = "text/plain", "\n".join([secret, *everything.values()]).encode()
        case "bad_json":
            body = b'{"sent": NaN, ' + body
        case "bad_kind":
            kind = f"application/{secret}"
        case "bad_head":
            connection.sendall(f"HTTP/1.1 {secret}\r\n{secret}\r\n\r\n".encode())
            return False
        case "bad_length":
            connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {secret}\r\n\r\n".encode())
            return False
    if path == "chunks":
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for at in range(0, len(body), 7):
            piece = body[at : at + 7]
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        connection.sendall(b"0\r\n\r\n")
        return True
    connection.sendall(
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{extra}Content-Length: {len(body)}\r\n\r\n".encode() + body
    )
    return True


WAYS = (
    "body",
    "error",
    "refusal",
    "redirect",
    "gzip",
    "text",
    "chunks",
    "bad_json",
    "bad_kind",
    "bad_head",
    "bad_length",
)


def manifest(server: RawServer) -> str:
    tools = [
        {
            "id": way,
            "method": "GET",
            "url": f"{server.url}/{way}",
            "category": "read",
            "allowed_hosts": [server.address],
            "credential": {"name": "desk", "header": "X-Api-Key"},
        }
        for way in WAYS
    ]
    return json.dumps({"tools": tools})


class Agent:
    """Calls, and keeps every byte that came back, heads too."""

    def __init__(self, daemon: RunningDaemon, token: str) -> None:
        self.daemon = daemon
        self.token = token
        self.heard = b""

    def ask(self, method: str, path: str, body: object = None) -> dict:
        connection = UnixConnection(self.daemon.socket_path)
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, data, {"Authorization": f"Bearer {self.token}"})
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        self.heard += str(response.headers).encode() + answer
        return json.loads(answer)

    def call(self, tool_id: str, args: dict, *, approval_token: str | None = None, **context: str) -> dict:
        call = {"tool_id": tool_id, "args": args, "context": {"request_id": str(uuid.uuid4()), **context}}
        if approval_token:
            call["approval_token"] = approval_token
        return self.ask("POST", "/v1/tools/call", {"call": call})


def live(tmp_path: Path, wrapper: tuple[str, ...] = ()) -> Run:
    """Let a daemon do everything that handles a credential, and collect what it gave away."""
    passphrase, vault_secret = new_canary(), new_canary()
    data_dir, temporary = tmp_path / "data", tmp_path / "tmp"
    (data_dir / "tools").mkdir(parents=True)
    temporary.mkdir()
    for directory in (data_dir, data_dir / "tools"):
        directory.chmod(0o700)
    with RawServer(echo_everything) as upstream, OtlpReceiver() as receiver:
        (data_dir / "briefcase.toml").write_text(f'[net]\nallow_private = ["{upstream.address}"]\n')
        (data_dir / "tools" / "ways.json").write_text(manifest(upstream))
        (data_dir / "tools" / "ways.json").chmod(0o600)
        environment = {**receiver.environment, "BRIEFCASE_MASTER_PASSPHRASE": passphrase, "TMPDIR": str(temporary)}
        with RunningDaemon(data_dir, wrapper=wrapper, **environment) as daemon:
            run = _collect(daemon, temporary, {"passphrase": passphrase, "vault secret": vault_secret})
        run.sinks["otlp"] = receiver.raw
        return run


def _collect(daemon: RunningDaemon, temporary: Path, secrets: dict[str, str]) -> Run:
    vault_secret = secrets["vault secret"]
    daemon.request("PUT", "/v1/secrets/desk", {"value": vault_secret})
    secrets["operator token"] = daemon.operator_token
    secrets["agent token"] = daemon.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
    agent = Agent(daemon, secrets["agent token"])

    # the upstream gives it back
    for way in WAYS:
        agent.call(way, {})

    # the agent has got hold of it, and puts it everywhere it can
    agent.call("echo", {"text": vault_secret})
    agent.call("echo", {"text": {"not": vault_secret}})
    agent.call("echo", {vault_secret: 1})
    agent.call(vault_secret, {})
    agent.call("echo", {"text": "hi"}, agent_id=vault_secret, session_id=vault_secret)
    agent.call("echo", {"text": "hi"}, request_id=vault_secret)
    agent.ask("POST", "/v1/tools/call", vault_secret.encode())
    agent.ask("GET", f"/v1/approvals/{forms_of(vault_secret)['hex'].decode()}")

    # a person approves, and the agent uses the approval
    asked = agent.call("note_add", {"text": vault_secret})
    approval_id = asked["approval"]["id"]
    listed = json.dumps(daemon.request("GET", "/v1/approvals")).encode()
    token = daemon.request("POST", f"/v1/approvals/{approval_id}/approve")[1]["approval_token"]
    secrets["approval token"] = token.partition(".")[2]  # what comes before the dot is its public id
    agent.call("note_add", {"text": vault_secret}, approval_token=token)
    agent.call("note_add", {"text": vault_secret}, approval_token=token)
    agent.call("notes_list", {})

    sinks = {
        "answers": agent.heard,
        "approvals": listed,
        "receipts": json.dumps(daemon.request("GET", "/v1/receipts?limit=1000")).encode(),
        "metrics": _metrics(daemon),
        "what is listed": b"".join(
            json.dumps(daemon.request("GET", path)).encode()
            for path in ("/v1/tools", "/v1/agents", "/v1/secrets", "/v1/policy", "/v1/budgets", "/v1/approvals")
        ),
    }
    running = files_below(daemon.data_dir)
    daemon.stop()
    for files, when in ((running, "while running "), (files_below(daemon.data_dir), "")):
        sinks.update({f"file {name}" if not when else f"{when}{name}": data for name, data in files.items()})
    sinks["temporary files"] = b"".join(files_below(temporary).values())
    sinks["log"] = daemon.logged().encode()
    return Run(secrets, sinks)


def _metrics(daemon: RunningDaemon) -> bytes:
    connection = UnixConnection(daemon.socket_path)
    connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {daemon.operator_token}"})
    text = connection.getresponse().read()
    connection.close()
    return text


def leaks_of(run: Run) -> set[tuple[str, str, str]]:
    """(credential, place, form), but for where a credential must be."""
    return {
        (name, sink, form)
        for name, secret in run.secrets.items()
        for sink, data in run.sinks.items()
        if (name, sink.replace("while running ", "file ")) not in ALLOWED
        for form in found_in(data, secret)
    }


@pytest.fixture(scope="module")
def tight(tmp_path_factory) -> Run:
    return live(tmp_path_factory.mktemp("tight"))


@pytest.fixture(scope="module")
def leaky(tmp_path_factory) -> Run:
    return live(tmp_path_factory.mktemp("leaky"), LEAKY)


def test_no_credential_is_anywhere_in_any_form(tight):
    assert leaks_of(tight) == set()


def test_every_place_was_really_filled(tight):
    assert {
        "answers",
        "approvals",
        "receipts",
        "metrics",
        "log",
        "file briefcase.sqlite",
        "file ledger/data.mdb",
    } <= set(tight.sinks)
    assert all(name in tight.sinks["otlp"] for name in (b"http.upstream", b"tool.execute", b"briefcase_calls_total"))
    for sink in ("answers", "receipts", "approvals", "file ledger/data.mdb"):
        assert b"[redacted" in tight.sinks[sink], sink  # where a person decides, the mark says whose it is
    assert set(tight.secrets) == {"passphrase", "vault secret", "operator token", "agent token", "approval token"}


def test_with_redaction_switched_off_the_same_search_finds_the_secret_in_every_form(leaky):
    found = leaks_of(leaky)
    assert {form for name, sink, form in found if (name, sink) == ("vault secret", "answers")} >= set(forms_of("x")) - {
        "raw",
        "json in json",
    } | {"json"}
    for sink in ("receipts", "approvals", "file ledger/data.mdb"):
        assert ("vault secret", sink, "json") in found or ("vault secret", sink, "json in json") in found, sink
    assert {name for name, _, _ in found} == {"vault secret"}


@pytest.mark.parametrize("wrapped", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_planted_into_each_place_each_credential_is_found_in_each_form(tight, wrapped):
    for name, secret in tight.secrets.items():
        for form, written in written_forms_of(secret).items():
            planted = {
                sink: data[:64] + wrapped(b"~" + written + b"~") + data[-64:] for sink, data in tight.sinks.items()
            }
            found = {sink for who, sink, as_form in leaks_of(Run({name: secret}, planted)) if as_form == form}
            assert found >= {sink for sink in tight.sinks if "auth_token" not in sink}, (name, form)
