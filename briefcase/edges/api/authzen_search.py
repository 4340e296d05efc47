"""AuthZEN search: which agents, tools and actions the policy in force would allow. No receipt, and no effect.

Only what is allowed without a person is found; rates, budgets and approvals are not looked at. Arguments count where
the question gives some: without them a policy that reads them denies. An asker finds what it may ask decisions for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from briefcase.core.calls.foresight import Foresight
from briefcase.core.calls.subjects import principal_of
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.core.wire.authzen import (
    MAX_RESULTS,
    TOOL,
    TOOLS_CALL,
    ActionSearch,
    FoundAction,
    FoundActions,
    FoundEntities,
    FoundEntity,
    Page,
    PageInfo,
    ResourceSearch,
    Subject,
    SubjectSearch,
    arguments_of,
)
from briefcase.edges.api.authzen import SEARCH, SUBJECT_TYPES, body_of
from briefcase.edges.api.routing import CALLERS, Request, Route
from briefcase.edges.api.services import Services
from briefcase.model.errors import CallerError
from briefcase.model.types import Allow, JsonObject, Principal

MAX_ARGUMENTS_BYTES: Final = 4_096  # each tool, or each agent, has them looked at once more
BETWEEN_PAUSES: Final = 64

_ONE: Final = PageInfo("", 1, 1)
_NONE: Final = PageInfo("", 0, 0)


async def search_subjects(services: Services, request: Request) -> FoundEntities:
    """`POST /access/v1/search/subject`: which agents may call this tool."""
    wanted = body_of(request, SubjectSearch)
    foreseen = _Foreseen(services, wanted.resource.properties, wanted.context)
    is_known = wanted.subject.type in SUBJECT_TYPES and _is_a_call(wanted.action.name, wanted.resource.type)
    names = sorted({agent.name for agent in await services.agents.list()}) if is_known else []

    def is_found(name: str) -> bool:
        principal = principal_of(request.principal, name, services.agents)
        return principal is not None and foreseen.allows(principal, wanted.resource.id)

    return await _page(wanted.subject.type, names, is_found, wanted.page)


async def search_resources(services: Services, request: Request) -> FoundEntities:
    """`POST /access/v1/search/resource`: which tools this agent may call."""
    wanted = body_of(request, ResourceSearch)
    foreseen = _Foreseen(services, wanted.resource.properties, wanted.context)
    principal = _subject(services, request, wanted.subject)
    if principal is None or not _is_a_call(wanted.action.name, wanted.resource.type):
        return FoundEntities([], _NONE)
    ids = [spec.id for spec in services.tools.specs()]
    return await _page(wanted.resource.type, ids, lambda tool_id: foreseen.allows(principal, tool_id), wanted.page)


async def search_actions(services: Services, request: Request) -> FoundActions:
    """`POST /access/v1/search/action`: `tools/call`, where this agent may call this tool."""
    wanted = body_of(request, ActionSearch)
    foreseen = _Foreseen(services, wanted.resource.properties, wanted.context)
    principal, resource = _subject(services, request, wanted.subject), wanted.resource
    if principal is None or resource.type != TOOL or not foreseen.allows(principal, resource.id):
        return FoundActions([], _NONE)
    return FoundActions([FoundAction(TOOLS_CALL)], _ONE)


class _Foreseen:
    """What the policy in force says now of calls with these arguments.

    Raises:
        CallerError: the arguments are no object, or longer than a search takes.
    """

    def __init__(self, services: Services, properties: JsonObject, context: JsonObject) -> None:
        args = arguments_of(properties, context)
        if args is None or len(canonical_bytes(args)) > MAX_ARGUMENTS_BYTES:
            raise CallerError(f"expected the arguments as one object of at most {MAX_ARGUMENTS_BYTES} bytes")
        self._args = args or None
        self._foresight = Foresight(services.tools, services.controls)
        self._policy = services.policy.active()
        self._now_us = services.clock.now_us()

    def allows(self, principal: Principal, tool_id: str) -> bool:
        """Whether this agent may call this tool, and no person is asked."""
        verdict = self._foresight.verdict(self._policy, principal, tool_id, self._args, self._now_us)
        return isinstance(verdict, Allow)


def _subject(services: Services, request: Request, subject: Subject) -> Principal | None:
    is_agent = subject.type in SUBJECT_TYPES
    return principal_of(request.principal, subject.id, services.agents) if is_agent else None


def _is_a_call(action: str, resource_type: str) -> bool:
    return action == TOOLS_CALL and resource_type == TOOL


async def _page(kind: str, ids: Sequence[str], is_found: Callable[[str], bool], page: Page) -> FoundEntities:
    found: list[str] = []
    for at in range(0, len(ids), BETWEEN_PAUSES):
        found += filter(is_found, ids[at : at + BETWEEN_PAUSES])
        await asyncio.sleep(0)  # other callers go first
    after = [name for name in found if name > page.token][: page.limit or MAX_RESULTS]
    is_last = not after or after[-1] == found[-1]
    results = [FoundEntity(kind, name) for name in after]
    return FoundEntities(results, PageInfo("" if is_last else after[-1], len(results), len(found)))


ROUTES: Final = (
    Route(
        "POST",
        f"{SEARCH}/subject",
        CALLERS,
        search_subjects,
        "Agents that may call a tool",
        FoundEntities,
        body=SubjectSearch,
        is_correlated=True,
    ),
    Route(
        "POST",
        f"{SEARCH}/resource",
        CALLERS,
        search_resources,
        "Tools that an agent may call",
        FoundEntities,
        body=ResourceSearch,
        is_correlated=True,
    ),
    Route(
        "POST",
        f"{SEARCH}/action",
        CALLERS,
        search_actions,
        "What an agent may do with a tool",
        FoundActions,
        body=ActionSearch,
        is_correlated=True,
    ),
)
