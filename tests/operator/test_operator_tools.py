"""Manifests are loaded again without a restart: all of them or none, with a receipt where something changed."""

import pytest

from briefcase.core.operator.administration import Administration
from briefcase.core.operator.tools import Loaded, ToolAdmin
from briefcase.core.receipts.events import MAX_LISTED_IDS
from briefcase.model.errors import CallerError
from support.clock import FakeClock
from support.crash import Crash
from support.ledger import MemoryLedger
from support.tools import FakeToolFiles


class FakeSettling:
    def __init__(self) -> None:
        self.settled = 0

    async def settle(self) -> None:
        self.settled += 1


class Desk:
    def __init__(self, **digests: str) -> None:
        self.ledger = MemoryLedger(FakeClock())
        self.files = FakeToolFiles(**digests)
        self.secrets = FakeSettling()
        self.administration = Administration(self.ledger)
        self.admin = ToolAdmin(self.administration, self.files, self.secrets)


async def test_what_changed_is_put_in_force_and_receipted():
    desk = Desk(a="1", b="1")
    desk.files.written = {"b": "2", "c": "1"}

    assert await desk.admin.reload("ann") == Loaded(2, ["c"], ["b"], ["a"])

    assert desk.files.digests() == {"b": "2", "c": "1"}
    event = desk.ledger.chain[-1].event
    assert desk.ledger.kinds() == ["change_intent", "tools_loaded"]
    assert (event["by"], event["tools"]) == ("ann", 2)
    assert (event["added"], event["changed"], event["removed"]) == (["c"], ["b"], ["a"])
    assert desk.secrets.settled == 1


async def test_where_nothing_changed_there_is_no_receipt():
    desk = Desk(a="1")
    desk.files.written = {"a": "1"}
    assert await desk.admin.reload("ann") == Loaded(1, [], [], [])
    assert desk.ledger.kinds() == []


async def test_manifests_that_cannot_be_read_change_nothing():
    desk = Desk(a="1")
    desk.files.fault = CallerError("`bad.json`: no", code="invalid_manifest")
    with pytest.raises(CallerError, match="bad"):
        await desk.admin.reload("ann")
    assert (desk.files.digests(), desk.ledger.kinds()) == ({"a": "1"}, [])


async def test_a_receipt_names_the_first_of_many_and_counts_all():
    desk = Desk()
    desk.files.written = {f"t{number:04}": "1" for number in range(500)}
    await desk.admin.reload("ann")
    event = desk.ledger.chain[-1].event
    assert event["counts"] == {"added": 500, "changed": 0, "removed": 0}
    assert event["added"] == sorted(desk.files.written)[:MAX_LISTED_IDS]


async def test_a_crash_after_the_intent_is_closed_by_the_next_start_which_loads_them_anyway():
    desk = Desk()
    desk.files.written = {"a": "1"}
    desk.files.crash = Crash()
    with pytest.raises(Crash):
        await desk.admin.reload("ann")

    await Administration(desk.ledger).settle(desk.admin.settlers())

    assert not desk.ledger.open_intents
    closed = desk.ledger.chain[-1].event
    assert (closed["kind"], closed["added"], closed["is_settled"]) == ("tools_loaded", ["a"], True)
