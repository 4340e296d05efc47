"""Where the reader of one connection is in its stream of requests: a table of states and events, with no I/O.

 1. One message ends before the next one begins; where it ends, its own head says
 2. A request may be answered before its body has come; the rest of that body is still part of the message
 3. After a refusal nothing of the connection is parsed any more
 4. A step that the table does not have is a fault of this program, and raises

The sentences of RFC 9112 stand at the lines that keep them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, auto
from typing import Final


class State(IntEnum):
    """What of the stream comes next."""

    IDLE = auto()  # the first byte of a request, or a blank line
    HEAD = auto()  # more of a head
    BODY = auto()  # more of the body of the newest request, which is not answered
    UNWANTED = auto()  # more of the body of a request that is answered
    REFUSED = auto()  # nothing that is parsed, while requests that came whole before are answered
    LINGERING = auto()  # nothing that is parsed: the last answer is written
    CLOSED = auto()  # nothing


class Event(IntEnum):
    """What happens to the stream."""

    HEAD_BEGINS = auto()
    HEAD_ENDS = auto()
    ANSWERED = auto()  # the newest request, before its message ended
    MESSAGE_ENDS = auto()
    REFUSED = auto()  # by a bound, a deadline, the parser, or the end of the stream within a message
    LAST_WRITTEN = auto()
    LOST = auto()


class StepError(RuntimeError):
    """A step that the table does not have."""


class _Steps(dict[Event, State]):
    """The steps from one state."""

    def __missing__(self, event: Event) -> State:
        raise StepError(f"expected one of {[known.name for known in self]}, got {event.name}")


STEPS: Final[Mapping[State, Mapping[Event, State]]] = {
    State.IDLE: _Steps({
        # 2.2: "a server that is expecting to receive and parse a request-line SHOULD ignore at least one empty line
        # (CRLF) received prior to the request-line": no event, for as long as a head may take
        Event.HEAD_BEGINS: State.HEAD,
        Event.REFUSED: State.REFUSED,
        Event.LOST: State.CLOSED,
    }),
    State.HEAD: _Steps({
        # 6: "The presence of a message body in a request is signaled by a Content-Length or Transfer-Encoding header
        # field": without either the body has no bytes, and its end comes at once
        Event.HEAD_ENDS: State.BODY,
        # 6.1: "A server MAY reject a request that contains both Content-Length and Transfer-Encoding [...] the server
        # MUST close the connection after responding to such a request"
        Event.REFUSED: State.REFUSED,
        Event.LOST: State.CLOSED,
    }),
    State.BODY: _Steps({
        # 6.3: "If a valid Content-Length header field is present without Transfer-Encoding, its decimal value defines
        # the expected message body length in octets"
        Event.MESSAGE_ENDS: State.IDLE,
        # 9.3: "A server MUST read the entire request message body or close the connection after sending its response;
        # otherwise, the remaining data on a persistent connection would be misinterpreted as the next request"
        Event.ANSWERED: State.UNWANTED,
        # 6.3: "If the sender closes the connection or the recipient times out before the indicated number of octets
        # are received, the recipient MUST consider the message to be incomplete and close the connection"
        Event.REFUSED: State.REFUSED,
        Event.LOST: State.CLOSED,
    }),
    State.UNWANTED: _Steps({
        Event.MESSAGE_ENDS: State.IDLE,
        Event.REFUSED: State.REFUSED,  # with no answer: the request has one
        Event.LOST: State.CLOSED,
    }),
    State.REFUSED: _Steps({
        # 9.6: "First, the server performs a half-close by closing only the write side of the read/write connection. The
        # server then continues to read from the connection"
        Event.LAST_WRITTEN: State.LINGERING,
        Event.LOST: State.CLOSED,
    }),
    State.LINGERING: _Steps({
        Event.LOST: State.CLOSED,
    }),
    State.CLOSED: _Steps(),
}  # fmt: skip

PARSED: Final = frozenset({State.IDLE, State.HEAD, State.BODY, State.UNWANTED})
