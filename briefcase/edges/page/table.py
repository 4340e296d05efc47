"""Every page and form of somebody who is logged in, and what the navigation offers."""

from __future__ import annotations

from typing import Final, NamedTuple

from briefcase.edges.page.asking import View
from briefcase.edges.page.views import (
    anomalies,
    approvals,
    budgets,
    controls,
    grants,
    health,
    people,
    policy,
    receipts,
    signers,
    tools,
)


class Item(NamedTuple):
    """One entry of the navigation. `needs` is what of the API the page is for: who may not is not offered it."""

    path: str
    name: str
    needs: tuple[str, str]


NAVIGATION: Final = (
    Item("/approvals", "Waiting", ("GET", "/v1/approvals")),
    Item("/grants", "Grants", ("GET", "/v1/grants")),
    Item("/receipts", "Receipts", ("GET", "/v1/receipts")),
    Item("/tools", "Tools", ("GET", "/v1/mcp/servers")),
    Item("/people", "People", ("GET", "/v1/operators")),
    Item("/budgets", "Budgets", ("GET", "/v1/budgets")),
    Item("/policy", "Policy", ("GET", "/v1/policy")),
    Item("/controls", "Controls", ("GET", "/v1/controls")),
    Item("/signers", "Signers", ("POST", signers.PASSKEYS)),
    Item("/health", "Health", ("GET", "/v1/diagnostics/security")),
)
NOUNS: Final = (approvals, grants, receipts, anomalies, tools, people, budgets, policy, controls, signers, health)
VIEWS: Final[tuple[View, ...]] = tuple(view for noun in NOUNS for view in noun.VIEWS)
