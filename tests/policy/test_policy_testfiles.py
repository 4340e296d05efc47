"""Policy test files: Cedar's whole corpus passes, what differs is told, and what is no test file is refused."""

import json
import os
import tarfile
from pathlib import Path

import pytest

from briefcase.core.policy.testfiles import run_test_file
from briefcase.model.errors import CallerError

CHECKOUT = Path(__file__).resolve().parents[2]


def corpus():
    """The corpus's texts by path: from BRIEFCASE_CORPORA, else from a `corpora` directory beside the checkout."""
    named = os.environ.get("BRIEFCASE_CORPORA")
    texts = {}
    for directory in [Path(named)] if named else sorted(CHECKOUT.parent.glob("*/corpora")):
        if (directory / "cedar.tar.gz").is_file():
            with tarfile.open(directory / "cedar.tar.gz") as archive:
                for member in archive:
                    if member.isfile():
                        texts[member.name.removeprefix("./")] = archive.extractfile(member).read().decode()
        else:
            for top in ("tests", "corpus-tests", "sample-data"):
                for path in filter(Path.is_file, (directory / top).rglob("*")):
                    texts[path.relative_to(directory).as_posix()] = path.read_text()
    return texts


def test_every_file_of_cedars_corpus_passes():
    texts = corpus()
    names = [name for name in texts if name.endswith(".json") and name.startswith(("tests/", "corpus-tests/"))]
    names = [name for name in names if not name.endswith("entities.json")]
    if not names:
        pytest.skip("no Cedar corpus: name a directory of corpora in BRIEFCASE_CORPORA")
    results = {name: run_test_file(texts[name], texts.__getitem__) for name in names}
    assert [(name, result) for name, result in results.items() if not result.is_passed] == []
    assert sum(len(result.requests) for result in results.values()) > 20


POLICY = """
@id("ops") permit(principal in Group::"ops", action == Action::"Call", resource);
@id("no-etc") forbid(principal, action, resource) when { context.args has path && context.args.path like "/etc/*" };
permit(principal == Agent::"odd", action, resource) when { context.args.path == 1 };
"""
TOOL = {
    "uid": {"type": "Tool", "id": "file_read"},
    "attrs": {
        "category": "read",
        "cost_microusd": 0,
        "is_write": False,
        "net_access": False,
        "fs_access": True,
        "source": "builtin",
    },
    "parents": [],
}
AGENT = {"uid": {"type": "Agent", "id": "scout"}, "attrs": {}, "parents": [{"type": "Group", "id": "ops"}]}


def request(**changes):
    context = {"args": {}, "risk": [], "time": {"__extn": {"fn": "datetime", "arg": "2026-01-01"}}}
    return {
        "description": "a call",
        "principal": {"type": "Agent", "id": "scout"},
        "action": {"type": "Action", "id": "Call"},
        "resource": {"type": "Tool", "id": "file_read"},
        "context": context,
        "decision": "allow",
        "reason": ["ops"],
        "errors": [],
        **changes,
    }


def run(requests, policy=POLICY, entities=(AGENT, TOOL), **fields):
    files = {"p.cedar": policy, "e.json": json.dumps(entities), "s.cedarschema": fields.pop("schema_text", "")}
    test = {"policies": "p.cedar", "entities": "e.json", "requests": requests, **fields}
    return run_test_file(json.dumps(test), files.__getitem__)


ETC = {"args": {"path": "/etc/passwd"}, "risk": []}
DIFFERENCES = [
    ("as expected", {}, ()),
    ("by place", {"reason": ["policy0"]}, ()),
    ("not asked for", {"reason": None, "errors": None}, ()),
    ("another decision", {"decision": "deny"}, ("decision: expected deny, got allow",)),
    ("another reason", {"reason": ["no-etc"]}, ("reason: -`no-etc`", "reason: +`ops`")),
    ("an unknown reason", {"reason": ["ops", "gone"]}, ("reason: -`gone`",)),
    ("forbidden", {"context": ETC}, ("decision: expected allow, got deny", "reason: -`ops`", "reason: +`no-etc`")),
    ("no value", {"context": {"x": {"__extn": {"fn": "ip", "arg": "x"}}}}, None),
]


@pytest.mark.parametrize(("changes", "expected"), [row[1:] for row in DIFFERENCES], ids=[row[0] for row in DIFFERENCES])
def test_each_difference_is_a_line(changes, expected):
    (result,) = run([request(**changes)]).requests
    if expected is None:
        assert result.differences[0].startswith("request: ")
    else:
        assert result.differences == expected


def test_an_error_that_was_not_expected_says_what_was_wrong():
    odd = request(principal={"type": "Agent", "id": "odd"}, decision="deny", reason=[])
    (result,) = run([odd]).requests
    assert result.differences[0] == "errors: +`policy2`"
    assert result.differences[1].startswith("error of `policy2`: ")
    assert run([{**odd, "errors": ["policy2"]}]).is_passed


@pytest.mark.parametrize(
    ("policy", "should", "passed"),
    [
        ("permit(principal, action, resource);", True, True),
        ("permit(principal, action, resource);", False, False),
        ("permit(principal, action, resource) when { resource.foo };", False, True),
        ("permit(principal, action, resource) when { resource.foo };", True, False),
        ('permit(principal, action, resource) when { context.args has x && context.args.x == "y" };', True, True),
    ],
)
def test_whether_policies_validate_is_part_of_the_test(policy, should, passed):
    result = run([], policy, shouldValidate=should)
    assert result.is_passed == passed
    assert bool(result.problems) != passed


def test_a_test_file_may_bring_its_own_schema_and_entities():
    schema = "entity User { name: String }; action view appliesTo { principal: [User], resource: [User] };"
    entities = [{"uid": {"type": "User", "id": "u"}, "attrs": {"name": "n"}, "parents": []}]
    uid, action = {"type": "User", "id": "u"}, {"type": "Action", "id": "view"}
    asked = {"principal": uid, "action": action, "resource": uid, "decision": "allow", "reason": ["policy0"]}
    policy = 'permit(principal, action, resource) when { principal.name == "n" };'
    fields = {"schema": "s.cedarschema", "schema_text": schema, "entities": entities, "shouldValidate": True}
    assert run([asked], policy, **fields).is_passed


NOT_TEST_FILES = [
    ("no JSON", "{", "cannot be read"),
    ("no object", "[]", "cannot be read"),
    ("no requests", '{"policies": "p.cedar"}', "requests"),
    ("a decision that is none", json.dumps({"policies": "p", "requests": [request(decision="maybe")]}), "maybe"),
    ("nested too deep", '{"policies": "p", "requests": [], "entities": ' + "[" * 100_000, "cannot be read"),
]


@pytest.mark.parametrize(("text", "says"), [row[1:] for row in NOT_TEST_FILES], ids=[row[0] for row in NOT_TEST_FILES])
def test_what_is_no_test_file_is_refused(text, says):
    with pytest.raises(CallerError, match=says):
        run_test_file(text, lambda _: "")


CYCLE = (
    {"uid": {"type": "Group", "id": "a"}, "attrs": {}, "parents": [{"type": "Group", "id": "b"}]},
    {"uid": {"type": "Group", "id": "b"}, "attrs": {}, "parents": [{"type": "Group", "id": "a"}]},
)
BAD_PARTS = [
    ("policies that do not parse", {"policy": "permit(principal"}, "line 1, column 17: unexpected end of input"),
    ("policies nested too deep", {"policy": "(" * 100_000}, "nested"),
    ("entities that are none", {"entities": [{"uid": 1}]}, "the entities do not fit the schema"),
    ("entities with a cycle", {"entities": CYCLE}, "the entities do not fit the schema"),
    ("an attribute the schema lacks", {"entities": [{**AGENT, "attrs": {"x": 1}}]}, "do not fit the schema"),
    ("a schema that is none", {"schema": "s.cedarschema", "schema_text": "entity"}, "do not fit the schema"),
]


@pytest.mark.parametrize(("parts", "says"), [row[1:] for row in BAD_PARTS], ids=[row[0] for row in BAD_PARTS])
def test_parts_that_cannot_be_read_are_refused(parts, says):
    with pytest.raises(CallerError, match=says):
        run([request()], **parts)


def test_a_file_that_cannot_be_read_is_the_callers_to_tell():
    with pytest.raises(FileNotFoundError):
        run_test_file('{"policies": "missing", "requests": []}', lambda name: Path("/nowhere", name).read_text())
