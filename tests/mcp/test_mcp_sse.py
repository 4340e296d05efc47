"""Event streams: written and read in any pieces, under a bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from briefcase.core.mcp.sse import KEEP_ALIVE, Event, EventReader, EventTooLargeError, encode_event


def read(*pieces: bytes, bound: int = 1_000) -> list[Event]:
    reader = EventReader(bound)
    return [event for piece in pieces for event in reader.feed(piece)]


def test_an_event_is_written_and_read():
    assert encode_event(b"{}", name="message", event_id="7") == b"id: 7\nevent: message\ndata: {}\n\n"
    assert read(encode_event(b"{}", name="endpoint", event_id="7")) == [Event(b"{}", "endpoint", "7")]
    assert read(encode_event(b"{}")) == [Event(b"{}")]


def test_line_ends_comments_and_unknown_fields_are_as_the_format_says():
    stream = b"\xef\xbb\xbfdata: a\r\n: comment\rdata:b\nretry: 5\nfoo\n\n" + KEEP_ALIVE + b"event: x\n\ndata:  c\n\n"
    assert read(stream) == [Event(b"a\nb"), Event(b" c")]


@given(st.lists(st.sampled_from([b"data: a", b"\r\n", b"\n", b"\r", b"id: 1", b":", b"\xef\xbb\xbf", b"x"])), st.data())
def test_how_a_stream_is_cut_changes_nothing(parts, data):
    whole = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert read(*pieces, b"x\n") == read(whole, b"x\n")


@pytest.mark.parametrize("stream", [b"data: " + b"x" * 2_000, b"data: x\n" * 2_000, b"data: " + b"x" * 2_000 + b"\n\n"])
def test_an_event_past_the_bound_is_refused(stream):
    with pytest.raises(EventTooLargeError):
        read(stream)


def test_a_flood_of_small_pieces_is_read_in_linear_time():
    reader = EventReader(1 << 22)
    for _ in range(1 << 15):
        assert not list(reader.feed(b"data: " + b"x" * 64))
    assert [len(event.data) for event in reader.feed(b"\n\n")] == [70 * (1 << 15) - 6]
