"""Money is exact, times are UTC, and no text of somebody else's acts on a terminal."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from briefcase.core.characters.marks import visible_text
from briefcase.edges.cli.json_output import json_text
from briefcase.edges.cli.render import Screen, money, parse_dollars, table_of, time_left, when
from briefcase.model.types import MAX_SAFE_INTEGER, format_rfc3339

LONG = "x" * 3_000
START_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z


def test_in_a_pipe_a_line_is_as_long_as_its_own_text(capsys):
    screen = Screen()
    rows = [("echo", "free", "says it again"), ("think", "$0.002", LONG), (LONG, "free", "x"), ("last", "free", "")]
    screen.table(("TOOL", ">COST", "DESCRIPTION"), rows, empty="")
    screen.fields([("name", "echo"), ("description", LONG)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{'TOOL':48}    COST  DESCRIPTION"
    assert lines[1] == f"{'echo':48}    free  says it again"
    assert lines[2] == f"{'think':48}  $0.002  {LONG}"
    assert lines[3] == f"{LONG}    free  x"
    assert lines[4] == f"{'last':48}    free"
    assert lines[5:] == ["name         echo", f"description  {LONG}"]


@pytest.mark.parametrize(
    ("text", "microusd"),
    [
        ("0", 0),
        ("3", 3_000_000),
        ("2.50", 2_500_000),
        ("0.000001", 1),
        ("0.1", 100_000),  # no binary fraction in between
        ("1.005", 1_005_000),
        ("9007199254.740991", MAX_SAFE_INTEGER),
        ("007", 7_000_000),
    ],
)
def test_dollars_become_micro_dollars_exactly(text, microusd):
    assert parse_dollars(text) == microusd


@pytest.mark.parametrize(
    "text",
    [
        "-1", "+1", "-0", "NaN", "nan", "inf", "Infinity", "1e3", "1E3", "0x10", "1_000", "1,000", "1.", ".5", "", " 1",
        "1 ", "1\n", "$1", "1.0000001", "0.00000000", "9007199254.740992", "99999999999", "\u0661", "1.\u0662",
        "\u00bd", "1.5.0",
    ],
)  # fmt: skip
def test_what_is_no_plain_amount_is_refused(text):
    with pytest.raises(ValueError, match="expected"):
        parse_dollars(text)


@given(st.integers(0, MAX_SAFE_INTEGER))
def test_money_reads_back_as_it_was_written(microusd):
    assert parse_dollars(money(microusd).removeprefix("$").replace(",", "")) == microusd


@pytest.mark.parametrize(
    ("microusd", "text"),
    [(0, "$0.00"), (3_000_000, "$3.00"), (2_000, "$0.002"), (1_234_567_890_000, "$1,234,567.89"), (-1, "-$0.000001")],
)
def test_money_shows_cents_and_what_is_finer_only_where_it_is(microusd, text):
    assert money(microusd) == text


JSON = st.recursive(
    st.text() | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER) | st.none(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_json_keeps_its_value_and_holds_nothing_that_acts_on_a_terminal(value):
    try:
        text = json_text(value, indent=True)
    except TypeError:  # a lone surrogate: orjson writes none, and the daemon takes none
        return
    assert json.loads(text) == value
    assert all(char.isprintable() or char == "\n" for char in text)


def test_json_escapes_what_hides_or_turns_text():
    assert json_text("a\u202eb\x9bc\u200bd\U000e0041") == r'"a\u202eb\u009bc\u200bd\udb40\udc41"'
    assert json_text("\u115f\u3164\ufe0f\u2800") == r'"\u115f\u3164\ufe0f\u2800"'
    assert json_text("日本 é 😀") == '"日本 é 😀"'


@pytest.mark.parametrize(
    ("left_s", "text"),
    [
        (0, "expired"),
        (-5, "expired"),
        (59, "59s"),
        (60, "1m 0s"),
        (899, "14m 59s"),
        (3_600, "1h 0m"),
        (90_061, "1d 1h"),
    ],
)
def test_the_time_left_shows_its_two_largest_units(left_s, text):
    assert time_left(format_rfc3339(START_US + left_s * 1_000_000), START_US) == text


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z", "M"]), min_size=1, max_size=90)


@given(st.lists(st.tuples(WORDS, WORDS, WORDS), max_size=5), st.integers(40, 120))
def test_a_table_fits_its_terminal_and_cuts_only_what_is_long(rows, width):
    console = Console(width=width, markup=False, record=True, file=io.StringIO())
    console.print(table_of(("ONE", ">TWO", "THREE"), rows, width))
    lines = console.export_text().splitlines()
    assert len(lines) == len(rows) + 1
    assert all(cell_len(line) <= width for line in lines)
    for row, line in zip(rows, lines[1:], strict=True):
        assert all(visible_text(cell) in line for cell in row if cell_len(visible_text(cell)) <= 10)


def test_a_time_is_shown_in_utc_to_the_second():
    assert when("2026-01-02T03:04:05.999999Z") == "2026-01-02 03:04:05Z"
    assert when("2026-01-02T03:04:05+02:00") == "2026-01-02 01:04:05Z"
    assert when("soon\x1b[2J") == "soon<U+001B>[2J"
