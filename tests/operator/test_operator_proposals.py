"""Proposals over a crash: each is there, or gone, with its receipt, or not at all."""

import pytest

from support.crash import Crash, crashed
from support.proposals import ProposalDesk


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_proposal_is_there_or_dropped_with_its_receipt_or_not_at_all(monkeypatch, when):
    is_made = when == "after"
    desk = await ProposalDesk.open()
    with crashed(monkeypatch, desk.ledger, "commit", when), pytest.raises(Crash):
        await desk.proposals.propose("never let anyone call note_add", "ann")
    assert len(desk.proposals.list()) == is_made
    assert desk.ledger.kinds() == ["policy_set", *["policy_proposed"] * is_made]

    desk = await ProposalDesk.open()
    made = await desk.proposals.propose("never let anyone call note_add", "ann")
    with crashed(monkeypatch, desk.ledger, "commit", when), pytest.raises(Crash):
        await desk.proposals.drop(made.id, "ann")
    assert len(desk.proposals.list()) != is_made
    assert desk.ledger.kinds() == ["policy_set", "policy_proposed", *["policy_dropped"] * is_made]
