"""What events say, without a daemon: the request ids of tool uses."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from briefcase.core.hooks.events import NAMESPACE, report_id_of, request_id_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(TEXT, TEXT)
def test_a_request_id_is_the_uuid_of_version_5_of_client_session_and_tool_use(session_id, tool_use_id):
    name = f"codex {len(session_id)} {session_id}{tool_use_id}"
    assert request_id_of("codex", session_id, tool_use_id) == str(uuid.uuid5(uuid.UUID(bytes=NAMESPACE), name))
    assert report_id_of("x") == str(uuid.uuid5(uuid.UUID(bytes=NAMESPACE), "outcome x"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("s", "1", "23"), ("s", "12", "3")),
        (("a", "b", "c"), ("a ", "b", "c")),
        (("codex", "", "1 x"), ("codex", "1", "x")),
    ],
)
def test_no_two_tool_uses_share_a_request_id(one, other):
    assert request_id_of(*one) != request_id_of(*other)
