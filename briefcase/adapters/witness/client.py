"""HTTP with a witness: one request, over the guarded way out, its answer bounded in size and time."""

from __future__ import annotations

from typing import Final

from briefcase.adapters.net.urls import parse_url
from briefcase.core.receipts.witnessing import (
    MAX_ANSWER_BYTES,
    PATH,
    AddCheckpoint,
    Answer,
    encode_request,
    read_answer,
)
from briefcase.model.errors import CallerError
from briefcase.model.ports import HttpRequest, Outbound

TIMEOUT_MS: Final = 10_000
MAX_URL_CHARS: Final = 512
_HEADERS: Final = {"accept": "text/plain", "content-type": "text/plain; charset=utf-8"}


class WitnessClient:
    """Sends checkpoints (`operator.witnesses.WitnessAddresses`).

    Args:
        outbound: the guarded way out.
    """

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound

    def check_url(self, url: str) -> str:
        """The address as it is kept, without a slash at its end.

        Raises:
            CallerError: it is no address that a request could be sent to, or not one of https; it may hold a password,
                so it is not shown.
        """
        try:
            parsed = parse_url(url)
        except ValueError as error:
            raise CallerError(f"`url`: {error}") from None
        if "?" in url or len(url) > MAX_URL_CHARS:
            raise CallerError(f"`url`: expected at most {MAX_URL_CHARS} characters, without a query")
        address = parsed.address
        is_here = parsed.host == "localhost" or (address is not None and address.is_loopback)
        if parsed.scheme != "https" and not is_here:
            raise CallerError(
                "`url`: expected https: only a witness on this host is spoken to in clear text",
                hint="its cosignatures are verified all the same, but anybody in between could keep them from you",
            )
        return url.rstrip("/")

    async def add_checkpoint(self, url: str, request: AddCheckpoint) -> Answer:
        """Ask a witness to cosign.

        Raises:
            UpstreamError: nothing was sent, or no answer came, or one past the bounds.
        """
        response = await self._outbound.request(
            HttpRequest(
                "POST",
                f"{url}{PATH}",
                _HEADERS,
                encode_request(request),
                timeout_ms=TIMEOUT_MS,
                max_body_bytes=MAX_ANSWER_BYTES,
                pool_key=f"witness {url}",
            )
        )
        return read_answer(response.status, response.headers.get("content-type", ""), response.body)
