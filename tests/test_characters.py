"""What a person does not see, or takes for something else, is marked and signalled by one table."""

import re
import sys
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from briefcase.core.characters.marks import has_alike, has_unseen, visible_text
from briefcase.core.characters.table import ALIKE_LETTERS, UNICODE_VERSION, UNSEEN
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.core.risk import assess_risk

# DerivedCoreProperties.txt 17.0.0, Default_Ignorable_Code_Point; UAX 9, Bidi_Control; PropList.txt, White_Space
DEFAULT_IGNORABLE = (
    "00AD 034F 061C 115F..1160 17B4..17B5 180B..180F 200B..200F 202A..202E 2060..206F 3164 FE00..FE0F FEFF FFA0 "
    "FFF0..FFF8 1BCA0..1BCA3 1D173..1D17A E0000..E0FFF"
)
BIDI_CONTROL = "061C 200E..200F 202A..202E 2066..2069"
WHITE_SPACE = "0009..000D 0085 00A0 1680 2000..200A 2028..2029 202F 205F 3000"
BLANK = "2800 FFFC 13441..13442 16FE4 1D159"


def codes(ranges: str) -> list[int]:
    bounds = [part.split("..") for part in ranges.split()]
    return [code for first, *last in bounds for code in range(int(first, 16), int((last or [first])[0], 16) + 1)]


@pytest.mark.parametrize("ranges", [DEFAULT_IGNORABLE, BIDI_CONTROL, WHITE_SPACE, BLANK])
def test_every_character_of_these_properties_is_marked_and_signalled(ranges):
    for code in codes(ranges):
        text = f"pay al{chr(code)}ice"
        assert visible_text(text) == f"pay al<U+{code:04X}>ice"
        if code >= 0x20:  # JSON escapes the others
            assert "invisible_text" in assess_risk(canonical_bytes({"text": text})).words


def test_every_default_ignorable_character_is_in_the_table_and_nothing_that_is_seen():
    table = re.compile(f"[{UNSEEN}]")
    held = {code for code in range(sys.maxunicode + 1) if table.match(chr(code))}
    assert held == {*codes(DEFAULT_IGNORABLE), *codes(WHITE_SPACE), *codes(BLANK), 0x1DA7F, 0x1DA80}
    assert UNICODE_VERSION == "17.0.0"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("p\u0430ypal", "p<U+0430>ypal"),
        ("payp\u0430l\u00e9", "payp<U+0430>l\u00e9"),
        ("\u0440\u0430\u0443\u0440\u0430", "<U+0440><U+0430><U+0443><U+0440><U+0430>"),
        ("p\u0430\u0436", "p<U+0430>\u0436"),
        ("\uff50ay", "<U+FF50>ay"),
        ("\U0001d429ay", "<U+1D429>ay"),
        ("\ufb01le", "<U+FB01>le"),
        ("\u0131d", "<U+0131>d"),
        ("1\u06600", "1<U+0660>0"),
        ("\uff11\uff100", "<U+FF11><U+FF10>0"),
        ("evil.com\u2215path", "evil.com<U+2215>path"),
        ("https:\u2215\u2215x.y", "https:<U+2215><U+2215>x.y"),
        ("mail\uff20example", "mail<U+FF20>example"),
        ("e\u0301", "e<U+0301>"),
        (">\u0338", "><U+0338>"),
        ("\x7f\x1b[2J", "<U+007F><U+001B>[2J"),
        ("\ue000\ud800", "<U+E000><U+D800>"),
    ],
)
def test_what_is_taken_for_something_else_is_marked(text, shown):
    assert visible_text(text) == shown
    assert has_unseen(text) or has_alike(text) or "\u0300" <= text[1] <= "\u036f"


@pytest.mark.parametrize(
    "text",
    [
        "plain ASCII, with ~!@#$%^&*()_+{}|:<>? in it",
        "fianc\u00e9, \u00c6r\u00f8, sm\u00f8rrebr\u00f8d, na\u00efve, \u0153uvre, stra\u00dfe",
        "don\u2019t \u2013 \u201cok\u201d\u2026 3\u00d74 well\u2011known",
        "\u041f\u0440\u0438\u0432\u0435\u0442, \u043a\u0430\u043a \u0434\u0435\u043b\u0430?",
        "\u043c\u044b \u0441 \u0432\u0430\u043c\u0438",
        "\u03ba\u03b1\u03b9 \u03c4\u03bf \u03b2\u03b9\u03b2\u03bb\u03af\u03bf",
        "API\u4f7f\u7528\u65b9\u6cd5\u3001\u4ef7\u683c\uff1a100",
        "\u0663\u0664\u0665 \u0643\u062a\u0627\u0628",
        "\U0001f600 \ud55c\uad6d\uc5b4",
    ],
)  # fmt: skip
def test_ordinary_text_of_any_script_stays_as_it_is(text):
    assert visible_text(text) == text
    assert not has_alike(text)


alike = st.sampled_from(re.sub(r"\\u(....)(-\\u....)?", lambda found: chr(int(found[1], 16)), ALIKE_LETTERS))
special = st.sampled_from("ab1 >/.@\u2215\u0660\u0436\u0301\u0338\u200b")
# a list, and not `st.text`, which takes next to none but of `st.characters()`
mixed = st.lists(st.one_of(special, alike, st.characters()), max_size=12).map("".join)


@given(mixed.map(lambda text: "".join(char for char in text if unicodedata.category(char)[0] != "M")))
def test_a_signal_is_raised_exactly_where_something_is_marked(text):
    assert (has_unseen(text) or has_alike(text)) == (visible_text(text) != text)


@given(mixed)
def test_what_is_marked_is_seen_and_marking_it_again_changes_nothing(text):
    shown = visible_text(text)
    assert shown.isprintable()
    assert not has_unseen(shown)
    assert not has_alike(shown)
    assert visible_text(shown) == shown


@given(mixed)
def test_nothing_but_marks_is_added_and_nothing_is_dropped(text):
    back = re.sub(r"<U\+([0-9A-F]{4,6})>", lambda found: chr(int(found[1], 16)), visible_text(text))
    assert back == re.sub(r"<U\+([0-9A-F]{4,6})>", lambda found: chr(int(found[1], 16)), text)


@pytest.mark.parametrize(
    "unit",
    ["a", "\u0430", "\u0436", "\u0436 \u0430 ", "\u0660", "1 \u0660 ", "\u2215", "!\u2215 ", "a\u0436", "\U0001f600"],
)
def test_the_worst_input_doubled_takes_twice_as_long(unit):
    def took_ns(chars: int) -> int:
        text = "\u00e9" + unit * (chars // len(unit))
        times = []
        for _ in range(3):
            began = time.process_time_ns()
            has_unseen(text)
            has_alike(text)
            times.append(time.process_time_ns() - began)
        return min(times)

    assert took_ns(1 << 17) < 64 * max(took_ns(1 << 13), 20_000)  # 16 times as much; a square would be 256 times
