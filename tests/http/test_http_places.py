"""Places: who gives way when there are too many connections, and whose bytes are held."""

import asyncio

import msgspec
import pytest

from briefcase.edges.http.limits import PlaceLimits
from briefcase.edges.http.places import CANDIDATES, DISPATCH_S, KEPT_FOR_EACH, Places
from briefcase.model.errors import CallerError
from support.api import AGENT_TOKEN, AUDITOR_TOKEN, OPERATOR_TOKEN, OTHER_TOKEN, Rig, request
from support.principals import AGENT, AUDITOR, OPERATOR, OTHER_AGENT
from support.waiting import until

OWN_UID, OTHER_UID, THIRD_UID = 1_000, 1_001, 1_002
TOOLS = "/v1/tools"


class Guest:
    """A connection that is idle since it came, until a test says that it is at work."""

    def __init__(self, since_s: float) -> None:
        self.since_s: float | None = since_s
        self.gave_way = False

    def idle_since_s(self) -> float | None:
        return self.since_s

    def give_way(self) -> None:
        self.gave_way = True


class Hall:
    """Places, and a clock that ticks with every connection."""

    def __init__(self, **limits) -> None:
        self.places = Places(PlaceLimits(**{"own_uid": OWN_UID, **limits}), knows_principals=True)
        self.now_s = 100.0
        self.tick_s = 1.0

    def come(self, principal=None, *, busy=False, listener=0, uid=None, places=None):
        self.now_s += self.tick_s
        guest = Guest(self.now_s)
        place = (places or self.places).take(guest, listener, uid, self.now_s)
        if principal is not None:
            place.claim(principal)
        if busy:
            guest.since_s = None
        return place, guest


def gone(*comers) -> list[bool]:
    return [guest.gave_way for _, guest in comers]


# --- who gives way --------------------------------------------------------------------------------------------------


def test_the_longest_idle_connection_gives_way_to_a_new_one():
    hall = Hall(max_connections=3)
    first, second, third = (hall.come(AGENT) for _ in range(3))
    second[1].since_s, first[1].since_s = 50.0, 60.0
    hall.come(AGENT)
    assert gone(first, second, third) == [False, True, False]
    hall.come(AGENT)
    assert gone(first, second, third) == [True, True, False]


def test_connections_on_which_nobody_is_known_give_way_before_an_agents_and_an_agents_before_the_operators():
    hall = Hall(max_connections=3)
    operator, agent, nobody = hall.come(OPERATOR), hall.come(AGENT), hall.come()
    newest = hall.come(OPERATOR)
    assert gone(operator, agent, nobody, newest) == [False, False, True, False]
    newest = hall.come(OPERATOR)
    assert gone(operator, agent, nobody, newest) == [False, True, True, False]


def test_newcomers_have_a_quarter_of_the_places_to_say_who_they_are():
    hall = Hall(max_connections=8)
    known = [hall.come(AGENT) for _ in range(8)]
    newcomers = [hall.come() for _ in range(3)]
    assert gone(*known) == [True] * 3 + [False] * 5
    newcomers += [hall.come() for _ in range(10)]
    assert gone(*known) == [True] * 3 + [False] * 5
    assert gone(*newcomers) == [True] * 10 + [False] * 3


def test_a_connection_at_work_never_gives_way_and_what_comes_then_serves_the_operator_only():
    hall = Hall(max_connections=4)
    working = [hall.come(principal, busy=True) for principal in (AGENT, OTHER_AGENT) for _ in range(KEPT_FOR_EACH)]
    place, _ = hall.come()
    assert place.is_probation
    for principal in (AGENT, OTHER_AGENT):
        with pytest.raises(CallerError, match="too many connections"):
            place.claim(principal)
    place.claim(OPERATOR)
    assert not place.is_probation
    assert gone(*working) == [False] * 4


def test_where_all_are_at_work_an_agent_that_has_none_is_served_and_no_agent_more_than_its_few():
    hall = Hall(max_connections=4, newcomer_reserve=3)
    crowd = [hall.come(AGENT, busy=True) for _ in range(4)]
    newcomers = [hall.come(OTHER_AGENT, busy=True) for _ in range(KEPT_FOR_EACH)]
    for principal in (AGENT, OTHER_AGENT):
        with pytest.raises(CallerError, match="too many connections"):
            hall.come(principal)
    hall.come(AUDITOR, busy=True)
    with pytest.raises(CallerError, match="too many connections"):
        hall.come(msgspec.structs.replace(AGENT, name="late"))  # the reserve has an end
    assert gone(*crowd, *newcomers) == [False] * 6
    hall.come(OPERATOR, busy=True)


def test_an_idle_newcomer_makes_no_room_for_a_connection_past_the_bound():
    hall = Hall(max_connections=4)
    [hall.come(AGENT, busy=True) for _ in range(4)]
    idle = hall.come()
    place, _ = hall.come()
    assert gone(idle) == [True]
    assert place.is_probation
    with pytest.raises(CallerError, match="too many connections"):
        place.claim(AGENT)


def test_an_agent_is_served_beside_a_crowd_of_its_own_user():
    hall = Hall(max_connections_per_uid=3)
    [hall.come(AGENT, busy=True, uid=OTHER_UID) for _ in range(3)]
    with pytest.raises(CallerError, match="too many connections"):
        hall.come(AGENT, uid=OTHER_UID)
    hall.come(OTHER_AGENT, busy=True, uid=OTHER_UID)


def test_where_all_are_at_work_the_oldest_long_poll_of_who_has_most_is_answered_for_a_newcomer():
    hall, ended = Hall(max_connections=5, max_connections_per_principal=3), []
    polls = {}
    for name, principal in (("a", AGENT), ("b1", OTHER_AGENT), ("b2", OTHER_AGENT), ("op", OPERATOR)):
        polls[name], _ = hall.come(principal, busy=True)
        polls[name].wait(lambda name=name: ended.append(name))
    hall.come(OTHER_AGENT, busy=True)  # a call, which nobody may end
    for expected in (["b1"], ["b1", "a"], ["b1", "a", "b2"]):
        place, _ = hall.come()
        assert ended == expected
        place.claim(AUDITOR)
        place.guest.since_s = None
    place, _ = hall.come()
    assert place.is_probation  # no poll but the operator's is left
    assert ended == ["b1", "a", "b2"]


def test_an_agent_whose_connections_all_wait_has_its_oldest_long_poll_answered_and_no_other_agents():
    hall, ended = Hall(max_connections_per_principal=2), []
    for name, principal in (("other", OTHER_AGENT), ("first", AGENT), ("second", AGENT)):
        place, _ = hall.come(principal, busy=True)
        place.wait(lambda name=name: ended.append(name))
    hall.come(AGENT, busy=True)
    assert ended == ["first"]
    hall.come(AGENT, busy=True)
    assert ended == ["first", "second"]
    with pytest.raises(CallerError, match="at most 2 connections"):
        hall.come(AGENT)


def test_a_long_poll_that_is_answered_or_whose_connection_is_gone_is_not_answered_again():
    hall, ended = Hall(max_connections=2), []
    answered, left = (hall.come(AGENT, busy=True)[0] for _ in range(2))
    for place in (answered, left):
        place.wait(lambda: ended.append("x"))
    answered.stop_waiting()
    hall.places.leave(left)
    hall.come(AGENT, busy=True)
    assert hall.come()[0].is_probation
    assert ended == []


def test_the_operators_reserve_is_for_the_newest_and_is_never_full():
    hall = Hall(max_connections=1, operator_reserve=3)
    hall.come(AGENT, busy=True)
    flood = [hall.come(busy=True) for _ in range(50)]
    assert gone(*flood) == [True] * 47 + [False] * 3
    place, guest = hall.come()
    place.claim(OPERATOR)
    [hall.come(busy=True) for _ in range(50)]
    assert not guest.gave_way or guest.since_s is not None
    assert len(hall.places._of_listener[0]) <= 1 + 1 + 3


@pytest.mark.parametrize("is_busy", [True, False], ids=["half a request", "silent"])
def test_a_flood_of_one_users_connections_pushes_out_its_own_and_not_one_that_another_user_just_made(is_busy):
    hall = Hall(max_connections=1, operator_reserve=4)
    hall.tick_s = 0.001
    hall.come(AGENT, busy=True, uid=OWN_UID)
    place, guest = hall.come(uid=OWN_UID)
    flood = [hall.come(busy=is_busy, uid=OTHER_UID) for _ in range(50)]
    third, third_guest = hall.come(uid=THIRD_UID)
    flood += [hall.come(busy=is_busy, uid=OTHER_UID) for _ in range(50)]
    assert (guest.gave_way, third_guest.gave_way) == (False, False)
    place.claim(OPERATOR)
    third.claim(OTHER_AGENT)
    assert sum(not gave_way for gave_way in gone(*flood)) <= 2  # what is left of the reserve


def test_a_connection_that_said_nothing_for_long_gives_way_to_another_users_too():
    hall = Hall(max_connections=2)
    silent = hall.come(uid=OTHER_UID)
    hall.come(AGENT, busy=True)
    hall.now_s += DISPATCH_S
    hall.come(uid=THIRD_UID)
    assert silent[1].gave_way


def test_once_there_is_room_again_a_connection_on_probation_is_like_any_other():
    hall = Hall(max_connections=1)
    working, _ = hall.come(AGENT, busy=True)
    place, _ = hall.come()
    hall.places.leave(working)
    place.claim(AGENT)
    assert not place.is_probation


def test_a_connection_that_never_said_who_it_is_is_not_at_work_for_long():
    hall = Hall(max_connections=2)
    slow, other = hall.come(busy=True), hall.come(AGENT, busy=True)
    hall.now_s += DISPATCH_S
    hall.come()
    assert gone(slow, other) == [True, False]


def test_a_server_that_knows_nobody_cuts_no_stream():
    hall = Hall()
    places = Places(PlaceLimits(max_connections=1), knows_principals=False)
    stream = hall.come(busy=True, places=places)
    hall.now_s += 100 * DISPATCH_S
    place, _ = hall.come(places=places)
    assert place.is_probation  # the protocol turns it away
    assert gone(stream) == [False]


def test_each_listener_has_places_of_its_own():
    hall = Hall(max_connections=2)
    first = [hall.come(busy=True, listener=0) for _ in range(2)]
    assert not any(hall.come(AGENT, listener=1)[0].is_probation for _ in range(2))
    assert gone(*first) == [False, False]


def test_the_connections_of_one_user_are_bounded_but_not_those_of_the_daemons_own():
    hall = Hall(max_connections=100, max_connections_per_uid=2)
    others = hall.come(uid=THIRD_UID)
    crowd = [hall.come(uid=OTHER_UID) for _ in range(3)]
    own = [hall.come(uid=OWN_UID) for _ in range(5)]
    assert gone(others, *crowd, *own) == [False, True, False, False] + [False] * 5
    for _, guest in crowd:
        guest.since_s = None
    hall.now_s += DISPATCH_S
    [place.claim(AGENT) for place, guest in crowd if not guest.gave_way]
    place, _ = hall.come(uid=OTHER_UID)
    with pytest.raises(CallerError, match="too many"):
        place.claim(AGENT)


def test_one_principals_connections_are_bounded_its_own_idle_ones_first():
    hall = Hall(max_connections_per_principal=2)
    first, second = hall.come(AGENT), hall.come(AGENT, busy=True)
    stranger = hall.come(OTHER_AGENT)
    third = hall.come(AGENT, busy=True)
    assert gone(first, second, third, stranger) == [True, False, False, False]
    fourth, _ = hall.come()
    with pytest.raises(CallerError, match="expected at most 2 connections of `scout`") as caught:
        fourth.claim(AGENT)
    assert caught.value.code == "rate_limited"
    [hall.come(OPERATOR, busy=True) for _ in range(10)]  # operators are bounded by their listener


def test_a_connection_that_speaks_for_another_counts_for_the_other():
    hall = Hall(max_connections_per_principal=1)
    place, _ = hall.come(AGENT, busy=True)
    place.claim(OTHER_AGENT)
    place.claim(msgspec.structs.replace(OTHER_AGENT, groups=("moved",)))
    hall.come(AGENT, busy=True)
    with pytest.raises(CallerError):
        hall.come(OTHER_AGENT)
    assert sum(map(len, hall.places._of_principal.values())) == 2


@pytest.mark.parametrize("is_busy", [True, False], ids=["half a request", "silent"])
def test_a_flood_looks_at_all_connections_only_now_and_then(monkeypatch, is_busy):
    hall = Hall(max_connections=200)
    hall.tick_s = 0.0005
    looks = []
    find = Places._find_idle
    monkeypatch.setattr(Places, "_find_idle", lambda *args: looks.append(1) or find(*args))
    for _ in range(200 + 10 * CANDIDATES):
        hall.come(busy=is_busy)
    assert len(looks) <= 17  # of 320: one in `LOOK_AGAIN_S`, or one for `CANDIDATES`


def test_nothing_is_kept_of_connections_that_left():
    hall = Hall(max_connections=5, max_connections_per_uid=2, max_connections_per_principal=2)
    for number in range(200):
        place, _ = hall.come(uid=OWN_UID + number % 20)
        place.claim(msgspec.structs.replace(AGENT, name=f"agent-{number}"))
        place.hold_body(100_000)
        place.hold_unsent(100_000)
        hall.places.leave(place)
        hall.places.leave(place)
    places = hall.places
    assert not any(places._of_listener.values())
    assert not places._of_principal
    assert not places._uids
    assert (places.held.total_bytes, places.held._bytes_of, places.held._slow) == (0, {}, {})


# --- bytes that wait ------------------------------------------------------------------------------------------------


def test_a_body_past_the_budget_or_past_its_principals_share_is_refused():
    hall = Hall(max_unsent_bytes=400)
    one, _ = hall.come(AGENT)
    assert one.hold_body(100)
    assert not one.hold_body(101)
    one.release_body()
    assert all(hall.come(msgspec.structs.replace(AGENT, name=str(n)))[0].hold_body(100) for n in range(4))
    assert not hall.come(OTHER_AGENT)[0].hold_body(1)


def test_the_slowest_reader_of_whoever_holds_most_is_closed_for_a_new_answer():
    hall = Hall(max_unsent_bytes=400)
    other = hall.come(OTHER_AGENT)
    other[0].hold_unsent(90)
    readers = [hall.come(AGENT) for _ in range(4)]
    for place, _ in readers:
        place.hold_unsent(40)
    assert gone(other, *readers) == [False, True, True, False, False]
    assert hall.places.held.total_bytes == 170
    assert hall.places.held.closed == 2


def test_the_budget_holds_in_all_and_one_answer_larger_than_it_closes_its_own_reader():
    hall = Hall(max_unsent_bytes=400)
    readers = [hall.come(msgspec.structs.replace(AGENT, name=str(n))) for n in range(6)]
    for place, _ in readers:
        place.hold_unsent(90)
    assert hall.places.held.total_bytes <= 400
    huge, guest = hall.come(OTHER_AGENT)
    huge.hold_unsent(401)
    assert guest.gave_way
    assert hall.places.held.total_bytes <= 400


def test_bytes_move_with_the_connection_and_go_when_they_are_read():
    hall = Hall(max_unsent_bytes=400)
    place, _ = hall.come()
    place.hold_body(60)
    place.claim(AGENT)
    place.hold_unsent(40)
    assert hall.places.held._bytes_of == {AGENT.name: 100}
    place.release_body()
    place.release_unsent()
    assert (hall.places.held.total_bytes, hall.places.held._bytes_of) == (0, {})


# --- over real sockets ------------------------------------------------------------------------------------------------


async def said(client, method="GET", path=TOOLS, *, token=OPERATOR_TOKEN, body=None) -> int:
    await client.send(request(method, path, body, token=token))
    return (await client.answer())[0]


async def test_idle_connections_of_strangers_and_agents_do_not_keep_the_operator_out(tmp_path):
    async with Rig(tmp_path, max_connections=8) as rig:
        strangers = [await rig.connect() for _ in range(6)]
        agents = [await rig.connect() for _ in range(6)]
        for client in agents:
            assert await said(client, token=AGENT_TOKEN) == 200
        operator = await rig.connect()
        assert await said(operator) == 200
        for _ in range(3):
            strangers += [await rig.connect() for _ in range(20)]
            assert await said(operator) == 200
        late = await rig.connect()
        assert await said(late) == 200
        for client in (*strangers, *agents, operator, late):
            await client.close()


async def test_an_agent_whose_every_connection_is_at_work_is_told_so_and_the_operator_is_served(tmp_path):
    async with Rig(tmp_path, max_connections=8) as rig:
        rig.calls.go.clear()
        working = [await rig.connect() for _ in range(8)]
        for number, client in enumerate(working):
            token = AGENT_TOKEN if number < 4 else OTHER_TOKEN
            await client.send(request("POST", "/v1/tools/call", {}, token=token))
        await until(lambda: len(rig.calls.seen) == 8)
        for token, expected in ((AGENT_TOKEN, 503), (OTHER_TOKEN, 503), (AUDITOR_TOKEN, 200), (OPERATOR_TOKEN, 200)):
            client = await rig.connect()
            assert await said(client, "GET", "/v1/identity", token=token) == expected
            await client.close()
        rig.calls.go.set()
        for client in working:
            assert (await client.answer())[0] == 200
            await client.close()


async def test_a_connection_past_an_agents_bound_is_refused_and_closed(tmp_path):
    async with Rig(tmp_path, max_connections_per_principal=1) as rig:
        rig.calls.go.clear()
        working = await rig.connect()
        await working.send(request("POST", "/v1/tools/call", {}, token=AGENT_TOKEN))
        await rig.calls.reached.wait()
        told = await rig.raw(request("GET", TOOLS, token=AGENT_TOKEN))
        assert told.startswith(b"HTTP/1.1 429 ")
        assert b"expected at most 1 connections of `scout`" in told
        rig.calls.go.set()
        assert (await working.answer())[0] == 200
        await working.close()


async def test_answers_that_nobody_reads_are_held_within_one_budget(tmp_path):
    async with Rig(tmp_path, max_unsent_bytes=10_000_000) as rig:
        rig.calls.payload = {"status": "ok", "result": "x" * 1_000_000}
        held = rig.server.places.held
        readers = [await rig.connect() for _ in range(20)]
        for client in readers:
            client.writer.transport.pause_reading()
            await client.send(request("POST", "/v1/tools/call", {}, token=AGENT_TOKEN))
        await until(lambda: rig.calls.finished == 20)
        await until(lambda: held.closed >= 17)
        assert 0 < held.total_bytes <= held.limit_bytes // 4
        honest = await rig.connect()
        await honest.send(request("POST", "/v1/tools/call", {}, token=OTHER_TOKEN))
        assert len((await honest.answer())[2]["result"]) == 1_000_000
        for client in (*readers, honest):
            await client.close()
        await until(lambda: not rig.server._state.connections)
        assert held.total_bytes == 0


async def test_bodies_that_come_slowly_are_held_within_one_budget(tmp_path):
    async with Rig(tmp_path, max_unsent_bytes=1_600_000) as rig:
        held = rig.server.places.held
        head = request("POST", "/v1/tools/call", b"", token=AGENT_TOKEN).replace(b"length: 0", b"length: 300000")
        senders = [await rig.connect() for _ in range(10)]
        for client in senders:
            await client.send(head + b" " * 200_000)
        waiting = {asyncio.ensure_future(client.rest()) for client in senders}
        while len(waiting) > 2:  # as many as the budget holds
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert all(refused.result().startswith(b"HTTP/1.1 503 ") for refused in done)
        assert 0 < held.total_bytes <= held.limit_bytes
        for unanswered in waiting:
            unanswered.cancel()
        for client in senders:
            await client.close()
