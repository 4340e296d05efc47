"""The mutants of `mutants.toml` fit the product as it is; `make mutants` runs them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from mutate import ROOT, files_with, read_mutants, read_sources

MUTANTS = read_mutants()
SOURCES = read_sources(ROOT)
TESTS = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.id)
def test_a_mutant_edits_what_is_in_the_product_once_and_names_a_test_that_exists(mutant):
    for edit in mutant.edits:
        found = len(files_with(edit.old, SOURCES))
        assert found == 1, f"{edit.old!r} is in the product {found} times: carry the mutant along in mutants.toml"
        assert edit.new != edit.old
    assert sum(text.count(f"def {mutant.test}(") for text in TESTS) == 1


# Why a row of the page may have no mutant.
NONE = {
    "none: the control breaks it itself",  # the row is the control run of the others
    "none: the page lists them",
    "none: a benchmark measures it",
    "none: nothing on that machine opens it",  # no line of ours does what the row is about
}
NAME = r"`([a-z0-9]+(?:-[a-z0-9]+)+)`"
ROWS = [
    re.split(r"(?<!\\)\|", line)[1:-1]
    for line in (ROOT / "docs" / "attacks.md").read_text().splitlines()
    if line.startswith("| ") and "●" not in line and not line.startswith("| secret of")  # the canary matrix
]
HEADS = [["attack", "mechanism", "test", "mutant"], ["what was met", "mechanism", "test", "mutant"]]


def test_each_row_of_the_page_names_its_mutants_or_says_in_a_known_phrase_why_there_is_none():
    for row in ROWS:
        cells = [cell.strip() for cell in row]
        assert len(cells) == 4, row
        mutants = cells[-1]
        assert cells in HEADS or mutants in NONE or re.fullmatch(f"{NAME}(?:, {NAME})*", mutants), row
        assert all(cells), row


def test_each_mutant_has_an_id_of_its_own_and_the_page_names_it_and_no_other():
    ids = [mutant.id for mutant in MUTANTS]
    assert len(ids) == len(set(ids))
    assert sorted(re.findall(NAME, " ".join(row[-1] for row in ROWS))) == sorted(ids)
