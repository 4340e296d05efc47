"""Imports point inwards: model <- core <- adapters <- edges <- daemon, and inside a ring by `docs/house.toml`."""

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "briefcase"
HOUSE = tomllib.loads((ROOT / "docs" / "house.toml").read_text())

OUTERMOST_FIRST = ("daemon", "edges", "adapters", "core", "model")
DEPTH = {ring: depth for depth, ring in enumerate(OUTERMOST_FIRST)}
NATIVE_USERS = {
    "core/calls", "core/characters", "core/policy", "core/receipts", "core/json", "core/redaction", "adapters/ledger",
    "edges/api", "edges/http",
}  # fmt: skip
CORE_MAY_NOT_USE = {
    "aiohttp", "asyncio", "blacksheep", "click", "cryptography", "lmdb", "os", "pathlib",
    "rich", "socket", "sqlite3", "structlog", "subprocess", "threading", "time", "uvicorn",
}  # fmt: skip
OF_THE_CONTROL_PLANE = {"alembic", "asyncpg", "sqlalchemy"}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)


def room_of(parts: tuple[str, ...] | list[str]) -> tuple[str, str]:
    """The ring and the package of a module, by its path below `briefcase/`."""
    ring = parts[0]
    return ring, parts[1].removesuffix(".py") if len(HOUSE[ring]) > 1 and len(parts) > 1 else ring


@cache
def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@cache
def rooms_used(path: Path) -> set[tuple[str, str]]:
    used = set()
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "briefcase" and len(parts) > 1 and parts[1] in DEPTH:
            used.add(room_of(parts[1:]))
    return used


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_ring_and_its_package_may(path):
    ring, room = room_of(path.relative_to(PACKAGE).parts)
    if path.parent == PACKAGE / ring and path.name == "__init__.py":
        assert imported(path) == set()
        return
    for other_ring, other in rooms_used(path):
        assert DEPTH[other_ring] >= DEPTH[ring], f"`{ring}/{room}` may not import `{other_ring}/{other}`"
        if other_ring == ring and other != room:
            assert other in HOUSE[ring][room], f"`{ring}/{room}` may not import `{other}`: see docs/house.toml"
    for name in imported(path):
        first = name.split(".")[0]
        if ring in {"core", "model"}:
            assert first not in CORE_MAY_NOT_USE, f"the core does no I/O, but imports `{name}`"
        if name.startswith("briefcase._native"):
            assert f"{ring}/{room}" in NATIVE_USERS, f"`{ring}/{room}` may not reach native code: `{name}`"
        if first in OF_THE_CONTROL_PLANE:
            assert (ring, room) == ("edges", "control_plane"), f"only the control plane may import `{first}`"


def test_every_package_has_its_place_and_no_place_is_empty():
    found = {ring: set() for ring in HOUSE}
    for path in modules():
        ring, room = room_of(path.relative_to(PACKAGE).parts)
        if path.name != "__init__.py" or path.parent != PACKAGE / ring:
            found[ring].add(room)
    assert tuple(HOUSE) == OUTERMOST_FIRST
    assert {ring: set(rooms) for ring, rooms in HOUSE.items()} == found


def test_every_allowed_import_is_used_and_none_goes_round_in_a_circle():
    used = {(ring, room): set() for ring, rooms in HOUSE.items() for room in rooms}
    for path in modules():
        here = room_of(path.relative_to(PACKAGE).parts)
        if here in used:
            used[here] |= {room for ring, room in rooms_used(path) if ring == here[0] and room != here[1]}
    assert {place: set(HOUSE[place[0]][place[1]]) for place in used} == used
    for ring, rooms in HOUSE.items():
        left = dict(rooms)
        while free := [room for room, uses in left.items() if not set(uses) & set(left)]:
            for room in free:
                del left[room]
        assert not left, f"a circle in `{ring}`: {sorted(left)}"


def test_the_package_itself_imports_nothing():
    assert imported(PACKAGE / "__init__.py") == set()


def callers_of(ring: str, room: str) -> str:
    """The line that says who calls a package: rooms of its own ring, as `docs/house.toml` has it, and other rings."""
    own = [f"`{other}`" for other, uses in HOUSE[ring].items() if room in uses]
    others = {place[0] for path in modules() if (ring, room) in rooms_used(path) and (place := room_of_path(path))}
    rings = [other for other in reversed(OUTERMOST_FIRST) if other in others - {ring}]
    if (ring, room) in rooms_used(PACKAGE / "__main__.py"):
        rings.append("`__main__`")
    return f"Callers: {'; '.join(filter(None, [', '.join(own), ', '.join(rings)]))}."


def room_of_path(path: Path) -> tuple[str, str]:
    return room_of(path.relative_to(PACKAGE).parts)


PACKAGES = [(path, *room_of_path(path)) for path in sorted(PACKAGE.glob("*/*/__init__.py"))]


@pytest.mark.parametrize(("path", "ring", "room"), PACKAGES, ids=[f"{ring}/{room}" for _, ring, room in PACKAGES])
def test_a_package_says_what_it_is_and_who_calls_it(path, ring, room):
    paragraphs = [" ".join(one.split()) for one in (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")]
    assert len(paragraphs[0]) > len(room), f"`{ring}/{room}` does not say what it is"
    assert [one for one in paragraphs if one.startswith("Callers: ")] == [callers_of(ring, room)]


@pytest.mark.parametrize(("path", "ring", "room"), PACKAGES, ids=[f"{ring}/{room}" for _, ring, room in PACKAGES])
def test_what_a_package_names_in_its_docstring_is_there(path, ring, room):
    del ring, room
    named = set(re.findall(r"`([a-z_0-9]+)`", ast.get_docstring(ast.parse(path.read_text())) or ""))
    rooms = {room for others in HOUSE.values() for room in others}
    assert named <= {module.stem for module in path.parent.glob("*.py")} | rooms | {"aacp_v1", "__main__"}
