"""Signers only, as it is documented: an agent of another user that holds `auth_token` tries each door to a yes.

The agent's token and `auth_token` are one program's, at loopback TCP and at the agents' socket. Beside it an operator
works as always: decides with a paired device, and opens a pairing for the next one.
"""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from contextlib import closing
from pathlib import Path

import pytest
from other_user import AGENTS, ALICE, BOB, UserDaemon, acting_as, as_user, home_of
from test_attacks_agent_socket import agents_directory
from test_attacks_bounds import free_port

from briefcase.core.operator.binding import binding_hex_of
from briefcase.core.signers.texts import Signed
from briefcase.edges.api.effects import CHANGES, UNSIGNED
from support.daemons import UnixConnection
from support.passkeys import ORIGIN, SoftPasskey
from support.signers import YES, Device

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="other users need root on Linux"),
]
SWITCH = "[approvals]\noperator_token = false\n"
PASSKEYS = "/v1/signers/passkeys"
NO_ID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"


class Operator:
    """Who the daemon belongs to, at the daemon's user, with a device whose key is nobody else's."""

    def __init__(self, daemon) -> None:
        self.daemon, self.device = daemon, Device()
        self.did = daemon.request("GET", "/v1/identity")[1]["did"]

    def run(self, *words, stdin: str = "") -> str:
        command = [*as_user(ALICE), sys.executable, "-m", "briefcase", *words]
        ran = subprocess.run(
            command, input=stdin, env=self.daemon.env, capture_output=True, text=True, check=False, cwd="/"
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def pair(self, key: Path) -> dict:
        self.run("signer", "init", "--key", str(key))
        self.run("signer", "pair", "--key", str(key), stdin=self.run("signers", "pair", "--json"))
        return json.loads(key.read_text())


class Thief:
    """The agent's program: another user, in the group of the agents' socket, with both tokens."""

    def __init__(self, daemon, agent_socket: Path, port: int, agent: str) -> None:
        self.daemon, self.agent_socket, self.port, self.agent = daemon, agent_socket, port, agent
        self.stolen = daemon.operator_token

    def at_tcp(self, method, path, body=None, token=None):
        return self._ask(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30), method, path, body, token)

    def at_the_agents_socket(self, method, path, body=None, token=None):
        return self._ask(UnixConnection(str(self.agent_socket)), method, path, body, token)

    def _ask(self, connection, method, path, body, token):
        token = self.stolen if token is None else token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        data = None if body is None else json.dumps(body).encode()
        "localhost".encode("idna")  # loaded while this process can read its file
        with acting_as(BOB, AGENTS):
            try:
                connection.request(method, path, data, headers)
                response = connection.getresponse()
                return response.status, json.loads(response.read() or b"{}")
            finally:
                connection.close()

    def waits(self, text="mine"):
        call = {"tool_id": "note_add", "args": {"text": text}, "context": {"request_id": str(uuid.uuid4())}}
        status, answer = self.at_tcp("POST", "/v1/tools/call", {"call": call}, self.agent)
        assert (status, "approval" in answer) == (200, True), answer
        return answer["approval"]["id"]


@pytest.fixture(scope="module")
def layout():
    """The separate-user layout, with signers only: the operator and the thief."""
    port = free_port()
    with home_of(ALICE) as home:
        path = agents_directory(home) / "a.sock"
        environment = {"BRIEFCASE_AGENT_SOCKET": str(path), "BRIEFCASE_TCP_ADDR": f"127.0.0.1:{port}"}
        with UserDaemon(home / "data", ALICE, AGENTS, **environment) as daemon:
            agent = daemon.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
            operator = Operator(daemon)
            operator.key = home / "signer.json"
            operator.device = operator.pair(operator.key)
            daemon.stop()
            (home / "data" / "briefcase.toml").write_text(SWITCH)
            os.chown(home / "data" / "briefcase.toml", ALICE, ALICE)
            daemon.start()
            yield operator, Thief(daemon, path, port, agent)


def status_of(operator, approval_id):
    return operator.daemon.request("GET", f"/v1/approvals/{approval_id}")[1]["status"]


def test_no_change_that_widens_is_made_at_either_door(layout):
    operator, thief = layout
    before = operator.daemon.request("GET", "/v1/signers")[1]
    for method, path in sorted(CHANGES - UNSIGNED):
        concrete = re.sub(r"\{\w+\}", "x", path)
        status, refused = thief.at_tcp(method, concrete, {})
        assert (status, refused["code"]) == (403, "signer_required"), (method, path)
        status, refused = thief.at_the_agents_socket(method, concrete, {})
        assert status == 403, (method, path, refused)
    assert operator.daemon.request("GET", "/v1/signers")[1] == before


def test_no_yes_is_said_with_either_token_at_either_door(layout):
    operator, thief = layout
    approval = thief.waits()
    for door in (thief.at_tcp, thief.at_the_agents_socket):
        for token in (thief.stolen, thief.agent, ""):
            for body in (None, {"grant": {"exact": True, "max_uses": 5}}, {"by": "operator", "signer_id": "x"}):
                status, answer = door("POST", f"/v1/approvals/{approval}/approve", body, token)
                assert status in {400, 401, 403}, answer
    for kind in ("claude-code", "codex", "copilot", "cursor", "gemini"):
        asked = {"hook_event_name": "PreToolUse", "tool_name": "note_add", "tool_input": {"text": "mine"}}
        for token in (thief.stolen, thief.agent):
            status, answer = thief.at_tcp("POST", f"/v1/hooks/{kind}", asked, token)
            assert '"allow"' not in json.dumps(answer), answer
    assert status_of(operator, approval) == "pending"


def test_the_operators_token_is_no_way_past_the_question_itself(layout):
    operator, thief = layout
    call = {"tool_id": "note_add", "args": {"text": "as the operator"}, "context": {"request_id": str(uuid.uuid4())}}
    status, answer = thief.at_tcp("POST", "/v1/tools/call", {"call": call})
    assert (status, "approval" in answer) == (200, True), answer
    assert status_of(operator, answer["approval"]["id"]) == "pending"


def test_a_signature_it_saw_serves_nothing_else_and_a_key_of_its_own_is_nobodys(layout):
    operator, thief = layout
    first, second = thief.waits("first"), thief.waits("second")
    digest = operator.run("signer", "show", first, "--key", str(operator.key)).splitlines()[-1]
    operator.run("signer", "approve", first, "--digest", digest, "--key", str(operator.key))
    assert (status_of(operator, first), status_of(operator, second)) == ("approved", "pending")

    own = Device(9)
    document = operator.daemon.request("GET", f"/v1/approvals/{second}")[1]
    for signer_id in (operator.device["signer_id"], NO_ID):
        own.signer_id = signer_id
        ruling = own.ruling(second, time.time_ns() // 1_000, YES, binding_hex_of(document, operator.did))
        sent = {**_wire(ruling.signed), "binding_hex": ruling.binding_hex}
        for door in (thief.at_tcp, thief.at_the_agents_socket):
            for token in ("", thief.stolen):
                status, answer = door("POST", f"/v1/signer/approvals/{second}/approve", sent, token)
                assert status in {400, 401, 403, 404}, answer
    assert status_of(operator, second) == "pending"


def _wire(signed: Signed) -> dict[str, str]:
    return {
        "signer_id": signed.signer_id, "ts_rfc3339": signed.ts, "nonce": signed.nonce, "sig_b64": signed.sig_b64,
    }  # fmt: skip


def test_a_pairing_that_the_operator_opened_for_a_device_lets_no_passkey_of_the_thiefs_in(layout):
    operator, thief = layout
    opened = json.loads(operator.run("--sign-with", str(operator.key), "signers", "pair", "--json"))
    passkey, approval = SoftPasskey(), thief.waits()
    for code in (None, "", opened["pairing_id"], "A" * 43):
        wanted = {"origin": ORIGIN, "name": "mine", **({} if code is None else {"pairing_code": code})}
        status, begun = thief.at_tcp("POST", f"{PASSKEYS}/registration", wanted)
        if status == 200:
            sent = {"registration_id": begun["registration_id"], "credential": passkey.create(begun["options"])}
            status, begun = thief.at_tcp("POST", PASSKEYS, sent)
        assert (status, begun["code"]) == (404, "pairing_not_found"), "a passkey of the thief's is the operator's yes"
    assert status_of(operator, approval) == "pending"
    assert [one["algorithm"] for one in operator.daemon.request("GET", "/v1/signers")[1]["signers"]] == ["ed25519"]


def test_files_and_processes_of_the_daemons_are_out_of_its_reach(layout):
    operator, thief = layout
    daemon = operator.daemon
    with acting_as(BOB, AGENTS):
        for path in (daemon.data_dir / "briefcase.toml", daemon.data_dir / "auth_token", operator.key):
            with pytest.raises(PermissionError):
                path.write_text("[approvals]\noperator_token = true\n")
            with pytest.raises(PermissionError):
                path.read_text()
        with pytest.raises(PermissionError):
            thief.agent_socket.rename(thief.agent_socket.with_name("b.sock"))
        with pytest.raises(PermissionError):
            os.kill(daemon.process.pid, signal.SIGTERM)
        connection = UnixConnection(daemon.socket_path)
        with closing(connection), pytest.raises(PermissionError):
            connection.connect()
    command = [*as_user(BOB, AGENTS), sys.executable, "-m", "briefcase", "daemon"]
    ran = subprocess.run(command, env=daemon.env, capture_output=True, text=True, check=False, cwd="/", timeout=60)
    assert ran.returncode != 0
    assert daemon.request("GET", "/ready", token="")[0] == 200
