"""The store under a running daemon, or before its start, made into another one: nothing is allowed on it."""

import os
import shutil
import sqlite3
import subprocess
import uuid
from pathlib import Path

import lmdb
import pytest

from briefcase.adapters.ledger.tables import ENGINE
from support.daemons import RunningDaemon

DATA = "ledger/data.mdb"
DATABASE = "briefcase.sqlite"


def remove(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    copy = path.with_name(f"{path.name}.copy")
    shutil.copy2(path, copy)
    copy.replace(path)


def rename(path: Path) -> None:
    path.rename(path.with_name(f"{path.name}.away"))


def hard_link(path: Path) -> None:
    os.link(path, path.parent.parent / f"{path.name}.second")


def empty(path: Path) -> None:
    os.truncate(path, 0)


def refused_start(daemon: RunningDaemon) -> str:
    """Start what must not start; gives what it said."""
    done = subprocess.run(daemon.command, env=daemon.env, capture_output=True, timeout=120, check=False)
    assert done.returncode not in {0, -11, -7}, done
    return done.stderr.decode()


def expect_shut(daemon: RunningDaemon, name: str) -> None:
    for _ in range(8):  # what is not looked at by each group has its turn
        status, answer = daemon.request("POST", "/v1/tools/call", a_call())
        if status != 200:
            break
    assert (status, answer["code"]) == (503, "receipts_unavailable"), answer
    assert name in answer["message"]
    status, answer = daemon.request("GET", "/ready", token="")
    assert status == 503
    assert "store" in answer["failing"]
    assert name in answer["message"]


def a_call() -> dict:
    return {"call": {"tool_id": "echo", "args": {"text": "x"}, "context": {"request_id": str(uuid.uuid4())}}}


@pytest.mark.parametrize(
    ("attack", "name"),
    [
        (remove, DATA),
        (replace, DATABASE),
        (rename, DATABASE),
        (hard_link, DATA),
        (remove, "ledger/ledger.lock"),
        (replace, "briefcase.sqlite-wal"),
        (replace, "briefcase.sqlite-shm"),
        (replace, "briefcased.lock"),
    ],
)
def test_a_file_of_the_store_that_is_not_the_one_that_was_opened_shuts_the_gate_until_a_restart(tmp_path, attack, name):
    with RunningDaemon(tmp_path / "data") as daemon:
        assert daemon.call("echo", {"text": "before"})["status"] == "ok"
        path = daemon.data_dir / name
        attack(path)
        expect_shut(daemon, path.name)
        if attack is hard_link:
            (path.parent.parent / f"{path.name}.second").unlink()
            expect_shut(daemon, path.name)  # as it was again, but who wrote through the other name is not known


@pytest.mark.parametrize("name", [DATA, DATABASE])
def test_a_file_that_is_emptied_under_the_daemon_ends_in_a_refusal_not_in_an_answer(tmp_path, name):
    with RunningDaemon(tmp_path / "data") as daemon:
        daemon.call("echo", {"text": "before"})
        empty(daemon.data_dir / name)
        expect_shut(daemon, Path(name).name)
        daemon.kill()
        assert Path(name).name in refused_start(daemon) or "ledger" in refused_start(daemon)


@pytest.mark.parametrize("how", ["missing", "another's"])
def test_a_database_that_is_not_the_ledgers_own_is_refused_at_start_and_named(tmp_path, how):
    if how == "another's":
        with RunningDaemon(tmp_path / "other") as other:
            other.stop()
    with RunningDaemon(tmp_path / "data") as daemon:
        daemon.call("echo", {"text": "before"})
        daemon.stop()
        path = daemon.data_dir / DATABASE
        kept = path.read_bytes()
        path.unlink()
        if how == "another's":
            shutil.copy2(tmp_path / "other" / DATABASE, path)
        said = refused_start(daemon)
        assert f"{path}" in said
        assert "backup" in said
        assert path.exists() is (how != "missing"), "nothing was made anew"
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(kept)
        daemon.start()
        assert daemon.call("echo", {"text": "after"})["status"] == "ok"


@pytest.mark.parametrize("how", ["missing", "empty"])
def test_a_ledger_that_is_not_the_databases_own_is_refused_at_start(tmp_path, how):
    with RunningDaemon(tmp_path / "data") as daemon:
        daemon.call("echo", {"text": "before"})
        daemon.stop()
        ledger = daemon.data_dir / "ledger"
        ledger.rename(tmp_path / "kept")
        if how == "empty":
            ledger.mkdir(mode=0o700)
            (ledger / "data.mdb").touch(mode=0o600)
        assert "ledger" in refused_start(daemon)
        shutil.rmtree(ledger, ignore_errors=True)
        (tmp_path / "kept").rename(ledger)
        daemon.start()
        assert daemon.call("echo", {"text": "after"})["status"] == "ok"


def test_a_copied_directory_opens_for_no_inode_is_stored(tmp_path):
    with RunningDaemon(tmp_path / "data") as daemon:
        daemon.call("echo", {"text": "before"})
        daemon.stop()
        shutil.copytree(tmp_path / "data", tmp_path / "copy", ignore=shutil.ignore_patterns("*.sock"))
    with RunningDaemon(tmp_path / "copy") as copy:
        assert copy.call("echo", {"text": "after"})["status"] == "ok"


@pytest.mark.parametrize("died_after", ["database", "ledger"])
def test_a_directory_of_before_ids_gets_one_whatever_step_it_died_after(tmp_path, died_after):
    with RunningDaemon(tmp_path / "data") as daemon:
        daemon.stop()
        with sqlite3.connect(daemon.data_dir / DATABASE) as connection:
            connection.execute("UPDATE store SET is_settled = 0")
        connection.close()
        if died_after == "database":
            with (
                lmdb.open(str(daemon.data_dir / "ledger"), max_dbs=16, lib_version=ENGINE) as env,
                env.begin(write=True, db=env.open_db(b"meta")) as transaction,
            ):
                assert transaction.delete(b"store_id")
        daemon.start()
        assert daemon.call("echo", {"text": "after"})["status"] == "ok"
        daemon.stop()
        (daemon.data_dir / DATABASE).unlink()
        assert DATABASE in refused_start(daemon)


def test_two_daemons_never_have_one_data_file_by_a_hard_link(tmp_path):
    with RunningDaemon(tmp_path / "data") as daemon:
        daemon.call("echo", {"text": "before"})
        second = tmp_path / "second"
        (second / "ledger").mkdir(mode=0o700, parents=True)
        second.chmod(0o700)
        os.link(daemon.data_dir / DATA, second / DATA)
        for name in (DATABASE, f"{DATABASE}-wal"):
            shutil.copy2(daemon.data_dir / name, second / name)
        with_link = RunningDaemon(second)
        assert "data.mdb" in refused_start(with_link)
        with_link._short.cleanup()
        expect_shut(daemon, "data.mdb")
        daemon.kill()
        said = refused_start(daemon)
        assert "(hard links)" in said
        assert "samefile" in said


def administer(daemon: RunningDaemon) -> dict[str, int]:
    """Every operation that changes something, with a body that would do; gives the status of each."""
    return {
        f"{method} {path}": daemon.request(method, path, body)[0]
        for method, path, body in (
            ("PUT", "/v1/secrets/token", {"value": "long enough to be one"}),
            ("DELETE", "/v1/secrets/kept", None),
            ("POST", "/v1/agents", {"name": "newcomer"}),
            ("POST", "/v1/agents/scout/revoke", None),
            ("POST", "/v1/backups", {"out_dir": str(daemon.data_dir.parent / "backup")}),
            ("POST", "/v1/budgets/read", {"daily_limit_microusd": 1}),
            ("POST", "/v1/controls", {"action": "freeze", "subject": "all"}),
            ("POST", "/v1/controls/lift", {"action": "require_approval"}),
            ("PUT", "/v1/policy", {"policy_text": "permit (principal, action, resource);"}),
            ("POST", "/v1/providers/new", {"base_url": "https://example.com"}),
            ("POST", "/v1/providers/known", {"base_url": "https://example.org"}),
            ("POST", "/v1/providers/known/disable", None),
            ("POST", "/v1/providers/known/enable", None),
            ("POST", "/v1/providers/known/clear-capabilities", None),
            ("POST", "/v1/providers/known/oauth/revoke", None),
            ("POST", "/v1/providers/known/vc/fetch", None),
            ("POST", "/v1/providers/known/delete", None),
            ("POST", "/v1/mcp/servers/new", {"endpoint_url": "https://example.com/mcp"}),
            ("POST", "/v1/mcp/servers/known/delete", None),
            ("POST", "/v1/approvals/3f2504e0-4f89-41d3-9a0c-0305e82c3301/approve", None),
            ("POST", "/v1/approvals/3f2504e0-4f89-41d3-9a0c-0305e82c3301/deny", None),
            ("POST", "/v1/receipts/archive", None),
        )
    }


def administered(daemon: RunningDaemon) -> list:
    """What all that could have changed."""
    paths = ("secrets", "agents", "controls", "budgets", "policy", "providers", "mcp/servers", "approvals")
    return [daemon.request("GET", f"/v1/{path}")[1] for path in paths]


def test_no_administrative_change_is_made_on_a_503(tmp_path):
    with RunningDaemon(tmp_path / "data") as daemon:
        assert daemon.request("PUT", "/v1/secrets/kept", {"value": "long enough to be one"})[0] == 200
        assert daemon.request("POST", "/v1/agents", {"name": "scout"})[0] == 200
        assert daemon.request("POST", "/v1/providers/known", {"base_url": "https://example.com"})[0] == 200
        known = {"endpoint_url": "https://example.com/mcp"}
        assert daemon.request("POST", "/v1/mcp/servers/known", known)[0] == 200
        before = administered(daemon)
        hard_link(daemon.data_dir / DATA)
        assert set(administer(daemon).values()) == {503}
        after = administered(daemon)
        for was, now in zip(before, after, strict=True):
            for server in (*was.get("servers", ()), *now.get("servers", ())):
                server.update(state="", problem="")  # it is being connected to all the while
            assert now == was
        assert not (tmp_path / "backup").exists()


def test_a_vault_that_was_removed_is_not_made_anew_under_another_identity(tmp_path):
    with RunningDaemon(tmp_path / "data") as daemon:
        did = daemon.request("GET", "/v1/identity")[1]["did"]
        daemon.stop()
        (tmp_path / "data" / "vault.json").rename(tmp_path / "vault.json")
        (tmp_path / "data" / "vault.key").rename(tmp_path / "vault.key")
        for _ in range(2):
            with pytest.raises(AssertionError, match=f"expected the vault of `{did}`"):
                daemon.start()
            daemon.kill()
            assert not list((tmp_path / "data").glob("vault.[jk]*"))
        for name in ("vault.json", "vault.key"):
            (tmp_path / name).replace(tmp_path / "data" / name)
        daemon.start()
        assert daemon.request("GET", "/v1/identity")[1]["did"] == did
