"""Random policies, entities and requests, answered by Cedar and by us.

`BRIEFCASE_CEDAR_CASES` sets how many cases are drawn (each has four requests, each answered two ways); the default fits
a normal test run.
"""

import os
import random
import sys

from cedar_cases import TEXTS, Maker, quoted
from cedar_oracle import check_case, judged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CASES = int(os.environ.get("BRIEFCASE_CEDAR_CASES", "500"))

drawn = settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))


@drawn
@given(st.randoms(use_true_random=False))
def test_every_answer_is_cedars(source):
    check_case(Maker(source).case())


@drawn
@given(st.integers(0, sys.maxsize))
def test_every_answer_is_cedars_for_cases_drawn_evenly(seed):
    """Hypothesis favours small draws; an even draw reaches larger policies."""
    check_case(Maker(random.Random(seed)).case())


@st.composite
def texts(draw, kind):
    """A text near one that the constructor takes."""
    characters = list(draw(st.sampled_from(TEXTS[kind])))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(characters)))
        characters[at : at + draw(st.integers(0, 2))] = draw(st.text("0123456789.:/-+dhmsTZaf \u0661", max_size=2))
    return "".join(characters)


@settings(max_examples=CASES, deadline=None)
@given(st.sampled_from(sorted(TEXTS)).flatmap(lambda kind: st.tuples(st.just(kind), texts(kind), texts(kind))))
def test_extension_constructors_take_what_cedar_takes_and_mean_the_same(drawn):
    kind, left, right = drawn
    cedar, ours = judged(f"{kind}({quoted(left)}) == {kind}({quoted(right)})")
    assert ours == cedar
