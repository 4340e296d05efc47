"""What a policy text changes, policy by policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from briefcase.core.policy.check import ParsedPolicy


class PolicyChange(msgspec.Struct, frozen=True):
    """One policy that differs: `op` is `added`, `removed` or `changed`; `old` and `new` are its texts, or empty."""

    op: str
    policy_id: str
    old: str = ""
    new: str = ""


def diff_policies(old: ParsedPolicy, new: ParsedPolicy) -> tuple[PolicyChange, ...]:
    """The policies that differ in meaning, by id, in the order of the new text, then those removed.

    Layout and comments are no change; an annotation is. A policy without `@id` is known by its meaning alone, so
    that one inserted before it changes nothing.
    """
    before, after = _by_key(old), _by_key(new)
    changes = []
    for key, (name, meaning, text) in after.items():
        if key not in before:
            changes.append(PolicyChange("added", name, new=text))
        elif before[key][1] != meaning:
            changes.append(PolicyChange("changed", name, before[key][2], text))
    removed = [PolicyChange("removed", name, old=text) for key, (name, _, text) in before.items() if key not in after]
    return (*changes, *removed)


def _by_key(parsed: ParsedPolicy) -> dict[str, tuple[str, Mapping[str, Any], str]]:
    """Policies by what identifies them from one text to the next: (name, meaning, text)."""
    found: dict[str, tuple[str, Mapping[str, Any], str]] = {}
    for index, name in enumerate(parsed.names):
        policy = parsed.policies[name]
        key = f"id {name}" if "id" in policy.get("annotations", {}) else f"text {policy!r}"
        while key in found:  # said more than once
            key += " again"
        found[key] = (name, policy, parsed.source.policy(index))
    return found
