"""A compiled policy: one call in, one verdict out.

Three questions, in this order, each a request to the native engine about the same agent, tool and context:

    Call                   not permitted                  -> denied (`policy_denied`)
    CallWithoutApproval    permitted, and the next one too -> allowed
    CallWithoutSigner      not permitted                  -> a paired signer device must approve, else the operator

Stricter than Cedar: Cedar passes over a `forbid` that errs, here it denies (`policy_error`), whichever question it was
about. So does anything else that goes wrong: `decide` never raises.
"""

from __future__ import annotations

from typing import Any, Final

from briefcase._native.entities import Entities, compile_entities, value_of
from briefcase._native.match import Answer, PolicySet, SpecialisedPolicies, compile_policies
from briefcase._native.values import EntityUid
from briefcase.core.policy.arguments import ArgumentReader
from briefcase.core.policy.cedartypes import RecordOf
from briefcase.core.policy.check import ParsedPolicy, parse_policy
from briefcase.core.policy.declared import declared_arguments
from briefcase.core.policy.expressions import Reads, faults_of
from briefcase.core.policy.verdicts import Verdicts, at_least
from briefcase.core.shell import command_argument, read_command
from briefcase.model.errors import CallerError
from briefcase.model.reasons import POLICY_ERROR
from briefcase.model.types import (
    Deny,
    JsonObject,
    JsonValue,
    Principal,
    RiskSignals,
    ToolSpec,
    Verdict,
    format_rfc3339,
)

CALL: Final = EntityUid("Action", "Call")
WITHOUT_APPROVAL: Final = EntityUid("Action", "CallWithoutApproval")
WITHOUT_SIGNER: Final = EntityUid("Action", "CallWithoutSigner")
ACTIONS: Final = (CALL, WITHOUT_APPROVAL, WITHOUT_SIGNER)

MAX_TOOLS: Final = 4_096  # specialised at a time
MAX_PRINCIPALS: Final = 4_096
_NO_CONTEXT: Final[dict[str, Any]] = {}
_UNDECIDED: Final = Deny(POLICY_ERROR)


class _ToolPolicies:
    """The policies with everything folded in that is constant for one tool, and the reader of its arguments.

    Both are made of one reading of the tool's schema: what a policy compares is what the reader gives, or it errs.
    """

    def __init__(self, policies: PolicySet, reads: Reads, spec: ToolSpec) -> None:
        entities = tool_entities(spec)
        tool = EntityUid("Tool", spec.id)
        declared = declared_arguments(spec.input_schema) if reads.args else RecordOf()
        self.spec = spec
        self.arguments = ArgumentReader(declared, reads.names)
        self.command = command_argument(spec.input_schema) if reads.shell else ""
        faults = faults_of(reads, declared)
        specialised = [policies.specialise(action, tool, entities, faults) for action in ACTIONS]
        self.call: SpecialisedPolicies = specialised[0]
        self.without_approval: SpecialisedPolicies = specialised[1]
        self.without_signer: SpecialisedPolicies = specialised[2]
        self.last: tuple[Answer | None, Answer | None, Answer | None, Verdict] = (None, None, None, _UNDECIDED)


class CompiledPolicy:
    """A policy set ready to decide (`ports.Policy`). Immutable but for its bounded caches; one event loop.

    Args:
        parsed: a policy set that parses.

    Raises:
        CallerError: the native engine cannot hold it (`invalid_policy`).
    """

    def __init__(self, parsed: ParsedPolicy) -> None:
        try:
            self._policies = compile_policies({"staticPolicies": dict(parsed.policies)})
        except (ValueError, RecursionError) as error:
            raise CallerError(f"the policy cannot be compiled: {error}", code="invalid_policy") from error
        self.facts = parsed.facts()
        self.digest_hex = self.facts.digest_hex  # of the policy's text
        # What no policy reads need not be made. (0 stands where a time would.)
        self._reads_context = parsed.reads.context
        self._reads_time = parsed.reads.time
        self._reads_shell = parsed.reads.shell
        self._tools: dict[str, _ToolPolicies] = {}
        self._principals: dict[str, tuple[tuple[str, ...], EntityUid, frozenset[EntityUid]]] = {}
        self._verdicts = Verdicts(parsed.reasons, parsed.advice, parsed.approvers, parsed.excluding)

    @property
    def reads_arguments(self) -> bool:
        """Whether a policy of the set reads the arguments of a call."""
        return self.facts.reads.args

    def decide(self, principal: Principal, tool: ToolSpec, args: JsonObject, risk: RiskSignals, now_us: int) -> Verdict:
        """Decide one call.

        Args:
            principal: who calls.
            tool: the tool's definition.
            args: the call's arguments, strictly parsed.
            risk: the signals the call raised.
            now_us: microseconds since the Unix epoch.

        Returns:
            The verdict, with the ids of the policies it rests on. `Deny.detail` is for the operator
            alone, `Deny.advice` for the agent.
        """
        try:
            policies = self._tools.get(tool.id)
            if policies is None or policies.spec is not tool:
                policies = self._specialised(tool)
            known = self._principals.get(principal.name)
            if known is None or known[0] != principal.groups:
                known = self._remember(principal)
            _, uid, groups = known
            context = self._context(policies, args, risk, now_us) if self._reads_context else _NO_CONTEXT
            call = policies.call.decide(uid, groups, context)
            alone = policies.without_approval.decide(uid, groups, context)
            unsigned = policies.without_signer.decide(uid, groups, context)
            same_call, same_alone, same_unsigned, verdict = policies.last
            if call is same_call and alone is same_alone and unsigned is same_unsigned:
                return verdict  # answers that do not depend on the call are the same objects each time
            verdict = self._verdicts.of(call, alone, unsigned)
            if tool.approvers > 1:
                verdict = at_least(verdict, tool.approvers)
            policies.last = (call, alone, unsigned, verdict)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong while deciding, the answer is no
            return Deny(POLICY_ERROR, detail=f"the decision failed: {error!r}")
        return verdict

    def answers(
        self, principal: Principal, tool: ToolSpec, args: JsonObject, risk: RiskSignals, now_us: int
    ) -> tuple[Answer, Answer, Answer]:
        """The engine's answer to each question about a call, in the order of `ACTIONS`; arguments as `decide`."""
        policies, (_, uid, groups) = self._specialised(tool), self._remember(principal)
        context = self._context(policies, args, risk, now_us)
        asked = (policies.call, policies.without_approval, policies.without_signer)
        call, alone, unsigned = (question.decide(uid, groups, context) for question in asked)
        return call, alone, unsigned

    def _context(self, policies: _ToolPolicies, args: JsonObject, risk: RiskSignals, now_us: int) -> dict[str, Any]:
        return {
            "args": policies.arguments.read(args),
            "risk": list(risk.words),
            "shell": shell_value(args, policies.command) if self._reads_shell else 0,
            "time": datetime_value(now_us) if self._reads_time else 0,
        }

    def _specialised(self, tool: ToolSpec) -> _ToolPolicies:
        known = self._tools.get(tool.id)
        if known is not None and known.spec == tool:
            known.spec = tool  # the same definition in another object
            return known
        if len(self._tools) >= MAX_TOOLS:
            self._tools.clear()
        policies = self._tools[tool.id] = _ToolPolicies(self._policies, self.facts.reads, tool)
        return policies

    def _remember(self, principal: Principal) -> tuple[tuple[str, ...], EntityUid, frozenset[EntityUid]]:
        if len(self._principals) >= MAX_PRINCIPALS:
            self._principals.clear()
        groups = frozenset(EntityUid("Group", group) for group in principal.groups)
        known = self._principals[principal.name] = (principal.groups, EntityUid("Agent", principal.name), groups)
        return known


def compile_policy(text: str) -> CompiledPolicy:
    """Parse and compile a policy text, without validating it (`check.check_policy` does).

    Raises:
        CallerError: it does not parse, or cannot be compiled (`invalid_policy`).
    """
    return CompiledPolicy(parse_policy(text))


def tool_attributes(spec: ToolSpec) -> dict[str, bool | int | str]:
    """What policies read of a tool: the attributes of `Tool` in the schema."""
    return {
        "category": spec.category,
        "cost_microusd": spec.cost_microusd,
        "is_write": spec.is_write,
        "net_access": spec.net_access,
        "fs_access": spec.fs_access,
        "source": spec.source,
    }


def tool_parents(spec: ToolSpec) -> list[dict[str, str]]:
    """The server or provider that executes a tool, as Cedar's JSON uids."""
    kind, _, name = spec.source.partition(":")
    parent = {"mcp": "Server", "provider": "Provider"}.get(kind)
    return [{"type": parent, "id": name}] if parent and name else []


def tool_entities(spec: ToolSpec) -> Entities:
    """The entities of a call but for its agent. Names and texts of a tool become values, never Cedar text."""
    uid = {"type": "Tool", "id": spec.id}
    return compile_entities([{"uid": uid, "attrs": tool_attributes(spec), "parents": tool_parents(spec)}])


def shell_value(args: JsonObject, command: str) -> JsonObject:
    """The command of a call as policies read it (`Shell` in the schema); of a tool without one it is not plain."""
    read = read_command(args.get(command) if command else None)
    return {
        "simple": read.simple,
        "program": read.program,
        "subcommand": read.subcommand,
        "words": list[JsonValue](read.words),
    }


def datetime_value(now_us: int) -> object:
    """A moment as Cedar's datetime, which counts milliseconds."""
    to_ms = f"{format_rfc3339(now_us)[:-4]}Z"
    return value_of({"__extn": {"fn": "datetime", "arg": to_ms}})
