"""What the tests stand on: a fake for each port, and a ledger in memory that applies no effect it does not know."""

import ast
import inspect
from pathlib import Path

import pytest

from briefcase.model import ports
from briefcase.model.effects import ArchiveReceipts, Entry, Head
from support.clock import FakeClock
from support.ledger import MemoryLedger
from support.ports import Fakes


def test_each_port_has_its_fake():
    protocols = {
        name
        for name, held in inspect.getmembers(ports, inspect.isclass)
        if held.__module__ == ports.__name__ and getattr(held, "_is_protocol", False)
    }
    assert set(Fakes._fields) == protocols


@pytest.mark.parametrize("effect", [object(), ArchiveReceipts(Head(0, ""), Head(1, ""), "")])
async def test_a_ledger_in_memory_raises_at_an_effect_it_cannot_apply(effect):
    ledger = MemoryLedger(FakeClock())
    with pytest.raises((AssertionError, NotImplementedError)):
        await ledger.commit(Entry({"kind": "x"}, (effect,)))
    assert ledger.chain == []


def test_no_coroutine_of_a_test_is_made_and_never_run():
    """By names of two words and more: one word (`send`, `cancel`) is a method of others, too."""
    sources = {path: ast.parse(path.read_text()) for path in Path(__file__).parent.rglob("*.py")}
    of_kind = {ast.AsyncFunctionDef: set(), ast.FunctionDef: set()}
    for tree in sources.values():
        for node in ast.walk(tree):
            if type(node) in of_kind:
                of_kind[type(node)].add(node.name)
    coroutines = {name for name in of_kind[ast.AsyncFunctionDef] - of_kind[ast.FunctionDef] if "_" in name}
    dropped = [
        f"{path.name}:{node.lineno}"
        for path, tree in sources.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and getattr(node.value.func, "attr", getattr(node.value.func, "id", "")) in coroutines
    ]
    assert dropped == []
