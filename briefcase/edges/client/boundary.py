"""A program's boundary: each of its calls is decided by the daemon before it runs, and reported after.

    boundary = Boundary()
    with boundary.call("send_mail", {"to": "ann"}) as call:
        send_mail("ann")

 1. `call` has the call decided, waits for a person where it needs one, and raises where it may not run
 2. what is in the block runs
 3. its end is reported: that it went well, or the name of the exception that left it

Where no daemon answers, nothing runs: every fault is raised before step 2. What was not reported is closed by the
daemon at its deadline, with `outcome_unknown`.
"""

from __future__ import annotations

import functools
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypedDict, TypeVar, Unpack, cast

from briefcase.edges.client import late
from briefcase.edges.client.conversations import (
    DEFAULT_WAIT_S,
    Flow,
    Outcome,
    Pause,
    Wanted,
    allowing,
    deciding,
    encode_args,
    introducing,
    listing,
    reporting,
    running,
    wanted_call,
)
from briefcase.edges.client.place import place_of, token_of
from briefcase.edges.client.verdicts import Allowed, BoundaryFault, Decision, Ran

if TYPE_CHECKING:
    from briefcase.edges.client.declared import Declaration
    from briefcase.edges.client.link import Link

_P = ParamSpec("_P")
_R = TypeVar("_R")
_T = TypeVar("_T")


class Call:
    """One decided call, to be reported once. As a context manager it reports itself."""

    def __init__(self, boundary: Boundary, allowed: Allowed) -> None:
        self._boundary = boundary
        self.allowed = allowed
        self.output = b""
        """What the call gave, for its digest in the receipt; nothing else of it is sent."""
        self.cost_microusd: int | None = None
        """What it cost, where that is known."""
        self.is_reported = False

    @property
    def receipt_id(self) -> int:
        """The receipt of the decision."""
        return self.allowed.receipt_id

    def succeeded(self) -> int:
        """Report that it went well; gives the outcome's receipt. Raises as `failed`."""
        return self._report("")

    def failed(self, error: str) -> int:
        """Report that it did not; gives the outcome's receipt.

        Raises:
            BoundaryFault: the outcome is not recorded, or was before (`conflict`).
        """
        return self._report(error or "error")

    def _report(self, error: str) -> int:
        if self.is_reported:
            raise BoundaryFault("conflict", "expected one report of a call, got another")
        self.is_reported = True
        return self._boundary.report(self.receipt_id, Outcome(error, self.cost_microusd, self.output))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.is_reported:
            return
        if kind is None:
            self.succeeded()
            return
        try:
            self.failed(kind.__name__)
        except BoundaryFault as fault:  # what went wrong first is what is raised
            if error is not None:
                error.add_note(f"and the outcome is not recorded: {fault}")


class Options(TypedDict, total=False):
    """What a boundary may be told beside its address."""

    token: str | None
    wait_s: float
    session_id: str | None


class Declaring:
    """What a boundary knows of itself: where its daemon is, and the functions that were declared as tools.

    Args:
        address: a socket's path, or an http URL of a loopback address; what the environment says where it is None.
        token: the agent's; `BRIEFCASE_AUTH_TOKEN` where it is None.
        wait_s: how long a call waits for a person, unless it says otherwise.
        session_id: names what the calls belong together by, in the receipts.

    Raises:
        BoundaryFault: the address is none, or there is no token.
    """

    def __init__(self, address: str | None = None, **options: Unpack[Options]) -> None:
        self._place = place_of(address, os.environ, lambda: str(late.data_dir.socket_path_of(os.environ)))
        self._token = token_of(options.get("token"), os.environ)
        self._wait_s = options.get("wait_s", DEFAULT_WAIT_S)
        self._session_id = options.get("session_id")
        self._declared: dict[str, Declaration] = {}
        self._digests: dict[str, str] = {}
        self._agent = ""

    def manifest(self) -> str:
        """What the operator registers the declared functions with."""
        return late.declared.manifest_of(self._declared.values())

    def wanted(
        self, tool_id: str, args: Mapping[str, object] | str, request_id: str | None = None, approval: str | None = None
    ) -> Wanted:
        """A call of this boundary's; arguments that are text are JSON already. Raises as `encode_args`."""
        args_json = args if isinstance(args, str) else encode_args(args)
        return wanted_call(tool_id, args_json, request_id=request_id, session_id=self._session_id, approval=approval)

    def waits_s(self, wait_s: float | None) -> float:
        """How long a call waits for a person."""
        return self._wait_s if wait_s is None else wait_s

    def declare(
        self,
        function: Callable[..., object],
        category: str,
        cost: float | str,
        tool_id: str | None,
        input_schema: dict[str, Any] | None,
    ) -> Declaration:
        """Take a function as a tool. Raises as `declared.declare`."""
        declaration = late.declared.declare(
            function, category=category, cost=cost, tool_id=tool_id, input_schema=input_schema
        )
        self._declared[declaration.tool_id] = declaration
        return declaration

    def is_known(self, declaration: Declaration) -> bool:
        """Whether the daemon was asked about a tool, and knew it as declared."""
        return declaration.tool_id in self._digests

    def note(self, declaration: Declaration, tools: list[dict[str, Any]]) -> None:
        """Take what the daemon knows of a tool. Raises as `Declaration.check`."""
        self._digests[declaration.tool_id] = declaration.check(tools)

    def is_as_known(self, declaration: Declaration, allowed: Allowed) -> bool:
        """Whether what was decided on is what was checked; what is not is to be checked again."""
        if allowed.tool_digest_hex == self._digests[declaration.tool_id]:
            return True
        del self._digests[declaration.tool_id]
        return False


class Boundary(Declaring):
    """One daemon, for one agent; any number of threads may use it. Args and Raises as `Declaring`."""

    def __init__(self, address: str | None = None, **options: Unpack[Options]) -> None:
        super().__init__(address, **options)
        self._link: Link | None = None
        self._opening = threading.Lock()

    def decide(
        self,
        tool_id: str,
        args: Mapping[str, object],
        *,
        wait_s: float | None = None,
        request_id: str | None = None,
        approval: str | None = None,
    ) -> Decision:
        """Have a call decided; the answer is a value, and one that is `Allowed` is to be reported (`report`).

        Args:
            tool_id: of the daemon's tool.
            args: as JSON holds them.
            wait_s: how long it waits for a person.
            request_id: a UUID that makes a retry the same call; a new one where it is None.
            approval: the token or the id of an approval that the agent was given.

        Raises:
            BoundaryFault: there is no verdict.
        """
        wanted = self.wanted(tool_id, args, request_id, approval)
        return self._driven(deciding(wanted, self.waits_s(wait_s)))

    def call(
        self,
        tool_id: str,
        args: Mapping[str, object],
        *,
        wait_s: float | None = None,
        request_id: str | None = None,
        approval: str | None = None,
    ) -> Call:
        """Have a call decided that the program runs. Args as `decide`.

        Raises:
            Denied: it may not run.
            ApprovalPending: nobody has decided in time.
            BoundaryFault: there is no verdict.
        """
        wanted = self.wanted(tool_id, args, request_id, approval)
        return Call(self, self._driven(allowing(wanted, self.waits_s(wait_s))))

    def run(
        self,
        tool_id: str,
        args: Mapping[str, object],
        *,
        wait_s: float | None = None,
        request_id: str | None = None,
        approval: str | None = None,
    ) -> Ran:
        """Have the daemon run one of its tools. Args and Raises as `call`.

        Raises:
            ToolFailed: it ran, or may have, without a result.
        """
        wanted = self.wanted(tool_id, args, request_id, approval)
        return self._driven(running(wanted, self.waits_s(wait_s)))

    def report(self, receipt_id: int, outcome: Outcome) -> int:
        """Close a decided call; gives the outcome's receipt.

        Raises:
            BoundaryFault: the outcome is not recorded.
        """
        return self._driven(reporting(receipt_id, outcome))

    def tool(
        self,
        *,
        category: str,
        cost: float | str = 0,
        tool_id: str | None = None,
        input_schema: dict[str, Any] | None = None,
        wait_s: float | None = None,
    ) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
        """Make a function a tool: each call of it is decided, and runs with the very arguments that were decided on.

        Args:
            category: `read`, `write`, `admin`, or a word of the operator's.
            cost: what a call is expected to cost, in dollars.
            tool_id: its id at the daemon; the function's name where it is None.
            input_schema: the schema of its arguments; made from the annotations where it is None.
            wait_s: how long a call waits for a person.
        """

        def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
            if late.inspect.iscoroutinefunction(function):
                raise TypeError("expected a plain function: an `AsyncBoundary` has tools that are awaited")
            declaration = self.declare(function, category, cost, tool_id, input_schema)
            by_name = cast("Callable[..., _R]", function)

            @functools.wraps(function)
            def decided(*args: _P.args, **kwargs: _P.kwargs) -> _R:
                args_json = declaration.args_json(args, kwargs)
                self._check_known(declaration)
                wanted = self.wanted(declaration.tool_id, args_json)
                with Call(self, self._driven(allowing(wanted, self.waits_s(wait_s)))) as call:
                    if not self.is_as_known(declaration, call.allowed):
                        self._check_known(declaration)
                    result = by_name(**json.loads(args_json))
                    late.declared.check_done(result)
                    call.output = result.encode() if isinstance(result, str) else b""
                    return result

            return decided

        return decorate

    def close(self) -> None:
        """Close the connections."""
        if self._link is not None:
            self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_known(self, declaration: Declaration) -> None:
        if not self.is_known(declaration):
            self.note(declaration, self._driven(listing()))

    def _driven(self, flow: Flow[_T]) -> _T:
        with self._opening:
            link = self._link = self._link or self._introduced()
        return self._carried(link, flow)

    def _introduced(self) -> Link:
        link = late.link.Link(self._place, self._token)
        try:
            self._agent = self._carried(link, introducing())
        except BaseException:
            link.close()
            raise
        return link

    @staticmethod
    def _carried(link: Link, flow: Flow[_T]) -> _T:
        try:
            step = next(flow)
            while True:
                if isinstance(step, Pause):
                    time.sleep(step.pause_s)
                    step = flow.send(None)
                else:
                    step = flow.send(link.ask(step))
        except StopIteration as end:
            found: _T = end.value
            return found
