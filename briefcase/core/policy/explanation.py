"""Why a policy set decides a call as it does: the three questions, what each answer rests on, and what would change it.

Nothing is guessed: each change is made to a copy of the set or of the agent, and the call is decided again. Changes are
one step away: one policy of those that determined left out, one group that a policy names given or taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from briefcase._native.match import Answer
from briefcase.core.policy.check import ParsedPolicy
from briefcase.core.policy.engine import ACTIONS, CompiledPolicy
from briefcase.model.types import Allow, Deny, JsonObject, Principal, RiskSignals, ToolSpec, Verdict

MAX_CHANGES: Final = 64  # tried, of each kind

ALLOWED: Final = "allowed"
APPROVAL_REQUIRED: Final = "approval_required"
DENIED: Final = "denied"


class Basis(msgspec.Struct, frozen=True):
    """A policy an answer rests on, or one that erred: its `@id`, whether it forbids, its `@reason`, what was wrong."""

    id: str
    effect: str
    reason: str = ""
    problem: str = ""


class Question(msgspec.Struct, frozen=True):
    """One question and its answer; where nothing determines it, no policy permits it."""

    action: str
    is_permitted: bool
    determining: tuple[Basis, ...]
    erring: tuple[Basis, ...] = ()


class Change(msgspec.Struct, frozen=True):
    """What would make it come out otherwise, and how: `without_policy`, `with_group` or `without_group`."""

    kind: str
    name: str
    outcome: str


class Asked(msgspec.Struct, frozen=True):
    """The call that is explained."""

    principal: Principal
    spec: ToolSpec
    args: JsonObject
    signals: RiskSignals
    now_us: int


class PolicyExplanation(msgspec.Struct, frozen=True):
    """Why one policy set decides one call as it does."""

    verdict: Verdict
    digest_hex: str
    questions: tuple[Question, ...]
    changes: tuple[Change, ...]


def outcome_of(verdict: Verdict) -> str:
    """A verdict as one word."""
    return ALLOWED if isinstance(verdict, Allow) else DENIED if isinstance(verdict, Deny) else APPROVAL_REQUIRED


def explain(parsed: ParsedPolicy, policy: CompiledPolicy, asked: Asked) -> PolicyExplanation:
    """Explain one call.

    Args:
        parsed: the policy set.
        policy: the same, compiled.
        asked: the call.
    """
    verdict = _verdict(policy, asked)
    answers = policy.answers(asked.principal, asked.spec, asked.args, asked.signals, asked.now_us)
    questions = tuple(_question(parsed, action.id, answer) for action, answer in zip(ACTIONS, answers, strict=True))
    changes = [*_without_policies(parsed, asked, answers), *_with_other_groups(parsed, policy, asked)]
    now = outcome_of(verdict)
    told = tuple(change for change in changes if change.outcome != now)
    return PolicyExplanation(verdict, parsed.digest_hex, questions, told)


def _verdict(policy: CompiledPolicy, asked: Asked) -> Verdict:
    return policy.decide(asked.principal, asked.spec, asked.args, asked.signals, asked.now_us)


def _question(parsed: ParsedPolicy, action: str, answer: Answer) -> Question:
    problems = zip(answer.erroring, answer.problems, strict=True)
    return Question(
        action,
        is_permitted=answer.allowed and not answer.forbid_erred,
        determining=tuple(_basis(parsed, name) for name in answer.determining),
        erring=tuple(msgspec.structs.replace(_basis(parsed, name), problem=problem) for name, problem in problems),
    )


def _basis(parsed: ParsedPolicy, name: str) -> Basis:
    return Basis(name, "forbid" if name in parsed.forbids else "permit", parsed.reasons.get(name, ""))


def _without_policies(parsed: ParsedPolicy, asked: Asked, answers: tuple[Answer, ...]) -> Iterator[Change]:
    named = dict.fromkeys(name for answer in answers for name in (*answer.determining, *answer.erroring))
    for name in list(named)[:MAX_CHANGES]:
        left = {known: policy for known, policy in parsed.policies.items() if known != name}
        without = CompiledPolicy(msgspec.structs.replace(parsed, policies=left))
        yield Change("without_policy", name, outcome_of(_verdict(without, asked)))


def _with_other_groups(parsed: ParsedPolicy, policy: CompiledPolicy, asked: Asked) -> Iterator[Change]:
    own = asked.principal.groups
    named = dict.fromkeys(group for rule in parsed.policies.values() for group in _groups_in(rule))
    for group in list(named)[:MAX_CHANGES]:
        groups = tuple(known for known in own if known != group) if group in own else (*own, group)
        other = msgspec.structs.replace(asked, principal=msgspec.structs.replace(asked.principal, groups=groups))
        kind = "without_group" if group in own else "with_group"
        yield Change(kind, group, outcome_of(_verdict(policy, other)))


def _groups_in(rule: object) -> Iterator[str]:
    """The groups that a policy names, in Cedar's JSON format."""
    waiting: list[object] = [rule]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if part.get("type") == "Group" and isinstance(part.get("id"), str):
                yield part["id"]
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
