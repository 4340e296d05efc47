"""A policy is checked against what there is, tried by whole directories of tests, and what it was is not lost."""

import json

import pytest

from support.cli import FakeRoot
from support.cli import run as run_with
from support.daemons import RunningDaemon

DENY = 'forbid (principal, action, resource == Tool::"echo");\npermit (principal, action, resource);\n'


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with RunningDaemon(tmp_path_factory.mktemp("policy") / "data") as daemon:
        daemon.request("POST", "/v1/agents", {"name": "scout", "groups": ["research"]})
        yield daemon


def cli(daemon, *args, stdin=b""):
    environment = {"BRIEFCASE_DAEMON_UNIX_SOCKET": daemon.socket_path}
    return run_with(FakeRoot(daemon.data_dir), "policy", *args, stdin=stdin, **environment)


def test_a_check_warns_of_what_nothing_has_and_still_passes(served):
    policy = (
        b'@id("a") permit (principal in Group::"resarch", action, resource == Tool::"ecko");\n'
        b'permit (principal == Agent::"scout", action, resource in Server::"weather");\n'
        b'permit (principal in Group::"research", action, resource in Provider::"bank");\n'
    )
    ran = cli(served, "check", "-", stdin=policy)
    assert ran.code == 0
    assert [line.split("names `")[1].split("`")[0] for line in ran.err.splitlines() if line.startswith("warning:")] == [
        'Group::"resarch"', 'Tool::"ecko"', 'Server::"weather"', 'Provider::"bank"'
    ]  # fmt: skip
    assert "did you mean `echo`?" in ran.err
    as_json = cli(served, "check", "-", "--json", stdin=policy).json
    assert [one["policy_id"] for one in as_json["warnings"]] == ["a", "a", "policy1", "policy2"]
    assert cli(served, "check", "-", "--json", stdin=b"permit (principal, action, resource);").json["warnings"] == []


def test_an_empty_policy_is_warned_of_without_a_daemon_too(tmp_path):
    ran = run_with(FakeRoot(tmp_path / "none"), "policy", "check", "-")
    assert (ran.code, "warning: the policy is empty: every call is denied" in ran.err) == (0, True)


def test_a_daemon_that_does_not_tell_its_agents_is_asked_in_vain(run, daemon):
    daemon.answers["GET", "/v1/tools"] = {"tools": []}
    policy = b'permit (principal in Group::"g", action, resource in Server::"s");'
    ran = run("policy", "check", "-", "--json", stdin=policy)
    assert (ran.code, ran.json["warnings"]) == (0, [])
    daemon.answers["GET", "/v1/agents"] = (503, {"code": "not_ready", "message": "no"})
    assert run("policy", "check", "-", stdin=policy).code != 0


def test_what_was_set_is_listed_shown_and_set_again(served):
    default = cli(served, "show").out
    first = cli(served, "set", "-", stdin=DENY.encode())
    assert first.code == 0
    digest = cli(served, "show", "--json").json["policy_hash_hex"]
    kept = cli(served, "history", "--json").json["policies"]
    assert [(one["by"], one["is_active"], one["policies"]) for one in kept] == [
        ("operator", True, 2), ("first start", False, 5)
    ]  # fmt: skip
    assert cli(served, "show", kept[1]["policy_hash_hex"][:10].upper()).out == default
    assert digest in cli(served, "history").out

    back = cli(served, "rollback")
    assert (back.code, kept[1]["policy_hash_hex"] in back.out) == (0, True)
    assert cli(served, "show").out == default
    assert served.call("echo", {"text": "x"})["status"] == "ok"
    assert cli(served, "rollback", digest[:8], "--json").json["policy_text"] == DENY
    assert served.call("echo", {"text": "x"})["status"] == "denied"
    newest = served.request("GET", "/v1/receipts?kind=policy_set&limit=1")[1]["receipts"][0]["event"]
    assert (newest["by"], newest["policy_digest"]) == ("operator", digest)
    served.stop()
    served.start()
    assert [one["is_active"] for one in cli(served, "history", "--json").json["policies"]] == [
        True,
        False,
        False,
        False,
    ]


def test_a_digest_that_is_short_unknown_or_none_is_refused(served):
    assert cli(served, "show", "abc").code == 2
    assert cli(served, "show", "0" * 64).code == 4
    assert cli(served, "rollback", "00000000").code == 4
    assert served.request("GET", f"/v1/policy/history/{'0' * 64}")[0] == 404
    assert served.request("POST", "/v1/policy/rollback", {"policy_hash_hex": "x"})[0] == 400


def test_with_nothing_before_it_there_is_nothing_to_roll_back_to(run, daemon):
    only = {"policy_hash_hex": "a" * 64, "set_at": "2026-01-01T00:00:00Z", "by": "", "policies": 0, "is_active": True}
    for kept in ([], [only], [only, only]):
        daemon.answers["GET", "/v1/policy/history"] = {"policies": kept}
        assert run("policy", "rollback").code == 4
    assert "unknown" in run("policy", "history").out


def test_the_schema_is_printed_and_with_a_tools_arguments(served):
    assert "type Arguments = {};" in cli(served, "schema").out
    assert 'type Arguments = {"text": String};' in cli(served, "schema", "--tool", "echo", "--json").json["schema"]
    assert cli(served, "schema", "--tool", "ecko").code == 4


def test_a_schema_of_a_tool_needs_a_daemon(tmp_path):
    assert run_with(FakeRoot(tmp_path), "policy", "schema").code == 0
    assert run_with(FakeRoot(tmp_path), "policy", "schema", "--tool", "echo").code == 5


# --- tests of a directory ---------------------------------------------------------------------------------------------


def tree(top, decision="allow"):
    """Tests as Cedar's repository has them: every file is named from the top."""
    (top / "tests" / "deep").mkdir(parents=True)
    (top / "policies.cedar").write_text('permit (principal, action, resource == Tool::"echo");')
    (top / "entities.json").write_text("[]")
    request = {
        "principal": {"type": "Agent", "id": "scout"}, "action": {"type": "Action", "id": "Call"},
        "resource": {"type": "Tool", "id": "echo"}, "decision": decision,
    }  # fmt: skip
    test = {"policies": "policies.cedar", "entities": "entities.json", "requests": [request]}
    for name in ("tests/a.json", "tests/deep/b.json"):
        (top / name).write_text(json.dumps(test))


def test_a_directory_is_searched_for_test_files_that_name_others_from_above(tmp_path, run):
    tree(tmp_path / "good")
    ran = run("policy", "test", str(tmp_path / "good"))
    assert (ran.code, ran.out) == (0, "2 files, 2 requests: none failed\n")
    tree(tmp_path / "bad", "deny")
    ran = run("policy", "test", str(tmp_path))
    assert ran.code == 3
    assert ran.out.splitlines()[-1] == "4 files, 4 requests: 2 failed"
    assert ran.out.count("expected deny, got allow") == 2
    one = str(tmp_path / "good" / "tests" / "deep" / "b.json")
    assert run("policy", "test", one).out == f"ok {one}: 1 requests\n"


def test_what_is_damaged_in_a_directory_fails_and_the_others_run(tmp_path, run):
    tree(tmp_path)
    (tmp_path / "c.json").write_text("{")
    (tmp_path / "d.json").write_text('{"policies": "gone.cedar", "requests": []}')
    ran = run("policy", "test", str(tmp_path), "--json")
    assert ran.code == 3
    wrong = {name.rpartition("/")[2]: result["problems"] for name, result in ran.json["files"].items()}
    assert sorted(name for name, problems in wrong.items() if not problems) == ["a.json", "b.json"]
    assert "cannot be read" in wrong["c.json"][0]
    assert "gone.cedar" in wrong["d.json"][0]


def test_a_directory_without_tests_is_no_passed_test(tmp_path, run):
    (tmp_path / "entities.json").write_text("[]")
    assert run("policy", "test", str(tmp_path)).code == 4
