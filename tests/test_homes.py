"""A rule stands in one place: statuses, modes, identifiers and JSON pointers each have one home in the product."""

import ast
import re
from http import HTTPStatus
from pathlib import Path

import pytest

from briefcase.model import identifiers

PACKAGE = Path(__file__).parent.parent / "briefcase"
ALONE = "core/receipts/verify_export.py"  # it runs by itself, on any Python
SOURCES = {str(path.relative_to(PACKAGE)): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(text) for name, text in SOURCES.items() if name != ALONE}
STATUSES = {status.value for status in HTTPStatus}
STATUS_MAKERS = {"HttpError", "Reply", "Refused", "json_reply"}


def is_status(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int and node.value in STATUSES


@pytest.mark.parametrize("name", TREES)
def test_a_status_of_http_has_its_name(name):
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.keyword) and node.arg and node.arg.endswith("status"):
            assert not is_status(node.value), f"{name}:{node.value.lineno}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in STATUS_MAKERS:
            assert not any(map(is_status, node.args)), f"{name}:{node.lineno}"
        elif isinstance(node, ast.Compare) and "status" in ast.unparse(node.left):
            assert not any(is_status(part) for place in node.comparators for part in ast.walk(place)), (
                f"{name}:{node.lineno}"
            )
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.target).lower().endswith("status") and node.value:
            assert not any(map(is_status, ast.walk(node.value))), f"{name}:{node.lineno}"


def test_a_mode_of_a_file_is_written_once():
    octal = [name for name, text in SOURCES.items() if name != ALONE and re.search(r"\b0o[0-7]{3}\b", text)]
    assert octal == ["adapters/disk/checks.py"]


def test_what_a_name_may_hold_is_written_once():
    patterns = [value for name, value in vars(identifiers).items() if name.isupper() and not name.endswith("_RULE")]
    assert len(patterns) > 10
    for name, text in SOURCES.items():
        if name not in {ALONE, "model/identifiers.py"}:
            assert [pattern for pattern in patterns if isinstance(pattern, str) and pattern in text] == [], name


def test_json_pointers_are_read_in_one_place():
    readers = {name for name, text in SOURCES.items() if 'replace("~1", "/")' in text}
    assert readers == {"core/json/pointer.py"}
