"""Mutants: edits of the product, each of which turns a test red. `make mutants` runs them, all or by the ids given.

`mutants.toml` names for each mutant an id, one edit or several (a text that is in the product once, and the text in
its place) and the test by its name. No file is named, so that moving code or tests asks for no change here. The edits
are made in a private copy of the tree, where an edited extension is compiled anew. A mutant is red where the test
fails; before any edit, every test must pass.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Final

import msgspec

ROOT: Final = Path(__file__).parent.parent.parent
LIST: Final = Path(__file__).parent / "mutants.toml"
TIMEOUT_S: Final = 300
LEFT_OUT: Final = ignore_patterns("__pycache__", "*.c", "node_modules", ".hypothesis")
_FAILED: Final = 1  # pytest's exit code where tests ran and some failed


class Edit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One text of the product, and what it becomes."""

    old: str
    new: str


class Mutant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An edit of the product, and the test that must see it."""

    id: str
    test: str
    edits: tuple[Edit, ...]


def read_mutants() -> list[Mutant]:
    """Every mutant of the list."""
    return msgspec.convert(tomllib.loads(LIST.read_text())["mutant"], list[Mutant])


def read_sources(root: Path) -> dict[Path, str]:
    """The product's sources and what they say: Python, Cython, and what a source distribution is made of."""
    found = [*(root / "briefcase").rglob("*.py"), *(root / "_native").glob("*.pyx"), root / "MANIFEST.in"]
    return {path: path.read_text() for path in sorted(found)}


def files_with(text: str, sources: dict[Path, str]) -> list[Path]:
    """The files in which a text is, each as often as the text is in it."""
    return [path for path, source in sources.items() for _ in range(source.count(text))]


def node_of(test: str) -> str:
    """What pytest calls a test: its file, from the root of the tree, and its name.

    Raises:
        ValueError: no file has it, or two.
    """
    found = [path for path in (ROOT / "tests").rglob("test_*.py") if f"def {test}(" in path.read_text()]
    if len(found) != 1:
        raise ValueError(f"expected one file with `{test}`, got {[str(path) for path in found]}")
    return f"{found[0].relative_to(ROOT)}::{test}"


def main() -> int:
    """Run the mutants; 1 where one is not seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ids", nargs="*", help="those mutants whose ids begin so; all where nothing is given")
    parser.add_argument("--no-control", action="store_true", help="do not run the tests without a mutant first")
    parser.add_argument("--only-control", action="store_true", help="run the tests without a mutant, and nothing else")
    options = parser.parse_args()
    mutants = [one for one in read_mutants() if not options.ids or one.id.startswith(tuple(options.ids))]
    with tempfile.TemporaryDirectory(prefix="briefcase-mutants-") as directory:
        tree = _copy(Path(directory))
        tree.chmod(0o755)  # some tests run a part of it as another user
        if not options.no_control:
            code, failed, _ = _run(tree, *dict.fromkeys(node_of(one.test) for one in mutants), is_all=True)
            if code != 0:
                print("the tests are not green without a mutant:", *failed, sep="\n")
                return 1
        if options.only_control:
            print(f"the tests of {len(mutants)} mutants are green without one")
            return 0
        unseen = [one.id for one in mutants if not _is_seen(tree, one)]
    print(f"{len(mutants) - len(unseen)} of {len(mutants)} mutants were seen", *unseen)
    return 1 if unseen else 0


def _copy(directory: Path) -> Path:
    for name in ("briefcase", "_native", "tests", "bench", "docs"):
        copytree(ROOT / name, directory / name, ignore=LEFT_OUT)
    (directory / "briefcase" / "_native").symlink_to("../_native")
    for path in (ROOT / "Makefile", ROOT / "setup.py", *ROOT.glob("[A-Zp]*.*")):
        (directory / path.name).write_bytes(path.read_bytes())
    return directory


def _is_seen(tree: Path, mutant: Mutant) -> bool:
    before = read_sources(tree)
    after = dict(before)
    for edit in mutant.edits:
        (path,) = files_with(edit.old, after)
        after[path] = after[path].replace(edit.old, edit.new)
    changed = {path: path.stat().st_mtime_ns for path in before if after[path] != before[path]}
    built = {path: _extension_of(path) for path in changed if path.suffix == ".pyx"}
    kept = {extension: extension.read_bytes() for extension in built.values()}
    try:
        for path in changed:
            path.write_text(after[path])
        for path in built:
            _compile(tree, path)
        code, said, took_s = _run(tree, node_of(mutant.test))
    finally:
        for path, written_ns in changed.items():
            path.write_text(before[path])
            os.utime(path, ns=(written_ns, written_ns))  # so that no compiled mutant is taken for it
        for extension, content in kept.items():
            extension.unlink()  # a process that still runs has it mapped
            extension.write_bytes(content)
    verdict = "red" if code == _FAILED else "GREEN" if code == 0 else f"BROKEN {code}"
    print(f"{mutant.id}\t{verdict}\t{took_s:.1f} s\t{' '.join(said[:1])[:160]}", flush=True)
    return code == _FAILED


def _extension_of(source: Path) -> Path:
    (extension,) = source.parent.glob(f"{source.stem}.*.so")
    return extension


def _compile(tree: Path, source: Path) -> None:
    """Build one extension where it lies."""
    inside = tree / "briefcase" / "_native" / source.name  # where its package is
    command = [sys.executable, "-m", "Cython.Build.Cythonize", "--inplace", "--force", "-3", str(inside)]
    subprocess.run(command, cwd=tree, capture_output=True, check=True)


def _run(tree: Path, *tests: str, is_all: bool = False) -> tuple[int, list[str], float]:
    """Run tests in a tree, to the first that fails or all; gives the exit code, what failed, and how long it took."""
    options = [] if is_all else ["-x"]
    command = [sys.executable, "-m", "pytest", "-q", *options, "-p", "no:cacheprovider", "--timeout", "120", *tests]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    started_s = time.monotonic()
    try:
        timeout_s = TIMEOUT_S * len(tests)
        done = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return _FAILED, ["it never ended"], time.monotonic() - started_s
    wanted = ("FAILED", "ERROR") if is_all else ("E  ",)
    said = [line[:240] for line in done.stdout.splitlines() if line.startswith(wanted)]
    return done.returncode, said, time.monotonic() - started_s


if __name__ == "__main__":
    sys.exit(main())
