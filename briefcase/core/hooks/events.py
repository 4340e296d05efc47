"""An event of a coding agent's hook, whichever client wrote it, and the ruling on it.

An event is read strictly: what is missing or of another type is an `EventError`, and the edge answers that with a
denial. A tool's id is the client's name and the tool's: `claude-code.Bash`. A tool of an MCP server, which clients
write `mcp__server__tool`, is the tool that this daemon knows by `server.tool`; of the daemon's own gateway, which
clients know as the server `briefcase`, the tool itself.

The request id is the UUIDv5 of client, session and tool use, so that an event sent twice is one call. Where a client
names no tool use, each event is a call of its own and its outcome is not observed.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Any, Final, Protocol

import msgspec

from briefcase.model.errors import CallerError
from briefcase.model.types import JsonObject, JsonValue

MAX_NAME_CHARS: Final = 256
GATEWAY: Final = "briefcase"  # the name of the daemon's own gateway among a client's MCP servers
CLIENT_NAMES: Final = frozenset({"claude-code", "codex", "gemini", "cursor", "copilot"})

NAMESPACE: Final = bytes.fromhex("5b0e7c529d0a5c0e8d576f3c4d1e2a90")  # of ours: request ids of hooks are in it
_MCP: Final = "mcp__"
_ORDINARY: Final = frozenset(map(chr, range(0x21, 0x7F)))


class EventError(CallerError):
    """An event that is none: malformed, of an unknown name, or without what its kind needs."""


class Phase(StrEnum):
    """When an event is sent."""

    BEFORE = "before"  # a tool is about to run
    PERMISSION = "permission"  # the client is about to ask its user
    AFTER = "after"  # a tool has run, or failed
    SESSION = "session"  # a session begins or ends: nothing is decided
    NOTHING = "nothing"  # the client tells what was decided already


class Event(msgspec.Struct, frozen=True, gc=False):
    """What an event says.

    `request_id` is None where the client names no tool use. `error` is what the client says of a tool that failed, and
    `output` what it says of one that did not.
    """

    name: str
    phase: Phase
    session_id: str = ""
    tool_id: str = ""
    args: JsonObject = {}
    request_id: str | None = None
    output: JsonValue = None
    error: str | None = None


class Answer(StrEnum):
    """What a client is told."""

    ALLOW = "allow"
    DENY = "deny"
    ASK = "ask"  # the client's own user
    NOTHING = "nothing"


class Ruling(msgspec.Struct, frozen=True, gc=False):
    """The ruling on an event; `told` is what the agent reads."""

    answer: Answer
    told: str = ""


class Client(Protocol):
    """A coding agent: how its events are read and answered."""

    @property
    def name(self) -> str:
        """As in `/v1/hooks/<name>`, and in the ids of its tools."""
        ...

    @property
    def title(self) -> str:
        """As people call it."""
        ...

    @property
    def before(self) -> str:
        """The event of a tool that is about to run."""
        ...

    @property
    def can_ask(self) -> bool:
        """Whether a hook may leave a call to the client's own prompt."""
        ...

    def read(self, document: JsonValue) -> Event:
        """Read an event.

        Raises:
            EventError: it is none.
        """
        ...

    def answer(self, event: Event, ruling: Ruling) -> JsonObject:
        """The answer to an event, in the client's words."""
        ...

    def refuse(self, document: JsonValue, told: str) -> JsonObject:
        """The answer to what is no event, as far as it was read: a denial in the client's words."""
        ...


def request_id_of(client: str, session_id: str, tool_use_id: str) -> str:
    """The request id of a tool use: the same for the same one."""
    return _uuid5(f"{client} {len(session_id)} {session_id}{tool_use_id}")


def report_id_of(request_id: str) -> str:
    """The id under which the outcome of a call is taken, once."""
    return _uuid5(f"outcome {request_id}")


def _uuid5(name: str) -> str:
    """A version 5 UUID (RFC 9562 section 5.5), written straight from its digits: five times as fast as `uuid`."""
    digits = hashlib.sha1(NAMESPACE + name.encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def tool_id_of(client: str, tool_name: str) -> str:
    """The id by which policy knows a client's tool; see the module.

    No server's tool becomes a client's own by its name: such a one keeps the name it was sent with, which is no tool.
    """
    if tool_name.startswith(_MCP):
        server, _, tool = tool_name[len(_MCP) :].partition("__")
        found = tool if server == GATEWAY else f"{server}.{tool}"
        if server and tool and "." not in server and found.partition(".")[0] not in CLIENT_NAMES:
            return found
    return f"{client}.{tool_name}"


def members_of(document: JsonValue) -> JsonObject:
    """The event as an object.

    Raises:
        EventError: it is none.
    """
    if not isinstance(document, dict):
        raise EventError("expected an event as one JSON object")
    return document


def text_of(event: JsonObject, name: str) -> str:
    """A member that must be a text, not empty and of no unusual length.

    Raises:
        EventError: it is not there, or another.
    """
    value = event.get(name)
    if not isinstance(value, str) or not value:
        raise EventError(f"expected `{name}` as a text")
    if len(value) > MAX_NAME_CHARS:
        raise EventError(f"expected `{name}` in at most {MAX_NAME_CHARS} characters")
    return value


def name_of(event: JsonObject, name: str) -> str:
    """A member that must be a name: printable ASCII without blanks, so that no two look alike.

    Raises:
        EventError: as `text_of`, or it has another character.
    """
    value = text_of(event, name)
    if not _ORDINARY.issuperset(value):
        raise EventError(f"expected `{name}` in printable ASCII without blanks")
    return value


def object_of(event: JsonObject, name: str) -> JsonObject:
    """A member that must be an object.

    Raises:
        EventError: it is not there, or another.
    """
    value = event.get(name)
    if not isinstance(value, dict):
        raise EventError(f"expected `{name}` as an object")
    return value


def error_of(event: JsonObject, name: str) -> str:
    """What a client says of a failure: its text, or that it is one."""
    value: Any = event.get(name)
    return value if isinstance(value, str) and value else "failed"
