"""What authorization servers answer, taken and refused by one rule."""

import msgspec
import pytest

from briefcase.adapters.oauth.metadata import ServerMetadata, is_same_issuer
from briefcase.adapters.oauth.wire import MAX_WORDS_CHARS, read_server_answer
from briefcase.model.errors import UpstreamError
from briefcase.model.ports import HttpResponse

WHAT = "the exchange of the code"
CODE = "code-Zq7xK2mV9tR4wL8pD3"


class Answer(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: float = 300
    is_bound: bool = False
    refresh_token: str | None = None


def read(body, status=200, headers=None, kind=Answer):
    return read_server_answer(HttpResponse(status, headers or {}, body), kind, WHAT, [CODE])


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b'{"access_token":"a"}', Answer("a")),
        (b'\xef\xbb\xbf{"access_token":"a"}', Answer("a")),
        (b'{"access_token":"a","expires_in":null,"refresh_token":null}', Answer("a")),
        (b'{"access_token":"a","expires_in":"3600"}', Answer("a", 3600)),
        (b'{"access_token":"a","expires_in":3599.5}', Answer("a", 3599.5)),
        (b'{"access_token":"a","expires_in":"3599.5"}', Answer("a", 3599.5)),
        (b'{"access_token":"a","is_bound":"true"}', Answer("a", is_bound=True)),
        (b'{"access_token":"a","error":null}', Answer("a")),
        (b'{"access_token":"a","user":{"id":9223372036854775807}}', Answer("a")),
        (b'{"access_token":"a","id":NaN,"note":"\\ud800","name":"\xff"}', Answer("a")),
        (b'{"access_token":"a","x":1,"x":2,"y":{"access_token":1,"access_token":2}}', Answer("a")),
    ],
)
@pytest.mark.parametrize("status", [200, 201])
def test_a_good_answer_is_taken_whatever_stands_beside_what_is_used(body, answer, status):
    assert read(body, status) == answer


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b'{"access_token":"a","access_token":"b"}', "`access_token` twice"),
        (b'{"access_token":5}', r"Expected `str`, got `int`"),
        (b'{"access_token":"a","expires_in":"soon"}', r"`\$.expires_in`"),
        (b"{}", "required field `access_token`"),
        (b'{"access_token":null}', "required field `access_token`"),
        (b"[]", "no JSON object"),
        (b"", "no JSON object"),
        (b"<html>", "no JSON object"),
    ],
)
def test_an_answer_without_what_is_used_is_told_and_shows_none_of_it(body, problem):
    with pytest.raises(UpstreamError, match=problem):
        read(body)


@pytest.mark.parametrize(
    ("status", "body", "told", "word"),
    [
        (200, b'{"error":"bad_verification_code"}', "200 (`bad_verification_code`)", "bad_verification_code"),
        (400, b'{"error":"invalid_grant","error_description":"it has  expired\\n"}',
         "400 (`invalid_grant`: it has expired)", "invalid_grant"),
        (200, b'{"access_token":"a","error":"invalid_grant"}', "200 (`invalid_grant`)", "invalid_grant"),
        (400, b'\xef\xbb\xbf{"error":"invalid_grant","id":9223372036854775807}', "400 (`invalid_grant`)",
         "invalid_grant"),
        (403, b'{"error":{"code":403,"status":"DENIED","message":"not for you"}}', "403: not for you", ""),
        (200, b'{"error":"Something went wrong"}', "200: Something went wrong", ""),
        (200, b'{"error":7}', "200", ""),
        (502, b"<html>", "502", ""),
        (204, b"", "204", ""),
        (302, b'{"access_token":"a"}', "302", ""),
    ],
)  # fmt: skip
def test_a_refusal_is_told_in_the_servers_own_words_whatever_its_status(status, body, told, word):
    with pytest.raises(UpstreamError) as caught:
        read(body, status)
    assert caught.value.message == f"{WHAT} was answered with {told}"
    assert caught.value.detail == word
    assert caught.value.code == ("upstream_failed" if status >= 500 else "upstream_refused")


@pytest.mark.parametrize(
    "words",
    [
        f"the code {CODE} is unknown",
        "x" * (MAX_WORDS_CHARS - 4) + CODE,
        "the token T0kenOfThisAnswer-1234567890 is unknown",
    ],
)
def test_the_words_of_a_refusal_hold_neither_what_was_sent_nor_a_token(words):
    body = {"error": "invalid_grant", "error_description": words, "access_token": "T0kenOfThisAnswer-1234567890"}
    with pytest.raises(UpstreamError) as caught:
        read(msgspec.json.encode(body))
    assert CODE[:8] not in caught.value.message
    assert "T0ken" not in caught.value.message
    assert len(caught.value.message) < MAX_WORDS_CHARS + 100


def test_words_are_shown_with_what_does_not_print_marked():
    with pytest.raises(UpstreamError) as caught:
        read('{"error":"invalid_grant","error_description":"a`b\u202ec\\u001b[2J"}'.encode())
    assert "\u202e" not in caught.value.message
    assert "\x1b" not in caught.value.message
    assert "a'b" in caught.value.message


def test_nulls_in_metadata_are_members_that_are_not_there():
    body = (
        b'{"issuer":"https://as.example","authorization_endpoint":"https://as.example/a",'
        b'"token_endpoint":"https://as.example/t","revocation_endpoint":null,"scopes_supported":null}'
    )
    found = read(body, kind=ServerMetadata)
    assert found.revocation_endpoint is None
    assert list(found.scopes_supported) == []


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("https://as.example", "https://as.example", True),
        ("https://as.example", "https://as.example/", True),
        ("http://127.0.0.1:21511/", "http://127.0.0.1:21511", True),
        ("https://as.example/tenant", "https://as.example/tenant", True),
        ("https://as.example/tenant", "https://as.example/tenant/", False),
        ("https://as.example/", "https://as.example//", False),
        ("https://as.example", "https://as.example?", False),
        ("https://as.example?x=1", "https://as.example/?x=1", False),
        ("https://as.example", "http://as.example/", False),
        ("https://as.example", "https://AS.example/", False),
        ("https://as.example", "https://as.example.evil/", False),
        ("https://as.example", "https://as.example:443/", False),
        ("", "/", False),
        ("https://", "https:///", False),
    ],
)
def test_an_issuer_is_the_same_with_and_without_the_slash_of_an_empty_path(one, other, is_same):
    assert is_same_issuer(one, other) is is_same
    assert is_same_issuer(other, one) is is_same
