"""The native pass over characters finds what six patterns of `re` find: the rules of `characters.marks`, once more."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from briefcase._native.alike import Alphabet
from briefcase.core.characters.marks import has_alike, has_unseen
from briefcase.core.characters.table import ALIKE_BEYOND, ALIKE_LETTERS, ALIKE_SIGNS, LATIN, UNSEEN

LETTER = r"[^\W\d_]"
PLAIN = rf"[^\W\d_{LATIN}{ALIKE_LETTERS}]"
NO_LATIN = rf"[^\W\d_{LATIN}]"
NOT_PLAIN = rf"[{LATIN}{ALIKE_LETTERS}]"
JOINT = r"[.@/\\:_-]"
TO_ALIKE = rf"(?:(?<=[{ALIKE_LETTERS}])|{PLAIN}*+[{ALIKE_LETTERS}])"
ALIKE = [
    re.compile(pattern, re.DOTALL)
    for pattern in (
        rf"{NO_LATIN}(?<!{NO_LATIN}.)(?:(?<=[{LATIN}].){TO_ALIKE}|{TO_ALIKE}{NO_LATIN}*+[{LATIN}])",
        rf"[{ALIKE_LETTERS}](?<!{LETTER}.)(?<!{PLAIN} .)[{ALIKE_LETTERS}]*+(?!{LETTER})(?! {NOT_PLAIN}*+{PLAIN})",
        rf"[{ALIKE_LETTERS}](?<=[0-9A-Za-z]{JOINT}.)[{ALIKE_LETTERS}]*+(?!{LETTER})",
        rf"[{ALIKE_LETTERS}](?<!{LETTER}.)[{ALIKE_LETTERS}]*+(?={JOINT}[0-9A-Za-z])",
        r"[^\D0-9](?:(?=[0-9A-Za-z])|(?<=[0-9A-Za-z].))",
        rf"[{ALIKE_SIGNS}](?<=[!#-=?-~].)[{ALIKE_SIGNS}]*+(?=[!#-;=-~])",
        rf"(?=[\U00010000-\U0010ffff])[{ALIKE_BEYOND}]",
    )
]
HIDDEN = re.compile(f"[{UNSEEN}]")
TABLES = {"unseen": UNSEEN, "latin": LATIN, "letters": ALIKE_LETTERS, "signs": ALIKE_SIGNS, "beyond": ALIKE_BEYOND}
NOTHING = dict.fromkeys(TABLES, ())


def is_alike(text: str) -> bool:
    return any(pattern.search(text) for pattern in ALIKE)


def is_unseen(text: str) -> bool:
    return not text.isprintable() or HIDDEN.search(text) is not None


def characters(table: str) -> list[str]:
    ends = re.findall(r"\\[uU]([0-9a-f]+)(?:-\\[uU]([0-9a-f]+))?", table)
    return [chr(code) for first, last in ends for code in range(int(first, 16), int(last or first, 16) + 1)]


# U+0436 and U+05D0 look like no other letter, U+0967 is a digit, U+A7CB is newer than the interpreter's Unicode
NEAR = st.sampled_from('  aZ09_.@/\\:-!"#;<=>?~\u0436\u05d0\u0430\u0967\u2215\ua7cb\u4f7f\U0001d429\U0001f600\u0301')
ANY = st.one_of(NEAR, NEAR, *(st.sampled_from(characters(table)) for table in TABLES.values()), st.characters())
TEXTS = st.lists(ANY, max_size=16).map("".join)


@given(TEXTS)
@example("\u0436\ua7cba")
@example("\ua7cb\ua7cb \u0436")
@example("\u0430 a\u0430\u0436")
@example("\ud800")
def test_a_text_is_found_as_the_patterns_find_it(text):
    assert has_alike(text) == is_alike(text)
    assert has_unseen(text) == is_unseen(text)


@pytest.mark.parametrize("table", TABLES)
def test_each_character_of_a_table_is_found_beside_any_other_as_the_patterns_find_it(table):
    around = (
        "{}",
        "a{}",
        "{}a",
        "a{}a",
        "\u0436{}",
        "{}\u0436",
        "\u0436 {} \u0436",
        "1.{}",
        "\u0430{}",
        "a\u0430{}",
        "{}\u0430a",
    )
    for char in characters(table)[:4_000]:
        for form in around:
            text = form.format(char)
            assert (has_alike(text), has_unseen(text)) == (is_alike(text), is_unseen(text)), ascii(text)


@pytest.mark.parametrize("ends", [(-1, 5), (5, 4), (0, 0x110000)])
def test_a_range_that_is_none_of_characters_is_refused(ends):
    with pytest.raises(ValueError, match="expected a range of characters"):
        Alphabet(**NOTHING | {"unseen": [ends]})


def test_a_character_is_what_its_ranges_say_whichever_page_they_begin_in():
    alphabet = Alphabet(**NOTHING | {"unseen": [(0x3FE, 0x502)], "beyond": [(0x10FFFF, 0x10FFFF)]})
    found = [code for code in range(0x300, 0x600) if alphabet.has_unseen(chr(code)) and chr(code).isprintable()]
    assert found == [code for code in range(0x3FE, 0x503) if chr(code).isprintable()]
    assert alphabet.has_alike("\U0010ffff")
    assert not alphabet.has_alike("\U0010fffe")


def test_text_of_none_is_refused_and_an_empty_one_holds_nothing():
    alphabet = Alphabet(**NOTHING)
    assert not alphabet.has_alike("")
    assert not alphabet.has_unseen("")
    with pytest.raises(TypeError):
        alphabet.has_alike(None)
