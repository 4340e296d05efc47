"""`docs/design.md` says what the code does: its rooms, its steps, its paths, its words and who reaches native code."""

import re
from pathlib import Path

import pytest
from test_layers import HOUSE, NATIVE_USERS, PACKAGE

from briefcase.core.calls import flow
from briefcase.model.errors import CODES
from briefcase.model.reasons import REASONS

TEXT = (PACKAGE.parent / "docs" / "design.md").read_text()
RINGS = dict(re.findall(r"^\| `(\w+)/` \| (.+?) \|", TEXT, re.MULTILINE))
STEPS = re.findall(r"^\| (\d+) \| (.+?) \| (.*?) \| (.*?) ?\|$", TEXT, re.MULTILINE)
PATH = re.compile(r"`((?:briefcase/)?(?:core|adapters|edges|daemon|model)/[\w./]+)`")
NOT_REASONS = {"refused", "approval_required"}  # a receipt's kind, and what is no denial


def test_each_ring_and_each_room_has_its_place_in_the_table():
    assert list(RINGS) == list(HOUSE)
    for ring, rooms in HOUSE.items():
        if len(rooms) > 1:
            named = {name.rstrip("/") for name in re.findall(r"`([a-z_]+/?)`", RINGS[ring])}
            assert set(rooms) - named == set(), f"`{ring}/`"


@pytest.mark.parametrize("path", sorted(set(PATH.findall(TEXT))))
def test_a_path_that_is_named_is_there(path):
    assert (PACKAGE / path.removeprefix("briefcase/")).exists()


def test_the_steps_of_a_call_are_those_that_the_flow_carries():
    assert [int(number) for number, *_ in STEPS] == list(range(1, 14))
    in_docstring = [int(number) for number in re.findall(r"^ ?(\d+)\. ", flow.__doc__, re.MULTILINE)]
    in_comments = [
        int(number) for number in re.findall(r"^ +# (\d+)\. ", Path(flow.__file__).read_text(), re.MULTILINE)
    ]
    assert in_docstring == list(range(1, 14))
    assert sorted(in_comments) == list(range(3, 14))  # the edge takes the first two


def test_a_word_that_a_step_leaves_is_a_reason_or_a_code():
    words = {word for *_, leaves in STEPS for word in re.findall(r"`([a-z_]+)", leaves)}
    assert words - NOT_REASONS <= REASONS.keys() | CODES.keys()
    assert len(words) > 10


def test_who_reaches_native_code_is_who_may():
    said = re.search(r"Only (.+?) import\s+it", TEXT, re.DOTALL)[1]
    assert set(re.findall(r"`([\w/]+)`", said)) == NATIVE_USERS


def test_the_decisions_worth_knowing_hold():
    """Who is shown an approval's token, and what a cost may settle, have tests of their own; this is the rest."""
    assert not flow.CallSettings().has_signer()  # no device is paired: what needs a signer waits for the operator
