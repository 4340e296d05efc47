"""What tests reach of the parts that decide and that keep, held to the floors in pyproject.toml (`make coverage`).

Lines and branches count together, as coverage.py counts them, in this process alone: what a test has a daemon or a
killed child do is not seen, so a floor says less than the whole suite shows.
"""

import sys
import tomllib
from pathlib import Path

from coverage import Coverage

ROOT = Path(__file__).parent.parent


def main() -> int:
    floors = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["briefcase"]["coverage-floors"]
    measured = Coverage(config_file=str(ROOT / "pyproject.toml"))
    measured.load()
    missed = []
    for part, floor in floors.items():
        reached = measured.report(include=[f"{ROOT / part}/*"], skip_covered=True, sort="Cover")
        sys.stdout.write(f"{part}: {reached:.2f} %, floor {floor} %\n\n")
        if reached < floor:
            missed.append(f"{part}: expected at least {floor} %, got {reached:.2f} %")
    sys.stderr.writelines(f"coverage: {problem}\n" for problem in missed)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
