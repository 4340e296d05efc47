"""Answers: encoded once, and remembered within a bound of real bytes."""

import tracemalloc

import msgspec

from briefcase.core.calls import answers
from briefcase.core.calls.answers import RememberedAnswers, encode_answer
from briefcase.core.receipts.events import CallFacts
from support.principals import AGENT, OTHER_AGENT

EMPTY_OBJECTS = b"[" + b",".join([b"{}"] * 50_000) + b"]"  # 150 KB of JSON: some 4 MB as objects


def facts(request_id: str, principal=AGENT) -> CallFacts:
    return CallFacts(
        call_id="c",
        request_id=request_id,
        principal=principal,
        tool_id="echo",
        args_digest_hex="0" * 64,
        args_text="{}",
        policy_digest_hex="1" * 64,
        spec=None,
    )


def an_answer(content: bytes = b'"hi"'):
    return encode_answer({"status": "ok", "result": {"content": msgspec.Raw(content)}}, {"parse": 1})


def test_an_answer_is_kept_as_the_bytes_that_are_sent():
    kept = RememberedAnswers()
    tracemalloc.start()
    try:
        for number in range(20):
            content = msgspec.json.encode(msgspec.json.decode(EMPTY_OBJECTS))
            kept.remember("call", facts(str(number)), an_answer(content))
            del content
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 20 * len(EMPTY_OBJECTS) * 1.1
    assert kept.recall("call", facts("3")).body == b'{"status":"ok","result":{"content":%b}}' % EMPTY_OBJECTS


def test_the_bound_counts_what_is_kept_and_forgets_the_oldest(monkeypatch):
    monkeypatch.setattr(answers, "MAX_REMEMBERED_BYTES", 10 * (len(an_answer().body) + answers.ENTRY_BYTES))
    kept = RememberedAnswers()
    for number in range(11):
        kept.remember("call", facts(str(number)), an_answer())
    assert kept.recall("call", facts("0")) is None
    assert kept.recall("call", facts("1")) is not None
    kept.remember("call", facts("large"), an_answer(b'"%b"' % (b"x" * answers.MAX_REMEMBERED_BYTES)))
    assert all(kept.recall("call", facts(name)) is None for name in ("10", "large"))


def test_the_number_of_answers_is_bounded_however_small_they_are():
    kept = RememberedAnswers()
    for number in range(answers.MAX_REMEMBERED_ANSWERS + 1):
        kept.remember("call", facts(str(number)), an_answer())
    assert kept.recall("call", facts("0")) is None
    assert kept.recall("call", facts("1")) is not None


def test_an_answer_is_recalled_for_the_very_same_request_only():
    kept = RememberedAnswers()
    kept.remember("call", facts("r"), an_answer())
    assert kept.recall("decide", facts("r")) is None
    assert kept.recall("call", facts("r", OTHER_AGENT)) is None
