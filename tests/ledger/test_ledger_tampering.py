"""Somebody reaches behind the ledger: verification names the first bad receipt, and a broken tail does not open."""

import shutil

import pytest

from briefcase.adapters.ledger import Ledger, recovery
from briefcase.core.receipts.chain import encode_key
from briefcase.model.effects import Head
from briefcase.model.errors import StoreError
from support.clock import FakeClock
from support.ledger_cases import SMALL, audit, audited, committed, delegated, edit, intent, note, outcome
from support.principals import AGENT


async def make(path, count=30):
    """A ledger with some receipts, closed."""
    async with audited(path) as ledger:
        for number in range(count - 1):
            await committed(ledger, note(str(number)))


def swap(transaction, _):
    first, second = transaction.get(encode_key(10)), transaction.get(encode_key(11))
    transaction.put(encode_key(10), second)
    transaction.put(encode_key(11), first)


def flip(transaction, _):
    record = bytearray(transaction.get(encode_key(10)))
    record[200] ^= 1
    transaction.put(encode_key(10), bytes(record))


def put(number, value):
    return lambda transaction, _: transaction.put(encode_key(number), value(transaction))


TAMPERED = [
    (flip, 10, "hash"),
    (lambda transaction, _: transaction.delete(encode_key(10)), 10, "id_sequence"),
    (swap, 10, "prev_hash"),
    (put(10, lambda transaction: transaction.get(encode_key(9))), 10, "prev_hash"),
    (put(10, lambda _: b""), 10, "malformed"),
    (lambda transaction, _: transaction.put(b"\x00" * 8, b"x" * 200), 33, "receipt_missing"),
    (lambda transaction, _: transaction.put(encode_key(10) + b"\x00", b"x" * 200), 11, "id_sequence"),
]


@pytest.mark.parametrize(("change", "bad_id", "problem"), TAMPERED)
async def test_verification_names_the_first_bad_receipt(tmp_path, monkeypatch, change, bad_id, problem):
    monkeypatch.setattr(recovery, "TAIL_RECEIPTS", 2)
    monkeypatch.setattr(recovery, "_check_count", lambda *_: None)

    async def run():
        await make(tmp_path / "l")
        await audit(tmp_path / "l")
        edit(tmp_path / "l", change)
        ledger = Ledger.open(tmp_path / "l", FakeClock(), SMALL)
        found = await ledger.verify()
        await ledger.close()
        if problem == "receipt_missing":
            assert found.ok  # a stray key before the first receipt is no receipt
            return
        assert (found.ok, found.first_bad.id, found.first_bad.problem) == (False, bad_id, problem)
        assert found.checked == bad_id - 1

    await run()


@pytest.mark.parametrize(("change", "bad_id", "problem"), TAMPERED[:5])
async def test_a_ledger_whose_tail_does_not_verify_does_not_open(tmp_path, change, bad_id, problem):
    await make(tmp_path / "l")
    edit(tmp_path / "l", change)
    with pytest.raises(StoreError) as refused:
        Ledger.open(tmp_path / "l", FakeClock(), SMALL)
    assert refused.value.code == "receipt_chain_broken"
    assert refused.value.exit_code == 7
    deleted = problem == "id_sequence"
    assert ("are stored" if deleted else f"receipt {bad_id} does not verify ({problem})") in refused.value.message


async def test_a_receipt_missing_anywhere_is_noticed_at_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr(recovery, "TAIL_RECEIPTS", 2)

    await make(tmp_path / "l")
    edit(tmp_path / "l", lambda transaction, _: transaction.delete(encode_key(10)))
    with pytest.raises(StoreError, match="the last receipt is 31, but 30 are stored"):
        Ledger.open(tmp_path / "l", FakeClock(), SMALL)


async def test_a_cut_tail_or_a_rolled_back_directory_is_found_with_an_anchor_and_named_without(tmp_path):
    await make(tmp_path / "l")
    shutil.copytree(tmp_path / "l", tmp_path / "older")
    async with audited(tmp_path / "l") as ledger:
        for number in range(5):
            await committed(ledger, note(str(number)))
        anchor = ledger.head()
    for cut in ("cut", "older"):
        if cut == "cut":
            shutil.copytree(tmp_path / "l", tmp_path / "cut")
            edit(tmp_path / "cut", lambda transaction, _: [transaction.delete(encode_key(n)) for n in range(30, 60)])
        ledger = Ledger.open(tmp_path / cut, FakeClock(), SMALL)
        without, found = await ledger.verify(), await ledger.verify(anchor)
        await ledger.close()
        assert without.ok
        assert without.not_checked == ("tail_truncation", "rollback")
        assert not found.ok
        assert found.first_bad.problem in {"anchor_missing", "anchor_mismatch"}
        assert found.first_bad.expected_hash_hex == anchor.hash_hex


async def test_two_daemons_from_one_copy_are_told_apart_by_an_anchor(tmp_path):
    await make(tmp_path / "l")
    shutil.copytree(tmp_path / "l", tmp_path / "twin")
    heads = {}
    for name in ("l", "twin"):
        async with audited(tmp_path / name) as ledger:
            await committed(ledger, note(name))
            heads[name] = ledger.head()
    ledger = Ledger.open(tmp_path / "twin", FakeClock(), SMALL)
    found = await ledger.verify(heads["l"])
    await ledger.close()
    assert (found.first_bad.problem, found.first_bad.id) == ("anchor_mismatch", heads["l"].id)


async def test_an_intent_without_its_checkpoint_is_still_replayed(tmp_path):
    ledger = Ledger.open(tmp_path / "l", FakeClock(), SMALL)
    made = await committed(ledger, intent("r1"))
    done = await committed(ledger, intent("r2"))
    await committed(ledger, outcome(done.receipt_id))
    closed_at_once = await committed(ledger, delegated("r3"))
    await ledger.close()

    def forget(transaction, env):
        transaction.delete(b"checkpoint", db=env.open_db(b"meta", txn=transaction))
        transaction.drop(env.open_db(b"claims", txn=transaction), delete=False)

    edit(tmp_path / "l", forget)
    async with audited(tmp_path / "l") as ledger:
        assert ledger.claimed_request(AGENT.name, "r2") == done.receipt_id
        assert ledger.claimed_request(AGENT.name, "r3") == closed_at_once.receipt_id
        unknown = (await ledger.receipt(ledger.head().id - 1)).event
        assert (unknown["kind"], unknown["intent_id"]) == ("outcome_unknown", made.receipt_id)


async def test_another_format_is_refused(tmp_path):
    await make(tmp_path / "l", 3)
    edit(
        tmp_path / "l",
        lambda transaction, env: transaction.put(b"format", b"9", db=env.open_db(b"meta", txn=transaction)),
    )
    with pytest.raises(StoreError, match="another format"):
        Ledger.open(tmp_path / "l", FakeClock(), SMALL)


async def test_an_anchor_is_any_receipt_of_the_chain(tmp_path):
    async with audited(tmp_path / "l") as ledger:
        made = [await committed(ledger, note()) for _ in range(3)]
        found = await ledger.verify(Head(made[1].receipt_id, made[1].hash_hex))
        assert (found.ok, found.not_checked) == (True, ("tail_truncation_after_anchor",))
