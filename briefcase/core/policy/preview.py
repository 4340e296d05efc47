"""Which tools policy would let an agent call, as far as that can be said before there are arguments.

A policy that reads no arguments is asked as if it were called, and its answer holds. One that reads them cannot be: a
tool is then hidden only where a rule that needs none of them forbids it, and left in sight otherwise; calling it asks.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from briefcase.core.risk import NO_SIGNALS
from briefcase.model.ports import Policy
from briefcase.model.reasons import POLICY_DENIED
from briefcase.model.types import Deny, NeedsApproval, Principal, ToolSpec


class Preview(msgspec.Struct, frozen=True):
    """Ids of tools that would be denied, and of tools that would wait for a person."""

    hidden: tuple[str, ...]
    asking: tuple[str, ...]


def preview_tools(policy: Policy, principal: Principal, specs: Iterable[ToolSpec], now_us: int) -> Preview:
    """Ask the policy about every tool, without arguments."""
    reads_arguments = policy.reads_arguments
    hidden, asking = [], []
    for spec in specs:
        verdict = policy.decide(principal, spec, {}, NO_SIGNALS, now_us)
        if isinstance(verdict, Deny):
            if verdict.reason == POLICY_DENIED and (verdict.policy_ids or not reads_arguments):
                hidden.append(spec.id)
        elif isinstance(verdict, NeedsApproval) and not reads_arguments:
            asking.append(spec.id)
    return Preview(tuple(hidden), tuple(asking))
