"""Tools that record what reached them, and their registry."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from briefcase.core.operator.tools import ReadTools
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.model.ports import CallContext, Origin
from briefcase.model.types import Deny, JsonObject, JsonValue, Principal, ToolCall, ToolResult, ToolSpec


class FakeTool:
    """A tool that records what reached it and answers what it was told to."""

    def __init__(
        self,
        spec: ToolSpec,
        answer: Callable[[bytes], JsonValue | ToolResult] | None = None,
        problem: str | None = None,
    ) -> None:
        self.spec = spec
        self.answer = answer or (lambda args: {"echo": args.decode()})
        self.problem = problem
        self.executed: list[bytes] = []

    def check_args(self, args: JsonObject) -> str | None:
        return self.problem

    async def execute(self, args: JsonObject, context: CallContext) -> ToolResult:
        canonical_args = canonical_bytes(args)
        self.executed.append(canonical_args)
        answer = self.answer(canonical_args)
        return answer if isinstance(answer, ToolResult) else ToolResult(answer, "fake")


class FakeSignallingTool(FakeTool):
    """A tool that knows of a risk its arguments do not show."""

    def __init__(self, spec: ToolSpec, *words: str) -> None:
        super().__init__(spec)
        self.words = words

    def signals(self) -> tuple[str, ...]:
        return self.words


class FakeTools:
    """A registry of the tools a test names; `refusals` are the ids that may not be called, and why."""

    def __init__(self, *tools: FakeTool) -> None:
        self.by_id = {tool.spec.id: tool for tool in tools}
        self.refusals: dict[str, str] = {}

    def resolve(self, tool_id: str) -> FakeTool | None:
        return self.by_id.get(tool_id)

    def refusal(self, tool_id: str) -> str | None:
        return self.refusals.get(tool_id)

    def origin(self, call: ToolCall, principal: Principal) -> Origin | Deny | None:
        return None

    def specs(self) -> list[ToolSpec]:
        return [self.by_id[tool_id].spec for tool_id in sorted(self.by_id)]


def spec(tool_id: str = "echo", **changes: object) -> ToolSpec:
    """A read-only free tool, with whatever a test changes about it."""
    digest_hex = hashlib.sha256(tool_id.encode()).hexdigest()
    plain = ToolSpec(tool_id, tool_id, "", {"type": "object"}, {}, category="read", digest_hex=digest_hex)
    return msgspec.structs.replace(plain, **changes)


class FakeToolFiles:
    """`core.operator.tools.ToolFiles`: `written` is what a reading finds, `fault` and `crash` what it ends in."""

    def __init__(self, **digests: str) -> None:
        self.in_force: dict[str, str] = digests
        self.written: dict[str, str] = {}
        self.fault: Exception | None = None
        self.crash: BaseException | None = None

    def digests(self) -> dict[str, str]:
        return self.in_force

    async def read(self) -> ReadTools:
        if self.fault is not None:
            raise self.fault
        found = dict(self.written)

        def put() -> None:
            if self.crash is not None:
                raise self.crash
            self.in_force = found

        return ReadTools(found, put)
