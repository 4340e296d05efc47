"""Decisions nobody closed are closed for as long as the daemon runs, whatever went wrong with one of them."""

import asyncio

import pytest

from briefcase.daemon import rules as daemon
from briefcase.model.errors import InternalError, StoreError


@pytest.mark.parametrize("fault", [StoreError("the ledger refuses"), InternalError("it cannot be recorded")])
async def test_a_decision_that_can_not_be_closed_keeps_no_other_open(monkeypatch, fault):
    monkeypatch.setattr(daemon, "EXPIRY_INTERVAL_S", 0)

    class Expiry:
        asked = 0

        async def expire_decisions(self):
            self.asked += 1
            if self.asked == 1:
                raise fault
            again.set()
            return 0

        async def expire_approvals(self):
            return 0

    async def run():
        task = asyncio.create_task(daemon._expire(Expiry()))
        await asyncio.wait_for(again.wait(), 60)
        task.cancel()

    again = asyncio.Event()
    await run()
