"""The restore drill, with real daemons: what was used after the backup does not come back to life."""

import shutil
import threading

from backup_rig import cli, kinds, offline, take_backup

from support.daemons import RunningDaemon


def approved(daemon, text):
    """A write that a person said yes to: the call's arguments and its token, not used yet."""
    asked = daemon.call("note_add", {"text": text})
    assert asked["status"] == "approval_required", asked
    return daemon.request("POST", f"/v1/approvals/{asked['approval']['id']}/approve")[1]


def test_a_restored_daemon_revives_nothing_that_was_used_after_the_backup(tmp_path):
    backup, restored = tmp_path / "backup", tmp_path / "restored"
    stop = threading.Event()
    with RunningDaemon(tmp_path / "data") as daemon:
        consumed, held = approved(daemon, "before"), approved(daemon, "held")
        done = daemon.call("note_add", {"text": "before"}, approval_token=consumed["approval_token"])
        assert done["status"] == "ok"
        request_id = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
        daemon.call("echo", {"text": "once"}, request_id=request_id)
        waiting = daemon.call("note_add", {"text": "waits"})["approval"]["id"]

        def load():
            while not stop.is_set():
                daemon.call("echo", {"text": "load"})

        workers = [threading.Thread(target=load) for _ in range(3)]
        for worker in workers:
            worker.start()
        try:
            made = take_backup(daemon, backup, "--with-key")
        finally:
            stop.set()
            for worker in workers:
                worker.join()

        # the backup is a prefix of the chain, and a receipt says that it was taken
        record = daemon.request("GET", f"/v1/receipts/{made['head_id']}")[1]
        assert record["hash_hex"] == made["head_hash_hex"]
        assert kinds(daemon).count("backup_created") == 1
        anchor = f"{made['head_id']}:{made['head_hash_hex']}"
        ran = offline(tmp_path, "backup", "verify", str(backup), "--did", made["did"], "--anchor", anchor, "--json")
        assert (ran.code, ran.json["head_id"]) == (0, made["head_id"])

        # what is used after it
        used = daemon.call("note_add", {"text": "held"}, approval_token=held["approval_token"])
        assert used["status"] == "ok"
        refused = offline(
            tmp_path, "backup", "restore", str(backup), "--data-dir", str(daemon.data_dir), "--did", made["did"]
        )
        assert (refused.code, "a daemon is running" in refused.err) == (9, True)
        assert daemon.stop() == 0

    ran = offline(tmp_path, "backup", "restore", str(backup), "--data-dir", str(restored), "--did", made["did"])
    assert ran.code == 0, ran
    with RunningDaemon(restored) as daemon:
        again = daemon.call("note_add", {"text": "held"}, approval_token=held["approval_token"])
        assert (again["status"], again["reason"]) == ("denied", "invalid_or_expired_approval")
        again = daemon.call("note_add", {"text": "before"}, approval_token=consumed["approval_token"])
        assert again["status"] == "denied"
        assert daemon.request("GET", f"/v1/approvals/{waiting}")[1]["status"] == "expired"
        assert daemon.request("GET", "/v1/approvals")[1]["approvals"] == []
        for line in daemon.request("GET", "/v1/budgets")[1]["budgets"]:
            assert line["spent_microusd"] >= line["daily_limit_microusd"]
        call = {"tool_id": "echo", "args": {"text": "once"}, "context": {"request_id": request_id}}
        status, answer = daemon.request("POST", "/v1/tools/call", {"call": call})
        assert "replay_detected" in {answer.get("reason"), answer.get("code")}, (status, answer)

        assert daemon.request("GET", "/v1/identity")[1]["did"] == made["did"]
        (event,) = [receipt["event"] for receipt in daemon.request("GET", "/v1/receipts?kind=restored")[1]["receipts"]]
        assert (event["id"] > made["head_id"], event["head_hash"]) == (True, made["head_hash_hex"])
        assert event["expired_approvals"] == 2
        assert "request_ids_after_copy" in event["not_known"]
        ran = cli(daemon, "receipts", "verify", "--anchor", anchor)
        assert ran.code == 0, ran

        # the next start is an ordinary one
        daemon.stop()
        daemon.start()
        assert kinds(daemon).count("restored") == 1


def test_two_daemons_of_one_backup_part_and_each_says_so(tmp_path):
    with RunningDaemon(tmp_path / "data") as daemon:
        made = take_backup(daemon, tmp_path / "backup", "--with-key")
        epochs = []
        for name in ("one", "two"):
            target = tmp_path / name
            options = ("--data-dir", str(target), "--did", made["did"])
            assert offline(tmp_path, "backup", "restore", str(tmp_path / "backup"), *options).code == 0
            with RunningDaemon(target) as other:
                found = other.request("GET", "/v1/receipts?kind=restored")[1]["receipts"]
                epochs.append(found[0]["event"]["epoch"])
        assert len(set(epochs)) == 2


def test_a_ledger_that_was_copied_out_of_a_backup_by_hand_knows_that_it_is_a_copy(tmp_path):
    by_hand = tmp_path / "by-hand"
    with RunningDaemon(tmp_path / "data") as daemon:
        held = approved(daemon, "held")
        take_backup(daemon, tmp_path / "backup")
    (by_hand / "ledger").mkdir(parents=True)
    for directory in (by_hand, by_hand / "ledger"):
        directory.chmod(0o700)
    shutil.copy2(tmp_path / "backup" / "ledger" / "data.mdb", by_hand / "ledger")
    shutil.copy2(tmp_path / "backup" / "briefcase.sqlite", by_hand)  # a ledger alone, which knows one, is refused
    with RunningDaemon(by_hand) as daemon:
        daemon.kill()  # a crash right after does not undo it
        daemon.start()
        assert kinds(daemon).count("restored") == 1
        assert daemon.call("note_add", {"text": "held"}, approval_token=held["approval_token"])["status"] == "denied"


def test_the_vault_key_is_left_out_unless_it_is_asked_for_and_can_be_given_back(tmp_path):
    backup, restored = tmp_path / "backup", tmp_path / "restored"
    with RunningDaemon(tmp_path / "data") as daemon:
        made = take_backup(daemon, backup)
        assert "vault.key" in made["left_out"]
        assert not (backup / "vault.key").exists()
        options = ("--data-dir", str(restored), "--did", made["did"])
        key = daemon.data_dir / "vault.key"
        ran = offline(tmp_path, "backup", "restore", str(backup), *options, "--vault-key", str(key))
        assert ran.code == 0, ran
        with RunningDaemon(restored) as other:
            assert other.request("GET", "/v1/identity")[1]["did"] == made["did"]
