"""Shadowing: a sample of live decisions is made again by the reference engine, off the way of the answer.

The two engines must agree. Where they once did not, one of them is wrong and nobody knows which: from then on every
call is denied, until a restart, and `mismatches` raises the alarm. The call that showed it was already answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from xxhash import xxh3_64_intdigest

from briefcase.core.policy.engine import CompiledPolicy
from briefcase.core.policy.reference import ReferencePolicy
from briefcase.model.reasons import POLICY_ERROR
from briefcase.model.types import Deny, JsonObject, Principal, RiskSignals, ToolSpec, Verdict

MAX_WAITING: Final = 64  # comparisons; past it a sample is left out rather than the queue grow


class Shadow:
    """What all shadowed policies of a process share: the sampling and the counters.

    Args:
        every: one decision of each so many is compared. Which one, a hash says: every n-th would meet the same tool
            each time where an agent's calls repeat in a rhythm.
        submit: runs functions soon and elsewhere (on a worker thread), one at a time, all of them.
    """

    def __init__(self, every: int, submit: Callable[[Callable[[], None]], None]) -> None:
        self._every = max(1, every)
        self._submit = submit
        self._begun = 0  # written on the event loop only
        self._done = 0  # written by the worker only, like the counters below
        self._seen = 0
        self.compared = 0
        self.incomparable = 0
        self.mismatches = 0
        self.first_mismatch: str | None = None

    def over(self, policy: CompiledPolicy) -> ShadowedPolicy:
        """The same policy, shadowed."""
        return ShadowedPolicy(policy, ReferencePolicy(policy.facts), self)

    def is_due(self) -> bool:
        """Whether this decision is one of the sample. Called on the event loop only."""
        round_number, place = divmod(self._seen, self._every)
        self._seen += 1
        if place != xxh3_64_intdigest(round_number.to_bytes(8)) % self._every:
            return False
        return self._begun - self._done < MAX_WAITING

    def later(self, compare: Callable[[], tuple[Verdict, Verdict | None]]) -> None:
        """Compare two verdicts elsewhere; the second is None where the question cannot be put to the reference."""

        def run() -> None:
            try:
                self._note(*compare())
            except Exception:  # noqa: BLE001 - a reference that fails says nothing about the live decision
                self.incomparable += 1
            finally:
                self._done += 1

        self._begun += 1
        self._submit(run)

    def _note(self, live: Verdict, reference: Verdict | None) -> None:
        if reference is None:
            self.incomparable += 1
        elif _essence(live) == _essence(reference):
            self.compared += 1
        else:
            self.mismatches += 1
            self.first_mismatch = self.first_mismatch or f"the engines disagree: {live!r} here, {reference!r} there"


class ShadowedPolicy:
    """A policy that is compared with the reference engine now and then (`ports.Policy`)."""

    def __init__(self, policy: CompiledPolicy, reference: ReferencePolicy, shadow: Shadow) -> None:
        self._policy = policy
        self._reference = reference
        self._shadow = shadow

    @property
    def digest_hex(self) -> str:
        """SHA-256 of the policy text."""
        return self._policy.digest_hex

    @property
    def reads_arguments(self) -> bool:
        """Whether a policy of the set reads the arguments of a call."""
        return self._policy.reads_arguments

    def decide(self, principal: Principal, tool: ToolSpec, args: JsonObject, risk: RiskSignals, now_us: int) -> Verdict:
        """Decide one call; denied (`policy_error`) once the engines have disagreed."""
        if self._shadow.first_mismatch is not None:
            return Deny(POLICY_ERROR, detail=self._shadow.first_mismatch)
        verdict = self._policy.decide(principal, tool, args, risk, now_us)
        if self._shadow.is_due():
            self._shadow.later(lambda: (verdict, self._reference.decide(principal, tool, args, risk, now_us)))
        return verdict


def _essence(verdict: Verdict) -> tuple[object, ...]:
    """What must be equal: all but the wording of errors."""
    return type(verdict), verdict.policy_ids, getattr(verdict, "reason", None), getattr(verdict, "kind", None)
