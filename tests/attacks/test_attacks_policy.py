"""Two readings of one schema: what a policy check accepted decides the calls, or the calls are errors."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.daemons import RunningDaemon

SERVER = Path(__file__).parent / "listing_server.py"
TIMEOUT_S = 30
ALLOW_ALL = '@id("all") permit (principal, action, resource);\n'

N, NULL = {"type": "number"}, {"type": "null"}
OBJECT = {"type": "object", "properties": {"amount": N}, "required": ["amount"]}
DEFINITIONS = {"n": N, "o": OBJECT}
NUMBERS = {"type": "array", "items": N}
DECIMAL = 'decimal("666.0")'
ATTACKS = [
    # the schema of `x`, a forbid on it, what an agent sends to get past it
    ("an array, contains", NUMBERS, f"context.args.x.contains({DECIMAL})", [[666], [666.0], [1.5, 666]]),
    ("an array, containsAny", NUMBERS, f'context.args.x.containsAny([{DECIMAL}, decimal("1.0")])', [[666]]),
    ("an array, ==", NUMBERS, f"context.args.x == [{DECIMAL}]", [[666]]),
    ("a nullable object", {"anyOf": [OBJECT, NULL]}, f"context.args.x.amount == {DECIMAL}", [{"amount": 666}]),
    ("oneOf one object", {"oneOf": [OBJECT]}, f"context.args.x.amount == {DECIMAL}", [{"amount": 666}]),
    ("a nullable number", {"anyOf": [N, NULL]}, f"context.args.x == {DECIMAL}", [666]),
    (
        "an array of objects",
        {"type": "array", "items": OBJECT},
        f"context.args.x.contains({{amount: {DECIMAL}}})",
        [[{"amount": 666}], [{"amount": 666, "more": 1}]],
    ),
    ("a number", N, f"context.args.x == {DECIMAL}", [666]),
    (
        "an array in an object",
        {"type": "object", "properties": {"ids": NUMBERS}, "required": ["ids"]},
        f"context.args.x.ids.contains({DECIMAL})",
        [{"ids": [666]}],
    ),
    ("a union", {"type": ["string", "integer"]}, "context.args.x == 666", ["666"]),
    ("undeclared text", {}, 'context.args.x == "admin"', [["admin"]]),
    ("an undeclared boolean", {}, "context.args.x == true", [1, "true"]),
    ("a reference", {"$ref": "#/$defs/n"}, f"context.args.x == {DECIMAL}", [666]),
    ("a reference to an object", {"$ref": "#/$defs/o"}, f"context.args.x.amount == {DECIMAL}", [{"amount": 666}]),
    ("allOf", {"allOf": [N]}, f"context.args.x == {DECIMAL}", [666]),
    ("a constant", {"const": 666}, "context.args.x == 666", [666]),
    ("a tuple", {"type": "array", "prefixItems": [N]}, f"context.args.x.contains({DECIMAL})", [[666]]),
    (
        "names of a pattern",
        {"type": "object", "patternProperties": {"^a": N}},
        f"context.args.x has amount && context.args.x.amount == {DECIMAL}",
        [{"amount": 666}],
    ),
]  # fmt: skip
ACCEPTED = {"an array, contains", "a number", "a reference", "allOf", "a nullable number", "an array of objects"}
GUARDS = ("", "context.args has x && ", "context.args has x && context.args.x has amount && ")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    directory = tmp_path_factory.mktemp("policy")
    tools = directory / "tools.json"
    tools.write_text(
        json.dumps(
            [
                {
                    "name": f"t{index}",
                    "description": "x",
                    "annotations": {"readOnlyHint": True},
                    "inputSchema": {
                        "type": "object",
                        "properties": {"x": schema},
                        "required": ["x"],
                        "$defs": DEFINITIONS,
                    },
                }
                for index, (_, schema, _, _) in enumerate(ATTACKS)
            ]
        )
    )
    data_dir = directory / "data"
    data_dir.mkdir(mode=0o700)
    with RunningDaemon(data_dir) as running:
        body = {"command": sys.executable, "args": [str(SERVER), str(tools)]}
        assert running.request("POST", "/v1/mcp/servers/s", body)[0] == 200
        running.await_tools("s.t0")
        running.agent = running.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
        yield running


def set_policy(daemon, text):
    return daemon.request("PUT", "/v1/policy", {"policy_text": text})


@pytest.mark.parametrize("index", range(len(ATTACKS)), ids=[row[0] for row in ATTACKS])
def test_a_forbid_on_arguments_that_the_check_accepts_is_never_passed_by(daemon, index):
    name, _, condition, values = ATTACKS[index]
    tool = f"s.t{index}"
    for guard in GUARDS:
        scope = f'(principal, action == Action::"Call", resource == Tool::"{tool}")'
        status, answer = set_policy(daemon, f'{ALLOW_ALL}@id("f") forbid {scope} when {{ {guard}{condition} }};')
        if status == 200:
            break
    if status != 200:
        assert name not in ACCEPTED
        assert answer["message"].startswith("line 2, column ")
        return
    for value in values:
        assert daemon.call(tool, {"x": value}, token=daemon.agent)["status"] == "denied"


def test_the_same_calls_run_where_nothing_forbids_them(daemon):
    assert set_policy(daemon, ALLOW_ALL)[0] == 200
    for index, (_, _, _, values) in enumerate(ATTACKS):
        for value in values:
            assert daemon.call(f"s.t{index}", {"x": value}, token=daemon.agent)["status"] == "ok"


def test_the_time_is_read_however_a_policy_spells_it(daemon):
    later = '@id("f") forbid (principal, action, resource) when { context["t\\u{69}me"] > datetime("2020-01-01") };'
    assert set_policy(daemon, ALLOW_ALL + later)[0] == 200
    answer = daemon.call("echo", {"text": "x"}, token=daemon.agent)
    assert (answer["status"], answer["reason"]) == ("denied", "policy_denied")


def test_a_backtest_goes_on_after_a_server_was_added(daemon, tmp_path):
    assert set_policy(daemon, ALLOW_ALL)[0] == 200
    daemon.call("echo", {"text": "x"}, token=daemon.agent)
    candidate = tmp_path / "candidate.cedar"
    candidate.write_text(
        f'{ALLOW_ALL}forbid (principal, action, resource == Tool::"echo") when {{ context.args.text == "x" }};'
    )
    command = [sys.executable, "-m", "briefcase", "policy", "backtest", str(candidate), "--json"]
    ran = subprocess.run(command, env=daemon.env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert any(flip["flip"]["tool_id"] == "echo" and flip["flip"]["after"] == "deny" for flip in report["flips"])
    assert any("server" in cause for cause in report["left_out"])
