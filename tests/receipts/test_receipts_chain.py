"""The chain: how records are linked, and that verification finds the first bad one of any kind."""

import hashlib
import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from briefcase._native.chain import chain_hash, verify_records
from briefcase.core.receipts.chain import GENESIS, NO_TIME, Verifier, decode_record, encode_key, link_record
from briefcase.model.effects import Head

ZEROS = "0" * 64


def event_at(number: int, **changes) -> dict:
    return {
        "id": number,
        "ts": f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}.000000Z",
        "kind": "note",
        "boot": 1,
        **changes,
    }


def chain_of(events) -> list[tuple[bytes, bytes]]:
    prev, records = ZEROS.encode(), []
    for number, event in enumerate(events, 1):
        hash_hex, record = link_record(prev, event)
        records.append((encode_key(number), record))
        prev = hash_hex.encode()
    return records


def some_chain(count: int = 6) -> list[tuple[bytes, bytes]]:
    return chain_of(event_at(number) for number in range(1, count + 1))


def head_of(records) -> Head:
    return Head(len(records), records[-1][1][:64].decode())


def verified(records, anchor=None, expected=None) -> Verifier:
    verifier = Verifier(anchor=anchor)
    verifier.feed(records)
    verifier.not_checked = verifier.finish(expected or verifier.head).not_checked
    return verifier


@given(st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), st.integers(-9, 9), max_size=5))
def test_a_link_is_what_the_contract_says(event):
    prev = hashlib.sha256(b"before").hexdigest()
    hash_hex, record = link_record(prev.encode(), event)
    assert hash_hex == hashlib.sha256(prev.encode("ascii") + rfc8785.dumps(event)).hexdigest()
    assert hash_hex == chain_hash(prev, rfc8785.dumps(event))
    assert record == hash_hex.encode() + prev.encode() + rfc8785.dumps(event)


def test_a_hash_of_another_length_is_no_link():
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        chain_hash("00", b"{}")


def test_a_record_reads_back_as_its_receipt():
    _, record = some_chain(1)[0]
    receipt = decode_record(1, record)
    assert (receipt.id, receipt.ts, receipt.prev_hash_hex) == (1, "2026-01-01T00:00:01.000000Z", ZEROS)
    assert receipt.event == event_at(1)
    assert receipt.hash_hex == chain_hash(ZEROS, rfc8785.dumps(receipt.event))


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_a_good_chain_verifies_however_it_is_sliced(size):
    records = some_chain(100)
    verifier = Verifier()
    for at in range(0, 100, size):
        assert verifier.feed(records[at : at + size])
    assert verifier.finish(head_of(records)).not_checked == ("tail_truncation", "rollback")
    assert (verifier.checked, verifier.head, verifier.first_bad) == (100, head_of(records), None)


def test_every_flipped_bit_of_every_byte_is_found_at_its_own_receipt():
    records = some_chain(3)
    for index, (key, record) in enumerate(records):
        for at in range(len(record)):
            for bit in range(8):
                flipped = bytearray(record)
                flipped[at] ^= 1 << bit
                found = verified([*records[:index], (key, bytes(flipped)), *records[index + 1 :]])
                assert found.first_bad is not None, (index, at, bit)
                assert found.first_bad.id == index + 1
                assert found.checked == index
        for at in range(len(key)):
            other = bytearray(key)
            other[at] ^= 1
            found = verified([*records[:index], (bytes(other), record), *records[index + 1 :]])
            assert (found.first_bad.id, found.first_bad.problem) == (index + 1, "id_sequence")


def rehashed(records, start: int):
    """Give every record from an index on a new link and hash, as one who can compute hashes would."""
    prev = records[start - 1][1][:64] if start else ZEROS.encode()
    changed = list(records[:start])
    for key, record in records[start:]:
        covered = prev + record[128:]
        prev = hashlib.sha256(covered).hexdigest().encode()
        changed.append((key, prev + covered))
    return changed


def renumbered(records):
    return [(encode_key(number), record) for number, (_, record) in enumerate(records, 1)]


OTHER = chain_of(event_at(number, kind="other") for number in range(1, 7))


@pytest.mark.parametrize(
    ("tamper", "bad_id", "problem"),
    [
        (lambda good: good[:2] + good[3:], 3, "id_sequence"),
        (lambda good: renumbered(good[:2] + good[3:]), 3, "prev_hash"),
        (lambda good: rehashed(renumbered(good[:2] + good[3:]), 2), 3, "event_id"),
        (lambda good: renumbered([*good[:2], OTHER[2], *good[2:]]), 3, "prev_hash"),
        (lambda good: [*good[:2], good[3], good[2], *good[4:]], 3, "id_sequence"),
        (lambda good: renumbered([*good[:2], good[3], good[2], *good[4:]]), 3, "prev_hash"),
        (lambda good: renumbered([*good[:3], good[2], *good[3:]]), 4, "prev_hash"),
        (lambda good: [*good[:3], good[2], *good[3:]], 4, "id_sequence"),
        (lambda good: good[:3] + OTHER[3:], 4, "prev_hash"),
        (lambda good: [*good[:3], (good[3][0], good[3][1][:100]), *good[4:]], 4, "malformed"),
        (lambda good: [*good[:3], (good[3][0], b""), *good[4:]], 4, "malformed"),
        (lambda good: [*good[:3], (good[3][0][:7], good[3][1]), *good[4:]], 4, "id_sequence"),
        (lambda good: good[1:], 1, "id_sequence"),
    ],
)  # fmt: skip
def test_a_record_deleted_inserted_swapped_duplicated_or_spliced_is_found(tamper, bad_id, problem):
    found = verified(tamper(some_chain()))
    assert (found.first_bad.id, found.first_bad.problem) == (bad_id, problem)
    assert found.checked == bad_id - 1


def test_the_finding_says_what_was_expected_and_what_was_found():
    good = some_chain()
    changed = list(good)
    changed[3] = (good[3][0], good[3][1].replace(b"note", b"nope"))
    bad = verified(changed).first_bad
    assert bad.problem == "hash"
    assert bad.expected_prev_hash_hex == bad.found_prev_hash_hex == good[2][1][:64].decode()
    assert bad.found_hash_hex == good[3][1][:64].decode()
    assert bad.expected_hash_hex == hashlib.sha256(changed[3][1][64:]).hexdigest()


def resealed(event_bytes: bytes, number: int = 2) -> list[tuple[bytes, bytes]]:
    """A chain whose second event has other bytes, its hash computed over them."""
    records = some_chain(2)
    covered = records[0][1][:64] + event_bytes
    return [records[0], (encode_key(number), hashlib.sha256(covered).hexdigest().encode() + covered)]


TS = "2026-01-01T00:00:02.000000Z"


@pytest.mark.parametrize(
    ("event_bytes", "problem"),
    [
        (b'{"id": 2,"ts":"' + TS.encode() + b'"}', "not_canonical"),
        (b'{"id":2,"id":2,"ts":"' + TS.encode() + b'"}', "not_canonical"),
        (b'{"ts":"' + TS.encode() + b'","id":2}', "not_canonical"),
        (b"\xff", "not_canonical"),
        (rfc8785.dumps({"ts": TS}), "event_id"),
        (rfc8785.dumps({"id": 3, "ts": TS}), "event_id"),
        (rfc8785.dumps({"id": "2", "ts": TS}), "event_id"),
        (rfc8785.dumps({"id": -2, "ts": TS}), "event_id"),
        (rfc8785.dumps({"id": 2, "inner": {"id": 2}, "ts": 5}), "event_ts"),
        (rfc8785.dumps({"id": 2, "inner": {"ts": TS}}), "event_ts"),
        (rfc8785.dumps({"id": 2, "ts": "2026-01-01T00:00:02Z"}), "event_ts"),
        (rfc8785.dumps({"id": 2, "ts": "2026-01-01t00:00:02.000000Z"}), "event_ts"),
        (rfc8785.dumps({"id": 2, "ts": "2026-01-01T00:00:00.999999Z"}), "time_went_back"),
    ],
)  # fmt: skip
def test_a_record_with_a_right_hash_over_a_wrong_event_is_found(event_bytes, problem):
    found = verified(resealed(event_bytes))
    assert (found.first_bad.id, found.first_bad.problem) == (2, problem)


def test_a_chain_rehashed_to_its_end_is_found_with_an_anchor_and_only_then():
    good = some_chain()
    anchor = Head(5, good[4][1][:64].decode())
    changed = list(good)
    changed[2] = (good[2][0], good[2][1][:128] + rfc8785.dumps({**json.loads(good[2][1][128:]), "kind": "forged"}))
    changed = rehashed(changed, 2)
    without = verified(changed)
    assert without.first_bad is None
    assert without.not_checked == ("tail_truncation", "rollback")
    bad = verified(changed, anchor).first_bad
    assert (bad.id, bad.problem, bad.expected_hash_hex) == (5, "anchor_mismatch", anchor.hash_hex)
    assert bad.found_hash_hex == changed[4][1][:64].decode()


@pytest.mark.parametrize("at", range(1, 7))
def test_any_good_receipt_is_an_anchor(at):
    good = some_chain()
    found = verified(good, Head(at, good[at - 1][1][:64].decode()))
    assert found.first_bad is None
    assert found.checked == 6
    assert found.not_checked == (() if at == 6 else ("tail_truncation_after_anchor",))


def test_a_tail_that_was_cut_off_is_found_with_an_anchor():
    good = some_chain()
    bad = verified(good[:4], head_of(good)).first_bad
    assert (bad.id, bad.problem, bad.expected_hash_hex) == (5, "anchor_missing", head_of(good).hash_hex)


def test_a_chain_that_ends_before_the_known_head_is_found():
    good = some_chain()
    bad = verified(good[:4], expected=head_of(good)).first_bad
    assert (bad.id, bad.problem) == (5, "receipt_missing")


@pytest.mark.parametrize("anchor", [Head(0, "1" * 64), Head(9, ZEROS)])
def test_an_empty_chain_has_only_the_beginning_as_its_anchor(anchor):
    assert verified([], anchor).first_bad is not None
    assert verified([], GENESIS).not_checked == ()


def test_a_run_from_a_checkpoint_says_what_it_left_out():
    good = some_chain()
    verifier = Verifier(Head(3, good[2][1][:64].decode()), "2026-01-01T00:00:03.000000Z", head_of(good))
    assert verifier.feed(good[3:])
    assert verifier.finish(head_of(good)).not_checked == ("receipts_before_checkpoint",)
    assert verifier.checked == 3


def test_a_checkpoint_that_is_not_the_chain_s_own_is_found():
    good = some_chain()
    verifier = Verifier(Head(3, "1" * 64), "2026-01-01T00:00:03.000000Z")
    assert not verifier.feed(good[3:])
    assert verifier.first_bad.problem == "prev_hash"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (([], 1, b"0" * 63, NO_TIME.encode()), ValueError),
        (([], 1, b"0" * 64, b""), ValueError),
        (([(b"k", "text")], 1, b"0" * 64, NO_TIME.encode()), TypeError),
        (([(1, b"")], 1, b"0" * 64, NO_TIME.encode()), TypeError),
        (([5], 1, b"0" * 64, NO_TIME.encode()), TypeError),
        ((None, 1, b"0" * 64, NO_TIME.encode()), TypeError),
    ],
)
def test_verification_refuses_what_are_no_records(arguments, error):
    with pytest.raises(error):
        verify_records(*arguments)
