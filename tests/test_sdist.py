"""The source distribution holds what a build of it needs; `make sdist` installs from one and runs it."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def contents(tmp_path_factory) -> set[str]:
    """The names in a source distribution, without its top directory."""
    out = tmp_path_factory.mktemp("sdist")
    tree = tmp_path_factory.mktemp("tree") / "briefcase"  # setuptools adds what an earlier build's egg-info names
    shutil.copytree(
        ROOT, tree, ignore=shutil.ignore_patterns("*.egg-info", ".*", "build", "node_modules"), symlinks=True
    )
    program = (
        f"import sys, setuptools.build_meta as build\nsys.argv = sys.argv[:1]\nprint(build.build_sdist({str(out)!r}))\n"
    )
    made = subprocess.run([sys.executable, "-c", program], cwd=tree, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr[-2_000:]
    with tarfile.open(next(out.glob("*.tar.gz"))) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


@pytest.mark.parametrize("pattern", ["_native/*.pyx", "_native/*.pxd", "_native/*.pyi", "briefcase/**/*.py"])
def test_every_source_is_in_the_source_distribution(contents, pattern):
    wanted = {path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern)}
    assert wanted
    assert wanted <= contents


def test_the_source_distribution_holds_what_the_build_and_the_package_read(contents):
    wanted = {"pyproject.toml", "setup.py", "LICENSE", "README.md", "SECURITY.md"}
    wanted |= {path.relative_to(ROOT).as_posix() for path in ROOT.glob("briefcase/**/*.cedar*")}
    assert wanted <= contents


def test_nothing_that_was_built_is_in_the_source_distribution(contents):
    assert [name for name in contents if name.endswith((".so", ".pyc", ".c"))] == []
