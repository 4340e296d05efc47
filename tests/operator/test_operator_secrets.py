"""Secrets are set, bound and removed with their receipts; a crash never lets one go where it is not for."""

import itertools
import re
from pathlib import Path

import pytest

import briefcase
from briefcase.adapters.vault.bindings import SecretDestinations
from briefcase.core.operator.administration import Administration
from briefcase.core.operator.secrets import SecretAdmin
from briefcase.core.operator.vocabulary import WORDS
from briefcase.core.redaction.redactor import MIN_SECRET_BYTES
from briefcase.model.errors import CallerError, UpstreamError
from support.clock import FakeClock
from support.crash import Crash, crashed
from support.ledger import MemoryLedger
from support.secrets import FakeSecrets

OLD, NEW = b"old-value-of-it", b"new-value-of-it"
HERE, THERE = "here.example", "there.example"


class Desk:
    def __init__(self) -> None:
        self.ledger = MemoryLedger(FakeClock())
        self.values, self.bindings = FakeSecrets(), FakeSecrets()
        self.open()

    def open(self) -> None:
        self.secrets = SecretDestinations(self.values, self.bindings)
        self.administration = Administration(self.ledger)
        self.admin = SecretAdmin(self.administration, self.secrets)

    async def set(self, value, hosts=(HERE,)):
        await self.admin.set("token", value, hosts, "ann")

    async def bind(self, *hosts):
        return await self.admin.bind("token", hosts, "ann")

    async def remove(self):
        await self.admin.remove("token", "ann")

    async def restart(self) -> dict:
        self.open()
        await self.administration.settle(self.admin.settlers())
        assert not self.ledger.open_intents
        return self.ledger.chain[-1].event

    async def sent_to(self, host):
        try:
            return await self.secrets.get_for("token", host)
        except UpstreamError:
            return None


async def test_each_change_has_its_receipt_and_no_receipt_has_the_value():
    desk = Desk()
    await desk.set(OLD)
    assert await desk.bind(THERE, HERE) == (HERE, THERE)
    await desk.remove()
    assert desk.ledger.kinds()[1::2] == ["secret_set", "secret_bound", "secret_removed"]
    assert desk.ledger.chain[1].event["hosts"] == [HERE]
    assert OLD.decode() not in repr(desk.ledger.chain)


@pytest.mark.parametrize("change", ["bind", "remove"])
async def test_a_secret_that_is_not_there_is_not_found_and_leaves_no_receipt(change):
    desk = Desk()
    with pytest.raises(CallerError) as caught:
        await getattr(desk, change)()
    assert caught.value.code == "not_found"
    assert desk.ledger.kinds() == []


POINTS = list(itertools.product(("values", "bindings"), ("put", "delete"), ("before", "after")))


@pytest.mark.parametrize(("store", "name", "when"), POINTS)
@pytest.mark.parametrize("hosts", [(THERE,), None])
async def test_a_set_that_a_crash_cut_off_is_named_and_sends_no_value_where_it_is_not_for(
    monkeypatch, store, name, when, hosts
):
    desk = Desk()
    await desk.set(OLD)
    try:
        with crashed(monkeypatch, getattr(desk, store), name, when):
            await desk.set(NEW, hosts)
    except Crash:
        closed = await desk.restart()
        assert (closed["kind"], closed["change"], closed["name"]) == ("outcome_unknown", "secret_set", "token")
    if hosts is not None:
        assert await desk.sent_to(HERE) != NEW
        assert await desk.sent_to(THERE) != OLD
    await desk.set(NEW, (THERE,))
    assert await desk.sent_to(THERE) == NEW


async def test_a_first_set_that_a_crash_cut_off_before_its_value_is_undone(monkeypatch):
    desk = Desk()
    with crashed(monkeypatch, desk.values, "put", "before"), pytest.raises(Crash):
        await desk.set(NEW)
    closed = await desk.restart()
    assert (closed["kind"], closed["name"], closed["error"]) == ("change_failed", "token", "interrupted")


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_binding_that_a_crash_cut_off_is_finished(monkeypatch, when):
    desk = Desk()
    await desk.set(OLD)
    with crashed(monkeypatch, desk.bindings, "put", when), pytest.raises(Crash):
        await desk.bind(THERE)
    closed = await desk.restart()
    assert (closed["kind"], closed["hosts"], closed["is_settled"]) == ("secret_bound", [THERE], True)
    assert (await desk.sent_to(HERE), await desk.sent_to(THERE)) == (None, OLD)


@pytest.mark.parametrize(("store", "name", "when"), [point for point in POINTS if point[:2] != ("values", "put")])
async def test_a_removal_that_a_crash_cut_off_is_finished(monkeypatch, store, name, when):
    desk = Desk()
    await desk.set(OLD)
    with crashed(monkeypatch, getattr(desk, store), name, when), pytest.raises(Crash):
        await desk.remove()
    closed = await desk.restart()
    assert (closed["kind"], closed["name"], closed["by"]) == ("secret_removed", "token", "ann")
    assert (desk.values.kept, desk.bindings.kept) == ({}, {})


@pytest.mark.parametrize("value", [b"policy_set", b"approval_required", b"policy_s", b"unauthorized", b"args_digest"])
async def test_a_secret_that_is_a_word_of_the_daemons_own_or_a_part_of_one_is_refused(value):
    desk = Desk()
    with pytest.raises(CallerError, match="no word of the daemon's own"):
        await desk.set(value)
    assert (desk.values.kept, desk.ledger.chain) == ({}, [])
    await desk.set(value + b"-7fQ2")
    assert desk.values.kept["token"] == value + b"-7fQ2"


@pytest.mark.parametrize(
    "name",
    [
        "core/receipts/events.py",
        "core/fleet/events.py",
        "core/fleet/words.py",
        "adapters/servers/events.py",
        "core/wire/approvals.py",
        "core/wire/call_requests.py",
        "core/wire/calls.py",
    ],
)
def test_the_words_are_those_that_receipts_and_answers_are_made_of(name):
    said = re.findall(r'"([a-z][a-z0-9_]*)"', (Path(briefcase.__file__).parent / name).read_text())
    assert {word for word in said if len(word) >= MIN_SECRET_BYTES} <= WORDS
