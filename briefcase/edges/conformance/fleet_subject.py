"""The control plane under test, seen by an administrator and by devices that can also do wrong on purpose.

It may be one that a fleet hangs on. So what is published decides as before: the text that was found with a comment at
its end, and the budgets that were found. `leave` publishes the found text once more and revokes the devices that were
enrolled; receipts that were uploaded for them stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec

from briefcase.core.fleet.bundles import PolicyKey, SignedBundle, is_signed_by, signed_bytes
from briefcase.core.jose.base64url import JoseError, decode_base64url
from briefcase.core.jose.dpop import token_hash
from briefcase.core.jose.jws import EDDSA, PrivateKey, generate_key
from briefcase.edges.conformance.checks import BrokenError, NotOfferedError, SkipError, body_of, text_of
from briefcase.edges.conformance.proofs import sign_proof
from briefcase.model.errors import UpstreamError
from briefcase.model.ports import Clock, Entropy, HttpRequest, HttpResponse, Outbound
from briefcase.model.types import COMPATIBILITY_PROFILE, US_PER_S, JsonObject, JsonValue

POLICY: Final = "/v1/admin/policy"
MANDATORY: Final = "/v1/admin/mandatory"
ENROL: Final = "/v1/admin/devices/enroll"
DEVICES: Final = "/v1/admin/devices"
ROLLOUTS: Final = "/v1/admin/rollouts"
TOKENS: Final = "/v1/admin/tokens"
RECEIPTS: Final = "/v1/audit/receipts"
ACTS: Final = "/v1/audit/acts"
DEVICE_NAME: Final = "briefcase conformance"
MARK: Final = "// briefcase conformance"
MAX_ANSWER_BYTES: Final = 16 << 20
ANSWER_MS: Final = 30_000
NOWHERE: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED})


class FleetSubject:
    """One control plane.

    Args:
        base_url: its address as devices call it, without a trailing slash.
        outbound: the way to it.
        clock: the time, for proofs.
        entropy: ids of devices and proofs, and wrong tokens.
        admin_token: an administrator's; without it, what needs one is skipped.
        auditor_token: an auditor's; without it one is made, where the control plane makes them.
    """

    def __init__(
        self,
        base_url: str,
        outbound: Outbound,
        clock: Clock,
        entropy: Entropy,
        *,
        admin_token: str | None = None,
        auditor_token: str | None = None,
    ) -> None:
        self.base_url = base_url
        self.clock = clock
        self.entropy = entropy
        self.auditor_token = auditor_token
        self._outbound = outbound
        self._admin_token = admin_token
        self._device: SubjectDevice | None = None
        self._enrolled: list[SubjectDevice] = []
        self._found: SignedBundle | None = None
        self._found_mandatory: str | None = None
        self._marks = 0

    @property
    def admin_token(self) -> str:
        """The administrator's token."""
        if self._admin_token is None:
            raise SkipError("no administrator's token was given (`--admin-token-file`)")
        return self._admin_token

    def now_s(self) -> int:
        """The time, seconds."""
        return self.clock.now_us() // US_PER_S

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> HttpResponse:
        """One request."""
        fields = {"content-type": "application/json"} if body is not None else {}
        request = HttpRequest(
            method,
            self.base_url + path,
            {**fields, **(headers or {})},
            body,
            timeout_ms=ANSWER_MS,
            max_body_bytes=MAX_ANSWER_BYTES,
        )
        try:
            return await self._outbound.request(request)
        except UpstreamError as error:
            shown = path.partition("?")[0]
            raise BrokenError(f"`{method} {shown}` got no answer: {error.message}") from None

    async def admin(self, method: str, path: str, body: JsonValue = None, *, token: str | None = None) -> HttpResponse:
        """One request of an administrator, or by another token."""
        sent = None if body is None else msgspec.json.encode(body)
        return await self.ask(method, path, {"authorization": f"Bearer {token or self.admin_token}"}, sent)

    # --- policy ---------------------------------------------------------------------------------------------------

    async def policy(self) -> SignedBundle:
        """The bundle for all devices, as an administrator sees it; what was found first is kept for `leave`."""
        answer = body_of(await self.admin("GET", POLICY), HTTPStatus.OK, f"`GET {POLICY}`")
        bundle = bundle_of(answer)
        if self._found is None:
            self._found = bundle
        return bundle

    async def found_text(self) -> str:
        """The policy's text as it was found, without what an earlier run left at its end."""
        if self._found is None:
            await self.policy()
        found = self._found
        return "" if found is None else _unmarked(found.bundle.policy_text)

    async def marked(self, text: str = "") -> dict[str, JsonValue]:
        """The body of a publication that decides as what was found: its text under another comment.

        Args:
            text: more of the comment's line.
        """
        self._marks += 1
        found = await self.found_text()
        budgets: dict[str, JsonValue] = dict((self._found or await self.policy()).bundle.budgets)
        return {"policy_text": f"{found}\n{MARK} {self._marks} {text}".strip(), "budgets": budgets}

    async def publish(self, text: str = "") -> SignedBundle:
        """Publish what decides as before, under the next id."""
        sent = await self.marked(text)
        response = await self.admin("POST", POLICY, sent)
        published = bundle_of(body_of(response, HTTPStatus.OK, f"`POST {POLICY}`"))
        if published.bundle.policy_text != sent["policy_text"]:
            raise BrokenError("expected the published bundle to have the text that was sent")
        return published

    async def mandatory_text(self) -> str:
        """What each device forbids, as it was found."""
        if self._found_mandatory is None:
            response = offered(await self.admin("GET", MANDATORY), f"GET {MANDATORY}")
            text = body_of(response, HTTPStatus.OK, f"`GET {MANDATORY}`").get("policy_text")
            if not isinstance(text, str):
                raise BrokenError("expected a text `policy_text` in the answer")
            self._found_mandatory = text
        return _unmarked(self._found_mandatory)

    # --- devices --------------------------------------------------------------------------------------------------

    async def device(self) -> SubjectDevice:
        """A device that several checks use."""
        if self._device is None:
            self._device = await self.new_device()
        return self._device

    async def new_device(self) -> SubjectDevice:
        """A device that was just enrolled."""
        device = SubjectDevice(self, self.entropy.uuid())
        await device.enrol()
        self._enrolled.append(device)
        return device

    async def auditor(self) -> str:
        """An auditor's token."""
        if self.auditor_token is None:
            made = await self.make_token("auditor")
            if made is None:
                raise SkipError("no auditor's token was given (`--auditor-token-file`)")
            self.auditor_token = made[1]
        return self.auditor_token

    async def make_token(self, role: str, tenant: str = "") -> tuple[str, str] | None:
        """A named token and its name; None where the control plane makes none."""
        name = f"conformance-{self.entropy.uuid()}"
        body: dict[str, JsonValue] = {"name": name, "role": role}
        if tenant:
            body["tenant"] = tenant
        response = await self.admin("POST", TOKENS, body)
        if response.status in NOWHERE:
            return None
        if response.status == HTTPStatus.FORBIDDEN:
            raise SkipError("the administrator's token that was given may make no other")
        return name, text_of(body_of(response, HTTPStatus.OK, f"`POST {TOKENS}`"), "token")

    async def leave(self) -> None:
        """Publish once more what was found, and revoke what was enrolled."""
        found = self._found
        if found is not None and not _is_alike(await self.policy(), await self.found_text(), found):
            body: dict[str, JsonValue] = {
                "policy_text": await self.found_text(),
                "budgets": dict(found.bundle.budgets),
            }
            body_of(await self.admin("POST", POLICY, body), HTTPStatus.OK, f"`POST {POLICY}` of what was found")
        if self._found_mandatory is not None:
            response = await self.admin("POST", MANDATORY, {"policy_text": await self.mandatory_text()})
            body_of(response, HTTPStatus.OK, f"`POST {MANDATORY}` of what was found")
        for device in self._enrolled:
            response = await self.admin("POST", f"{DEVICES}/{device.id}/revoke")
            if response.status not in {HTTPStatus.OK, *NOWHERE}:
                raise BrokenError(f"expected an enrolled device to be revoked, got {response.status}")


class SubjectDevice:
    """A device of the harness: its key, its token, and a proof for each request.

    Args:
        subject: where it is enrolled.
        device_id: a UUID.
    """

    def __init__(self, subject: FleetSubject, device_id: str) -> None:
        self.subject = subject
        self.id = device_id
        self.key = generate_key(EDDSA)
        self.token = ""
        self.signing_key_b64: PolicyKey = ""
        self.answer: JsonObject = {}
        """What the last enrolment was answered."""

    def enrolment(self) -> dict[str, JsonValue]:
        """The body that enrols it."""
        return {"device_id": self.id, "device_name": DEVICE_NAME, "device_pubkey_b64": self.key.public.jwk["x"]}

    async def enrol(self) -> JsonObject:
        """Enrol it, or enrol it again; gives the answer."""
        response = await self.subject.admin("POST", ENROL, self.enrolment())
        self.answer = body_of(response, HTTPStatus.OK, f"`POST {ENROL}`")
        self.token = text_of(self.answer, "device_token")
        self.signing_key_b64 = text_of(self.answer, "policy_signing_pubkey_b64")
        return self.answer

    def path(self, what: str) -> str:
        """The path of something of this device's."""
        return f"/v1/devices/{self.id}/{what}"

    def proof(
        self,
        method: str,
        path: str,
        *,
        key: PrivateKey | None = None,
        header: JsonObject | None = None,
        claims: JsonObject | None = None,
    ) -> str:
        """A proof; `header` and `claims` change members of a good one, and None leaves one out."""
        good: JsonObject = {
            "jti": self.subject.entropy.uuid(),
            "htm": method,
            "htu": self.subject.base_url + path,
            "iat": self.subject.now_s(),
            "ath": token_hash(self.token),
        }
        return sign_proof(key or self.key, good | (claims or {}), header)

    async def call(
        self,
        method: str,
        what: str,
        body: bytes | None = None,
        *,
        proof: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HttpResponse:
        """One request; an empty proof sends none, None a good one. `headers` replace those of a good request."""
        path = self.path(what)
        sent = self.proof(method, path) if proof is None else proof
        fields = {"authorization": f"Bearer {self.token}"} | ({"dpop": sent} if sent else {})
        return await self.subject.ask(method, path, fields | dict(headers or {}), body)

    async def policy(self) -> SignedBundle:
        """Its bundle, by its own call."""
        response = await self.call("GET", "policy")
        return verified(body_of(response, HTTPStatus.OK, "`GET /v1/devices/{id}/policy`"), self.signing_key_b64)


def bundle_of(answer: JsonObject) -> SignedBundle:
    """The member `policy_bundle` of an answer."""
    try:
        signed = msgspec.convert(answer.get("policy_bundle"), SignedBundle)
    except msgspec.ValidationError as error:
        raise BrokenError(f"expected a signed `policy_bundle`: {str(error).lower()}") from None
    if signed.bundle.compatibility_profile != COMPATIBILITY_PROFILE:
        raise BrokenError(f"expected a bundle's `compatibility_profile` to be `{COMPATIBILITY_PROFILE}`")
    return signed


def verified(answer: JsonObject, key_b64: PolicyKey) -> SignedBundle:
    """The member `policy_bundle` of an answer, signed by a key."""
    signed = bundle_of(answer)
    try:
        signature = decode_base64url(signed.signature_b64)
        is_good = is_signed_by(key_b64, signed_bytes(signed.bundle), signature)
    except JoseError as error:
        raise BrokenError(f"expected a key and a signature in base64url without padding: {error}") from None
    if not is_good:
        raise BrokenError(
            "expected a bundle to be signed by `policy_signing_pubkey_b64`, over its members in their order"
        )
    return signed


def offered(response: HttpResponse, what: str) -> HttpResponse:
    """An answer at a path that a control plane may do without."""
    if response.status in NOWHERE:
        raise NotOfferedError(f"`{what}`: {response.status}")
    return response


def expect_word(response: HttpResponse, status: int, word: str, what: str) -> None:
    """Check that something was refused, with the contract's status and word."""
    answer = body_of(response, status, what)
    if answer.get("code") != word:
        got = answer.get("code")
        shown = f"`{got[:64]}`" if isinstance(got, str) else "none"
        raise BrokenError(f"expected the word `{word}` for {what}, got {shown}")
    if not isinstance(answer.get("message"), str):
        raise BrokenError(f"expected a text `message` beside `{word}`")


def _is_alike(present: SignedBundle, text: str, found: SignedBundle) -> bool:
    return present.bundle.policy_text == text and present.bundle.budgets == found.bundle.budgets


def _unmarked(text: str) -> str:
    lines = text.rstrip().split("\n")
    while lines and lines[-1].startswith(MARK):
        lines.pop()
    return "\n".join(lines).rstrip()
