"""The table of bounds in docs/operations.md says what the code holds."""

import importlib
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "operations.md"
UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20}
ROW = re.compile(r"^\| [^|]+ \| ([\d,]+) ?(KiB|MiB)? \| `([a-z_.]+):([\w.]+)` \| [^|]+ \|$", re.MULTILINE)


def rows() -> list[tuple[int, str, str]]:
    section = PAGE.read_text().split("## What is bounded")[1].split("\n## ")[0]
    found = ROW.findall(section)
    assert len(found) == section.count("\n| ") - 1  # and the head
    return [(int(number.replace(",", "")) * UNITS[unit], module, name) for number, unit, module, name in found]


@pytest.mark.parametrize(("value", "module", "name"), rows())
def test_a_bound_is_what_the_page_says(value, module, name):
    held = importlib.import_module(f"briefcase.{module}")
    first, _, field = name.partition(".")
    held = getattr(held, first)
    if field:
        held = getattr(held(), field)
    assert held == value


def test_the_page_names_the_bounds_of_everything_that_strangers_fill():
    assert len(rows()) > 30
