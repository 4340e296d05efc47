"""What a request to a server is authenticated with: nothing, a secret of the operator's, or a log-in (`accounts`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Protocol

from briefcase.adapters.oauth.challenges import INSUFFICIENT_SCOPE, challenge_in


class Credential(Protocol):
    """Authenticates the requests to one server. One event loop."""

    async def headers(self, method: str, url: str) -> Mapping[str, str]:
        """What to send with this one request.

        Raises:
            UpstreamError: what it should be sent with is not there, or could not be renewed; nothing was sent.
        """
        ...

    async def is_renewed(self, sent: Mapping[str, str], status: int, headers: Mapping[str, str]) -> bool:
        """Take note of an answer; whether the same request, refused, should be sent once more with new `headers`.

        Args:
            sent: what `headers` gave for the request.
            status: the answer's.
            headers: the answer's, names in lower case.
        """
        ...

    def problem(self, status: int, headers: Mapping[str, str]) -> str:
        """What an operator should do about a refusal; empty where it is not for want of a credential."""
        ...


class SecretHeaders:
    """Secrets in headers, the bearer token or a server's own, asked for each time because they may be changed.

    Args:
        values: what gives the value of each, by the header's name.
    """

    def __init__(self, values: Mapping[str, Callable[[], Awaitable[str]]]) -> None:
        self._values = values

    async def headers(self, _method: str, _url: str) -> Mapping[str, str]:
        """The secrets. Raises as what gives them."""
        return {name: await value() for name, value in self._values.items()}

    async def is_renewed(self, _sent: Mapping[str, str], _status: int, _headers: Mapping[str, str]) -> bool:
        """Never: nobody but the operator can change it."""
        return False

    def problem(self, status: int, headers: Mapping[str, str]) -> str:
        """A secret that is not the right one."""
        return refusal_words(status, headers, "set its secret anew: `briefcase secrets set`")


def refusal_words(status: int, headers: Mapping[str, str], remedy: str) -> str:
    """A refusal for want of a credential in words, with the remedy; empty for any other answer."""
    challenge = challenge_in(headers)
    if status == HTTPStatus.FORBIDDEN and challenge is not None and challenge.error == INSUFFICIENT_SCOPE:
        wanted = f" `{challenge.scope}`" if challenge.scope else ""
        return f"the server wants a wider scope{wanted}: {remedy}"
    if status == HTTPStatus.UNAUTHORIZED:
        return f"the server wants to know who asks: {remedy}"
    return ""
