"""A daemon in a process of its own, a control plane over HTTP, and the command line: from enrolling to leaving."""

import json
import subprocess
import sys
from contextlib import suppress

import pytest

from support.control_plane import ADMIN_TOKEN, POLICY, ControlPlaneServer, FakeControlPlane
from support.crash import dying_daemon
from support.daemons import RunningDaemon, UnixConnection

NEXT = f"{POLICY} // the next"


class Fleet:
    """A daemon that may reach a control plane, and the shell beside it."""

    def __init__(self, tmp_path, server: ControlPlaneServer) -> None:
        self.plane, self.url = server.plane, server.url
        data_dir = tmp_path / "data"
        data_dir.mkdir(mode=0o700)
        config = data_dir / "briefcase.toml"
        config.write_text(f'[net]\nallow_private = ["{server.address}"]\n')
        config.chmod(0o600)
        self.daemon = RunningDaemon(data_dir, BRIEFCASE_CONTROL_PLANE_SYNC_INTERVAL_SECS="3600")

    def cli(self, *args: str, stdin: str = "", **env: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "briefcase", *args]
        ran = subprocess.run(
            command,
            env={**self.daemon.env, **env},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return ran.returncode, ran.stdout + ran.stderr

    def figures(self) -> dict[str, float]:
        connection = UnixConnection(self.daemon.socket_path)
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {self.daemon.operator_token}"})
        lines = connection.getresponse().read().decode().splitlines()
        connection.close()
        return {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith("briefcase_control_plane")}

    def status(self) -> dict:
        return self.daemon.request("GET", "/v1/control-plane")[1]


@pytest.fixture
def fleet(tmp_path):
    with ControlPlaneServer(FakeControlPlane()) as server:
        fleet = Fleet(tmp_path, server)
        with fleet.daemon:
            yield fleet


def test_a_daemon_enrols_syncs_survives_a_restart_and_leaves(fleet):
    assert fleet.status() == {"status": "not_enrolled", "mandatory": None}
    assert fleet.cli("control-plane", "sync") == (0, "not enrolled: `briefcase control-plane enroll URL NAME`\n")

    # enrol: the token from standard input
    code, said = fleet.cli("control-plane", "enroll", fleet.url, "laptop-1", stdin=f"{ADMIN_TOKEN}\n")
    assert (code, "laptop-1" in said) == (0, True)
    status = fleet.status()
    assert (status["status"], status["base_url"], status["last_policy_bundle_id"]) == ("enrolled", fleet.url, 1)
    assert status["policy_signing_pubkey_b64"] == fleet.plane.key.public_b64

    # sync: a new policy, and every receipt
    fleet.plane.publish(2, NEXT, {"read": 5})
    code, said = fleet.cli("control-plane", "sync", "--json")
    assert (code, json.loads(said)["status"]) == (0, "synced")
    assert fleet.daemon.request("GET", "/v1/policy")[1]["policy_text"] == NEXT
    budgets = fleet.daemon.request("GET", "/v1/budgets")[1]["budgets"]
    assert {line["category"]: line["daily_limit_microusd"] for line in budgets}["read"] == 5

    # the figures say so
    figures = fleet.figures()
    assert figures["briefcase_control_plane_sync_failures"] == 0
    assert figures["briefcase_control_plane_uploaded_receipt"] == fleet.status()["last_receipt_upload_id"]
    assert figures["briefcase_control_plane_last_sync_timestamp_seconds"] > 0

    # the policy is not the operator's
    code, refused = fleet.daemon.request("PUT", "/v1/policy", {"policy_text": POLICY})
    assert (code, refused["code"]) == (409, "managed_by_control_plane")

    # a restart goes on from the watermark
    fleet.daemon.stop()
    fleet.daemon.start()
    assert fleet.cli("control-plane", "sync")[0] == 0
    status = fleet.status()
    (receipts,) = fleet.plane.receipts.values()
    assert [receipt["id"] for receipt in receipts] == list(range(1, status["last_receipt_upload_id"] + 1))
    assert (status["last_policy_bundle_id"], status["state"], status["last_error"]) == (2, "synced", None)

    # leave
    assert fleet.cli("control-plane", "leave")[0] == 0
    assert fleet.status()["status"] == "not_enrolled"
    assert fleet.daemon.request("PUT", "/v1/policy", {"policy_text": POLICY})[0] == 200
    assert fleet.cli("receipts", "verify", "--state")[0] == 0


@pytest.mark.parametrize(
    ("module", "owner", "name", "when"),
    [
        ("briefcase.core.operator.policy", "PolicyService", "commit", "before"),
        ("briefcase.core.operator.policy", "PolicyService", "commit", "after"),
        ("briefcase.adapters.fleet.client", "ControlPlaneClient", "upload", "after"),
    ],
)
def test_a_daemon_that_is_killed_while_it_syncs_goes_on_where_it_was(fleet, module, owner, name, when):
    assert fleet.cli("control-plane", "enroll", fleet.url, "ci", stdin=ADMIN_TOKEN)[0] == 0
    fleet.daemon.stop()
    fleet.plane.publish(2, NEXT, {"read": 5})
    alive, fleet.daemon.command = fleet.daemon.command, dying_daemon(module, owner, name, when)
    with suppress(AssertionError):  # it syncs as soon as it runs, so it may be gone before it is ready
        fleet.daemon.start()
    fleet.daemon.process.wait(timeout=60)
    fleet.daemon.kill()

    fleet.daemon.command = alive
    fleet.daemon.start()
    assert fleet.cli("control-plane", "sync")[0] == 0
    status = fleet.status()
    assert (status["last_policy_bundle_id"], status["last_error"]) == (2, None)
    assert fleet.daemon.request("GET", "/v1/policy")[1]["policy_text"] == NEXT
    (receipts,) = fleet.plane.receipts.values()
    assert [receipt["id"] for receipt in receipts] == list(range(1, status["last_receipt_upload_id"] + 1))
    assert fleet.cli("receipts", "verify", "--state")[0] == 0


def test_neither_token_is_in_any_file_of_the_data_directory_or_the_log(fleet):
    code, _ = fleet.cli("control-plane", "enroll", fleet.url, "ci", BRIEFCASE_CONTROL_PLANE_ADMIN_TOKEN=ADMIN_TOKEN)
    assert code == 0
    fleet.daemon.stop()
    (device,) = fleet.plane.devices.values()
    held = [path for path in fleet.daemon.data_dir.rglob("*") if path.is_file()]
    texts = [path.read_bytes() for path in held] + [fleet.daemon.logged().encode()]
    for secret in (ADMIN_TOKEN, device["token"]):
        assert not any(secret.encode() in text for text in texts)


def test_a_refused_enrolment_says_so_with_an_exit_code(fleet):
    code, said = fleet.cli("control-plane", "enroll", fleet.url, "ci", stdin="another-token")
    assert (code, "invalid_token" in said) == (8, True)
    code, said = fleet.cli("control-plane", "enroll", "http://192.0.2.7", "ci", stdin="another-token")
    assert (code, "another-token" in said) == (8, False)
