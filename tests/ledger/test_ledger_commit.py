"""What a commit makes durable: the chain, its order and times, and nothing of what was refused."""

import asyncio
import contextlib
import hashlib

import pytest
import rfc8785

from briefcase.adapters.ledger import Ledger, intents, recovery
from briefcase.core.approvals.lifecycle import MAX_PENDING_PER_PRINCIPAL
from briefcase.model.effects import (
    CloseIntent,
    Committed,
    ConsumeApproval,
    CreateApproval,
    DecideApproval,
    Entry,
    Head,
    OpenIntent,
    PutSetting,
    Refused,
    ReserveBudget,
    SetBudgetLimit,
    SettleBudget,
)
from briefcase.model.errors import InternalError, StoreError
from briefcase.model.ports import ReceiptFilter
from briefcase.model.types import ApprovalStatus, BudgetLine, ShownCall, ShownTool, format_rfc3339
from support.clock import START_US, FakeClock
from support.ledger_cases import DAY, LATER_US, SMALL, approval, audited, committed, delegated, intent, note, outcome
from support.principals import AGENT, OTHER_AGENT


async def all_receipts(ledger):
    return list(reversed(await ledger.receipts(ReceiptFilter(limit=1_000_000))))


async def test_receipts_chain_as_the_contract_says(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        results = await asyncio.gather(*(ledger.commit(note(str(number))) for number in range(300)))
        receipts = await all_receipts(ledger)
        assert [receipt.id for receipt in receipts] == list(range(1, 302))
        assert [receipt.event.get("text") for receipt in receipts[1:]] == [str(number) for number in range(300)]
        prev = "0" * 64
        for receipt in receipts:
            assert receipt.prev_hash_hex == prev
            prev = hashlib.sha256(prev.encode("ascii") + rfc8785.dumps(receipt.event)).hexdigest()
            assert receipt.hash_hex == prev
            assert (receipt.event["id"], receipt.event["ts"]) == (receipt.id, receipt.ts)
        assert [(made.receipt_id, made.hash_hex) for made in results] == [
            (receipt.id, receipt.hash_hex) for receipt in receipts[1:]
        ]
        assert ledger.head() == Head(301, prev)
        assert await ledger.receipt(7) == receipts[6]
        assert [await ledger.receipt(missing) for missing in (-1, 0, 302, 2**70)] == [None] * 4


async def test_calls_that_wait_together_become_one_commit(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        await asyncio.gather(*(ledger.commit(note()) for _ in range(500)))
        assert (ledger.counters.entries, ledger.counters.commits, ledger.counters.max_group) == (500, 1, 500)
        await ledger.commit(note())
        assert ledger.counters.last_group == 1


async def test_what_was_answered_is_there_after_reopening(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        await committed(ledger, Entry({"kind": "x"}, (PutSetting("policy", b"permit"), SetBudgetLimit("lab", 9))))
        await committed(ledger, Entry({"kind": "x"}, (CreateApproval(approval()),)))
        made = await committed(ledger, intent("r1", cost=100))
        secret, before = ledger.approval_secret(), await all_receipts(ledger)
    async with audited(tmp_path / "l") as ledger:
        assert (await all_receipts(ledger))[: len(before)] == before
        assert ledger.setting("policy") == b"permit"
        assert ledger.setting("other") is None
        assert ledger.budget("lab", DAY) == BudgetLine("lab", 9)
        assert ledger.approval("a1") == approval()
        assert ledger.claimed_request(AGENT.name, "r1") == made.receipt_id
        assert ledger.approval_secret() == secret
        assert len(secret) == 32


# --- refused entries ------------------------------------------------------------------------------------------------


REFUSED = [
    ("conflict", Entry({"kind": "outcome", "intent_id": 99}, (CloseIntent(99),))),
    ("conflict", Entry({}, (DecideApproval("none", ApprovalStatus.APPROVED, "op", START_US),))),
    ("conflict", Entry({}, (DecideApproval("", ApprovalStatus.APPROVED, "op", START_US),))),
    ("conflict", Entry({}, (DecideApproval("x" * 600, ApprovalStatus.APPROVED, "op", START_US),))),
    ("conflict", Entry({}, (DecideApproval("a1", ApprovalStatus.APPROVED, "op", LATER_US),))),
    ("conflict", Entry({}, (DecideApproval("a1", ApprovalStatus.CONSUMED, "op", START_US),))),
    ("invalid_or_expired_approval", Entry({}, (ConsumeApproval("a1", "b" * 64, START_US),))),
    ("invalid_or_expired_approval", Entry({}, (ConsumeApproval("none", "b" * 64, START_US),))),
    ("budget_exceeded", Entry({}, (ReserveBudget("write", DAY, 1),))),
    ("budget_exceeded", Entry({}, (ReserveBudget("unheard of", DAY, 1),))),
    ("budget_exceeded", Entry({}, (ReserveBudget("read", DAY, 2_000_000), ReserveBudget("read", DAY, 1_000_001)))),
    ("replay_detected", intent("taken")),
]


@pytest.mark.parametrize(("reason", "entry"), REFUSED)
async def test_a_refused_entry_leaves_nothing_behind(tmp_path, reason, entry):
    async with audited(tmp_path / "l") as ledger:
        await committed(ledger, Entry({"kind": "x"}, (CreateApproval(approval()),)))
        await committed(ledger, intent("taken"))
        head = ledger.head()
        spoiled = Entry(entry.event, (PutSetting("s", b"1"), ReserveBudget("read", DAY, 5), *entry.effects))
        assert await ledger.commit(spoiled) == Refused(reason)
        assert ledger.head() == head
        assert ledger.setting("s") is None
        assert ledger.budget("read", DAY) == BudgetLine("read", 3_000_000)
        assert ledger.approval("a1") == approval()
        first, refused, last = await asyncio.gather(*map(ledger.commit, (note(), spoiled, note())))
        assert (first.receipt_id, refused, last.receipt_id) == (head.id + 1, Refused(reason), head.id + 2)


@pytest.mark.parametrize(
    "entry",
    [
        Entry({"kind": "x", "cost": 0.5}),
        Entry({"kind": "x", "big": 2**53}),
        Entry({"kind": "x", "text": "\ud800"}),
        Entry({"kind": "x", "raw": b""}),
        Entry({}, (ReserveBudget("read", DAY, -1),)),
        Entry({}, (SettleBudget("read", DAY, 1, 1),)),
        Entry({}, (SettleBudget("read", DAY, 0, -1),)),
        Entry({}, (SetBudgetLimit("read", -1),)),
        Entry({}, (SetBudgetLimit("x" * 600, 1),)),
        Entry({}, (PutSetting("", b""),)),
        Entry({}, (CreateApproval(approval("taken")),)),
        Entry({"kind": "intent", "principal": "p", "request_id": "r"}),
        Entry({"kind": "intent", "principal": "p", "request_id": "r"}, (OpenIntent(),)),
        Entry({"kind": "other"}, (OpenIntent(),)),
        Entry({"kind": "intent", "principal": "other", "request_id": "r"}, intent("r").effects),
        Entry({"kind": "outcome", "intent_id": 1}, (CloseIntent(2),)),
        Entry({"kind": "note", "intent_id": 2}, (CloseIntent(2),)),
    ],
)
async def test_an_entry_no_program_should_commit_fails_alone(tmp_path, entry):
    async with audited(tmp_path / "l") as ledger:
        await committed(ledger, Entry({"kind": "x"}, (CreateApproval(approval("taken")),)))
        spoiled = Entry(entry.event, (PutSetting("s", b"1"), *entry.effects))
        first, failed, last = await asyncio.gather(
            *map(ledger.commit, (note(), spoiled, note())), return_exceptions=True
        )
        assert isinstance(failed, InternalError)
        assert (first.receipt_id, last.receipt_id) == (3, 4)
        assert ledger.setting("s") is None
        assert ledger.gate_problem() is None


# --- approvals, budgets, intents ------------------------------------------------------------------------------------


async def test_an_approval_is_found_while_it_waits_and_used_once(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        older, newer = approval("a1"), approval("a2")
        for made in (older, newer, approval("a3", binding="c" * 64)):
            await committed(ledger, Entry({"kind": "x"}, (CreateApproval(made),)))
        assert [held.id for held in ledger.approvals(ApprovalStatus.PENDING)] == ["a1", "a2", "a3"]
        assert ledger.pending_approval("b" * 64) == newer
        decide = DecideApproval("a2", ApprovalStatus.REJECTED, "op", START_US)
        await committed(ledger, Entry({"kind": "x"}, (decide,)))
        assert ledger.pending_approval("b" * 64) == older
        decide = DecideApproval("a1", ApprovalStatus.APPROVED, "op", START_US)
        await committed(ledger, Entry({"kind": "x"}, (decide,)))
        assert [held.id for held in ledger.approvals(ApprovalStatus.APPROVED)] == ["a1"]
        use = ConsumeApproval("a1", "b" * 64, START_US)
        await committed(ledger, intent("r1", use))
        assert await ledger.commit(intent("r2", use)) == Refused("invalid_or_expired_approval")
        assert ledger.pending_approval("b" * 64) is None
        assert [held.id for held in ledger.approvals(ApprovalStatus.CONSUMED)] == ["a1"]
        assert [held.id for held in ledger.approvals(ApprovalStatus.REJECTED)] == ["a2"]
        assert [held.id for held in ledger.approvals(ApprovalStatus.PENDING)] == ["a3"]
        assert [ledger.approval(name) for name in ("", "none", "x" * 600, "\ud800")] == [None] * 4


async def test_pending_approvals_are_bounded_for_each_principal_until_they_expire(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        for number in range(MAX_PENDING_PER_PRINCIPAL):
            await committed(ledger, Entry({"kind": "x"}, (CreateApproval(approval(f"a{number}")),)))
        one_more = Entry({"kind": "x"}, (CreateApproval(approval("more")),))
        assert await ledger.commit(one_more) == Refused("rate_limited")
        other = Entry({"kind": "x"}, (CreateApproval(approval("other", principal=OTHER_AGENT.name)),))
        await committed(ledger, other)
        later = approval("later", created_us=LATER_US, expires_us=LATER_US + 1)
        await committed(ledger, Entry({"kind": "x"}, (CreateApproval(later),)))
        waiting = {held.id for held in ledger.approvals(ApprovalStatus.PENDING)}
        assert {"other", "later", "a0"} <= waiting  # each end has a receipt of its own, and nobody wrote one here


async def test_money_is_reserved_then_settled(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        made = await committed(ledger, intent("r1", cost=3_000_000))
        assert ledger.budget("read", DAY) == BudgetLine("read", 3_000_000, 0, 3_000_000)
        assert await ledger.commit(intent("r2", cost=1)) == Refused("budget_exceeded")
        await committed(ledger, outcome(made.receipt_id, reserved=3_000_000, spent=1_000_000))
        assert ledger.budget("read", DAY) == BudgetLine("read", 3_000_000, 1_000_000, 0)
        above = ReserveBudget("read", DAY, 9_000_000, approved=True)
        await committed(ledger, Entry({"kind": "x"}, (above,)))
        assert ledger.budget("read", "2026-01-02") == BudgetLine("read", 3_000_000)
        assert [line.category for line in ledger.budgets(DAY)] == ["admin", "read", "write"]
        assert [ledger.budget(name, DAY) for name in ("none", "", "x" * 600)] == [None] * 3


async def test_an_intent_is_closed_once(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        made = await committed(ledger, intent("r1"))
        close = outcome(made.receipt_id)
        results = await asyncio.gather(*(ledger.commit(close) for _ in range(5)))
        assert sum(isinstance(result, Committed) for result in results) == 1
        assert results.count(Refused("conflict")) == 4


async def test_intents_left_open_are_closed_at_the_next_start_and_count_as_spent(tmp_path):
    ledger = Ledger.open(tmp_path / "l", FakeClock(), SMALL)
    done = await committed(ledger, intent("r1", cost=10))
    left = await committed(ledger, intent("r2", cost=100))
    free = await committed(ledger, intent("r3"))
    await committed(ledger, outcome(done.receipt_id, reserved=10, spent=4))
    await ledger.close()
    async with audited(tmp_path / "l") as ledger:
        *_, first, second, boot = await all_receipts(ledger)
        assert [(found.event["kind"], found.event["intent_id"]) for found in (first, second)] == [
            ("outcome_unknown", left.receipt_id),
            ("outcome_unknown", free.receipt_id),
        ]
        assert first.event["call_id"] == "r2"
        assert (boot.event["kind"], boot.event["closed_intents"], boot.event["clean"]) == ("boot", 2, True)
        assert ledger.budget("read", DAY) == BudgetLine("read", 3_000_000, 104, 0)
        assert await ledger.commit(outcome(left.receipt_id)) == Refused("conflict")
        assert await ledger.commit(intent("r2")) == Refused("replay_detected")
    async with audited(tmp_path / "l") as ledger:
        assert (await all_receipts(ledger))[-1].event["closed_intents"] == 0


async def test_intents_left_open_are_closed_a_group_at_a_time_however_many_there_are(tmp_path, monkeypatch):
    ledger = Ledger.open(tmp_path / "l", FakeClock(), SMALL)
    made = [await committed(ledger, intent(f"r{number}", cost=number)) for number in range(1, 25)]
    closed = {5, 6, 11, 17}
    for number in closed:
        await committed(ledger, outcome(made[number - 1].receipt_id, reserved=number))
    await ledger.close()
    in_memory, write, unknown = 0, recovery.Journal.write, recovery._unknown
    most, groups = 0, []

    def count(*args):
        nonlocal in_memory, most
        in_memory += 1
        most = max(most, in_memory)
        return unknown(*args)

    def note(journal, entries):
        nonlocal in_memory
        groups.append(len(entries))
        in_memory = 0
        return write(journal, entries)

    monkeypatch.setattr(recovery, "CLOSED_AT_ONCE", 8)
    monkeypatch.setattr(recovery, "_unknown", count)
    monkeypatch.setattr(recovery.Journal, "write", note)
    async with audited(tmp_path / "l") as ledger:
        assert (most, groups) == (8, [8, 8, 4, 1])
        receipts = await all_receipts(ledger)
        assert receipts[-1].event["closed_intents"] == 20
        ended = [found.event["intent_id"] for found in receipts if found.event["kind"] == "outcome_unknown"]
        assert ended == [one.receipt_id for number, one in enumerate(made, 1) if number not in closed]
        assert ledger.budget("read", DAY).reserved_microusd == 0


async def test_a_change_left_open_stays_so_for_its_noun_to_settle(tmp_path):
    ledger = Ledger.open(tmp_path / "l", FakeClock(), SMALL)
    event = {"kind": "change_intent", "change": "agent_added", "agent": "scout", "by": "ann"}
    left = await committed(ledger, Entry(event, (OpenIntent(),)))
    await ledger.close()
    for _ in range(2):  # a start that died before it settled it
        async with audited(tmp_path / "l") as ledger:
            (found,) = ledger.changes_left_open()
            assert (found["id"], found["agent"]) == (left.receipt_id, "scout")
            assert (await all_receipts(ledger))[-1].event["closed_intents"] == 0
    async with audited(tmp_path / "l") as ledger:
        closing = {"kind": "change_failed", "intent_id": left.receipt_id}
        await committed(ledger, Entry(closing, (CloseIntent(left.receipt_id),)))
    async with audited(tmp_path / "l") as ledger:
        assert ledger.changes_left_open() == []


async def test_claims_and_open_intents_survive_checkpoints(tmp_path, monkeypatch):
    monkeypatch.setattr(intents, "CHECKPOINT_CLAIMS", 7)
    monkeypatch.setattr(intents, "CHECKPOINT_RECEIPTS", 11)

    ledger = Ledger.open(tmp_path / "l", FakeClock(), SMALL)
    made = {}
    for number in range(50):
        made[number] = (await committed(ledger, intent(f"r{number}", cost=1))).receipt_id
        if number % 3:
            await committed(ledger, outcome(made[number], reserved=1, spent=1))
    await ledger.close()
    async with audited(tmp_path / "l") as ledger:
        assert {n: ledger.claimed_request(AGENT.name, f"r{n}") for n in range(50)} == made
        assert ledger.claimed_request(OTHER_AGENT.name, "r1") is None
        unknown = await ledger.receipts(ReceiptFilter(kind="outcome_unknown"))
        assert sorted(found.event["intent_id"] for found in unknown) == [made[n] for n in range(0, 50, 3)]
        assert ledger.budget("read", DAY) == BudgetLine("read", 3_000_000, 50, 0)


@pytest.mark.parametrize("each", [3, 1_000])
async def test_a_delegated_call_claims_its_request_id_for_good_and_is_never_open(tmp_path, monkeypatch, each):
    monkeypatch.setattr(intents, "CHECKPOINT_CLAIMS", each)  # once with checkpoints between, once replayed whole

    ledger = Ledger.open(tmp_path / "l", FakeClock(), SMALL)
    made = [(await committed(ledger, delegated(f"r{number}", cost=2))).receipt_id for number in range(10)]
    await ledger.close()
    async with audited(tmp_path / "l") as ledger:
        assert [ledger.claimed_request(AGENT.name, f"r{number}") for number in range(10)] == made
        assert await ledger.commit(delegated("r4")) == Refused("replay_detected")
        assert await ledger.commit(intent("r4")) == Refused("replay_detected")
        assert await ledger.receipts(ReceiptFilter(kind="outcome_unknown")) == []
        assert ledger.budget("read", DAY) == BudgetLine("read", 3_000_000, 20, 0)


async def test_a_delegated_event_that_claims_nothing_is_a_fault_of_the_program(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        entry = delegated("r1")
        with pytest.raises(InternalError, match="claims its request id"):
            await ledger.commit(Entry(entry.event, (PutSetting("some", b"thing"),)))
        with pytest.raises(InternalError, match="opens an intent"):
            await ledger.commit(Entry(entry.event, (*entry.effects, OpenIntent())))


async def test_the_oldest_request_ids_are_forgotten_and_memory_stays_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(intents, "CHECKPOINT_CLAIMS", 8)
    monkeypatch.setattr(intents, "MAX_SLOTS", 64)

    for start in (0, 300):
        async with audited(tmp_path / "l") as ledger:
            for at in range(start, start + 300, 4):
                made = await asyncio.gather(*(ledger.commit(intent(f"r{at + n}")) for n in range(4)))
                await asyncio.gather(*(ledger.commit(outcome(intended.receipt_id)) for intended in made))
                for newest in range(max(0, at - 40), at + 4):
                    assert ledger.claimed_request(AGENT.name, f"r{newest}") is not None
            assert ledger.claimed_request(AGENT.name, "r0") is None
            assert ledger._tables.env.begin().stat(ledger._tables.claims)["entries"] < 30


# --- time -----------------------------------------------------------------------------------------------------------


async def test_time_never_goes_back_in_the_chain_and_each_step_is_marked(tmp_path):
    hour, years = 3_600_000_000, 10 * 365 * 86_400_000_000

    clock = FakeClock()
    async with audited(tmp_path / "l", clock) as ledger:
        for move_us, mono_us in ((5, 5), (0, 0), (-hour, 10), (2 * hour, 10), (years, 10), (-years, 10)):
            clock.wall_us += move_us
            clock.mono_ns += mono_us * 1_000
            await committed(ledger, note())
        receipts = (await all_receipts(ledger))[1:]
        assert [receipt.event.get("clock_step_us") for receipt in receipts] == [
            None, None, -hour, 2 * hour - 10, years - 10, -years,
        ]  # fmt: skip
        times = [receipt.ts for receipt in receipts]
        assert times == sorted(times)
        assert times[3] == format_rfc3339(START_US + 5 + hour)
    clock.wall_us = 0
    async with audited(tmp_path / "l", clock) as ledger:
        boot = (await all_receipts(ledger))[-1]
        assert boot.ts == times[-1]
        assert boot.event["clock_step_us"] == -(START_US + 5 + hour + years)


async def test_each_opening_is_an_epoch_that_its_receipts_carry(tmp_path):
    for epoch in (1, 2, 3):
        ledger = Ledger.open(tmp_path / "l", FakeClock(), SMALL)
        await committed(ledger, note())
        boot, made = (await ledger.receipts(ReceiptFilter(limit=2)))[::-1]
        assert (boot.event["kind"], boot.event["boot"], made.event["boot"]) == ("boot", epoch, epoch)
        await ledger.close()


# --- callers --------------------------------------------------------------------------------------------------------


async def test_a_caller_who_leaves_leaves_its_receipt(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        tasks = [asyncio.ensure_future(ledger.commit(note(str(number)))) for number in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await tasks[1]
        await asyncio.gather(tasks[0], tasks[2])
        assert [found.event["text"] for found in (await all_receipts(ledger))[1:]] == ["0", "1", "2"]


async def test_closing_commits_what_waits_and_refuses_what_comes_after(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        waiting = [asyncio.ensure_future(ledger.commit(note())) for _ in range(20)]
        await asyncio.sleep(0)
        await ledger.close()
        assert all(isinstance(task.result(), Committed) for task in waiting)
        with pytest.raises(StoreError, match="closed"):
            await ledger.commit(note())
        await ledger.close()


# --- reading --------------------------------------------------------------------------------------------------------


async def test_receipts_are_listed_newest_first_through_every_filter(tmp_path):
    clock = FakeClock()
    async with audited(tmp_path / "l", clock) as ledger:
        for number in range(1_000):
            event = {
                "kind": f"k{number % 3}",
                "tool_id": f"t{number % 5}",
                "decision": "allow" if number % 2 else "deny",
            }
            if number % 7 == 0:
                event["approval_id"] = f"a{number}"
            event["nested"] = {"kind": "k0", "tool_id": '"kind":"k1"'}
            clock.advance(us=1_000_000)
            await committed(ledger, Entry(event))
        everything = (await all_receipts(ledger))[1:]

        async def listed(**chosen):
            return [found.id for found in await ledger.receipts(ReceiptFilter(**{"limit": 10_000, **chosen}))]

        def expected(passes):
            return [found.id for found in reversed(everything) if passes(found.event)]

        assert await listed(kind="k1") == expected(lambda event: event["kind"] == "k1")
        assert await listed(tool_id="t2", decision="deny") == expected(
            lambda event: event["tool_id"] == "t2" and event["decision"] == "deny"
        )
        assert await listed(approval_id="a14") == expected(lambda event: event.get("approval_id") == "a14")
        assert await listed(kind="k9") == []
        assert await listed(kind="k1", limit=5, offset=3) == expected(lambda event: event["kind"] == "k1")[3:8]
        assert await listed(after_id=995) == list(range(1_001, 995, -1))
        assert await listed(after_id=5_000) == []
        since, until = START_US + 100_000_000, START_US + 200_000_000
        assert await listed(since_us=since, until_us=until) == list(range(201, 100, -1))
        assert await listed(since_us=since + 1, until_us=until - 1) == list(range(200, 101, -1))
        assert await listed(since_us=2 * START_US) == []
        assert await listed(until_us=0) == []
        assert len(await ledger.receipts(ReceiptFilter())) == 100


async def test_verification_reports_progress_and_goes_on_from_a_checkpoint(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        await asyncio.gather(*(ledger.commit(note()) for _ in range(999)))
        seen = []
        first = await ledger.verify(progress=lambda done, total: seen.append((done, total)))
        assert (first.ok, first.checked, first.head) == (True, 1_000, ledger.head())
        assert first.not_checked == ("tail_truncation", "rollback")
        assert seen[-1] == (1_000, 1_000)
        assert seen == sorted(seen)
        await committed(ledger, note())
        again = await ledger.verify(ledger.head(), after=first.head)
        assert (again.ok, again.checked, again.not_checked) == (True, 1, ("receipts_before_checkpoint",))
        wrong = await ledger.verify(after=Head(500, "1" * 64))
        assert (wrong.ok, wrong.first_bad.id, wrong.first_bad.problem) == (False, 501, "prev_hash")


async def test_a_whole_call_is_kept_while_its_approval_waits_and_dropped_when_it_ends(tmp_path):
    shown = ShownCall('{"to":"alice"}', ShownTool("pay", "", "write", 0, "bank"), ("secret_like",))
    decide = {"a1": ApprovalStatus.APPROVED, "a2": ApprovalStatus.REJECTED}

    async with audited(tmp_path) as ledger:
        for name in decide:
            await ledger.commit(Entry({"kind": "made"}, (CreateApproval(approval(name), shown),)))
    async with audited(tmp_path) as ledger:
        assert ledger.shown_call("a1") == shown == ledger.shown_call("a2")
        assert ledger.last_approval(AGENT.name, "t") is None
        for name, to in decide.items():
            await ledger.commit(Entry({"kind": "decided"}, (DecideApproval(name, to, "ann", START_US),)))
        assert ledger.shown_call("a1") == shown
        assert ledger.shown_call("a2") is None
        last = ledger.last_approval(AGENT.name, "t")
        assert (last.approval_id, last.by) == ("a1", "ann")
        assert ledger.last_approval("ranger", "t") is ledger.last_approval(AGENT.name, "other") is None
        bound = approval("a1").binding_hex
        await ledger.commit(intent("r1", ConsumeApproval("a1", bound, START_US)))
        assert ledger.shown_call("a1") is None


async def test_the_last_denial_of_a_call_is_found_after_a_restart_until_the_call_is_approved(tmp_path):
    bound = approval("a1").binding_hex

    async def decide(ledger, name: str, to: ApprovalStatus) -> None:
        await ledger.commit(Entry({"kind": "made"}, (CreateApproval(approval(name)),)))
        await ledger.commit(Entry({"kind": "decided"}, (DecideApproval(name, to, "ann", START_US, "not today"),)))

    async with audited(tmp_path) as ledger:
        assert ledger.denied_approval(bound) is None
        await decide(ledger, "a1", ApprovalStatus.REJECTED)
    async with audited(tmp_path) as ledger:
        denied = ledger.denied_approval(bound)
        assert (denied.id, denied.decided_us, denied.decision_reason) == ("a1", START_US, "not today")
        assert ledger.denied_approval("c" * 64) is None
        await decide(ledger, "a2", ApprovalStatus.REJECTED)
        assert ledger.denied_approval(bound).id == "a2"
        await decide(ledger, "a3", ApprovalStatus.APPROVED)
        assert ledger.denied_approval(bound) is None


async def test_an_environment_of_an_older_version_opens_and_its_approvals_have_no_whole_call(tmp_path):
    async with audited(tmp_path) as ledger:
        await ledger.commit(Entry({"kind": "made"}, (CreateApproval(approval("a1")),)))
        tables = ledger._tables
        with tables.env.begin(write=True) as transaction:
            transaction.drop(tables.shown, delete=True)
    async with audited(tmp_path) as ledger:
        assert ledger.approval("a1") is not None
        assert ledger.shown_call("a1") is None
