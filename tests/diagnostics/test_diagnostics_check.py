"""`diagnostics check`: each part judged by itself, whatever the others do, with a daemon and without one."""

import json
import os
import signal

import pytest
from diagnostics_rig import briefcase

from briefcase.core.wire.approvals import ApprovalRecord
from briefcase.core.wire.controls import ControlRecord
from briefcase.core.wire.providers import ProviderSummary
from briefcase.core.wire.receipts import BadReceiptRecord
from briefcase.core.wire.servers import ServerSummary
from briefcase.edges.diagnostics.triage import READ, triage, worst_of
from briefcase.model.errors import BriefcaseError, CallerError, StoreError
from support.cli import FakeRoot, run
from support.daemons import RunningDaemon
from support.wire import example, reply_of

NOW_US = 1_800_000_000_000_000
GOOD_CHECK = {"ok": True, "detail": "fine", "effect": "refused", "hint": ""}
VERIFIED = {"ok": True, "checked": 3, "head": {"id": 3, "hash_hex": "ab" * 32}, "not_checked": []}
MODE = {"mode": "ga", "compatibility_profile": "aacp_v1"}
GOOD = {
    "/health": {"status": "ok", "ts": "2026-11-26T20:00:00Z"},
    "/ready": {"status": "ready"},
    "/v1/profile": {**MODE, "strict_enforcement": True, "strict_host": True},
    "/v1/diagnostics/compat": {
        **MODE,
        "checks": [
            {**GOOD_CHECK, "name": name} for name in ("receipts", "policy", "clock", "disk", "memory", "native_modules")
        ],
    },
    "/v1/diagnostics/security": {**MODE, "checks": [{**GOOD_CHECK, "name": "files"}]},
    "/v1/receipts/verify": VERIFIED,
    "/v1/controls": {"controls": []},
    "/v1/approvals": {"approvals": []},
    "/v1/providers": {"providers": []},
    "/v1/diagnostics/providers": {"providers": [], "token_waits": 0},
    "/v1/mcp/servers": {"servers": []},
    "/v1/control-plane": {"status": "not_enrolled"},
    "/v1/witnesses": {"witnesses": [], "log_vkey": "did:key:z6Mk+00000000+AQ==", "quorum": "every witness"},
}
SERVER = example(ServerSummary, id="files", state="ready", held=0, needs_login=False)
HELD = example(ProviderSummary, id="demo", vc_expires_at_rfc3339=None, has_vc=False, needs_login=False)
BEHAVED = {
    "id": "demo", "is_enabled": True, "calls": 12, "failures": 0, "refusals": 0, "replays": 0, "served_stale": 0,
    "last_ok_at": "2026-11-26T20:00:00Z", "last_problem": "", "last_problem_at": None, "verdict": None,
}  # fmt: skip
ENROLLED = {"status": "enrolled", "base_url": "https://fleet.example"}
VERDICT = {
    "ok": True, "passed": 27, "failed": 0, "skipped": 0, "finished_at": "2026-11-26T20:00:00Z", "failing": [],
}  # fmt: skip


def witnesses(**changes):
    one = {
        "name": "w", "key_id": "00000000", "algorithm": "ed25519", "url": "https://w", "vkey": "w+00000000+BA==",
        "added_at": "2026-11-26T20:00:00Z", "state": "ok", "size": 12,
    }  # fmt: skip
    return {"/v1/witnesses": GOOD["/v1/witnesses"] | {"witnesses": [one | changes]}}


def providers(held=None, **behaved):
    """The two answers about one provider."""
    return {
        "/v1/providers": {"providers": [HELD | (held or {})]},
        "/v1/diagnostics/providers": {"providers": [BEHAVED | behaved], "token_waits": 0},
    }


class Answers:
    """A daemon that answers what it was told to, or raises it."""

    def __init__(self, **changes) -> None:
        self.answers = GOOD | changes

    def get(self, path, kind, **_):
        answer = self.answers[path]
        if isinstance(answer, Exception):
            raise answer
        return reply_of(kind, answer, path)

    def post(self, path, kind, body=None):
        return self.get(path, kind)


def judged(**changes):
    return {part.name: part for part in triage(Answers(**changes), Answers(**changes), NOW_US)}


def bad_check(path, name, **fields):
    checks = [
        {**check, "ok": False, "detail": "broken", **fields} if check["name"] == name else check
        for check in GOOD[path]["checks"]
    ]
    return {path: {**MODE, "checks": checks}}


def test_a_good_daemon_is_green_in_every_part():
    parts = judged()
    assert set(parts) == set(READ)
    assert {part.colour for part in parts.values()} == {"green"}


@pytest.mark.parametrize(
    ("changes", "name", "colour", "says"),
    [
        ({"/ready": StoreError("calls cannot be served: receipts", code="not_ready")}, "daemon", "red", "receipts"),
        (bad_check("/v1/diagnostics/compat", "native_modules"), "compat", "red", "broken"),
        (bad_check("/v1/diagnostics/compat", "native_modules", effect="noted"), "compat", "yellow", "broken"),
        (bad_check("/v1/diagnostics/compat", "policy"), "policy", "red", "broken"),
        (bad_check("/v1/diagnostics/compat", "receipts"), "receipts", "red", "broken"),
        (bad_check("/v1/diagnostics/compat", "disk"), "disk", "red", "broken"),
        (bad_check("/v1/diagnostics/compat", "clock"), "clock", "red", "broken"),
        (bad_check("/v1/diagnostics/security", "files"), "security", "red", "broken"),
        (
            {"/v1/receipts/verify": {**VERIFIED, "ok": False, "first_bad": example(BadReceiptRecord, id=2)}},
            "receipts",
            "red",
            "receipt 2",
        ),
        (
            {"/v1/controls": {"controls": [example(ControlRecord, action="freeze")]}},
            "controls",
            "yellow",
            "freeze",
        ),
        (
            {"/v1/approvals": {"approvals": [example(ApprovalRecord, created_at="2027-01-15T07:58:20Z")]}},
            "approvals",
            "yellow",
            "for 100 s",
        ),
        (
            providers(held={"vc_expires_at_rfc3339": "2026-01-01T00:00:00Z", "has_vc": True}),
            "providers",
            "yellow",
            "expired of demo",
        ),
        (providers(held={"needs_login": True}), "providers", "yellow", "nobody is logged in to demo"),
        (
            providers(verdict=VERDICT | {"ok": False, "failed": 2, "failing": ["pop.missing_proof", "replay.token"]}),
            "providers",
            "yellow",
            "demo fails the contract harness (pop.missing_proof, replay.token, 2026-11-26T20:00:00Z)",
        ),
        (
            providers(verdict=VERDICT | {"ok": False, "passed": 0, "failing": []}),
            "providers",
            "yellow",
            "nothing passed",
        ),
        (
            providers(last_problem="replay_detected", last_problem_at="2026-11-26T20:00:01Z"),
            "providers",
            "yellow",
            "the last call of demo failed: replay_detected (a clock is wrong",
        ),
        (
            providers(
                last_problem="the call was answered with 401 (`invalid_dpop_proof`)",
                last_ok_at=None,
                last_problem_at="2026-11-26T20:00:01Z",
            ),
            "providers",
            "yellow",
            "sees another address than we call",
        ),
        (providers(replays=1_200), "providers", "yellow", "1,200 calls of demo ended in `replay_detected` (a clock"),
        (
            {"/v1/mcp/servers": {"servers": [{**SERVER, "state": "refused"}]}},
            "mcp_servers",
            "yellow",
            "files is refused",
        ),
        ({"/v1/mcp/servers": {"servers": [{**SERVER, "held": 2}]}}, "mcp_servers", "yellow", "2 changed"),
        (
            {"/v1/mcp/servers": {"servers": [{**SERVER, "state": "waiting", "needs_login": True}]}},
            "mcp_servers",
            "yellow",
            "files wants a log-in",
        ),
        (
            {"/v1/control-plane": ENROLLED | {"last_error": "signature"}},
            "control_plane",
            "yellow",
            "signature",
        ),
        (
            {"/v1/control-plane": ENROLLED | {"last_error": "not_fresh: old", "state": "stale"}},
            "control_plane",
            "yellow",
            "not known to be the present one",
        ),
        (
            {"/v1/control-plane": ENROLLED | {"last_error": "unknown_device", "state": "revoked"}},
            "control_plane",
            "red",
            "knows this device no more",
        ),
        (witnesses(state="new", size=0), "witnesses", "yellow", "w cosigned nothing yet"),
        (witnesses(state="failing", problem="answered with 503"), "witnesses", "yellow", "w answered with 503"),
        (witnesses(state="alarm", problem="cosigned 9 receipts"), "witnesses", "red", "w cosigned 9 receipts"),
    ],
)
def test_a_part_that_is_not_as_it_should_be_is_told_and_takes_no_other_with_it(changes, name, colour, says):
    parts = judged(**changes)
    assert (parts[name].colour, says in parts[name].detail) == (colour, True), parts[name]
    assert {part.name for part in parts.values() if part.colour != "green"} == {name}


@pytest.mark.parametrize("path", [path for path in GOOD if path not in {"/health", "/ready"}])
@pytest.mark.parametrize("answer", [{}, {"checks": None}, {"status": "enrolled"}, CallerError("no", code="forbidden")])
def test_a_half_broken_daemon_is_judged_in_every_part(path, answer):
    parts = judged(**{path: answer})
    assert set(parts) == set(READ)
    assert "red" in {part.colour for part in parts.values()}


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        (providers(), "demo: 12 calls, 0 failed, never held to the contract"),
        (providers(verdict=VERDICT), "demo: 12 calls, 0 failed, harness passed 2026-11-26T20:00:00Z"),
        (
            providers(last_problem="down", last_problem_at="2026-11-26T19:59:59Z", failures=1),
            "demo: 12 calls, 1 failed",
        ),
        (providers(is_enabled=False, held={"is_enabled": False, "needs_login": True}), "disabled"),
        (providers(held={"has_vc": True, "needs_login": True}), "demo"),
    ],
)
def test_a_provider_that_stands_well_says_how_it_went_and_what_the_harness_last_said(changes, detail):
    part = judged(**changes)["providers"]
    assert (part.colour, detail in part.detail) == ("green", True), part


def test_witnesses_that_cosigned_say_up_to_where():
    assert judged(**witnesses())["witnesses"].detail == "1 cosigned, up to receipt 12"


def test_a_daemon_without_a_control_plane_has_no_row_for_it():
    parts = judged(**{"/v1/control-plane": CallerError("nothing", code="not_found")})
    assert set(parts) == set(READ) - {"control_plane"}


@pytest.mark.parametrize("path", ["/v1/providers", "/v1/mcp/servers", "/v1/controls"])
def test_a_part_this_daemon_does_not_have_is_green(path):
    assert {part.colour for part in judged(**{path: CallerError("nothing", code="not_found")}).values()} == {"green"}


@pytest.mark.parametrize("path", ["/v1/profile", "/v1/diagnostics/security", "/v1/receipts/verify"])
def test_a_part_every_daemon_has_is_red_where_it_is_not_found(path):
    assert "red" in {part.colour for part in judged(**{path: CallerError("nothing", code="not_found")}).values()}


def test_no_daemon_is_one_red_part():
    gone = Answers(**{"/health": BriefcaseError("no daemon", code="daemon_unreachable")})
    (part,) = triage(gone, gone, NOW_US)
    assert (part.name, part.colour) == ("daemon", "red")
    assert worst_of((part,)) == "red"


@pytest.fixture
def daemon(tmp_path):
    with RunningDaemon(tmp_path / "data") as running:
        running.call("echo", {"text": "x"})
        yield running


def colours(ran):
    return {part["name"]: part["colour"] for part in ran.json["parts"]}


def test_a_daemon_that_hangs_is_red_within_seconds_and_takes_nothing_else_with_it(daemon, monkeypatch):
    monkeypatch.setattr("briefcase.edges.cli.diagnostics.PROBE_TIMEOUT_S", 0.2)  # it never answers, however long
    os.kill(daemon.process.pid, signal.SIGSTOP)
    try:
        ran = run(FakeRoot(daemon.data_dir), "diagnostics", "check", "--json", **daemon.env)
    finally:
        os.kill(daemon.process.pid, signal.SIGCONT)
    assert ran.code == 5
    parts = {part["name"]: part for part in ran.json["parts"]}
    assert "does not answer" in parts["daemon"]["detail"]
    assert {name for name, part in parts.items() if part["colour"] == "red"} == {"daemon"}
    assert parts["receipts"]["colour"] == "yellow"
    assert parts["disk"]["colour"] == "green"


def test_a_running_daemon_is_green_and_no_secret_is_shown(daemon):
    daemon.request("PUT", "/v1/secrets/crm", {"value": "canary-9f8e7d6c5b4a"})
    ran = briefcase(daemon.env, "diagnostics", "check", "--json")
    assert ran.code == 0, ran.out + ran.err
    not_green = {part["name"]: part["detail"] for part in ran.json["parts"] if part["colour"] != "green"}
    if os.geteuid() == 0:  # which is a finding by itself
        assert "trusts root" in not_green.pop("security")
    assert not_green == {}, ran.out

    shown = briefcase(daemon.env, "diagnostics", "check")
    for secret in (daemon.operator_token, "canary-9f8e7d6c5b4a"):
        assert secret not in ran.out + ran.err + shown.out + shown.err
    assert "green" in shown.out


def test_a_token_file_opened_up_while_it_runs_is_red(daemon):
    (daemon.data_dir / "auditor_token").chmod(0o644)
    ran = briefcase(daemon.env, "diagnostics", "check", "--json")
    assert (ran.code, colours(ran)["security"]) == (7, "red")
    assert "read briefcase help operations#strict-host" in briefcase(daemon.env, "diagnostics", "check").out


def test_without_its_daemon_the_directory_is_checked_from_its_files(daemon):
    daemon.stop()
    ran = briefcase(daemon.env, "diagnostics", "check", "--json")
    assert ran.code == 5
    assert colours(ran) == dict.fromkeys(READ, "yellow") | {
        "daemon": "red",
        "security": "green",
        "receipts": "green",
        "disk": "green",
    }


def test_a_damaged_ledger_without_its_daemon_is_red(daemon):
    daemon.stop()
    data = daemon.data_dir / "ledger" / "data.mdb"
    data.write_bytes(data.read_bytes()[:8192])
    ran = briefcase(daemon.env, "diagnostics", "check", "--json")
    assert (ran.code, colours(ran)["receipts"]) == (5, "red")


def test_without_a_data_directory_every_part_is_still_told(tmp_path, daemon):
    env = {
        **daemon.env,
        "BRIEFCASE_DATA_DIR": str(tmp_path / "none"),
        "BRIEFCASE_DAEMON_UNIX_SOCKET": str(tmp_path / "s"),
    }
    ran = briefcase(env, "diagnostics", "check", "--json")
    assert ran.code == 5
    assert set(colours(ran)) == set(READ)
    assert json.loads(ran.out)["status"] == "red"
