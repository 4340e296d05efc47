"""Build a release twice and compare it bit for bit: `make release-check`.

    check_reproducible.py [PYTHON...]

The second build is made somewhere else, later, under another umask, time zone, locale and home, and by another user
where this one may become one. Names the first file that differs, and where in it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent
sys.path[:0] = [str(HERE), str(ROOT)]

from run_release import Commit, committed, interpreters, run  # noqa: E402

from briefcase.adapters.disk.files import digest_of  # noqa: E402

NOBODY: Final = 65534


def build_once(commit: Commit, source: Path, work: Path, pythons: list[str], **apart: object) -> Path:
    """One build in a process of its own; gives the directory of its files."""
    out = work / "out"
    command = [sys.executable, HERE / "build_files.py", "--source", source, "--epoch", str(commit.epoch)]
    done = subprocess.run(
        [*command, "--work", work, "--out", out, *pythons], capture_output=True, text=True, check=False, **apart
    )
    if done.returncode != 0:
        sys.exit(f"release: a build failed:\n{done.stderr[-4_000:]}")
    return out


def may_be_another(pythons: list[str]) -> bool:
    """Whether these interpreters run as another user than this one."""
    if os.geteuid() != 0:
        return False
    needed = [[*each, "-c", ""] for each in ([python] for python in (*pythons, sys.executable))]
    try:
        return all(subprocess.run(one, user=NOBODY, cwd="/", check=False).returncode == 0 for one in needed)
    except PermissionError:
        return False


def main() -> None:
    commit = committed()
    pythons = sys.argv[1:] or interpreters()
    with tempfile.TemporaryDirectory(prefix="release-") as top:
        source = Path(top) / "source.tar"
        run("git", "archive", "--format=tar", "--output", source, commit.hex, cwd=ROOT)
        Path(top).chmod(0o755)
        first = build_once(commit, source, Path(top) / "a", pythons)
        work = Path(top) / "another" / "place" / "with-a-longer-name"
        work.mkdir(parents=True)
        env = {**os.environ, "TZ": "Pacific/Kiritimati", "LC_ALL": "C", "HOME": str(work), "PYTHONHASHSEED": "7"}
        apart: dict[str, object] = {"env": env, "umask": 0o077}
        if may_be_another(pythons):
            shutil.chown(work, NOBODY, NOBODY)
            apart |= {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        second = build_once(commit, source, work, pythons, **apart)
        names = sorted({path.name for path in (*first.iterdir(), *second.iterdir())})
        for name in names:
            one, other = first / name, second / name
            if not (one.exists() and other.exists()):
                sys.exit(f"release: `{name}` was made once only")
            if digest_of(one) != digest_of(other):
                kept = ROOT / "build" / "release-check"
                for path, side in ((one, "a"), (other, "b")):
                    (kept / side).mkdir(parents=True, exist_ok=True)
                    shutil.copy2(path, kept / side / name)
                sys.exit(f"release: `{name}` differs between two builds; both are in `{kept}`")
            print(f"release: the same twice: {name}")
        as_whom = "by another user, " if "user" in apart else ""
        print(
            f"release: {len(names)} files are the same, built in two places, {as_whom}under two umasks and time zones"
        )


if __name__ == "__main__":
    main()
