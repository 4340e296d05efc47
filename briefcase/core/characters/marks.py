"""Characters that a person does not see, or takes for others: one table, for what is shown and for the risk signals.

Unseen (`invisible_text`): each character that does not print (`str.isprintable`: Unicode's categories C and Z but for
the space); by property each default-ignorable, bidirectional control and white space but the space; blank glyphs.

Alike (`confusable_text`), by UTS 39's confusables:

 1. a letter that looks like an ASCII letter or digit, in a word that also has Latin letters
 2. a word of such letters alone, unless the word beside it plainly is of another script; always where a joint (`.`,
    `@`, `/` and their kind) puts it beside ASCII: a part of a host, an address or a path is read with the others
 3. a digit of another script beside an ASCII letter or digit
 4. a sign that looks like an ASCII sign, between two ASCII characters; the quotes, dashes, dots and crosses of ordinary
    typography are no signs here: they stand in every other text
 5. any of these beyond the Basic Multilingual Plane

Both are shown as `<U+XXXX>`. So is a combining mark that Unicode's normalised form would merge with the character
before it, that strikes it out or encloses it, or that is the fourth on one character; it raises no signal, as some
systems write each name so. Not found: words that look alike in one script.

The tables are `characters.table` (generated); the interpreter knows the categories, and what is newer than its Unicode
does not print. To find is one native pass (`_native.alike`): six patterns of `re` held the loop for 90 ms a megabyte.
To mark, every pattern is linear: what repeats is possessive, and starts only where a run starts.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache, cached_property
from typing import Final

from briefcase._native.alike import Alphabet
from briefcase.core.characters.table import ALIKE_BEYOND, ALIKE_LETTERS, ALIKE_SIGNS, LATIN, UNSEEN

OVERLAY: Final = 1  # the combining class of what strikes a character out: it makes other signs of many, `>` among them
KEYCAP: Final = "\u20e3"
MAX_MARKS: Final = 3  # on one character; more of them are drawn over the lines above and below


class LatePattern:
    """A pattern of `re` that is compiled with its first use.

    To compile those with the whole tables in them takes 20 ms, a fifteenth of a daemon's start, and text that is ASCII
    is not looked at with any. `load_patterns` compiles them when nobody waits.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        _LATE.append(self)

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        """The pattern itself."""
        return re.compile(self._pattern)

    @cached_property
    def search(self) -> Callable[[str], re.Match[str] | None]:
        """`re.Pattern.search`."""
        return self.compiled.search

    @cached_property
    def match(self) -> Callable[[str], re.Match[str] | None]:
        """`re.Pattern.match`."""
        return self.compiled.match

    @cached_property
    def sub(self) -> Callable[[str | Callable[[re.Match[str]], str], str], str]:
        """`re.Pattern.sub`."""
        return self.compiled.sub


_LATE: Final[list[LatePattern]] = []

_LETTER: Final = r"[^\W\d_]"
_PLAIN: Final = rf"[^\W\d_{LATIN}{ALIKE_LETTERS}]"  # a letter of another script that looks like no ASCII letter
_NO_LATIN: Final = rf"[^\W\d_{LATIN}]"
_NOT_ALIKE: Final = rf"[^\W\d_{ALIKE_LETTERS}]"
_NOT_PLAIN: Final = rf"[{LATIN}{ALIKE_LETTERS}]"

_UNSEEN: Final = LatePattern(f"[{UNSEEN}]")
_ALIKE_LETTER: Final = LatePattern(f"[{ALIKE_LETTERS}]")
_ALIKE_BEYOND: Final = LatePattern(f"(?=[\U00010000-\U0010ffff])[{ALIKE_BEYOND}]")

_JOINT: Final = r"[.@/\\:_-]"

# What is marked: whole words, runs of digits and runs of signs.
_WORD: Final = LatePattern(
    rf"(?<!{_LETTER})(?:"
    rf"(?={_NO_LATIN}*+[{LATIN}])(?={_NOT_ALIKE}*+[{ALIKE_LETTERS}]){_LETTER}++"
    rf"|(?<=[0-9A-Za-z]{_JOINT})[{ALIKE_LETTERS}]++(?!{_LETTER})"
    rf"|[{ALIKE_LETTERS}]++(?={_JOINT}[0-9A-Za-z])"
    rf"|(?<!{_PLAIN} )[{ALIKE_LETTERS}]++(?!{_LETTER})(?! {_NOT_PLAIN}*+{_PLAIN}))"
)
_DIGITS: Final = re.compile(r"(?:(?<=[0-9A-Za-z])|(?<![^\D0-9])(?=[^\D0-9]++[0-9A-Za-z]))[^\D0-9]++")
_SIGNS: Final = LatePattern(rf"(?<=[!#-=?-~])[{ALIKE_SIGNS}]++(?=[!#-;=-~])")

_RANGE: Final = re.compile(r"\\[uU]([0-9a-f]{4,8})(?:-\\[uU]([0-9a-f]{4,8}))?")


def load_patterns() -> None:
    """Compile every pattern that is not compiled yet; another thread may meanwhile use them."""
    _alphabet()
    for pattern in _LATE:
        _ = pattern.compiled


def has_unseen(text: str) -> bool:
    """Whether a text holds a character that nobody sees."""
    return not text.isprintable() if text.isascii() else _alphabet().has_unseen(text)


def has_alike(text: str) -> bool:
    """Whether a text holds a character, where it stands, that a person takes for another one."""
    return not text.isascii() and _alphabet().has_alike(text)


def visible_text(text: str) -> str:
    """The text with each unseen character, and each one that is taken for another, as `<U+XXXX>`.

    Marking what is marked changes nothing.
    """
    if text.isascii():
        return text if text.isprintable() else "".join(char if char.isprintable() else _code(char) for char in text)
    seen = _mark_unseen(text)
    seen = _WORD.sub(lambda word: _ALIKE_LETTER.sub(_code_of, word[0]), seen)
    seen = _DIGITS.sub(_codes_of, seen)
    seen = _SIGNS.sub(_codes_of, seen)
    return _ALIKE_BEYOND.sub(_code_of, seen)


@cache
def _alphabet() -> Alphabet:
    """What finds such characters, made when a first text is not ASCII."""
    return Alphabet(
        unseen=_ranges(UNSEEN),
        latin=_ranges(LATIN),
        letters=_ranges(ALIKE_LETTERS),
        signs=_ranges(ALIKE_SIGNS),
        beyond=_ranges(ALIKE_BEYOND),
    )


def _ranges(table: str) -> list[tuple[int, int]]:
    return [(int(found[1], 16), int(found[2] or found[1], 16)) for found in _RANGE.finditer(table)]


def _mark_unseen(text: str) -> str:
    shown: list[str] = []
    before, marks = "", 0
    for char in text:
        marks = 0 if char.isascii() or unicodedata.category(char)[0] != "M" else marks + 1
        is_unseen = not char.isprintable() or _UNSEEN.match(char) or (marks and _is_misread(before, char, marks))
        shown.append(_code(char) if is_unseen else char)
        before = char
    return "".join(shown)


def _is_misread(before: str, char: str, marks: int) -> bool:
    """Whether a combining mark becomes one character with the one before it, strikes it out, or is one too many."""
    if marks > MAX_MARKS or unicodedata.combining(char) == OVERLAY:
        return True
    if unicodedata.category(char) == "Me":  # around a character
        return char != KEYCAP
    return before != "" and len(unicodedata.normalize("NFC", before + char)) == 1


def _code(char: str) -> str:
    return f"<U+{ord(char):04X}>"


def _code_of(found: re.Match[str]) -> str:
    return _code(found[0])


def _codes_of(found: re.Match[str]) -> str:
    return "".join(map(_code, found[0]))
