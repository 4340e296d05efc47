"""What "within what was shown" means, and that whatever is granted holds for the very call that was shown."""

import hashlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from briefcase.core.grants.arguments import context_of, members_of
from briefcase.core.grants.drafting import MAX_CEDAR_BYTES, MAX_MEMBERS, draft_grant
from briefcase.core.policy.conditions import Condition
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.core.redaction.redactor import SecretRedactor
from briefcase.model.errors import CallerError
from briefcase.model.grants import GrantTerms
from briefcase.model.types import Approval, ApprovalKind, ApprovalStatus, ShownCall, ShownTool
from support.clock import START_US
from support.principals import AGENT
from support.redaction import KnownSecrets, NoRedaction

TOOL = ShownTool("t", "", "write", 0, "builtin")


def drafted(args, fixed=(), *, redactor=None, **terms):
    text = canonical_bytes(args).decode()
    fields = ("id", ApprovalStatus.PENDING, ApprovalKind.LOCAL, START_US, START_US + 900, AGENT.name, "t")
    approval = Approval(*fields, "d" * 64, hashlib.sha256(text.encode()).hexdigest(), "b" * 64, "asks", f"t {text}")
    chosen = GrantTerms(None if fixed is None else tuple(fixed), **(terms or {"max_uses": 3}))
    return draft_grant(approval, ShownCall(text, TOOL), chosen, START_US, redactor or NoRedaction())


def passes(grant, args) -> bool:
    digest = hashlib.sha256(canonical_bytes(args)).hexdigest()
    context = {**context_of(args), "owner": grant.owner, "tool_digest": "d" * 64, "args_digest": digest}
    return Condition(grant.cedar).is_met(AGENT.name, "t", context)


@pytest.mark.parametrize(
    ("shown", "other", "does"),
    [
        ("Hello Ann.", "Hello Bo.", True),
        ("Hello Ann.", "", True),
        ("Hello Ann.", "Hello Ann!", False),
        ("Hello Ann.", "Hello. com", True),
        ("Hello Ann.", "evil.com", False),
        ("Hello Ann.", "Hello Anna.", False),
        ("Hello Ann.", "Hello\nAnn", False),
        ("Hello\nAnn", "Hello\nBo", True),
        ("", "x", False),
        ("", "", True),
        ("na\u00efve", "na\u00efv", True),
        ("naive", "na\u00efve", False),
        ("https://a.example/x", "https://a.example/y", False),
        ("https://a.example/x", "https://a.example/x", True),
        ("notes/a", "notes/b", False),
        ("a@b", "c@b", False),
        ("10:30", "09:30", False),
        ("host.example", "other.exampl", False),
        (5, 5, True),
        (5, 0, True),
        (5, 6, False),
        (5, -1, False),
        (-5, -3, True),
        (-5, -6, False),
        (-5, 1, False),
        (0, 0, True),
        (0, 1, False),
        (1.5, 1.5, True),
        (1.5, 1.25, False),
        (True, True, True),
        (True, False, False),
        (None, None, True),
        (None, "", False),
        ([1, 2], [1, 2], True),
        ([1, 2], [0, 1], True),
        ([1, 2], [1], False),
        ([1, 2], [1, 2, 0], False),
        ({"a": {"b": 2}}, {"a": {"b": 1}}, True),
        ({"a": {"b": 2}}, {"a": {"c": 1}}, False),
        ({"a": {}}, {"a": {"b": 1}}, False),
        ({"a/b": 2}, {"a/b": 1}, True),
        ({"a/b": 2}, {"a": {"b": 1}}, False),
        ({"__entity": {"type": "Agent", "id": "x"}}, {"__entity": {"type": "Agent", "id": "x"}}, True),
    ],
)
def test_a_value_is_free_within_what_was_shown(shown, other, does):
    assert passes(drafted({"x": shown}), {"x": other}) is does


@pytest.mark.parametrize(
    ("fixed", "args", "does"),
    [
        (["/a"], {"a": {"b": 1, "c": "x"}, "d": 4}, False),
        (["/a"], {"a": {"b": 2, "c": "x"}, "d": 4}, True),
        (["/a/b"], {"a": {"b": 2, "c": "y"}, "d": 4}, True),
        ([""], {"a": {"b": 2, "c": "x"}, "d": 4}, False),
        ([""], {"a": {"b": 2, "c": "x"}, "d": 5}, True),
        (["/d"], {"a": {"b": 2, "c": "x"}, "d": 4}, False),
    ],
)
def test_what_is_fixed_stays_with_all_that_is_in_it(fixed, args, does):
    assert passes(drafted({"a": {"b": 2, "c": "x"}, "d": 5}, fixed), args) is does


def test_a_name_that_begins_like_a_fixed_one_is_not_fixed_with_it():
    grant = drafted({"a": 3, "ab": 3}, ["/a"])
    assert passes(grant, {"a": 3, "ab": 1})
    assert not passes(grant, {"a": 1, "ab": 3})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e6, 1e6).filter(lambda x: x % 1)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(string.printable, max_size=4), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
arguments = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), json_values, max_size=4)


@given(arguments, st.data())
def test_the_call_that_was_shown_meets_whatever_is_granted_of_it(args, data):
    pointers = [one.pointer for one in members_of(args)]
    fixed = data.draw(st.none() | st.lists(st.sampled_from(pointers), max_size=3))
    assert passes(drafted(args, fixed), args)


@given(arguments, arguments)
def test_with_everything_fixed_nothing_else_passes(args, other):
    for fixed in (None, [""]):
        assert passes(drafted(args, fixed), other) is (canonical_bytes(args) == canonical_bytes(other))


@given(arguments, arguments)
def test_what_passes_has_the_members_of_what_was_shown(args, other):
    if passes(drafted(args), other):
        assert {one.pointer for one in members_of(other)} == {one.pointer for one in members_of(args)}


@pytest.mark.parametrize(
    "hostile", ['"; };\npermit(principal,action,resource);//', "\\", '"', "\u202e", "\x00", "}" * 90]
)
def test_no_argument_ends_its_place_in_the_condition(hostile):
    for args in ({"x": hostile}, {hostile: 1}):
        grant = drafted(args)
        assert passes(grant, args)
        assert not passes(grant, {"y": 1})
        assert grant.cedar.isascii()
        assert grant.cedar.count("permit (") == 1


def test_a_condition_says_what_it_is_for_in_cedar_and_in_words():
    grant = drafted(
        {"to": "ann@example.com", "text": "Hi, Ann", "n": 3}, ["/to"],
        max_uses=2, max_microusd=1_500_000, expires_us=START_US + 60_000_000,
    )  # fmt: skip
    assert grant.cedar.splitlines() == [
        '@id("grant id")',
        '@max_uses("2")',
        '@max_microusd("1500000")',
        '@until("2026-01-01T00:01:00.000000Z")',
        "permit (",
        f'  principal == Agent::"{AGENT.name}",',
        '  action == Action::"CallWithoutApproval",',
        '  resource == Tool::"t"',
        ") when {",
        f'  context.owner == "{AGENT.owner}" &&',
        f'  context.tool_digest == "{"d" * 64}" &&',
        '  context.members == ["object ", "whole number /n", "text /text", "place /to"] &&',
        '  context.value["/to"] == "\\u{22}ann@example.com\\u{22}" &&',
        '  context.number["/n"] >= 0 &&',
        '  context.number["/n"] <= 3 &&',
        '  context.length["/text"] <= 7 &&',
        '  [","].containsAll(context.marks["/text"])',
        "};",
    ]
    assert grant.sentence == (
        f"`{AGENT.name}` may call `t`, as it is defined now, with `/to` as shown, the rest as shown but for "
        "`/n` (a whole number from 0 to 3); `/text` (a text of at most 7 characters: letters, digits, spaces and ,), "
        "at most 2 times, for at most $1.500000 in all, until 2026-01-01T00:01:00.000000Z, without asking again"
    )


def test_no_member_more_passes_under_a_name_that_reads_like_another_members_type():
    grant = drafted({"n": 5})
    assert passes(grant, {"n": 4})
    assert not passes(grant, {"n": 5, "n whole": 1.5})
    assert not passes(grant, {"n": 5, "n whole": -1e300})


def test_what_is_too_much_to_read_is_granted_exactly_only():
    many = {f"n{number}": 1 for number in range(MAX_MEMBERS)}
    long = {"x": "/" + "y" * MAX_CEDAR_BYTES}
    for args, says in ((many, "more than 200 values"), (long, "longer than 65536 bytes")):
        with pytest.raises(CallerError, match=says):
            drafted(args)
        assert passes(drafted(args, None), args)


def test_no_condition_holds_a_secret():
    redactor = SecretRedactor(KnownSecrets(b"kX93hd0a7Qp21zzWm8tR4"))
    args = {"x": "key/kX93hd0a7Qp21zzWm8tR4"}
    with pytest.raises(CallerError, match="a secret is in what would be fixed"):
        drafted(args, redactor=redactor)
    assert passes(drafted(args, None, redactor=redactor), args)
