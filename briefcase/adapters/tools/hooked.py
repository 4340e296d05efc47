"""The tools that coding agents run themselves: known to policy, decided here, executed by nobody here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from briefcase.adapters.tools.definition import with_digest
from briefcase.adapters.tools.schema import ArgsCheck
from briefcase.core.hooks.tools import client_tools
from briefcase.model.errors import UpstreamError
from briefcase.model.ports import CallContext
from briefcase.model.types import JsonObject, ToolResult, ToolSpec


class HookedTool:
    """A client's tool (`ports.Tool`); its schema is compiled at the first call, since most are of other clients."""

    def __init__(self, spec: ToolSpec) -> None:
        self.spec = with_digest(spec)

    def check_args(self, args: JsonObject) -> str | None:
        """See `ports.Tool`."""
        return self._args.problem_of(args)

    async def execute(self, args: JsonObject, context: CallContext) -> ToolResult:
        """Refuse: what runs it is its client.

        Raises:
            UpstreamError: always.
        """
        del args, context
        raise UpstreamError("this tool is run by its client: send the client's hook event", sent=False)

    @cached_property
    def _args(self) -> ArgsCheck:
        return ArgsCheck(self.spec.input_schema)


def hooked_tools() -> Sequence[HookedTool]:
    """Every client's own tools."""
    return [HookedTool(spec) for spec in client_tools()]
