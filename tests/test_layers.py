"""Imports point one way: model <- core <- adapters, edges <- root (docs/design.md, rings)."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "briefcase"

WORDS = {"model"}
CORE = {
    "admission",
    "answers",
    "approvals",
    "budgets",
    "call_settings",
    "calls",
    "character_table",
    "characters",
    "controls",
    "decisions",
    "expiry",
    "firewall",
    "issued_tokens",
    "jose",
    "mcp",
    "operator",
    "ordinary",
    "patterns",
    "policy",
    "ratelimits",
    "receipts",
    "redaction",
    "refusals",
    "risk",
    "secret_forms",
    "shown",
    "strict_json",
    "verdicts",
    "wire",
}
ADAPTERS = {
    "backup",
    "children",
    "controlplane",
    "disk",
    "ledger",
    "net",
    "oauth",
    "providers",
    "servers",
    "signed_manifest",
    "store",
    "system",
    "telemetry",
    "tools",
    "vault",
}
EDGES = {"api", "cli", "client", "conformance", "diagnostics", "gateway", "http", "provider_gateway", "ui"}
ROOT = {"config", "daemon", "__main__", "__init__"}

RING = {name: ring for ring, names in enumerate((WORDS, CORE, ADAPTERS, EDGES, ROOT)) for name in names}
MAY_IMPORT = {0: {0}, 1: {0, 1}, 2: {0, 1, 2}, 3: {0, 1, 2, 3}, 4: {0, 1, 2, 3, 4}}

NATIVE_USERS = {"api", "http", "policy", "receipts", "ledger", "strict_json", "redaction", "secret_forms"}
CORE_MAY_NOT_USE = {
    "aiohttp", "asyncio", "blacksheep", "click", "cryptography", "lmdb", "os", "pathlib",
    "rich", "socket", "sqlite3", "structlog", "subprocess", "threading", "time", "uvicorn",
}  # fmt: skip


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py"))


def noun_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_its_own_ring_and_those_inside_it(path):
    noun = noun_of(path)
    assert noun in RING, f"`{noun}` has no ring: add it to the design and here"
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "briefcase" or len(parts) == 1:
            if RING[noun] <= RING["calls"]:
                assert parts[0] not in CORE_MAY_NOT_USE, f"the core does no I/O, but imports `{name}`"
            continue
        if parts[1] == "_native":
            assert noun in NATIVE_USERS, f"`{noun}` may not reach native code: `{name}`"
            continue
        if parts[1] == "__version__":
            continue
        assert parts[1] in RING, f"`{name}` has no ring"
        assert RING[parts[1]] in MAY_IMPORT[RING[noun]], f"`{noun}` may not import `{name}`"


def test_the_package_itself_imports_nothing():
    assert imported(PACKAGE / "__init__.py") == set()
