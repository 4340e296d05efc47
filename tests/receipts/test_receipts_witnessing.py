"""The witness protocol, both ends: judged as an independent witness judged, and read as the specification has it."""

import json
from http import HTTPStatus
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from briefcase.adapters.vault.note_signatures import verify_note_signature
from briefcase.core.receipts.note_keys import parse_vkey
from briefcase.core.receipts.notes import Checkpoint
from briefcase.core.receipts.tree import EMPTY_ROOT
from briefcase.core.receipts.witnessing import (
    MAX_REQUEST_BYTES,
    SIZE_TYPE,
    AddCheckpoint,
    Behind,
    Cosigned,
    Declined,
    Refusal,
    Seen,
    check_signed,
    encode_request,
    judge,
    parse_request,
    read_answer,
    read_origin,
)
from briefcase.model.errors import CallerError
from support.witnesses import Log

RECORDED = json.loads((Path(__file__).parent.parent / "fixtures" / "witness" / "recorded.json").read_text())
KEY = parse_vkey(RECORDED["log_vkey"])
# Where the recorded witness (litewitness 0.6.1) departs from the specification: what the specification asks for.
DEPARTS = {
    "first, with a proof although old is 0": 422,
    "not a note": 400,
    "leading zero": 400,
    "64 proof lines": 400,
}
SEEN_BEFORE = {"unknown origin": (), "first, with a proof although old is 0": ()}


def judged(body: bytes, seen: Seen, *, knows: bool) -> Refusal | Checkpoint | int:
    try:
        request = parse_request(body)
        read_origin(request)
        found = check_signed(request, [KEY] if knows else [], verify_note_signature)
    except CallerError:
        return 400
    if isinstance(found, Refusal):
        return found
    return judge(request, found, seen) or found


def test_what_an_independent_witness_was_asked_is_judged_as_it_judged():
    seen, looked_at = Seen(), 0
    for exchange in RECORDED["exchanges"]:
        if exchange["request"]["method"] != "POST":
            continue
        case, status = exchange["case"], exchange["response"]["status"]
        verdict = judged(exchange["request"]["body"].encode(), seen, knows=case != "unknown origin")
        if case == "unknown origin":
            status = 404
        got = {int: lambda v: v, Refusal: lambda v: int(v.status), Checkpoint: lambda _: 200}[type(verdict)](verdict)
        assert got == DEPARTS.get(case, status), case
        if status == 409 and case not in DEPARTS:
            assert f"{verdict.size}\n" == exchange["response"]["body"], case
        if status == 200:  # the witness took it, whether it should have or not
            request = parse_request(exchange["request"]["body"].encode())
            found = check_signed(request, [KEY], verify_note_signature)
            seen = Seen(found.size, found.root)
        looked_at += 1
    assert looked_at == 19
    assert seen.size == 16


@given(st.integers(0, 40), st.integers(0, 40))
def test_an_honest_log_is_always_taken_and_one_with_another_history_never(old_size, more):
    log, forked, size = Log(), Log(history="another"), old_size + more
    seen = Seen(old_size, log.checkpoint(old_size).root) if old_size else Seen()
    assert judge(log.request(old_size, size), log.checkpoint(size), seen) is None
    if old_size:
        refused = judge(forked.request(old_size, size), forked.checkpoint(size), seen)
        assert refused.status == (HTTPStatus.UNPROCESSABLE_ENTITY if more else HTTPStatus.CONFLICT)
        assert (refused.is_fork, refused.is_inconsistent) == (not more, bool(more))


@pytest.mark.parametrize(
    ("old_size", "size", "status", "said_size", "is_fork"),
    [(9, 8, 400, None, False), (0, 8, 409, 5, False), (6, 8, 409, 5, False), (0, 4, 409, 5, False),
     (4, 4, 409, 5, False), (5, 4, 400, None, False), (5, 8, None, None, False), (5, 5, None, None, False)],
)  # fmt: skip
def test_what_a_witness_that_saw_five_leaves_says(old_size, size, status, said_size, is_fork):
    log = Log()
    refused = judge(log.request(old_size, size), log.checkpoint(size), Seen(5, log.checkpoint(5).root))
    found = (None, None, False) if refused is None else (int(refused.status), refused.size, refused.is_fork)
    assert found == (status, said_size, is_fork)


def test_another_tree_of_the_same_size_is_a_fork_whatever_old_size_is_said():
    log, forked = Log(), Log(history="another")
    seen = Seen(5, log.checkpoint(5).root)
    with_old = judge(forked.request(5, 5), forked.checkpoint(5), seen)
    without = judge(forked.request(0, 5), forked.checkpoint(5), seen)
    assert (with_old.is_fork, with_old.size) == (True, None)
    assert (without.is_fork, without.size) == (True, 5)


def test_an_empty_log_has_the_empty_root_and_a_first_checkpoint_no_proof():
    log = Log()
    lied = Checkpoint(log.origin, 0, bytes(32))
    assert judge(AddCheckpoint(0, (), ""), lied, Seen()).status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert judge(AddCheckpoint(0, (), ""), Checkpoint(log.origin, 0, EMPTY_ROOT), Seen()) is None
    with_proof = AddCheckpoint(0, (bytes(32),), log.note(3))
    assert judge(with_proof, log.checkpoint(3), Seen()).status == HTTPStatus.UNPROCESSABLE_ENTITY


def test_a_checkpoint_counts_only_by_a_key_that_is_trusted_for_its_log():
    log, other = Log(1), Log(2)
    request = log.request(0, 3)
    assert check_signed(request, [log.key], verify_note_signature) == log.checkpoint(3)
    assert check_signed(request, [], verify_note_signature).status == HTTPStatus.NOT_FOUND
    assert check_signed(request, [other.key], verify_note_signature).status == HTTPStatus.FORBIDDEN
    changed = AddCheckpoint(0, (), request.note.replace("\n3\n", "\n4\n"))
    assert check_signed(changed, [log.key], verify_note_signature).status == HTTPStatus.FORBIDDEN


def test_of_many_signatures_by_one_key_one_is_looked_at():
    log, looked_at = Log(), []
    note = log.note(3)
    good, bad = (one.partition("\n\n")[2] for one in (note, log.note(4)))
    flooded = AddCheckpoint(0, (), note.replace(good, bad * 60 + good))

    def verify(*asked):
        looked_at.append(asked)
        return verify_note_signature(*asked)

    assert check_signed(flooded, [log.key], verify).status == HTTPStatus.FORBIDDEN
    assert len(looked_at) == 1


def test_a_request_reads_back():
    request = Log().request(5, 13)
    assert parse_request(encode_request(request)) == request
    assert parse_request(encode_request(Log().request(0, 2))) == Log().request(0, 2)


GOOD = encode_request(Log().request(5, 13)).decode()


@pytest.mark.parametrize(
    "body",
    ["", "old 5", "old 5\n", "old 5\n\n"[:-1], GOOD.removeprefix("old 5\n"), GOOD.replace("old 5", "old  5"),
     GOOD.replace("old 5", "old +5"), GOOD.replace("old 5", "old 05"), GOOD.replace("old 5", "old \u0665"),
     GOOD.replace("old 5", "new 5"), GOOD.replace("old 5\n", "old 5\nAAAA\n"), GOOD.replace("old 5\n", "old 5\n=\n"),
     GOOD.replace("old 5\n", "old 5\n" + "A" * 43 + "=\n" * 64), "x" * (MAX_REQUEST_BYTES + 1)],
)  # fmt: skip
def test_what_is_no_request_is_refused(body):
    with pytest.raises(CallerError):
        parse_request(body.encode())


def test_sixty_four_lines_are_one_too_many_and_bytes_must_be_text():
    line = "A" * 43 + "=\n"
    assert len(parse_request(GOOD.replace("old 5\n", "old 5\n" + line * 50).encode()).proof) > 50
    with pytest.raises(CallerError, match="at most 63"):
        parse_request(GOOD.replace("old 5\n", "old 5\n" + line * 64).encode())
    with pytest.raises(CallerError, match="UTF-8"):
        parse_request(b"old 5\n\n\xff")


@pytest.mark.parametrize(
    ("status", "content_type", "body", "meaning"),
    [
        (200, "text/plain", b"lines", Cosigned(b"lines")),
        (409, SIZE_TYPE, b"12\n", Behind(12)),
        (409, f"{SIZE_TYPE}; charset=utf-8", b"12", Behind(12)),
        (409, SIZE_TYPE, b"-1\n", "answered 409 with no size"),
        (409, SIZE_TYPE, b"012\n", "answered 409 with no size"),
        (409, SIZE_TYPE, b"9" * 4_000, "answered 409 with no size"),
        (409, "text/plain", b"12\n", "another checkpoint of the same size"),
        (422, "", b"", "does not continue what it saw"),
        (403, "", b"unknown log\n", "does not know this log or its key (403: unknown log)"),
        (404, "", b"\x1b[31mred\n", "does not know this log or its key (404: [31mred)"),
        (404, "", b"", "does not know this log or its key (404)"),
        (302, "", b"", "answered with 302"),
        (500, "", b"", "answered with 500"),
        (400, "", b"", "answered with 400"),
    ],
)
def test_what_an_answer_means(status, content_type, body, meaning):
    found = read_answer(status, content_type, body)
    if isinstance(meaning, str):
        assert isinstance(found, Declined)
        assert meaning in found.problem
        assert found.is_alarm == (status == 422 or "same size" in meaning)
    else:
        assert found == meaning
