"""Receipts are read in both orders, in pages that fit together, and by their hashes."""

import asyncio

import pytest

from briefcase.adapters.ledger import reading
from briefcase.model.effects import Entry
from briefcase.model.ports import ReceiptFilter
from support.ledger_cases import audited, committed, note

COUNT = 2 * reading.SCAN_SLICE + 3


@pytest.mark.parametrize("limit", [1, 100, reading.SCAN_SLICE, COUNT + 9])
async def test_pages_of_the_oldest_first_make_up_the_chain_and_the_reverse_of_the_newest_first(tmp_path, limit):
    async with audited(tmp_path / "ledger") as ledger:
        await asyncio.gather(*(ledger.commit(note(str(number))) for number in range(COUNT)))
        newest = await ledger.receipts(ReceiptFilter(limit=10_000))
        pages, after_id = [], 0
        while page := await ledger.receipts(ReceiptFilter(limit=limit, after_id=after_id, oldest_first=True)):
            pages += page
            after_id = page[-1].id
            if limit == 1 and after_id == 9:
                break
        expected = newest[::-1]
        assert pages == (expected[:9] if limit == 1 else expected)
        hashes = [receipt.hash_hex for receipt in expected]
        assert await ledger.hashes(0, 10_000) == hashes
        assert await ledger.hashes(5, 7) == hashes[5:12]
        assert await ledger.hashes(len(hashes), 7) == []


async def test_a_range_ends_where_it_was_asked_to_in_either_order(tmp_path):
    async with audited(tmp_path / "ledger") as ledger:
        for number in range(8):
            await committed(ledger, Entry({"kind": "even" if number % 2 else "odd"}))
        for oldest_first in (True, False):
            chosen = ReceiptFilter(after_id=2, to_id=6, kind="odd", oldest_first=oldest_first)
            ids = [receipt.id for receipt in await ledger.receipts(chosen)]
            assert ids == ([4, 6] if oldest_first else [6, 4])
