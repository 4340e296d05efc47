"""The ledger and the in-memory model do the same, whatever is asked of them, across restarts and kills."""

import asyncio
import os
import shutil
import tempfile
from pathlib import Path
from unittest.mock import patch

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from briefcase.adapters.ledger import Ledger, intents
from briefcase.core.approvals.lifecycle import status_at
from briefcase.model.effects import (
    ClaimNonce,
    Committed,
    ConsumeApproval,
    CreateApproval,
    DecideApproval,
    Entry,
    PutSetting,
    ReserveBudget,
    SetBudgetLimit,
)
from briefcase.model.ports import ReceiptFilter
from briefcase.model.types import ApprovalStatus
from support.clock import FakeClock
from support.ledger import MemoryLedger
from support.ledger_cases import DAY, SMALL, approval, intent, outcome

APPROVALS = [f"a{number}" for number in range(4)]
BINDINGS = ["b" * 64, "c" * 64]
PRINCIPALS = ["scout", "ranger"]
CATEGORIES = ["read", "write", "lab"]
REQUESTS = [f"r{number}" for number in range(6)]
NONCES = [ClaimNonce(name, 1_000, 0) for name in ("n1", "n2")]

amounts = st.sampled_from([0, 1, 999_999, 1_500_000, 3_000_001])
effects = st.one_of(
    st.builds(
        DecideApproval, st.sampled_from(APPROVALS), st.sampled_from(list(ApprovalStatus)), st.just("op"), st.just(0)
    ),
    st.builds(ConsumeApproval, st.sampled_from(APPROVALS), st.sampled_from(BINDINGS), st.just(0)),
    st.builds(ReserveBudget, st.sampled_from(CATEGORIES), st.just(DAY), amounts, st.booleans()),
    st.builds(SetBudgetLimit, st.sampled_from(CATEGORIES), amounts),
    st.builds(PutSetting, st.sampled_from(["s1", "s2"]), st.binary(max_size=9)),
)  # fmt: skip


class LedgerMachine(RuleBasedStateMachine):
    """Every group goes to both; results, state and receipts stay equal."""

    @initialize()
    def start(self):
        self.directory = Path(tempfile.mkdtemp(prefix="ledger-model-"))
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock()
        self.model = MemoryLedger(self.clock)
        self.checkpoints = patch.multiple(intents, CHECKPOINT_RECEIPTS=9, CHECKPOINT_CLAIMS=3)
        self.checkpoints.start()
        self.reopen_real()

    def reopen_real(self):
        self.real = Ledger.open(self.directory / "l", self.clock, SMALL)
        closing = [outcome_unknown(intent_id, opened) for intent_id, opened in sorted(self.model.open_intents.items())]
        for entry in [*closing, Entry({"kind": "boot"})]:
            assert isinstance(self.run(self.model.commit(entry)), Committed)

    def run(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    def commit(self, *entries):
        async def all_of(ledger):
            return await asyncio.gather(*map(ledger.commit, entries))

        modelled, real = self.run(all_of(self.model)), self.run(all_of(self.real))
        for ours, theirs in zip(real, modelled, strict=True):
            if isinstance(theirs, Committed):
                assert (ours.receipt_id, ours.ts_us) == (theirs.receipt_id, theirs.ts_us)
            else:
                assert ours == theirs
        return real

    @rule(groups=st.lists(st.lists(effects, max_size=3), min_size=1, max_size=5))
    def commit_effects(self, groups):
        now_us = self.clock.now_us()
        self.commit(*(Entry({"kind": "x"}, tuple(at(effect, now_us) for effect in group)) for group in groups))

    @rule(
        name=st.sampled_from(APPROVALS),
        principal=st.sampled_from(PRINCIPALS),
        binding=st.sampled_from(BINDINGS),
        ttl_s=st.integers(0, 5),
    )
    def ask(self, name, principal, binding, ttl_s):
        if self.model.approval(name) is None:
            now_us = self.clock.now_us()
            made = approval(
                name, principal=principal, binding=binding, created_us=now_us, expires_us=now_us + ttl_s * 1_000_000
            )
            self.commit(Entry({"kind": "x"}, (CreateApproval(made),)))

    @rule(
        name=st.sampled_from(REQUESTS),
        principal=st.sampled_from(PRINCIPALS),
        cost=amounts,
        category=st.sampled_from(CATEGORIES),
        nonce=st.sampled_from([None, *NONCES]),
        twice=st.booleans(),
    )
    def begin(self, name, principal, cost, category, nonce, twice):
        claim = () if nonce is None else (nonce,)
        entry = intent(name, *claim, cost=cost, principal=principal, category=category)
        self.commit(*[entry] * (1 + twice))

    @precondition(lambda self: self.model.open_intents)
    @rule(data=st.data(), share=st.floats(0, 1), twice=st.booleans())
    def finish(self, data, share, twice):
        intent_id = data.draw(st.sampled_from(sorted(self.model.open_intents)))
        settle = self.model.open_intents[intent_id].settle
        reserved = settle.reserved_microusd if settle else 0
        category = settle.category if settle else "read"
        entry = outcome(intent_id, reserved=reserved, spent=int(reserved * share), category=category)
        self.commit(*[entry] * (1 + twice))

    @rule(seconds=st.integers(0, 3))
    def wait(self, seconds):
        self.clock.advance(us=seconds * 1_000_000)

    @rule(killed=st.booleans())
    def restart(self, killed):
        if killed:
            kill(self.real)
        else:
            self.run(self.real.close())
        self.reopen_real()

    @invariant()
    def state_is_the_same(self):
        if not hasattr(self, "real"):
            return
        now_us = self.clock.now_us()
        for name in APPROVALS:
            assert judged(self.real.approval(name), now_us) == judged(self.model.approval(name), now_us)
        for binding in BINDINGS:
            held = self.model.pending_approval(binding)
            if held is None or status_at(held, now_us) is not ApprovalStatus.EXPIRED:  # else either may forget it
                assert self.real.pending_approval(binding) == held
            assert self.real.denied_approval(binding) == self.model.denied_approval(binding)
        for status in set(ApprovalStatus) - {ApprovalStatus.EXPIRED}:
            held = [found for found in self.model.approvals(status) if status_at(found, now_us) is status]
            assert [found for found in self.real.approvals(status) if status_at(found, now_us) is status] == held
        assert self.real.budgets(DAY) == self.model.budgets(DAY)
        for principal in PRINCIPALS:
            for name in REQUESTS:
                assert self.real.claimed_request(principal, name) == self.model.claimed_request(principal, name)
        for nonce in NONCES:
            assert self.real.is_nonce_taken(nonce) == self.model.is_nonce_taken(nonce)
        assert [self.real.setting(name) for name in ("s1", "s2")] == [self.model.setting(name) for name in ("s1", "s2")]
        assert self.real.head().id == self.model.head().id

    def teardown(self):
        if not hasattr(self, "real"):
            return
        receipts = self.run(self.real.receipts(ReceiptFilter(limit=10_000)))
        assert [found.event["kind"] for found in reversed(receipts)] == self.model.kinds()
        found = self.run(self.real.verify(self.real.head()))
        assert found.ok, found
        self.run(self.real.close())
        self.checkpoints.stop()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.directory)


def at(effect, now_us):
    return msgspec.structs.replace(effect, now_us=now_us) if hasattr(effect, "now_us") else effect


def outcome_unknown(intent_id, opened):
    settle = () if opened.settle is None else (opened.settle,)
    return Entry({"kind": "outcome_unknown", "intent_id": intent_id}, (*outcome(intent_id).effects, *settle))


def judged(held, now_us):
    return None if held is None else (held.id, status_at(held, now_us))


def kill(ledger):
    """Leave a ledger as SIGKILL would: nothing is written, its files are let go."""
    ledger._group._work.put(None)
    ledger._group._thread.join()
    ledger._tables.env.close()
    for descriptor in ledger._files.locks:
        os.close(descriptor)


TestLedgerAgainstItsModel = LedgerMachine.TestCase
TestLedgerAgainstItsModel.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)
