"""The notifier at work: each target in its own lane, what is not told is kept, what is never taken is a dead letter."""

import asyncio

import pytest
from test_notifier_wording import event

from briefcase.edges.notifier.daemon import Batch, Cursor
from briefcase.edges.notifier.notifier import Notifier
from briefcase.edges.notifier.sending import SendError
from briefcase.edges.notifier.settings import Settings, Target
from briefcase.edges.notifier.state import MAX_DEAD, MAX_WAITING, DeadLetter, Lane, Store
from briefcase.edges.notifier.wording import message_of
from briefcase.model.errors import BriefcaseError, ConfigError
from support.waiting import until

FAST = Target(url="x://y", every_s=1)


class Sender:
    """Keeps what it was sent; `fails` are raised first, and it hangs where it is told to."""

    def __init__(self, *fails, hangs=False):
        self.fails = list(fails)
        self.hangs = hangs
        self.sent = []
        self.tried = 0

    async def send(self, message):
        self.tried += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails:
            raise self.fails.pop(0)
        self.sent.append(message)


class Desk:
    """A notifier whose daemon says what a test puts into `batches`."""

    def __init__(self, tmp_path, **senders):
        self.store = Store(tmp_path / "notifier.toml")
        self.senders = senders
        self.batches = []
        self.settings = Settings(dict.fromkeys(senders, FAST))

    def read(self, cursor):
        if self.batches:
            batch = self.batches.pop(0)
            if isinstance(batch, BaseException):
                raise batch
            return batch
        return Batch((), Cursor(0, cursor.approvals))

    def put(self, *events):
        self.batches.append(Batch(events, Cursor(0, tuple(one.ref for one in events))))

    async def run_until(self, holds):
        notifier = Notifier(self.settings, self.senders, self.store, self.read, attempts_s=(0.01, 0.01))
        stop = asyncio.Event()
        running = asyncio.create_task(notifier.run(stop))
        try:
            await until(lambda: holds() or running.done())
        finally:
            stop.set()
            await running
        return notifier


def titles(sender):
    return [message.title for message in sender.sent]


async def test_a_burst_of_fifty_is_one_message(tmp_path):
    desk = Desk(tmp_path, a=Sender())
    desk.put(*(event(number) for number in range(50)))
    await desk.run_until(lambda: desk.senders["a"].sent)
    assert titles(desk.senders["a"]) == ["briefcase: 50 calls wait"]


async def test_a_target_that_hangs_holds_up_no_other(tmp_path):
    desk = Desk(tmp_path, hung=Sender(hangs=True), well=Sender())
    desk.put(event(1))
    await desk.run_until(lambda: desk.senders["well"].sent)
    assert desk.senders["hung"].tried == 1


async def test_what_a_target_did_not_take_is_sent_by_the_next_run_under_the_same_id(tmp_path):
    desk = Desk(tmp_path, a=Sender(hangs=True))
    desk.put(event(1), event(2))
    await desk.run_until(lambda: desk.senders["a"].tried)
    leaving = desk.store.read().lanes["a"].leaving
    again = Desk(tmp_path, a=Sender())
    again.put(event(3))
    await again.run_until(lambda: len(again.senders["a"].sent) == 2)
    assert [message.id for message in again.senders["a"].sent] == [leaving.id, message_of([event(3)], 0, "").id]


async def test_what_was_told_is_told_no_second_time(tmp_path):
    desk = Desk(tmp_path, a=Sender())
    desk.put(event(1))
    await desk.run_until(lambda: desk.senders["a"].sent and desk.store.read().lanes["a"].leaving is None)
    again = Desk(tmp_path, a=Sender(), b=Sender())
    again.put(event(2))
    await again.run_until(lambda: again.senders["a"].sent and again.senders["b"].sent)
    assert [message.id for message in again.senders["a"].sent] == [message_of([event(2)], 0, "").id]


async def test_an_event_is_remembered_before_it_is_sent(tmp_path):
    desk = Desk(tmp_path, a=Sender(hangs=True))
    desk.put(event(1))
    await desk.run_until(lambda: desk.senders["a"].tried)
    state = desk.store.read()
    assert state.cursor.approvals == (event(1).ref,)
    assert state.lanes["a"].leaving.id == message_of([event(1)], 0, "").id


def test_what_is_held_back_is_remembered_at_once(tmp_path):
    desk = Desk(tmp_path, a=Sender())
    notifier = Notifier(desk.settings, desk.senders, desk.store, desk.read)
    notifier.take(Batch((event(1),), Cursor(0, (event(1).ref,))))
    assert [one.id for one in desk.store.read().lanes["a"].waiting] == ["approval:1"]


async def test_a_message_is_tried_again_and_then_a_dead_letter(tmp_path):
    desk = Desk(tmp_path, a=Sender(*(SendError(f"no {number}") for number in range(3))), b=Sender(SendError("no")))
    desk.put(event(1))
    await desk.run_until(lambda: desk.store.dead() and desk.senders["b"].sent)
    assert (desk.senders["a"].tried, desk.senders["b"].tried) == (3, 2)
    (letter,) = desk.store.dead()
    assert (letter.target, letter.problem, letter.message.id) == ("a", "no 2", message_of([event(1)], 0, "").id)
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "notifier.dead").iterdir()] == [0o600]
    desk.store.forget(letter)
    assert desk.store.dead() == []


async def test_what_will_never_be_taken_is_not_tried_again(tmp_path):
    desk = Desk(tmp_path, a=Sender(SendError("gone", is_final=True)))
    desk.put(event(1))
    await desk.run_until(desk.store.dead)
    assert desk.senders["a"].tried == 1


async def test_a_daemon_that_is_away_is_waited_for_and_one_that_refuses_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("briefcase.edges.notifier.notifier.AWAY_S", 0.01)
    desk = Desk(tmp_path, a=Sender())
    desk.batches.append(BriefcaseError("away", code="daemon_unreachable"))
    desk.put(event(1))
    await desk.run_until(lambda: desk.senders["a"].sent)
    desk.batches.append(BriefcaseError("revoked", code="unauthorized"))
    with pytest.raises(BriefcaseError, match="revoked"):
        await desk.run_until(lambda: False)


async def test_a_target_is_told_only_of_what_it_wants(tmp_path):
    desk = Desk(tmp_path, a=Sender(), b=Sender())
    desk.settings = Settings({"a": Target(url="x://y", agents=("scout",)), "b": Target(url="x://y", severity="high")})
    desk.put(event(1, agent="scout"), event(2, agent="other"), event(3, severity="high", agent="other"))
    await desk.run_until(lambda: desk.senders["a"].sent and desk.senders["b"].sent)
    assert [one["id"] for one in desk.senders["a"].sent[0].data["events"]] == ["approval:1"]
    assert [one["id"] for one in desk.senders["b"].sent[0].data["events"]] == ["approval:3"]


def test_a_lane_is_bounded_and_says_how_much_it_dropped():
    lane = Lane()
    for number in range(MAX_WAITING + 5):
        lane.put(event(number))
    assert (len(lane.waiting), lane.dropped, lane.waiting[0].id) == (MAX_WAITING, 5, "approval:5")


def test_dead_letters_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("briefcase.edges.notifier.state.MAX_DEAD", 3)
    store = Store(tmp_path / "notifier.toml")
    for number in range(6):
        store.bury(DeadLetter("a", message_of([event(number)], 0, ""), "no", f"t{number}"))
    assert [letter.given_up_at for letter in store.dead()] == ["t3", "t4", "t5"]
    assert MAX_DEAD == 1_000


@pytest.mark.parametrize("data", [b"", b"[]", b'{"cursor": 5}', b"\xff"])
def test_a_state_that_no_notifier_wrote_is_refused(tmp_path, data):
    path = tmp_path / "notifier.state"
    path.touch(0o600)
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        Store(tmp_path / "notifier.toml").read()
    assert "remove it" in caught.value.hint
