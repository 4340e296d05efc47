"""A program's boundary in an event loop: as `boundary.py`, with a future and no thread for each call that waits.

    async with boundary.call("send_mail", {"to": "ann"}) as call:
        await send_mail("ann")

`await boundary.call(...)` gives the decided call by itself, to be reported by `succeeded` or `failed`.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
from collections.abc import Awaitable, Callable, Generator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Self, TypeVar, Unpack, cast

from briefcase.adapters.disk.data_dir import data_dir_of
from briefcase.edges.client import late
from briefcase.edges.client.boundary import Declaring, Options
from briefcase.edges.client.conversations import (
    Answer,
    Flow,
    Outcome,
    Pause,
    Question,
    allowing,
    deciding,
    evaluating,
    introducing,
    listing,
    reporting,
    running,
)
from briefcase.edges.client.daemon_connection import BrokenAnswerError, DaemonConnection
from briefcase.edges.client.expected import expected_daemon
from briefcase.edges.client.pool import Connections
from briefcase.edges.client.pool import Place as PoolPlace
from briefcase.edges.client.verdicts import Allowed, BoundaryFault, Decision, Ran
from briefcase.model.errors import BriefcaseError

if TYPE_CHECKING:
    from briefcase.edges.client.declared import Declaration

MAX_CONNECTIONS: Final = 32
MAX_ANSWER_BYTES: Final = 16 << 20

_P = ParamSpec("_P")
_R = TypeVar("_R")
_T = TypeVar("_T")


class AsyncCall:
    """One call: awaited or entered, it is decided; once decided it is to be reported once, which leaving does."""

    def __init__(self, boundary: AsyncBoundary, flow: Flow[Allowed]) -> None:
        self._boundary = boundary
        self._flow: Flow[Allowed] | None = flow
        self._allowed: Allowed | None = None
        self.output = b""
        """What the call gave, for its digest in the receipt; nothing else of it is sent."""
        self.cost_microusd: int | None = None
        """What it cost, where that is known."""
        self.is_reported = False

    @property
    def allowed(self) -> Allowed:
        """The decision.

        Raises:
            BoundaryFault: there is none yet.
        """
        if self._allowed is None:
            raise BoundaryFault("conflict", "expected a call that was awaited or entered")
        return self._allowed

    @property
    def receipt_id(self) -> int:
        """The receipt of the decision. Raises as `allowed`."""
        return self.allowed.receipt_id

    async def succeeded(self) -> int:
        """Report that it went well; gives the outcome's receipt. Raises as `failed`."""
        return await self._report("")

    async def failed(self, error: str) -> int:
        """Report that it did not; gives the outcome's receipt.

        Raises:
            BoundaryFault: the outcome is not recorded, or was before (`conflict`).
        """
        return await self._report(error or "error")

    async def _report(self, error: str) -> int:
        receipt_id = self.receipt_id
        if self.is_reported:
            raise BoundaryFault("conflict", "expected one report of a call, got another")
        self.is_reported = True
        return await self._boundary.report(receipt_id, Outcome(error, self.cost_microusd, self.output))

    async def _decided(self) -> Self:
        if self._flow is None:
            raise BoundaryFault("conflict", "expected a call to be awaited or entered once")
        flow, self._flow = self._flow, None
        self._allowed = await self._boundary.driven(flow)
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self._decided().__await__()

    async def __aenter__(self) -> Self:
        return await self._decided() if self._allowed is None else self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self.is_reported:
            return
        if kind is None:
            await self.succeeded()
            return
        try:
            await asyncio.shield(self.failed(kind.__name__))  # a cancelled call is reported all the same
        except BoundaryFault as fault:  # what went wrong first is what is raised
            if error is not None:
                error.add_note(f"and the outcome is not recorded: {fault}")


class AsyncBoundary(Declaring):
    """One daemon, for one agent, in one event loop. Args and Raises as `Boundary`."""

    def __init__(self, address: str | None = None, **options: Unpack[Options]) -> None:
        super().__init__(address, **options)
        self._connections: Connections | None = None
        self._opening = asyncio.Lock()

    async def decide(
        self,
        tool_id: str,
        args: Mapping[str, object],
        *,
        wait_s: float | None = None,
        request_id: str | None = None,
        approval: str | None = None,
    ) -> Decision:
        """See `Boundary.decide`."""
        wanted = self.wanted(tool_id, args, request_id, approval)
        return await self.driven(deciding(wanted, self.waits_s(wait_s)))

    def call(
        self,
        tool_id: str,
        args: Mapping[str, object],
        *,
        wait_s: float | None = None,
        request_id: str | None = None,
        approval: str | None = None,
    ) -> AsyncCall:
        """See `Boundary.call`; it is asked for once this is awaited or entered."""
        wanted = self.wanted(tool_id, args, request_id, approval)
        return AsyncCall(self, allowing(wanted, self.waits_s(wait_s)))

    async def run(
        self,
        tool_id: str,
        args: Mapping[str, object],
        *,
        wait_s: float | None = None,
        request_id: str | None = None,
        approval: str | None = None,
    ) -> Ran:
        """See `Boundary.run`."""
        wanted = self.wanted(tool_id, args, request_id, approval)
        return await self.driven(running(wanted, self.waits_s(wait_s)))

    def allowed_call(self, allowed: Allowed) -> AsyncCall:
        """A call that `decide` allowed, to be entered and so reported."""
        return AsyncCall(self, _decided(allowed))

    async def evaluate(self, tool_id: str, args: Mapping[str, object], *, approval: str | None = None) -> Decision:
        """Have a call decided and closed at once, for who never hears what came of it: its receipt says so.

        Args:
            tool_id: of the daemon's tool.
            args: as JSON holds them.
            approval: the approval that an earlier answer to the same call named.

        Raises:
            BoundaryFault: there is no verdict.
        """
        if not self._agent:
            await self.driven(listing())
        return await self.driven(evaluating(self.wanted(tool_id, args, None, approval), self._agent))

    async def report(self, receipt_id: int, outcome: Outcome) -> int:
        """See `Boundary.report`."""
        return await self.driven(reporting(receipt_id, outcome))

    def tool(
        self,
        *,
        category: str,
        cost: float | str = 0,
        tool_id: str | None = None,
        input_schema: dict[str, Any] | None = None,
        wait_s: float | None = None,
    ) -> Callable[[Callable[_P, Awaitable[_R]]], Callable[_P, Awaitable[_R]]]:
        """See `Boundary.tool`; for functions that are awaited."""

        def decorate(function: Callable[_P, Awaitable[_R]]) -> Callable[_P, Awaitable[_R]]:
            if not late.inspect.iscoroutinefunction(function):
                raise TypeError("expected an `async` function: a `Boundary` has tools that are not awaited")
            declaration = self.declare(function, category, cost, tool_id, input_schema)
            by_name = cast("Callable[..., Awaitable[_R]]", function)

            @functools.wraps(function)
            async def decided(*args: _P.args, **kwargs: _P.kwargs) -> _R:
                args_json = declaration.args_json(args, kwargs)
                await self._check_known(declaration)
                wanted = self.wanted(declaration.tool_id, args_json)
                async with AsyncCall(self, allowing(wanted, self.waits_s(wait_s))) as call:
                    if not self.is_as_known(declaration, call.allowed):
                        await self._check_known(declaration)
                    result = await by_name(**json.loads(args_json))
                    late.declared.check_done(result)
                    call.output = result.encode() if isinstance(result, str) else b""
                    return result

            return decided

        return decorate

    async def close(self) -> None:
        """Close the connections."""
        if self._connections is not None:
            await self._connections.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def driven(self, flow: Flow[_T]) -> _T:
        """Carry a flow to its end. Raises as the flow."""
        async with self._opening:
            connections = self._connections = self._connections or await self._introduced()
        return await self._carried(connections, flow)

    async def _introduced(self) -> Connections:
        connections = self._connected()
        try:
            self._agent = await self._carried(connections, introducing())
        except BaseException:
            await connections.close()
            raise
        return connections

    async def _check_known(self, declaration: Declaration) -> None:
        if not self.is_known(declaration):
            self.note(declaration, await self.driven(listing()))

    async def _carried(self, connections: Connections, flow: Flow[_T]) -> _T:
        try:
            step = next(flow)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.pause_s)
                    step = flow.send(None)
                else:
                    step = flow.send(await self._answer(connections, step))
        except StopIteration as end:
            found: _T = end.value
            return found

    async def _answer(self, connections: Connections, question: Question) -> Answer:
        try:
            answer = await connections.ask(self._request(question, self._token), question.within_s)
        except TimeoutError:
            raise BoundaryFault(
                "request_timeout", "the daemon did not answer in time", may_have_run=question.runs
            ) from None
        except (BrokenAnswerError, OSError) as error:
            message = f"no answer of the daemon at `{self._place}` ({type(error).__name__})"
            raise BoundaryFault("daemon_unreachable", message, may_have_run=question.runs) from None
        except BriefcaseError as error:
            raise BoundaryFault(error.code, error.message, error.hint) from None
        return Answer(answer.status, answer.body)

    def _connected(self) -> Connections:
        place = self._place
        return Connections(
            PoolPlace(place.socket_path, place.host, place.port),
            expected_daemon(os.environ, lambda: data_dir_of(os.environ)),
            limit=MAX_CONNECTIONS,
            new_connection=lambda: DaemonConnection(MAX_ANSWER_BYTES),
            proof_request=lambda path, body: self._request(Question("POST", path, body), None),
        )

    def _request(self, question: Question, token: str | None) -> bytes:
        place = self._place
        host = f"[{place.host}]" if ":" in place.host else place.host
        authority = "briefcase" if place.socket_path else f"{host}:{place.port}"
        head = f"{question.method} {place.prefix}{question.path} HTTP/1.1\r\nhost: {authority}\r\n"
        if token is not None:
            head += f"authorization: Bearer {token}\r\n"
        if question.body is None:
            return f"{head}\r\n".encode()
        head += f"content-type: application/json\r\ncontent-length: {len(question.body)}\r\n\r\n"
        return head.encode() + question.body


def _decided(allowed: Allowed) -> Flow[Allowed]:
    """The flow of a call that was decided before."""
    yield from ()
    return allowed
