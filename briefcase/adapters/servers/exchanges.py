"""What rides beside a call to an MCP server: what its client can be asked, and the notifications that come meanwhile.

A gateway opens an exchange with its call, reads notifications from it while the call runs, and may cancel it. The call
finds it again by principal and request id, so no exchange is ever reached by another agent. Everything is bounded: what
a server sends too much of is dropped, oldest first.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial
from typing import Final

from briefcase.core.json.strict import parse as parse_json
from briefcase.core.mcp.call_options import CallOptions
from briefcase.core.mcp.jsonrpc import as_object
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.model.ports import CallContext, Redactor
from briefcase.model.types import JsonObject

MAX_EXCHANGES: Final = 1_024
MAX_NOTIFICATIONS: Final = 1_000
MAX_NOTIFICATION_BYTES: Final = 64 << 10
MAX_KEPT_BYTES: Final = 1 << 20  # of one call's notifications
MAX_ALL_KEPT_BYTES: Final = 16 << 20  # of all calls'
KEPT_ENDED: Final = 128


class KeptBytes:
    """How much all exchanges keep together, and what makes room: those that ended, the first of them first."""

    def __init__(self) -> None:
        self.total = 0
        self.ended: deque[tuple[tuple[str, str], Exchange]] = deque()

    def has_room(self, size_bytes: int) -> bool:
        """Whether so much more may be kept; what ended exchanges keep is forgotten for it."""
        for _, exchange in self.ended:
            if self.total + size_bytes <= MAX_ALL_KEPT_BYTES:
                break
            exchange.forget()
        return self.total + size_bytes <= MAX_ALL_KEPT_BYTES


class Exchange:
    """One call's way to its client and back.

    Args:
        principal: whose call it is.
        options: what the client wants and can.
        redactor: cuts the vault's secrets out of what a server says meanwhile.
        all_kept: what it shares with the others.
    """

    def __init__(self, principal: str, options: CallOptions, redactor: Redactor, all_kept: KeptBytes) -> None:
        self.principal = principal
        self.options = options
        self._redactor = redactor
        self._all_kept = all_kept
        self._kept_bytes = 0
        self.error: JsonObject | None = None
        self.has_ended = False
        self.is_cancelled = False
        self.on_cancel: Callable[[], None] | None = None
        self.on_end: Callable[[], None] | None = None
        self._kept: deque[tuple[int, bytes]] = deque()
        self._count = 0
        self._changed = asyncio.Event()

    def notify(self, method: str, params: JsonObject) -> None:
        """Take a notification of the server's for the client; one that is too large is dropped."""
        data = self._redactor.redact(canonical_bytes({"method": method, "params": params}))
        if len(data) > MAX_NOTIFICATION_BYTES:
            return
        self._count += 1
        while self._kept and (len(self._kept) >= MAX_NOTIFICATIONS or self._kept_bytes + len(data) > MAX_KEPT_BYTES):
            self._drop_oldest()
        while self._kept and not self._all_kept.has_room(len(data)):
            self._drop_oldest()  # its own: what one server says too much of costs no other call anything
        if self._all_kept.has_room(len(data)):
            self._kept.append((self._count, data))
            self._kept_bytes += len(data)
            self._all_kept.total += len(data)
        self._changed.set()

    def forget(self) -> None:
        """Keep none of the notifications any more."""
        while self._kept:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, data = self._kept.popleft()
        self._kept_bytes -= len(data)
        self._all_kept.total -= len(data)

    def cancel(self) -> None:
        """The client does not want the answer any more."""
        self.is_cancelled = True
        if self.on_cancel is not None:
            self.on_cancel()

    def end(self) -> None:
        """Say that nothing follows; once is enough."""
        if self.has_ended:
            return
        self.has_ended = True
        self._changed.set()
        if self.on_end is not None:
            self.on_end()

    async def read(self, after: int, wait_s: float) -> tuple[list[JsonObject], int]:
        """The notifications after a number, and the number to go on from; waits where there is none yet."""
        if self._count <= after and not self.has_ended and wait_s > 0:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
        return [as_object(parse_json(data)) for number, data in self._kept if number > after], self._count


class Exchanges:
    """The exchanges that are open, and a few that ended, for whoever reads their last notifications."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._kept: OrderedDict[tuple[str, str], Exchange] = OrderedDict()
        self._all_kept = KeptBytes()

    def open(self, principal: str, request_id: str, options: CallOptions) -> Exchange:
        """Open the exchange of a call. A repeated request id joins the one that is open."""
        known = self._kept.get((principal, request_id))
        if known is not None and not known.has_ended:
            return known
        key = (principal, request_id)
        exchange = self._kept[key] = Exchange(principal, options, self._redactor, self._all_kept)
        exchange.on_end = partial(self._note_end, key, exchange)
        self._kept.move_to_end(key)
        while len(self._kept) > MAX_EXCHANGES:
            self._kept.popitem(last=False)[1].forget()
        return exchange

    def of(self, context: CallContext) -> Exchange:
        """The exchange that a call carries. A call without one cannot receive server requests."""
        channel = context.channel
        if isinstance(channel, Exchange):
            return channel
        return Exchange(context.principal, CallOptions(), self._redactor, KeptBytes())

    def find(self, principal: str, request_id: str) -> Exchange | None:
        """The exchange of a principal's call, open or ended a moment ago."""
        return self._kept.get((principal, request_id))

    def _note_end(self, key: tuple[str, str], exchange: Exchange) -> None:
        """Keep the ones that ended last; the same work for every call, however many are open."""
        ended = self._all_kept.ended
        ended.append((key, exchange))
        if len(ended) > KEPT_ENDED:
            oldest_key, oldest = ended.popleft()
            oldest.forget()
            if self._kept.get(oldest_key) is oldest:
                del self._kept[oldest_key]
