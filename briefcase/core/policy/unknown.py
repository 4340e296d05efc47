"""What a policy names and nothing has: a misspelt tool, agent, group, server or provider, which decides nothing. Pure.

A policy may be set before what it speaks of is there, so this is a warning and no refusal. That nothing can run is one,
too: an empty policy, or one that permits `Call` to nobody, denies every call.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from briefcase.core.characters.marks import visible_text
from briefcase.core.policy.check import ParsedPolicy

CALL: Final = "Call"
MAX_NAMED: Final = 10


class Known(msgspec.Struct, frozen=True):
    """The names there are, by Cedar's type; a type that is not in it is not checked."""

    names: Mapping[str, frozenset[str]]


class PolicyWarning(msgspec.Struct, frozen=True):
    """What is odd; `policy_id` is empty where it is about the whole text."""

    policy_id: str
    message: str
    hint: str = ""


def kinds_in(parsed: ParsedPolicy) -> set[str]:
    """The types of the entities that a policy names."""
    return {kind for policy in parsed.policies.values() for kind, _ in _entities_in(policy)}


def warnings_of(parsed: ParsedPolicy, known: Known | None) -> list[PolicyWarning]:
    """What a policy that validates may still get wrong.

    Args:
        parsed: the policy.
        known: the names there are; None where nobody can say.
    """
    found = [*_without_call(parsed)]
    if known is not None:
        for policy_id, policy in parsed.policies.items():
            for kind, name in dict.fromkeys(_entities_in(policy)):
                names = known.names.get(kind)
                if names is not None and name not in names:
                    found.append(_unknown(policy_id, kind, name, names))
    return found


def _without_call(parsed: ParsedPolicy) -> Iterator[PolicyWarning]:
    if not parsed.policies:
        yield PolicyWarning("", "the policy is empty: every call is denied")
    elif not any(policy["effect"] == "permit" and _is_of_call(policy["action"]) for policy in parsed.policies.values()):
        yield PolicyWarning("", f'no policy permits `Action::"{CALL}"`: every call is denied')


def _is_of_call(scope: Mapping[str, Any]) -> bool:
    named = [*scope.get("entities", ()), *([scope["entity"]] if "entity" in scope else [])]
    return scope["op"] == "All" or any(entity["id"] == CALL for entity in named)


def _entities_in(part: object) -> Iterator[tuple[str, str]]:
    """The entities that a part of a policy in Cedar's JSON format names, as type and id."""
    if isinstance(part, list):
        for inner in part:
            yield from _entities_in(inner)
    elif isinstance(part, dict):
        if part.keys() == {"type", "id"} and isinstance(part["type"], str) and isinstance(part["id"], str):
            yield part["type"], part["id"]
        else:
            for inner in part.values():
                yield from _entities_in(inner)


def _unknown(policy_id: str, kind: str, name: str, names: frozenset[str]) -> PolicyWarning:
    near = difflib.get_close_matches(name, names, n=1)
    meant = f": did you mean `{visible_text(near[0])}`?" if near else ""
    shown = ", ".join(f"`{visible_text(one)}`" for one in sorted(names)[:MAX_NAMED])
    more = f", and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    message = f'policy `{policy_id}` names `{kind}::"{visible_text(name)}"`, which nothing is{meant}'
    return PolicyWarning(policy_id, message, f"there are: {shown or 'none'}{more}")
