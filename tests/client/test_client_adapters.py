"""The adapters with the real packages, each in an environment of its own that `make adapters` makes; no model is asked.

Where an environment is not there its tests are skipped, and say so.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from briefcase import _native
from support.daemons import RunningDaemon

ROOT = Path(__file__).parent.parent.parent
PROGRAMS = Path(__file__).parent / "adapters"
MANIFEST = {
    "caller_tools": [
        {"id": "look_up", "category": "read", "input_schema": {"properties": {"word": {"type": "string"}}}},
        {"id": "send_mail", "category": "write", "input_schema": {"properties": {"to": {"type": "string"}}}},
    ]
}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("adapters") / "data"
    (data_dir / "tools").mkdir(mode=0o700, parents=True)
    data_dir.chmod(0o700)
    manifest = data_dir / "tools" / "tools.json"
    manifest.write_text(json.dumps(MANIFEST))
    manifest.chmod(0o600)
    with RunningDaemon(data_dir) as running:
        yield running
        assert running.request("POST", "/v1/receipts/verify")[1]["ok"] is True


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """The package with its native part beside it, for an environment that has neither."""
    stage = tmp_path_factory.mktemp("staged")
    shutil.copytree(ROOT / "briefcase", stage / "briefcase")
    shutil.copytree(next(iter(_native.__path__)), stage / "briefcase" / "_native")
    return stage


def seen(daemon, staged, name):
    """What an adapter's program saw, by name, with a token of its own."""
    python = ROOT / "build" / "adapters" / name / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no environment for `{name}`: `make adapters` makes it")
    token = daemon.request("POST", "/v1/agents", {"name": name.replace("_", "-")})[1]["token"]
    env = {
        **daemon.env,
        "BRIEFCASE_AUTH_TOKEN": token,
        "SCENE_OPERATOR_TOKEN": daemon.operator_token,
        "PYTHONPATH": os.pathsep.join(map(str, (staged, ROOT / "tests", PROGRAMS))),
        "OPENAI_API_KEY": "nobody-asks-for-it",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    done = subprocess.run(
        [python, PROGRAMS / f"{name}_program.py"], env=env, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_each_adapter_is_at_most_a_hundred_lines():
    adapters = sorted((ROOT / "briefcase" / "edges" / "client" / "adapters").glob("[a-z]*.py"))
    assert [path.stem for path in adapters] == ["langchain", "litellm", "openai_agents"]
    assert all(len(path.read_text().splitlines()) <= 100 for path in adapters)


def test_langchain_calls_are_decided_stopped_and_resumed_by_the_boundarys_yes_alone(daemon, staged):
    plain, stopped, too_early, resumed, in_loop = seen(daemon, staged, "langchain")
    (allowed, denied, waiting), ran = plain["plain"], plain["ran"]
    assert allowed == ["look_up", "success", "ox is a word"]
    assert denied[:2] == ["secret_tool", "error"]
    assert denied[2].startswith("unknown_tool")
    assert waiting[2].startswith("approval_required")
    assert ran == ["look_up ox"]
    [action] = stopped["stopped"]["action_requests"]
    assert (action["name"], action["args"], stopped["ran"]) == ("send_mail", {"to": "bob"}, [])
    assert too_early == {"too_early": 1, "ran": []}
    assert resumed == {"resumed": [["send_mail", "success", "sent"]], "ran": ["send_mail bob"]}
    assert in_loop["ran"] == ["look_up emu"]
    assert [status for _, status, _ in in_loop["in_loop"]] == ["success", "error"]


def test_openai_agents_are_interrupted_where_the_boundary_says_and_go_on_by_its_yes_alone(daemon, staged):
    plain, stopped, resumed, too_early = seen(daemon, staged, "openai_agents")
    assert plain["plain"][0] == "ox is a word"
    assert plain["plain"][1].startswith("unknown_tool")
    assert plain["ran"] == ["look_up ox"]
    assert stopped == {"stopped": "send_mail", "ran": []}
    assert resumed == {"resumed": ["sent"], "ran": ["send_mail bob"]}
    assert too_early["ran"] == []
    assert too_early["too_early"][0].startswith("approval_required")


def test_litellm_asks_before_an_mcp_tool_is_called_and_a_yes_is_for_one_call(daemon, staged):
    allowed, denied, waiting, approved, again = (next(iter(one.values())) for one in seen(daemon, staged, "litellm"))
    assert allowed == [200, ""]
    assert denied[0] == 403
    assert denied[1].startswith("unknown_tool")
    assert waiting[0] == 403
    assert waiting[1].startswith("approval_required")
    assert approved == [200, ""]
    assert again[0] == 403
