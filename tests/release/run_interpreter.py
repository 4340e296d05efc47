"""Try the product on an interpreter: `run_interpreter.py python3.13` builds it there and runs what differs by version.

The environment is made in build/interpreters and kept; what is installed in it follows this checkout.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent
sys.path[:0] = [str(HERE), str(ROOT)]

from run_release import interpreter  # noqa: E402

TRIED: Final = ("tests/test_calls.py", "tests/model", "tests/policy", "tests/native", "tests/http", "tests/api")


def main() -> None:
    (name,) = sys.argv[1:]
    python = interpreter(name)
    if python is None:
        sys.exit(f"qualify: no `{name}` here")
    venv = ROOT / "build" / "interpreters" / name
    inside = venv / "bin" / "python"
    if not inside.exists():
        shutil.rmtree(venv, ignore_errors=True)
        subprocess.run([python, "-m", "venv", venv], check=True)
    install = [inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", ".[dev]"]
    subprocess.run(install, cwd=ROOT, check=True)
    # the installed product, not the checkout's: `-P` keeps the working directory off the path
    sys.exit(subprocess.run([inside, "-P", "-m", "pytest", "-q", *TRIED], cwd=ROOT, check=False).returncode)


if __name__ == "__main__":
    main()
