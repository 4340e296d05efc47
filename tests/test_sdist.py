"""The source distribution holds what a build of it needs; `make sdist` installs from one and runs it."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A copy of the checkout, to build in."""
    tree = tmp_path_factory.mktemp("tree") / "briefcase"  # setuptools adds what an earlier build's egg-info names
    shutil.copytree(
        ROOT, tree, ignore=shutil.ignore_patterns("*.egg-info", ".*", "build", "node_modules"), symlinks=True
    )
    return tree


@pytest.fixture(scope="module")
def contents(tree, tmp_path_factory) -> set[str]:
    """The names in a source distribution, without its top directory."""
    out = tmp_path_factory.mktemp("sdist")
    program = (
        f"import sys, setuptools.build_meta as build\nsys.argv = sys.argv[:1]\nprint(build.build_sdist({str(out)!r}))\n"
    )
    made = subprocess.run([sys.executable, "-c", program], cwd=tree, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr[-2_000:]
    with tarfile.open(next(out.glob("*.tar.gz"))) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


@pytest.mark.parametrize(
    "pattern",
    [
        "_native/*.pyx",
        "_native/*.pxd",
        "_native/*.pyi",
        "briefcase/**/*.py",
        "briefcase/edges/page/static/*",
        "briefcase/edges/page/templates/*",
    ],
)
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


def test_what_is_installed_has_the_pages_of_the_documentation(tree, tmp_path):
    library = tmp_path / "lib"
    build = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(library)]
    made = subprocess.run(build, cwd=tree, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr[-2_000:]
    shown = subprocess.run(
        [
            sys.executable,
            "-c",
            "from briefcase.edges.cli import help as h; print(h.HERE, *h.topics().values(), sep='\\n')",
        ],
        cwd=tmp_path,
        env={"PYTHONPATH": str(library)},
        capture_output=True,
        text=True,
        check=True,
    )
    package, *pages = shown.stdout.splitlines()
    assert package == str(library / "briefcase")
    expected = {path for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "adr"}
    assert {Path(page).relative_to(library / "briefcase" / "pages") for page in pages} == {
        path.relative_to(ROOT / "docs") for path in expected
    }
    assert (library / "briefcase" / "pages" / "deploy" / "briefcased.service").exists()
    assert list(library.rglob("write_reference.py")) == []
