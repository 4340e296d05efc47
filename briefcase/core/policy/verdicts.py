"""From the engine's answers to the three questions of a call to its verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from briefcase.model.reasons import POLICY_DENIED, POLICY_ERROR
from briefcase.model.types import Allow, ApprovalKind, Deny, NeedsApproval, Verdict

DEFAULT_APPROVAL_REASON: Final = "the policy asks for an approval of this call"
NOT_PERMITTED: Final = "no policy permits it"
MAX_REMEMBERED: Final = 4_096


class Answered(Protocol):
    """One answer of an engine (`_native.match.Answer`). Ids are sorted; `problems` go with `erroring`."""

    @property
    def allowed(self) -> bool:
        """Cedar's decision."""
        ...

    @property
    def determining(self) -> tuple[str, ...]:
        """The policies it rests on."""
        ...

    @property
    def erroring(self) -> tuple[str, ...]:
        """The policies that erred."""
        ...

    @property
    def problems(self) -> tuple[str, ...]:
        """What was wrong with each of these."""
        ...

    @property
    def forbid_erred(self) -> bool:
        """Whether one of these forbids."""
        ...


class Verdicts:
    """The verdicts of one policy set. They depend on nothing but policy ids, so equal ones are made once.

    Args:
        reasons: the `@reason` of each policy that has one, by name.
        advice: the `@advice`, likewise: what an agent reads that the policy denied.
        approvers: the `@approvers`, likewise: how many people must say yes where one must.
        excluding: those with `@approvers_exclude`: none of these people is who set the policy.
    """

    def __init__(
        self,
        reasons: Mapping[str, str],
        advice: Mapping[str, str],
        approvers: Mapping[str, int],
        excluding: frozenset[str] = frozenset(),
    ) -> None:
        self._reasons = reasons
        self._advice = advice
        self._approvers = approvers
        self._excluding = excluding
        self._remembered: dict[tuple[tuple[str, ...], ...], Verdict] = {}

    def of(self, call: Answered, alone: Answered, unsigned: Answered) -> Verdict:
        """The verdict on a call.

        Args:
            call: the answer about `Call`.
            alone: about `CallWithoutApproval`; it counts where the call is permitted.
            unsigned: about `CallWithoutSigner`; likewise.
        """
        if call.forbid_erred or not call.allowed:
            return self._denied(call)
        if alone.forbid_erred or unsigned.forbid_erred:
            return self._denied(alone if alone.forbid_erred else unsigned)
        key = (call.determining, call.erroring, alone.determining, unsigned.determining)
        verdict = self._remembered.get(key)
        if verdict is None:
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            verdict = self._remembered[key] = self._permitted(call, alone, unsigned)
        return verdict

    def _denied(self, answer: Answered) -> Deny:
        if answer.forbid_erred:
            problems = zip(answer.erroring, answer.problems, strict=True)
            return Deny(POLICY_ERROR, answer.erroring, "; ".join(f"`{name}`: {problem}" for name, problem in problems))
        advice = "; ".join(self._advice[name] for name in answer.determining if name in self._advice)
        return Deny(POLICY_DENIED, answer.determining, self._explained(answer) or NOT_PERMITTED, advice)

    def _permitted(self, call: Answered, alone: Answered, unsigned: Answered) -> Verdict:
        ids = tuple(dict.fromkeys((*call.determining, *alone.determining, *unsigned.determining)))
        counted = (*call.determining, *call.erroring)  # one that erred might have applied: fewer may not follow of it
        approvers = max((self._approvers[name] for name in counted if name in self._approvers), default=1)
        excludes_author = not self._excluding.isdisjoint(counted)
        if alone.allowed and unsigned.allowed:
            return Allow(ids, approvers, excludes_author)
        kind = ApprovalKind.LOCAL if unsigned.allowed else ApprovalKind.MOBILE_SIGNER
        against = [answer for answer in (unsigned, alone) if not answer.allowed]
        reasons = (self._reasons.get(name) for answer in against for name in answer.determining)
        reason = next((given for given in reasons if given), DEFAULT_APPROVAL_REASON)
        detail = "; ".join(filter(None, map(self._explained, against))) or NOT_PERMITTED
        return NeedsApproval(kind, reason, ids, detail, approvers, excludes_author)

    def _explained(self, answer: Answered) -> str:
        return "; ".join(f"`{name}`: {self._reasons.get(name, 'no reason given')}" for name in answer.determining)


def at_least(verdict: Verdict, approvers: int) -> Verdict:
    """A verdict with as many approvers as it asks for, or as its tool does: the larger counts."""
    if isinstance(verdict, Deny) or verdict.approvers >= approvers:
        return verdict
    return msgspec.structs.replace(verdict, approvers=approvers)
