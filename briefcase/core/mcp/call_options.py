"""What a gateway says of its client beside a call: what the client can be asked, and what it wants to hear."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from briefcase.core.mcp.jsonrpc import as_object
from briefcase.model.types import JsonObject, JsonValue

TRACEPARENT: Final = "^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01](?![\\s\\S])"
LogLevel: TypeAlias = Literal["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]


class Flag(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A capability that is there; it says nothing more."""


class ElicitationModes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a client can show a question: as a form, which none of the two means as well, or as an address."""

    form: Flag | None = None
    url: Flag | None = None


class ClientCapabilities(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a client can be asked: known names that are there or not, and nothing of a client's own choosing."""

    elicitation: ElicitationModes | None = None
    sampling: Flag | None = None
    roots: Flag | None = None

    def declared(self) -> JsonObject:
        """As the protocol writes it."""
        return as_object(msgspec.to_builtins(self))


class TraceContext(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The client's own trace (W3C Trace Context): two ids and a flag. `tracestate` and `baggage` go nowhere."""

    traceparent: Annotated[str, msgspec.Meta(pattern=TRACEPARENT)] | None = None


class TaskWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The client can go on with a call whose result comes later.

    `is_asked`: it wants this very call to be such a one (2025-11-25), to be kept for `ttl_ms` milliseconds, one of
    `tasks.TTLS_MS`; otherwise the server may choose (2026-07-28).
    """

    is_asked: bool = False
    ttl_ms: Literal[60_000, 600_000, 3_600_000, 86_400_000] | None = None


class CallOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a gateway says of its client: its capabilities, and which notifications it wants.

    INVARIANT (closed): these types hold all that an agent brings to a server beside the arguments that are decided on.
    Each is a choice of ours or has a grammar; a member that is not known is refused.
    """

    capabilities: ClientCapabilities = ClientCapabilities()
    log_level: LogLevel | None = None
    progress: bool = False
    trace: TraceContext = TraceContext()
    task: TaskWish | None = None


def known_capabilities(declared: JsonObject) -> ClientCapabilities:
    """The part of what a client declares that a server may know of."""
    elicitation = declared.get("elicitation")
    modes = as_object(elicitation)
    return ClientCapabilities(
        elicitation=ElicitationModes(form=_flag(modes.get("form")), url=_flag(modes.get("url")))
        if isinstance(elicitation, dict)
        else None,
        sampling=_flag(declared.get("sampling")),
        roots=_flag(declared.get("roots")),
    )


def _flag(declared: JsonValue) -> Flag | None:
    return Flag() if isinstance(declared, dict) else None
