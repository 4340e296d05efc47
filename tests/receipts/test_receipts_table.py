"""CSV holds what was said, and no cell of it is run."""

import csv
import io

import pytest

from briefcase.core.receipts.table import COLUMNS, header_line, receipt_line
from briefcase.model.types import Receipt


def row(**event):
    receipt = Receipt(7, "2026-11-29T14:00:00.000000Z", "0" * 64, "1" * 64, event)
    lines = (header_line() + receipt_line(receipt)).decode()
    (read,) = csv.DictReader(io.StringIO(lines, newline=""))
    return read


def test_a_receipt_is_a_row_with_what_most_ask_for_in_columns():
    read = row(kind="outcome", principal="scout", tool_id="echo", policy_ids=["a", "b"], cost_microusd=2_000)
    assert tuple(read) == COLUMNS
    assert (read["id"], read["principal"], read["policy_ids"], read["cost_microusd"]) == ("7", "scout", "a b", "2000")
    assert (read["by"], read["event"][:20]) == ("", '{"cost_microusd":200')


def test_lines_quotes_and_commas_stay_in_their_cell():
    assert row(reason='a "b", c\nd')["reason"] == 'a "b", c\nd'


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_cell_begins_as_a_formula_does(start):
    assert row(reason=f"{start}HYPERLINK(1)")["reason"] == f"'{start}HYPERLINK(1)"
