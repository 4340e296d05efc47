"""A daemon killed in the middle of an operator's change: the next start settles it, and its receipts say so."""

import contextlib
import hashlib
import http.client
import sys

import pytest

from support.crash import dying_daemon
from support.daemons import RunningDaemon


def cut_off(daemon: RunningDaemon, point: tuple[str, str, str, str], *request) -> dict:
    """Make a request of a daemon that dies at a point; gives the event that closed the change after the next start."""
    daemon.stop()
    daemon.command = dying_daemon(*point)
    daemon.start()
    with contextlib.suppress(OSError, http.client.HTTPException):
        daemon.request(*request)
    daemon.kill()
    daemon.command = [sys.executable, "-m", "briefcase", "daemon"]
    daemon.start()
    receipts = daemon.request("GET", "/v1/receipts?order=oldest")[1]["receipts"]
    intents = [receipt["id"] for receipt in receipts if receipt["event"]["kind"] == "change_intent"]
    closings = [receipt["event"] for receipt in receipts if receipt["event"].get("intent_id") == intents[-1]]
    assert len(closings) == 1
    verified = daemon.request("POST", "/v1/receipts/verify", {"state": True})[1]
    assert verified["ok"], verified
    return closings[0]


def test_an_agent_that_was_added_without_a_receipt_is_ended(tmp_path):
    with RunningDaemon(tmp_path / "data") as daemon:
        point = ("briefcase.adapters.store.agents", "Agents", "add", "after")
        closed = cut_off(daemon, point, "POST", "/v1/agents", {"name": "scout"})
        assert (closed["kind"], closed["change"], closed["by"]) == ("change_failed", "agent_added", "operator")
        assert closed["error"] == "interrupted"
        (agent,) = daemon.request("GET", "/v1/agents")[1]["agents"]
        assert agent["revoked_at"] is not None
        assert daemon.request("POST", "/v1/agents", {"name": "scout"})[0] == 200


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_agent_that_was_to_be_revoked_is_revoked_with_a_receipt(tmp_path, when):
    with RunningDaemon(tmp_path / "data") as daemon:
        token = daemon.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
        point = ("briefcase.adapters.store.agents", "Agents", "revoke", when)
        closed = cut_off(daemon, point, "POST", "/v1/agents/scout/revoke")
        assert (closed["kind"], closed["agent"], closed["is_settled"]) == ("agent_revoked", "scout", True)
        assert daemon.request("GET", "/v1/tools", token=token)[0] == 401


def test_a_provider_that_was_removed_without_a_receipt_is_gone_with_one_and_sent_nothing(tmp_path):
    with RunningDaemon(tmp_path / "data") as daemon:
        assert daemon.request("POST", "/v1/providers/demo", {"base_url": "https://example.com"})[0] == 200
        assert daemon.request("POST", "/v1/providers/demo/disable")[1]["is_enabled"] is False
        assert daemon.call("quote", {"symbol": "ACME"}) | {"receipt_id": 0} == {
            "status": "denied",
            "reason": "disabled",
            "receipt_id": 0,
        }
        point = ("briefcase.adapters.providers.registry", "Providers", "delete", "before")
        closed = cut_off(daemon, point, "POST", "/v1/providers/demo/delete")
        assert (closed["kind"], closed["provider"], closed["is_settled"]) == ("provider_deleted", "demo", True)
        assert daemon.request("GET", "/v1/providers")[1] == {"providers": []}


def test_a_server_that_was_to_be_removed_is_left_without_its_log_in_and_the_receipt_says_so(tmp_path):
    with RunningDaemon(tmp_path / "data") as daemon:
        body = {"endpoint_url": "https://127.0.0.1:9/mcp"}
        assert daemon.request("POST", "/v1/mcp/servers/desk", body)[0] == 200
        point = ("briefcase.adapters.servers.logins", "Logins", "forget", "after")
        closed = cut_off(daemon, point, "POST", "/v1/mcp/servers/desk/delete")
        assert (closed["kind"], closed["server_id"], closed["is_settled"]) == ("mcp_login_ended", "desk", True)
        (server,) = daemon.request("GET", "/v1/mcp/servers")[1]["servers"]
        assert (server["id"], server["has_oauth_refresh"]) == ("desk", False)


def test_a_whole_backup_without_its_receipt_is_named_by_the_next_start(tmp_path):
    with RunningDaemon(tmp_path / "data") as daemon:
        out = tmp_path / "backup"
        point = ("briefcase.adapters.backup.create", "Prepared", "finish", "after")
        closed = cut_off(daemon, point, "POST", "/v1/backups", {"out_dir": str(out)})
        assert (closed["kind"], closed["change"], closed["by"]) == ("outcome_unknown", "backup_created", "operator")
        assert closed["manifest_digest"] == hashlib.sha256((out / "manifest.json").read_bytes()).hexdigest()
