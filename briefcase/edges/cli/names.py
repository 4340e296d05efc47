"""What the shell's completion offers where a command takes a name: those that the daemon has, or the known words.

Nothing is offered, and nothing is said, where no daemon answers within a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import click
from click.shell_completion import CompletionItem

from briefcase.edges.cli.app import App
from briefcase.edges.cli.late import (
    receipt_kinds,
    wire_agents,
    wire_budgets,
    wire_operators,
    wire_secrets,
    wire_servers,
    wire_tools,
)
from briefcase.model.errors import BriefcaseError

COMPLETION_TIMEOUT_S: Final = 1.0

Named: TypeAlias = Iterable[tuple[str, str]]  # a name and a word about it
Completer: TypeAlias = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _offering(names: Callable[[App], Named]) -> Completer:
    def complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        app = ctx.find_object(App)
        if app is None:
            return []
        try:
            return [CompletionItem(name, help=word) for name, word in names(app) if name.startswith(incomplete)]
        except BriefcaseError:
            return []

    return complete


def _tools(app: App) -> Named:
    tools = app.client(COMPLETION_TIMEOUT_S).get("/v1/tools", wire_tools.ToolList).answer.tools
    return [(tool.id, tool.name) for tool in tools]


def _agents(app: App) -> Named:
    agents = app.client(COMPLETION_TIMEOUT_S).get("/v1/agents", wire_agents.AgentList).answer.agents
    return [(agent.name, ", ".join(agent.groups)) for agent in agents if agent.revoked_at is None]


def _operators(app: App) -> Named:
    people = app.client(COMPLETION_TIMEOUT_S).get("/v1/operators", wire_operators.OperatorList).answer.operators
    return [(person.name, person.role) for person in people if person.revoked_at is None]


def _servers(app: App) -> Named:
    servers = app.client(COMPLETION_TIMEOUT_S).get("/v1/mcp/servers", wire_servers.ServerList).answer.servers
    return [(server.id, server.state or "") for server in servers]


def _secrets(app: App) -> Named:
    found = app.client(COMPLETION_TIMEOUT_S).get("/v1/secrets", wire_secrets.SecretNames).answer
    return [(name, ", ".join(found.hosts.get(name, ()))) for name in found.secrets]


def _categories(app: App) -> Named:
    budgets = app.client(COMPLETION_TIMEOUT_S).get("/v1/budgets", wire_budgets.BudgetList).answer.budgets
    return [(budget.category, "") for budget in budgets]


def _kinds(_: App) -> Named:
    return [(kind, "") for kind in receipt_kinds.KINDS]


def _sources(app: App) -> Named:
    return [("builtin", ""), ("http", ""), *((f"mcp:{server}", state) for server, state in _servers(app))]


complete_tool: Final = _offering(_tools)
complete_agent: Final = _offering(_agents)
complete_operator: Final = _offering(_operators)
complete_server: Final = _offering(_servers)
complete_secret: Final = _offering(_secrets)
complete_category: Final = _offering(_categories)
complete_kind: Final = _offering(_kinds)
complete_source: Final = _offering(_sources)
