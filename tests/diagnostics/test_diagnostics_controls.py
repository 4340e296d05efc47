"""`tighten`, `freeze` and `thaw` against a real daemon: what a call gets, and which receipts are left."""

import pytest
from diagnostics_rig import briefcase, newest

from support.daemons import RunningDaemon

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
    assert frozen.pop("is_known")
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
        (("tighten", "disable", "--tool", "a", "--until", "9999-12-31T23:59:59-23:59"), 2, "years 1 to 9999"),
        (("tighten", "disable", "--tool", "a", "--for", "1h", "--until", "2099-01-01T00:00:00Z"), 2, "got both"),
        (("tighten", "lift"), 2, "expected an ID or --all"),
        (("tighten", "lift", "no-such"), 4, "found none"),
        (("thaw",), 4, "no control in force"),
    ],
)
def test_what_can_not_be_tightened_says_why(daemon, words, code, says):
    ran = briefcase(daemon.env, *words)
    assert (ran.code, says in ran.err) == (code, True), ran.err


def test_an_empty_id_lifts_nothing(daemon):
    briefcase(daemon.env, "freeze")

    assert briefcase(daemon.env, "tighten", "lift", "").code == 2
    assert daemon.call("echo", HELLO)["reason"] == "frozen"


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


def test_what_is_tightened_and_until_when_is_in_the_receipt_and_in_the_list_of_receipts(daemon):
    briefcase(daemon.env, "tighten", "disable", "--tool", "echo", "--until", "2999-01-01T00:00:00Z")
    assert (newest(daemon)[0]["about"], newest(daemon)[0]["until"]) == ("tool:echo", "2999-01-01T00:00:00.000000Z")
    briefcase(daemon.env, "freeze")
    assert "until" not in newest(daemon)[0]
    listed = briefcase(daemon.env, "receipts", "list", "--limit", "2").out
    assert "disable tool:echo" in listed
    assert "freeze all\n" in "\n".join(line.rstrip() for line in listed.splitlines()) + "\n"


@pytest.mark.parametrize(
    ("about", "says"),
    [
        (("--tool", "ecko"), "no tool `ecko` is known now"),
        (("--category", "wirte"), "no category `wirte` is known now"),
        (("--source", "mcp:files"), "no source `mcp:files` is known now"),
        (("--agent", "scuot"), "no agent `scuot` is known now"),
        (("--tool", "echo"), ""),
        (("--category", "read"), ""),
        (("--source", "builtin"), ""),
        (("--agent", "operator"), ""),
    ],
)
def test_a_name_that_nothing_has_now_is_held_and_pointed_out(daemon, about, says):
    tightened = briefcase(daemon.env, "tighten", "require-approval", *about)
    assert tightened.code == 0
    assert says in tightened.err
    assert bool(says) == bool(tightened.err)


def test_a_revoked_agent_is_pointed_out_too(daemon):
    briefcase(daemon.env, "agents", "add", "courier")
    assert not briefcase(daemon.env, "tighten", "require-approval", "--agent", "courier").err
    briefcase(daemon.env, "agents", "revoke", "courier")
    assert "no agent `courier`" in briefcase(daemon.env, "tighten", "require-approval", "--agent", "courier").err


def test_what_was_done_is_said_so_that_a_lift_does_not_read_like_a_freeze(daemon):
    assert "every call is denied" in briefcase(daemon.env, "freeze").err
    assert "thawed" in briefcase(daemon.env, "thaw").err
    briefcase(daemon.env, "tighten", "disable", "--tool", "echo")
    assert "lifted" in briefcase(daemon.env, "tighten", "lift", "--all").err
    nothing = briefcase(daemon.env, "tighten", "lift", "--all")
    assert (nothing.code, "nothing to lift" in nothing.out + nothing.err) == (0, True)
