"""What a control plane asks of devices at each call, their token and a proof, and the key that it keeps for them."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Final

import msgspec

from briefcase.core.fleet import words
from briefcase.core.jose.base64url import JoseError, decode_base64url, encode_base64url
from briefcase.core.jose.dpop import MAX_JTI_CHARS, token_hash
from briefcase.core.jose.jws import EDDSA, ES256, generate_key, parse_public_jwk
from briefcase.edges.conformance.checks import BrokenError, Check, body_of, text_of
from briefcase.edges.conformance.fleet_receipts import (
    chain,
    upload_of,
)
from briefcase.edges.conformance.fleet_subject import FleetSubject, SubjectDevice, expect_word, offered
from briefcase.edges.conformance.proofs import sign_with_public_key
from briefcase.model.types import JsonObject

NEAR_S: Final = 100  # within the window of 120 s, with room for a clock that differs
FAR_S: Final = 300
MAX_SIGNED_BYTES: Final = 32_000

_Run = Callable[[FleetSubject], Awaitable[None]]


async def _policy(subject: FleetSubject) -> None:
    device = await subject.device()
    if await device.policy() != await subject.policy():
        raise BrokenError("expected a device to get the bundle that an administrator sees")


async def _token(subject: FleetSubject) -> None:
    device, other = await subject.device(), await subject.new_device()
    for what in ("policy", "receipts"):
        method = "GET" if what == "policy" else "POST"
        body = None if method == "GET" else upload_of(())
        for how, scheme, token, word in (
            ("no token", "", device.token, words.MISSING_TOKEN),
            ("a token of another scheme", "DPoP", device.token, words.MISSING_TOKEN),
            ("a wrong token", "Bearer", subject.entropy.token(), words.INVALID_TOKEN),
            ("another device's token", "Bearer", other.token, words.INVALID_TOKEN),
            ("an administrator's token", "Bearer", subject.admin_token, words.INVALID_TOKEN),
        ):
            headers = {"authorization": f"{scheme} {token}"} if scheme else {}
            proof = device.proof(method, device.path(what), claims={"ath": token_hash(token)})
            response = await subject.ask(method, device.path(what), {**headers, "dpop": proof}, body)
            expect_word(response, HTTPStatus.UNAUTHORIZED, word, f"{how} at a device's `{what}`")


async def _unknown(subject: FleetSubject) -> None:
    stranger = SubjectDevice(subject, subject.entropy.uuid())
    stranger.token = (await subject.device()).token
    response = await stranger.call("GET", "policy")
    expect_word(response, HTTPStatus.UNAUTHORIZED, words.UNKNOWN_DEVICE, "a device that nobody enrolled")


# --- proofs -----------------------------------------------------------------------------------------------------------


async def _proof_missing(subject: FleetSubject) -> None:
    device = await subject.device()
    response = await device.call("GET", "policy", proof="")
    expect_word(response, HTTPStatus.UNAUTHORIZED, words.MISSING_DPOP, "a device's `policy` without a proof")
    response = await device.call("POST", "receipts", upload_of(()), proof="")
    expect_word(response, HTTPStatus.UNAUTHORIZED, words.MISSING_DPOP, "a device's `receipts` without a proof")


async def _proof_key(subject: FleetSubject) -> None:
    device = await subject.device()
    for algorithm in (EDDSA, ES256):
        proof = device.proof("GET", device.path("policy"), key=generate_key(algorithm))
        await _expect_invalid(device, proof, f"a proof by another key ({algorithm})")
    proof = device.proof("POST", device.path("receipts"), key=generate_key(EDDSA))
    response = await device.call("POST", "receipts", upload_of(chain(1)), proof=proof)
    expect_word(response, HTTPStatus.UNAUTHORIZED, words.INVALID_DPOP, "an upload with a proof by another key")


def _refused_with(*changes: tuple[str, JsonObject]) -> _Run:
    """A check that a proof with one claim changed is refused, and that the good one beside it is not."""

    async def run(subject: FleetSubject) -> None:
        device = await subject.device()
        for what, claims in changes:
            await _expect_invalid(device, device.proof("GET", device.path("policy"), claims=claims), what)
        await device.policy()

    return run


async def _proof_url(subject: FleetSubject) -> None:
    device = await subject.device()
    other = (await subject.new_device()).path("policy")
    for what, url in {
        "another device's path": subject.base_url + other,
        "another path": subject.base_url + device.path("receipts"),
        "another host": f"https://other.example{device.path('policy')}",
    }.items():
        proof = device.proof("GET", device.path("policy"), claims={"htu": url})
        await _expect_invalid(device, proof, f"a proof for {what}")


async def _proof_query(subject: FleetSubject) -> None:
    device = await subject.device()
    path = device.path("policy?a=1")
    response = await device.call("GET", "policy?a=1", proof=device.proof("GET", path))
    body_of(response, HTTPStatus.OK, "a proof for path and query")


async def _proof_window(subject: FleetSubject) -> None:
    device = await subject.device()
    for ahead_s in (-NEAR_S, NEAR_S, -FAR_S, FAR_S):
        claims: JsonObject = {"iat": subject.now_s() + ahead_s}
        proof = device.proof("GET", device.path("policy"), claims=claims)
        what = f"a proof {abs(ahead_s)} s {'ahead' if ahead_s > 0 else 'old'}"
        if abs(ahead_s) == NEAR_S:
            body_of(await device.call("GET", "policy", proof=proof), HTTPStatus.OK, what)
        else:
            await _expect_invalid(device, proof, what)


async def _proof_jti(subject: FleetSubject) -> None:
    device = await subject.device()
    longest = subject.entropy.token().ljust(MAX_JTI_CHARS, "x")
    for what, jti in {"a proof without an id": None, "a proof with an id of 129 characters": f"{longest}x"}.items():
        await _expect_invalid(device, device.proof("GET", device.path("policy"), claims={"jti": jti}), what)
    proof = device.proof("GET", device.path("policy"), claims={"jti": longest})
    body_of(await device.call("GET", "policy", proof=proof), HTTPStatus.OK, "a proof with an id of 128 characters")


async def _proof_forged(subject: FleetSubject) -> None:
    device = await subject.device()
    path = device.path("policy")
    good = device.proof("GET", path)
    head, _, _ = good.rpartition(".")
    for what, proof in {
        "a proof with `alg` none": device.proof("GET", path, header={"alg": "none"}).rpartition(".")[0] + ".",
        "a proof keyed with the public key": sign_with_public_key(
            device.proof("GET", path, header={"alg": "HS256"}), device.key
        ),
        "a proof with the signature of another": f"{head}.{device.proof('GET', path).rpartition('.')[2]}",
        "a proof of another type": device.proof("GET", path, header={"typ": "JWT"}),
        "a proof that is none": "abc",
    }.items():
        await _expect_invalid(device, proof, what)


async def _proof_once(subject: FleetSubject) -> None:
    device = await subject.device()
    jti = subject.entropy.uuid()
    proof = device.proof("GET", device.path("policy"), claims={"jti": jti})
    body_of(await device.call("GET", "policy", proof=proof), HTTPStatus.OK, "the first use of a proof")
    for _ in range(2):
        response = await device.call("GET", "policy", proof=proof)
        expect_word(response, HTTPStatus.CONFLICT, words.REPLAY_DETECTED, "a proof that was used before")
    again = device.proof("POST", device.path("receipts"), claims={"jti": jti})
    response = await device.call("POST", "receipts", upload_of(()), proof=again)
    expect_word(response, HTTPStatus.CONFLICT, words.REPLAY_DETECTED, "another proof with the id of one that was used")


async def _expect_invalid(device: SubjectDevice, proof: str, what: str) -> None:
    expect_word(await device.call("GET", "policy", proof=proof), HTTPStatus.UNAUTHORIZED, words.INVALID_DPOP, what)


# --- the key in custody -----------------------------------------------------------------------------------------------


async def _remote_signer(subject: FleetSubject) -> None:
    device = await subject.device()
    signer = await _signer(device)
    message = b"conformance \x00 message"
    body = {"key_id": text_of(signer, "key_id"), "msg_b64": encode_base64url(message)}
    response = await device.call("POST", "remote-signer/sign", msgspec.json.encode(body), proof="")
    answer = body_of(response, HTTPStatus.OK, "`POST /v1/devices/{id}/remote-signer/sign` by the bearer alone")
    try:
        key = parse_public_jwk(signer.get("public_jwk"))
        signature = decode_base64url(text_of(answer, "signature_b64"))
    except JoseError as error:
        raise BrokenError(f"expected a public JWK of P-256 and a signature in base64url: {error}") from None
    if signer.get("algorithm") != "p256" or not key.is_signature(message, signature):
        raise BrokenError("expected the signature of the key that is described, over SHA-256 of the message")
    if device.answer.get("remote_signer") != signer:
        raise BrokenError(
            "expected an enrolment to answer `remote_signer` as `GET /v1/devices/{id}/remote-signer` does"
        )


async def _remote_signer_refusals(subject: FleetSubject) -> None:
    device, other = await subject.device(), await subject.new_device()
    key_id = text_of(await _signer(device), "key_id")
    whole = encode_base64url(hashlib.sha256(b"").digest())
    for what, wanted, message, word in (
        ("another device's key", text_of(await _signer(other), "key_id"), whole, "invalid_key_id"),
        ("a message with padding", key_id, "eA==", "invalid_msg_b64"),
        ("an empty message", key_id, "", "invalid_msg_size"),
        ("a message that is too long", key_id, "eHh4" * (MAX_SIGNED_BYTES // 3 + 1), "invalid_msg_size"),
    ):
        body = msgspec.json.encode({"key_id": wanted, "msg_b64": message})
        response = await device.call("POST", "remote-signer/sign", body, proof="")
        expect_word(response, HTTPStatus.BAD_REQUEST, word, what)
    response = await subject.ask("GET", device.path("remote-signer"))
    expect_word(response, HTTPStatus.UNAUTHORIZED, words.MISSING_TOKEN, "a remote signer without a token")
    response = await device.call("GET", "remote-signer", proof="", headers={"authorization": f"Bearer {other.token}"})
    expect_word(response, HTTPStatus.UNAUTHORIZED, words.INVALID_TOKEN, "a remote signer with another device's token")


async def _signer(device: SubjectDevice) -> JsonObject:
    what = "GET /v1/devices/{id}/remote-signer"
    response = offered(await device.call("GET", "remote-signer", proof=""), what)
    signer = body_of(response, HTTPStatus.OK, f"`{what}`").get("signer")
    if not isinstance(signer, dict):
        raise BrokenError("expected an object `signer`")
    return signer


CHECKS: Final[Sequence[Check[FleetSubject]]] = (
    Check("device_policy", "a device gets the present bundle", _policy),
    Check("device_token", "a device's path takes its own token alone", _token),
    Check("device_unknown", "a device that nobody enrolled is `unknown_device`", _unknown),
    Check("proof_missing", "a device's call without a proof is `missing_dpop`", _proof_missing),
    Check("proof_key", "a proof by another key than the enrolled one is `invalid_dpop`", _proof_key),
    Check(
        "proof_method",
        "a proof for another method is `invalid_dpop`",
        _refused_with(("another method", {"htm": "POST"})),
    ),
    Check("proof_url", "a proof for another URL is `invalid_dpop`", _proof_url),
    Check("proof_query", "a proof's `htu` is taken with path and query", _proof_query),
    Check(
        "proof_token",
        "a proof without the token's hash, or with another's, is `invalid_dpop`",
        _refused_with(("a proof without `ath`", {"ath": None}), ("a proof for another token", {"ath": "A" * 43})),
    ),
    Check("proof_window", "a proof's `iat` may be 120 s from now, and not more", _proof_window),
    Check("proof_jti", "a proof has an id of at most 128 characters", _proof_jti),
    Check("proof_forged", "a proof that its key did not sign is `invalid_dpop`", _proof_forged),
    Check("proof_once", "a proof's id is good once for a device, then `replay_detected`", _proof_once),
    Check("remote_signer", "the key that is kept for a device signs what it says it does", _remote_signer),
    Check(
        "remote_signer_refusals",
        "a key in custody signs for its device, and messages of a size",
        _remote_signer_refusals,
    ),
)
