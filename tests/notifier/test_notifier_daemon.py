"""What the daemon tells the notifier: by role, each event once, and nothing before its first start."""

import pytest

from briefcase.core.wire.anomalies import AnomalyList, AnomalyRecord
from briefcase.core.wire.approvals import ApprovalList, ApprovalRecord
from briefcase.core.wire.receipts import ReceiptList, ReceiptRecord
from briefcase.edges.client.reply import Reply
from briefcase.edges.notifier.daemon import PAGE, Cursor, Following
from briefcase.model.errors import BriefcaseError, CallerError, ConfigError

HASH = "0" * 64


class Daemon:
    """Answers as a daemon would to a token of a role."""

    def __init__(self, role):
        self.role = role
        self.waiting = []
        self.events = []
        self.asked = []
        self.anomalies = None

    def get(self, path, kind, /, **query):
        self.asked.append((path, query.get("kind")))
        may = {
            "/v1/tools": "operator agent",
            "/v1/approvals": "operator agent approver",
            "/v1/receipts": "operator auditor",
            "/v1/ai/anomalies": "operator auditor",
        }
        if self.role not in may[path].split():
            raise CallerError("not for this role", code="forbidden" if self.role != "nobody" else "unauthorized")
        return Reply(self._answer(path, kind, query), b"", path)

    def _answer(self, path, kind, query):
        if kind is ApprovalList:
            return ApprovalList(list(self.waiting))
        if kind is AnomalyList:
            if self.anomalies is None:
                raise CallerError("the daemon does not offer it", code="not_found")
            return AnomalyList([one for one in self.anomalies if one.receipt_id > query["after_id"]])
        if kind is not ReceiptList:
            return kind([])
        found = [ReceiptRecord(at + 1, "t", HASH, HASH, one) for at, one in enumerate(self.events)]
        if "kind" not in query:
            return ReceiptList(found[-1:])
        low, high = query["after_id"], query["to_id"]
        passing = [one for one in found if low < one.id <= high and one.event["kind"] == query["kind"]]
        return ReceiptList(passing[: query["limit"]])

    def ask(self, approval_id):
        self.waiting.append(
            ApprovalRecord(
                id=approval_id, created_at="t", expires_at="t", principal="scout", tool_id="note_add", reason="policy",
                kind="local", summary="note_add {}",
            )
        )  # fmt: skip
        self.events.append({"kind": "approval_required", "approval_id": approval_id, "principal": "scout"})


def follower(daemon):
    return Following(daemon, with_summaries=True)


@pytest.mark.parametrize("role", ["operator", "agent"])
def test_a_token_that_may_call_tools_is_refused(role):
    with pytest.raises(ConfigError) as caught:
        follower(Daemon(role)).read(Cursor())
    assert "expected an approver's or an auditor's" in caught.value.message
    assert "--role auditor" in caught.value.hint


def test_nobodys_token_is_refused():
    with pytest.raises(BriefcaseError) as caught:
        follower(Daemon("nobody")).read(Cursor())
    assert caught.value.code == "unauthorized"


@pytest.mark.parametrize("role", ["approver", "auditor"])
def test_each_call_that_waits_is_told_of_once_over_restarts(role):
    daemon = Daemon(role)
    cursor = follower(daemon).read(Cursor()).cursor
    seen = []
    for number in range(6):
        daemon.ask(f"id-{number}")
        batch = follower(daemon).read(cursor)  # a new process each time, with what it remembered
        seen += [event.id for event in batch.events]
        cursor = batch.cursor
    assert seen == [f"approval:id-{number}" for number in range(6)]
    assert follower(daemon).read(cursor).events == ()


def test_an_auditor_is_told_of_a_call_once_however_often_it_is_repeated():
    daemon = Daemon("auditor")
    cursor = follower(daemon).read(Cursor()).cursor
    for _ in range(3):
        daemon.ask("id-1")
        daemon.events.append({"kind": "intent"})
    batch = follower(daemon).read(cursor)
    assert [event.id for event in batch.events] == ["approval:id-1"]
    daemon.ask("id-1")
    assert follower(daemon).read(batch.cursor).events == ()


def test_an_auditor_is_told_of_alarms_in_the_order_of_the_chain():
    daemon = Daemon("auditor")
    daemon.events.append({"kind": "policy_set", "by": "before the first start"})
    cursor = follower(daemon).read(Cursor()).cursor
    daemon.events += [{"kind": "policy_set", "by": "bo"}, {"kind": "boot"}, {"kind": "agent_added", "agent": "scout"}]
    daemon.ask("id-1")
    daemon.events.append({"kind": "operator_added", "operator": "cy"})
    events = follower(daemon).read(cursor).events
    assert [event.kind for event in events] == ["policy_set", "agent_added", "waits", "operator_added"]
    assert [event.agent for event in events] == ["bo", "scout", "scout", "cy"]


def test_whoever_switches_signers_only_off_is_heard_of():
    daemon = Daemon("auditor")
    cursor = follower(daemon).read(Cursor()).cursor
    daemon.events += [{"kind": "boot"}, {"kind": "signers_only_set", "is_on": False, "by": "configuration"}]
    events = follower(daemon).read(cursor).events
    assert [(event.kind, event.severity) for event in events] == [("signers_only_set", "high")]


def test_an_auditor_reads_on_over_pages():
    daemon = Daemon("auditor")
    cursor = follower(daemon).read(Cursor()).cursor
    for number in range(PAGE + 3):
        daemon.ask(f"id-{number}")
    assert len(follower(daemon).read(cursor).events) == PAGE + 3


def test_anomalies_are_alarms_of_an_auditor_once_and_in_their_order():
    daemon = Daemon("auditor")
    daemon.events += [{"kind": "boot"}] * 3
    cursor = follower(daemon).read(Cursor()).cursor
    daemon.events += [{"kind": "outcome"}] * 3
    daemon.anomalies = [
        AnomalyRecord("new_domain", severity, "unlike before", number, "t", "scout")
        for number, severity in ((9, "low"), (6, "high"), (5, "low"), (2, "low"))
    ]
    batch = follower(daemon).read(cursor)
    assert [(one.id, one.severity, one.ref, one.agent) for one in batch.events] == [
        ("anomaly:new_domain:5", "low", "5", "scout"), ("anomaly:new_domain:6", "high", "6", "scout"),
    ]  # fmt: skip
    assert follower(daemon).read(batch.cursor).events == ()


def test_a_chain_that_went_back_is_an_alarm_and_followed_from_there():
    daemon = Daemon("auditor")
    daemon.events += [{"kind": "boot"}] * 5
    batch = follower(daemon).read(Cursor(9))
    assert [(event.kind, event.severity) for event in batch.events] == [("chain", "high")]
    assert batch.cursor.receipt_id == 5


def test_an_approver_never_reads_receipts_and_an_auditor_never_reads_approvals():
    for role, path in (("approver", "/v1/receipts"), ("auditor", "/v1/approvals")):
        daemon = Daemon(role)
        daemon.ask("id-1")
        following = follower(daemon)
        following.read(following.read(Cursor()).cursor)
        assert [asked for asked, _ in daemon.asked].count(path) <= 1  # to learn the role
