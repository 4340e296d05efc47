"""Each promise of SECURITY.md and each row of docs/attacks.md names tests that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SECURITY = ROOT / "SECURITY.md"
ATTACKS = ROOT / "docs" / "attacks.md"
LINK = re.compile(r"\]\(([^)#]+)[^)]*\)")
PART = re.compile(r"`(…?[a-z0-9_]+…|…[a-z0-9_]+…?)`")  # of a test's name
WHOLE = re.compile(r"`(test_[a-z0-9_]+)`")
TESTS = "\n".join(path.read_text() for path in sorted((ROOT / "tests").rglob("test_*.py")))
NAMES = set(re.findall(r"def (test_[a-z0-9_]+)\(", TESTS))


def rows_of(page: Path) -> list[list[str]]:
    """The rows of a page's tables, less their heads and what links nowhere."""
    lines = [line for line in page.read_text().splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in rows if row[0] not in {"promise", "attack", "what was met", "secret of"}]


@pytest.mark.parametrize("row", rows_of(SECURITY), ids=lambda row: row[0][:60])
def test_each_promise_links_to_a_test(row):
    linked = [SECURITY.parent / target for target in LINK.findall(row[1])]
    assert linked
    assert all(path.is_file() and path.is_relative_to(ROOT / "tests") for path in linked), row


@pytest.mark.parametrize("row", rows_of(ATTACKS), ids=lambda row: row[0][:60])
def test_each_row_of_the_page_of_attacks_names_tests_that_are_there(row):
    cell = row[2]
    for part in PART.findall(cell):
        words = part.strip("…")
        found = [name for name in NAMES if words in name]
        assert found, f"no test's name holds `{words}`"
    for name in WHOLE.findall(cell):
        assert name in NAMES, f"no test is called `{name}`"
    for target in LINK.findall(cell):
        assert (ATTACKS.parent / target).is_file(), target
