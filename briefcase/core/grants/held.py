"""The grants in force, by whose calls they let pass and of which tool.

What is left of a grant is in the ledger and read there each time; here is only which there are, and their compiled
conditions. A call in a ledger without grants asks nothing of this.
"""

from __future__ import annotations

import contextlib

from briefcase.core.grants.arguments import context_of
from briefcase.core.grants.bounds import status_of
from briefcase.core.json.strict import parse as parse_json
from briefcase.core.policy.conditions import Condition
from briefcase.model.grants import Grant
from briefcase.model.ports import Ledger
from briefcase.model.types import Principal, ToolSpec


class Grants:
    """The grants in force. One event loop.

    Args:
        ledger: where they are, with what was used of each.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._conditions: dict[str, Condition] = {}
        self.held: dict[tuple[str, str], tuple[str, ...]] = {}
        now_us = ledger.now_us()
        for grant in ledger.grants():
            if status_of(grant, now_us) == "active":
                self.hold(grant)

    def hold(self, grant: Grant) -> None:
        """Let a grant that is durable count from now on."""
        key = (grant.owner, grant.tool_id)
        self.held[key] = (*self.held.get(key, ()), grant.id)

    def drop(self, grant: Grant) -> None:
        """Let a grant count no more, at once."""
        key = (grant.owner, grant.tool_id)
        left = tuple(one for one in self.held.get(key, ()) if one != grant.id)
        if left:
            self.held[key] = left
        else:
            self.held.pop(key, None)
        self._conditions.pop(grant.id, None)

    def covering(
        self, principal: Principal, spec: ToolSpec, args_digest_hex: str, canonical_args: bytes, approvers: int
    ) -> Grant | None:
        """The oldest grant whose condition a call meets, or None.

        Args:
            principal: who calls.
            spec: the tool, as it is defined now.
            args_digest_hex: SHA-256 of the arguments.
            canonical_args: the arguments, as canonical JSON.
            approvers: how many people must have said yes to it.
        """
        now_us = self._ledger.now_us()
        for grant_id in self.held.get((principal.owner, spec.id), ()):
            grant = self._ledger.grant(grant_id)
            if grant is None:
                continue
            if status_of(grant, now_us) != "active":
                self.drop(grant)
            elif len(grant.by) >= approvers and self._is_met(grant, principal, spec, args_digest_hex, canonical_args):
                return grant
        return None

    def _is_met(
        self, grant: Grant, principal: Principal, spec: ToolSpec, args_digest_hex: str, canonical_args: bytes
    ) -> bool:
        """Whether a call meets a condition; one that cannot be evaluated is not met."""
        if grant.tool_digest_hex != spec.digest_hex:
            return False
        with contextlib.suppress(Exception):
            condition = self._conditions.get(grant.id)
            if condition is None:
                condition = self._conditions[grant.id] = Condition(grant.cedar)
            return condition.is_met(
                principal.name,
                spec.id,
                {
                    **context_of(parse_json(canonical_args)),
                    "owner": principal.owner,
                    "tool_digest": spec.digest_hex,
                    "args_digest": args_digest_hex,
                },
            )
        return False
