"""The seam between a session with a server and how its bytes travel (`stdio_transport`, `http_transport`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol, TypeAlias

import msgspec

from briefcase.core.mcp.jsonrpc import Message, RequestId, Unreadable
from briefcase.model.errors import UpstreamError

MAX_MESSAGE_BYTES: Final = 32 << 20  # of one message, where its operator sets no other bound

# A message of the server's, and the id of our request in whose answer it came; None where that cannot be told.
Take: TypeAlias = Callable[[Message | Unreadable, RequestId | None], None]


class Outgoing(msgspec.Struct, frozen=True):
    """One message of ours. `request_id` is None for what wants no answer; `headers` are Streamable HTTP's."""

    data: bytes
    request_id: RequestId | None = None
    headers: Mapping[str, str] = {}
    timeout_ms: int = 30_000


class SessionLostError(UpstreamError):
    """The server does not know our session any more: a new one is begun (2025-11-25, session management).

    What was asked in it may have been done before, so a write is in doubt.
    """


class Transport(Protocol):
    """One way to one server. All methods are called from one event loop."""

    @property
    def is_shared_line(self) -> bool:
        """Whether answers come on one line for all requests (stdio, legacy SSE), rather than each with its request."""
        ...

    async def open(self, take: Take, lost: Callable[[UpstreamError], None]) -> None:
        """Make messages possible. From now on `take` gets what the server sends, and `lost` says that it has gone.

        Raises:
            UpstreamError: the server cannot be reached or started (`sent=False`).
        """
        ...

    def try_send(self, message: Outgoing) -> bool:
        """Send one message now where nothing has to be waited for; where it cannot, `send` can, or says why not."""
        ...

    async def send(self, message: Outgoing) -> None:
        """Send one message. Where answers come with their request, returns when its answer has been taken.

        Raises:
            UpstreamError: it could not be sent, or its answer is not as expected.
        """
        ...

    async def listen(self, headers: Mapping[str, str], /) -> bool:
        """Take what the server says unasked, until that ends or is cancelled.

        Returns:
            Whether it ended and may be listened to again; False where there is nothing of the kind, or it comes anyway.

        Raises:
            UpstreamError: the server cannot be reached, or broke off.
        """
        ...

    @property
    def complaints(self) -> str:
        """What its process wrote to its standard error last, whole lines of it, secrets and all; empty without one."""
        ...

    async def close(self) -> None:
        """End the conversation, and the process behind it where there is one."""
        ...
