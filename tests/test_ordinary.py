"""An ordinary user is not asked for an emoji or their own language; elsewhere the same character raises its signal."""

import time

import pytest

from briefcase.core.characters.marks import visible_text
from briefcase.core.characters.ordinary import has_hidden, has_lookalike
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.core.risk import assess_risk


def signals(text: str) -> tuple[str, ...]:
    return assess_risk(canonical_bytes({"text": text})).words


@pytest.mark.parametrize(
    "text",
    [
        "I \u2764\ufe0f you, \u2600\ufe0f",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "\U0001f3f3\ufe0f\u200d\U0001f308 \U0001f44d\U0001f3fd \U0001f1e9\U0001f1ea",
        "press 1\ufe0f\u20e3",
        "Bonjour\u00a0! \u00c7a va\u202f? \u00ab\u00a0oui\u00a0\u00bb : 1\u202f000\u00a0\u20ac",
        "\u6771\u4eac\u3000\u5927\u962a",
        "\u30ce\u30fc\u30c8PC\u3092\u8cb7\u3046",
        "\u4f7f\u7528Python\uff083.11\uff09\u548cA\uff0cB",
        "\u6642\u9593\uff1a10\uff1a30",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\u0915\u094d\u200d\u0937",
        "\u0425\u043e\u0440\u043e\u0448\u043e, \u0430 \u0443 \u0442\u0435\u0431\u044f?",
        "Gr\u00f6\u00dfe: 5 \u20ac, \u201eStra\u00dfe\u201c, l\u2019\u00e9t\u00e9",
        "Ti\u1ebfng Vi\u1ec7t, \u0645\u0631\u062d\u0628\u0627\u060c 50\u066a",
    ],
)  # fmt: skip
def test_ordinary_text_of_a_language_raises_no_signal(text):
    assert signals(text) == ()


@pytest.mark.parametrize(
    "text",
    [
        "\u2764\ufe0f\ufe0f",
        "a\ufe0f",
        "\u2764\ufe0e",
        "\U0001f600\U000e0101",
        "\u2764\u200dx",
        "\U0001f468\u200d\u200d\U0001f469",
        "1\ufe0f2",
        "pay\u00a0alice",
        "oui\u00a0\u00a0!",
        "rm -rf\u3000/",
        "\u6771\u3000\u3000\u4eac",
        "pay\u200cpal",
        "\u0645\u200c\u200c\u062e",
        "\u200c\u0645",
    ],
)
def test_an_unseen_character_where_it_is_not_ordinary_is_signalled(text):
    assert signals(text) == ("invisible_text",)


@pytest.mark.parametrize(
    "text",
    [
        "\u0441\u0447\u0451\u0442 \u0440\u0430\u0443\u0440\u0430\u04cf.com",
        "\u0432 user@\u0435\u0445\u0430.ru \u0434",
        "\u043f\u0435\u0440\u0435\u0432\u043e\u0434 \u0430\u0441\u0435/pay",
        "\u0434 \u0430 \u0440\u0430\u0443\u0440\u0430",
        "a\u30ceb",
        "\u4e2d\u6587 https\uff1a//evil",
        "\u4e2d\u6587 evil.com\uff0fpath",
        "Python\uff083.11\uff09",
        "\u0430dmin \u0434",
    ],
)
def test_a_lookalike_where_it_is_not_ordinary_is_signalled(text):
    assert signals(text) == ("confusable_text",)


def test_a_part_of_a_host_or_an_address_is_marked_whatever_word_is_beside_it():
    shown = "\u0441\u0447\u0451\u0442 <U+0430><U+0441><U+0435>.com, <U+0430><U+0441><U+0435>@x.y, x/<U+0430><U+0441>"
    assert (
        visible_text("\u0441\u0447\u0451\u0442 \u0430\u0441\u0435.com, \u0430\u0441\u0435@x.y, x/\u0430\u0441") == shown
    )


def test_what_is_ordinary_is_marked_all_the_same():
    assert visible_text("\u2764\ufe0f oui\u00a0!") == "\u2764<U+FE0F> oui<U+00A0>!"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1\u03360\u03360", "1<U+0336>0<U+0336>0"),
        ("5\u20dd", "5<U+20DD>"),
        ("1\u20e3", "1\u20e3"),
        ("x\u0302\u0303\u0304\u0305\u0306", "x\u0302\u0303\u0304<U+0305><U+0306>"),
    ],
)
def test_marks_that_strike_out_enclose_or_pile_up_are_written_out(text, shown):
    assert visible_text(text) == shown


@pytest.mark.parametrize(
    "unit", ["\u2764\ufe0f", "\u00a0!", "\u30ce\u30fc", "\u0430 ", "\u0430\u0441\u0435.", "\u4e2d\uff08"]
)
def test_what_is_ordinary_is_told_in_linear_time(unit):
    def seconds(count: int) -> float:
        text = unit * count + "\u0434\u200b"
        start = time.process_time()
        has_hidden(text)
        has_lookalike(text)
        return time.process_time() - start

    seconds(1_000)
    assert min(seconds(80_000) for _ in range(3)) < 6 * min(seconds(40_000) for _ in range(3)) + 0.01
