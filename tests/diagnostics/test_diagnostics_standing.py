"""The checks, one by one: each is red where its rule is broken, and names the path, the found and the expected."""

import ctypes
import errno
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from briefcase.edges.diagnostics import host
from briefcase.edges.diagnostics.canary import Canary
from briefcase.edges.diagnostics.files import TABLE, check_files, check_socket, check_socket_directory
from briefcase.edges.diagnostics.host import Host, check_children, default_pipe_name
from briefcase.edges.diagnostics.profile import MODES, RULES, Finding, check_of
from briefcase.edges.diagnostics.standing import Moment, check_start, compat_checks, security_checks
from briefcase.model.errors import ConfigError
from support.redaction import KnownSecrets

DAY_US = 86_400_000_000


@pytest.fixture
def data_dir(tmp_path):
    """A data directory with every file of the table, as it must be."""
    path = tmp_path / "data"
    for expected in TABLE:
        if expected.rule.kind == "a directory":
            (path / expected.path).mkdir()
    for expected in TABLE:
        if expected.rule.kind == "a regular file":
            (path / expected.path).touch()
        (path / expected.path).chmod(expected.rule.mode)
    return path


@pytest.fixture
def unix_socket(data_dir):
    path = data_dir / "briefcased.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(os.path.relpath(path))
        path.chmod(0o600)
        yield path


@pytest.fixture
def at(data_dir, unix_socket):
    return Host(
        data_dir=data_dir,
        unix_socket=unix_socket,
        strict_host=True,
        args_form="redacted",
        secret_backend="encrypted file, passphrase",
        canary=Canary(KnownSecrets()),
        environ={},
        engine_problem=lambda: None,
        policy_problem=lambda: None,
        sign=lambda message: message,
        missing_layers=dict,
        exposed_agents=dict,
    )


MOMENT = Moment(
    now_us=10 * DAY_US,
    newest_receipt_us=9 * DAY_US,
    policy_hash_hex="ab" * 32,
    policy_set_us=8 * DAY_US,
    gate_problem=None,
    receipts=7,
    servers={"files": "ready"},
    incompatible=(),
)


def test_a_directory_as_it_must_be_has_no_problem(data_dir):
    assert check_files(data_dir).problem is None


def _path_of(expected):
    return expected.path


@pytest.mark.parametrize("expected", TABLE, ids=_path_of)
def test_each_file_that_others_may_touch_is_named_with_the_mode_found_and_expected(data_dir, expected):
    path = data_dir / expected.path
    path.chmod(expected.rule.mode | 0o022)

    problem = check_files(data_dir).problem

    assert str(path) in problem
    assert f"mode {expected.rule.mode:04o}, got {expected.rule.mode | 0o022:04o}" in problem


@pytest.mark.parametrize("expected", [expected for expected in TABLE if expected.path != "."], ids=_path_of)
def test_a_link_in_place_of_a_file_is_named(data_dir, expected, tmp_path):
    path = data_dir / expected.path
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")

    assert f"expected {expected.rule.kind} at `{path}`, got a symbolic link" in check_files(data_dir).problem


@pytest.mark.parametrize(
    "expected", [expected for expected in TABLE if expected.rule.kind == "a regular file"], ids=_path_of
)
def test_only_what_must_be_there_is_missed(data_dir, expected):
    (data_dir / expected.path).unlink()
    problem = check_files(data_dir).problem
    assert (problem is not None) == expected.is_required


def test_a_manifest_others_may_write_is_named(data_dir):
    manifest = data_dir / "tools" / "tickets.toml"
    manifest.touch()
    manifest.chmod(0o666)
    assert "tickets.toml` to have mode 0644, got 0666" in check_files(data_dir).problem


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_a_file_of_another_user_is_named(data_dir):
    os.chown(data_dir / "auth_token", 12345, -1)
    assert "auth_token` to belong to uid 0, got uid 12345" in check_files(data_dir).problem


def test_a_socket_others_may_connect_to_is_named(unix_socket):
    assert check_socket(unix_socket).problem is None
    unix_socket.chmod(0o666)
    assert "to have mode 0600, got 0666" in check_socket(unix_socket).problem
    unix_socket.unlink()
    unix_socket.touch(0o600)
    assert "expected a socket at" in check_socket(unix_socket).problem


def test_a_socket_in_a_directory_others_may_write_is_named(tmp_path):
    assert check_socket_directory(tmp_path / "s").problem is None
    tmp_path.chmod(0o1777)
    assert f"`{tmp_path}` has mode 1777" in check_socket_directory(tmp_path / "s").problem


def test_strict_host_wants_the_socket_inside_the_directory(tmp_path):
    inside, outside = tmp_path / "data" / "s", tmp_path / "s"
    assert host.check_strict_host(tmp_path / "data", inside, strict_host=True).problem is None
    assert f"got `{outside}`" in host.check_strict_host(tmp_path / "data", outside, strict_host=True).problem
    assert host.check_strict_host(tmp_path / "data", outside, strict_host=False).problem is None


def test_strict_host_is_not_led_outside_by_a_link(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data" / "run").symlink_to(tmp_path / "elsewhere")
    path = tmp_path / "data" / "run" / "s"
    assert host.check_strict_host(tmp_path / "data", path, strict_host=True).problem is not None


def test_a_listener_that_is_not_on_loopback_is_named_whoever_opened_it():
    with socket.create_server(("127.0.0.1", 0)) as good:
        assert host.check_listeners().problem is None
        assert f"127.0.0.1:{good.getsockname()[1]}" in host.check_listeners().found
    with socket.socket() as bad:
        bad.bind(("0.0.0.0", 0))
        assert host.check_listeners().problem is None  # bound is not yet listening
        bad.listen()
        assert f"`0.0.0.0:{bad.getsockname()[1]}`" in host.check_listeners().problem


def test_listeners_that_can_not_be_listed_are_not_taken_for_good(monkeypatch):
    def no_file_left(_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("os.listdir", no_file_left)
    assert "too many open files" in host.check_listeners().problem


PIPE = default_pipe_name("C:\\Users\\ann\\briefcase", "t" * 43)


@pytest.mark.parametrize(
    ("name", "strict", "is_allowed"),
    [
        (PIPE, True, True),
        (PIPE.upper(), True, True),
        (r"\\.\pipe\briefcased", True, False),
        (r"\\.\pipe\briefcased", False, True),
        (default_pipe_name("C:\\Users\\bob\\briefcase", "t" * 43), True, False),
        (default_pipe_name("C:\\Users\\ann\\briefcase", "u" * 43), True, False),
        (r"\\server\pipe\briefcased", False, False),
        (r"\\.\pipe\a\b", False, False),
        ("", False, False),
    ],
)
def test_with_strict_host_a_pipe_has_the_name_nobody_else_can_foretell(name, strict, is_allowed):
    finding = host.check_pipe_name(name, "C:/Users/Ann/briefcase/", "t" * 43, strict_host=strict)
    assert (finding.problem is None) == is_allowed


def test_a_pipe_name_is_not_the_token():
    assert "t" * 8 not in PIPE
    assert default_pipe_name("C:\\Users\\ann\\briefcase", "u" * 43) != PIPE


def test_secrets_in_memory_only_and_arguments_in_full_are_problems():
    assert host.check_secret_backend("encrypted file, passphrase").problem is None
    assert "memory" in host.check_secret_backend("memory: secrets end with the process").problem
    assert host.check_receipt_arguments("digest").problem is None
    assert host.check_receipt_arguments("full").problem is not None


def test_core_dumps_and_dumpability_are_asked_of_the_kernel():
    script = (
        "import ctypes, resource\n"
        "from briefcase.edges.diagnostics import host\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        "assert host.check_core_dumps().problem is None\n"
        "assert 'got 1' in host.check_not_dumpable().problem\n"
        "ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\n"
        "assert host.check_not_dumpable().problem is None\n"
    )
    if sys.platform == "linux":
        subprocess.run([sys.executable, "-c", script], check=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if hard != 0:
        assert f"soft {soft} and hard {hard}" in host.check_core_dumps().problem


def test_a_secret_left_in_the_environment_is_named_but_never_shown():
    finding = host.check_environment({"BRIEFCASE_MASTER_PASSPHRASE": "hunter2hunter2", "HOME": "/"})
    assert "BRIEFCASE_MASTER_PASSPHRASE" in finding.problem
    assert "hunter2" not in str(finding)


def test_a_python_file_in_place_of_compiled_code_is_named(monkeypatch):
    import briefcase.core.receipts.chain  # noqa: F401, PLC0415 - loads native code

    assert host.check_native_modules().problem is None
    monkeypatch.setitem(sys.modules, "briefcase._native.fake", ctypes)
    assert "briefcase._native.fake" in host.check_native_modules().problem


def test_a_disk_that_fills_up_is_told_before_calls_are_refused(tmp_path, monkeypatch):
    assert host.check_disk(Path("/")).problem is None
    monkeypatch.setattr(host, "MIN_FREE_BYTES", 1 << 62)
    assert "MiB free" in host.check_disk(tmp_path).problem


@pytest.mark.parametrize(
    ("changes", "name", "says"),
    [
        ({"gate_problem": "the disk is full"}, "receipts", "the disk is full"),
        ({"newest_receipt_us": 11 * DAY_US}, "clock", "86,400 s behind"),
        ({"policy_set_us": 11 * DAY_US}, "policy", "in the future"),
        ({"incompatible": ("files",)}, "remote_mcp", "`files`"),
    ],
)
def test_each_compatibility_rule_is_red_where_it_is_broken(at, changes, name, says):
    good = {check.name: check for check in compat_checks(at, "ga", MOMENT)}
    bad = {check.name: check for check in compat_checks(at, "ga", msgspec.structs.replace(MOMENT, **changes))}

    assert good[name].ok
    assert not bad[name].ok
    assert says in bad[name].detail
    assert all(bad[other].ok == good[other].ok for other in good if other != name)


def test_a_broken_policy_and_another_engine_are_red(at):
    bad = msgspec.structs.replace(at, policy_problem=lambda: "does not compile", engine_problem=lambda: "no sync")
    checks = {check.name: check for check in compat_checks(bad, "reference", MOMENT)}
    assert (checks["policy"].detail, checks["storage_engine"].detail) == ("does not compile", "no sync")


@pytest.fixture
def hardened(monkeypatch):
    """A process that is as the daemon makes itself, whatever this one is."""
    for name in ("check_core_dumps", "check_not_dumpable", "check_native_modules"):
        monkeypatch.setattr(host, name, lambda: Finding(None, "fine"))


BROKEN = {
    "secret_backend": {"secret_backend": "memory: gone"},
    "receipt_arguments": {"args_form": "full"},
    "storage_engine": {"engine_problem": lambda: "map_async is on"},
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", BROKEN)
def test_a_mode_refuses_to_start_exactly_where_the_table_says_so(at, hardened, mode, name):
    check_start(at, mode)
    broken = msgspec.structs.replace(at, **BROKEN[name])
    if getattr(RULES[name], mode) == "refused":
        with pytest.raises(ConfigError) as caught:
            check_start(broken, mode)
        assert f"({name})" in caught.value.message
        assert caught.value.code == "insecure_host"
    else:
        check_start(broken, mode)


def test_no_mode_is_weaker_than_the_one_before_it():
    strength = ("noted", "failed", "refused").index
    for name, rule in RULES.items():
        effects = [strength(getattr(rule, mode)) for mode in MODES]
        assert effects == sorted(effects), name


def test_every_rule_is_measured_and_every_check_has_a_rule(at):
    measured = [*security_checks(at, "ga"), *compat_checks(at, "ga", MOMENT)]
    assert {check.name for check in measured} == set(RULES)
    assert all(check.detail for check in measured)


def test_a_check_carries_its_effect_and_only_a_problem_its_hint():
    bad = check_of("disk", Finding("full", hint="free some"), "ga")
    assert (bad.ok, bad.detail, bad.effect, bad.hint) == (False, "full", "failed", "free some")
    assert check_of("disk", Finding(None, "room", "unused"), "ga").hint == ""


@pytest.mark.parametrize(
    ("missing", "is_root", "able"),
    [
        ({}, False, None),
        ({}, True, "ask everything that trusts root"),
        ({"namespace": "operation not permitted"}, False, "connect to the daemon's socket without a token"),
        ({"namespace": "x", "landlock": "y"}, False, "read the data directory"),
        ({"landlock": "y"}, False, "signal the daemon"),
        ({"scopes": "y"}, False, "reach abstract sockets"),
        ({"filter": "y"}, False, "system calls for namespaces"),
    ],
)
def test_what_a_child_can_still_do_is_said_for_each_missing_layer(missing, is_root, able):
    found = check_children(missing, is_root=is_root)

    if able is None:
        assert found.problem is None
    else:
        assert able in found.problem
        assert all(reason in found.problem for reason in missing.values())


@pytest.mark.parametrize("name", ["children", "agent_users"])
@pytest.mark.parametrize(
    ("mode", "strict_host", "effect"),
    [
        ("reference", False, "noted"),
        ("reference", True, "failed"),
        ("staging", False, "failed"),
        ("ga", False, "failed"),
    ],
)
def test_what_one_uid_means_is_yellow_in_reference_and_red_where_it_is_strict(name, mode, strict_host, effect):
    assert check_of(name, Finding("a problem"), mode, strict_host=strict_host).effect == effect


def test_a_start_does_not_wait_for_what_refuses_no_start(at):
    measured = []
    at = msgspec.structs.replace(at, missing_layers=lambda: measured.append("children") or {})

    check_start(at, "reference")

    assert measured == []
