"""A condition that stands by itself: Cedar that we wrote, asked about one call in a context of its own.

It is no part of the policy's text or of its digest. What errs, or cannot be evaluated at all, is not met.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Final

from briefcase._native.entities import compile_entities
from briefcase._native.match import compile_policies
from briefcase._native.values import EntityUid
from briefcase.core.policy.check import parse_policy
from briefcase.core.policy.engine import WITHOUT_APPROVAL
from briefcase.model.types import JsonValue

_NO_ENTITIES: Final = compile_entities([])


class Condition:
    """A compiled condition of action `CallWithoutApproval`.

    Args:
        text: policies that parse.

    Raises:
        CallerError: they do not (`invalid_policy`).
    """

    def __init__(self, text: str) -> None:
        self._policies = compile_policies({"staticPolicies": dict(parse_policy(text).policies)})

    def is_met(self, agent: str, tool_id: str, context: Mapping[str, JsonValue]) -> bool:
        """Whether a call meets it.

        Args:
            agent: the name of who calls.
            tool_id: what is called.
            context: what the condition reads.
        """
        with contextlib.suppress(Exception):
            principal, resource = EntityUid("Agent", agent), EntityUid("Tool", tool_id)
            answer = self._policies.authorize(principal, WITHOUT_APPROVAL, resource, _NO_ENTITIES, dict(context))
            return answer.allowed and not answer.erroring
        return False
