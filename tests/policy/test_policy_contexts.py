"""A context is read as the schema says, as Cedar reads it, and a request that the schema does not fit is told."""

import json

import pytest

from briefcase.core.policy.testfiles import is_test_file, run_test_file
from briefcase.model.errors import CallerError

SCHEMA = """
// action "not this" appliesTo { principal: [User], resource: [User], context: { x: Long } };
namespace App {
  type Ctx = { score: decimal, ip?: ipaddr, friend?: User, tags?: Set<String>, };
  entity User;
  @doc("of; two")
  action view, "look { at }" in ["all"] appliesTo { principal: [User], resource: [User], context: Ctx, };
  action all;
  action "write\\u{21}" appliesTo { principal: User, resource: User, context: { at: datetime } } attributes {};
  action plain appliesTo { principal: User, resource: User };
}
entity Loose;
action free appliesTo { principal: [Loose], resource: [Loose], context: { n: Long } };
"""
JSON_SCHEMA = {
    "App": {
        "entityTypes": {"User": {}},
        "actions": {
            "view": {
                "appliesTo": {
                    "principalTypes": ["User"],
                    "resourceTypes": ["User"],
                    "context": {
                        "type": "Record",
                        "attributes": {
                            "score": {"type": "Extension", "name": "decimal"},
                            "friend": {"type": "Entity", "name": "User", "required": False},
                        },
                    },
                }
            },
            "plain": {"appliesTo": {"principalTypes": ["User"], "resourceTypes": ["User"]}},
        },
    }
}
USER = {"type": "App::User", "id": "u"}


def differences(context, policy, action="view", schema=SCHEMA, **changes):
    request = {
        "description": "",
        "principal": USER,
        "action": {"type": "App::Action", "id": action} if isinstance(action, str) else action,
        "resource": USER,
        "context": context,
        "decision": "allow",
        **changes,
    }
    files = {"p": f"permit (principal, action, resource) when {{ {policy} }};", "s": schema}
    test = {"policies": "p", "schema": "s", "requests": [request]}
    (result,) = run_test_file(json.dumps(test), files.__getitem__).requests
    return result.differences


SCORE = {"score": "0.7"}
READ = [
    (SCORE, 'context.score.greaterThan(decimal("0.5"))', "view"),
    (SCORE, 'context.score.greaterThan(decimal("0.5"))', "look { at }"),
    ({"score": {"__extn": {"fn": "decimal", "arg": "0.7"}}}, 'context.score.greaterThan(decimal("0.5"))', "view"),
    ({**SCORE, "ip": "10.0.0.1"}, 'context.ip.isInRange(ip("10.0.0.0/8"))', "view"),
    ({**SCORE, "friend": USER}, "context.friend == principal", "view"),
    ({**SCORE, "tags": ["a"]}, 'context.tags.contains("a")', "view"),
    ({"at": "2026-01-01"}, 'context.at > datetime("2025-01-01")', "write!"),
    ({}, "true", "plain"),
]


@pytest.mark.parametrize(("context", "policy", "action"), READ)
def test_a_text_is_what_the_schema_says_it_is(context, policy, action):
    assert differences(context, policy, action) == ()


@pytest.mark.parametrize(
    ("context", "policy"),
    [(SCORE, READ[0][1]), ({**SCORE, "friend": USER}, "context.friend == principal")],
)
def test_a_schema_in_json_is_read_as_well(context, policy):
    assert differences(context, policy, schema=json.dumps(JSON_SCHEMA)) == ()
    assert differences({}, "true", "plain", json.dumps(JSON_SCHEMA)) == ()


def test_an_action_outside_of_every_namespace_has_its_context_too():
    loose = {"type": "Loose", "id": "l"}
    changes = {"principal": loose, "resource": loose, "action": {"type": "Action", "id": "free"}}
    assert differences({"n": 1}, "context.n == 1", **changes) == ()
    assert "request: " in differences({"n": "1"}, "context.n == 1", **changes)[0]


@pytest.mark.parametrize(
    ("context", "changes"),
    [
        ({}, {}),
        ({"score": "many"}, {}),
        ({**SCORE, "other": 1}, {}),
        (SCORE, {"principal": {"type": "App::Nobody", "id": "u"}}),
        (SCORE, {"action": {"type": "App::Action", "id": "none"}}),
        ({"x": 1}, {"action": {"type": "App::Action", "id": "plain"}}),
    ],
)
def test_a_request_that_the_schema_does_not_allow_is_told_unless_it_is_not_to_be_validated(context, changes):
    (difference,) = differences(context, "true", **changes)
    assert difference.startswith("request: ")
    assert "BriefcaseContext" not in difference
    assert differences(context, "true", validateRequest=False, **changes) == ()


def test_a_context_that_is_nested_too_deep_is_told():
    deep = {}
    for _ in range(200):
        deep = {"x": deep}
    assert differences({**SCORE, "tags": deep}, "true")[0].startswith("request: ")


def test_briefcases_own_contexts_have_risk_and_time_by_the_schema_and_any_arguments():
    call = {
        "description": "",
        "principal": {"type": "Agent", "id": "a"},
        "action": {"type": "Action", "id": "Call"},
        "resource": {"type": "Tool", "id": "t"},
        "decision": "allow",
    }
    policy = (
        'permit (principal, action, resource) when { context.args.n == 1 && context.time > datetime("2025-01-01") };'
    )
    contexts = [{"args": {"n": 1}, "risk": [], "time": "2026-01-01"}, {"args": {"n": 1}, "time": "when?"}]
    test = {"policies": "p", "requests": [{**call, "context": context} for context in contexts]}
    good, bad = run_test_file(json.dumps(test), {"p": policy}.__getitem__).requests
    assert good.differences == ()
    assert bad.differences[0].startswith("request: ")


@pytest.mark.parametrize("schema", ["namespace {", "action", "{}}", "action a appliesTo { context"])
def test_what_is_no_schema_is_refused(schema):
    with pytest.raises(CallerError):
        differences({}, "true", schema=schema)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [('{"policies": "p", "requests": []}', True), ('{"policies": "p"}', False), ("[]", False), ('"requests"', False)],
)
def test_a_test_file_is_told_from_other_json(text, is_one):
    assert is_test_file(text) is is_one


def test_what_is_no_json_is_no_other_json():
    with pytest.raises(CallerError):
        is_test_file("{")
