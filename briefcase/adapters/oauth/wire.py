"""What providers and authorization servers answer, read by one rule; and how their refusals become errors.

`read_server_answer` is that rule:

 1. 200 and 201 are good; any other status is a refusal, and so is a body with an `error` whatever its status
 2. a byte order mark is skipped; `null` is a member that is not there
 3. members that are not used may hold anything, also what is no strict JSON
 4. members that are used appear once and have their type; a number or a truth value may be written as text

A refusal is told in the server's own words: its stable word, and the first `MAX_WORDS_CHARS` characters of its
description. What was sent with the request, and any token in the answer, is cut out of them; nothing else of an
answer's text goes into an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Final, TypeVar
from urllib.parse import urlencode

import msgspec

from briefcase.core.characters.marks import visible_text
from briefcase.core.json.lenient import Reading, read_lenient
from briefcase.core.redaction.redactor import SecretRedactor, excerpt_of
from briefcase.model.errors import CallerError, UpstreamError
from briefcase.model.ports import HttpRequest, HttpResponse, Outbound
from briefcase.model.types import JsonObject

ERROR_HEADER: Final = "x-briefcase-error"
FORM: Final = "application/x-www-form-urlencoded"
MAX_ANSWER_BYTES: Final = 64 << 10
TIMEOUT_MS: Final = 10_000

GOOD: Final = (HTTPStatus.OK, HTTPStatus.CREATED)  # RFC 6749 section 5.1, RFC 7591 section 3.2.1
MAX_WORDS_CHARS: Final = 300

_TOKENS: Final = ("access_token", "refresh_token", "id_token", "client_secret")
_WORD: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_T = TypeVar("_T", bound=msgspec.Struct)


async def post_form(
    outbound: Outbound, url: str, form: Mapping[str, str], *, pool_key: str, headers: Mapping[str, str] = {}
) -> HttpResponse:
    """Send a form, as OAuth's endpoints take it; `headers` hold a proof, or what the client is known by.

    Raises:
        UpstreamError: it was not sent, or got no answer.
    """
    return await outbound.request(
        HttpRequest(
            "POST",
            url,
            headers={"content-type": FORM, "accept": "application/json", **headers},
            body=urlencode(form).encode(),
            timeout_ms=TIMEOUT_MS,
            max_body_bytes=MAX_ANSWER_BYTES,
            pool_key=pool_key,
        )
    )


def read_server_answer(response: HttpResponse, kind: type[_T], what: str, sent: Iterable[str] = ()) -> _T:
    """The body of a good answer as a struct, by the rule of the module's docstring.

    Args:
        response: the answer.
        kind: a struct; its members are the ones that are used.
        what: was asked for, in messages.
        sent: the secrets of the request, which no message repeats.

    Raises:
        UpstreamError: the answer is a refusal (`upstream_refused`, or `upstream_failed` for a fault of the server's),
            or is not as the rule says.
    """
    try:
        read: Reading | None = read_lenient(response.body)
    except CallerError as error:
        read, problem = None, error.message
    members = _members(read)
    if response.status not in GOOD or members.get("error") is not None:  # 1
        raise refusal_of(response, what, sent)
    if read is None or not isinstance(read.value, dict):
        raise UpstreamError(f"the answer to {what} is no JSON object", detail=problem if read is None else "")
    used = {field.encode_name for field in msgspec.structs.fields(kind)}
    twice = sorted(used & read.repeated)
    if twice:  # 4
        raise UpstreamError(f"the answer to {what} is not as expected: it has `{twice[0]}` twice")
    try:
        return msgspec.convert({name: members[name] for name in used & members.keys()}, kind, strict=False)
    except msgspec.ValidationError as error:
        raise UpstreamError(f"the answer to {what} is not as expected: {error}") from None


def refusal_of(response: HttpResponse, what: str, sent: Iterable[str] = ()) -> UpstreamError:
    """The error for an answer that is none: its status and the server's words; `sent` as in `read_server_answer`."""
    word = error_word(response)
    words = _own_words(response, sent)
    told = f" (`{word}`{f': {words}' if words else ''})" if word else f": {words}" if words else ""
    code = "upstream_failed" if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "upstream_refused"
    return UpstreamError(f"{what} was answered with {response.status}{told}", code=code, detail=word)


def error_word(response: HttpResponse) -> str:
    """The stable word of a refusal, from the header or the body; empty where there is none."""
    word: object = response.headers.get(ERROR_HEADER)
    if word is None:
        word = _body_of(response).get("error")
        if isinstance(word, dict):  # as Google's APIs have it
            word = word.get("status")
    return word if isinstance(word, str) and _WORD.fullmatch(word) else ""


def _own_words(response: HttpResponse, sent: Iterable[str]) -> str:
    """What a refusal says for people: its description, or what stands as its `error` and is no stable word."""
    body = _body_of(response)
    error = body.get("error")
    inner = error.get("message") if isinstance(error, dict) else error
    words = body.get("error_description") or (inner if not error_word(response) or inner != error else "")
    if not isinstance(words, str):
        return ""
    tokens = [token for name in _TOKENS if isinstance(token := body.get(name), str)]
    redactor = SecretRedactor(_Sent(frozenset(text.encode() for text in (*sent, *tokens))))
    return visible_text(excerpt_of(redactor, " ".join(words.split()), MAX_WORDS_CHARS)).replace("`", "'")


class _Sent(msgspec.Struct, frozen=True):
    """The secrets of one exchange, as `SecretRedactor` asks for them."""

    secrets: frozenset[bytes]
    revision: int = 0

    def redaction_set(self) -> frozenset[bytes]:
        """All of them."""
        return self.secrets


def _body_of(response: HttpResponse) -> JsonObject:
    try:
        return _members(read_lenient(response.body))
    except CallerError:
        return {}


def _members(read: Reading | None) -> JsonObject:
    """The members that are there (2); none where there is no object."""
    value = None if read is None else read.value
    return {name: member for name, member in value.items() if member is not None} if isinstance(value, dict) else {}
