"""Signed checkpoints: proofs verify without the daemon, and show what was changed, cut off or put back."""

import base64
import json
from pathlib import Path

import pytest
from backup_rig import cli, offline

from briefcase.adapters.backup.checkpoints import Checkpoints, check_checkpoint_dir
from briefcase.adapters.disk.own_files import OwnFiles
from briefcase.model.effects import Entry
from briefcase.model.errors import ConfigError, StoreError
from briefcase.model.ports import BadReceipt, Verification
from support.clock import FakeClock
from support.daemons import RunningDaemon
from support.ledger import MemoryLedger
from support.waiting import wait_until

CONFIG = '[receipts]\ncheckpoint_dir = "{}"\ncheckpoint_interval_s = 1\n'


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """A daemon, and two checkpoints of it with receipts in between."""
    top = tmp_path_factory.mktemp("checkpoints")
    with RunningDaemon(top / "data") as daemon:
        for name in ("old", "new"):
            for number in range(4):
                daemon.call("echo", {"text": f"{name}{number}"})
            ran = cli(daemon, "receipts", "checkpoint", "--out", str(top / name), "--json")
            assert ran.code == 0, ran
        daemon.call("echo", {"text": "after"})
        yield daemon, top, ran.json


def did_of(daemon) -> str:
    return daemon.request("GET", "/v1/identity")[1]["did"]


def test_every_receipt_of_a_checkpoint_is_proven_and_the_proof_needs_no_daemon(signed, tmp_path):
    daemon, top, made = signed
    for receipt_id in (1, 2, made["size"] - 1, made["size"]):
        proof = tmp_path / f"{receipt_id}.json"
        options = ("--checkpoint", str(top / "new"), "--out", str(proof))
        assert cli(daemon, "receipts", "prove", str(receipt_id), *options).code == 0
        ran = offline(tmp_path, "receipts", "prove", "--check", str(proof), "--did", did_of(daemon))
        assert (ran.code, f"receipt {receipt_id} is among the {made['size']}" in ran.out) == (0, True), ran
    fresh = cli(daemon, "receipts", "prove", str(made["size"] + 1))
    assert (fresh.code, fresh.json["receipt"]["id"]) == (0, made["size"] + 1)
    newer = cli(daemon, "receipts", "prove", str(made["size"] + 1), "--checkpoint", str(top / "new"))
    assert (newer.code, "newer than the checkpoint" in newer.err) == (2, True)


def forged_event(proof):
    proof["receipt"]["event"]["kind"] = "forged"


def other_receipt(proof):
    proof["receipt"]["id"] += 1


def member_more(proof):
    proof["receipt"]["approved"] = True


def member_less(proof):
    del proof["receipt"]["ts"]


def other_path(proof):
    proof["proof_b64"][0] = base64.b64encode(bytes(32)).decode()


def longer_path(proof):
    proof["proof_b64"] = [*proof["proof_b64"], base64.b64encode(bytes(32)).decode()]


def other_size(proof):
    lines = proof["checkpoint"].split("\n")
    proof["checkpoint"] = "\n".join([lines[0], str(int(lines[1]) - 1), *lines[2:]])


def no_signature(proof):
    proof["checkpoint"] = proof["checkpoint"].split("\n\n")[0] + "\n\n"


def no_did(proof):
    proof["checkpoint"] = proof["checkpoint"].replace("did:key:", "example.org/")


@pytest.mark.parametrize(
    "change",
    [
        forged_event,
        other_receipt,
        member_more,
        member_less,
        other_path,
        longer_path,
        other_size,
        no_signature,
        no_did,
    ],
)
def test_a_changed_proof_is_not_good(signed, tmp_path, change):
    daemon, top, _ = signed
    proof = cli(daemon, "receipts", "prove", "3", "--checkpoint", str(top / "new")).json
    (tmp_path / "good").write_text(json.dumps(proof))
    assert offline(tmp_path, "receipts", "prove", "--check", str(tmp_path / "good")).code == 0
    change(proof)
    (tmp_path / "bad").write_text(json.dumps(proof))
    ran = offline(tmp_path, "receipts", "prove", "--check", str(tmp_path / "bad"))
    assert ran.code == 7, ran


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"format": "briefcase-inclusion-proof-1"}'])
def test_what_is_no_proof_is_said_to_be_none(tmp_path, text):
    (tmp_path / "x").write_text(text)
    ran = offline(tmp_path, "receipts", "prove", "--check", str(tmp_path / "x"))
    assert (ran.code, "expected a proof" in ran.err) == (7, True)


def test_another_identity_is_refused_where_one_is_expected(signed, tmp_path):
    daemon, top, _ = signed
    with RunningDaemon(tmp_path / "data") as other:
        foreign = did_of(other)
        assert cli(other, "receipts", "checkpoint", "--out", str(tmp_path / "other")).code == 0
    ran = cli(daemon, "receipts", "prove", "1", "--checkpoint", str(top / "new"), "--did", foreign)
    assert (ran.code, "expected `did:key" in ran.err) == (7, True)
    ran = cli(daemon, "receipts", "consistency", str(tmp_path / "other"), str(top / "new"))
    assert (ran.code, "two logs" in ran.err) == (7, True)


def test_a_chain_that_is_not_the_one_that_was_signed_is_found_even_at_the_same_length(signed, tmp_path):
    _, top, made = signed
    with RunningDaemon(tmp_path / "data") as other:
        for number in range(made["size"]):
            other.call("echo", {"text": str(number)})
        ran = cli(other, "receipts", "consistency", str(top / "new"), str(top / "new"))
        assert (ran.code, "not those that were signed" in ran.err) == (7, True), ran
        ran = cli(other, "receipts", "prove", "1", "--checkpoint", str(top / "new"))
        assert (ran.code, "not those that were signed" in ran.err) == (7, True), ran


def test_a_later_checkpoint_only_added_to_an_earlier_one(signed, tmp_path):
    daemon, top, _ = signed
    ran = cli(daemon, "receipts", "consistency", str(top / "old"), str(top / "new"), "--out", str(tmp_path / "proof"))
    assert (ran.code, "are the same in both" in ran.out) == (0, True), ran
    assert json.loads((tmp_path / "proof").read_text())["proof_b64"]
    assert cli(daemon, "receipts", "consistency", str(top / "new"), str(top / "new")).code == 0
    swapped = cli(daemon, "receipts", "consistency", str(top / "new"), str(top / "old"))
    assert (swapped.code, "older checkpoint first" in swapped.err) == (2, True)


def test_only_the_operator_has_a_checkpoint_signed(signed):
    daemon = signed[0]
    auditor = (daemon.data_dir / "auditor_token").read_text().strip()
    assert daemon.request("POST", "/v1/receipts/checkpoint", token=auditor)[0] == 403


def test_a_schedule_keeps_checkpoints_elsewhere_and_they_find_a_rolled_back_chain(tmp_path):
    data_dir, kept = tmp_path / "data", tmp_path / "kept"
    kept.mkdir()
    data_dir.mkdir(mode=0o700)
    (data_dir / "briefcase.toml").write_text(CONFIG.format(kept))
    with RunningDaemon(data_dir) as daemon:
        daemon.kill()
        early = (data_dir / "ledger" / "data.mdb").read_bytes()
        (kept / "checkpoint-0000000000000001.txt.new").write_text("what a daemon leaves that is killed while it writes")
        daemon.start()
        daemon.call("echo", {"text": "x"})
        head_id = daemon.request("POST", "/v1/receipts/verify")[1]["head"]["id"]
        wait_until((kept / f"checkpoint-{head_id:016d}.txt").exists)
        daemon.stop()
    first, *_, last = sorted(kept.iterdir())
    options = ("--data-dir", str(data_dir))
    assert offline(data_dir, "receipts", "consistency", str(first), str(last), *options).code == 0
    (data_dir / "ledger" / "data.mdb").write_bytes(early)
    ran = offline(data_dir, "receipts", "consistency", str(first), str(last), *options)
    assert (ran.code, "cut off" in ran.err) == (7, True), ran


@pytest.mark.parametrize("place", ["data", "data/inside", "link", "absent", "relative"])
def test_checkpoints_are_not_kept_beside_the_chain(tmp_path, place):
    (tmp_path / "data" / "inside").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "data" / "inside")
    chosen = Path(place) if place == "relative" else tmp_path / place
    with pytest.raises(ConfigError, match="checkpoint_dir"):
        check_checkpoint_dir(chosen, OwnFiles(tmp_path / "data"))


async def test_nothing_is_signed_over_a_chain_that_does_not_verify(tmp_path):
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    await ledger.commit(Entry({"kind": "x"}))
    signed = []
    checkpoints = Checkpoints(ledger, "did:key:z6Mk", bytes(32), lambda text: signed.append(text) or bytes(64))
    bad = BadReceipt(1, "hash", "", "", "", "")

    async def verify(anchor=None):
        return Verification(ok=False, checked=0, head=ledger.head(), first_bad=bad)

    ledger.verify = verify
    with pytest.raises(StoreError, match="receipt 1 does not verify"):
        await checkpoints.sign()
    assert signed == []
