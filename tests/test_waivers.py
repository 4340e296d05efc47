"""A waiver (`noqa`, `type: ignore` and their kind) is rare, and says why where its code does not."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
MOST_IN_1000_LINES = 1
WAIVER = re.compile(r"# (?:noqa|type: ignore|pyright: ignore|pragma: no cover|mypy: )")
REASONED = re.compile(r"# noqa: [A-Z0-9, ]+ - \S|# noqa: [A-Z0-9, ]+$|# type: ignore\[[a-z-]+\]")
OF_A_WHOLE_FILE = re.compile(r"^# (?:ruff: noqa|flake8: noqa|mypy: |pyright: )", re.MULTILINE)
OURS = sorted(path for place in ("briefcase", "_native") for path in (ROOT / place).rglob("*.py*"))
SOURCES = [path for path in OURS if path.suffix in {".py", ".pyi", ".pyx"}]


def test_at_most_one_line_in_a_thousand_of_the_product_have_a_waiver():
    lines = [line for path in SOURCES for line in path.read_text().splitlines()]
    waivers = [line for line in lines if WAIVER.search(line)]
    assert len(waivers) * 1_000 <= MOST_IN_1000_LINES * len(lines), f"{len(waivers)} in {len(lines)} lines"


def test_a_waiver_names_its_rule_and_none_covers_a_whole_file():
    for path in SOURCES:
        text = path.read_text()
        assert OF_A_WHOLE_FILE.search(text) is None, path
        for line in text.splitlines():
            assert WAIVER.search(line) is None or REASONED.search(line) is not None, f"{path}: `{line.strip()}`"
