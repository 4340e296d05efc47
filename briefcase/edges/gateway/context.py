"""One request's surroundings: who asks, in which revision, with which capabilities, and the way back to the client."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from briefcase.core.mcp.protocol import is_stateless
from briefcase.edges.gateway.view import View
from briefcase.model.types import JsonObject


class Channel(Protocol):
    """What can be sent to the client while its request runs."""

    async def notify(self, method: str, params: JsonObject) -> None:
        """Send a notification that belongs to the request."""
        ...

    async def ask(self, method: str, params: JsonObject) -> JsonObject:
        """Send a request of ours and await its result; only in the handshake revisions.

        Raises:
            RpcError: the client answered with an error, or left.
        """
        ...

    async def begin(self) -> None:
        """Let the client see that its request is taken, where its transport can show that before the answer."""
        ...

    def when_left(self, act: Callable[[], object]) -> None:
        """Have something done when the client stops listening, though its request may go on; at once where it has."""
        ...


class Context(msgspec.Struct, frozen=True):
    """Everything about a request but its method and parameters.

    `session` is a public name of the client's session for receipts, never the session id itself. `may_hold` says
    whether its answer may be put off for a person; `began_s` is when it began, on the monotonic clock.
    """

    token: str
    view: View
    revision: str
    capabilities: JsonObject
    channel: Channel
    log_level: str | None = None
    session: str | None = None
    agent: str | None = None
    may_hold: bool = True
    began_s: float = msgspec.field(default_factory=time.monotonic)

    @property
    def is_stateless(self) -> bool:
        """Whether the request carries its own metadata (2026-07-28)."""
        return is_stateless(self.revision)

    @property
    def principal_digest(self) -> bytes:
        """Who asks, without saying it: for binding states and sessions to one token."""
        return principal_digest(self.token)


def principal_digest(token: str) -> bytes:
    """SHA-256 of a token; constant-time comparable, and useless to whoever reads it."""
    return hashlib.sha256(b"briefcase principal\x00" + token.encode()).digest()
