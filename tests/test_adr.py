"""Each decision's record has the template's headings, a status, and its row in the index."""

import re
from pathlib import Path

import pytest

ADR = Path(__file__).parent.parent / "docs" / "adr"
RECORDS = sorted(path for path in ADR.glob("*.md") if path.name not in {"README.md", "0000-template.md"})
STATUS = re.compile(r"accepted|superseded by \[\d{4}\]\(\d{4}-[\w-]+\.md\).*")
ROW = re.compile(r"\| \[(\d{4})\]\(([\w.-]+)\) \| (.+) \| (.+) \| \S.* \|")
UNUSED = re.compile(r"\| (\d{4})(?: to (\d{4}))? \| \| not used \| \S.* \|")


def index_lines():
    return [line for line in (ADR / "README.md").read_text().splitlines() if re.match(r"\| \[?\d", line)]


def headings_of(path):
    return re.findall(r"^## (.+)$", path.read_text(), re.MULTILINE)


def status_of(path):
    title, blank, status, *_ = path.read_text().splitlines()
    assert title.startswith(f"# {path.name[:4]}: "), f"`{title}` should begin with the record's number"
    assert blank == ""
    assert status.startswith("Status: ")
    return status.removeprefix("Status: ").split("; ")[0]


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_has_the_headings_of_the_template_and_a_status(path):
    assert re.fullmatch(r"\d{4}-[a-z0-9-]+", path.stem)
    assert set(headings_of(ADR / "0000-template.md")) <= set(headings_of(path))
    assert STATUS.fullmatch(status_of(path))


def test_the_index_has_a_row_for_each_record_with_its_title_and_status():
    found = [(row[1], row[2], row[3], row[4]) for line in index_lines() if (row := ROW.fullmatch(line))]
    assert found == [
        (path.name[:4], path.name, path.read_text().splitlines()[0][8:], status_of(path)) for path in RECORDS
    ]


def test_every_number_is_a_record_or_is_said_to_be_unused():
    unused = [row for line in index_lines() if (row := UNUSED.fullmatch(line))]
    free = {number for row in unused for number in range(int(row[1]), int(row[2] or row[1]) + 1)}
    taken = [int(path.name[:4]) for path in RECORDS]
    assert len(taken) == len(set(taken)), "two records have one number"
    assert set(taken) & free == set()
    assert set(taken) | free == set(range(1, max(taken) + 1))
