"""What was decided is found again: who said what, when and why; and the agent hears why."""

import pytest

from briefcase.model.errors import CODES
from support.cli import FakeRoot
from support.cli import run as run_with
from support.daemons import RunningDaemon, UnixConnection


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with RunningDaemon(tmp_path_factory.mktemp("approvals") / "data") as daemon:
        token = daemon.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
        daemon.scout = token
        daemon.ids = [
            daemon.call("note_add", {"text": text}, token=token)["approval"]["id"] for text in ("no", "yes", "waits")
        ]
        cli(daemon, "deny", daemon.ids[0], "--reason", "wrong customer")
        approved = cli(daemon, "approve", daemon.ids[1])
        daemon.call("note_add", {"text": "yes"}, token=token, approval_token=approved.out.strip())
        yield daemon


def cli(daemon, *args, words="approvals", **environment):
    return run_with(
        FakeRoot(daemon.data_dir), words, *args, BRIEFCASE_DAEMON_UNIX_SOCKET=daemon.socket_path, **environment
    )


def test_what_has_ended_is_listed_with_who_decided_and_why(served):
    listed = {one["id"]: one for one in cli(served, "list", "--all", "--json").json["approvals"]}
    assert [listed[one]["status"] for one in served.ids] == ["rejected", "consumed", "pending"]
    table = cli(served, "list", "--status", "rejected").out
    for word in ("operator", "wrong customer", "rejected", "scout"):
        assert word in table
    assert "no approval expired" in cli(served, "list", "--status", "expired").out
    assert "the newest 1: `--limit` lists more" in cli(served, "list", "--all", "--limit", "1").err
    assert [one["id"] for one in cli(served, "list", "--json").json["approvals"]] == served.ids[2:]


def test_one_that_has_ended_is_shown_by_its_beginning_with_its_receipts(served):
    shown = cli(served, "show", served.ids[0][:8])
    assert shown.code == 0
    for said in ("rejected", "operator", "wrong customer", "approval_required", "approval_decided", '{"text":"no"}'):
        assert said in shown.out
    assert "approval_decided approved" in cli(served, "show", served.ids[1]).out
    assert cli(served, "show", "00000000").code == 4


def test_who_may_read_no_receipts_is_told_so_and_sees_the_rest(served):
    ran = cli(served, "show", served.ids[0], BRIEFCASE_AUTH_TOKEN=served.scout)
    assert (ran.code, "wrong customer" in ran.out, "cannot be read" in ran.err) == (0, True, True)
    assert "unknown" in ran.out  # whom an agent does not hear of


def test_the_agent_that_waits_hears_why_a_person_said_no(served):
    ran = cli(
        served, "call", "note_add", "--args-json", '{"text":"no"}', "--approval-token", served.ids[0],
        words="tools", BRIEFCASE_AUTH_TOKEN=served.scout,
    )  # fmt: skip
    assert (ran.code, "a person said no: wrong customer" in ran.err) == (3, True)


def test_an_expiry_is_a_figure(served):
    text = served_metrics(served)
    assert "briefcase_approvals_expired_total 0" in text
    assert 'briefcase_approvals_decided_total{decision="rejected"} 1' in text


def served_metrics(daemon):

    connection = UnixConnection(daemon.socket_path)
    connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {daemon.operator_token}"})
    text = connection.getresponse().read().decode()
    connection.close()
    return text


TWO = """
@id("two") @approvers("2") permit (principal, action == Action::"Call", resource);
@id("unsigned") permit (principal, action == Action::"CallWithoutSigner", resource);
"""


def test_one_of_two_is_told_that_another_person_must_say_yes_and_the_other_sees_whose_is_there(tmp_path):
    with RunningDaemon(tmp_path / "data") as daemon:
        assert daemon.request("PUT", "/v1/policy", {"policy_text": TWO})[0] == 200
        agent = daemon.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
        ann = cli(daemon, "add", "ann", "--role", "approver", words="operators").out.strip()
        approval_id = daemon.call("note_add", {"text": "hi"}, token=agent)["approval"]["id"]
        first = cli(daemon, "approve", approval_id, BRIEFCASE_AUTH_TOKEN=ann)
        assert (first.code, first.out) == (0, "")
        assert "your yes is 1 of 2; it waits for another person's" in first.err
        again = cli(daemon, "approve", approval_id, BRIEFCASE_AUTH_TOKEN=ann)
        assert (again.code, "`ann` said yes already" in again.err) == (CODES["conflict"].exit_code, True)
        assert "the yes of 2 people; said by ann" in cli(daemon, "show", approval_id).out
        token = cli(daemon, "approve", approval_id).out.strip()
        assert daemon.call("note_add", {"text": "hi"}, token=agent, approval_token=token)["status"] == "ok"
