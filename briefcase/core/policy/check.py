"""Parse and validate a policy when it is set, by the reference engine, or say what is wrong and where.

`parse_policy` refuses what is no policy set at all; `validate_policy` what can never work as meant: an attribute that
does not exist, an optional argument used without `has`, types that do not fit. A policy that passes can still err on
a call (an integer overflow); then the engine denies.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final, NoReturn

import cedarpy
import msgspec

from briefcase.core.characters.marks import visible_text
from briefcase.core.policy.argtypes import ToolSchemas
from briefcase.core.policy.cedartypes import RecordOf, type_text
from briefcase.core.policy.expressions import Reads, reads_of
from briefcase.core.policy.source import PolicySource, locate, offset_of_names, read_source
from briefcase.model.reasons import BUDGET_EXCEEDED
from briefcase.model.types import MAX_APPROVERS, ToolSpec

CHUNK_CHARS: Final = 512
MAX_ID_CHARS: Final = 200
MAX_REASON_CHARS: Final = 300
MAX_CONDITION_DEPTH: Final = 400  # operators in operators; what reads them recurses, and may use most of 1,000 frames
LEVELS_AROUND: Final = 6  # of Cedar's JSON: the set, its policies, one of them, its conditions, one, and a value
LEVELS_OF_OPERATOR: Final = 2  # its object and its operands'
APPROVERS: Final = "approvers"
EXCLUDE: Final = "approvers_exclude"
AUTHOR: Final = "author"
NEARLY: Final = 0.85  # how alike two names are, of 1
_NUMBERS_OF_APPROVERS: Final = frozenset(str(number) for number in range(2, MAX_APPROVERS + 1))
_CALL: Final = {"type": "Action", "id": "Call"}
# A reason the flow of a call itself gives a meaning to (`calls.py`): only the budget may say it.
RESERVED_REASONS: Final = frozenset({BUDGET_EXCEEDED})
SCHEMA_TEXT: Final = files("briefcase.core.policy").joinpath("schema.cedarschema").read_text("utf-8")
DEFAULT_POLICY_TEXT: Final = files("briefcase.core.policy").joinpath("default.cedar").read_text("utf-8")

_FOLLOWS: Final = "unable to find an applicable action given the policy scope constraints"  # of an unknown name, say
_KNOWN_ACTIONS: Final = re.findall(r"^action (\w+)", SCHEMA_TEXT, re.MULTILINE)
_KNOWN_TYPES: Final = re.findall(r"^entity (\w+)", SCHEMA_TEXT, re.MULTILINE)
_PLACE: Final = re.compile(r"policy(0|[1-9][0-9]{0,5})", re.ASCII)
_NO_ARGUMENTS: Final = "type Arguments = {};"


class PolicyFacts(msgspec.Struct, frozen=True):
    """What is known of a policy set beside its rules.

    `names` are the ids that receipts show, in the order of the text: the `@id`, else Cedar's `policy<n>`; `forbids`
    those of policies that forbid; `reasons` the `@reason` by name, `advice` the `@advice`, which a denied agent reads,
    and `approvers` the `@approvers`, how many people must say yes; `excluding` those with `@approvers_exclude`; `reads`
    what they read of a call.
    """

    source: PolicySource
    digest_hex: str
    names: tuple[str, ...]
    forbids: frozenset[str]
    reasons: Mapping[str, str]
    advice: Mapping[str, str]
    approvers: Mapping[str, int]
    excluding: frozenset[str]
    reads: Reads


class ParsedPolicy(PolicyFacts, frozen=True):
    """A policy set that parses: its rules by name, in Cedar's JSON format. Large; compiled, it is no longer needed."""

    policies: Mapping[str, Mapping[str, Any]]

    def facts(self) -> PolicyFacts:
        """The same without the rules."""
        return PolicyFacts(
            self.source,
            self.digest_hex,
            self.names,
            self.forbids,
            self.reasons,
            self.advice,
            self.approvers,
            self.excluding,
            self.reads,
        )


def parse_policy(text: str) -> ParsedPolicy:
    """Parse a policy text.

    Raises:
        CallerError: (`invalid_policy`) too large, too deep, no Cedar, a template, an id given twice or too long, a
            reserved reason; with line, column and a caret.
    """
    source = read_source(text)
    encoded = [policy for chunk in _chunks(source) for policy in _encoded(source, chunk)]
    names: list[str] = []
    policies: dict[str, Mapping[str, Any]] = {}
    reasons: dict[str, str] = {}
    advice: dict[str, str] = {}
    approvers: dict[str, int] = {}
    excluding: set[str] = set()
    for index, policy in enumerate(encoded):
        name = _name_of(source, index, policy)
        if name in policies or _is_place_of_another(name, index, len(encoded)):
            _refuse_at(source, index, name, f"the id `{name}` is given twice", "give each policy its own `@id`")
        names.append(name)
        policies[name] = policy
        annotations = policy.get("annotations", {})
        if "reason" in annotations:
            reasons[name] = _reason_of(source, index, annotations["reason"])
        if "advice" in annotations:
            advice[name] = _said(source, index, "advice", annotations["advice"])
        _check_spelling(source, index, annotations)
        if APPROVERS in annotations:
            approvers[name] = _approvers_of(source, index, policy)
        if EXCLUDE in annotations:
            _check_excluded(source, index, policy)
            excluding.add(name)
    forbids = frozenset(name for name, policy in policies.items() if policy["effect"] == "forbid")
    digest_hex = hashlib.sha256(text.encode()).hexdigest()
    reads = reads_of(policies)
    found = (reasons, advice, approvers, frozenset(excluding))
    return ParsedPolicy(source, digest_hex, tuple(names), forbids, *found, reads, policies)


def validate_policy(parsed: ParsedPolicy, tools: Sequence[ToolSpec] | None = None) -> None:
    """Validate parsed policies against the shipped schema, arguments typed as `argtypes` says.

    Args:
        parsed: what `parse_policy` returned.
        tools: the registered tools, so that policies are held against the arguments these declare; None where they
            are not known.

    Raises:
        CallerError: (`invalid_policy`) the first problem in the order of the text, with line, column and a caret.
    """
    schemas = ToolSchemas(tools)
    groups: dict[RecordOf, list[int]] = {}
    for index, policy in enumerate(parsed.policies.values()):
        arguments = schemas.arguments_of(policy)
        if arguments.problem is not None:
            wrong = arguments.problem
            _refuse_at(parsed.source, index, wrong.path, wrong.message, visible_text(wrong.hint))
        groups.setdefault(arguments.type, []).append(index)
    found = [
        (index, problem)
        for arguments_type, members in groups.items()
        for index, problem in _problems(parsed.source, members, arguments_type)
    ]
    if found:
        index, problem = min(found, key=lambda one: (one[0], one[1] == _FOLLOWS, one[1]))
        start = parsed.source.ranges[index][0]
        parsed.source.refuse(problem, start + offset_of_names(parsed.source.policy(index), problem), _hint_for(problem))


def check_policy(text: str, tools: Sequence[ToolSpec] | None = None) -> ParsedPolicy:
    """Parse and validate a policy text; see `parse_policy` and `validate_policy` for what is raised."""
    parsed = parse_policy(text)
    validate_policy(parsed, tools)
    return parsed


def schema_text(arguments: RecordOf) -> str:
    """The shipped schema, with what `context.args` is: of one tool, or of one policy."""
    return SCHEMA_TEXT.replace(_NO_ARGUMENTS, f"type Arguments = {type_text(arguments)};")


def _chunks(source: PolicySource) -> Iterator[range]:
    """The policies in chunks of about `CHUNK_CHARS`: the reference engine parses without letting other threads run."""
    first = 0
    for index, (_, end) in enumerate(source.ranges):
        if end - source.ranges[first][0] >= CHUNK_CHARS or index == len(source.ranges) - 1:
            yield range(first, index + 1)
            first = index + 1


def _encoded(source: PolicySource, chunk: range) -> list[Mapping[str, Any]]:
    """Some policies of a text in Cedar's JSON format."""
    text = source.text[source.ranges[chunk[0]][0] : source.ranges[chunk[-1]][1]]
    try:
        encoded = json.loads(cedarpy.policies_to_json_str(text))
    except (ValueError, RecursionError):
        source.refuse(*locate(source, parse_problem, chunk))
    if _is_deep(encoded):
        source.refuse(*locate(source, parse_problem, chunk))
    by_place: dict[str, Mapping[str, Any]] = encoded["staticPolicies"]
    for place, index in enumerate(chunk):
        if f"policy{place}" in encoded["templates"]:
            source.refuse("expected a policy, got a template", source.ranges[index][0], "write the entity for its slot")
    if len(by_place) != len(chunk):
        source.refuse("the policies could not be told apart", source.ranges[chunk[0]][0], "end each one with one `;`")
    return [by_place[f"policy{place}"] for place in range(len(chunk))]


def _is_place_of_another(name: str, index: int, policies: int) -> bool:
    """Whether a name is Cedar's own name for another policy of the set."""
    place = _PLACE.fullmatch(name)
    return place is not None and int(place[1]) != index and int(place[1]) < policies


def parse_problem(text: str) -> str | None:
    """What the reference engine refuses a text for, or None."""
    try:
        is_deep = _is_deep(json.loads(cedarpy.policies_to_json_str(text)))
    except RecursionError:
        is_deep = True
    except ValueError as error:
        return visible_text(str(error))
    if is_deep:
        return f"expected conditions that are less deep, at most {MAX_CONDITION_DEPTH} operators; split the policy"
    return None


def _is_deep(encoded: Any) -> bool:  # noqa: ANN401 - Cedar's JSON, which nests as deep as it likes
    """Whether operators are nested deeper than those who read them one inside the other can follow.

    What the interpreter's own limit comes to differs from version to version, and with who asks.
    """
    level, left = [encoded], LEVELS_AROUND + LEVELS_OF_OPERATOR * MAX_CONDITION_DEPTH
    while level and left:
        inside = [value.values() if isinstance(value, dict) else value for value in level]
        level = [part for values in inside for part in values if isinstance(part, dict | list)]
        left -= 1
    return bool(level)


def _name_of(source: PolicySource, index: int, policy: Mapping[str, Any]) -> str:
    annotations = policy.get("annotations", {})
    if "id" not in annotations:
        return f"policy{index}"
    given = annotations["id"]
    if not given or len(given) > MAX_ID_CHARS or visible_text(given) != given:
        _refuse_at(source, index, "id", f"expected an `@id` of 1 to {MAX_ID_CHARS} visible characters", "")
    return str(given)


def _said(source: PolicySource, index: int, name: str, said: str | None) -> str:
    """What an annotation says, for a person or an agent to read."""
    if not said or len(said) > MAX_REASON_CHARS or visible_text(said) != said:
        _refuse_at(source, index, name, f"expected a `@{name}` of 1 to {MAX_REASON_CHARS} visible characters", "")
    return said


def _reason_of(source: PolicySource, index: int, given: str | None) -> str:
    reason = _said(source, index, "reason", given)
    if reason in RESERVED_REASONS:
        _refuse_at(source, index, "reason", f"the reason `{reason}` is reserved", "say it in other words")
    return reason


def _check_spelling(source: PolicySource, index: int, annotations: Mapping[str, Any]) -> None:
    """Refuse what is nearly one of ours: Cedar takes any annotation, and fewer people would do than was meant."""
    for given in annotations:
        near = difflib.get_close_matches(given.lower(), [APPROVERS, EXCLUDE], n=1, cutoff=NEARLY)
        if near and given not in {APPROVERS, EXCLUDE}:
            _refuse_at(source, index, given, f"expected `@{near[0]}`, got `@{given}`", "")


def _approvers_of(source: PolicySource, index: int, policy: Mapping[str, Any]) -> int:
    """How many people a policy wants: said where it would count, and never less than it seems to say."""
    given = policy["annotations"][APPROVERS]
    if given not in _NUMBERS_OF_APPROVERS:
        expected = f'expected `@approvers` of "2" to "{MAX_APPROVERS}"'
        _refuse_at(source, index, "approvers", expected, "one is what an approval takes without it")
    _check_permits_call(source, index, policy, APPROVERS)
    return int(given)


def _check_excluded(source: PolicySource, index: int, policy: Mapping[str, Any]) -> None:
    """Refuse to exclude anybody but who set the policy, or where it would not count."""
    if policy["annotations"][EXCLUDE] != AUTHOR:
        _refuse_at(source, index, EXCLUDE, f'expected `@{EXCLUDE}("{AUTHOR}")`', "")
    _check_permits_call(source, index, policy, EXCLUDE)


def _check_permits_call(source: PolicySource, index: int, policy: Mapping[str, Any], name: str) -> None:
    action = policy["action"]
    entities = [action.get("entity"), *action.get("entities", ())]
    if policy["effect"] != "permit" or not (action["op"] == "All" or _CALL in entities):
        hint = "it counts where that policy permits the call"
        _refuse_at(source, index, name, f"expected `@{name}` at a `permit` of the action `Call`", hint)


def _refuse_at(source: PolicySource, index: int, name: str, message: str, hint: str) -> NoReturn:
    """Refuse the text for what one of its policies says about a name."""
    start, _ = source.ranges[index]
    source.refuse(visible_text(message), start + offset_of_names(source.policy(index), f"`{name}`"), hint)


def _problems(source: PolicySource, members: Sequence[int], arguments_type: RecordOf) -> list[tuple[int, str]]:
    """What the reference validator says about some policies of a text, as (index in the text, problem)."""
    schema = schema_text(arguments_type)
    text = "\n".join(source.policy(index) for index in members)
    result = cedarpy.validate_policies(text, schema, release_gil=True)
    problems = []
    for error in result.errors:
        position = error.policy_id.removeprefix("policy")
        index = members[int(position)] if position.isdecimal() else members[0]
        problems.append((index, visible_text(error.error.removeprefix(f"for policy `{error.policy_id}`, "))))
    if not result.validation_passed and not problems:
        problems.append((members[0], "the reference engine does not accept the policy"))
    return problems


def _hint_for(problem: str) -> str:
    if "optional attribute `args." in problem:
        return "not every call has this argument: write `context.args has … &&` before it is used"
    if problem.startswith("unrecognized action "):
        return "expected one of " + ", ".join(f'`Action::"{name}"`' for name in _KNOWN_ACTIONS)
    if problem.startswith("unrecognized entity type "):
        return "expected one of " + ", ".join(f"`{name}`" for name in _KNOWN_TYPES)
    if problem == _FOLLOWS:
        return "a principal is an `Agent` or in a `Group`, a resource is a `Tool` or in a `Server` or `Provider`"
    return ""
