"""A daemon under load for a while, its objectives held: `run_soak.py --seconds 60 --out DIR`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parent.parent
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

from support.daemons import RunningDaemon  # noqa: E402

LOAD: Final = ("--rate", "50", "--connections", "8", "--tool", "echo", "--args-json", '{"text":"soak"}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="a directory for the daemon and the report")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with RunningDaemon(given.out / "data") as daemon:
        command = [sys.executable, "-m", "briefcase", "diagnostics", "soak", "--duration-secs", str(given.seconds)]
        out = given.out / "soak-report.json"
        sys.exit(subprocess.run([*command, *LOAD, "--out", out], env=daemon.env, check=False).returncode)


if __name__ == "__main__":
    main()
