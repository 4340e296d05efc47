"""Policy test files: requests with the answers they must get, in the JSON format of Cedar's integration tests.

    {"policies": "policies.cedar", "entities": "entities.json", "schema": "schema.cedarschema", "shouldValidate": true,
     "requests": [{"description": "…", "principal": {"type": "Agent", "id": "scout"}, "action": …, "resource": …,
                   "context": {…}, "decision": "allow", "reason": ["policy0"], "errors": []}]}

`policies`, `entities` and `schema` name files; `entities` may also be the list itself. Without a `schema` the shipped
one is used. `reason` and `errors` name policies by `@id` or by Cedar's `policy<n>`; a request that leaves one out does
not care. A request that the schema does not fit is a difference, unless `validateRequest` is false; its context is read
by the schema (`contexts`). The native engine answers, as it does for calls. In a difference, `-` was expected and is
missing, `+` was not expected.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar

import cedarpy
import msgspec

from briefcase._native.entities import Entities, compile_entities
from briefcase._native.match import PolicySet, compile_policies
from briefcase._native.values import EntityUid, Record
from briefcase.core.characters.marks import visible_text
from briefcase.core.policy.check import SCHEMA_TEXT, check_policy, parse_problem
from briefcase.core.policy.contexts import ContextReader
from briefcase.core.policy.source import locate, read_source
from briefcase.model.errors import CallerError

MAX_FILE_CHARS: Final = 16 << 20
_T = TypeVar("_T")


class _Uid(msgspec.Struct):
    type: str
    id: str


class _Request(msgspec.Struct):
    principal: _Uid
    action: _Uid
    resource: _Uid
    decision: Literal["allow", "deny"]
    description: str = ""
    context: dict[str, Any] = {}
    reason: list[str] | None = None
    errors: list[str] | None = None
    validate_request: bool = msgspec.field(default=True, name="validateRequest")


class _TestFile(msgspec.Struct, rename="camel"):
    policies: str
    requests: Annotated[list[_Request], msgspec.Meta(max_length=100_000)]
    entities: str | list[dict[str, Any]] = []
    schema: str | None = None
    should_validate: bool | None = None


class RequestResult(msgspec.Struct, frozen=True):
    """One request: what it is, and a line for each thing that was not as expected."""

    description: str
    differences: tuple[str, ...] = ()


class FileResult(msgspec.Struct, frozen=True):
    """One test file: what was wrong with its policies, and each request."""

    problems: tuple[str, ...]
    requests: tuple[RequestResult, ...]

    @property
    def is_passed(self) -> bool:
        """Whether everything was as expected."""
        return not self.problems and not any(result.differences for result in self.requests)


def run_test_file(text: str, read: Callable[[str], str]) -> FileResult:
    """Run one test file.

    Args:
        text: the file's JSON.
        read: gives the text of a file by the name the test file has for it; what it raises passes through.

    Raises:
        CallerError: it is no test file, or its policies, entities or schema cannot be read (`bad_request`,
            `invalid_policy`).
    """
    test = _decoded(text, _TestFile, "the test file")
    schema = None if test.schema is None else read(test.schema)
    policy_text = read(test.policies)
    policies, places = _policies(policy_text)
    given = read(test.entities) if isinstance(test.entities, str) else json.dumps(test.entities)
    entities = _entities(given, schema or SCHEMA_TEXT)
    problems = _validation_problems(policy_text, schema, test.should_validate)
    asking = _Asking(policies, entities, places, _contexts(schema))
    return FileResult(problems, tuple(_result(request, asking) for request in test.requests))


def is_test_file(text: str) -> bool:
    """Whether a JSON text has what a test file has; other JSON (entities, say) may lie beside it.

    Raises:
        CallerError: it is no JSON.
    """
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise CallerError(f"the file is no JSON: {error}") from None
    return isinstance(found, dict) and {"policies", "requests"} <= found.keys()


def _decoded(text: str, kind: type[_T], what: str) -> _T:
    if len(text) > MAX_FILE_CHARS:
        raise CallerError(f"expected {what} of at most {MAX_FILE_CHARS} characters, got {len(text)}")
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise CallerError(f"{what} cannot be read: {error}") from None


def _policies(text: str) -> tuple[PolicySet, dict[str, str]]:
    """The compiled policies, and Cedar's name for each `@id`."""
    source = read_source(text)
    try:
        encoded = json.loads(cedarpy.policies_to_json_str(text))
        policies = compile_policies(encoded)
    except (ValueError, RecursionError):
        problem, offset = locate(source, parse_problem, range(len(source.ranges)))
        source.refuse(problem, offset)
    annotations = {name: policy.get("annotations", {}) for name, policy in encoded["staticPolicies"].items()}
    return policies, {given["id"]: name for name, given in annotations.items() if given.get("id")}


def _entities(text: str, schema: str) -> Entities:
    """The entities as the schema reads them, with the actions it declares."""
    if len(text) > MAX_FILE_CHARS:
        raise CallerError(f"expected entities of at most {MAX_FILE_CHARS} characters, got {len(text)}")
    try:
        return compile_entities(json.loads(str(cedarpy.Entities.from_json_str(text, schema))))
    except (ValueError, RecursionError) as error:
        raise CallerError(f"the entities do not fit the schema: {visible_text(str(error))}") from None


def _validation_problems(policy_text: str, schema: str | None, expected: bool | None) -> tuple[str, ...]:  # noqa: FBT001
    if expected is None:
        return ()
    problem = _validation_problem(policy_text, schema)
    if (problem is None) == expected:
        return ()
    wanted = "validate" if expected else "do not validate"
    return (f"validation: expected policies that {wanted}, got: {problem or 'they do'}",)


def _validation_problem(policy_text: str, schema: str | None) -> str | None:
    if schema is None:
        try:
            check_policy(policy_text)
        except CallerError as error:
            return error.message
        return None
    validation = cedarpy.validate_policies(policy_text, schema)
    problems = "; ".join(visible_text(error.error) for error in validation.errors)
    return None if validation.validation_passed else problems or "they do not"


def _contexts(schema: str | None) -> ContextReader:
    try:
        return ContextReader(schema)
    except (ValueError, RecursionError) as error:
        raise CallerError(f"the schema cannot be read: {visible_text(str(error))}") from None


class _Asking(NamedTuple):
    """What the requests of one file are put to; `places` has Cedar's name for each `@id`."""

    policies: PolicySet
    entities: Entities
    places: Mapping[str, str]
    contexts: ContextReader


def _result(request: _Request, asking: _Asking) -> RequestResult:
    names = [EntityUid(uid.type, uid.id) for uid in (request.principal, request.action, request.resource)]
    try:
        if request.validate_request:
            asking.contexts.check_request(names[0], names[1], names[2], request.context)
        context = asking.contexts.read(names[1], request.context, must_fit=request.validate_request)
    except ValueError as error:
        return RequestResult(request.description, (f"request: {visible_text(str(error))}",))
    if not isinstance(context, Record):
        return RequestResult(request.description, ("request: expected a record as its context",))
    places = asking.places
    answer = asking.policies.authorize(names[0], names[1], names[2], asking.entities, context)
    decision = "allow" if answer.allowed else "deny"
    differences = [] if decision == request.decision else [f"decision: expected {request.decision}, got {decision}"]
    for what, expected, found in (
        ("reason", request.reason, answer.determining),
        ("errors", request.errors, answer.erroring),
    ):
        if expected is not None:
            differences += _difference(what, {places.get(name, name) for name in expected}, set(found), places)
    if differences and answer.problems:
        differences += [
            f"error of `{name}`: {said}" for name, said in zip(answer.erroring, answer.problems, strict=True)
        ]
    return RequestResult(request.description, tuple(differences))


def _difference(what: str, expected: set[str], found: set[str], places: Mapping[str, str]) -> list[str]:
    ids = {name: given for given, name in places.items()}
    missing = sorted(ids.get(name, name) for name in expected - found)
    surplus = sorted(ids.get(name, name) for name in found - expected)
    return [f"{what}: -`{visible_text(name)}`" for name in missing] + [
        f"{what}: +`{visible_text(name)}`" for name in surplus
    ]
