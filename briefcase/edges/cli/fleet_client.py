"""The control plane as `briefcase fleet` asks it: by `BRIEFCASE_FLEET_URL`, with `BRIEFCASE_FLEET_TOKEN`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Final, TypeVar

import msgspec

from briefcase.core.wire.fleet import FleetDevice, FleetDevices, FleetReceipt, FleetReceipts
from briefcase.core.wire.reading import read_answer, unexpected_answer
from briefcase.edges.cli.late import asyncio, net_outbound, net_urls
from briefcase.edges.client.reply import Reply
from briefcase.model.errors import BriefcaseError, CallerError, ConfigError
from briefcase.model.ports import HttpRequest, HttpResponse

URL_VARIABLE: Final = "BRIEFCASE_FLEET_URL"
TOKEN_VARIABLE: Final = "BRIEFCASE_FLEET_TOKEN"  # noqa: S105 - a variable's name
PAGE: Final = 1_000
CONVERGENCE: Final = "/v1/admin/convergence"
TIMEOUT_MS: Final = 60_000
MAX_ANSWER_BYTES: Final = 32 << 20

_T = TypeVar("_T")
_CODES: Final = {
    HTTPStatus.BAD_REQUEST: "bad_request",
    HTTPStatus.UNAUTHORIZED: "unauthorized",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.CONFLICT: "conflict",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "payload_too_large",
    HTTPStatus.SERVICE_UNAVAILABLE: "not_ready",
}


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
                hint=f"`{URL_VARIABLE}` is the control plane's address, `{TOKEN_VARIABLE}` a token for it",
            )
        try:
            self._authority = net_urls.parse_url(self._base_url).authority
        except ValueError as error:
            raise ConfigError(f"`{URL_VARIABLE}`: {error}") from None

    def get(self, path: str, kind: type[_T]) -> Reply[_T]:
        """Ask for a document, read as a struct of `core/wire/fleet.py`. Raises as `post`."""
        return self._send("GET", path, None, kind)

    def post(self, path: str, kind: type[_T], body: Mapping[str, object] | None = None) -> Reply[_T]:
        """Ask for a change.

        Raises:
            CallerError: it was refused; the message has the control plane's word.
            UpstreamError: the control plane did not answer.
            BriefcaseError: its answer is no such document (`unexpected_answer`).
        """
        return self._send("POST", path, body, kind)

    def devices(self) -> Iterator[FleetDevice]:
        """Every device, by id. Raises as `post`."""
        after = ""
        while True:
            page = self.get("/v1/admin/devices" + (f"?after_id={after}" if after else ""), FleetDevices).answer.devices
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1].device_id

    def receipts(self, device: str) -> Iterator[list[FleetReceipt]]:
        """The receipts of a device by growing id, a page at a time. Raises as `post`."""
        after = 0
        while True:
            path = f"/v1/audit/receipts?device_id={device}&after_id={after}&limit={PAGE}"
            page = self.get(path, FleetReceipts).answer.receipts
            if page:
                yield page
            if len(page) < PAGE:
                return
            after = page[-1].id

    def _send(self, method: str, path: str, body: Mapping[str, object] | None, kind: type[_T]) -> Reply[_T]:
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
        endpoint = f"{method} {path.partition('?')[0]}"
        if response.status != HTTPStatus.OK:
            raise _refusal(response, endpoint)
        return Reply(read_answer(response.body, kind, endpoint), response.body, endpoint)

    async def _exchange(self, request: HttpRequest) -> HttpResponse:
        outbound = net_outbound.GuardedOutbound([self._authority])  # the person names it, on this machine or not
        try:
            return await outbound.request(request)
        finally:
            await outbound.close()


def _refusal(response: HttpResponse, endpoint: str) -> BriefcaseError:
    try:
        refusal = msgspec.json.decode(response.body, type=_Refusal)
    except msgspec.DecodeError:
        return unexpected_answer(endpoint, f"expected an answer of a control plane, got status {response.status}")
    text = refusal.message if refusal.message == refusal.code else f"{refusal.message} ({refusal.code})"
    return CallerError(text, code=_CODES.get(HTTPStatus(response.status), "upstream_failed"))
