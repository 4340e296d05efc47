"""The control plane as `briefcase fleet` asks it: by `BRIEFCASE_FLEET_URL`, with `BRIEFCASE_FLEET_TOKEN`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final, TypeAlias

import msgspec

from briefcase.edges.cli.late import asyncio, net_outbound, net_urls
from briefcase.model.errors import BriefcaseError, CallerError, ConfigError
from briefcase.model.ports import HttpRequest, HttpResponse

URL_VARIABLE: Final = "BRIEFCASE_FLEET_URL"
TOKEN_VARIABLE: Final = "BRIEFCASE_FLEET_TOKEN"  # noqa: S105 - a variable's name
PAGE: Final = 1_000
TIMEOUT_MS: Final = 60_000
MAX_ANSWER_BYTES: Final = 32 << 20

Answer: TypeAlias = dict[str, Any]

_CODES: Final = {
    HTTPStatus.BAD_REQUEST: "bad_request",
    HTTPStatus.UNAUTHORIZED: "unauthorized",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.CONFLICT: "conflict",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "payload_too_large",
    HTTPStatus.SERVICE_UNAVAILABLE: "not_ready",
}


class StoredReceipt(msgspec.Struct, frozen=True):
    """A receipt as it was uploaded, in the order of an export's line; `event` is the bytes that its hash is over."""

    id: int
    ts: str
    prev_hash_hex: str
    hash_hex: str
    event: msgspec.Raw


class _Page(msgspec.Struct, frozen=True):
    receipts: list[StoredReceipt]


class _Refusal(msgspec.Struct, frozen=True):
    code: str
    message: str


class FleetClient:
    """Asks a control plane.

    Args:
        environ: names it, and holds the token.

    Raises:
        ConfigError: a variable is missing, or the address is none.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._base_url = environ.get(URL_VARIABLE, "").rstrip("/")
        self._token = environ.get(TOKEN_VARIABLE, "")
        if not self._base_url or not self._token:
            missing = URL_VARIABLE if not self._base_url else TOKEN_VARIABLE
            raise ConfigError(
                f"expected `{missing}` to be set",
                hint=f"`{URL_VARIABLE}` is the control plane's address, `{TOKEN_VARIABLE}` an administrator's token",
            )
        try:
            self._authority = net_urls.parse_url(self._base_url).authority
        except ValueError as error:
            raise ConfigError(f"`{URL_VARIABLE}`: {error}") from None

    def get(self, path: str) -> Answer:
        """Ask for a document. Raises as `post`."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Answer:
        """Ask for a change.

        Raises:
            CallerError: it was refused; the message has the control plane's word.
            UpstreamError: the control plane did not answer, or not as it should.
        """
        return self._ask("POST", path, body)

    def receipts(self, device: str) -> Iterator[list[StoredReceipt]]:
        """The receipts of a device by growing id, a page at a time. Raises as `post`."""
        after = 0
        while True:
            path = f"/v1/audit/receipts?device_id={device}&after_id={after}&limit={PAGE}"
            page = _receipts_of(self._send("GET", path, None))
            if page:
                yield page
            if len(page) < PAGE:
                return
            after = page[-1].id

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None) -> Answer:
        return _document_of(self._send(method, path, body))

    def _send(self, method: str, path: str, body: Mapping[str, object] | None) -> HttpResponse:
        request = HttpRequest(
            method,
            self._base_url + path,
            {"authorization": f"Bearer {self._token}", "content-type": "application/json"},
            b"" if body is None else msgspec.json.encode(body),
            timeout_ms=TIMEOUT_MS,
            max_body_bytes=MAX_ANSWER_BYTES,
            pool_key=self._authority,
        )
        response = asyncio.run(self._exchange(request))
        _check_status(response)
        return response

    async def _exchange(self, request: HttpRequest) -> HttpResponse:
        outbound = net_outbound.GuardedOutbound([self._authority])  # the person names it, on this machine or not
        try:
            return await outbound.request(request)
        finally:
            await outbound.close()


def _check_status(response: HttpResponse) -> None:
    if response.status == HTTPStatus.OK:
        return
    try:
        refusal = msgspec.json.decode(response.body, type=_Refusal)
    except msgspec.DecodeError:
        raise _unexpected(f"got status {response.status}") from None
    text = refusal.message if refusal.message == refusal.code else f"{refusal.message} ({refusal.code})"
    raise CallerError(text, code=_CODES.get(HTTPStatus(response.status), "upstream_failed"))


def _document_of(response: HttpResponse) -> Answer:
    try:
        return msgspec.json.decode(response.body, type=Answer)
    except msgspec.DecodeError as error:
        raise _unexpected(str(error)) from None


def _receipts_of(response: HttpResponse) -> list[StoredReceipt]:
    try:
        return msgspec.json.decode(response.body, type=_Page).receipts
    except msgspec.DecodeError as error:
        raise _unexpected(str(error)) from None


def _unexpected(what: str) -> BriefcaseError:
    return BriefcaseError(f"expected an answer of a control plane: {what}", code="unexpected_answer")
