"""What providers and authorization servers answer, read strictly; and how their refusals become errors.

Nothing of an answer's text goes into an error but its stable word: it may hold a token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import msgspec

from briefcase.core.json.strict import parse as parse_json
from briefcase.model.errors import CallerError, UpstreamError
from briefcase.model.ports import HttpRequest, HttpResponse, Outbound

ERROR_HEADER: Final = "x-briefcase-error"
FORM: Final = "application/x-www-form-urlencoded"
MAX_ANSWER_BYTES: Final = 64 << 10
TIMEOUT_MS: Final = 10_000

_WORD: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_T = TypeVar("_T")


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


def read_answer(response: HttpResponse, kind: type[_T], what: str) -> _T:
    """The body of a good answer as a struct; unknown members are ignored.

    Raises:
        UpstreamError: the status is no success (`upstream_refused`), or the body is not as expected.
    """
    if response.status != HTTPStatus.OK:  # RFC 6749 section 5.1
        raise refusal_of(response, what)
    try:
        return msgspec.convert(parse_json(response.body), kind)
    except (CallerError, msgspec.ValidationError) as error:
        raise UpstreamError(f"the answer to {what} is not as expected", detail=str(error)) from None


def refusal_of(response: HttpResponse, what: str) -> UpstreamError:
    """The error for an answer that is none: its status and its stable word."""
    word = error_word(response)
    suffix = f" (`{word}`)" if word else ""
    code = "upstream_failed" if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "upstream_refused"
    return UpstreamError(f"{what} was answered with {response.status}{suffix}", code=code, detail=word)


def error_word(response: HttpResponse) -> str:
    """The stable word of a refusal, from the header or the body; empty where there is none."""
    word: Any = response.headers.get(ERROR_HEADER)
    if word is None:
        try:
            body = parse_json(response.body)
        except CallerError:
            return ""
        word = body.get("error") if isinstance(body, dict) else None
    return word if isinstance(word, str) and _WORD.fullmatch(word) else ""
