"""The payment helper as a process: what it is told, what it is kept from, and every way in which it fails."""

import json
import os
import sys
from pathlib import Path

import pytest

from briefcase.adapters.children.confinement import Confinement
from briefcase.adapters.providers.payment_helper import MAX_ANSWER_BYTES, PaymentHelper
from briefcase.model.errors import ConfigError, UpstreamError
from support.waiting import until

RECORDED = json.loads((Path(__file__).parent.parent / "fixtures" / "provider_payments.json").read_text())[1]
ASKED = {"rail": "x402", "provider_base_url": "https://provider.example/", "payment_id": "p", "amount_microusd": 5}
ENVIRON = {"PATH": os.environ["PATH"], "HOME": "/nowhere", "BRIEFCASE_AUTH_TOKEN": "o" * 43, "WALLET": "seed"}
SHORT_S = 0.5  # for helpers that never end


@pytest.fixture
def confinement(tmp_path):
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    (data_dir / "auth_token").write_text("o" * 43)
    return Confinement(data_dir, (), needs_all=False)


@pytest.fixture
def helper(tmp_path, confinement):
    """A helper that is a program of these lines."""

    def made(lines, *, timeout_s=60.0):
        program = tmp_path / "helper"
        program.write_text(f"#!{sys.executable}\nimport json, os, sys, time\n{lines}\n")
        program.chmod(0o700)
        return PaymentHelper(program, confinement, ENVIRON, timeout_s=timeout_s)

    return made


async def test_a_helper_reads_one_object_to_its_end_and_answers_one(helper):
    told = helper("asked = json.load(sys.stdin); print(json.dumps({'rail': asked['rail'], 'proof': asked}))")
    assert await told.ask(ASKED) == {"rail": "x402", "proof": ASKED}


async def test_the_recorded_request_and_answer_pass_through(helper, tmp_path):
    (tmp_path / "answer").write_text(json.dumps(RECORDED["helper_stdout"]))
    told, answer = tmp_path / "told", tmp_path / "answer"
    recorded = helper(f"open({str(told)!r}, 'w').write(sys.stdin.read()); print(open({str(answer)!r}).read())")
    assert await recorded.ask(RECORDED["helper_stdin"]) == RECORDED["helper_stdout"]
    assert json.loads(told.read_text()) == RECORDED["helper_stdin"]


async def test_a_helper_gets_none_of_the_daemons_variables_arguments_or_files(helper, confinement, tmp_path):
    lines = f"""
try:
    token = open({str(tmp_path / "data" / "auth_token")!r}).read()
except OSError:
    token = ""
print(json.dumps({{"rail": "x402", "env": sorted(os.environ), "argv": sys.argv[1:], "token": token}}))
"""
    told = await helper(lines).ask(ASKED)
    assert (set(told["env"]) - {"LC_CTYPE"}, told["argv"]) == ({"HOME", "PATH"}, [])
    if not confinement.missing():
        assert told["token"] == ""


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("sys.exit(3)", "exited with 3"),
        ("print(json.dumps({'rail': 'x402', 'proof': 'p'})); sys.exit(1)", "exited with 1"),
        ("print('no json')", "no JSON"),
        ("pass", "no JSON"),
        ("print('[]')", "another rail, or no object"),
        ('print(\'{"rail":"l402"}\')', "another rail"),
        ('print(\'{"rail":"x402","rail":"x402"}\')', "no JSON"),
        ('print(\'{"rail":"x402"}{}\')', "no JSON"),
        (f"sys.stdout.write('x' * {MAX_ANSWER_BYTES + 1})", "more than"),
        ("os.kill(os.getpid(), 9)", "exited with -9"),
        ("sys.stderr.write('e' * 10_000_000); sys.exit(2)", "exited with 2"),
    ],
)
async def test_a_helper_that_fails_may_have_paid(helper, lines, problem):
    with pytest.raises(UpstreamError, match=problem) as caught:
        await helper(lines).ask(ASKED)
    assert (caught.value.sent, caught.value.code) == (True, "upstream_failed")


@pytest.mark.parametrize(
    "lines",
    [
        "time.sleep(3600)",
        "sys.stdin.close(); time.sleep(3600)",
        "os.close(1); time.sleep(3600)",
        "print(json.dumps({'rail': 'x402', 'proof': 'p'}), flush=True); time.sleep(3600)",
        "os.fork() or time.sleep(3600)",  # one that it started holds its output open
        "while True: sys.stderr.write('e' * 65_536)",
    ],
)
async def test_a_helper_that_does_not_end_is_ended_with_all_it_started(helper, lines, tmp_path):
    started = f"open({str(tmp_path / 'group')!r}, 'w').write(str(os.getpgid(0)))\n"
    with pytest.raises(UpstreamError, match=r"not done in 0\.5 s|not be confined"):
        await helper(started + lines, timeout_s=SHORT_S).ask(ASKED)
    group = (tmp_path / "group").read_text() if (tmp_path / "group").exists() else ""
    if group:  # the time may have been over before it began
        await until(lambda: is_gone(int(group)))


def is_gone(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


async def test_a_helper_that_answers_without_end_is_cut_off(helper):
    with pytest.raises(UpstreamError, match="more than"):
        await helper("while True: sys.stdout.write('x' * 65_536)").ask(ASKED)


async def test_a_helper_that_is_gone_has_paid_nothing(helper, tmp_path):
    gone = helper("pass")
    (tmp_path / "helper").unlink()
    with pytest.raises(UpstreamError, match="cannot be looked at") as caught:
        await gone.ask(ASKED)
    assert caught.value.sent is False


async def test_a_helper_that_others_can_write_by_now_is_not_started(helper, tmp_path):
    changed = helper(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (tmp_path / "helper").chmod(0o722)
    with pytest.raises(UpstreamError, match="not to be writable by others"):
        await changed.ask(ASKED)
    assert not (tmp_path / "ran").exists()


def spoil_mode(program):
    program.chmod(0o720)


def spoil_kind(program):
    program.unlink()
    program.mkdir()


def spoil_rights(program):
    program.chmod(0o600)


def spoil_way(program):
    program.parent.chmod(0o777)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [(Path.unlink, "cannot be looked at"), (spoil_mode, "writable"), (spoil_kind, "expected a program"),
     (spoil_rights, "expected a program"), (spoil_way, "writable")],
)  # fmt: skip
def test_a_program_that_is_not_the_operators_alone_is_none(tmp_path, confinement, spoil, problem):
    directory = tmp_path / "programs"
    directory.mkdir(mode=0o755)
    program = directory / "helper"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    PaymentHelper(program, confinement, {})
    spoil(program)
    with pytest.raises(ConfigError, match=problem) as caught:
        PaymentHelper(program, confinement, {})
    assert "BRIEFCASE_PAYMENT_HELPER" in caught.value.message
