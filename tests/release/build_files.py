"""Build a release's files from an exported commit: the sdist, and from it the SBOM and one wheel for each interpreter.

    build_files.py --source COMMIT.tar --epoch SECONDS --work DIR --out DIR PYTHON...

Nothing of the machine goes in but the compiler: the build's tools are those of docs/release/build.txt, by their hashes,
and what is shipped is made from the sdist, so that the sdist is known to build. `run_release.py` calls this; so does
`check_reproducible.py`, twice, as somebody else somewhere else.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent
sys.path[:0] = [str(HERE), str(ROOT)]

from distributions import settle_sdist, settle_wheel  # noqa: E402

LOCKS: Final = Path("docs/release")
HARDENED: Final = "-g0 -fstack-protector-strong -D_FORTIFY_SOURCE=2"
LINKED: Final = "-Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack"


def run(*command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a program that must succeed; gives what it printed."""
    done = subprocess.run([*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"release: `{' '.join(map(str, command))}` failed ({done.returncode}):\n{done.stderr[-4_000:]}")
    return done.stdout


def environment(python: str, directory: Path, lock: Path) -> Path:
    """An environment of an interpreter with what a lock pins, each file by its hash; gives its `python`."""
    run(python, "-m", "venv", directory)
    inside = directory / "bin" / "python"
    run(inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:",
        "--require-hashes", "--no-deps", "-r", lock)  # fmt: skip
    return inside


def build_env(epoch: int, tree: Path, tools: Path) -> dict[str, str]:
    """What a build is told: the commit's time, no debug information, no path of this machine, a hardened link."""
    return {
        "PATH": os.pathsep.join([str(tools), os.environ["PATH"]]),
        "HOME": str(tree),
        "LC_ALL": "C.UTF-8",
        "SOURCE_DATE_EPOCH": str(epoch),
        "CFLAGS": f"{HARDENED} -ffile-prefix-map={tree}=.",
        "LDFLAGS": LINKED,
    }


def build(source: Path, epoch: int, work: Path, out: Path, pythons: list[str]) -> None:
    """Build everything into `out`, which is new."""
    os.umask(0o022)  # what an archive's files are unpacked under
    out.mkdir(parents=True)
    tree = work / "source"
    with tarfile.open(source) as archive:
        archive.extractall(tree, filter="data")
    # 1. the sdist
    first = environment(pythons[0], work / "tools-0", tree / LOCKS / "build.txt")
    env = build_env(epoch, tree, first.parent)
    run(first, "-m", "build", "--no-isolation", "--sdist", "--outdir", out, cwd=tree, env=env)
    (sdist,) = out.glob("*.tar.gz")
    settle_sdist(sdist, epoch)
    # 2. the SBOM of what is installed beside it
    installed = work / "installed"
    environment(pythons[0], installed, tree / LOCKS / "runtime.txt")
    sbom = out / f"{sdist.name.removesuffix('.tar.gz')}.cdx.json"
    sbom.write_bytes(sbom_of(first.parent / "cyclonedx-py", installed, tree, env))
    # 3. the wheels, each from the sdist
    for number, python in enumerate(pythons):
        tools = first if number == 0 else environment(python, work / f"tools-{number}", tree / LOCKS / "build.txt")
        unpacked = work / f"wheel-{number}"
        with tarfile.open(sdist) as archive:
            archive.extractall(unpacked, filter="data")
        (package,) = unpacked.iterdir()
        env = build_env(epoch, package, tools.parent)
        run(tools, "-m", "build", "--no-isolation", "--wheel", "--outdir", unpacked / "made", cwd=package, env=env)
        (made,) = (unpacked / "made").glob("*.whl")
        run(tools.parent / "auditwheel", "repair", "--wheel-dir", unpacked / "repaired", made, env=env)
        (wheel,) = (unpacked / "repaired").glob("*.whl")
        settle_wheel(wheel, epoch, sbom.read_bytes())
        run(tools.parent / "check-wheel-contents", wheel)
        wheel.rename(out / wheel.name)
    # 4. what it was tried with
    (out / "runtime.txt").write_bytes((tree / LOCKS / "runtime.txt").read_bytes())


def sbom_of(program: Path, installed: Path, tree: Path, env: Mapping[str, str]) -> bytes:
    """CycloneDX of an environment, without the installer that filled it, and with nothing of when and where."""
    written = run(
        program, "environment", "--output-reproducible", "--of", "JSON", "--spec-version", "1.6",
        "--pyproject", tree / "pyproject.toml", installed / "bin" / "python", env=env,
    )  # fmt: skip
    document = json.loads(written)
    unwanted = {part["bom-ref"] for part in document["components"] if part["name"] in {"pip", "setuptools"}}
    document["components"] = [part for part in document["components"] if part["bom-ref"] not in unwanted]
    document["dependencies"] = [part for part in document["dependencies"] if part["ref"] not in unwanted]
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="the commit, as `git archive` writes it")
    parser.add_argument("--epoch", type=int, required=True, help="the commit's time, seconds since 1970")
    parser.add_argument("--work", type=Path, required=True, help="a directory for everything else")
    parser.add_argument("--out", type=Path, required=True, help="a new directory for the files")
    parser.add_argument("pythons", nargs="+", metavar="PYTHON", help="the interpreters; the first makes the sdist")
    given = parser.parse_args()
    build(given.source, given.epoch, given.work.absolute(), given.out.absolute(), given.pythons)


if __name__ == "__main__":
    main()
