"""`tighten`, `freeze` and `thaw` against a real daemon: what a call gets, and which receipts are left."""

import pytest
from daemons import RunningDaemon
from diagnostics_rig import briefcase, newest

HELLO = {"text": "hello"}


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with RunningDaemon(tmp_path_factory.mktemp("controls") / "data") as daemon:
        yield daemon


@pytest.fixture
def daemon(running):
    """The daemon with nothing tightened, before and after."""
    yield running
    briefcase(running.env, "tighten", "lift", "--all")
    briefcase(running.env, "thaw")


def test_a_freeze_denies_every_call_serves_the_operator_and_is_receipted(daemon):
    frozen = briefcase(daemon.env, "freeze", "--json")
    assert frozen.code == 0
    (event,) = newest(daemon)
    assert (event["kind"], event["action"], event["by"]) == ("control_set", "freeze", "operator")
    assert event["control_id"] == frozen.json["controls"][0]["id"]

    assert daemon.call("echo", HELLO)["reason"] == "frozen"
    assert briefcase(daemon.env, "receipts", "verify").code == 0
    assert newest(daemon)[0]["kind"] == "denied"

    assert briefcase(daemon.env, "thaw").code == 0
    assert newest(daemon)[0]["kind"] == "control_lifted"
    assert daemon.call("echo", HELLO)["status"] == "ok"


def test_a_freeze_outlives_a_restart_of_the_daemon(daemon):
    briefcase(daemon.env, "freeze")
    daemon.kill()
    daemon.start()

    assert daemon.call("echo", HELLO)["reason"] == "frozen"


def test_a_freeze_for_a_while_says_until_when(daemon):
    frozen = briefcase(daemon.env, "freeze", "--for", "15m", "--json").json["controls"][0]
    assert frozen["until"] is not None
    assert briefcase(daemon.env, "tighten", "list", "--json").json["controls"] == [frozen]


@pytest.mark.parametrize(
    ("about", "waits", "passes"),
    [
        (("--tool", "echo"), "echo", "notes_list"),
        (("--category", "read"), "echo", None),
        (("--source", "builtin"), "notes_list", None),
        (("--agent", "operator"), "echo", None),
    ],
)
def test_tightening_lets_a_person_approve_exactly_what_it_is_about(daemon, about, waits, passes):
    assert briefcase(daemon.env, "tighten", "require-approval", *about, "--for", "1h").code == 0
    args = {"echo": HELLO, "notes_list": {}}

    assert daemon.call(waits, args[waits])["status"] == "approval_required"
    if passes:
        assert daemon.call(passes, args[passes])["status"] == "ok"


def test_a_disabled_tool_is_denied_until_it_is_lifted(daemon):
    control = briefcase(daemon.env, "tighten", "disable", "--tool", "echo", "--json").json["controls"][0]
    assert daemon.call("echo", HELLO)["reason"] == "disabled"

    assert briefcase(daemon.env, "tighten", "lift", control["id"][:8]).code == 0
    assert newest(daemon)[0] == newest(daemon)[0] | {
        "kind": "control_lifted",
        "action": "disable",
        "about": "tool:echo",
        "control_id": control["id"],
    }
    assert daemon.call("echo", HELLO)["status"] == "ok"


def test_lifting_all_leaves_a_freeze_in_force(daemon):
    briefcase(daemon.env, "freeze")
    briefcase(daemon.env, "tighten", "disable", "--tool", "echo")

    assert len(briefcase(daemon.env, "tighten", "lift", "--all", "--json").json["controls"]) == 1
    assert daemon.call("echo", HELLO)["reason"] == "frozen"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("tighten", "require-approval"), 2, "exactly one of"),
        (("tighten", "disable", "--tool", "a", "--source", "http"), 2, "exactly one of"),
        (("tighten", "disable", "--tool", "a", "--for", "soon"), 2, "30m"),
        (("tighten", "disable", "--tool", "a", "--until", "tomorrow"), 2, "--until"),
        (("tighten", "disable", "--tool", "a", "--until", "2001-01-01T00:00:00Z"), 2, "in the future"),
        (("tighten", "disable", "--tool", "a", "--for", "1h", "--until", "2099-01-01T00:00:00Z"), 2, "got both"),
        (("tighten", "lift"), 2, "expected an ID or --all"),
        (("tighten", "lift", "no-such"), 4, "found none"),
        (("thaw",), 4, "no control in force"),
    ],
)
def test_what_can_not_be_tightened_says_why(daemon, words, code, says):
    ran = briefcase(daemon.env, *words)
    assert (ran.code, says in ran.err) == (code, True), ran.err


def test_an_agent_can_neither_freeze_nor_lift(daemon):
    status, answer = daemon.request("POST", "/v1/agents", {"name": "scout"})
    token = answer["token"] if status == 200 else pytest.fail(str(answer))
    ran = briefcase({**daemon.env, "BRIEFCASE_AUTH_TOKEN": token}, "freeze")
    assert ran.code == 6
    assert daemon.call("echo", HELLO)["status"] == "ok"


def test_letting_an_agent_in_and_ending_its_access_leave_their_receipts_and_no_token(daemon):
    token = daemon.request("POST", "/v1/agents", {"name": "courier", "groups": ["crew"]})[1]["token"]
    (added,) = newest(daemon)
    assert (added["kind"], added["agent"], added["groups"], added["by"]) == (
        "agent_added",
        "courier",
        ["crew"],
        "operator",
    )
    assert briefcase(daemon.env, "agents", "revoke", "courier").code == 0
    (revoked,) = newest(daemon)
    assert (revoked["kind"], revoked["agent"], revoked["by"]) == ("agent_revoked", "courier", "operator")
    assert token not in str((added, revoked))
    assert daemon.request("GET", "/v1/tools", token=token)[0] == 401


def test_an_agent_that_was_not_let_in_leaves_no_receipt_of_it(daemon):
    (before,) = newest(daemon)
    assert daemon.request("POST", "/v1/agents", {"name": "no such name"})[0] == 400
    assert newest(daemon) == [before]
