"""Revisions and header values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from briefcase.core.mcp.protocol import (
    announces_profile,
    decode_header_value,
    encode_header_value,
    is_defined,
    wants_input_of,
)


@pytest.mark.parametrize(
    ("method", "revision", "known"),
    [
        ("tools/call", "2024-11-05", True),
        ("tools/call", "2026-07-28", True),
        ("initialize", "2025-11-25", True),
        ("initialize", "2026-07-28", False),
        ("ping", "2026-07-28", False),
        ("resources/subscribe", "2026-07-28", False),
        ("server/discover", "2025-11-25", False),
        ("subscriptions/listen", "2026-07-28", True),
        ("sampling/createMessage", "2025-11-25", False),
    ],
)
def test_a_method_belongs_to_its_revisions(method, revision, known):
    assert is_defined(method, revision) is known


@pytest.mark.parametrize(
    ("text", "header"),
    [  # the specification's own examples
        ("us-west1", "us-west1"),
        ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
        (" padded ", "=?base64?IHBhZGRlZCA=?="),
        ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
        ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
    ],
)
def test_names_are_written_into_headers_as_the_specification_shows(text, header):
    assert encode_header_value(text) == header
    assert decode_header_value(header) == text


@given(st.text())
def test_every_name_survives_a_header(text):
    header = encode_header_value(text)
    assert header.isascii()
    assert header.isprintable() or "\t" in header
    assert decode_header_value(header) == text


@pytest.mark.parametrize(
    "value", ["=?base64?!!!?=", "=?base64?QQ?=", "=?base64?QR==?=", "=?base64?/w==?=", "naïve", "a\nb", " a"]
)
def test_a_header_that_claims_what_it_is_not_matches_nothing(value):
    assert decode_header_value(value) is None


@pytest.mark.parametrize(
    ("capabilities", "method", "params", "may"),
    [
        ({}, "elicitation/create", {}, False),
        ({"elicitation": {}}, "elicitation/create", {}, True),
        ({"elicitation": {}}, "elicitation/create", {"mode": "url"}, False),
        ({"elicitation": {"url": {}}}, "elicitation/create", {"mode": "url"}, True),
        ({"elicitation": {"url": {}}}, "elicitation/create", {}, False),
        ({"elicitation": {"form": {}}}, "elicitation/create", {"mode": "form"}, True),
        ({"sampling": {}}, "sampling/createMessage", {}, True),
        ({"sampling": True}, "sampling/createMessage", {}, False),
        ({"roots": {}}, "roots/list", {}, True),
        ({"roots": {}}, "tools/call", {}, False),
    ],
)
def test_a_client_is_asked_only_for_what_it_declared(capabilities, method, params, may):
    assert wants_input_of(capabilities, method, params) is may


@pytest.mark.parametrize(
    ("capabilities", "announced"),
    [
        ({"briefcase": {"compatibility_profile": "aacp_v1", "mode": "ga"}}, True),
        ({"briefcase": {"compatibility_profile": "aacp_v2"}}, False),
        ({"briefcase": "aacp_v1"}, False),
        ({}, False),
        (None, False),
    ],
)
def test_the_profile_is_announced_in_one_way_only(capabilities, announced):
    assert announces_profile(capabilities) is announced
