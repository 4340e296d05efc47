"""Policy text as text: its bounds, where each policy stands, and an error shown where it is.

The reference engine parses policies but keeps no positions, and its parser recurses: text nested too deep would end
the whole process. So before it sees a text, a scan bounds nesting and operators; and after it refused one, the place
is found here: by the policy that fails on its own, and in it by the shortest prefix that already fails.

Nothing here knows what policies mean. Grammar: docs.cedarpolicy.com/policies/syntax-grammar.html.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NoReturn

import msgspec

from briefcase.core.characters.marks import visible_text
from briefcase.model.errors import CallerError

MAX_TEXT_BYTES: Final = 1 << 20
MAX_POLICIES: Final = 10_000
MAX_NESTING: Final = 64  # brackets in brackets; the reference engine overflows an 8 MiB stack somewhere past 600
MAX_OPERATORS: Final = 2_000  # in one policy; there, past 4,000
MAX_SHOWN_CHARS: Final = 120

_STRING: Final = r'"(?:\\[\s\S]?|[^"\\])*+"?'  # one that nothing ends goes to the end of the text: it is scanned once
_COMMENT: Final = r"//[^\n\r]*"
# What the first scan stops at; strings and comments only so that nothing inside them counts.
_STRUCTURE: Final = re.compile(rf"{_STRING}|{_COMMENT}|&&|\|\||\bif\b|[()\[\]{{}};.+*!-]")
_TOKEN: Final = re.compile(rf"{_COMMENT}|({_STRING}|\w+|::|&&|\|\||[=!<>]=|\S)")
_ESCAPE: Final = re.compile(r"\\(?:u\{([0-9A-Fa-f]{1,6})\}|x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}
_NAME: Final = re.compile(r"[\w.]+")
_QUOTED: Final = re.compile(r"`([^`]+)`|^invalid variable: (\w+)")
_END_OF_INPUT: Final = "unexpected end of input"
_SYNTAX_ERRORS: Final = ("unexpected token", "invalid token")


class PolicySource(msgspec.Struct, frozen=True):
    """A policy text and the half-open character ranges of its policies, in order.

    Text after the last `;` that is more than comments is a (broken) policy too.
    """

    text: str
    ranges: tuple[tuple[int, int], ...]

    def policy(self, index: int) -> str:
        """The text of one policy, from its first annotation or keyword to its `;`."""
        start, end = self.ranges[index]
        return self.text[start:end]

    def refuse(self, message: str, offset: int, hint: str = "") -> NoReturn:
        """Refuse the text because of what stands at an offset.

        Raises:
            CallerError: always (`invalid_policy`), with line, column, the source line and a caret.
        """
        line, column, shown = place_of(self.text, offset)
        raise CallerError(f"line {line}, column {column}: {message}\n{shown}", code="invalid_policy", hint=hint)


def read_source(text: str) -> PolicySource:
    """Bound a text and find its policies.

    Raises:
        CallerError: larger than `MAX_TEXT_BYTES`, more than `MAX_POLICIES`, nested or chained too deep, or it holds
            an unpaired surrogate.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        PolicySource(text, ()).refuse("expected Unicode text, got an unpaired surrogate", error.start)
    if size > MAX_TEXT_BYTES:
        raise CallerError(
            f"expected at most {MAX_TEXT_BYTES} bytes of policy, got {size}",
            code="invalid_policy",
            hint="group agents and tools instead of naming each one",
        )
    source = PolicySource(text, tuple(_ranges(text)))
    if len(source.ranges) > MAX_POLICIES:
        raise CallerError(
            f"expected at most {MAX_POLICIES} policies, got {len(source.ranges)}",
            code="invalid_policy",
            hint="group agents and tools instead of naming each one",
        )
    return source


def _ranges(text: str) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    depth = operators = start = 0
    for match in _STRUCTURE.finditer(text):
        sign = match.group()
        if sign[0] == '"' or sign.startswith("//"):
            continue
        if sign == ";":
            ranges.append((_first_token(text, start, match.end()), match.end()))
            start, depth, operators = match.end(), 0, 0
        elif sign in ")]}":
            depth -= 1
        else:
            operators += 1
            depth += sign in "([{"
        if depth > MAX_NESTING:
            PolicySource(text, ()).refuse(f"expected at most {MAX_NESTING} nested brackets", match.start())
        if operators > MAX_OPERATORS:
            PolicySource(text, ()).refuse(
                f"expected at most {MAX_OPERATORS} operators and brackets in one policy",
                match.start(),
                "split the policy",
            )
    rest = _first_token(text, start, len(text))
    return [*ranges, (rest, len(text))] if rest < len(text) else ranges


def _first_token(text: str, start: int, end: int) -> int:
    return next((match.start() for match in _TOKEN.finditer(text, start, end) if match.group(1)), end)


# --- where an error is ------------------------------------------------------------------------------------------


def locate(source: PolicySource, problem_of: Callable[[str], str | None], suspects: Iterable[int]) -> tuple[str, int]:
    """Find what a text is refused for, and where.

    Args:
        source: the text.
        problem_of: parses a text; its problem, or None.
        suspects: the policies (by index) among which one is refused.

    Returns:
        The problem and its character offset.
    """
    for index in suspects:
        policy = source.policy(index)
        problem = problem_of(policy)
        if problem is not None:
            return problem, source.ranges[index][0] + _offset_in(policy, problem, problem_of)
    return "the policies do not fit together", 0


def _offset_in(policy: str, problem: str, problem_of: Callable[[str], str | None]) -> int:
    if problem == _END_OF_INPUT:
        return len(policy)
    tokens = [match.span(1) for match in _TOKEN.finditer(policy) if match.group(1)]
    if not problem.startswith(_SYNTAX_ERRORS):
        return offset_of_names(policy, problem)
    # A prefix that only ends too early could still become a policy; the token to blame ends the first one that cannot.
    low, high = 0, len(tokens) - 1
    while low < high:
        middle = (low + high) // 2
        if problem_of(policy[: tokens[middle][1]]) == _END_OF_INPUT:
            low = middle + 1
        else:
            high = middle
    return tokens[low][0]


def offset_of_names(policy: str, problem: str) -> int:
    """Where a policy says what a problem quotes in backticks (`args.path` may be said as `path`); else its start."""
    for name in map("".join, _QUOTED.findall(problem)):
        for spelling in (name, name.rpartition(".")[2]):
            found = _offset_of_tokens(policy, spelling)
            if found is not None:
                return found
    return 0


def _offset_of_tokens(policy: str, phrase: str) -> int | None:
    wanted = [_meaning(token) for token in _tokens(phrase)]
    said = [(_meaning(match.group(1)), match.start(1)) for match in _TOKEN.finditer(policy) if match.group(1)]
    for first in range(len(said) - len(wanted) + 1) if wanted else ():
        if all(said[first + step][0] == word for step, word in enumerate(wanted)):
            return said[first][1]
    # What is no name, the engine quotes as it is spelt.
    found = -1 if _NAME.fullmatch(phrase) else policy.find(phrase)
    return found if found >= 0 else None


def _meaning(token: str) -> str:
    """A token as the engine reads it: a string without its quotes and escapes."""
    if not token.startswith('"'):
        return token
    return _ESCAPE.sub(_unescaped, token[1:-1])


def _unescaped(escape: re.Match[str]) -> str:
    code = escape[1] or escape[2]
    if code is None:
        return _ESCAPED.get(escape[3], escape[3])
    return chr(int(code, 16)) if int(code, 16) <= sys.maxunicode else escape[0]


def _tokens(text: str) -> Sequence[str]:
    return [match.group(1) for match in _TOKEN.finditer(text) if match.group(1)]


def place_of(text: str, offset: int) -> tuple[int, int, str]:
    """A place as people name it.

    Returns:
        Line and column, both from 1, and the line with a caret below the column; invisible characters are made
        visible in it, and a long line is cut to what surrounds the column.
    """
    line = text.count("\n", 0, offset) + 1
    start = text.rfind("\n", 0, offset) + 1
    end = text.find("\n", offset)
    column = offset - start + 1
    cut_from = max(start, offset - MAX_SHOWN_CHARS // 2)
    cut_to = min(len(text) if end < 0 else end, cut_from + MAX_SHOWN_CHARS)
    before = _printable(text[cut_from:offset])
    after = _printable(text[offset:cut_to])
    return line, column, f"  {before}{after}\n  {' ' * len(before)}^"


def _printable(text: str) -> str:
    return visible_text(text.replace("\t", " ").replace("\r", ""))
