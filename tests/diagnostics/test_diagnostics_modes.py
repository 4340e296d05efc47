"""Modes and strict host on a real daemon: what it refuses to start with, and what it answers of itself."""

import os
import subprocess
import sys

import pytest
from diagnostics_rig import briefcase

from briefcase.edges.diagnostics.profile import RULES
from support.daemons import RunningDaemon


def start(tmp_path, **environment):
    """Run a daemon that is expected to refuse; gives its exit code and what it said."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BRIEFCASE_")}
    env = {**inherited, "BRIEFCASE_DATA_DIR": str(tmp_path / "data"), "BRIEFCASE_SECRET_BACKEND": "file", **environment}
    done = subprocess.run(
        [sys.executable, "-m", "briefcase", "daemon"], env=env, capture_output=True, text=True, check=False, timeout=120
    )
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def ga(tmp_path_factory):
    with RunningDaemon(tmp_path_factory.mktemp("ga") / "data", BRIEFCASE_PROFILE_MODE="ga") as daemon:
        yield daemon


@pytest.mark.parametrize("kind", ["security", "compat"])
def test_a_daemon_in_ga_holds_every_rule_it_shows(ga, kind):
    status, answer = ga.request("GET", f"/v1/diagnostics/{kind}")
    assert status == 200
    assert (answer["mode"], answer["compatibility_profile"]) == ("ga", "aacp_v1")
    broken = {check["name"]: check["detail"] for check in answer["checks"] if not check["ok"]}
    if kind == "security":  # this build pairs no device
        assert "the operator stands in" in broken.pop("signers")
        if os.geteuid() == 0:  # a child of root is root
            assert "trusts root" in broken.pop("children")
    assert broken == {}


def test_the_profile_lists_what_the_mode_enforces(ga):
    answer = ga.request("GET", "/v1/profile")[1]
    assert (answer["mode"], answer["strict_enforcement"], answer["strict_host"]) == ("ga", True, False)
    assert {rule["name"]: rule["effect"] for rule in answer["rules"]} == {n: r.ga for n, r in RULES.items()}


def test_an_auditor_reads_diagnostics_and_an_agent_does_not(ga):
    auditor = (ga.data_dir / "auditor_token").read_text().strip()
    agent = ga.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
    for kind in ("security", "compat"):
        assert ga.request("GET", f"/v1/diagnostics/{kind}", token=auditor)[0] == 200
        assert ga.request("GET", f"/v1/diagnostics/{kind}", token=agent)[0] == 403
    assert ga.request("POST", "/v1/diagnostics/sign", {"sha256_hex": "0" * 64}, token=auditor)[0] == 403


def test_what_is_opened_up_after_the_start_is_found_and_named(ga):
    token = ga.data_dir / "auditor_token"
    token.chmod(0o644)
    try:
        checks = {check["name"]: check for check in ga.request("GET", "/v1/diagnostics/security")[1]["checks"]}
    finally:
        token.chmod(0o600)
    assert not checks["files"]["ok"]
    assert f"expected `{token}` to have mode 0600, got 0644" in checks["files"]["detail"]


@pytest.mark.parametrize("mode", ["reference", "staging"])
def test_secrets_in_memory_are_allowed_and_told_below_ga(tmp_path, mode):
    with RunningDaemon(tmp_path / "data", BRIEFCASE_PROFILE_MODE=mode, BRIEFCASE_SECRET_BACKEND="memory") as daemon:
        checks = {check["name"]: check for check in daemon.request("GET", "/v1/diagnostics/security")[1]["checks"]}
        expected = getattr(RULES["secret_backend"], mode)
        assert (checks["secret_backend"]["ok"], checks["secret_backend"]["effect"]) == (False, expected)


def test_secrets_in_memory_are_refused_in_ga(tmp_path):
    code, said = start(tmp_path, BRIEFCASE_PROFILE_MODE="ga", BRIEFCASE_SECRET_BACKEND="memory")
    assert code == 9
    assert "mode `ga` refuses to start (secret_backend)" in said
    assert "BRIEFCASE_SECRET_BACKEND=file" in said
    assert not (tmp_path / "data" / "briefcased.sock").exists()


def test_a_socket_in_a_directory_of_everyone_is_refused_in_ga(tmp_path):
    everyone = tmp_path / "everyone"
    everyone.mkdir()
    everyone.chmod(0o1777)
    socket_path = os.path.relpath(everyone / "s")
    code, said = start(tmp_path, BRIEFCASE_PROFILE_MODE="ga", BRIEFCASE_UNIX_SOCKET=socket_path)
    if "too long" in said:
        pytest.skip("the temporary directory's path is too long for a socket")
    assert (code, "(socket_directory)" in said, "1777" in said) == (9, True, True)


def open_token(data_dir):
    (data_dir / "auth_token").write_text("o" * 43)
    (data_dir / "auth_token").chmod(0o644)


def open_directory(data_dir):
    data_dir.chmod(0o777)


def link_token(data_dir):
    (data_dir.parent / "t").write_text("o" * 43)
    (data_dir / "auth_token").symlink_to(data_dir.parent / "t")


def open_configuration(data_dir):
    (data_dir / "briefcase.toml").touch()
    (data_dir / "briefcase.toml").chmod(0o666)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (open_token, ("auth_token", "0600", "0644")),
        (open_directory, ("data", "0700", "0777")),
        (link_token, ("auth_token", "a symbolic link")),
        (open_configuration, ("briefcase.toml", "0644", "0666")),
    ],
)
def test_strict_host_names_the_path_what_was_found_and_what_was_expected(tmp_path, spoil, says):
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    spoil(data_dir)
    code, said = start(tmp_path, BRIEFCASE_STRICT_HOST="1")
    assert code == 9
    assert [word for word in says if word not in said] == []


@pytest.mark.parametrize("address", ["0.0.0.0:7777", "192.0.2.1:7777", "[::]:7777"])
def test_no_address_but_loopback_is_listened_on(tmp_path, address):
    code, said = start(tmp_path, BRIEFCASE_STRICT_HOST="1", BRIEFCASE_TCP_ADDR=address)
    assert (code, "loopback" in said, address in said) == (9, True, True)


def test_strict_host_keeps_the_socket_inside_and_everything_else_as_it_was(tmp_path):
    code, said = start(tmp_path, BRIEFCASE_STRICT_HOST="1", BRIEFCASE_UNIX_SOCKET=str(tmp_path / "s"))
    assert (code, "expected the socket inside" in said) == (9, True)


def test_signing_evidence_signs_digests_and_nothing_else(ga):
    assert ga.request("POST", "/v1/diagnostics/sign", {"sha256_hex": "policy: permit"})[0] == 400
    assert ga.request("POST", "/v1/diagnostics/sign", {})[0] == 400
    status, signed = ga.request("POST", "/v1/diagnostics/sign", {"sha256_hex": "0" * 64})
    assert (status, signed["did"]) == (200, ga.request("GET", "/v1/identity")[1]["did"])


def test_the_identity_command_still_shows_the_profile(ga):
    assert briefcase(ga.env, "identity", "show", "--json").json["profile_mode"] == "ga"
