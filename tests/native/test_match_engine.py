"""What the engine promises beyond Cedar's answers: bounds, plain arguments, specialising, refusals."""

import json
import threading
from itertools import pairwise

import cedarpy
import pytest
from cedar_oracle import judged, outcome_of

from briefcase._native.entities import compile_entities, value_of
from briefcase._native.match import compile_policies
from briefcase._native.values import EntityUid, Fault, Record, unrepresentable

ALICE = EntityUid("Agent", "alice")
CALL = EntityUid("Action", "Call")
TOOL = EntityUid("Tool", "t")
NOBODY = compile_entities([])


def compiled(text):
    return compile_policies(json.loads(cedarpy.policies_to_json_str(text)))


def answered(text, context, entities=NOBODY):
    return compiled(text).authorize(ALICE, CALL, TOOL, entities, context)


def condition(expression):
    return f"permit(principal, action, resource) when {{ {expression} }};"


def nested(levels):
    expression = {"Value": True}
    for _ in range(levels):
        expression = {"!": {"arg": expression}}
    return {"staticPolicies": {"deep": policy(expression)}}


def policy(expression, effect="permit"):
    every = {"op": "All"}
    return {
        "effect": effect,
        "principal": every,
        "action": every,
        "resource": every,
        "conditions": [{"kind": "when", "body": expression}],
    }


# --- the language, where Python or C would have it otherwise ------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("true == 1", "false"),
        ("[1].contains(true)", "false"),
        ("[true, 1] == [1, true, 1]", "true"),
        ("[[true]] == [[1]]", "false"),
        ("{a: [1, {b: true}]} == {a: [{b: true}, 1]}", "true"),
        ("[].contains(1) || [].containsAny([1])", "false"),
        ("[].containsAll([]) && [].isEmpty()", "true"),
        ("[1, 2] in [1]", "error"),
        ('A::"x" in [A::"x", 1]', "error"),
        ('A::"x" in []', "false"),
        ('A::"unknown" has a', "false"),
        ('A::"unknown".a == 1', "error"),
        ('A::"unknown".hasTag("t")', "false"),
        ('A::"unknown".getTag("t") == 1', "error"),
        ('"a" has b', "error"),
        ("{a: {b: 1}} has a.b && !({a: {b: 1}} has b.c)", "true"),
        ("{a: 1} has a.b", "error"),
        ("9223372036854775807 + 1 == 0", "error"),
        ("-9223372036854775808 - 1 == 0", "error"),
        ("-(-9223372036854775808) == 0", "error"),
        ("-9223372036854775808 * -1 == 0", "error"),
        ("-9223372036854775808 * 1 == -9223372036854775808", "true"),
        ("true || 1", "true"),
        ("false || 1", "error"),
        ("1 && true", "error"),
        ("true && 1", "error"),
        ("if 1 then true else true", "error"),
        ("if true then true else 1 + true", "true"),
        ('"\\u{1f9f3}" like "?"', "false"),
        ('"a*b" like "a\\*b" && !("axb" like "a\\*b")', "true"),
        ('"aba" like "ab*ba"', "false"),
        ('"" like "*" && !("" like "**a")', "true"),
        ('"a" < "b"', "error"),
        ('N::A::"x" is N::A && !(N::A::"x" is A)', "true"),
        ('A::"x" is A in A::"x"', "true"),
        ("1 is A", "error"),
    ],
)
def test_an_operator_means_what_cedar_means(expression, expected):
    cedar, ours = judged(expression)
    assert cedar == expected, "the vector is wrong"
    assert ours == cedar


def test_the_answer_names_what_decided_and_what_erred():
    answer = answered(
        """permit(principal, action, resource);
           permit(principal, action, resource) when { context.missing };
           forbid(principal, action, resource) when { 1 };
           permit(principal, action, resource == Tool::"other");""",
        {},
    )
    assert outcome_of(answer) == (True, ("policy0",), ("policy1", "policy2"))
    assert answer.problems == (
        "record does not have the attribute `missing`",
        "type error: expected bool, got long",
    )
    assert answer.forbid_erred
    assert not answered(condition("1"), {}).forbid_erred


def test_a_satisfied_forbid_alone_is_determining():
    answer = answered("permit(principal, action, resource); forbid(principal, action, resource);", {})
    assert outcome_of(answer) == (False, ("policy1",), ())


def test_an_action_list_counts_a_policy_once():
    entities = compile_entities(
        [
            {"uid": {"type": "Action", "id": "Call"}, "parents": [{"type": "Action", "id": "group"}]},
            {"uid": {"type": "Action", "id": "group"}},
        ]
    )
    text = 'permit(principal, action in [Action::"Call", Action::"group", Action::"Call"], resource);'
    assert answered(text, {}, entities).determining == ("policy0",)
    special = compiled(text).specialise(CALL, TOOL, entities)
    assert special.decide(ALICE, frozenset(), {}).determining == ("policy0",)


# --- templates ---------------------------------------------------------------------------------------------------

TEMPLATE = json.loads(
    cedarpy.policies_to_json_str(
        "permit(principal in ?principal, action, resource is Tool in ?resource) when { true };"
    )
)
GROUP = {"type": "Group", "id": "g"}


def linked(values, template_id="policy0"):
    return TEMPLATE | {"templateLinks": [{"templateId": template_id, "newId": "l", "values": values}]}


def test_a_link_applies_where_its_slots_say_and_the_template_itself_nowhere():
    tool = {"type": "Tool", "id": "t"}
    assert len(compile_policies(TEMPLATE)) == 0
    special = compile_policies(linked({"?principal": GROUP, "?resource": tool})).specialise(CALL, TOOL, NOBODY)
    assert special.decide(ALICE, frozenset({EntityUid("Group", "g")}), {}).determining == ("l",)
    assert not special.decide(ALICE, frozenset(), {}).allowed


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            linked({"?principal": GROUP}),
            r"policy `l`: expected Cedar's JSON policy format, got KeyError\('\?resource'\)",
        ),
        (linked({}, "other"), "expected the link `l` of a known template, got `other`"),
        (nested(257), "policy `deep`: expected expressions nested at most 256 deep; split the condition"),
        (nested(100_000), "nested at most 256 deep"),
        ({"staticPolicies": {"p": policy({"frob": []})}}, "expected an operation of the Cedar language, got `frob`"),
        ({"staticPolicies": {"p": policy({"Var": "me"})}}, "expected a known `Var`, got `'me'`"),
        ({"staticPolicies": {"p": policy({"Value": None})}}, "expected a Cedar value, got `None`"),
        ({"staticPolicies": {"p": policy({"Value": 2**63})}}, "expected a Cedar value, got `9223372036854775808`"),
        ({"staticPolicies": {"p": policy({"Value": True}, "maybe")}}, "policy `p`: .*KeyError.'maybe'"),
        ({"staticPolicies": {"p": policy({"==": {"left": {"Value": 1}}})}}, "policy `p`: .*KeyError.'right'"),
        ({"staticPolicies": {"p": {}}}, "policy `p`: expected Cedar's JSON policy format"),
        ({"staticPolicies": {"p": policy([])}}, "expected an expression of one key, got `\\[\\]`"),
        ({"staticPolicies": {"p": None}}, "policy `p`: expected Cedar's JSON policy format"),
        ({"staticPolicies": []}, "expected Cedar's JSON policy set format"),
        ({"templateLinks": [{}]}, "expected Cedar's JSON policy set format"),
    ],
)
def test_what_is_no_policy_set_is_refused_by_name(source, message):
    with pytest.raises(ValueError, match=message):
        compile_policies(source)


# --- bounds ------------------------------------------------------------------------------------------------------


def test_nesting_up_to_the_bound_runs():
    assert compile_policies(nested(256)).authorize(ALICE, CALL, TOOL, NOBODY, {}).allowed


@pytest.mark.parametrize("operator", ["&&", "||"])
def test_a_chain_is_wider_than_deep(operator):
    """cedarpy's own node objects stop at 100 links."""
    numbers = range(400) if operator == "||" else [399] * 400
    text = condition(f" {operator} ".join(f"context.n == {n}" for n in numbers))
    assert answered(text, {"n": 399}).allowed
    assert not answered(text, {"n": 400}).allowed


@pytest.mark.parametrize("text", ["a" * 300_000, "ab" * 100_000, ""])
def test_a_hostile_pattern_takes_linear_time(text):
    """An engine that backtracks does not come back from this one."""
    assert not answered(condition('context.args.s like "' + "*a" * 60 + '*c"'), {"args": {"s": text}}).allowed


def test_a_huge_set_is_searched_by_hash():
    numbers = list(range(200_000))
    text = condition("context.args.a.containsAll(context.args.b) && context.args.a == context.args.b")
    assert answered(text, {"args": {"a": numbers, "b": numbers[::-1]}}).allowed


def test_sets_within_sets_are_hashed_too():
    pairs = [[a, b] for a, b in pairwise(range(50_000))]
    assert answered(condition("context.args.a == context.args.b"), {"args": {"a": pairs, "b": pairs[::-1]}}).allowed


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"a": inner}])
def test_values_nested_beyond_the_bound_are_errors_not_crashes(wrap):
    deep = 1
    for _ in range(100_000):
        deep = wrap(deep)
    answer = answered(condition("context.a == context.a"), {"a": deep})
    assert answer.erroring == ("policy0",)
    assert answer.problems == ("expected values nested at most 128 deep",)
    with pytest.raises(ValueError, match="nested at most 128 deep"):
        value_of(deep)


def test_ten_thousand_policies_answer_as_cedar_does():
    text = "\n".join(
        f'{"forbid" if n % 7 == 0 else "permit"}(principal in Group::"g{n}", action == Action::"Call", '
        f'resource in Server::"s{n % 10}") when {{ context.n < {n} }};'
        for n in range(10_000)
    )
    groups = [{"type": "Group", "id": f"g{n}"} for n in (3, 13, 23)]
    entities = [
        {"uid": {"type": "Agent", "id": "alice"}, "attrs": {}, "parents": groups},
        {"uid": {"type": "Tool", "id": "t"}, "attrs": {}, "parents": [{"type": "Server", "id": "s3"}]},
    ]
    request = {"principal": 'Agent::"alice"', "action": 'Action::"Call"', "resource": 'Tool::"t"', "context": {"n": 5}}
    cedar = cedarpy.is_authorized(request, text, entities)
    answer = answered(text, {"n": 5}, compile_entities(entities))
    assert outcome_of(answer) == (cedar.allowed, tuple(sorted(cedar.diagnostics.reasons)), ())
    assert answer.determining == ("policy13", "policy23")


@pytest.mark.parametrize(
    "name",
    [
        'a"b',
        "a\\b",
        "`",
        "\x00",
        "\u202e",
        "é",
        "e\u0301",
        "\ud7ff",
        "\ufffd",
        "\U0001f9f3",
        "\U000e0041",
        "\U0010ffff",
    ],
)
def test_an_id_is_any_text_and_means_only_itself(name):
    agent = {"type": "Agent", "id": name}
    source = policy({"==": {"left": {"Var": "principal"}, "right": {"Value": {"__entity": agent}}}})
    policies = compile_policies({"staticPolicies": {name: source | {"principal": {"op": "==", "entity": agent}}}})
    assert policies.authorize(EntityUid("Agent", name), CALL, TOOL, NOBODY, {}).determining == (name,)
    assert not policies.authorize(EntityUid("Agent", name + '"'), CALL, TOOL, NOBODY, {}).allowed


# --- plain arguments ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, 0.5, 1.0, 2**63, -(2**63) - 1, [1, None], object(), float("nan")])
def test_what_cedar_has_no_value_for_may_be_there_but_not_be_used(value):
    context = {"args": {"x": value, "y": 1}}
    assert answered(condition("context.args.y == 1"), context).allowed
    assert answered(condition("context.args has x"), context).allowed
    for use in ("context.args.x == context.args.x", "[context.args.x].isEmpty()", "context.args == {y: 1}",
                "[1].contains(context.args.x)", 'context.args.x like "*"', "{a: context.args.x} has a"):  # fmt: skip
        answer = answered(condition(use), context)
        assert (answer.allowed, answer.erroring) == (False, ("policy0",)), use


def test_arguments_are_never_escapes():
    disguised = {"x": {"__entity": {"type": "Agent", "id": "alice"}}}
    assert not answered(condition("context.args.x == principal"), {"args": disguised}).allowed
    assert answered(condition('context.args.x["__entity"].id == "alice"'), {"args": disguised}).allowed
    assert answered(condition("context.args.x == principal"), {"args": {"x": ALICE}}).allowed


@pytest.mark.parametrize("context", [{"s": "a", "l": [1, 1, "a", True], "r": {"b": False, "n": {}}, "n": -(2**63)}])
def test_plain_json_means_what_cedar_reads_from_it(context):
    text = condition(
        'context == {s: "a", l: ["a", true, 1], r: {n: {}, b: false}, n: -9223372036854775808}'
        " && context.l.contains(true)"
    )
    request = dict.fromkeys(("principal", "action", "resource"), 'A::"x"') | {"context": context}
    assert cedarpy.is_authorized(request, text, "[]").allowed
    assert answered(text, context).allowed
    assert answered(text, Record(context)).allowed
    assert answered(text, value_of(context)).allowed


def test_a_fault_given_as_a_value_is_the_error_of_its_use():
    answer = answered(condition("context.risk == 1"), {"risk": Fault("the classifier did not answer")})
    assert answer.problems == ("the classifier did not answer",)
    assert "Cedar can represent" in unrepresentable.problem


# --- entities ----------------------------------------------------------------------------------------------------


def entity(name, *parents, **more):
    return {"uid": {"type": "E", "id": name}, "attrs": {}, "parents": [{"type": "E", "id": p} for p in parents], **more}


def test_ancestors_are_closed_transitively():
    store = compile_entities([entity("a", "b"), entity("b", "c", "d"), entity("c", "unknown")])
    assert {uid.id for uid in store.ancestors(EntityUid("E", "a"))} == {"b", "c", "d", "unknown"}
    assert store.ancestors(EntityUid("E", "unknown")) == frozenset()
    assert EntityUid("E", "b") in store
    assert len(store) == 3


def test_a_deep_hierarchy_is_closed_without_recursion():
    chain = [entity(str(n), str(n + 1)) for n in range(2_000)]
    assert len(compile_entities(chain).ancestors(EntityUid("E", "0"))) == 2_000


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        ([entity("a", "b"), entity("b", "c"), entity("c", "a")], "expected a hierarchy without cycles"),
        ([entity("a", "a")], "expected a hierarchy without cycles"),
        ([entity("a"), entity("a", "b")], 'expected each entity once, got `E::"a"` again with other content'),
        ([entity("a"), entity("a", attrs={"x": 1})], "expected each entity once"),
        ([entity("a", attrs={"x": None})], "expected a Cedar value, got `None`"),
        ([entity("a", attrs={"x": 1.5})], "expected a Cedar value, got `1.5`"),
        ([entity("a", tags={"x": {"__extn": {"fn": "ip", "arg": "1.2.3"}}})], "`1.2.3` is not a well-formed ip value"),
        (
            [entity("a", attrs={"x": {"__extn": {"fn": "frob", "arg": "1"}}})],
            "expected an extension function, got `frob`",
        ),
        ([entity("a", attrs=None)], "expected `attrs` to be an object, got `None`"),
        ([entity("a", tags=[])], r"expected `tags` to be an object, got `\[\]`"),
        ([entity("a") | {"parents": {}}], r"expected `parents` to be an array, got `{}`"),
        ([{"attrs": {}}], "expected an entity with a `uid`"),
        (["a"], "expected an entity with a `uid`"),
    ],
)
def test_entities_that_cedar_refuses_are_refused(entities, message):
    with pytest.raises(ValueError, match=message):
        compile_entities(entities)
    with pytest.raises(ValueError):  # noqa: PT011
        cedarpy.Entities.from_json_str(json.dumps(entities))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"__entity": {"type": "E"}}, "expected an entity uid with a `type` and an `id`"),
        ({"__extn": {"fn": "ip", "arg": "::"}, "y": 1}, "expected a lone `__entity` or `__extn` escape"),
        ({"__extn": 5}, "expected a lone `__entity` or `__extn` escape"),
        ({"__expr": "1"}, "expected a lone `__entity` or `__extn` escape"),
        ({"__extn": {"fn": "ip"}}, "expected a Cedar value, got `None`"),
    ],
)
def test_a_malformed_escape_is_refused_not_taken_for_a_record(value, message):
    """Cedar reads some of these as records and can then not write them back."""
    with pytest.raises(ValueError, match=message):
        value_of(value)


# --- specialising ------------------------------------------------------------------------------------------------

TOOLS = compile_entities([{"uid": {"type": "Tool", "id": "t"}, "attrs": {"category": "read", "cost": 5}}])


def test_what_a_tool_decides_is_decided_ahead():
    special = compiled(
        """permit(principal, action, resource) when { resource.category == "read" && resource.cost < 10 };
           forbid(principal, action, resource) when { resource.category == "admin" && context.args.x };
           permit(principal, action == Action::"Other", resource);"""
    ).specialise(CALL, TOOL, TOOLS)
    first = special.decide(ALICE, frozenset(), {})
    assert outcome_of(first) == (True, ("policy0",), ())
    assert special.decide(EntityUid("Agent", "bob"), frozenset(), {"args": {}}) is first


@pytest.mark.parametrize(
    ("expression", "outcome"),
    [
        ("context.args.x && false", "error"),
        ("false && context.args.x", "no"),
        ("context has args && resource.missing", "error"),
        ("context has nothing && resource.missing", "no"),
        ("context has nothing || resource.cost", "error"),
        ('if resource.category == "read" then principal in Group::"g" else resource.missing', "yes"),
        ("resource.cost + 9223372036854775807 > 0 || true", "error"),
        ('Agent::"alice" has name', "no"),
        ('Agent::"alice".name == "a"', "error"),
        ('Agent::"alice" in Group::"g"', "yes"),
        ('Agent::"alice".hasTag("x")', "no"),
        ('[principal, resource].contains(Tool::"t")', "yes"),
        ("{p: principal, c: resource.cost}.c == 5", "yes"),
    ],
)
def test_specialising_changes_no_answer_and_no_error(expression, outcome):
    special = compiled(condition(expression)).specialise(CALL, TOOL, TOOLS)
    answer = special.decide(ALICE, frozenset({EntityUid("Group", "g")}), {"args": {}})
    assert ("error" if answer.erroring else "yes" if answer.allowed else "no") == outcome


def test_threads_share_a_compiled_set():
    policies = compiled(condition("context.args.n < 10"))
    special = policies.specialise(CALL, TOOL, TOOLS)
    wrong = []

    def decide(n):
        answers = [special.decide(ALICE, frozenset(), {"args": {"n": n}}).allowed for _ in range(5_000)]
        wrong.extend(answer for answer in answers if answer is not (n < 10))

    threads = [threading.Thread(target=decide, args=(n,)) for n in (1, 20, 5, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
