"""Verdicts compared: which of two lets less through."""

from __future__ import annotations

import msgspec

from briefcase.model.types import ApprovalKind, Deny, NeedsApproval, Verdict


def stricter(one: Verdict, other: Verdict) -> Verdict:
    """The verdict that lets less through, with the policies of both."""
    ids = tuple(dict.fromkeys((*one.policy_ids, *other.policy_ids)))
    return msgspec.structs.replace(max(one, other, key=_strictness), policy_ids=ids)


def _strictness(verdict: Verdict) -> int:
    if isinstance(verdict, NeedsApproval):
        return 2 if verdict.kind is ApprovalKind.MOBILE_SIGNER else 1
    return 3 if isinstance(verdict, Deny) else 0
