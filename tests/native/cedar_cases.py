"""Random Cedar: policy sets, entities and requests over a small world, mostly well-typed, sometimes not.

Everything is drawn from one `random.Random`, so Hypothesis can drive it (and shrink) and the fuzzer can run it plain.
The world is small on purpose: a few types, ids and attribute names, so that scopes match, attributes exist, values
collide and arithmetic overflows often enough to matter.
"""

import random
from dataclasses import dataclass
from typing import Any

TYPES = ("A", "B", "N::C")
IDS = ("x", "y", "z", 'quote"back\\slash', "\u0000\u202e\ud7ff", "\U0001f9f3\U000e0041\U0010ffff")
ACTIONS = ("read", "write", "any")
KINDS = ("bool", "long", "string", "entity", "set", "record", "decimal", "ip", "datetime", "duration")
ATTRIBUTES = {kind: f"{kind}_" for kind in KINDS} | {"string": "a b\n"}
EXTENSIONS = {"decimal": "decimal", "ip": "ip", "datetime": "datetime", "duration": "duration"}

LONGS = (0, 1, -1, 2, 7, 1000, 2**31, 2**62, 2**63 - 1, -(2**63), -(2**63) + 1, 3037000500)
STRINGS = ("", "a", "ab", "aab", "b", "abab", "*", "a*b", "\\", '"', "é", "e\u0301", "\U0001f9f3", "\u0000", "1.0")
PATTERNS = ("", "*", "a", "a*", "*a", "a*b", "*a*", "a**b", "*a*b*", "\\*", "a\\**", "*\\**", "*\U0001f9f3*", "?b")
TEXTS = {
    "decimal": ("0.0", "1.0", "1.0000", "-1.5", "0.1234", "922337203685477.5807", "-922337203685477.5808",
                "922337203685477.5808", "1", "1.", ".5", "1.23456", "+1.0", "-0.0", "01.10", " 1.0", "1.0 "),
    "ip": ("1.2.3.4", "1.2.3.4/32", "1.2.3.0/24", "1.2.3.9/24", "0.0.0.0/0", "127.0.0.1", "127.1.2.3/7", "224.0.0.1",
           "224.0.0.0/3", "::1", "::1/127", "::", "::/0", "ff00::1", "ff00::/7", "1:2:3:4:5:6:7::", "1::8",
           "::ffff:1.2.3.4", "1.2.3.04", "1.2.3.4/033", "1.2.3.4/33", "::1/129", "1.2.3", "", "1:2:3:4:5:6:7:8",
           "FE80::A", "12345::", "1:2:3:4:5:6:7:8:9", ":::", "1::2::3", "1.2.3.4/", "256.0.0.1", "::1/128",
           "1.2.3.4/0"),
    "datetime": ("1970-01-01", "2024-02-29", "2023-02-29", "1900-02-29", "2000-02-29", "1969-12-31T23:59:59.999Z",
                 "2024-10-15T11:38:02Z", "2024-10-15T11:38:02.101Z", "2024-10-15T11:38:02+0500",
                 "2024-10-15T11:38:02.101-1134", "2024-10-15T24:00:00Z", "2024-10-15T11:60:00Z", "2024-10-15T11:38:60Z",
                 "2024-13-01", "2024-00-01", "2024-01-00", "0000-01-01", "9999-12-31T23:59:59.999-2359", "2024-1-1",
                 "2024-10-15T11:38:02", "2024-10-15T11:38:02+2400", "2024-10-15T11:38:02+0060",
                 "2024-10-15T11:38:02.1Z",
                 "2024-10-15T11:38:02+05:00", "2024-04-31", "0001-03-01T00:00:00-0001", "0000-02-29", "2024-10-15Z"),
    "duration": ("0ms", "1d2h3m4s5ms", "1h30m", "-1d", "90000ms", "1s1m", "1d1d", "", "-", "1", "1.5h", "1D",
                 "9223372036854775807ms", "9223372036854775808ms", "-9223372036854775808ms", "-9223372036854775809ms",
                 "106751991167d", "106751991168d", "-106751991167d7h12m55s808ms", "106751991167d7h12m55s808ms",
                 "00001s", "5ms1s", "3m", "3ms", "99999999999999999999999d", "18446744073709551616ms", "1d0h", " 1s"),
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One policy set, its links and entities, and the requests to answer."""

    text: str
    links: tuple[dict[str, Any], ...]
    entities: list[dict[str, Any]]
    requests: tuple[dict[str, Any], ...]


def quoted(text: str) -> str:
    """A Cedar string literal."""
    return '"' + "".join(c if c.isalnum() and c.isascii() else f"\\u{{{ord(c):x}}}" for c in text) + '"'


def uid_text(uid: dict[str, str]) -> str:
    return f"{uid['type']}::{quoted(uid['id'])}"


class Maker:
    """Draws every part of a case from one source of randomness."""

    def __init__(self, source: random.Random) -> None:
        self.pick = source.choice
        self.number = source.randint

    def chance(self, one_in: int) -> bool:
        return self.number(1, one_in) == 1

    def some(self, make: Any, at_most: int) -> list[Any]:
        return [make() for _ in range(self.number(0, at_most))]

    # --- data ---------------------------------------------------------------------------------------------------

    def uid(self) -> dict[str, str]:
        return {"type": self.pick(TYPES), "id": self.pick(IDS)}

    def action(self) -> dict[str, str]:
        return {"type": "Action", "id": self.pick(ACTIONS)}

    def well_formed(self, kind: str) -> str:
        texts = {"decimal": TEXTS["decimal"][:7], "ip": TEXTS["ip"][:17], "datetime": TEXTS["datetime"][:2],
                 "duration": TEXTS["duration"][:5]}  # fmt: skip
        return self.pick(texts[kind])

    def value(self, kind: str, depth: int, *, escapes: bool) -> Any:
        """A value in Cedar's JSON format; without `escapes`, only what plain JSON can say."""
        if kind == "bool":
            return self.pick((True, False))
        if kind == "long":
            return self.pick(LONGS)
        if kind == "string" or (not escapes and kind not in ("set", "record")):
            return self.pick(STRINGS)
        if kind == "entity":
            return {"__entity": self.uid()}
        if kind == "set":
            kinds = KINDS[:4] if depth <= 0 else KINDS
            return self.some(lambda: self.value(self.pick(kinds), depth - 1, escapes=escapes), 3)
        if kind == "record":
            return self.fields(depth - 1, escapes=escapes)
        return {"__extn": {"fn": EXTENSIONS[kind], "arg": self.well_formed(kind)}}

    def fields(self, depth: int, *, escapes: bool) -> dict[str, Any]:
        kinds = [kind for kind in KINDS if not self.chance(4) and (depth > 0 or kind not in ("set", "record"))]
        return {ATTRIBUTES[kind]: self.value(kind, depth, escapes=escapes) for kind in kinds}

    def entities(self) -> list[dict[str, Any]]:
        uids = [{"type": t, "id": i} for t in TYPES for i in IDS[: self.number(1, len(IDS))]]
        uids = [uid for uid in uids if not self.chance(5)]
        made = [
            {
                "uid": uid,
                "attrs": {} if self.chance(3) else self.fields(1, escapes=True),
                "parents": [uids[self.number(0, n - 1)] for _ in range(self.number(0, 2))] if n else [],
                "tags": {self.pick(STRINGS): self.value(self.pick(KINDS), 1, escapes=True)} if self.chance(2) else {},
            }
            for n, uid in enumerate(uids)
        ]
        group = {"type": "Action", "id": "any"}
        for name in ACTIONS[:2]:
            parents = [] if self.chance(3) else [group]
            made.append({"uid": {"type": "Action", "id": name}, "attrs": {}, "parents": parents})
        return made

    def request(self) -> dict[str, Any]:
        return {
            "principal": self.uid(),
            "action": self.action(),
            "resource": self.uid(),
            "context": self.fields(2, escapes=not self.chance(3)),
        }

    # --- policies -----------------------------------------------------------------------------------------------

    def scope(self, name: str, slots: list[str]) -> str:
        def entity() -> str:
            if self.chance(8):
                slots.append(f"?{name}")
                return f"?{name}"
            return uid_text(self.uid())

        shape = self.number(0, 9)
        if shape <= 5:
            return name
        if shape == 6:
            return f"{name} == {entity()}"
        if shape == 7:
            return f"{name} in {entity()}"
        return f"{name} is {self.pick(TYPES)}" + (f" in {entity()}" if shape == 9 else "")

    def action_scope(self) -> str:
        shape = self.number(0, 6)
        if shape <= 3:
            return "action"
        if shape == 4:
            return f"action == {uid_text(self.action())}"
        if shape == 5:
            return f"action in {uid_text(self.action())}"
        return f"action in [{', '.join(uid_text(self.action()) for _ in range(self.number(0, 3)))}]"

    def policy(self) -> tuple[str, list[str]]:
        slots: list[str] = []
        scope = f"{self.scope('principal', slots)}, {self.action_scope()}, {self.scope('resource', slots)}"
        clauses = [f"{self.pick(('when', 'unless'))} {{ {self.expr('bool', 4)} }}" for _ in range(self.number(0, 2))]
        return f"{self.pick(('permit', 'permit', 'forbid'))}({scope}) {' '.join(clauses)};", slots

    def case(self) -> Case:
        policies = [self.policy() for _ in range(self.number(1, 6))]
        links = []
        for index, (_, slots) in enumerate(policies):
            if slots:
                links += [
                    {
                        "templateId": f"policy{index}",
                        "newId": f"link{index}-{n}",
                        "values": {slot: self.uid() for slot in slots},
                    }
                    for n in range(self.number(0, 2))
                ]
        return Case(
            text="\n".join(text for text, _ in policies),
            links=tuple(links),
            entities=self.entities(),
            requests=tuple(self.request() for _ in range(4)),
        )

    # --- expressions --------------------------------------------------------------------------------------------

    def expr(self, kind: str, depth: int) -> str:
        """An expression that is meant to have a value of that kind; one in twelve has another."""
        if self.chance(12):
            kind = self.pick(KINDS)
        if depth <= 0 or self.chance(4):
            return self.leaf(kind, depth)
        if self.chance(8):
            test, then, other = (self.expr(each, depth - 1) for each in ("bool", kind, kind))
            return f"(if {test} then {then} else {other})"
        if self.chance(5):
            return self.attribute(kind, depth)
        return str(getattr(self, kind)(depth - 1))

    def leaf(self, kind: str, depth: int) -> str:
        if kind == "bool":
            return self.pick(("true", "false", f"context.{ATTRIBUTES['bool']}"))
        if kind == "long":
            return f"({self.pick(LONGS)})"
        if kind == "string":
            return quoted(self.pick(STRINGS))
        if kind == "entity":
            return self.pick(("principal", "action", "resource", uid_text(self.uid())))
        if kind in ("set", "record", "entity_set"):
            return str(getattr(self, kind)(0)) if depth > 0 else ("context" if kind == "record" else "[]")
        return f"{EXTENSIONS[kind]}({quoted(self.pick(TEXTS[kind]))})"

    def attribute(self, kind: str, depth: int) -> str:
        base = self.pick(("context", "context", "principal", "resource", self.expr("record", depth - 1)))
        if self.chance(6):
            return f"({self.expr('entity', depth - 1)}).getTag({self.expr('string', depth - 1)})"
        return f"{base}[{quoted(ATTRIBUTES.get(kind, 'set_'))}]"

    def bool(self, depth: int) -> str:
        shape = self.number(0, 19)
        e = self.expr
        if shape <= 4:
            return f"({e('bool', depth)} {self.pick(('&&', '||'))} {e('bool', depth)})"
        if shape == 5:
            return f"!({e('bool', depth)})"
        if shape <= 7:
            kind = self.pick(KINDS)
            return f"({e(kind, depth)} {self.pick(('==', '!='))} {e(kind, depth)})"
        if shape == 8:
            kind = self.pick(("long", "long", "datetime", "duration"))
            return f"({e(kind, depth)} {self.pick(('<', '<=', '>', '>='))} {e(kind, depth)})"
        if shape == 9:
            return f"({e('string', depth)} like {self.pattern()})"
        if shape <= 11:
            base = self.pick(("context", "principal", "resource", e("record", depth), e("entity", depth)))
            return f"({base} has {self.path()})"
        if shape <= 13:
            return f"({e('entity', depth)} in {e(self.pick(('entity', 'entity_set')), depth)})"
        if shape == 14:
            tail = f" in {e('entity', depth)}" if self.chance(2) else ""
            return f"({e('entity', depth)} is {self.pick(TYPES)}{tail})"
        if shape == 15:
            return f"({e('entity', depth)}).hasTag({e('string', depth)})"
        if shape == 16:
            return f"({e('set', depth)}).contains({e(self.pick(KINDS), depth)})"
        if shape == 17:
            return f"({e('set', depth)}).{self.pick(('containsAll', 'containsAny'))}({e('set', depth)})"
        if shape == 18:
            return f"({e('set', depth)}).isEmpty()"
        return self.extension_test(depth)

    def extension_test(self, depth: int) -> str:
        name = self.pick(("lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual",
                          "isIpv4", "isIpv6", "isLoopback", "isMulticast", "isInRange", "isInRange"))  # fmt: skip
        kind = "ip" if name.startswith("is") else "decimal"
        argument = "" if name in ("isIpv4", "isIpv6", "isLoopback", "isMulticast") else self.expr(kind, depth)
        if self.chance(40):
            argument += (", " if argument else "") + "1"
        return f"({self.expr(kind, depth)}).{name}({argument})"

    def long(self, depth: int) -> str:
        shape = self.number(0, 4)
        if shape == 0:
            return f"(-({self.expr('long', depth)}))"
        if shape == 1:
            unit = self.pick(("toMilliseconds", "toSeconds", "toMinutes", "toHours", "toDays"))
            return f"({self.expr('duration', depth)}).{unit}()"
        return f"({self.expr('long', depth)} {self.pick(('+', '-', '*'))} {self.expr('long', depth)})"

    def string(self, depth: int) -> str:
        return self.attribute("string", depth)

    def entity(self, depth: int) -> str:
        return self.attribute("entity", depth)

    def entity_set(self, depth: int) -> str:
        return f"[{', '.join(self.some(lambda: self.expr('entity', depth - 1), 3))}]"

    def set(self, depth: int) -> str:
        kind = self.pick(KINDS)
        return f"[{', '.join(self.some(lambda: self.expr(kind, depth - 1), 3))}]"

    def record(self, depth: int) -> str:
        kinds = self.some(lambda: self.pick(KINDS), 2)
        fields = {ATTRIBUTES[kind]: self.expr(kind, depth - 1) for kind in kinds}
        return "{" + ", ".join(f"{quoted(name)}: {value}" for name, value in fields.items()) + "}"

    def datetime(self, depth: int) -> str:
        if self.chance(2):
            return f"({self.expr('datetime', depth)}).offset({self.expr('duration', depth)})"
        return f"({self.expr('datetime', depth)}).toDate()"

    def duration(self, depth: int) -> str:
        if self.chance(2):
            return f"({self.expr('datetime', depth)}).durationSince({self.expr('datetime', depth)})"
        return f"({self.expr('datetime', depth)}).toTime()"

    def decimal(self, depth: int) -> str:
        return f"decimal({self.expr('string', depth)})"

    def ip(self, depth: int) -> str:
        return f"ip({self.expr('string', depth)})"

    def pattern(self) -> str:
        return (
            '"' + "".join(c if c in "*\\" or c.isascii() else f"\\u{{{ord(c):x}}}" for c in self.pick(PATTERNS)) + '"'
        )

    def path(self) -> str:
        if self.chance(3):
            return quoted(self.pick(tuple(ATTRIBUTES.values())))
        return ".".join(self.pick(("record_", "long_", "entity_", "set_")) for _ in range(self.number(1, 3)))
