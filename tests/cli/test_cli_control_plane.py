"""`briefcase control-plane` from the command line."""

import pytest

AT = "/v1/control-plane"
TOKEN = "admin-token-of-the-tests-0123456789"
ENROLLED = {
    "status": "enrolled",
    "base_url": "https://fleet.example",
    "device_id": "6f1f4c4e-8d1c-4a55-9c0b-2f2f4f1a7a10",
    "device_name": "laptop-1",
    "policy_signing_pubkey_b64": "k" * 43,
    "last_policy_bundle_id": 7,
    "last_receipt_upload_id": 1_234,
    "last_sync_at_rfc3339": "2026-01-02T00:00:00.000000Z",
    "last_error": None,
    "updated_at_rfc3339": "2026-01-02T00:00:00.000000Z",
    "state": "synced",
    "mandatory": None,
}


def test_the_status_shows_who_manages_this_daemon_and_how_far_it_is(run, daemon):
    daemon.answers["GET", AT] = ENROLLED
    ran = run("control-plane", "status")
    assert ran.code == 0
    for told in ("https://fleet.example", "laptop-1", "synced", "7", "1234", "none"):
        assert told in ran.out
    assert run("control-plane", "status", "--json").json == ENROLLED


def test_a_status_of_another_control_planes_daemon_is_shown_too(run, daemon):
    """Only what the contract promises: an older daemon says no more."""
    promised = {name: ENROLLED[name] for name in list(ENROLLED)[:10] if name != "device_name"}
    daemon.answers["GET", AT] = {**promised, "last_error": "signature", "last_sync_at_rfc3339": None}
    ran = run("control-plane", "status")
    assert (ran.code, "signature" in ran.out, "never" in ran.out) == (0, True, True)


def test_a_daemon_that_is_not_enrolled_and_what_was_left_on_it(run, daemon):
    daemon.answers["GET", AT] = {"status": "not_enrolled", "mandatory": {"id": 3, "policy_text": "forbid"}}
    ran = run("control-plane", "status")
    assert "not enrolled" in ran.out
    assert "mandatory part 3 is in force" in ran.out


def test_an_admin_token_comes_from_standard_input_or_the_environment_and_is_never_shown(run, daemon):
    daemon.answers["POST", f"{AT}/enroll"] = ENROLLED
    piped = run("control-plane", "enroll", "https://fleet.example", "laptop-1", stdin=f"{TOKEN}\n".encode())
    variable = {"BRIEFCASE_CONTROL_PLANE_ADMIN_TOKEN": TOKEN}
    told = run("control-plane", "enroll", "https://fleet.example", "laptop-1", **variable)
    wanted = {"base_url": "https://fleet.example", "admin_token": TOKEN, "device_name": "laptop-1"}
    run("control-plane", "enroll", "https://fleet.example", "laptop-1", "--as-new-device", **variable)
    assert daemon.bodies("POST", f"{AT}/enroll") == [wanted, wanted, wanted | {"as_new_device": True}]
    assert (piped.code, told.code) == (0, 0)
    assert TOKEN not in piped.out + piped.err + told.out + told.err


def test_no_admin_token_at_all_is_a_mistake_and_one_on_the_command_line_is_refused(run, daemon):
    assert run("control-plane", "enroll", "https://fleet.example", "laptop-1", stdin=b"").code == 2
    assert run("control-plane", "enroll", "https://fleet.example", "laptop-1", TOKEN).code == 2
    assert daemon.seen == []


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"status": "not_enrolled"}, "not enrolled"),
        (
            {"status": "synced", "policy_applied": True, "receipts_uploaded": 1},
            "policy was applied, 1 receipt up",
        ),
        ({"status": "synced", "policy_applied": False, "receipts_uploaded": 12_345}, "present one, 12,345 receipts up"),
    ],
)
def test_a_sync_says_what_it_came_to(run, daemon, answer, told):
    daemon.answers["POST", f"{AT}/sync"] = answer
    assert told in run("control-plane", "sync").out
    assert run("control-plane", "sync", "--json").json == answer


def test_a_sync_that_failed_says_why_with_the_exit_code_of_an_upstream(run, daemon):
    error = {"code": "upstream_failed", "message": "the sync failed: invalid_signature: the bundle is not signed"}
    daemon.answers["POST", f"{AT}/sync"] = (502, error)
    ran = run("control-plane", "sync")
    assert (ran.code, "invalid_signature" in ran.err) == (8, True)


def test_leaving_says_what_stays_and_the_mandatory_part_is_removed_by_name(run, daemon):
    daemon.answers["POST", f"{AT}/leave"] = {"status": "not_enrolled", "mandatory_stays": True}
    ran = run("control-plane", "leave")
    assert ran.code == 0
    assert "remove-mandatory" in ran.err
    daemon.answers["POST", f"{AT}/leave"] = {"status": "not_enrolled", "mandatory_stays": False}
    assert "remove-mandatory" not in run("control-plane", "leave").err
    assert run("control-plane", "leave", "--json").json["status"] == "not_enrolled"
    daemon.answers["POST", f"{AT}/mandatory/delete"] = {"mandatory_id": 3}
    assert "removed mandatory part 3" in run("control-plane", "remove-mandatory").out
    assert run("control-plane", "remove-mandatory", "--json").json == {"mandatory_id": 3}
