"""Answers of the wire: an older daemon's and a newer one's are read, any other is one error that names the field."""

import pytest

from briefcase.core.wire.approvals import Denied
from briefcase.core.wire.budgets import BudgetList, BudgetRecord
from briefcase.core.wire.calls import CALL_ANSWER, CallDenied
from briefcase.core.wire.reading import read_answer, read_document
from briefcase.model.errors import BriefcaseError

UNKNOWN_STATUS = "field `status`: expected a value that is known here, got another one"
PROMISED = b'{"budgets":[{"category":"read","daily_limit_microusd":3000000}]}'


def test_an_answer_without_what_the_contract_does_not_promise_is_read():
    assert read_answer(PROMISED, BudgetList, "GET /v1/budgets").budgets == [BudgetRecord("read", 3_000_000, 0, 0)]


def test_a_newer_daemons_fields_are_passed_over():
    newer = PROMISED.replace(b"}]}", b',"colour":"red"}],"total":1}')
    assert read_answer(newer, BudgetList, "GET /v1/budgets") == read_answer(PROMISED, BudgetList, "GET /v1/budgets")


def test_an_answer_of_several_is_told_by_its_status():
    answer = b'{"status":"denied","reason":"policy_denied","policy_ids":null}'
    assert read_answer(answer, CALL_ANSWER, "POST /v1/tools/call") == CallDenied("policy_denied", policy_ids=None)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"budgets":[{"category":"read"}]}', "expected the field `budgets[...].daily_limit_microusd`, got none"),
        (PROMISED.replace(b"3000000", b'"3"'), "field `budgets[...].daily_limit_microusd`: expected `int`, got `str`"),
        (b"{}", "expected the field `budgets`, got none"),
        (b"[]", "expected `object`, got `array`"),
        (b"nothing", "expected JSON, got something else"),
        (b"", "expected JSON, got something else"),
        (b'{"budgets":"\xff"}', "field `budgets`: expected `array`, got `str`"),
    ],
)  # fmt: skip
def test_an_answer_that_does_not_fit_names_its_endpoint_and_its_field(body, says):
    with pytest.raises(BriefcaseError) as caught:
        read_answer(body, BudgetList, "GET /v1/budgets")
    told = caught.value.message.replace("[0]", "[...]")
    assert (told, caught.value.code, caught.value.exit_code) == (
        f"answer of `GET /v1/budgets`: {says}",
        "unexpected_answer",
        11,
    )
    assert "version" in caught.value.hint


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"approval_id":"1","status":"canary"}', UNKNOWN_STATUS),
        (b'{"approval_id":"1","status":"canary - at `$.canary`"}', UNKNOWN_STATUS),
        (b'{"approval_id":"1","more":%s' % (b"[" * 100_000), "expected JSON, got something else"),
    ],
)  # fmt: skip
def test_an_answers_own_values_are_not_repeated_and_no_depth_is_too_much(body, says):
    with pytest.raises(BriefcaseError) as caught:
        read_answer(body, Denied, "POST /v1/approvals/1/deny")
    assert (caught.value.message, caught.value.code) == (
        f"answer of `POST /v1/approvals/1/deny`: {says}",
        "unexpected_answer",
    )


def test_an_answer_of_another_status_does_not_say_which():
    with pytest.raises(BriefcaseError) as caught:
        read_answer(b'{"status":"canary"}', CALL_ANSWER, "POST /v1/tools/call")
    assert caught.value.message == f"answer of `POST /v1/tools/call`: {UNKNOWN_STATUS}"


def test_a_document_is_read_as_it_came():
    assert read_document(b'{"more":[1,2.5],"a":null}', "GET /v1/x") == {"more": [1, 2.5], "a": None}
    for body in (b"[]", b"nothing", b"", b'{"a":"\xff"}', b"[" * 100_000):
        with pytest.raises(BriefcaseError, match="answer of `GET /v1/x`: expected"):
            read_document(body, "GET /v1/x")
