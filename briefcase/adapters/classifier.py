"""The operator's risk classifier over HTTP: `POST {tool_id, args}` is answered `{require_approval, reasons}`.

One deadline bounds the whole exchange, and the answer is read strictly: what is no such answer is none. Redirects are
not followed, and the address is judged as resolved: https, or this machine.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Final

from briefcase.core.calls.classifying import Assessment
from briefcase.core.json.strict import parse as parse_json
from briefcase.model.errors import CallerError, UpstreamError
from briefcase.model.ports import HttpRequest, Outbound

TIMEOUT_MS: Final = 4_000
MAX_ANSWER_BYTES: Final = 64 << 10
_HEADERS: Final = {"content-type": "application/json", "accept": "application/json"}


class HttpClassifier:
    """`core.calls.classifying.Classifier` at one URL.

    Args:
        url: https, or http on this machine.
        outbound: the guarded way out.
    """

    def __init__(self, url: str, outbound: Outbound) -> None:
        self._url = url
        self._outbound = outbound

    async def assess(self, tool_id: str, args_json: bytes) -> Assessment:
        """See `Classifier.assess`."""
        body = b'{"tool_id":%b,"args":%b}' % (json.dumps(tool_id).encode(), args_json)
        response = await self._outbound.request(
            HttpRequest(
                "POST",
                self._url,
                _HEADERS,
                body,
                timeout_ms=TIMEOUT_MS,
                max_body_bytes=MAX_ANSWER_BYTES,
                pool_key="risk classifier",
                keeps_connection=True,
            )
        )
        if response.status != HTTPStatus.OK:
            raise _unread(f"status {response.status}")
        try:
            told = parse_json(response.body)
        except CallerError as error:
            raise _unread(error.message) from None
        if not isinstance(told, dict):
            raise _unread("no object")
        requires, reasons = told.get("require_approval"), told.get("reasons", [])
        if not isinstance(requires, bool) or not isinstance(reasons, list):
            raise _unread("expected `require_approval` as a boolean and `reasons` as a list")
        words = [reason for reason in reasons if isinstance(reason, str)]
        if len(words) != len(reasons):
            raise _unread("expected each of `reasons` as text")
        return Assessment(requires, tuple(words))


def _unread(problem: str) -> UpstreamError:
    return UpstreamError("the risk classifier gave no answer that can be read", detail=problem)
