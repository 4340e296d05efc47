"""The registry: every tool by its id, in groups that are replaced whole.

A group is what comes from one place: the built-in tools, the operator's manifests, one remote server. Replacing one
is a single assignment, so a call sees all of the old definitions or all of the new ones; a refused replacement
changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from briefcase.model.errors import CallerError
from briefcase.model.ports import Origin, Tool
from briefcase.model.types import Deny, Principal, ToolCall, ToolSpec


class Registry:
    """`ports.Tools`. One event loop."""

    def __init__(self) -> None:
        self._groups: Mapping[str, Sequence[Tool]] = MappingProxyType({})
        by_id: dict[str, Tool] = {}
        self.resolve = by_id.get  # the tool of an id, or None
        self._specs: Sequence[ToolSpec] = ()

    def refusal(self, tool_id: str) -> str | None:  # as `ports.Tools` has it
        """None: each of these tools may be called as policy says."""
        return None

    def origin(self, call: ToolCall, principal: Principal) -> Origin | Deny | None:  # as above
        """None: each of these calls is one of its own."""
        return None

    def specs(self) -> Sequence[ToolSpec]:
        """All definitions, sorted by id."""
        return self._specs

    def replace(self, group: str, tools: Iterable[Tool]) -> None:
        """Put a group's tools in place of those it had; none removes the group.

        Raises:
            CallerError: an id is taken, in the group or in another (`invalid_manifest`); the registry stays as it was.
        """
        groups, by_id = self._with(group, tools)
        self._groups = groups
        self.resolve = by_id.get
        self._specs = tuple(by_id[tool_id].spec for tool_id in sorted(by_id))

    def check(self, group: str, tools: Iterable[Tool]) -> None:
        """Check that a group could be replaced. Raises as `replace`."""
        self._with(group, tools)

    def _with(self, group: str, tools: Iterable[Tool]) -> tuple[dict[str, Sequence[Tool]], dict[str, Tool]]:
        groups = {**self._groups, group: tuple(tools)}
        owners: dict[str, str] = {}
        by_id: dict[str, Tool] = {}
        for owner, members in groups.items():
            for tool in members:
                if tool.spec.id in by_id:
                    both = f"{owners[tool.spec.id]} and {owner}"
                    raise CallerError(
                        f"expected each tool id once, got `{tool.spec.id}` from {both}", code="invalid_manifest"
                    )
                by_id[tool.spec.id] = tool
                owners[tool.spec.id] = owner
        return groups, by_id
