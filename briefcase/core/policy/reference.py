"""The same decision by the reference engine: for shadowing and for tests, never on the way of a call.

It reads arguments as JSON, where an object like `{"__entity": …}` would be taken for an entity and where what has no
Cedar value has no stand-in. Such calls cannot be asked here (`None`); only the native engine decides them.
"""

from __future__ import annotations

import json
from typing import Any, Final

import cedarpy
import msgspec

from briefcase._native.values import Fault
from briefcase.core.policy.arguments import ArgumentReader, Plan, Values
from briefcase.core.policy.check import PolicyFacts
from briefcase.core.policy.declared import declared_arguments
from briefcase.core.policy.engine import shell_value, tool_attributes, tool_parents
from briefcase.core.policy.expressions import faults_of
from briefcase.core.policy.verdicts import Verdicts, at_least
from briefcase.core.shell import command_argument
from briefcase.model.errors import InternalError
from briefcase.model.types import JsonObject, JsonValue, Principal, RiskSignals, ToolSpec, Verdict, format_rfc3339

_ESCAPES: Final = frozenset({"__entity", "__extn", "__expr"})


class ReferenceAnswer(msgspec.Struct, frozen=True):
    """One answer of the reference engine (`verdicts.Answered`)."""

    allowed: bool
    determining: tuple[str, ...]
    erroring: tuple[str, ...]
    problems: tuple[str, ...]
    forbid_erred: bool


class ReferencePolicy:
    """A policy set in the hands of the reference engine."""

    def __init__(self, facts: PolicyFacts) -> None:
        self._facts = facts
        self._policies = cedarpy.PolicySet.from_str(facts.source.text)
        self._names = {f"policy{index}": name for index, name in enumerate(facts.names)}
        self._verdicts = Verdicts(facts.reasons, facts.advice, facts.approvers, facts.excluding)

    def decide(
        self, principal: Principal, tool: ToolSpec, args: JsonObject, risk: RiskSignals, now_us: int
    ) -> Verdict | None:
        """What `engine.CompiledPolicy.decide` must answer; None where the question cannot be put in JSON.

        Raises:
            InternalError: the reference engine gave no answer.
        """
        try:
            declared = declared_arguments(tool.input_schema)
            if faults_of(self._facts.reads, declared):
                return None
            context: JsonObject = {
                "args": ArgumentReader(declared, self._facts.reads.names).convert(args, _JsonValues()),
                "risk": [*risk.words],
                "shell": shell_value(args, command_argument(tool.input_schema)),
                "time": {"__extn": {"fn": "datetime", "arg": f"{format_rfc3339(now_us)[:-4]}Z"}},
            }
        except _NotInJsonError:
            return None
        return at_least(self._verdicts.of(*self._answers(principal, tool, context)), tool.approvers)

    def _answers(
        self, principal: Principal, tool: ToolSpec, context: JsonObject
    ) -> tuple[ReferenceAnswer, ReferenceAnswer, ReferenceAnswer]:
        groups = [{"type": "Group", "id": group} for group in principal.groups]
        agent = {"type": "Agent", "id": principal.name}
        resource = {"type": "Tool", "id": tool.id}
        entities: list[dict[str, Any]] = [
            {"uid": agent, "attrs": {}, "parents": groups},
            {"uid": resource, "attrs": tool_attributes(tool), "parents": tool_parents(tool)},
        ]
        text = json.dumps(context)
        requests: list[dict[str, Any]] = [
            {"principal": agent, "action": {"type": "Action", "id": action}, "resource": resource, "context": text}
            for action in ("Call", "CallWithoutApproval", "CallWithoutSigner")
        ]
        call, alone, unsigned = cedarpy.is_authorized_batch(requests, self._policies, entities)
        return self._answer(call), self._answer(alone), self._answer(unsigned)

    def _answer(self, result: cedarpy.AuthzResult) -> ReferenceAnswer:
        if result.decision is cedarpy.Decision.NoDecision:
            raise InternalError("the reference engine gave no decision", detail="; ".join(result.diagnostics.errors))
        problems = dict(sorted(map(self._blamed, result.diagnostics.errors)))
        return ReferenceAnswer(
            allowed=result.allowed,
            determining=tuple(sorted(self._names[policy_id] for policy_id in result.diagnostics.reasons)),
            erroring=tuple(problems),
            problems=tuple(problems.values()),
            forbid_erred=not self._facts.forbids.isdisjoint(problems),
        )

    def _blamed(self, error: str) -> tuple[str, str]:
        """The policy an error is about, from a text like ``error while evaluating policy `policy0`: …``."""
        _, policy_id, problem = error.split("`", 2)
        return self._names[policy_id], problem


class _NotInJsonError(Exception):
    """A value that Cedar's JSON format has no way to write."""


class _JsonValues(Values):
    """Makes values in Cedar's JSON format."""

    def of(self, value: JsonValue, plan: Plan) -> object:
        """As `Values.of`, but no object that Cedar would take for an escape."""
        if isinstance(value, dict) and not _ESCAPES.isdisjoint(value):
            raise _NotInJsonError
        return super().of(value, plan)

    def decimal(self, text: str) -> object:
        """A decimal, written as one."""
        return {"__extn": {"fn": "decimal", "arg": text}}

    def fault(self, fault: Fault) -> object:
        """What has no value cannot be written."""
        del fault
        raise _NotInJsonError
