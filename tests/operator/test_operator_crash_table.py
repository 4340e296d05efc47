"""The crash table of docs/receipts.md: each row names its tests, and what lives in the ledger is played here.

A change in the ledger is one transaction with its receipt, so a crash before it leaves neither and one after it both.
"""

import ast
import re
from pathlib import Path

import pytest
from test_operator_approvals import NO, YES, Counter
from test_operator_servers import HERE, THERE
from test_operator_servers import Desk as ServerDesk

from briefcase.core.controls import Controls
from briefcase.core.operator.administration import Administration
from briefcase.core.operator.budgets import BudgetAdmin
from briefcase.core.operator.controls import ControlChoice
from briefcase.core.operator.policy import PolicyService
from briefcase.core.operator.witnesses import WitnessAdmin
from briefcase.core.policy.check import DEFAULT_POLICY_TEXT
from briefcase.model.types import ApprovalStatus
from support.clock import FakeClock
from support.controls import admin_of
from support.crash import Crash, crashed
from support.fleet import FleetDesk
from support.ledger import MemoryLedger
from support.signers import Device, SigningDesk
from support.tools import FakeTools
from support.witnesses import CosignerKey

ROOT = Path(__file__).parents[2]
WHEN = pytest.mark.parametrize("when", ["before", "after"])

PLAYED = {
    ("agents", "added"): ["agents:an_agent_whose_addition_a_crash_cut_off_is_ended_by_the_next_start"],
    ("agents", "revoked"): ["agents:a_revocation_that_a_crash_cut_off_is_finished_by_the_next_start"],
    ("people", "added, revoked"): ["people:a_person_is_there_with_the_receipt_or_not_at_all"],
    ("passkeys", "registered"): ["crash_table:a_signer_is_there_with_its_receipt_or_not_at_all"],
    ("signers", "paired, revoked"): ["crash_table:a_signer_is_there_with_its_receipt_or_not_at_all"],
    ("secrets", "set"): [
        "secrets:a_set_that_a_crash_cut_off_is_named_and_sends_no_value_where_it_is_not_for",
        "secrets:a_first_set_that_a_crash_cut_off_before_its_value_is_undone",
    ],
    ("secrets", "bound"): ["secrets:a_binding_that_a_crash_cut_off_is_finished"],
    ("secrets", "removed"): ["secrets:a_removal_that_a_crash_cut_off_is_finished"],
    ("providers", "set, deleted"): [
        "providers:a_move_that_a_crash_cut_off_is_finished_and_sends_no_log_in_to_the_new_address",
        "providers:a_removal_that_a_crash_cut_off_is_finished_with_all_that_is_held",
    ],
    ("providers", "log-in, credential, verdict"): [
        "providers:what_nobody_can_know_after_a_crash_is_said_to_be_unknown"
    ],
    ("providers", "log-in revoked"): [
        "providers:a_revocation_that_a_crash_cut_off_ends_the_log_in_here_and_says_what_is_not_known"
    ],
    ("providers", "capability cleared"): ["providers:clearing_that_a_crash_cut_off_is_done_by_the_restart"],
    ("log-ins at MCP servers", "made"): ["servers:a_log_in_that_a_crash_cut_off_is_said_to_be_unknown"],
    ("log-ins at MCP servers", "revoked, ended"): [
        "servers:a_revocation_that_a_crash_cut_off_ends_the_log_in_here_and_says_what_is_not_known",
        "servers:a_crash_while_a_server_moves_or_goes_leaves_one_to_log_in_to_at_its_old_address",
    ],
    ("MCP servers", "set, moved, deleted"): [
        "servers:a_crash_around_the_description_leaves_no_log_in_and_no_open_intent",
        "crash_table:a_server_that_is_set_is_there_with_its_receipt_or_not_at_all",
    ],
    ("MCP servers", "listing accepted"): ["crash_table:a_listing_that_was_accepted_opens_no_intent_of_its_own"],
    ("approvals", "decided, taken back"): ["crash_table:a_decision_is_there_with_its_receipt_or_not_at_all"],
    ("grants", "given, revoked"): [
        "grants:a_grant_is_there_with_the_yes_and_its_receipt_or_not_at_all",
        "grants:a_grant_is_ended_with_its_receipt_or_not_at_all",
    ],
    ("budgets", "set"): ["crash_table:a_limit_is_there_with_its_receipt_or_not_at_all"],
    ("controls (`providers disable` too)", "set, lifted"): [
        "crash_table:a_control_is_in_force_at_the_next_start_with_its_receipt_or_not_at_all",
        "providers:disabling_a_provider_is_one_control_in_one_transaction_and_enabling_lifts_it",
    ],
    ("backups", "created"): ["backups:a_backup_that_a_crash_cut_off_is_named_by_the_next_start"],
    ("policy", "set"): ["crash_table:the_policy_that_is_stored_with_its_receipt_is_the_one_the_next_start_loads"],
    ("proposals", "proposed, dropped"): ["proposals:a_proposal_is_there_or_dropped_with_its_receipt_or_not_at_all"],
    ("tools", "loaded"): ["tools:a_crash_after_the_intent_is_closed_by_the_next_start_which_loads_them_anyway"],
    ("the fleet", "enrolled"): ["fleet:an_enrolment_that_a_crash_cut_off_is_undone"],
    ("the fleet", "enrolled again"): ["crash_table:enrolling_again_that_a_crash_cut_off_is_said_to_be_unknown"],
    ("the fleet", "left"): ["fleet:leaving_has_a_receipt_and_removes_the_token"],
    ("witnesses", "added, removed"): ["crash_table:a_witness_is_listed_with_its_receipt_or_not_at_all"],
}


def rows():
    text = (ROOT / "docs" / "receipts.md").read_text()
    table = text[text.index("| noun | change | a crash leaves | the next start |") :].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_each_row_says_what_is_left_and_what_the_next_start_does_and_a_test_plays_it():
    assert [(noun, change) for noun, change, *_ in rows()] == list(PLAYED)
    for _, _, leaves, next_start in rows():
        assert leaves
        assert next_start
    for names in PLAYED.values():
        for noun, _, name in (entry.partition(":") for entry in names):
            tree = ast.parse((Path(__file__).parent / f"test_operator_{noun}.py").read_text())
            assert f"test_{name}" in {getattr(node, "name", "") for node in tree.body}, name


def test_each_noun_of_the_operator_has_its_rows():
    nouns = {re.sub(r" \(.*", "", noun) for noun, *_ in rows()}
    modules = {path.stem for path in (ROOT / "briefcase" / "core" / "operator").glob("*.py")}
    nouns = {noun.removeprefix("the ") for noun in nouns}
    named = {"servers" if noun == "MCP servers" else "logins" if noun.startswith("log-ins") else noun for noun in nouns}
    without_a_change = {
        "__init__", "administration", "binding", "bundles", "operator", "policy_history", "relay", "vocabulary",
    }  # fmt: skip
    assert modules - named == without_a_change  # a history is put down in the transaction that sets a policy


@WHEN
@pytest.mark.parametrize("to", [YES, NO])
async def test_a_decision_is_there_with_its_receipt_or_not_at_all(monkeypatch, when, to):
    counter = Counter()
    digest = counter.document["shown_digest_hex"]
    with crashed(monkeypatch, counter.ledger, "commit", when), pytest.raises(Crash):
        await counter.decide(to, digest=digest)
    is_made = when == "after"
    assert (counter.ledger.approval("id").status is not ApprovalStatus.PENDING) == is_made
    assert counter.ledger.kinds() == ["approval_decided"] * is_made


@WHEN
async def test_a_limit_is_there_with_its_receipt_or_not_at_all(monkeypatch, when):
    ledger = MemoryLedger(FakeClock())
    before = ledger.limits.get("payments")
    with crashed(monkeypatch, ledger, "commit", when), pytest.raises(Crash):
        await BudgetAdmin(Administration(ledger), ledger, ledger.clock).set("payments", 5_000, "ann")
    is_made = when == "after"
    assert ledger.limits.get("payments") == (5_000 if is_made else before)
    assert ledger.kinds() == ["budget_set"] * is_made


@WHEN
@pytest.mark.parametrize("change", ["set", "lift"])
async def test_a_control_is_in_force_at_the_next_start_with_its_receipt_or_not_at_all(monkeypatch, when, change):
    ledger = MemoryLedger(FakeClock())
    admin = admin_of(Controls(ledger, ledger.clock), ledger, ledger.clock)
    if change == "lift":
        await admin.add("freeze", "all", "", until_us=None, by="ann")
    steps = {
        "lift": lambda: admin.lift(ControlChoice(action="freeze"), by="ann"),
        "set": lambda: admin.add("freeze", "all", "", until_us=None, by="ann"),
    }
    with crashed(monkeypatch, ledger, "commit", when), pytest.raises(Crash):
        await steps[change]()
    is_made = when == "after"
    assert bool(Controls(ledger, ledger.clock).active()) == (is_made == (change == "set"))
    last = "control_set" if change == "set" else "control_lifted"
    assert (last in ledger.kinds()) == is_made


class AnyAddress:
    def check_url(self, url):
        return url


@WHEN
@pytest.mark.parametrize("change", ["added", "removed"])
async def test_a_witness_is_listed_with_its_receipt_or_not_at_all(monkeypatch, when, change):
    ledger = MemoryLedger(FakeClock())
    admin = WitnessAdmin(Administration(ledger), ledger, AnyAddress(), ledger.clock)
    key = CosignerKey("w").public
    if change == "removed":
        await admin.add("https://w", key.vkey, "ann")
    steps = {"added": lambda: admin.add("https://w", key.vkey, "ann"), "removed": lambda: admin.remove("w", "ann")}
    with crashed(monkeypatch, ledger, "commit", when), pytest.raises(Crash):
        await steps[change]()
    is_made = when == "after"
    restarted = WitnessAdmin(Administration(ledger), ledger, AnyAddress(), ledger.clock)
    assert bool(restarted.list()) == (is_made == (change == "added"))
    assert (f"witness_{change}" in ledger.kinds()) == is_made


@WHEN
async def test_the_policy_that_is_stored_with_its_receipt_is_the_one_the_next_start_loads(monkeypatch, when):
    ledger = MemoryLedger(FakeClock())

    async def at_once(work):
        return work()

    def started():
        return PolicyService(ledger=ledger, clock=ledger.clock, tools=FakeTools(), run_blocking=at_once)

    service = started()
    await service.open()
    text = "forbid(principal, action, resource);"
    with crashed(monkeypatch, ledger, "commit", when), pytest.raises(Crash):
        await service.set(text, "ann")
    next_start = started()
    await next_start.open()
    is_made = when == "after"
    assert next_start.current()[0] == (text if is_made else DEFAULT_POLICY_TEXT)
    assert ledger.kinds() == ["policy_set"] * (1 + is_made)


@WHEN
async def test_a_server_that_is_set_is_there_with_its_receipt_or_not_at_all(monkeypatch, when):
    desk = ServerDesk()
    with crashed(monkeypatch, desk.ledger, "commit", when), pytest.raises(Crash):
        await desk.admin.set("desk", HERE, "ann")
    assert desk.ledger.kinds() == ["mcp_server_set"] * (when == "after")
    assert not desk.ledger.open_intents


@WHEN
async def test_a_listing_that_was_accepted_opens_no_intent_of_its_own(monkeypatch, when):
    desk = ServerDesk()
    await desk.admin.set("desk", THERE, "ann")
    with crashed(monkeypatch, desk.store, "accept", when), pytest.raises(Crash):
        await desk.admin.accept("desk", "0" * 64, "ann")
    assert desk.ledger.kinds() == ["mcp_server_set"]
    assert not desk.ledger.open_intents


@WHEN
async def test_enrolling_again_that_a_crash_cut_off_is_said_to_be_unknown(tmp_path, monkeypatch, when):
    desk = FleetDesk(tmp_path)
    await desk.start()
    await desk.enrol()
    with crashed(monkeypatch, desk.secrets, "put", when), pytest.raises(Crash):
        await desk.enrol()
    await desk.restart()
    assert desk.ledger.kinds()[-1] == "outcome_unknown"
    assert desk.enrolment is not None
    desk.database.close()


@WHEN
async def test_a_signer_is_there_with_its_receipt_or_not_at_all(monkeypatch, when):
    desk, came = SigningDesk(), when == "after"
    with crashed(monkeypatch, desk.ledger, "commit", when), pytest.raises(Crash):
        await desk.pair(Device())
    desk.restart()
    assert (len(desk.signers.all()), desk.ledger.kinds()) == (came, ["signer_paired"] * came)

    device = await desk.pair(Device(2))
    with crashed(monkeypatch, desk.ledger, "commit", when), pytest.raises(Crash):
        await desk.desk.revoke(device.signer_id, "operator")
    desk.restart()
    assert (desk.signers.all()[-1].is_revoked, desk.ledger.kinds()[-1] == "signer_revoked") == (came, came)
