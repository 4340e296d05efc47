"""The locks a release is built and tried with pin what pyproject.toml and docs/release/build.in ask for, by hash."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OF_A_LIBRARY = {"setuptools", "idna", "attrs", "typing-extensions"}  # setuptools: docs/dependencies.md says why
BUILD_IN = [line for line in (ROOT / "docs/release/build.in").read_text().splitlines() if not line.startswith("#")]


def pinned(name):
    """Version and number of hashes of each entry of a lock."""
    entries = re.split(r"\n(?=\S)", (ROOT / "docs" / "release" / name).read_text().strip())
    found = {}
    for entry in entries:
        package, version = re.match(r"([A-Za-z0-9._-]+)==([^ \\]+)", entry).groups()
        found[canonicalize_name(package)] = version, entry.count("--hash=sha256:")
    return found


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("runtime.txt", PROJECT["project"]["dependencies"]),
        ("build.txt", BUILD_IN),
        ("build.txt", PROJECT["build-system"]["requires"]),
    ],
)
def test_a_lock_pins_each_requirement_within_its_range(lock, wanted):
    found = pinned(lock)
    for text in wanted:
        requirement = Requirement(text)
        version, _ = found[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), f"{text}, got {version}: `make locks`"


@pytest.mark.parametrize("lock", ["runtime.txt", "build.txt"])
def test_a_lock_names_each_file_by_its_hash_and_no_place_it_came_from(lock):
    assert all(hashes > 0 for _, hashes in pinned(lock).values())
    assert not re.search(r"https?://|--index|--find-links", (ROOT / "docs" / "release" / lock).read_text())


def test_no_build_tool_is_among_what_is_installed():
    tools = pinned("build.txt").keys() - {"click"} | {"wheel", "pip"}
    assert tools & pinned("runtime.txt").keys() <= OF_A_LIBRARY


def test_each_direct_dependency_is_explained_with_its_licence():
    rows = dict(
        re.findall(
            r"^\| `([a-z0-9-]+)` \| ([^|]+) \| [^|]{10,} \|$", (ROOT / "docs/dependencies.md").read_text(), re.MULTILINE
        )
    )
    wanted = {canonicalize_name(Requirement(text).name) for text in PROJECT["project"]["dependencies"]}
    assert rows.keys() >= wanted, wanted - rows.keys()
    assert all(licence.strip() for licence in rows.values())
