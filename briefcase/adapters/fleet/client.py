"""HTTP with a control plane (`aacp_v1`, "Control plane"): one method for each request, sent over the guarded way out.

A device's request carries its bearer token and a proof of possession by the daemon's identity key, with `ath`, an `htu`
that keeps the query, and a new id each time: what is sent again has a new proof. Answers are bounded in size and time,
redirects are answers that are no success, and nothing of an answer's text goes into an error but its stable word.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import msgspec

from briefcase.adapters.net.urls import parse_url
from briefcase.core.fleet.answers import (
    EnrolmentAnswer,
    PolicyAnswer,
    read_answer,
    read_enrolment_answer,
    read_policy_answer,
    read_receipts_answer,
    read_refusal,
)
from briefcase.core.fleet.uploads import Batch, UploadAnswer
from briefcase.core.jose.dpop import ProofSigner
from briefcase.core.operator.fleet import EnrolmentRequest
from briefcase.core.wire.relay import RelayedAnswers, RelayKept, RelayReport
from briefcase.model.errors import CallerError, UpstreamError
from briefcase.model.ports import Clock, Entropy, HttpRequest, HttpResponse, Outbound

TIMEOUT_MS: Final = 15_000
UPLOAD_TIMEOUT_MS: Final = 60_000
MAX_POLICY_ANSWER_BYTES: Final = 4 << 20  # a policy of 200,000 bytes, all of it escaped, and its siblings
MAX_ANSWER_BYTES: Final = 64 << 10
MAX_ANSWERS_BYTES: Final = 1 << 20  # 100 answers of signers
MAX_ETAG_CHARS: Final = 256
MAX_RETRY_AFTER_S: Final = 3_600
MAX_BASE_URL_CHARS: Final = 512
_MS_PER_S: Final = 1_000
_JSON: Final = {"accept": "application/json", "content-type": "application/json"}
_ABOUT_RECEIPTS: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE})


class Device(msgspec.Struct, frozen=True):
    """Who asks: an enrolled device and its token."""

    base_url: str
    device_id: str
    token: str

    def __repr__(self) -> str:
        return f"Device(base_url={self.base_url!r}, device_id={self.device_id!r}, ...)"


class PolicyReply(msgspec.Struct, frozen=True):
    """The policy as a control plane has it; `answer` is None where it is what the `etag` sent along stands for."""

    answer: PolicyAnswer | None
    etag: str = ""


class Refusal(msgspec.Struct, frozen=True):
    """An answer that is no success: its status, its word, and for how long not to ask again where it says so."""

    status: int
    word: str = ""
    retry_after_ms: int | None = None


class DeviceReport(msgspec.Struct, frozen=True):
    """How a device stands: the bundle that runs, the one it tried last, and what was wrong with the last sync."""

    running_bundle_id: int | None
    tried_bundle_id: int | None
    last_error: str | None
    version: str


class ControlPlaneClient:
    """Talks to control planes (`operator.fleet.ControlPlane`).

    Args:
        outbound: the guarded way out.
        new_signer: gives what makes proofs with the daemon's identity key; asked for it once, by the first request of a
            device, since loading it takes 30 ms that no start has to wait for.
        device_pubkey_b64: that key's public half, 32 bytes in base64url.
        clock: the time.
        entropy: makes the ids of proofs.
    """

    def __init__(
        self,
        outbound: Outbound,
        new_signer: Callable[[], ProofSigner],
        *,
        device_pubkey_b64: str,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._outbound = outbound
        self._new_signer = new_signer
        self._device_pubkey_b64 = device_pubkey_b64
        self._clock = clock
        self._entropy = entropy

    @cached_property
    def _signer(self) -> ProofSigner:
        return self._new_signer()

    def check_base_url(self, base_url: str) -> str:
        """The address as it is kept, without a slash at its end; paths are appended to it.

        Raises:
            CallerError: it is no address that a request could be sent to; it may hold a password, so it is not shown.
        """
        try:
            parse_url(base_url)
        except ValueError as error:
            raise CallerError(f"`base_url`: {error}") from None
        if "?" in base_url or len(base_url) > MAX_BASE_URL_CHARS:
            raise CallerError(f"`base_url`: expected at most {MAX_BASE_URL_CHARS} characters, without a query")
        return base_url.rstrip("/")

    async def enrol(self, request: EnrolmentRequest) -> EnrolmentAnswer:
        """Enrol as a device; see `operator.fleet.ControlPlane`."""
        body = {
            "device_id": request.device_id,
            "device_name": request.device_name,
            "device_pubkey_b64": self._device_pubkey_b64,
        }
        response = await self._outbound.request(
            HttpRequest(
                "POST",
                f"{request.base_url}/v1/admin/devices/enroll",
                {**_JSON, "authorization": f"Bearer {request.admin_token}"},
                msgspec.json.encode(body),
                timeout_ms=TIMEOUT_MS,
                max_body_bytes=MAX_POLICY_ANSWER_BYTES,
                pool_key=_pool_of(request.base_url),
            )
        )
        if response.status != HTTPStatus.OK:
            raise error_of(_refusal_of(response, request.admin_token), "the enrolment")
        return read_enrolment_answer(response.body)

    async def policy(self, device: Device, etag: str = "", wait_ms: int = 0) -> PolicyReply | Refusal:
        """Ask for the policy of a device.

        Args:
            device: who asks.
            etag: of the policy that is known; then there is an answer only where it is another.
            wait_ms: how long the control plane may hold the request until it is.

        Raises:
            UpstreamError: no answer came, or one that is not as expected.
        """
        path = f"/v1/devices/{quote(device.device_id, safe='')}/policy"
        query = f"?wait_ms={wait_ms}" if wait_ms else ""
        headers = {"accept": "application/json"} | ({"if-none-match": etag} if etag else {})
        response = await self._send(
            device,
            "GET",
            path + query,
            headers,
            timeout_ms=TIMEOUT_MS + wait_ms,
            max_body_bytes=MAX_POLICY_ANSWER_BYTES,
        )
        if response.status == HTTPStatus.NOT_MODIFIED and etag:
            return PolicyReply(None, etag)
        if response.status != HTTPStatus.OK:
            return _refusal_of(response, device.token)
        found = response.headers.get("etag", "")
        is_plain = len(found) <= MAX_ETAG_CHARS and found.isascii() and found.isprintable()
        return PolicyReply(read_policy_answer(response.body), found if is_plain else "")

    async def upload(self, device: Device, batch: Batch) -> UploadAnswer | Refusal:
        """Send receipts; a refusal that says something of receipts is an answer, too.

        Raises:
            UpstreamError: no answer came, or one that is not as expected: whether they were taken is not known.
        """
        path = f"/v1/devices/{quote(device.device_id, safe='')}/receipts"
        response = await self._send(
            device, "POST", path, _JSON, body=batch.body, timeout_ms=UPLOAD_TIMEOUT_MS, max_body_bytes=MAX_ANSWER_BYTES
        )
        if response.status == HTTPStatus.OK:
            taken = read_receipts_answer(response.body)
            return UploadAnswer(response.status, last_receipt_id=taken.last_receipt_id)
        said = read_refusal(response.body)
        if response.status in _ABOUT_RECEIPTS:
            return UploadAnswer(response.status, _word_of(said.code, device.token), said.last_receipt_id)
        return _refusal_of(response, device.token)

    async def report(self, device: Device, report: DeviceReport) -> Refusal | None:
        """Say how a device stands; None where that was taken.

        Raises:
            UpstreamError: no answer came.
        """
        response = await self._send(
            device,
            "POST",
            f"/v1/devices/{quote(device.device_id, safe='')}/status",
            _JSON,
            body=msgspec.json.encode(report),
            timeout_ms=TIMEOUT_MS,
            max_body_bytes=MAX_ANSWER_BYTES,
        )
        return None if response.status == HTTPStatus.OK else _refusal_of(response, device.token)

    async def relay(self, device: Device, report: RelayReport) -> RelayKept | Refusal:
        """Say what changed among the approvals that wait for signers.

        Raises:
            UpstreamError: no answer came, or one that is not as expected: whether it was taken is not known.
        """
        response = await self._send(
            device,
            "POST",
            f"/v1/devices/{quote(device.device_id, safe='')}/approvals",
            _JSON,
            body=msgspec.json.encode(report),
            timeout_ms=UPLOAD_TIMEOUT_MS,
            max_body_bytes=MAX_ANSWER_BYTES,
        )
        if response.status != HTTPStatus.OK:
            return _refusal_of(response, device.token)
        return read_answer(response.body, RelayKept)

    async def answers(self, device: Device, wait_ms: int) -> RelayedAnswers | Refusal:
        """Ask what signers answered.

        Args:
            device: who asks.
            wait_ms: how long the control plane may hold the request until a signer has.

        Raises:
            UpstreamError: no answer came, or one that is not as expected.
        """
        response = await self._send(
            device,
            "GET",
            f"/v1/devices/{quote(device.device_id, safe='')}/approvals/answers?wait_ms={wait_ms}",
            {"accept": "application/json"},
            timeout_ms=TIMEOUT_MS + wait_ms,
            max_body_bytes=MAX_ANSWERS_BYTES,
        )
        if response.status != HTTPStatus.OK:
            return _refusal_of(response, device.token)
        return read_answer(response.body, RelayedAnswers)

    async def _send(
        self,
        device: Device,
        method: str,
        target: str,
        headers: dict[str, str],
        *,
        body: bytes | None = None,
        timeout_ms: int,
        max_body_bytes: int,
    ) -> HttpResponse:
        url = f"{device.base_url}{target}"
        proof = self._signer.sign(
            method,
            url,
            self._entropy.uuid(),
            self._clock.now_us(),
            access_token=device.token,
            keeps_query=True,
        )
        return await self._outbound.request(
            HttpRequest(
                method,
                url,
                {**headers, "authorization": f"Bearer {device.token}", "dpop": proof},
                body,
                timeout_ms=timeout_ms,
                max_body_bytes=max_body_bytes,
                pool_key=_pool_of(device.base_url),
                keeps_connection=True,
            )
        )


def error_of(refusal: Refusal, what: str) -> UpstreamError:
    """The error for a refusal; its `detail` is the word."""
    code = "upstream_failed" if refusal.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "upstream_refused"
    return UpstreamError(
        f"the control plane answered {what} with {refusal_words(refusal)}", code=code, detail=refusal.word
    )


def refusal_words(refusal: Refusal) -> str:
    """A refusal in a few words: its status, and its word where it has one."""
    return f"{refusal.status} (`{refusal.word}`)" if refusal.word else str(refusal.status)


def _refusal_of(response: HttpResponse, sent_secret: str) -> Refusal:
    """A refusal; what repeats the secret that was sent, or a part of it, is no word."""
    after = response.headers.get("retry-after", "")
    seconds = int(after) if after.isascii() and after.isdigit() and len(after) <= len(str(MAX_RETRY_AFTER_S)) else None
    retry_after_ms = None if seconds is None else min(seconds, MAX_RETRY_AFTER_S) * _MS_PER_S
    return Refusal(response.status, _word_of(read_refusal(response.body).code, sent_secret), retry_after_ms)


def _word_of(code: str, sent_secret: str) -> str:
    return "" if code in sent_secret or sent_secret in code else code


def _pool_of(base_url: str) -> str:
    return f"control-plane {base_url}"
