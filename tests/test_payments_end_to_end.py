"""A payment that a person approves, process by process: the daemon, a provider that wants money, and a helper."""

import http.server
import sys
import threading
from pathlib import Path

import pytest

from briefcase.adapters.system import SystemClock
from briefcase.model.ports import HttpRequest
from support.commands import briefcase
from support.daemons import RunningDaemon
from support.paid import OFFER, PAY_TO, TRANSACTION, PaidProvider

ARGS = {"symbol": "ACME"}
HELPER = f"""#!{sys.executable}
import json, sys, time
sys.path[:0] = {[str(Path(__file__).parent)]!r}
from support.paid import encoded, sign
asked = json.load(sys.stdin)
signed = sign(asked["payment_required"], int(time.time()), 1)
print(json.dumps({{"rail": asked["rail"], "payment_signature_b64": encoded(signed)}}))
"""


@pytest.fixture
def provider():
    """A provider on loopback."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self):
            headers = {name.lower(): value for name, value in self.headers.items()}
            told = self.server.paid(HttpRequest(self.command, self.server.address + self.path, headers))
            status, headers, body = (404, {}, b"") if told is None else (told.status, told.headers, told.body)
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815 - the names http.server calls

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.address = f"http://127.0.0.1:{server.server_port}"
        server.paid = PaidProvider(server.address, SystemClock())
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def daemon(tmp_path, provider):
    program = tmp_path / "helper"
    program.write_text(HELPER)
    program.chmod(0o700)
    environment = {"BRIEFCASE_PROVIDER_BASE_URL": provider.address, "BRIEFCASE_PAYMENT_HELPER": str(program)}
    with RunningDaemon(tmp_path / "data", **environment) as running:
        running.agent = running.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
        yield running


def test_a_payment_past_the_budget_is_shown_to_a_person_approved_with_its_digest_and_made_once(daemon, provider):
    first = daemon.call("quote", ARGS, token=daemon.agent)
    assert (first["status"], "does not allow it" in first["message"]) == ("error", True), first

    asked = daemon.call("quote", ARGS, token=daemon.agent)
    assert (asked["status"], asked["approval"]["reason"]) == ("approval_required", "risk:payment_due"), asked
    path = f"/v1/approvals/{asked['approval']['id']}"
    shown = daemon.request("GET", path)[1]
    assert shown["payment"] == {
        "provider_id": "demo",
        "rail": "x402_v2",
        "amount_microusd": 2_000,
        "pay_to": PAY_TO.lower(),
        "asset": OFFER["asset"].lower(),
        "network": OFFER["network"],
        "amount": "2000",
        "resource": f"{provider.address}/token",
    }
    status, refused = daemon.request("POST", f"{path}/approve")
    assert (status, "pays somebody" in refused["message"]) == (409, True)
    listed = briefcase(daemon, "approvals", "show", asked["approval"]["id"]).stdout
    assert f"$0.002000 to {PAY_TO.lower()}" in listed
    assert f"2000 of {OFFER['asset'].lower()} on eip155:84532" in listed
    approved = daemon.request("POST", f"{path}/approve", {"shown_digest_hex": shown["shown_digest_hex"]})
    assert (approved[0], provider.paid.payments) == (200, [])

    answer = daemon.call("quote", ARGS, token=daemon.agent, approval_token=approved[1]["approval_token"])
    assert answer["status"] == "ok", answer
    assert len(provider.paid.payments) == 1
    assert daemon.call("quote", ARGS, token=daemon.agent)["status"] == "ok"  # what was paid for serves on
    assert len(provider.paid.payments) == 1

    def receipt(kind):
        return daemon.request("GET", f"/v1/receipts?kind={kind}&limit=1")[1]["receipts"][0]["event"]

    outcome = receipt("payment_outcome")
    assert (outcome["status"], outcome["transaction"], outcome["is_approved"]) == ("ok", TRANSACTION, True)
    assert outcome["spent_microusd"] == 2_000
    call = daemon.request("GET", f"/v1/receipts/{outcome['call_intent_id']}")[1]["event"]
    assert (call["kind"], call["call_id"]) == ("intent", outcome["call_id"])
    assert call["approval_id"] == asked["approval"]["id"]
    assert daemon.request("POST", "/v1/receipts/verify", {"state": True})[1]["ok"] is True
