"""Fuzz the native code: hostile syntax, values and texts, random cases compared with Cedar, and nearly JSON.

    BRIEFCASE_BUILD_SANITIZE=1 python setup.py build_ext --inplace
    LD_PRELOAD="$(gcc -print-file-name=libasan.so)" ASAN_OPTIONS=detect_leaks=0 python tests/native/fuzz_match.py 600

Under the sanitizers a memory error or undefined behaviour ends the process with a report. A disagreement with Cedar, or
any exception but `ValueError`, ends it with the seed that shows it again: `fuzz_match.py 0 SEED`.
"""

# ruff: noqa: T201 - a command prints

import json
import random
import sys
import time
from collections import Counter
from typing import Any

import cedarpy
from cedar_cases import KINDS, TEXTS, Case, Maker
from cedar_oracle import check_case, uid_of

from briefcase._native.entities import compile_entities, value_of
from briefcase._native.match import compile_policies
from briefcase._native.strict import NotStrictError, read_strict
from briefcase._native.values import EntityUid, Record

ODD = (
    None,
    0.5,
    2**63,
    -(2**63) - 1,
    10**400,
    "",
    "\x00",
    "\ud800",
    [],
    {},
    [[]],
    {"": {}},
    True,
    b"",
    object(),
    float("nan"),
)
LETTERS = "0123456789.:/-+dhmsTZaf \u0661\x00\U0010ffff"
JSON_PIECES = (
    *(b"{", b"}", b"[", b"]", b":", b",", b" ", b'"', b'"a":', b'"\xc3\xa9"', b'"\\ud83d\\ude00"', b'"\\ud800"'),
    *(b"\\u00", b"\\", b"-", b"0", b"1.5e3", b"9" * 200, b"true", b"nul", b"\xff", b"\x00", b'"abcdefgh', b'ijklmnop"'),
    b"[" * 8,
)
NAMES = ("Value", "Var", "==", "&&", "||", "!", "neg", ".", "has", "like", "is", "in", "if-then-else", "Set", "Record",
         "ip", "decimal", "offset", "left", "right", "arg", "attr", "pattern", "entity_type", "op", "slot", "entity",
         "__entity", "__extn", "type", "id", "conditions", "effect", "Wildcard", "Literal")  # fmt: skip


def mangled(value: Any, source: random.Random, depth: int = 0) -> Any:
    """A copy of parsed JSON with a few parts replaced, renamed, dropped, repeated or wrapped deep."""
    roll = source.random()
    if roll < 0.01:
        return source.choice((*ODD, *NAMES))
    if roll < 0.012:
        for _ in range(source.choice((3, 200, 5_000))):
            value = source.choice(([value], {"!": {"arg": value}}, {source.choice(NAMES): value}))
        return value
    if isinstance(value, dict):
        names = {name: source.choice(NAMES) if source.random() < 0.01 else name for name in value}
        return {names[k]: mangled(v, source, depth + 1) for k, v in value.items() if source.random() > 0.005}
    if isinstance(value, list):
        return [mangled(v, source, depth + 1) for v in value for _ in range(source.choice((1,) * 50 + (0, 2, 40)))]
    if isinstance(value, str) and roll < 0.03:
        return value[: source.randrange(len(value) + 1)] + source.choice(("\x00", "\U0010ffff", "/", ":", "9" * 400))
    return value


def fuzz_hostile(case: Case, source: random.Random) -> list[str]:
    """Mangled input may be refused with `ValueError`; anything else it does must be an answer."""
    policies = json.loads(cedarpy.policies_to_json_str(case.text)) | {"templateLinks": list(case.links)}
    candidate = mangled(policies, source)
    outcomes = []
    try:
        ours = compile_policies(candidate if isinstance(candidate, dict) else {"staticPolicies": candidate})
        outcomes.append("compiled mangled policies")
    except ValueError:
        ours = compile_policies(policies)
        outcomes.append("refused mangled policies")
    changed = source.randrange(len(case.entities))
    try:
        entities = compile_entities([mangled(e, source) if n == changed else e for n, e in enumerate(case.entities)])
        outcomes.append("compiled mangled entities")
    except ValueError:
        entities = compile_entities(case.entities)
        outcomes.append("refused mangled entities")
    for request in case.requests:
        context = mangled(request["context"], source)
        principal, action, resource = (uid_of(request[name]) for name in ("principal", "action", "resource"))
        if isinstance(context, dict):
            ours.authorize(principal, action, resource, entities, Record(context))
            special = ours.specialise(action, resource, entities)
            special.decide(EntityUid("A", source.choice(("x", "\ud800", "new"))), frozenset({principal}), context)
            outcomes.append("answered for a mangled context")
        try:
            value_of(context)
        except ValueError:
            outcomes.append("refused a mangled context")
    return outcomes


def fuzz_texts(source: random.Random) -> str:
    """Texts near those an extension constructor takes."""
    kind = source.choice(sorted(TEXTS))
    characters = list(source.choice(TEXTS[kind]))
    for _ in range(source.randrange(6)):
        at = source.randrange(len(characters) + 1)
        characters[at : at + source.randrange(3)] = source.choices(
            "0123456789.:/-+dhmsTZaf \u0661\x00\U0010ffff", k=source.randrange(3)
        )
    try:
        value_of({"__extn": {"fn": kind, "arg": "".join(characters) * source.choice((1, 1, 1, 50))}})
    except ValueError:
        return f"refused a {kind}"
    return f"read a {kind}"


def fuzz_json(source: random.Random) -> str:
    """Bytes near JSON, up to a few kilobytes."""
    pieces = source.choices(JSON_PIECES, k=source.choice((1, 5, 20, 400)))
    data = bytearray(b"".join(pieces))
    for _ in range(source.randrange(4)):
        cut, again = source.randrange(len(data) + 1), source.randrange(len(data) + 1)
        data[cut:] = source.randbytes(source.randrange(3)) + data[again:]
    try:
        read_strict(bytes(data), 64, 250_000)
    except NotStrictError as refused:
        return f"refused JSON: {refused.problem}"
    return "read JSON"


def run_one(seed: int) -> list[str]:
    """Everything that one seed tries."""
    source = random.Random(seed)
    case = Maker(source).case()
    check_case(case)
    value_of(Maker(source).value(source.choice(KINDS), 6, escapes=True))
    return [
        "agreed with Cedar",
        *fuzz_hostile(case, source),
        *(fuzz(source) for fuzz in (fuzz_texts, fuzz_json) for _ in range(20)),
    ]


def main(seconds: float, first_seed: int) -> int:
    """Run seeds until the time is over; at least one."""
    tally: Counter[str] = Counter()
    seed, end = first_seed, time.monotonic() + seconds
    print(f"fuzz_match: from seed {first_seed}", flush=True)  # a sanitizer ends the process without another word
    while True:
        try:
            tally.update(run_one(seed))
        except Exception:
            print(f"fuzz_match: seed {seed} failed; run `fuzz_match.py 0 {seed}` to see it again")
            raise
        seed += 1
        if time.monotonic() >= end:
            break
    print(f"fuzz_match: {seed - first_seed} seeds from {first_seed}, {seconds:.0f} s, no failure")
    for name, count in tally.most_common():
        print(f"  {count:9d}  {name}")
    return 0


if __name__ == "__main__":
    chosen = [int(argument) for argument in sys.argv[1:]]
    sys.exit(main(chosen[0] if chosen else 60, chosen[1] if len(chosen) > 1 else time.time_ns() % 2**32))
