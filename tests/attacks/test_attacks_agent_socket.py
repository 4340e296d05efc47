"""The agents' socket: another user's agent is heard as an agent, and as nobody else; tried with real users."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from other_user import AGENTS, ALICE, BOB, UserDaemon, acting_as, as_user, home_of

from briefcase.edges.http.sockets import agent_directory_problem
from support.daemons import RunningDaemon, UnixConnection

needs_root = pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="other users need root on Linux")


def ask(socket_path, method, path, token, body=None) -> int:
    connection = UnixConnection(str(socket_path))
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request(method, path, body=body, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def agents_directory(home: Path) -> Path:
    directory = home / "run"
    directory.mkdir(mode=0o750)
    directory.chmod(0o750)
    os.chown(directory, ALICE, AGENTS)
    return directory


@needs_root
@pytest.mark.root
def test_another_users_agent_comes_in_by_its_groups_socket_and_a_stranger_does_not():
    with home_of(ALICE) as home:
        path = agents_directory(home) / "a.sock"
        with UserDaemon(home / "data", ALICE, AGENTS, BRIEFCASE_AGENT_SOCKET=str(path)) as daemon:
            token = daemon.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
            operator = daemon.operator_token
            with acting_as(BOB, AGENTS):
                as_agent = ask(path, "GET", "/v1/tools", token)
                refused = {
                    "the operator's token": ask(path, "GET", "/v1/approvals", operator),
                    "an operator's route": ask(path, "GET", "/v1/agents", token),
                    "a route without a token": ask(path, "GET", "/health", None),
                    "what is in no table": ask(path, "GET", "/nothing", token),
                }
                no_token = ask(path, "GET", "/v1/tools", None)
                with pytest.raises(PermissionError):
                    ask(daemon.socket_path, "GET", "/v1/tools", token)
                with pytest.raises(PermissionError):
                    (daemon.data_dir / "auth_token").read_text()
            with acting_as(BOB), pytest.raises(PermissionError):
                ask(path, "GET", "/v1/tools", token)
            checks = daemon.request("GET", "/v1/diagnostics/security")[1]["checks"]
            found = {check["name"]: check for check in checks}
            log = daemon.logged()
            assert (path.stat().st_mode & 0o777, path.stat().st_gid) == (0o660, AGENTS)

    assert (as_agent, no_token) == (200, 401)
    assert refused == dict.fromkeys(refused, 403)
    assert found["agent_socket"]["ok"], found["agent_socket"]
    assert found["agent_users"]["ok"], found["agent_users"]
    assert f'"agent_socket": "{path}"' in log


@needs_root
@pytest.mark.root
def test_a_device_of_another_user_is_paired_and_says_yes_by_the_agents_socket():
    with home_of(ALICE) as home, home_of(BOB) as theirs:
        path = agents_directory(home) / "a.sock"
        with UserDaemon(home / "data", ALICE, AGENTS, BRIEFCASE_AGENT_SOCKET=str(path)) as daemon:

            def device(*words: str, line: str = "") -> str:
                environment = {
                    "HOME": str(theirs),
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": os.environ.get("PYTHONPATH", ""),  # a mutant's tree
                    "BRIEFCASE_AGENT_SOCKET": str(path),
                    "BRIEFCASE_DAEMON_UID": str(ALICE),
                }
                command = [*as_user(BOB, AGENTS), sys.executable, "-m", "briefcase", "signer", *words]
                ran = subprocess.run(
                    command, input=line, env=environment, capture_output=True, text=True, check=False, cwd="/"
                )
                assert ran.returncode == 0, ran.stderr
                return ran.stdout

            began = daemon.request("POST", "/v1/signer/pair/start")[1]
            line = {
                **began,
                "base_url": daemon.socket_path,
                "device_did": daemon.request("GET", "/v1/identity")[1]["did"],
            }
            device("init")
            device("pair", "--name", "laptop", line=json.dumps(line))
            asked = daemon.call("note_add", {"text": "hi"})["approval"]["id"]
            device("approve", asked, "--digest", device("show", asked).splitlines()[-1])
            assert daemon.request("GET", f"/v1/approvals/{asked}")[1]["status"] == "approved"


@needs_root
@pytest.mark.root
def test_a_gateway_of_another_user_prefers_the_agents_socket():
    hello = {
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"},
        },
    }
    call = {"method": "tools/call", "params": {"name": "echo", "arguments": {"text": "by the group"}}}
    with home_of(ALICE) as home:
        path = agents_directory(home) / "a.sock"
        with UserDaemon(home / "data", ALICE, AGENTS, BRIEFCASE_AGENT_SOCKET=str(path)) as daemon:
            token = daemon.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
            environment = {
                "HOME": "/nonexistent",
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.environ.get("PYTHONPATH", ""),  # a mutant's tree
                "BRIEFCASE_AUTH_TOKEN": token,
                "BRIEFCASE_AGENT_SOCKET": str(path),
                "BRIEFCASE_DAEMON_UID": str(ALICE),
                "BRIEFCASE_DAEMON_UNIX_SOCKET": daemon.socket_path,
            }
            command = [*as_user(BOB, AGENTS), sys.executable, "-m", "briefcase", "gateway"]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            with subprocess.Popen(command, **pipes, cwd=home, env=environment) as gateway:
                answers = []
                for number, message in enumerate((hello, call)):
                    line = json.dumps({"jsonrpc": "2.0", "id": number, **message}).encode() + b"\n"
                    gateway.stdin.write(line)
                    gateway.stdin.flush()
                    answers.append(gateway.stdout.readline())
                gateway.stdin.close()

    assert b"by the group" in answers[1], answers


@pytest.mark.parametrize(
    ("mode", "place", "said"),
    [
        (0o755, "run", "expected `{run}` to have mode 0750, got 0755"),
        (0o770, "run", "expected `{run}` to have mode 0750, got 0770"),
        (0o750, "data", "outside of"),
        (0o750, "absent", "cannot be looked at"),
    ],
)
def test_an_agents_socket_in_a_place_that_is_not_theirs_stops_the_daemon(mode, place, said):
    with home_of(os.geteuid()) as home:
        (home / "run").mkdir()
        (home / "run").chmod(mode)
        daemon = RunningDaemon(home / "data", BRIEFCASE_AGENT_SOCKET=str(home / place / "a.sock"))

        with pytest.raises(AssertionError) as refused:
            daemon.start()
        daemon.__exit__()

        assert said.format(run=home / "run") in str(refused.value)


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_an_agents_socket_whose_directory_another_user_can_replace_stops_the_daemon(mode):
    with home_of(os.geteuid()) as home:
        (home / "way" / "run").mkdir(parents=True)
        (home / "way" / "run").chmod(0o750)
        (home / "way").chmod(mode)
        path = str(home / "way" / "run" / "a.sock")
        daemon = RunningDaemon(home / "data", BRIEFCASE_AGENT_SOCKET=path)

        with pytest.raises(AssertionError) as refused:
            daemon.start()
        daemon.__exit__()
        assert f"expected `{home / 'way'}` not to be writable by others, got mode {mode:04o}" in str(refused.value)

        (home / "way").chmod(0o1777)  # there nobody renames what is another's
        with RunningDaemon(home / "data", BRIEFCASE_AGENT_SOCKET=path) as daemon:
            (home / "way").chmod(mode)
            checks = daemon.request("GET", "/v1/diagnostics/security")[1]["checks"]
            assert not next(check for check in checks if check["name"] == "agent_socket")["ok"]


@needs_root
@pytest.mark.root
def test_a_link_on_the_way_to_the_agents_socket_is_a_step_that_another_user_could_turn():
    with home_of(os.geteuid()) as home:
        run = home / "real" / "run"
        run.mkdir(parents=True)
        run.chmod(0o750)
        theirs = home / "theirs"
        theirs.mkdir()
        (theirs / "hop").symlink_to(home / "real")
        (home / "way").symlink_to(theirs / "hop")
        shared = home / "shared"
        shared.mkdir()
        shared.chmod(0o1777)
        (shared / "way").symlink_to(home / "real")
        ways = (home / "way" / "run", shared / "way" / "run")
        assert [agent_directory_problem(way) for way in ways] == [None, None]

        os.chown(theirs, BOB, BOB)  # who renames `hop`
        os.chown(shared / "way", BOB, BOB, follow_symlinks=False)  # who makes it anew
        belongs = f"to belong to uid {os.geteuid()} or root, got uid {BOB}"
        assert agent_directory_problem(ways[0]) == f"expected `{theirs}` {belongs}"
        assert agent_directory_problem(ways[1]) == f"expected `{shared / 'way'}` {belongs}"

        (home / "round").symlink_to("round")
        assert "cannot be looked at" in str(agent_directory_problem(home / "round" / "run"))
