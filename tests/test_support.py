"""What the tests stand on: a fake for each port, and a ledger in memory that applies no effect it does not know."""

import inspect

import pytest

from briefcase.model import ports
from briefcase.model.effects import ArchiveReceipts, Entry, Head
from support.clock import FakeClock
from support.ledger import MemoryLedger
from support.ports import Fakes


def test_each_port_has_its_fake():
    protocols = {
        name
        for name, held in inspect.getmembers(ports, inspect.isclass)
        if held.__module__ == ports.__name__ and getattr(held, "_is_protocol", False)
    }
    assert set(Fakes._fields) == protocols


@pytest.mark.parametrize("effect", [object(), ArchiveReceipts(Head(0, ""), Head(1, ""), "")])
async def test_a_ledger_in_memory_raises_at_an_effect_it_cannot_apply(effect):
    ledger = MemoryLedger(FakeClock())
    with pytest.raises((AssertionError, NotImplementedError)):
        await ledger.commit(Entry({"kind": "x"}, (effect,)))
    assert ledger.chain == []
