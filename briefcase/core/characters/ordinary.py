"""What ordinary text of some language holds, although the same character elsewhere raises a risk signal.

It is shown marked all the same (`characters.mark`): this says only for which of these an allowed call need not wait.

| in | what | why nothing hides there |
|---|---|---|
| emoji | the selector U+FE0F after one, the joiner between two, a keycap | one beside a sign that is seen |
| French | a no-break space before `! ? : ; »`, after `«`, in a number | a space stands there anyway |
| Chinese, Japanese | U+3000 between two of their characters | the same |
| Chinese, Japanese | full-width punctuation; U+30CE beside kana | seen, and wide |
| Persian, Hindi and their kind | a joiner or non-joiner between two letters that it shapes | seen in the letters |
| Russian, Ukrainian, Bulgarian | a word of one letter, in a text of Cyrillic | no name has one letter |

A second selector, joiner or space is none of these. Every pattern looks at one character and its neighbours.
"""

from __future__ import annotations

import re
from typing import Final

from briefcase.core.characters.marks import LatePattern, has_alike, has_unseen

MAX_CHARS: Final = 32_768  # what is longer is not read twice: any of these characters raises its signal there

_EMOJI: Final = (
    r"\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u21aa\u231a-\u23ff\u24c2\u25aa-\u27bf\u2934\u2935\u2b05-\u2b55"
    r"\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
)
_CJK: Final = r"\u3001-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uff01-\uff5e"
_ARABIC: Final = r"\u0620-\u064a\u066e-\u06d3"
_VIRAMA: Final = r"\u094d\u09cd\u0a4d\u0acd\u0b4d\u0bcd\u0c4d\u0ccd\u0d4d"
_INDIC: Final = (
    r"\u0904-\u0939\u0985-\u09b9\u0a05-\u0a39\u0a85-\u0ab9\u0b05-\u0b39\u0b85-\u0bb9\u0c05-\u0c39\u0c85-\u0d39"
)

_ORDINARY_UNSEEN: Final = LatePattern(
    rf"(?<=[{_EMOJI}])\ufe0f(?!\ufe0f)|(?<=[0-9#*])\ufe0f(?=\u20e3)"
    rf"|(?:(?<=[{_EMOJI}])|(?<=[{_EMOJI}]\ufe0f))\u200d(?=[{_EMOJI}])"
    r"|(?<=[\w\u2019)\u00bb\u201d])[\u00a0\u202f](?=[!?:;\u00bb])|(?<=\u00ab)[\u00a0\u202f](?=\w)"
    r"|(?<=[0-9])[\u00a0\u202f](?=[0-9%\u20ac])"
    rf"|(?<=[{_CJK}])\u3000(?=[{_CJK}])"
    rf"|(?<=[{_ARABIC}])\u200c(?=[{_ARABIC}])|(?<=[{_VIRAMA}])[\u200c\u200d](?=[{_INDIC}])"
)
_KANA: Final = r"\u3041-\u30cd\u30cf-\u30ff"
_ORDINARY_KANA: Final = re.compile(rf"(?<=[{_KANA}])\u30ce|\u30ce(?=[{_KANA}])")
_HAN_OR_KANA: Final = re.compile(r"[\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
_ORDINARY_WIDE: Final = re.compile(r"[\uff01\uff08\uff09\uff0c\uff1b\uff1f]|\uff1a(?![/\uff0f])")
_PLAIN_CYRILLIC: Final = re.compile(
    r"[\u0434\u0436\u0437\u0438\u0439\u043b\u043d\u0442\u0444\u0446-\u0449\u044b\u044d-\u044f]"
)
_ORDINARY_WORD: Final = re.compile(
    r"(?<![^ \"(\u00ab])[\u0430\u043e\u0441\u0443\u0410\u041e\u0421\u0423\u0456\u0406](?![^ \",.)\u00bb])"
)


def has_hidden(text: str) -> bool:
    """Whether a text holds a character that nobody sees, but for the places where it is ordinary."""
    return has_unseen(text) and (len(text) > MAX_CHARS or has_unseen(_ORDINARY_UNSEEN.sub("", text)))


def has_lookalike(text: str) -> bool:
    """Whether a text holds a character that a person takes for another one, but for the places where it is ordinary."""
    return has_alike(text) and (len(text) > MAX_CHARS or has_alike(_less_ordinary(text)))


def _less_ordinary(text: str) -> str:
    """The text with each ordinary one gone, or another character in its place that looks like none."""
    seen = _ORDINARY_KANA.sub("\u30a2", text)
    if _HAN_OR_KANA.search(seen):
        seen = _ORDINARY_WIDE.sub("\u3001", seen)
    if _PLAIN_CYRILLIC.search(seen):
        seen = _ORDINARY_WORD.sub("", seen)
    return seen
