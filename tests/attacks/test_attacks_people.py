"""Somebody who was let in by nobody, and somebody who was sent away, at a running daemon."""

import hashlib
import json

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
