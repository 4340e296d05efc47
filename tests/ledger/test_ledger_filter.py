"""What is committed holds no known secret, whoever made the entry."""

import contextlib

import pytest

from briefcase.adapters.ledger import Ledger
from briefcase.core.redaction.redactor import SecretRedactor
from briefcase.model.effects import Entry, PutSetting
from briefcase.model.errors import CallerError
from briefcase.model.ports import ReceiptFilter
from support.clock import FakeClock
from support.ledger_cases import SMALL
from support.redaction import KnownSecrets

SECRET = "tk-live-4f9a1c77d0e84b6e"


@contextlib.asynccontextmanager
async def filtering(path):
    ledger = Ledger.open(path, FakeClock(), SMALL, redactor=SecretRedactor(KnownSecrets(SECRET.encode())))
    try:
        yield ledger
    finally:
        await ledger.close()


def event_of(receipt):
    return {name: value for name, value in receipt.event.items() if name in {"kind", "said", "more"}}


async def test_an_event_is_appended_without_a_secret_by_one_commit_and_by_many(tmp_path):
    entry = Entry({"kind": "note", "said": f"401 for {SECRET}", "more": [{"key": SECRET.encode().hex()}, 1, None]})

    async with filtering(tmp_path / "l") as ledger:
        await ledger.commit(entry)
        await ledger.commit_all([entry])
        found = await ledger.receipts(ReceiptFilter(limit=2))
        expected = {"kind": "note", "said": "401 for [redacted]", "more": [{"key": "[redacted]"}, 1, None]}
        assert [event_of(receipt) for receipt in found] == [expected, expected]
    assert SECRET.encode() not in (tmp_path / "l" / "data.mdb").read_bytes()


async def test_an_entry_that_was_filtered_is_not_read_again(tmp_path):
    async with filtering(tmp_path / "l") as ledger:
        await ledger.commit(Entry({"kind": "note", "said": SECRET}, is_filtered=True))
        [receipt] = await ledger.receipts(ReceiptFilter(limit=1))
        assert receipt.event["said"] == SECRET  # arguments in the form `full` are the operator's to choose


async def test_a_setting_with_a_secret_in_it_is_not_stored(tmp_path):
    async with filtering(tmp_path / "l") as ledger:
        head = ledger.head()
        with pytest.raises(CallerError, match="expected no secret in the setting `policy`") as refused:
            await ledger.commit(Entry({"kind": "note"}, (PutSetting("policy", SECRET.encode()),)))
        assert SECRET not in str(refused.value)
        assert (ledger.head(), ledger.setting("policy")) == (head, None)
