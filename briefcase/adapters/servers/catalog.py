"""The daemon's own tools and its servers', as one."""

from __future__ import annotations

from collections.abc import Sequence

from briefcase.adapters.servers.registry import ServerRegistry
from briefcase.model.ports import Origin, Tool, Tools
from briefcase.model.types import Deny, Principal, ToolCall, ToolSpec


class Catalog:
    """`ports.Tools` over the daemon's own tools and the servers'; on the same id the daemon's own wins."""

    def __init__(self, own: Tools, registry: ServerRegistry) -> None:
        self._own = own
        self._registry = registry

    def resolve(self, tool_id: str) -> Tool | None:
        """The tool of that id, or None."""
        return self._own.resolve(tool_id) or self._registry.resolve(tool_id)

    def refusal(self, tool_id: str) -> str | None:
        """The reason word where that id may not be called; the daemon's own tools are never a server's to refuse."""
        return None if self._own.resolve(tool_id) else self._registry.refusal(tool_id)

    def origin(self, call: ToolCall, principal: Principal) -> Origin | Deny | None:
        """The earlier call that a call goes on with: only servers ask before they answer."""
        return self._registry.origin(call, principal)

    def specs(self) -> Sequence[ToolSpec]:
        """All definitions, sorted by id."""
        own = {spec.id: spec for spec in self._own.specs()}
        servers = {spec.id: spec for spec in self._registry.specs()}
        return [spec for _, spec in sorted({**servers, **own}.items())]
