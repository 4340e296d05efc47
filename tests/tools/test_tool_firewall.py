"""The output firewall: paths, size, secrets, in this order."""

import json
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from briefcase.core.calls.firewall import (
    LARGE_OUTPUT_BYTES,
    Blocked,
    Passed,
    check_pointer,
    filtering_output,
    select_paths,
)
from briefcase.core.pieces import finished
from briefcase.core.redaction.redactor import SecretRedactor
from briefcase.model.errors import CallerError
from briefcase.model.types import FirewallMode, OutputFirewall
from support.redaction import KnownSecrets, NoRedaction


def filter_output(content, firewall, redactor):
    return finished(filtering_output(content, firewall, redactor))


ISSUE = {
    "items": [
        {"id": 1, "title": "a", "user": {"login": "x", "email": "x@example.com"}},
        {"id": 2, "title": None, "user": {"login": "y"}},
    ],
    "a/b": {"~": 1, "": 2},
    "*": {"id": 9},
    "~1": 3,
    "null": None,
    "empty": {},
}


@pytest.mark.parametrize(
    ("pointers", "kept"),
    [
        ([""], ISSUE),
        (["/items/*/id"], {"items": [{"id": 1}, {"id": 2}]}),
        (["/items/1/id", "/items/*/title"], {"items": [{"title": "a"}, {"id": 2, "title": None}]}),
        (["/items/1"], {"items": [ISSUE["items"][1]]}),
        (["/items/*/user/email"], {"items": [{"user": {"email": "x@example.com"}}]}),
        (["/items/*/user", "/items/*/user/login"], {"items": [{"user": item["user"]} for item in ISSUE["items"]]}),
        (["/items/01"], None),
        (["/items/-1"], None),
        (["/a~1b/~0"], {"a/b": {"~": 1}}),
        (["/a~1b/"], {"a/b": {"": 2}}),
        (["/~01"], {"~1": 3}),
        (["/*/id"], {"*": {"id": 9}}),
        (["/null"], {"null": None}),
        (["/empty"], {"empty": {}}),
        (["/empty/x", "/missing", "/items/*/user/login/deeper"], None),
        ([], None),
    ],
)
def test_only_what_a_pointer_names_passes_in_its_own_shape(pointers, kept):
    assert select_paths(ISSUE, pointers) == kept


@pytest.mark.parametrize("scalar", ["text", 1, True, None])
def test_a_scalar_passes_only_as_the_whole_document(scalar):
    assert select_paths(scalar, [""]) == scalar
    assert select_paths(scalar, ["/a"]) is None


@pytest.mark.parametrize("pointer", ["items", "/a~", "/a~2", "#/a", "/a/~", " /a"])
def test_what_is_no_pointer_is_refused_at_registration(pointer):
    with pytest.raises(CallerError) as refused:
        check_pointer(pointer)
    assert refused.value.code == "invalid_manifest"
    assert pointer in refused.value.message


@pytest.mark.parametrize("pointer", ["", "/", "/a/*/b", "/a~0~1", "/ü"])
def test_what_is_a_pointer_is_taken(pointer):
    check_pointer(pointer)


def leaves(value, path=""):
    if isinstance(value, dict):
        return {leaf for key, below in value.items() for leaf in leaves(below, f"{path}/{key}")}
    return {(path, json.dumps(value))}


JSON_OBJECTS = st.recursive(
    st.integers() | st.text(max_size=3) | st.none(), lambda below: st.dictionaries(st.sampled_from("abc"), below)
)


@given(
    JSON_OBJECTS,
    st.lists(st.lists(st.sampled_from("abc"), max_size=3).map(lambda path: "".join(f"/{t}" for t in path))),
)
def test_nothing_passes_that_was_not_below_an_allowed_path(value, pointers):
    kept = select_paths(value, pointers)

    for path, leaf in leaves(kept) - {("", "null")}:
        assert (path, leaf) in leaves(value)
        assert any(path == pointer or path.startswith(f"{pointer}/") for pointer in pointers)


def test_what_is_not_allowed_does_not_count_towards_the_size():
    firewall = OutputFirewall(FirewallMode.ALLOW_PATHS, ("/id",), max_bytes=10)

    assert filter_output({"id": 1, "text": "x" * 1_000}, firewall, NoRedaction()) == Passed(b'{"id":1}')


@pytest.mark.parametrize(("size", "passes"), [(8, True), (9, False)])
def test_the_size_is_bound_to_the_byte_and_never_truncated(size, passes):
    outcome = filter_output("x" * size, OutputFirewall(max_bytes=10), NoRedaction())

    assert isinstance(outcome, Passed if passes else Blocked)


@pytest.mark.parametrize("content", [float("nan"), "\ud800", 2**53, {"a": {1, 2}}, [b"bytes"]])
def test_what_can_not_be_recorded_exactly_is_blocked_and_never_raises(content):
    assert isinstance(filter_output(content, OutputFirewall(), NoRedaction()), Blocked)


def test_a_secret_in_a_result_is_cut_out_and_counted():
    content = {"headers": {"Authorization": "Bearer tk-live-4f9a1c77"}, "again": ["tk-live-4f9a1c77", "[redacted]"]}

    passed = filter_output(content, OutputFirewall(), SecretRedactor(KnownSecrets(b"tk-live-4f9a1c77")))

    expected = {"headers": {"Authorization": "Bearer [redacted]"}, "again": ["[redacted]", "[redacted]"]}
    assert json.loads(passed.canonical) == expected
    assert passed.redactions == 2


def test_in_a_result_that_can_not_be_redacted_in_place_the_value_goes_whole():
    class Digits:
        revision = 1

        def redaction_set(self) -> frozenset[bytes]:
            return frozenset({b"1234567890"})

    passed = filter_output({"pin": 1234567890, "name": "x"}, OutputFirewall(), SecretRedactor(Digits()))

    assert json.loads(passed.canonical) == {"name": "x", "pin": "[redacted]"}
    assert passed.redactions == 1


def test_a_deep_result_is_selected_in_linear_time():
    deep = 1
    for _ in range(60):
        deep = {"a": deep, "b": 0}

    assert select_paths(deep, ["/a" * 60]) is not None


def test_a_large_result_is_left_before_it_is_searched_and_before_its_digest_and_holds_its_objects_no_longer():
    class Content(dict):
        """A result that can be told to be gone."""

    searched = []

    class Noting(NoRedaction):
        def redact(self, value):
            searched.append(len(value))
            return value

    content = Content(text="x" * LARGE_OUTPUT_BYTES)
    gone, work = weakref.ref(content), filtering_output(content, OutputFirewall(max_bytes=1 << 20), Noting())
    del content
    next(work)
    assert not searched
    assert gone() is None
    next(work)
    assert len(searched) == 1
    with pytest.raises(StopIteration) as end:
        next(work)
    assert isinstance(end.value.value, Passed)


def test_a_result_that_is_not_large_is_one_piece():
    content = "x" * (LARGE_OUTPUT_BYTES - 2)
    assert list(filtering_output(content, OutputFirewall(max_bytes=1 << 20), NoRedaction())) == []
