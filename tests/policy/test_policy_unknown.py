"""What a policy names and nothing has is warned of, and that nothing may run."""

import pytest

from briefcase.core.policy.check import parse_policy
from briefcase.core.policy.unknown import Known, kinds_in, warnings_of

KNOWN = Known({"Tool": frozenset({"echo", "note_add"}), "Group": frozenset({"research"}), "Agent": frozenset()})


def said(text, known=KNOWN):
    return [(one.policy_id, one.message, one.hint) for one in warnings_of(parse_policy(text), known)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('permit (principal, action, resource == Tool::"echo");', None),
        (
            'permit (principal, action, resource == Tool::"ecko");',
            ("policy0", 'names `Tool::"ecko"`, which nothing is: did you mean `echo`?', "`echo`, `note_add`"),
        ),
        ('permit (principal in Group::"resarch", action, resource);', ("policy0", "did you mean `research`?", "")),
        (
            '@id("x") permit (principal, action, resource) when { principal == Agent::"bob" };',
            ("x", 'names `Agent::"bob"`, which nothing is', "there are: none"),
        ),
        (
            'permit (principal, action, resource) when { resource in [Tool::"echo", Tool::"gone"] };',
            ("policy0", '"gone"', ""),
        ),
        ('permit (principal, action, resource in Server::"nobody-told");', None),
    ],
)
def test_a_name_that_nothing_has_is_warned_of_with_those_there_are(text, expected):
    found = said(text)
    assert len(found) == (expected is not None)
    for told, part in zip(found[0] if found else (), expected or (), strict=False):
        assert part in told


@pytest.mark.parametrize(
    ("text", "is_warned"),
    [
        ("", True),
        ("// nothing\n", True),
        ('permit (principal, action == Action::"CallWithoutApproval", resource);', True),
        ("forbid (principal, action, resource);", True),
        ("permit (principal, action, resource);", False),
        ('permit (principal, action in [Action::"CallWithoutSigner", Action::"Call"], resource);', False),
    ],
)
@pytest.mark.parametrize("known", [KNOWN, None])
def test_that_every_call_is_denied_is_warned_of(text, is_warned, known):
    found = said(text, known)
    assert [message.endswith("every call is denied") for _, message, _ in found] == [True] * is_warned


def test_a_name_is_warned_of_once_a_policy_and_written_so_that_all_of_it_is_seen():
    text = 'permit (principal, action, resource == Tool::"a\\u{202e}b") when { resource == Tool::"a\\u{202e}b" };'
    ((_, message, _),) = said(text)
    assert "a<U+202E>b" in message
    assert kinds_in(parse_policy(text)) == {"Tool"}
