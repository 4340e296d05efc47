"""A yes that grants, at the terminal: shown first, listed, ended; and the daemon that asks again then."""

import pytest

from support.cli import FakeRoot
from support.cli import run as run_with
from support.daemons import RunningDaemon


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with RunningDaemon(tmp_path_factory.mktemp("grants") / "data") as running:
        running.scout = running.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
        yield running


def cli(daemon, *args, words="approvals"):
    return run_with(FakeRoot(daemon.data_dir), words, *args, BRIEFCASE_DAEMON_UNIX_SOCKET=daemon.socket_path)


def add(daemon, text, **changes):
    return daemon.call("note_add", {"text": text}, token=daemon.scout, **changes)


def test_a_grant_is_shown_before_it_is_given_and_ends_when_it_is_revoked(daemon):
    approval_id = add(daemon, "buy milk")["approval"]["id"]
    wanted = ("--grant-fixed", "/text", "--max-uses", "3", "--until", "2999-01-01T00:00:00Z")
    assert "within 90 days" in cli(daemon, "approve", approval_id, *wanted).err
    wanted = wanted[:4]
    shown = cli(daemon, "approve", approval_id, *wanted)
    assert (shown.code, add(daemon, "buy milk")["status"]) == (3, "approval_required")
    for said in ("the yes lets more pass than this call", "at most 3 times", 'context.value["/text"]', "permit ("):
        assert said in " ".join(shown.err.split())
    digest = shown.err.split("the digest of what is shown above is ")[1].split(";")[0]
    assert "not as it was shown" in cli(daemon, "approve", approval_id, *wanted, "--grant-digest", "0" * 64).err

    given = cli(daemon, "approve", approval_id, *wanted, "--grant-digest", digest)
    assert (given.code, f"briefcase grants revoke {approval_id}" in given.err) == (0, True)
    assert add(daemon, "buy milk")["status"] == "ok"
    assert add(daemon, "buy beer")["status"] == "approval_required"

    (listed,) = cli(daemon, "list", "--json", words="grants").json["grants"]
    assert (listed["id"], listed["status"], listed["uses"]) == (approval_id, "active", 1)
    assert "1 of 3" in cli(daemon, "list", words="grants").out
    (receipt,) = daemon.request("GET", "/v1/receipts?kind=intent&limit=1")[1]["receipts"]
    assert receipt["event"]["grant_id"] == approval_id

    assert cli(daemon, "revoke", approval_id[:8], words="grants").code == 0
    assert add(daemon, "buy milk")["status"] == "approval_required"
    assert "nothing passes without being asked" in cli(daemon, "list", words="grants").out
    assert "revoked" in cli(daemon, "list", "--all", words="grants").out
    assert cli(daemon, "revoke", approval_id[:8], words="grants").code == 4
    assert cli(daemon, "revoke", "", words="grants").code == 4
    assert cli(daemon, "verify", "--state", words="receipts").code == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--max-uses", "3"), "expected --grant-exact or --grant-fixed"),
        (("--grant-exact", "--grant-fixed", "/text"), "got both"),
        (("--grant-exact",), "a grant ends"),
        (("--grant-exact", "--for", "soon"), "expected a span"),
        (("--grant-exact", "--for", "1h", "--until", "2026-12-24T18:00:00Z"), "got both"),
        (("--grant-exact", "--max-usd", "-1", "--for", "1h"), "expected dollars"),
        (("--grant-fixed", "text", "--for", "1h"), "args.fixed"),
        (("--grant-fixed", "/nowhere", "--for", "1h"), "nothing at"),
    ],
)
def test_options_that_do_not_make_a_grant_approve_nothing(daemon, options, says):
    approval_id = add(daemon, "unchanged")["approval"]["id"]
    ran = cli(daemon, "approve", approval_id, *options)
    assert (ran.code != 0, says in ran.err) == (True, True), ran.err
    assert add(daemon, "unchanged")["approval"]["status"] == "pending"
