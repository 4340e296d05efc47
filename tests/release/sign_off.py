"""The gate before a release is signed off: thirty days of soak evidence, signed, whole, and without a long gap.

    sign_off.py DIRECTORY [DID]

The directory is what `briefcase soak summarize` left. Its reports are read again, so that nothing rests on the summary.
Says each thing that is missing, and ends with 1 where anything is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT)]

from briefcase.edges.diagnostics.evidence import GAP_S, WANTED_DAYS, Statement, summarize, utc  # noqa: E402
from briefcase.edges.diagnostics.manifest import verify_manifest  # noqa: E402
from briefcase.edges.diagnostics.slo import Objectives  # noqa: E402

OURS: Final = {"evidence.json", "MANIFEST.json"}


def missing_of(directory: Path, did: str | None) -> Iterator[str]:
    """Each thing that stands between this evidence and a release."""
    files = {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }
    verdict = verify_manifest(files, did)
    if verdict.problems:
        yield f"the evidence is not as it was signed: {'; '.join(verdict.problems)}"
    reports = sorted(path for path in directory.glob("*.json") if path.name not in OURS)
    yield from missing_in(summarize(reports, Objectives()))


def missing_in(statement: Statement) -> Iterator[str]:
    """What its reports leave open."""
    if statement.days < WANTED_DAYS:
        yield f"{statement.days} of {WANTED_DAYS} days are covered, {statement.hours_covered:.1f} hours in all"
    for start, end in statement.gaps:
        yield f"a gap of {(end - start) / 3_600:.1f} hours, from {utc(start)}: expected none over {GAP_S // 3_600}"
    for finding in statement.findings:
        if not finding.ok:
            yield f"{finding.objective} is {finding.value}, expected {finding.target}"
    yield from statement.unreadable
    daemons = {report.daemon for report in statement.reports if report.daemon}
    if len(daemons) > 1:
        yield f"the reports are of {len(daemons)} daemons"


def main() -> None:
    directory, *rest = sys.argv[1:]
    found = list(missing_of(Path(directory), rest[0] if rest else None))
    for missing in found:
        print(f"sign-off: {missing}")
    if found:
        sys.exit(1)
    print(f"sign-off: {WANTED_DAYS} days, no gap, every objective met")


if __name__ == "__main__":
    main()
