"""A release tried as its user would: installed where there is no network and no compiler, until a first yes."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

from build_files import run

CALL: Final = ("tools", "call", "note_add", "--args-json", '{"text":"rotate the keys"}')
WAITS: Final = 10  # the exit code of a call that waits for a person
READY_S: Final = 30.0


class Tried(NamedTuple):
    """What one interpreter came to: its version, and seconds and bytes of it."""

    version: str
    install_s: float
    first_yes_s: float
    installed_bytes: int


def wheelhouse(python: str, directory: Path, lock: Path) -> Path:
    """Every library an installation needs, as files, for a machine that reaches no index."""
    run(python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--no-deps",
        "--require-hashes", "--dest", directory, "-r", lock)  # fmt: skip
    return directory


def try_wheel(python: str, out: Path, work: Path) -> Tried:
    """Install the wheel for an interpreter, start its daemon, and have a first call approved and made.

    Args:
        python: the interpreter.
        out: where the wheels are.
        work: a new directory.
    """
    wheels = wheelhouse(python, work / "wheelhouse", out / "runtime.txt")
    venv = work / "venv"
    run(python, "-m", "venv", venv)
    bare = {"PATH": str(venv / "bin"), "HOME": str(work), "LC_ALL": "C.UTF-8"}  # no compiler, nothing of the checkout
    began = time.monotonic()
    run(venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index",
        "--find-links", wheels, "--find-links", out, "--only-binary=:all:", "agentic-briefcase",
        cwd=work, env=bare)  # fmt: skip
    installed_s = time.monotonic() - began
    first_yes_s = approve_a_first_call(venv / "bin" / "briefcase", work, bare)
    version = run(venv / "bin" / "python", "-c", "import platform; print(platform.python_version())").strip()
    site = next((venv / "lib").glob("python*/site-packages"))
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file() and "/pip" not in str(path))
    return Tried(version, installed_s, first_yes_s, size)


def approve_a_first_call(briefcase: Path, work: Path, bare: dict[str, str]) -> float:
    """From nothing to a call that a person approved; gives the seconds it took."""
    with tempfile.TemporaryDirectory(prefix="bc-") as short:
        data_dir = Path(short) / "data"
        env = {**bare, "BRIEFCASE_DATA_DIR": str(data_dir), "BRIEFCASE_SECRET_BACKEND": "file"}
        began = time.monotonic()
        with subprocess.Popen([briefcase, "daemon"], cwd=work, env=env, stderr=subprocess.PIPE, text=True) as daemon:
            try:
                while not (data_dir / "briefcased.sock").exists():
                    if daemon.poll() is not None or time.monotonic() > began + READY_S:
                        raise SystemExit(f"release: the daemon did not start: {daemon.stderr.read()[-2_000:]}")
                    time.sleep(0.02)
                asked = subprocess.run(
                    [briefcase, *CALL, "--json"], cwd=work, env=env, capture_output=True, check=False
                )
                if asked.returncode != WAITS:
                    raise SystemExit(f"release: expected a call that waits, got {asked.returncode}: {asked.stderr!r}")
                approval = json.loads(asked.stdout)["approval"]["id"]
                run(briefcase, "approvals", "approve", approval, cwd=work, env=env)
                run(briefcase, *CALL, "--approval-token", approval, cwd=work, env=env)
                took_s = time.monotonic() - began
                run(briefcase, "receipts", "verify", cwd=work, env=env)
                run(briefcase, "help", "receipt-chain", cwd=work, env=env)
            finally:
                daemon.terminate()
        return took_s
