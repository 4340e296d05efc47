"""What an operator asks for in words, as policies: a few forms of sentence, each with one meaning, and nothing guessed.

    let WHO call WHAT                      permit  Call
    let WHO call WHAT without asking       permit  Call, CallWithoutApproval
    never let WHO call WHAT                forbid  Call
    ask before WHO calls WHAT              forbid  CallWithoutApproval

WHO is an agent's name, `group NAME` or `anyone`; WHAT is a tool's id, `server NAME`, `provider NAME` or `anything`.
`use` says the same as `call`, and `allow WHO to call WHAT` as `let WHO call WHAT`.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from briefcase.core.policy.cedartypes import literal
from briefcase.core.policy.check import parse_policy
from briefcase.model.errors import CallerError

FORMS: Final = (
    "let WHO call WHAT",
    "let WHO call WHAT without asking",
    "never let WHO call WHAT",
    "ask before WHO calls WHAT",
)
_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}"
_WHO: Final = rf"(?P<who>(?:group )?{_NAME})"
_WHOM: Final = rf"(?P<whom>(?:group )?{_NAME})"
_LET: Final = rf"(?:let {_WHO}|allow {_WHOM} to) (?:call|use)"
_WHAT: Final = rf"(?P<what>(?:server |provider )?{_NAME})"
_SENTENCES: Final = (
    (re.compile(rf"{_LET} {_WHAT}(?P<alone> without asking)?"), "permit", "Call"),
    (re.compile(rf"never {_LET} {_WHAT}"), "forbid", "Call"),
    (re.compile(rf"ask before {_WHO} (?:calls|uses) {_WHAT}"), "forbid", "CallWithoutApproval"),
)
_KINDS: Final = {"group": "Group", "server": "Server", "provider": "Provider"}


class Written(msgspec.Struct, frozen=True):
    """Policies that say what a sentence asks for, as text."""

    text: str


def write_policies(sentence: str, name: str) -> Written | None:
    """The policies of a sentence, or None where it is of no form that is known.

    Args:
        sentence: one of `FORMS`, with a capital or not, in any spacing, with or without a full stop.
        name: what their `@id` begins with.
    """
    words = " ".join(sentence.strip().removesuffix(".").split())
    words = words[:1].lower() + words[1:]
    for pattern, effect, action in _SENTENCES:
        found = pattern.fullmatch(words)
        if found is None:
            continue
        named = found.groupdict()
        who, what = str(named["who"] or named.get("whom")), str(named["what"])
        if who in _KINDS or what in _KINDS:
            return None  # its name is missing
        actions = (action, "CallWithoutApproval") if named.get("alone") else (action,)
        scope = f"{_principal(who)},\n  action == Action::{{}},\n  {_resource(what)}"
        texts = [
            f"@id({literal(f'{name}-{number}')})\n{effect} (\n  {scope.format(literal(one))}\n);"
            for number, one in enumerate(actions, start=1)
        ]
        return Written("\n\n".join(texts))
    return None


def _principal(who: str) -> str:
    kind, _, group = who.partition(" ")
    if group:
        return f"principal in {_KINDS[kind]}::{literal(group)}"
    return "principal" if who == "anyone" else f"principal == Agent::{literal(who)}"


def _resource(what: str) -> str:
    kind, _, owner = what.partition(" ")
    if owner:
        return f"resource in {_KINDS[kind]}::{literal(owner)}"
    return "resource" if what == "anything" else f"resource == Tool::{literal(what)}"


def with_policies(text: str, added: str) -> str:
    """A policy text with policies added at its end; one of an `@id` that is there already takes that one's place.

    Raises:
        CallerError: either text does not parse (`invalid_policy`), or nothing is added.
    """
    new = parse_policy(added)
    if not new.names:
        raise CallerError("expected at least one policy, got none")
    old = parse_policy(text)
    given = {name for name in new.names if "id" in new.policies[name].get("annotations", {})}
    kept = text
    for index in reversed(range(len(old.names))):
        name = old.names[index]
        if name in given and "id" in old.policies[name].get("annotations", {}):
            start, end = old.source.ranges[index]
            kept = kept[:start] + kept[end:].lstrip("\n")
    return f"{kept.rstrip()}\n\n{added.strip()}\n".lstrip("\n")
