"""The life of one server's connection: opened, listed, lost, opened again after a pause that grows.

Lifecycle (`LIFECYCLE`):

    waiting  -> opening
    opening  -> ready | waiting | refused
    ready    -> waiting
    any      -> stopped

`refused` is a server that may not be used in the daemon's mode: it stays so until its description changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Generator
from enum import StrEnum
from http import HTTPStatus
from typing import Final, Protocol

from briefcase.adapters.servers.config import ServerConfig
from briefcase.adapters.servers.definitions import (
    MAX_DEFINITION_BYTES,
    MAX_LISTING_BYTES,
    MAX_TOOLS,
    Definition,
    Problem,
    reading_definition,
)
from briefcase.adapters.servers.http_transport import HttpStatusError
from briefcase.adapters.servers.session import PROBE_TIMEOUT_MS, ServerRpcError, Session
from briefcase.adapters.servers.starts import Place, Starts
from briefcase.adapters.servers.transport import Transport
from briefcase.adapters.servers.turns import Turn
from briefcase.adapters.telemetry.logger import get_logger
from briefcase.core.characters.marks import visible_text
from briefcase.core.json.lenient import inexact_number_in
from briefcase.core.mcp.jsonrpc import as_object
from briefcase.core.mcp.protocol import announces_profile
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.core.redaction.redactor import excerpt_of, holds_secret
from briefcase.model.errors import CallerError, StoreError, UpstreamError
from briefcase.model.lifecycle import Lifecycle
from briefcase.model.ports import Redactor
from briefcase.model.reasons import REMOTE_MCP_INCOMPATIBLE
from briefcase.model.types import JsonObject, JsonValue

FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 60.0
SETTLED_S: Final = 10.0  # a connection that held this long starts the pauses over
RELIST_PAUSE_S: Final = 0.02
MAX_PAGES: Final = 100
MAX_LISTED: Final = 2 * MAX_TOOLS  # definitions of one listing that are looked at
MAX_ITEM_BYTES: Final = 4 * MAX_DEFINITION_BYTES  # of one entry of a listing, with what is in no definition
HELD_BACK: Final = "it holds a secret of the vault, so it is held back: the server must not repeat its credentials"
MAX_HELD: Final = 100
MAX_NAME_CHARS: Final = 128
MAX_COMPLAINT_LINES: Final = 20  # of its standard error, as it is shown
MAX_COMPLAINT_CHARS: Final = 300  # of each
_STYLE: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # colours, mostly (ECMA-48, control sequences)

_log: Final = get_logger("briefcase.mcp")


class State(StrEnum):
    """Where a connection is in its life."""

    WAITING = "waiting"
    OPENING = "opening"
    READY = "ready"
    REFUSED = "refused"
    STOPPED = "stopped"


LIFECYCLE: Final = Lifecycle(
    "a server's connection",
    {
        State.WAITING: frozenset({State.OPENING, State.STOPPED}),
        State.OPENING: frozenset({State.READY, State.WAITING, State.REFUSED, State.STOPPED}),
        State.READY: frozenset({State.WAITING, State.STOPPED}),
        State.REFUSED: frozenset({State.STOPPED}),
        State.STOPPED: frozenset(),
    },
)


class ConnectionEvents(Protocol):
    """What a connection tells its registry."""

    def on_listed(self, connection: Connection) -> Awaitable[None]:
        """The tools were listed anew."""
        ...

    def on_refused(self, connection: Connection) -> Awaitable[None]:
        """The server may not be used in this mode."""
        ...

    def on_change(self, connection: Connection, kind: str, uri: str) -> None:
        """The server says that something changed."""
        ...


class Connection:
    """One server's connection.

    Args:
        config: its description.
        new_transport: makes a way to it; what it cannot have (a secret that is not set) is an `UpstreamError`.
        events: who is told.
        redactor: knows the secrets; what a server says of itself with one of them is held back.
        starts: says when its process may start.
        needs_profile: whether a server must announce our profile to be used.
    """

    def __init__(
        self,
        config: ServerConfig,
        new_transport: Callable[[ServerConfig], Awaitable[Transport]],
        events: ConnectionEvents,
        redactor: Redactor,
        starts: Starts,
        *,
        needs_profile: bool,
    ) -> None:
        self.config = config
        self.state = State.WAITING
        self.problem = ""
        self.wants_credential = False  # it let us not in the last time: waiting for it is of no use
        self.definitions: dict[str, Definition] | None = None
        self._unusable: tuple[Problem, ...] = ()
        self.revision = ""
        self.capabilities: JsonObject = {}
        self._new_transport = new_transport
        self._events = events
        self._redactor = redactor
        self._starts = starts
        self._held: dict[str, Problem] = {}  # what it said of itself with a secret in it, but for its tools
        self._needs_profile = needs_profile and not config.allow_incompatible
        self._complaints: tuple[str, ...] = ()
        self._transport: Transport | None = None
        self._session: Session | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._lost = asyncio.Event()
        self._relist = asyncio.Event()
        self._probe = True
        self._probe_timeout_ms = PROBE_TIMEOUT_MS

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What of the server is not served, and why. Holds no secret."""
        return (*self._unusable, *self._held.values())

    @property
    def complaints(self) -> tuple[str, ...]:
        """The last lines of its process's standard error, of the one before where this one wrote nothing. No secret."""
        if self._transport is not None and (said := self._transport.complaints):
            lines = self._redactor.redact_text(_STYLE.sub("", said)).splitlines()
            shown = [visible_text(line.strip())[:MAX_COMPLAINT_CHARS] for line in lines if line.strip()]
            self._complaints = tuple(shown[-MAX_COMPLAINT_LINES:])
        return self._complaints

    @property
    def told_problem(self) -> str:
        """What is wrong with it, for the operator: with the last line of its process's standard error."""
        if self.state is State.READY or not self.problem or not self.complaints:
            return self.problem
        last = self.complaints[-1]
        return self.problem if self.problem in last else f"{self.problem}: {last}"

    def without_secrets(self, kind: str, items: list[JsonValue]) -> list[JsonValue]:
        """Hold back the items (of `resources`, say) that hold a secret; each is listed in `problems`."""
        return [item for item in items if not self._is_held(kind, item)]

    def _is_held(self, kind: str, item: JsonValue) -> bool:
        if not holds_secret(self._redactor, item):
            return False
        said = as_object(item)
        name = self._redactor.redact_text(f"{kind}: {said.get('uri') or said.get('uriTemplate') or said.get('name')}")
        if len(self._held) < MAX_HELD:
            self._held[name] = Problem(name[:256], HELD_BACK)
        return True

    def start(self) -> None:
        """Begin to connect, in the background."""
        self._task = asyncio.create_task(self._live())

    async def stop(self) -> None:
        """End the connection for good."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(*self._closing, return_exceptions=True)
        self._move(State.STOPPED)

    async def session(self, wait_s: float) -> Session:
        """The conversation, once there is one.

        Raises:
            UpstreamError: there is none in time; nothing was sent.
        """
        session = self._session
        if session is not None:
            return session
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while self._session is None and not self._is_hopeless():
                    self._changed.clear()
                    await self._changed.wait()
        if self.state is State.REFUSED:
            message = f"the server `{self.config.id}` does not announce our compatibility profile"
            raise UpstreamError(message, code=REMOTE_MCP_INCOMPATIBLE, sent=False)
        if self._session is None and self.wants_credential:
            raise UpstreamError(self.problem, code="upstream_refused", sent=False)
        if self._session is None:
            message = f"the server `{self.config.id}` is not connected: {self.problem or self.state.value}"
            raise UpstreamError(message, code="upstream_refused", sent=False)
        return self._session

    def _is_hopeless(self) -> bool:
        return self.wants_credential or self.state in {State.REFUSED, State.STOPPED}

    async def _live(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            place = await self._starts.place(self.config)
            self._move(State.OPENING)
            started_s = asyncio.get_running_loop().time()
            try:
                await self._once(place)
            except (UpstreamError, StoreError) as error:  # what it lists is told in receipts: they may fail for a while
                self.problem = self._redactor.redact_text(error.message)
                self.wants_credential = isinstance(error, HttpStatusError) and error.status == HTTPStatus.UNAUTHORIZED
                said = {"stderr": complaints} if (complaints := self.complaints) else {}
                _log.warning("mcp_server_lost", server=self.config.id, problem=self.problem, **said)
            finally:
                place.give_back()
            if self.state is State.REFUSED:
                return
            self._move(State.WAITING)
            if asyncio.get_running_loop().time() - started_s > SETTLED_S:
                pause_s = FIRST_PAUSE_S
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _once(self, place: Place) -> None:
        """One connection, from its opening to its loss; the next server may start once this one has."""
        self._lost.clear()
        transport = self._transport = await self._new_transport(self.config)
        session = Session(
            transport,
            self._on_change,
            self._on_lost,
            self._redactor,
            probe=self._probe,
            start_timeout_ms=self.config.start_timeout_ms,
            probe_timeout_ms=self._probe_timeout_ms,
        )
        try:
            await self._open(session)
            if self._needs_profile and not announces_profile(session.capabilities):
                self.problem = "it does not announce the compatibility profile this daemon's mode asks for"
                self._move(State.REFUSED)
                await self._events.on_refused(self)
                return
            self.revision = session.revision
            self.capabilities = {
                name: said
                for name, said in session.capabilities.items()
                if not self._is_held("capability", {"name": name, "of": said})
            }
            await self._list(session)
            self.problem, self.wants_credential = "", False
            self._session = session
            self._move(State.READY)
            place.give_back()
            await self._stay(session)
        finally:
            self._session = None
            closing = asyncio.create_task(session.close())  # goes on where we are cancelled: `stop` waits for it
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            await asyncio.shield(closing)

    async def _open(self, session: Session) -> None:
        try:
            await session.open()
        except UpstreamError as error:
            if session.was_slow and isinstance(error, ServerRpcError):
                # it read the probe once it was up, and refuses a handshake behind it: it is of the stateless era
                self._probe_timeout_ms = self.config.start_timeout_ms
            # a server that ended over a request before its handshake gets the handshake first the next time
            self._probe = session.has_answered or not self._probe or not self._lost.is_set()
            raise

    async def _stay(self, session: Session) -> None:
        """Hold the connection; list again when the server says so, ever more seldom while it does not stop."""
        pause_s, listed_s = RELIST_PAUSE_S, asyncio.get_running_loop().time() - 2 * SETTLED_S
        while True:
            lost = asyncio.ensure_future(self._lost.wait())
            relist = asyncio.ensure_future(self._relist.wait())
            try:
                await asyncio.wait({lost, relist}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                lost.cancel()
                relist.cancel()
            if self._lost.is_set():
                raise UpstreamError(self.problem or "the connection was lost")
            now_s = asyncio.get_running_loop().time()
            pause_s = RELIST_PAUSE_S if now_s - listed_s > SETTLED_S else min(pause_s * 2, LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)  # what a server says many times at once is looked at once
            self._relist.clear()
            await self._list(session)
            listed_s = asyncio.get_running_loop().time()

    async def _list(self, session: Session) -> None:
        found: dict[str, Definition] = {}
        problems: list[Problem] = []
        cursor: object = None
        cursors = {""}  # an empty one is none
        size_bytes = looked = 0
        turn = Turn()
        for _ in range(MAX_PAGES if "tools" in session.capabilities else 0):
            params: JsonObject = {"cursor": cursor} if isinstance(cursor, str) else {}
            page = await session.request("tools/list", params, timeout_ms=self.config.start_timeout_ms)
            tools = page.get("tools")
            for item in tools if isinstance(tools, list) else []:
                if looked >= MAX_LISTED:
                    break  # what more it lists is not even looked at
                looked += 1
                read = await turn.run(self._reading(item))  # each definition is compiled, for milliseconds
                if isinstance(read, Problem):
                    problems.append(read)
                elif read.name in found and found[read.name].digest_hex == read.digest_hex:
                    continue  # the very same again, of a page that overlaps
                elif len(found) >= MAX_TOOLS or read.name in found:
                    problems.append(Problem(read.name, "twice, or too many"))
                elif size_bytes + read.size_bytes > MAX_LISTING_BYTES:
                    expected = f"expected definitions of at most {MAX_LISTING_BYTES} bytes together, got more"
                    problems.append(Problem(read.name, expected))
                else:
                    found[read.name] = read
                    size_bytes += read.size_bytes
            cursor = page.get("nextCursor")
            if not isinstance(cursor, str) or cursor in cursors or looked >= MAX_LISTED:
                break  # the end, or a cursor that does not move
            cursors.add(cursor)
        self.definitions, self._unusable = found, tuple(problems[:MAX_TOOLS])
        await self._events.on_listed(self)

    def _reading(self, item: JsonValue) -> Generator[None, None, Definition | Problem]:
        """Read one entry of a listing. A definition is kept, pinned and shown to agents: one with a secret is none."""
        if _is_larger(item, MAX_ITEM_BYTES):  # nothing of it is quoted: that would be work by its size again
            return Problem("", f"expected an entry of at most {MAX_ITEM_BYTES} bytes, got more")
        yield
        if holds_secret(self._redactor, item):  # before a word of it is cut short, or quoted
            return Problem(excerpt_of(self._redactor, str(as_object(item).get("name")), MAX_NAME_CHARS), HELD_BACK)
        yield
        read = yield from reading_definition(as_object(item))
        number = inexact_number_in(item) if isinstance(read, Problem) else None
        if number is None or not isinstance(read, Problem):
            return read
        return Problem(read.name, f"{read.problem}; `{number}` is a number that is not exact everywhere")

    def _on_change(self, kind: str, uri: str) -> None:
        if kind == "tools":
            self._relist.set()
        self._events.on_change(self, kind, uri)

    def _on_lost(self, fault: UpstreamError) -> None:
        self.problem = self._redactor.redact_text(fault.message)
        self._session = None  # nothing more is asked of it
        if self.state is State.READY:
            self._move(State.WAITING)
        self._lost.set()

    def _move(self, to: State) -> None:
        if to is not self.state:
            LIFECYCLE.check_step(self.state, to)
            self.state = to
        self._changed.set()


def _is_larger(item: JsonValue, max_bytes: int) -> bool:
    try:
        return len(canonical_bytes(item)) > max_bytes
    except CallerError:
        return True  # it is no JSON that can be pinned
