"""Which receipts go next, and what an answer makes of the watermark."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from briefcase.core.fleet import words
from briefcase.core.fleet.answers import read_receipts_answer, read_refusal
from briefcase.core.fleet.uploads import (
    Batch,
    Halved,
    Resumed,
    Stopped,
    UploadAnswer,
    Uploaded,
    batch_of,
    check_resumption,
    judge_upload,
    resumed_at,
)
from briefcase.model.types import Receipt

RECORDED = json.loads((Path(__file__).parent.parent / "fixtures" / "control_plane" / "recorded.json").read_text())
BATCH = Batch(11, 20, 10, b"")


def receipts(count: int, text: str = "é"):
    return [
        Receipt(number, "2026-01-01T00:00:00Z", "0" * 64, "1" * 64, {"kind": "x", "b": text, "a": 1})
        for number in range(1, count + 1)
    ]


def test_a_batch_is_what_the_recorded_client_sends_with_each_event_in_its_canonical_bytes():
    recorded = json.loads(RECORDED["uploads"][0]["request"])
    batch = batch_of(receipts(2))
    sent = json.loads(batch.body)
    assert list(sent) == list(recorded) == ["receipts"]
    assert list(sent["receipts"][0]) == list(recorded["receipts"][0])
    assert (batch.first_id, batch.last_id, batch.count) == (1, 2, 2)
    assert '"event":{"a":1,"b":"é","kind":"x"}'.encode() in batch.body


def test_a_batch_is_bounded_in_number_and_in_bytes_and_one_receipt_always_goes():
    assert batch_of([]) is None
    assert batch_of(receipts(9), max_receipts=4).last_id == 4
    large = batch_of(receipts(9, "x" * 1_000), max_bytes=3_000)
    assert large.last_id == 2
    assert len(large.body) < 3_000
    assert batch_of(receipts(9, "x" * 5_000), max_bytes=3_000).last_id == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (UploadAnswer(200), Uploaded(20)),
        (UploadAnswer(200, last_receipt_id=20), Uploaded(20)),
        (UploadAnswer(200, last_receipt_id=14), Resumed(14)),
        (UploadAnswer(200, last_receipt_id=99), Uploaded(20)),
        (UploadAnswer(400, words.NOT_MONOTONIC, 15), Resumed(15)),
        (UploadAnswer(400, words.NOT_MONOTONIC, 44), Resumed(44)),
        (UploadAnswer(400, words.PREV_HASH_MISMATCH, 3), Resumed(3)),
        (UploadAnswer(400, words.PREV_HASH_MISMATCH, 10), Stopped(words.PREV_HASH_MISMATCH, is_alarm=True)),
        (UploadAnswer(400, words.NOT_MONOTONIC), Stopped(words.NOT_MONOTONIC, is_alarm=True)),
        (UploadAnswer(400, words.FORK, 3), Stopped(words.FORK, is_alarm=True)),
        (UploadAnswer(400, words.HASH_MISMATCH), Stopped(words.HASH_MISMATCH, is_alarm=True)),
        (UploadAnswer(400, words.TOO_MANY_RECEIPTS), Halved(5)),
        (UploadAnswer(413), Halved(5)),
        (UploadAnswer(409, words.REPLAY_DETECTED), Stopped(words.REPLAY_DETECTED)),
        (UploadAnswer(400), Stopped(words.UNEXPECTED)),
    ],
)
def test_an_answer_moves_the_watermark_as_the_table_says(answer, expected):
    assert judge_upload(BATCH, answer) == expected


def test_one_receipt_that_is_too_large_stops_the_upload():
    assert judge_upload(Batch(1, 1, 1, b""), UploadAnswer(413)) == Stopped(words.UNEXPECTED, is_alarm=True)


@pytest.mark.parametrize(("told", "expected"), [(None, 7), (0, 0), (5, 5), (7, 7), (9, 9), (10, 10), (11, 7)])
def test_an_enrolment_goes_on_from_the_servers_word_unless_it_is_beyond_the_chain(told, expected):
    assert resumed_at(7, told, 10) == expected


def test_a_server_that_has_receipts_this_chain_does_not_is_not_followed():
    assert check_resumption(21, 20) == Stopped(words.FORK, is_alarm=True)
    assert check_resumption(20, 20) is None


@given(st.integers(0, 600), st.sampled_from(["", *sorted(vars(words))]), st.none() | st.integers(0, 1 << 53))
def test_the_watermark_passes_the_batch_only_by_the_servers_own_word(status, word, told):
    step = judge_upload(BATCH, UploadAnswer(status, word, told))
    if isinstance(step, Uploaded):
        assert (status, step.watermark) == (200, 20)
        assert told is None or told >= 20
    if isinstance(step, Resumed):
        assert step.watermark == told


@pytest.mark.parametrize("case", RECORDED["refusals"], ids=lambda case: case["case"])
def test_a_recorded_refusal_is_read_as_its_word_or_as_none(case):
    refusal = read_refusal(case["body"].encode())
    try:
        expected = json.loads(case["body"])["code"]
    except ValueError:
        expected = ""
    assert refusal.code == expected


@pytest.mark.parametrize("upload", RECORDED["uploads"], ids=lambda upload: str(upload["status"]))
def test_a_recorded_answer_to_an_upload_is_read(upload):
    body = upload["answer"].encode()
    if upload["status"] == 200:
        assert read_receipts_answer(body).stored == len(json.loads(upload["request"])["receipts"])
    else:
        assert read_refusal(body).code == words.NOT_MONOTONIC


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"code":7}', b'{"code":"not a word"}', b'{"code":"' + b"x" * 200 + b'"}']
)
def test_what_is_no_word_of_the_contract_is_read_as_none(body):
    assert read_refusal(body).code == ""
