"""What each operation that is no GET does to the world: it is a call, it changes something, or it does neither.

Every such route is in one of the three tables, or the application does not start. A change is refused while receipts
cannot be made durable, before its handler runs; which goes through `administration` (intent, effect, outcome),
or makes its change in the very transaction of its receipt.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

from briefcase.edges.api.routing import Handler, Route

Operation: TypeAlias = tuple[str, str]

CALLS: Final[frozenset[Operation]] = frozenset({
    ("POST", "/v1/tools/call"),
    ("POST", "/v1/decide"),
    ("POST", "/v1/outcomes"),
    ("POST", "/v1/mcp/call"),
    ("POST", "/access/v1/evaluation"),
    ("POST", "/access/v1/evaluations"),
    ("POST", "/ext_authz/{server}/mcp"),
    ("POST", "/v1/hooks/claude-code"),
    ("POST", "/v1/hooks/codex"),
    ("POST", "/v1/hooks/copilot"),
    ("POST", "/v1/hooks/cursor"),
    ("POST", "/v1/hooks/gemini"),
})  # fmt: skip

CHANGES: Final[frozenset[Operation]] = frozenset({
    ("POST", "/v1/agents"),
    ("POST", "/v1/agents/{name}/revoke"),
    ("POST", "/v1/approvals/{id}/approve"),
    ("POST", "/v1/approvals/{id}/deny"),
    ("POST", "/v1/backups"),
    ("POST", "/v1/budgets/{category}"),
    ("POST", "/v1/control-plane/enroll"),
    ("POST", "/v1/control-plane/leave"),
    ("POST", "/v1/control-plane/mandatory/delete"),
    ("POST", "/v1/control-plane/sync"),
    ("POST", "/v1/controls"),
    ("POST", "/v1/controls/lift"),
    ("POST", "/v1/diagnostics/providers/verdict"),
    ("POST", "/v1/grants/{id}/revoke"),
    ("POST", "/v1/mcp/servers/{id}"),
    ("POST", "/v1/mcp/servers/{id}/accept"),
    ("POST", "/v1/mcp/servers/{id}/delete"),
    ("POST", "/v1/mcp/servers/{id}/oauth/exchange"),
    ("POST", "/v1/mcp/servers/{id}/oauth/revoke"),
    ("POST", "/v1/operators"),
    ("POST", "/v1/operators/{name}/revoke"),
    ("POST", "/v1/policy/compile"),
    ("POST", "/v1/policy/proposals/{id}/apply"),
    ("POST", "/v1/policy/proposals/{id}/drop"),
    ("POST", "/v1/policy/rollback"),
    ("PUT", "/v1/policy"),
    ("POST", "/v1/providers/{id}"),
    ("POST", "/v1/providers/{id}/clear-capabilities"),
    ("POST", "/v1/providers/{id}/delete"),
    ("POST", "/v1/providers/{id}/disable"),
    ("POST", "/v1/providers/{id}/enable"),
    ("POST", "/v1/providers/{id}/oauth/exchange"),
    ("POST", "/v1/providers/{id}/oauth/revoke"),
    ("POST", "/v1/providers/{id}/vc/fetch"),
    ("POST", "/v1/receipts/archive"),
    ("PUT", "/v1/secrets/{name}"),
    ("PUT", "/v1/secrets/{name}/hosts"),
    ("DELETE", "/v1/secrets/{name}"),
    ("POST", "/v1/signer/approvals"),
    ("POST", "/v1/signer/approvals/{id}/approve"),
    ("POST", "/v1/signer/approvals/{id}/deny"),
    ("POST", "/v1/signer/pair/start"),
    ("POST", "/v1/signer/pair/{id}/complete"),
    ("POST", "/v1/signers/passkeys"),
    ("POST", "/v1/signers/passkeys/rule"),
    ("POST", "/v1/signers/{id}/revoke"),
    ("POST", "/v1/tools/reload"),
    ("POST", "/v1/witnesses"),
    ("POST", "/v1/witnesses/remove"),
})  # fmt: skip

# Of the changes, those that take no signature where only signers are taken: they tighten, copy or put away, are signed
# themselves, or need what a signature opened. A yes by a token is refused where it is decided.
UNSIGNED: Final[frozenset[Operation]] = frozenset({
    ("POST", "/v1/agents/{name}/revoke"),
    ("POST", "/v1/approvals/{id}/approve"),
    ("POST", "/v1/approvals/{id}/deny"),
    ("POST", "/v1/backups"),
    ("POST", "/v1/control-plane/sync"),
    ("POST", "/v1/controls"),
    ("POST", "/v1/grants/{id}/revoke"),
    ("POST", "/v1/mcp/servers/{id}/delete"),
    ("POST", "/v1/mcp/servers/{id}/oauth/revoke"),
    ("POST", "/v1/operators/{name}/revoke"),
    ("POST", "/v1/policy/proposals/{id}/drop"),
    ("POST", "/v1/providers/{id}/clear-capabilities"),
    ("POST", "/v1/providers/{id}/delete"),
    ("POST", "/v1/providers/{id}/disable"),
    ("POST", "/v1/providers/{id}/oauth/revoke"),
    ("POST", "/v1/receipts/archive"),
    ("DELETE", "/v1/secrets/{name}"),
    ("POST", "/v1/signer/approvals"),
    ("POST", "/v1/signer/approvals/{id}/approve"),
    ("POST", "/v1/signer/approvals/{id}/deny"),
    ("POST", "/v1/signer/pair/{id}/complete"),
    ("POST", "/v1/signers/passkeys"),
    ("POST", "/v1/signers/passkeys/rule"),
})  # fmt: skip

NEITHER: Final[dict[Operation, str]] = {
    ("POST", "/access/v1/requests"): "binds a task to an approval that is there",
    ("POST", "/access/v1/search/action"): "says what the policy would allow",
    ("POST", "/access/v1/search/resource"): "says what the policy would allow",
    ("POST", "/access/v1/search/subject"): "says what the policy would allow",
    ("DELETE", "/ext_authz/{server}/mcp"): "says whether a proxy may forward it",
    ("POST", "/v1/approvals/{id}/grant"): "shows what a yes would let pass",
    ("POST", "/v1/diagnostics/canary"): "looks for secrets in the bytes it is given",
    ("POST", "/v1/diagnostics/sign"): "signs a digest of evidence; an incident needs it most while receipts fail",
    ("POST", "/v1/explain"): "says what a call would come to",
    ("POST", "/v1/identity/proof"): "signs who answers, for whoever asks",
    ("POST", "/v1/mcp/calls/{id}/cancel"): "asks a call of the asker's own to end; that call has its receipts",
    ("POST", "/v1/mcp/servers/{id}/oauth/start"): "begins a log-in in memory; the exchange is the change",
    ("POST", "/v1/page/links"): "makes a link in memory that logs a browser in once",
    ("POST", "/v1/providers/{id}/oauth/start"): "begins a log-in and keeps nothing; the exchange is the change",
    ("POST", "/v1/receipts/checkpoint"): "verifies the chain and signs what it found",
    ("POST", "/v1/receipts/verify"): "reads the chain",
    ("POST", "/v1/signers/passkeys/registration"): "asks a browser for a passkey; what it answers is the change",
    ("POST", "/v1/signers/passkeys/ruling"): "asks a passkey for a signature; what it answers is the change",
}


def changing_handlers(routes: Iterable[Route]) -> frozenset[Handler]:
    """The handlers of the routes in `CHANGES`.

    Raises:
        ValueError: a route that is no GET is in none of the tables, or in two.
    """
    found = set()
    for route in routes:
        operation = (route.method, route.path)
        tables = (operation in CALLS) + (operation in CHANGES) + (operation in NEITHER)
        if route.method != "GET" and tables != 1:
            raise ValueError(f"`{route.method} {route.path}` is in {tables} tables of `api/effects.py`, expected 1")
        if operation in CHANGES:
            found.add(route.handler)
    return frozenset(found)
