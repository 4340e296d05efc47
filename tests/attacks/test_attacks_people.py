"""Somebody who was let in by nobody, and somebody who was sent away, at a running daemon."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import lmdb

from briefcase.adapters.disk.data_dir import LEDGER_DIR
from briefcase.adapters.ledger.tables import ENGINE, TABLES
from support.daemons import RunningDaemon


def test_a_person_who_was_written_into_the_store_is_found(tmp_path):
    data, token = tmp_path / "data", "bco_" + "m" * 43
    with RunningDaemon(data) as daemon:
        assert daemon.request("POST", "/v1/operators", {"name": "ann", "role": "approver"})[0] == 200
        assert daemon.request("POST", "/v1/receipts/verify", {"state": True})[1]["ok"] is True
    with lmdb.open(str(data / LEDGER_DIR), max_dbs=len(TABLES), lib_version=ENGINE) as env:
        table = env.open_db(b"settings")
        with env.begin(write=True) as transaction:
            people = json.loads(transaction.get(b"people", db=table))
            digest = hashlib.sha256(token.encode()).hexdigest()
            people.append({**people[0], "id": "2", "name": "mallory", "role": "operator", "token_digest": digest})
            transaction.put(b"people", json.dumps(people).encode(), db=table)
    with RunningDaemon(data) as daemon:
        found = daemon.request("POST", "/v1/receipts/verify", {"state": True})[1]
        assert (found["ok"], found["difference"]["row"]) == (False, "setting:people")


def test_a_revoked_persons_token_is_refused_after_a_restart_too(tmp_path):
    with RunningDaemon(tmp_path / "data") as daemon:
        token = daemon.request("POST", "/v1/operators", {"name": "ann", "role": "operator"})[1]["token"]
        assert daemon.request("GET", "/v1/policy", token=token)[0] == 200
        assert daemon.request("POST", "/v1/operators/ann/revoke")[0] == 200
        assert daemon.request("GET", "/v1/policy", token=token)[0] == 401
    with RunningDaemon(tmp_path / "data") as daemon:
        assert daemon.request("GET", "/v1/policy", token=token)[0] == 401


TWO = """
@id("two") @approvers("2") permit (principal, action == Action::"Call", resource);
@id("unsigned") permit (principal, action == Action::"CallWithoutSigner", resource);
"""


def test_of_twenty_at_once_two_different_people_count_and_the_call_runs_once(tmp_path):
    with RunningDaemon(tmp_path / "data") as daemon:
        assert daemon.request("PUT", "/v1/policy", {"policy_text": TWO})[0] == 200
        agent = daemon.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
        people = [
            daemon.request("POST", "/v1/operators", {"name": name, "role": "approver"})[1]["token"]
            for name in ("ann", "bo", "cy")
        ]
        asked = daemon.call("note_add", {"text": "hi"}, token=agent)["approval"]
        path = f"/v1/approvals/{asked['id']}"

        def insist(number):
            answers = []
            for _ in range(10):  # whoever is told that another one was first looks again
                digest = daemon.request("GET", path, token=people[number % 3])[1].get("shown_digest_hex")
                said = {"shown_digest_hex": digest} if digest else {}
                answers.append(daemon.request("POST", f"{path}/approve", said, token=people[number % 3]))
            return answers

        with ThreadPoolExecutor(20) as pool:
            answers = [answer for given in pool.map(insist, range(20)) for answer in given]
        yeses = [body for status, body in answers if status == 200]
        assert sorted(body.get("status", "approved") for body in yeses) == ["approved", "pending"]
        assert {body["code"] for status, body in answers if status != 200} == {"conflict"}
        decided = [
            one["event"]
            for one in daemon.request("GET", "/v1/receipts?kind=approval_decided&order=oldest")[1]["receipts"]
        ]
        assert [one["status"] for one in decided] == ["pending", "approved"]
        assert decided[0]["by"] != decided[1]["by"]
        assert decided[1]["approved_by"] == [decided[0]["by"]]
        used = [daemon.call("note_add", {"text": "hi"}, token=agent, approval_token=asked["id"]) for _ in range(2)]
        assert [one["status"] for one in used] == ["ok", "denied"]
        assert daemon.request("POST", "/v1/receipts/verify", {"state": True})[1]["ok"] is True
