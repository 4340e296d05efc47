"""H10: what a program that the daemon starts can do to the daemon, as root and as a user without privileges."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from other_user import ALICE, UserDaemon, as_user, home_of

from briefcase.adapters.children.launcher import LAYERS, Plan
from briefcase.adapters.servers.stdio_transport import INHERITED
from support.daemons import RunningDaemon
from support.waiting import wait_until

HOSTILE = Path(__file__).parent / "hostile_child.py"
REPOSITORY = Path(__file__).parents[2]
BOOT = (
    "import sys; sys.path.append(sys.argv[1]);"
    " from briefcase.adapters.children.launcher import main; main(sys.argv[2:])"
)
needs_root = pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="other users need root on Linux")

# What succeeds for a program that is not confined: the control, without which a refusal proves nothing.
OPEN_TO_ALL = {
    "list", "open", "connect", "connect to an abstract socket", "signal another process", "another process: root",
    "another process: environ", "another process: maps", "another process: mem", "ptrace another process",
    "limit another process",
}  # fmt: skip


@pytest.fixture
def abstract():
    """The name of an abstract socket on which somebody outside listens."""
    name = f"briefcase-test-{os.getpid()}-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen()
        yield name


@contextlib.contextmanager
def another_process(uid):
    """A process of the user's that nothing protects: what a shell or an editor is."""
    become = () if uid == 0 else ("setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups")
    process = subprocess.Popen([*become, "sleep", "600"])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def results_at(out: Path) -> dict:
    wait_until(out.exists, "the program wrote nothing")
    return json.loads(out.read_text())


def place_of(home: Path) -> Path:
    """The hostile program, where the user can read it."""
    return Path(shutil.copy(HOSTILE, home / "server.py"))


def words_for(daemon, pid, abstract, out) -> list[str]:
    return [f"@{daemon.data_dir}", daemon.socket_path, str(daemon.process.pid), str(pid), abstract, str(out)]


def unconfined(uid, daemon, home, pid, abstract) -> dict:
    out = home / "control.json"
    prefix = () if uid == 0 else as_user(uid)
    words = [*words_for(daemon, pid, abstract, out), *sorted(OPEN_TO_ALL)]
    command = [*prefix, sys.executable, str(place_of(home)), *words]
    subprocess.run(command, stdin=subprocess.DEVNULL, check=True, cwd=home)
    return results_at(out)


@needs_root
@pytest.mark.root
@pytest.mark.parametrize("uid", [0, ALICE], ids=["root", "a user"])
def test_a_server_the_daemon_starts_reaches_nothing_of_the_daemons(uid, abstract):
    with home_of(uid) as home, another_process(uid) as pid, UserDaemon(home / "data", uid) as daemon:
        control = unconfined(uid, daemon, home, pid, abstract)
        token = daemon.operator_token
        out = home / "out.json"
        words = [str(place_of(home)), *words_for(daemon, pid, abstract, out), "--all"]
        server = {"command": sys.executable, "args": words, "env": {"GIVEN": "yes"}}
        assert daemon.request("POST", "/v1/mcp/servers/evil", server)[0] == 200
        found = results_at(out)
        status, _ = daemon.request("GET", "/v1/approvals")

    assert {name: word for name, word in control.items() if str(word).startswith("refused")} == {}
    assert control["open"].strip() == token
    got = {
        name: word
        for name, word in found.items()
        if name not in {"environment", "descriptors", "ids", "runs", "list", "chroot"}
        and not word.startswith("refused")
    }
    harmless = {"another process: fd", "the daemon: fd"}  # a process without descriptors to see
    assert {name: word for name, word in got.items() if name not in harmless} == {}
    assert found["list"] == "nothing"
    assert token not in json.dumps(found)
    assert found["descriptors"] == [0, 1, 2]
    assert {"GIVEN", "HOME", "PATH"} <= {*found["environment"]} <= {"GIVEN", *INHERITED}
    assert (found["ids"], found["runs"]) == ([uid, uid, uid], "yes\n")
    assert status == 200


def launched(uid, layers, plan, command, cwd="/") -> subprocess.CompletedProcess:
    """The launcher by itself, with a choice of layers."""
    prefix = () if uid == 0 else as_user(uid)
    shell = 'parent=$$; python=$1; shift; "$python" -I -S -c "$@"'
    plan.layers = layers
    words = plan.arguments()
    words[1] = "PARENT"
    script = shell.replace('"$@"', '"$1" "$2" "$3" $parent "${@:5}"; exit $?')
    return subprocess.run(
        [*prefix, "bash", "-c", script, "bash", sys.executable, BOOT, str(REPOSITORY), *words, *command],
        capture_output=True, text=True, check=False, cwd=cwd, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def plan_for(data: Path, *sockets: Path) -> Plan:
    found = data.stat()
    return Plan((), 0, str(data), (found.st_dev, found.st_ino), tuple(map(str, sockets)))


@needs_root
@pytest.mark.root
@pytest.mark.parametrize("uid", [0, ALICE], ids=["root", "a user"])
def test_where_namespaces_are_refused_landlock_alone_keeps_the_files(uid):
    with home_of(uid) as home:
        (home / "data" / "auth_token").write_text("secret")
        (home / "notes").mkdir()
        os.chown(home / "notes", uid, uid)
        os.chown(home / "data" / "auth_token", uid, uid)
        plan = plan_for(home / "data")
        script = "cat data/auth_token; echo a >notes/new && cat notes/new && mv notes/new notes/moved; echo b >data/new"

        ran = launched(uid, ("landlock", "filter"), plan, ["sh", "-c", script], cwd=home)

        assert ran.stdout == "a\n", ran.stderr
        assert sorted(path.name for path in (home / "data").iterdir()) == ["auth_token"]
        assert (home / "notes" / "moved").exists()


@needs_root
@pytest.mark.root
@pytest.mark.parametrize("uid", [0, ALICE], ids=["root", "a user"])
def test_a_socket_in_a_directory_of_others_is_hidden_alone(uid):
    with home_of(uid) as home, socket.socket(socket.AF_UNIX) as listener:
        path = home / "d.sock"
        listener.bind(str(path))
        os.chown(path, uid, uid)
        listener.listen()
        (home / "file").write_text("still here")
        connect = f"import socket; socket.socket(socket.AF_UNIX).connect({str(path)!r})"

        ran = launched(
            uid, LAYERS, plan_for(home / "data", path), ["sh", "-c", f"cat file; {sys.executable} -c '{connect}'"], home
        )

    assert ran.stdout == "still here"
    assert "ConnectionRefusedError" in ran.stderr or "connect" in ran.stderr
    assert ran.returncode != 0


@needs_root
@pytest.mark.root
def test_another_mount_of_the_data_directory_is_hidden_too(tmp_path):
    for name in ("data/inner", "whole", "part", "above", "volume"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "data" / "auth_token").write_text("secret")
    (tmp_path / "data" / "inner" / "page").write_text("secret")
    words = " ".join(plan_for(tmp_path / "data").arguments()[2:])
    script = (
        f"cd {tmp_path}; mount --bind data whole; mount --bind data/inner part; mount --bind . above;"
        f' "{sys.executable}" -I -S -c "{BOOT}" {REPOSITORY} {",".join(LAYERS)} $$ {words} find whole part above data'
        " -type f; true"
    )

    ran = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=True)

    assert (ran.stdout, ran.stderr) == ("", "")


def test_a_layer_that_was_measured_and_fails_keeps_the_program_from_running(tmp_path):
    wrong = Plan(LAYERS, os.getpid(), str(tmp_path), (0, 0), ())
    command = [sys.executable, "-I", "-S", "-c", BOOT, str(REPOSITORY), *wrong.arguments(), "echo", "ran"]

    ran = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stdout) == (126, "")
    assert ran.stderr.startswith("briefcase: the server is not started: it could not be confined")


def security_of(daemon, name) -> dict:
    status, answer = daemon.request("GET", "/v1/diagnostics/security")
    assert status == 200, answer
    return next(check for check in answer["checks"] if check["name"] == name)


@pytest.mark.parametrize(
    ("environment", "effect"),
    [({}, "noted"), ({"BRIEFCASE_PROFILE_MODE": "staging"}, "failed")],
    ids=["reference", "staging"],
)
def test_an_agent_that_runs_as_the_daemons_user_is_named(tmp_path, environment, effect):
    with RunningDaemon(tmp_path / "data", **environment) as daemon:
        agent = daemon.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
        before = security_of(daemon, "agent_users")
        daemon.call("echo", {"text": "x"}, token=agent)
        after = security_of(daemon, "agent_users")

    assert before["ok"], before
    assert (after["ok"], after["effect"]) == (False, effect)
    assert f"`scout` (uid {os.geteuid()})" in after["detail"]


def test_what_a_server_can_still_do_on_this_host_is_said(tmp_path):
    with RunningDaemon(tmp_path / "data") as daemon:
        found = security_of(daemon, "children")

    assert found["ok"] or "a server the daemon starts can still" in found["detail"], found
    assert found["ok"] or os.geteuid() == 0 or "(" in found["detail"]


@needs_root
@pytest.mark.root
def test_a_working_directory_in_the_data_directory_is_no_way_past_the_cover(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "auth_token").write_text("secret")

    ran = launched(
        0, LAYERS, plan_for(data), ["sh", "-c", "cat auth_token; cat ../data/auth_token; echo over"], cwd=data
    )

    assert ran.stdout == "over\n"
