"""Every pattern of the package takes linear time on its own worst input: nobody writes one that does not, unseen.

The worst inputs are made from the pattern itself: what comes before each repetition, the repetition's own text many
times, and an end that does not match, in every arrangement that makes a backtracking engine begin again.
"""

import ast
import importlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from re import _constants as sre  # a test may look at how `re` reads a pattern
from re import _parser

import msgspec
import pytest

from briefcase.core import risk
from briefcase.core.characters.marks import LatePattern
from briefcase.core.patterns import LinearPattern
from briefcase.core.risk import assess_risk

PACKAGE = Path(__file__).parent.parent / "briefcase"
USES = ("search", "match", "fullmatch", "sub", "subn", "split", "findall", "finditer")
ALONE = "core/receipts/verify_export.py"  # it runs by itself, on the machine of whoever verifies

TINY_CHARS = 32
SHORT_CHARS = 512
LONG_CHARS = 8 * SHORT_CHARS
MAX_RATIO = 24.0  # linear is 8, a square is 64
UNMEASURABLE_S = 0.001
HOPELESS_S = 0.02  # for `TINY_CHARS`
TRIES = 10


class Used(msgspec.Struct, frozen=True):
    """A pattern, and the way the package runs it."""

    where: str
    text: str
    flags: int
    is_bytes: bool
    run: Callable


def module_of(path: Path):
    return importlib.import_module(".".join(("briefcase", *path.relative_to(PACKAGE).with_suffix("").parts)))


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        if str(path.relative_to(PACKAGE)) != ALONE:
            yield path, ast.parse(path.read_text())


def patterns() -> Iterator[Used]:
    whole = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    runs = set(re.findall(rf"\b(\w+)\.({'|'.join(USES)})\(", whole))
    for path, tree in sources():
        where = str(path.relative_to(PACKAGE))
        if re.search(r"re\.compile|LinearPattern\(|LatePattern\(", path.read_text()):
            for name, value in values_of(module_of(path)):
                if isinstance(value, LinearPattern):
                    yield Used(f"{where}:{name}", value.pattern, 0, is_bytes=False, run=value.is_in)
                if isinstance(value, re.Pattern):
                    for use in USES:
                        if (name, use) in runs:
                            yield used(f"{where}:{name}.{use}", value, use)
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "pattern":  # as msgspec runs it
                text = eval(compile(ast.Expression(node.value), where, "eval"), vars(module_of(path)))
                yield used(f"{where}:{node.value.lineno}", re.compile(text), "search")


def values_of(module) -> Iterator[tuple[str, object]]:
    """What a module names, what its tuples hold, and the patterns behind those that are compiled late."""
    for name, value in vars(module).items():
        for each in value if isinstance(value, tuple) else [value]:
            yield name, each.compiled if isinstance(each, LatePattern) else each


def used(where: str, pattern: re.Pattern, use: str) -> Used:
    run = {
        "sub": lambda text: pattern.sub("" if isinstance(text, str) else b"", text),
        "subn": lambda text: pattern.subn("" if isinstance(text, str) else b"", text),
        "finditer": lambda text: list(pattern.finditer(text)),
    }.get(use) or getattr(pattern, use)
    is_bytes = isinstance(pattern.pattern, bytes)
    text = pattern.pattern.decode("latin-1") if is_bytes else pattern.pattern
    return Used(where, text, pattern.flags & ~re.UNICODE, is_bytes, run)


# --- the worst inputs of a pattern --------------------------------------------------------------------------------


def worst_inputs(pattern: Used) -> Iterator[Callable[[int], str]]:
    """Makers of inputs of about a number of characters."""
    tree = _parser.parse(pattern.text.replace(r"(?-u:\b)", r"\b"), pattern.flags)
    alphabet = list(dict.fromkeys([*(chr(value) for op, value in walk(tree) if op is sre.LITERAL), *"#-a0A_. "]))
    seen = set()
    for before, pump in repeats(tree, "", alphabet):
        units = [pump, before + pump, before]
        units += [separator + unit for unit in (before, before + pump) for separator in "- ."]
        for unit in units:
            for head in ("", before):
                if unit and (head, unit) not in seen:
                    seen.add((head, unit))
                    yield lambda chars, head=head, unit=unit: head + unit * (chars // len(unit)) + "\x00"


def walk(tree) -> Iterator[tuple]:
    for op, value in tree:
        yield op, value
        for below in children(op, value):
            yield from walk(below)


def children(op, value) -> list:
    if op in {sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT}:
        return [value[2]]
    if op is sre.SUBPATTERN:
        return [value[3]]
    if op is sre.BRANCH:
        return list(value[1])
    if op in {sre.ASSERT, sre.ASSERT_NOT}:
        return [value[1]]
    return [value] if op is sre.ATOMIC_GROUP else []


def repeats(tree, before: str, alphabet: list[str]) -> Iterator[tuple[str, str]]:
    """What comes before each repetition, and texts that it repeats."""
    for op, value in tree:
        for below in children(op, value):
            yield from repeats(below, before, alphabet)
        if op in {sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT}:
            for pump in samples(value[2], alphabet):
                yield before, pump
        before += next(iter(samples([(op, value)], alphabet)), "")


def samples(tree, alphabet: list[str]) -> list[str]:
    """A few texts that match a part of a pattern."""
    found = [""]
    for op, value in tree:
        found = [text + more for text in found for more in sampled(op, value, alphabet)][:4]
    return list(dict.fromkeys(found))


def sampled(op, value, alphabet: list[str]) -> list[str]:
    if op is sre.LITERAL:
        return [chr(value)]
    if op in {sre.IN, sre.NOT_LITERAL, sre.ANY}:
        return [char for char in alphabet if is_in_class(op, value, char)][:3] or ["a"]
    if op in {sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT}:
        least, most, below = value
        return [text * min(max(least, 1), most, 64) for text in samples(below, alphabet)]
    if op is sre.BRANCH:
        return [text for below in value[1] for text in samples(below, alphabet)]
    if op in {sre.SUBPATTERN, sre.ATOMIC_GROUP}:
        return samples(children(op, value)[0], alphabet)
    return [""]  # an anchor, or a look-around


def is_in_class(op, value, char: str) -> bool:
    if op is sre.ANY:
        return char != "\n"
    if op is sre.NOT_LITERAL:
        return ord(char) != value
    categories = {
        sre.CATEGORY_DIGIT: char.isdigit(), sre.CATEGORY_NOT_DIGIT: not char.isdigit(),
        sre.CATEGORY_SPACE: char.isspace(), sre.CATEGORY_NOT_SPACE: not char.isspace(),
        sre.CATEGORY_WORD: char.isalnum() or char == "_", sre.CATEGORY_NOT_WORD: not (char.isalnum() or char == "_"),
    }  # fmt: skip
    negated = value[0][0] is sre.NEGATE
    found = any(
        (part is sre.LITERAL and ord(char) == what)
        or (part is sre.RANGE and what[0] <= ord(char) <= what[1])
        or (part is sre.CATEGORY and categories[what])
        for part, what in value
    )
    return found is not negated


def seconds(run: Callable, text: str | bytes, rounds: int) -> float:
    best = float("inf")
    for _ in range(rounds):
        began = time.thread_time()  # what other processes take of the processor is no part of it
        run(text)
        best = min(best, time.thread_time() - began)
    return best


def slow_input(pattern: Used) -> str:
    """An input whose time grows faster than its length, shown by its beginning; empty where there is none."""
    for make in worst_inputs(pattern):
        encoded = [make(chars) for chars in (TINY_CHARS, SHORT_CHARS, LONG_CHARS)]
        texts = [text.encode("latin-1", "replace") for text in encoded] if pattern.is_bytes else encoded
        if seconds(pattern.run, texts[0], TRIES) > HOPELESS_S:
            return encoded[0]  # worse than any square
        if seconds(pattern.run, texts[2], 1) <= UNMEASURABLE_S:
            continue
        if all(is_more_than_in_proportion(pattern.run, *texts[1:]) for _ in range(TRIES)):
            return encoded[0]
    return ""


def is_more_than_in_proportion(run: Callable, short: str | bytes, long: str | bytes) -> bool:
    """Whether it is measured so; on a busy machine anything is now and then, so it is asked more than once."""
    long_s = seconds(run, long, 5)
    return long_s > UNMEASURABLE_S and long_s > MAX_RATIO * seconds(run, short, 20)


PATTERNS = {pattern.where: pattern for pattern in patterns()}


@pytest.mark.parametrize("where", PATTERNS)
def test_a_pattern_takes_twice_as_long_for_twice_its_worst_input(where):
    assert slow_input(PATTERNS[where]) == ""


@pytest.mark.parametrize(
    "text",
    [
        r"\beyJ[0-9A-Za-z_-]{10,}\.eyJ[0-9A-Za-z_-]{10,}\.",  # as `risk.py` had it: 38 s for 512 KiB of `-eyJ`
        r"\s+$",
        r"<!--.*?-->",
    ],
)
def test_a_pattern_that_is_not_linear_is_found(text):
    assert slow_input(used("here", re.compile(text), "search"))


def test_patterns_are_compiled_once_at_the_top_of_a_module_where_this_test_finds_them():
    for path, tree in sources():
        top = {id(node) for statement in tree.body for node in ast.walk(statement)} - {
            id(node)
            for statement in ast.walk(tree)
            if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef))
            for node in ast.walk(statement)
        }
        late = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "LatePattern"]
        inside = {id(node) for each in late for node in ast.walk(each)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id in {"LinearPattern", "LatePattern"}:
                    assert id(node) in top, f"{path.relative_to(PACKAGE)}:{node.lineno}"
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and id(node) not in inside:
                owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
                if owner == "re" and node.func.attr in {"compile", *USES}:
                    assert id(node) in top, f"{path.relative_to(PACKAGE)}:{node.lineno}"
    assert len(PATTERNS) > 70


@pytest.mark.parametrize(
    "unit", ["-eyJ", "-eyJaaaaaaaaaa.", "ignore ", "ignore\t\t\t\t", "xoxa-", "é-eyJ", "\u200a"], ids=ascii
)
def test_what_risk_reads_of_a_megabyte_grows_with_the_megabyte(unit):
    """Of the largest body there may be, and of one eighth of it."""
    long = (unit * (1 << 20))[: (1 << 20) // len(unit.encode()) * len(unit)].encode()[: 1 << 20].decode(errors="ignore")
    short = long[: len(long) // 8].encode()

    def run(text: bytes) -> None:
        assess_risk(text)

    assert seconds(run, long.encode(), 3) < max(MAX_RATIO * seconds(run, short, 3), 0.1)


def test_what_risk_reads_runs_on_the_linear_engine():
    assert all(isinstance(pattern, LinearPattern) for _, pattern in risk.RULES)
