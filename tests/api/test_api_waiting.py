"""A call that waits for a person (`?wait_ms=`), and a retry that needs no token, at a real daemon."""

from __future__ import annotations

import json
import threading
import time
import uuid

import pytest

from support.daemons import RunningDaemon, UnixConnection
from support.waiting import wait_until

BOUND_MS = 50_000


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("waiting") / "data"
    data_dir.mkdir(mode=0o700)
    with RunningDaemon(data_dir) as running:
        yield running


@pytest.fixture
def scout(daemon):
    """The token of an agent of this test's own."""
    name = f"scout-{uuid.uuid4().hex[:8]}"
    return name, daemon.request("POST", "/v1/agents", {"name": name})[1]["token"]


class Call:
    """One call on a thread; `answer` waits for what came of it."""

    def __init__(self, daemon, token, text, *, wait_ms=BOUND_MS, path="/v1/tools/call", request_id=None):
        self.request_id = request_id or str(uuid.uuid4())
        body = {"call": {"tool_id": "note_add", "args": {"text": text}, "context": {"request_id": self.request_id}}}
        self.asked = (f"{path}?wait_ms={wait_ms}" if wait_ms else path, json.dumps(body), token)
        self.daemon = daemon
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        path, body, token = self.asked
        connection = UnixConnection(self.daemon.socket_path)
        connection.request("POST", path, body, headers={"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        self.status, self.said = response.status, json.loads(response.read())
        connection.close()

    def answer(self):
        self.thread.join(60)
        assert not self.thread.is_alive(), "the call was not answered"
        return self.status, self.said


def waiting_for(daemon, name):
    """The approval that an agent's call waits for."""
    found = []

    def is_there():
        found[:] = [one for one in daemon.request("GET", "/v1/approvals")[1]["approvals"] if one["principal"] == name]
        return bool(found)

    wait_until(is_there, lambda: "nothing waits")
    return found[0]["id"]


def approve(daemon, approval_id):
    assert daemon.request("POST", f"/v1/approvals/{approval_id}/approve", {})[0] == 200


@pytest.mark.parametrize(("path", "status"), [("/v1/tools/call", "ok"), ("/v1/decide", "allowed")])
def test_a_call_that_waits_goes_on_when_a_person_says_yes(daemon, scout, path, status):
    name, token = scout
    call = Call(daemon, token, "wait for me", path=path)
    approval_id = waiting_for(daemon, name)
    began = time.monotonic()
    approve(daemon, approval_id)
    answered, said = call.answer()
    assert (answered, said["status"]) == (200, status)
    assert time.monotonic() - began < 30, "it waited for its time to be over"
    assert daemon.request("GET", f"/v1/approvals/{approval_id}")[1]["status"] == "consumed"


def test_a_no_is_a_denial_with_its_receipt(daemon, scout):
    name, token = scout
    call = Call(daemon, token, "not this one")
    daemon.request("POST", f"/v1/approvals/{waiting_for(daemon, name)}/deny", {"reason": "wrong customer"})
    answered, said = call.answer()
    assert (answered, said["status"]) == (200, "denied")
    newest = daemon.request("GET", "/v1/receipts?limit=1&kind=denied")[1]["receipts"][0]["event"]
    assert newest["request_id"] == call.request_id


def test_when_its_time_is_over_it_still_waits_under_the_same_approval(daemon, scout):
    name, token = scout
    answered, said = Call(daemon, token, "slow", wait_ms=50).answer()
    assert (answered, said["status"]) == (200, "approval_required")
    assert said["approval"]["id"] == waiting_for(daemon, name)


def test_a_retry_of_the_same_request_needs_no_token_and_another_request_does(daemon, scout):
    name, token = scout
    first = Call(daemon, token, "again", wait_ms=0)
    assert first.answer()[1]["status"] == "approval_required"
    approve(daemon, waiting_for(daemon, name))
    other = Call(daemon, token, "again", wait_ms=0).answer()[1]
    assert (other["status"], other["approval"]["status"]) == ("approval_required", "approved")
    again = Call(daemon, token, "again", wait_ms=0, request_id=first.request_id).answer()[1]
    assert again["status"] == "ok"
    remembered = Call(daemon, token, "again", wait_ms=0, request_id=first.request_id).answer()[1]
    assert remembered == again
    after = Call(daemon, token, "again", wait_ms=0).answer()[1]
    assert (after["status"], after["approval"]["status"]) == ("approval_required", "pending")


def test_a_request_id_carries_its_yes_to_no_other_arguments_and_to_no_other_agent(daemon, scout):
    name, token = scout
    first = Call(daemon, token, "mine", wait_ms=0)
    first.answer()
    approve(daemon, waiting_for(daemon, name))
    stranger = daemon.request("POST", "/v1/agents", {"name": f"{name}-other"})[1]["token"]
    for asks, text in ((stranger, "mine"), (token, "mine, and more")):
        said = Call(daemon, asks, text, wait_ms=0, request_id=first.request_id).answer()[1]
        assert said["status"] == "approval_required"
        assert said["approval"]["status"] == "pending"


def test_a_token_that_ends_while_its_call_waits_ends_the_call(daemon, scout):
    name, token = scout
    call = Call(daemon, token, "too late")
    approval_id = waiting_for(daemon, name)
    assert daemon.request("POST", f"/v1/agents/{name}/revoke")[0] == 200
    approve(daemon, approval_id)
    answered, said = call.answer()
    assert (answered, said["code"]) == (401, "unauthorized")
    assert daemon.request("GET", f"/v1/approvals/{approval_id}")[1]["status"] == "approved"


@pytest.mark.parametrize("wait_ms", ["-1", "55001", "soon", "1&wait_ms=2"])
def test_a_time_that_is_none_is_refused_before_the_call_is_looked_at(daemon, scout, wait_ms):
    name, token = scout
    assert Call(daemon, token, "x", wait_ms=wait_ms).answer()[0] == 400
    assert name not in {one["principal"] for one in daemon.request("GET", "/v1/approvals")[1]["approvals"]}


def test_approvals_are_asked_for_by_their_ids_and_an_agent_sees_its_own_whatever_their_status(daemon, scout):
    name, token = scout
    other = daemon.request("POST", "/v1/agents", {"name": f"other-{name}"})[1]["token"]
    calls = [Call(daemon, token, f"by id {number}", wait_ms=0) for number in range(2)]
    theirs = Call(daemon, other, "by id", wait_ms=0)
    first, second = (call.answer()[1]["approval"]["id"] for call in calls)
    foreign = theirs.answer()[1]["approval"]["id"]
    daemon.request("POST", f"/v1/approvals/{first}/deny", {"reason": "no"})
    nobodys = str(uuid.uuid4())
    wanted = f"/v1/approvals?ids={first},{second},{foreign},{nobodys}"
    status, said = daemon.request("GET", wanted, token=token)
    assert status == 200
    found = {one["id"]: (one["status"], one.get("decision_reason")) for one in said["approvals"]}
    assert found == {first: ("rejected", "no"), second: ("pending", None)}
    assert len(daemon.request("GET", wanted)[1]["approvals"]) == 3
    assert all("approval_token" not in one for one in said["approvals"])


@pytest.mark.parametrize(
    "ids", ["x", "1,2", f"{uuid.UUID(int=0)},", ",".join(str(uuid.UUID(int=n)) for n in range(51))]
)
def test_ids_that_are_none_or_too_many_are_refused(daemon, scout, ids):
    assert daemon.request("GET", f"/v1/approvals?ids={ids}", token=scout[1])[0] == 400
