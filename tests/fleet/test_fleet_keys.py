"""The chain of signing keys: followed from the pinned key by each key's own word, and never back."""

import pytest

from briefcase.core.fleet import words
from briefcase.core.fleet.keys import MAX_WORDS, NamedKey, latest_key, walk_keys, with_successors
from support.control_plane import START_US, SigningKey

K = [SigningKey(seed) for seed in range(1, 8)]
NAMES = [key.public_b64 for key in K]
FIRST, SECOND, THIRD, FOURTH = K[:4]


def walk(*said, pinned=FIRST, announced=None, successors=()):
    return walk_keys(said, pinned.public_b64, announced, dict(successors))


def way(*said, **known):
    return [NAMES.index(key) for key in walk(*said, **known).keys]


def problem(*said, **known):
    wrong = walk(*said, **known).problem
    return None if wrong is None else wrong.reason


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([], [0]),
        ([FIRST.next_key(SECOND)], [0, 1]),
        ([FIRST.next_key(SECOND), SECOND.next_key(THIRD), THIRD.next_key(FOURTH)], [0, 1, 2, 3]),
        ([K[5].next_key(FIRST), FIRST.next_key(SECOND), SECOND.next_key(THIRD)], [0, 1, 2]),  # words of before
        ([FIRST.next_key(SECOND), FIRST.next_key(SECOND)], [0, 1]),  # the last word again, as `keys`
    ],
)
def test_a_device_follows_the_words_from_its_own_key_however_many_rotations_it_missed(said, expected):
    assert (way(*said), problem(*said)) == (expected, None)


@pytest.mark.parametrize(
    "said",
    [
        [SECOND.next_key(THIRD)],  # the word in between is missing
        [SECOND.next_key(THIRD), FIRST.next_key(SECOND)],  # the newest first
        [THIRD.next_key(SECOND)],  # somebody else's
        [SECOND.next_key(SECOND)],  # a key of its own
    ],
)
def test_a_word_that_no_key_of_the_way_signed_leads_nowhere(said):
    assert THIRD.public_b64 not in walk(*said).keys
    assert way(*said)[0] == 0


@pytest.mark.parametrize(
    ("said", "reached"),
    [
        ([FIRST.next_key(FIRST)], [0]),
        ([FIRST.next_key(SECOND), SECOND.next_key(FIRST)], [0, 1]),
        ([FIRST.next_key(SECOND), SECOND.next_key(THIRD), THIRD.next_key(SECOND), SECOND.next_key(FOURTH)], [0, 1, 2]),
    ],
)
def test_a_loop_of_words_ends_where_it_turns_back(said, reached):
    assert (way(*said), problem(*said)) == (reached, words.KEY_FELL)


def test_a_key_that_another_took_the_place_of_is_not_named_again():
    left = {SECOND.public_b64: FIRST.public_b64}
    assert way(FIRST.next_key(SECOND), successors=left) == [0]
    assert problem(FIRST.next_key(SECOND), successors=left) == words.KEY_FELL


def test_of_two_words_of_the_pinned_key_the_later_one_counts():
    announced = NamedKey(SECOND.public_b64, START_US)
    assert way(announced=announced) == [0, 1]
    assert way(FIRST.next_key(THIRD, START_US + 1), announced=announced) == [0, 2]
    for older_us in (START_US, START_US - 1):
        assert way(FIRST.next_key(THIRD, older_us), announced=announced) == [0, 1]
        assert problem(FIRST.next_key(THIRD, older_us), announced=announced) == words.KEY_FELL
    assert way(SECOND.next_key(THIRD), announced=announced) == [0, 1, 2]
    assert way(SECOND.next_key(FIRST), announced=announced) == [0, 1]


@pytest.mark.parametrize(
    "word",
    [
        {},
        {"payload": 1},
        FIRST.envelope("application/vnd.briefcase.fleet.keys+json", {"policy_signing_pubkey_b64": "AAAA"}),
        FIRST.envelope(
            "application/vnd.briefcase.fleet.keys+json", {"policy_signing_pubkey_b64": NAMES[1], "issued_at": "soon"}
        ),
        FIRST.envelope(
            "application/vnd.briefcase.fleet.keys+json",
            {"policy_signing_pubkey_b64": "AAAA", "issued_at": "2026-01-01T00:00:00Z"},
        ),
    ],
)
def test_a_word_of_another_form_is_named_and_the_others_count(word):
    assert way(word, FIRST.next_key(SECOND)) == [0, 1]
    assert problem(word, FIRST.next_key(SECOND)) == words.MALFORMED


def test_words_without_end_are_not_followed():
    said = [FIRST.next_key(SECOND)] * (MAX_WORDS + 1)
    assert (way(*said), problem(*said)) == ([0], words.MALFORMED)


def test_the_key_after_a_key_is_found_and_a_circle_of_them_ends():
    way_of = ["a", "b", "c"]
    successors = with_successors({}, way_of)
    assert successors == {"a": "b", "b": "c"}
    assert [latest_key(key, successors) for key in "abcd"] == ["c", "c", "c", "d"]
    assert latest_key("a", {"a": "b", "b": "a"}) in {"a", "b"}
