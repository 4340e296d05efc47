"""Facts: what survives a restart, a kill, a torn record and another boot."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from briefcase.edges.provider_gateway import facts as facts_module
from briefcase.model.errors import ConfigError
from support.clock import FakeClock
from support.entropy import FakeEntropy
from support.providers import Holder, ask, open_gateway

S = 1_000_000


def test_a_torn_last_record_is_cut_off_and_everything_before_it_kept(opened, clock, tmp_path):
    holder = Holder(opened(max_calls=1), clock)
    token = holder.mint()
    assert holder.call(token).status == 200
    holder.gateway = opened(max_calls=1)
    with (tmp_path / "facts.log").open("ab") as log:
        log.write(b"\x03torn")
    holder.gateway = opened(max_calls=1)
    assert holder.call(token).status == 429
    holder.gateway = opened(max_calls=1)
    assert holder.call(token).status == 429


def test_a_changed_byte_in_the_log_is_found(opened, clock, tmp_path):
    Holder(opened(), clock).mint()
    data = bytearray((tmp_path / "facts.log").read_bytes())
    data[20] ^= 1
    (tmp_path / "facts.log").write_bytes(data)
    with pytest.raises(ConfigError, match="damaged at byte 0"):
        opened()
    data[20] ^= 1
    (tmp_path / "facts.log").write_bytes(data)


def test_a_long_log_is_begun_anew_and_nothing_that_matters_is_lost(opened, clock, tmp_path, monkeypatch):
    monkeypatch.setattr(facts_module, "ROTATE_BYTES", 2_000)
    holder = Holder(opened(max_calls=10), clock)
    token, revoked = holder.mint(), holder.mint()
    proof = holder.proof(token=token)
    holder.call(token, proof=proof)
    holder.gateway.authority.revoke(holder.gateway.authority.jti_of(revoked))
    for _ in range(60):
        holder.mint()
    now_s = clock.now_us() // S
    holder.gateway.facts.tidy(now_s)
    assert (tmp_path / "facts.old").exists()
    for _ in range(2):
        assert holder.call(token, proof=proof).error == "replay_detected"
        assert holder.call(revoked).error == "capability_revoked"
        holder.gateway = opened(max_calls=10)
    clock.advance(us=70 * S)
    holder.gateway.facts.tidy(clock.now_us() // S)
    assert not (tmp_path / "facts.old").exists()
    assert [holder.call(token).status for _ in range(10)] == [200] * 9 + [429]
    assert (tmp_path / "facts.log").stat().st_size < 4_000


def test_what_someone_was_promised_is_synced_before_it_is_answered(opened, clock, monkeypatch):
    holder = Holder(opened(), clock)
    token, tokens = holder.mint(), holder.log_in()
    synced = []
    sync = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: synced.append(descriptor) or sync(descriptor))
    holder.call(token)
    assert synced == []
    holder.gateway.authority.revoke("jti")
    assert len(synced) == 1
    ask(
        holder.gateway,
        "POST",
        "/oauth/token",
        body={"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]},
    )
    assert len(synced) == 2
    ask(holder.gateway, "POST", "/oauth/revoke", body={"token": tokens["access_token"]})
    assert len(synced) == 3


def test_expired_facts_are_forgotten(opened, clock):
    holder = Holder(opened(), clock)
    holder.call(holder.mint())
    before = len(holder.gateway.facts._long)
    clock.advance(us=601 * S)
    holder.gateway.facts.tidy(clock.now_us() // S)
    assert len(holder.gateway.facts._long) < before


def test_a_killed_gateway_has_forgotten_no_proof(tmp_path):
    """kill -9 in the middle of calls: every proof that was answered 200 is a replay afterwards."""
    code = (
        "import sys, os, signal; sys.path.insert(0, sys.argv[2]); from pathlib import Path\n"
        "from support.providers import Holder, ask, open_gateway\n"
        "from support.clock import FakeClock; from support.entropy import FakeEntropy\n"
        "clock = FakeClock(); holder = Holder(open_gateway(Path(sys.argv[1]), clock, FakeEntropy()), clock)\n"
        "token = holder.mint(); print(token, flush=True)\n"
        "for _ in range(20):\n"
        "    proof = holder.proof(token=token); assert holder.call(token, proof=proof).status == 200\n"
        "    print(proof, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    tests = str(Path(__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), tests], check=False, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    token, *proofs = done.stdout.split()
    clock = FakeClock()
    holder = Holder(open_gateway(tmp_path, clock, FakeEntropy()), clock)
    answers = {(holder.call(token, proof=proof).status, holder.call(token, proof=proof).error) for proof in proofs}
    holder.gateway.facts.close()
    assert len(proofs) == 20
    assert answers == {(409, "replay_detected")}


def test_after_another_boot_everything_that_could_have_been_lost_is_refused(opened, clock, monkeypatch):
    holder = Holder(opened(), clock)
    token = holder.mint()
    proof = holder.proof(token=token)
    holder.call(token, proof=proof)
    clock.advance(us=2 * S)
    monkeypatch.setattr(facts_module, "_boot_key", lambda: b"another boot....")
    holder.gateway = opened()
    assert holder.call(token).error == "invalid_token"
    early = holder.proof("POST", "/token")
    access = holder.log_in()["access_token"]
    assert (
        ask(holder.gateway, "POST", "/token", {"authorization": f"Bearer {access}", "dpop": early}).error
        == "invalid_dpop_proof"
    )
    clock.advance(us=6 * S)
    assert holder.call(holder.mint()).status == 200
