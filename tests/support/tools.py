"""Tools that record what reached them, and their registry."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.model.ports import CallContext
from briefcase.model.types import ToolResult, ToolSpec


class FakeTool:
    """A tool that records what reached it and answers what it was told to."""

    def __init__(self, spec: ToolSpec, answer: Callable | None = None, problem: str | None = None) -> None:
        self.spec = spec
        self.answer = answer or (lambda args: {"echo": args.decode()})
        self.problem = problem
        self.executed: list[bytes] = []

    def check_args(self, args) -> str | None:
        return self.problem

    async def execute(self, args: dict, context: CallContext) -> ToolResult:
        canonical_args = canonical_bytes(args)
        self.executed.append(canonical_args)
        answer = self.answer(canonical_args)
        return answer if isinstance(answer, ToolResult) else ToolResult(answer, "fake")


class FakeTools:
    def __init__(self, *tools: FakeTool) -> None:
        self.by_id = {tool.spec.id: tool for tool in tools}
        self.refusals: dict[str, str] = {}

    def resolve(self, tool_id: str) -> FakeTool | None:
        return self.by_id.get(tool_id)

    def refusal(self, tool_id: str) -> str | None:
        return self.refusals.get(tool_id)

    def origin(self, call, principal) -> None:
        return None

    def specs(self) -> list[ToolSpec]:
        return [self.by_id[tool_id].spec for tool_id in sorted(self.by_id)]


def spec(tool_id: str = "echo", **changes) -> ToolSpec:
    """A read-only free tool, with whatever a test changes about it."""
    fields = {
        "id": tool_id,
        "name": tool_id,
        "description": "",
        "input_schema": {"type": "object"},
        "output_schema": {},
        "category": "read",
        "digest_hex": hashlib.sha256(tool_id.encode()).hexdigest(),
    }
    return ToolSpec(**{**fields, **changes})
