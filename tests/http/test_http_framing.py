"""However a stream of bytes is cut, the same requests are taken from it, and nothing that comes after a refusal."""

import itertools

import h11
import pytest
from framing_cases import CALL, FRAMING, NEXT
from hypothesis import example, given
from hypothesis import strategies as st
from wire_kit import Recorder, Served

from briefcase.edges.http.framing import PARSED, STEPS, Event, State, StepError

WHOLE = CALL + b"content-length: 2\r\n\r\n{}"

# --- the table --------------------------------------------------------------------------------------------------------


def test_a_head_begins_only_between_messages():
    assert {state for state, steps in STEPS.items() if Event.HEAD_BEGINS in steps} == {State.IDLE}


def test_nothing_leads_back_from_a_refusal():
    reached, new = set(), {State.REFUSED}
    while new:
        reached |= new
        new = {after for state in new for after in STEPS[state].values()} - reached
    assert reached == {State.REFUSED, State.LINGERING, State.CLOSED}
    assert not reached & PARSED


def test_every_state_may_be_lost_but_a_closed_one_and_every_parsed_state_may_be_refused():
    assert {state for state in State if Event.LOST in STEPS[state]} == set(State) - {State.CLOSED}
    assert {state for state in State if Event.REFUSED in STEPS[state]} == PARSED


@pytest.mark.parametrize(
    ("state", "event"),
    [pair for pair in itertools.product(State, Event) if pair[1] not in STEPS[pair[0]]],
    ids=lambda part: part.name,
)
def test_a_step_that_the_table_does_not_have_raises(state, event):
    with pytest.raises(StepError, match=f"got {event.name}"):
        STEPS[state][event]


# --- streams ----------------------------------------------------------------------------------------------------------


def a_request(method: bytes, target: bytes, body: bytes, chunk_bytes: int | None) -> bytes:
    head = method + b" " + target + b" HTTP/1.1\r\nhost: a\r\n"
    if chunk_bytes is None:
        return head + (b"content-length: %d\r\n\r\n%b" % (len(body), body) if body else b"\r\n")
    pieces = [body[at : at + chunk_bytes] for at in range(0, len(body), chunk_bytes)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return head + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


REQUESTS = st.builds(
    a_request,
    st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE"]),
    st.sampled_from([b"/", b"/a?b=c", b"/v1/tools/call"]),
    st.one_of(st.binary(max_size=40), st.sampled_from([NEXT, WHOLE, b"0\r\n\r\n" + NEXT])),
    st.one_of(st.none(), st.integers(1, 9)),
)
FRAMING_BYTES = st.sampled_from([
    b"\r", b"\n", b"\r\n", b" ", b"\t", b"\x00", b"\x0b", b":", b",", b"+", b"-", b"0", b"1", b"a", b"chunked",
    b"content-length: 1\r\n", b"transfer-encoding: chunked\r\n", b"transfer-encoding: x\r\n", b"0\r\n\r\n", NEXT,
])  # fmt: skip


@st.composite
def bent(draw) -> bytes:
    """A request with a few bytes put in, taken out or replaced."""
    data = draw(REQUESTS)
    for _ in range(draw(st.integers(1, 2))):
        at, gone = draw(st.integers(0, len(data))), draw(st.integers(0, 2))
        data = data[:at] + draw(st.one_of(st.just(b""), FRAMING_BYTES)) + data[at + gone :]
    return data


STREAMS = st.lists(
    st.one_of(REQUESTS, bent(), st.sampled_from([NEXT, WHOLE, *FRAMING.values()])), min_size=1, max_size=4
).map(b"".join)
CUTS = st.lists(st.integers(0, 400), max_size=12)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({min(one, len(data)) for one in cuts} | {0, len(data)})
    return [data[first:last] for first, last in itertools.pairwise(at)]


async def taken(pieces: list[bytes]) -> list[tuple[bytes, bytes, bytes]]:
    """The requests that a connection takes from some pieces; whatever comes after a refusal adds none."""

    async def scenario():
        app = Recorder()
        served = Served(app)
        await served.feed(*pieces)
        state, count = served.connection._state, len(app.seen)
        assert (state in PARSED) or not served.connection._unanswered
        if state not in PARSED:
            await served.feed(NEXT, WHOLE)
            assert len(app.seen) == count, "a request was taken after a refusal"
            assert served.transport.is_half_closed or served.transport.is_closed
        await served.leave()
        assert not served.serving.tasks
        return app.seen[:count]

    return await scenario()


@given(STREAMS, CUTS)
@example(CALL + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + NEXT, [60])
@example(a_request(b"POST", b"/", NEXT, 1) + NEXT, list(range(0, 300, 7)))
async def test_the_same_requests_are_taken_from_a_stream_however_it_is_cut(data, cuts):
    assert await taken(cut(data, cuts)) == await taken([data])


def framed_by_h11(data: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """The requests that another parser takes from the same bytes, until it refuses one."""
    other, found = h11.Connection(h11.SERVER), []
    other.receive_data(data)
    body = b""
    while True:
        try:
            event = other.next_event()
        except h11.RemoteProtocolError:
            return found
        match event:
            case h11.Request():
                head, body = event, b""
            case h11.Data():
                body += bytes(event.data)
            case h11.EndOfMessage():
                found.append((head.method, head.target, body))
                other.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                if other.our_state is h11.SWITCHED_PROTOCOL:
                    return found
                other.send(h11.EndOfMessage())
                if other.our_state is not h11.DONE or other.their_state is not h11.DONE:
                    return found
                other.start_next_cycle()
            case _:
                return found


@given(STREAMS)
@example(b"".join(itertools.islice(FRAMING.values(), 6)))
async def test_what_is_taken_from_a_stream_another_parser_frames_alike(data):
    ours, theirs = await taken([data]), framed_by_h11(data)
    both = min(len(ours), len(theirs))
    assert ours[:both] == theirs[:both]
