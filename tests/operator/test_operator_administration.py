"""Each change of an operator is intent, effect and outcome, or nothing happened; and no route goes around it."""

import asyncio

import pytest

from briefcase.adapters.ledger.intents import CLOSING, OPENING
from briefcase.core.operator.administration import Administration
from briefcase.core.receipts import events
from briefcase.edges.api.app import ROUTES
from briefcase.edges.api.effects import CALLS, CHANGES, NEITHER, changing_handlers
from briefcase.edges.api.routing import OPERATOR, Route
from briefcase.model.effects import Entry, OpenIntent
from briefcase.model.errors import BriefcaseError, CallerError, StoreError, UpstreamError
from support.clock import FakeClock
from support.ledger import MemoryLedger

SUBJECT = "secret:n"
EVENT = {"kind": "secret_set", "name": "n", "by": "operator"}


class Effect:
    """An effect that says how often it was made, and may break the ledger or fail."""

    def __init__(self, ledger, *, error=None, breaks=False):
        self.ledger, self.error, self.breaks, self.made = ledger, error, breaks, 0

    async def __call__(self):
        assert self.ledger.kinds()[-1] == "change_intent", "an effect without a durable intent"
        self.made += 1
        if self.breaks:
            self.ledger.broken = "the disk went"
        if self.error is not None:
            raise self.error
        return "result"


async def change(ledger, effect, **options):
    return await Administration(ledger).make(SUBJECT, EVENT, effect, **options)


async def test_a_change_leaves_its_intent_before_and_its_outcome_after_the_effect():
    ledger = MemoryLedger(FakeClock())
    effect = Effect(ledger)
    assert await change(ledger, effect, found=lambda result: {"more": result}) == "result"
    intent, outcome = (receipt.event for receipt in ledger.chain)
    assert (intent["kind"], intent["change"], intent["by"], intent["name"]) == (
        "change_intent",
        "secret_set",
        "operator",
        "n",
    )
    assert (outcome["kind"], outcome["intent_id"], outcome["more"]) == ("secret_set", intent["id"], "result")
    assert not ledger.open_intents


async def test_a_change_whose_intent_cannot_be_made_durable_does_not_happen():
    ledger = MemoryLedger(FakeClock())
    effect = Effect(ledger)
    ledger.broken = "the disk went"
    for _ in range(2):
        with pytest.raises(StoreError) as caught:
            await change(ledger, effect)
        assert caught.value.http_status == 503
        ledger.gate_problem = lambda: None  # a gate that has not shut yet: the commit itself fails
    assert effect.made == 0


async def test_a_change_whose_outcome_cannot_be_made_durable_is_not_answered_with_503():
    ledger = MemoryLedger(FakeClock())
    effect = Effect(ledger, breaks=True)
    with pytest.raises(BriefcaseError) as caught:
        await change(ledger, effect)
    assert (caught.value.code, effect.made) == ("outcome_unknown", 1)
    assert caught.value.http_status != 503
    assert list(ledger.open_intents) == [1], "the next start closes it"


@pytest.mark.parametrize(
    ("error", "kind", "in_doubt"),
    [
        (CallerError("no", code="conflict"), "change_failed", False),
        (UpstreamError("timeout", sent=True), "change_failed", True),
        (UpstreamError("refused", sent=False), "change_failed", False),
        (RuntimeError("bug"), "outcome_unknown", None),
    ],
)
async def test_a_change_that_fails_is_closed_and_says_whether_something_may_have_happened(error, kind, in_doubt):
    ledger = MemoryLedger(FakeClock())
    with pytest.raises(type(error)):
        await change(ledger, Effect(ledger, error=error))
    closed = ledger.chain[-1].event
    assert (closed["kind"], closed["intent_id"], closed.get("in_doubt")) == (kind, 1, in_doubt)
    assert closed["change"] == "secret_set"
    assert not ledger.open_intents


async def test_of_one_subject_one_change_is_made_at_a_time_and_others_go_on():
    ledger = MemoryLedger(FakeClock())

    async def run():
        administration = Administration(ledger)
        go_on = asyncio.Event()
        first = asyncio.create_task(administration.make(SUBJECT, EVENT, go_on.wait))
        await asyncio.sleep(0)
        with pytest.raises(CallerError, match="under way") as caught:
            await administration.make(SUBJECT, EVENT, Effect(ledger))
        await administration.make("secret:other", EVENT, Effect(ledger))
        go_on.set()
        await first
        await administration.make(SUBJECT, EVENT, Effect(ledger))
        return caught.value.code

    assert await run() == "conflict"
    assert not ledger.open_intents


async def test_a_subject_whose_change_has_no_receipt_yet_gets_it_before_its_next_change():
    ledger = MemoryLedger(FakeClock())

    administration = Administration(ledger)
    with pytest.raises(BriefcaseError):
        await administration.make(SUBJECT, EVENT, Effect(ledger, breaks=True))
    ledger.broken = None
    await administration.make(SUBJECT, {**EVENT, "kind": "secret_removed"}, Effect(ledger))
    assert ledger.kinds() == ["change_intent", "secret_set", "change_intent", "secret_removed"]
    assert [receipt.event.get("intent_id") for receipt in ledger.chain] == [None, 1, None, 3]


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt()])
async def test_a_change_that_was_given_up_is_closed_before_its_subjects_next_one(error):
    ledger = MemoryLedger(FakeClock())

    administration = Administration(ledger)
    with pytest.raises(type(error)):
        await administration.make(SUBJECT, EVENT, Effect(ledger, error=error))
    await administration.make(SUBJECT, EVENT, Effect(ledger))
    assert ledger.kinds() == ["change_intent", "outcome_unknown", "change_intent", "secret_set"]


async def left_open(ledger, *events_left):
    for event in events_left:
        await ledger.commit(Entry(events.change_intent_event(event), (OpenIntent(),)))


async def test_what_a_crash_left_open_is_settled_by_its_noun_or_closed_as_unknown():
    ledger = MemoryLedger(FakeClock())
    unknown = {"kind": "provider_verdict", "base_url": "https://p.example", "by": "ann"}
    failing = {"kind": "secret_bound", "name": "m", "by": "ann"}
    await left_open(ledger, EVENT, unknown, failing)

    async def finished(event):
        assert event == EVENT
        return events.change_finished_event(event)

    async def fails(event):
        raise StoreError("the vault is locked", code="secret_unavailable")

    await Administration(ledger).settle({"secret_set": finished, "secret_bound": fails})
    first, second, third = (receipt.event for receipt in ledger.chain[3:])
    assert (first["kind"], first["intent_id"], first["is_settled"]) == ("secret_set", 1, True)
    assert (second["kind"], second["change"], second["base_url"]) == (
        "outcome_unknown",
        "provider_verdict",
        "https://p.example",
    )
    assert (third["kind"], third["name"]) == ("outcome_unknown", "m")
    assert "the vault is locked" in third["cause"]
    assert not ledger.open_intents
    await Administration(ledger).settle({})
    assert len(ledger.chain) == 6


async def test_a_change_in_the_ledger_itself_is_refused_before_its_commit_while_the_gate_is_shut():
    ledger = MemoryLedger(FakeClock())
    ledger.gate_problem = lambda: "the disk is full"
    with pytest.raises(StoreError, match="nothing is changed: the disk is full"):
        await Administration(ledger).record(Entry(EVENT))
    assert ledger.chain == []


def test_every_route_that_is_no_get_is_a_call_a_change_or_a_named_exception():
    handlers = changing_handlers(ROUTES)
    there = {(route.method, route.path) for route in ROUTES if route.method != "GET"}
    assert there == CALLS | CHANGES | set(NEITHER), "a table names what is not there"
    assert len(handlers) == len(CHANGES)
    assert all(NEITHER.values()), "each exception says why"


def test_a_route_that_no_table_names_keeps_the_application_from_starting():
    async def handler(services, request):
        raise AssertionError

    with pytest.raises(ValueError, match="is in 0 tables"):
        changing_handlers((*ROUTES, Route("POST", "/v1/new", OPERATOR, handler, "", None)))


def test_every_kind_of_change_closes_its_intent_at_a_replay():
    assert events.CHANGES < CLOSING
    assert {events.CHANGE_FAILED, "outcome_unknown"} < CLOSING
    assert events.CHANGE_INTENT in OPENING
