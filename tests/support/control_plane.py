"""A control plane in memory that speaks the contract, as `ports.Outbound` or over HTTP on loopback, and can be hostile.

It is strict where the recorded server is: tokens, proofs (with the query in `htu`), each proof once, receipts in order
and by their hashes. `siblings` gives what ours adds; `answer` replaces an answer.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from briefcase.core.fleet.bundles import PolicyBundle, signed_bytes
from briefcase.core.fleet.envelopes import FRESHNESS, KEYS, MANDATORY, pae
from briefcase.core.jose.base64url import decode_base64url, encode_base64url
from briefcase.core.jose.dpop import TYP, token_hash
from briefcase.core.jose.jws import check_signature, parse_compact, parse_public_jwk
from briefcase.model.errors import UpstreamError
from briefcase.model.ports import HttpRequest, HttpResponse
from briefcase.model.types import format_rfc3339

ADMIN_TOKEN = "admin-token-of-the-tests-0123456789"
POLICY = 'permit(principal, action == Action::"Call", resource);'
GENESIS = "0" * 64
START_US = 1_795_900_000_000_000
HOUR_US = 3_600_000_000
MAX_SKEW_US = 120_000_000


class SigningKey:
    """A control plane's key."""

    def __init__(self, seed: int = 7) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        self.public_b64 = encode_base64url(self._key.public_key().public_bytes_raw())

    def bundle(
        self, bundle_id: int, text: str = POLICY, budgets: dict[str, int] | None = None, profile: str = "aacp_v1"
    ) -> dict[str, Any]:
        """A signed bundle, as it is sent."""
        updated_at = format_rfc3339(START_US).replace("Z", "+00:00")
        bundle = PolicyBundle(bundle_id, profile, text, budgets or {}, updated_at)
        return {"bundle": json.loads(signed_bytes(bundle)), "signature_b64": self.sign(signed_bytes(bundle))}

    def envelope(self, payload_type: str, payload: dict[str, Any]) -> dict[str, Any]:
        """A sibling, as it is sent."""
        data = json.dumps(payload).encode()
        signature = decode_base64url(self.sign(pae(payload_type, data)))
        signatures = [{"keyid": "k", "sig": base64.b64encode(signature).decode()}]
        return {"payload": base64.b64encode(data).decode(), "payloadType": payload_type, "signatures": signatures}

    def freshness(self, bundle_id: int, expires_us: int) -> dict[str, Any]:
        """The sibling `freshness`."""
        said = {"bundle_id": bundle_id, "issued_at": format_rfc3339(START_US), "expires_at": format_rfc3339(expires_us)}
        return self.envelope(FRESHNESS, said)

    def mandatory(self, part_id: int, text: str) -> dict[str, Any]:
        """The sibling `mandatory`."""
        return self.envelope(MANDATORY, {"id": part_id, "policy_text": text})

    def next_key(self, key: SigningKey, issued_us: int = START_US) -> dict[str, Any]:
        """The sibling `keys`, or one word of `key_chain`."""
        said = {"policy_signing_pubkey_b64": key.public_b64, "issued_at": format_rfc3339(issued_us)}
        return self.envelope(KEYS, said)

    def sign(self, message: bytes) -> str:
        """A signature in base64url."""
        return encode_base64url(self._key.sign(message))


class FakeControlPlane:
    """One control plane: `publish` makes the next bundle, `receipts` are what it has of each device."""

    def __init__(self) -> None:
        self.key = SigningKey()
        self.policy: Any = self.key.bundle(1)
        self.siblings: dict[str, Any] = {}
        self.devices: dict[str, dict[str, Any]] = {}
        self.receipts: dict[str, list[dict[str, Any]]] = {}
        self.jtis: set[tuple[str, str]] = set()
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answer: Callable[[str, str], tuple[int, dict[str, str], bytes] | None] = lambda _method, _target: None
        self.holds = False
        self.says_last = True
        self.takes_status = True
        self.said: list[dict[str, Any]] = []
        self.tokens = 0
        self.now_us: Callable[[], int] | None = None
        self.published = threading.Condition()

    def publish(self, bundle_id: int, text: str = POLICY, budgets: dict[str, int] | None = None, **more: Any) -> None:
        """Let a bundle be the present one."""
        with self.published:
            self.policy = self.key.bundle(bundle_id, text, budgets, **more)
            self.published.notify_all()

    def handle(
        self, method: str, target: str, headers: dict[str, str], body: bytes, base: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Answer one request."""
        self.seen.append((method, target, headers, body))
        replaced = self.answer(method, target)
        if replaced is not None:
            return replaced
        parts = urlsplit(target)
        if (method, parts.path) == ("POST", "/v1/admin/devices/enroll"):
            return self._enrol(headers, json.loads(body))
        _, _, _, device_id, what = parts.path.split("/")
        refused = self._check_device(method, base + target, headers, device_id)
        if refused:
            return refused
        if (method, what) == ("GET", "policy"):
            return self._policy(headers, parts.query)
        if what == "status":
            if not self.takes_status:
                return 404, {}, b""
            self.said.append(json.loads(body))
            return 200, {}, b'{"status":"ok"}'
        return self._receive(device_id, body)

    def _enrol(self, headers: dict[str, str], asked: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        if headers.get("authorization") != f"Bearer {ADMIN_TOKEN}":
            return refusal(401, "invalid_token")
        self.tokens += 1
        token = encode_base64url(hashlib.sha256(f"device-token-{self.tokens}".encode()).digest())
        self.devices[asked["device_id"]] = {**asked, "token": token}
        answer: dict[str, Any] = {
            "device_id": asked["device_id"],
            "device_token": token,
            "policy_signing_pubkey_b64": self.key.public_b64,
            "policy_bundle": self.policy,
            **self.siblings,
        }
        kept = self.receipts.get(asked["device_id"], [])
        if self.says_last:
            answer["last_receipt_id"] = kept[-1]["id"] if kept else 0
        return 200, {}, json.dumps(answer).encode()

    def _check_device(
        self, method: str, url: str, headers: dict[str, str], device_id: str
    ) -> tuple[int, dict[str, str], bytes] | None:
        device = self.devices.get(device_id)
        if device is None:
            return refusal(401, "unknown_device")
        if headers.get("authorization") != f"Bearer {device['token']}":
            return refusal(401, "invalid_token")
        proof = headers.get("dpop")
        if proof is None:
            return refusal(401, "missing_dpop")
        jws = parse_compact(proof, TYP)
        key = parse_public_jwk(jws.header["jwk"])
        check_signature(jws, key)
        claims = jws.claims
        is_good = (
            key.jwk["x"] == device["device_pubkey_b64"]
            and (claims["htm"], claims["htu"]) == (method, url)
            and claims["ath"] == token_hash(device["token"])
            and (self.now_us is None or abs(int(str(claims["iat"])) * 1_000_000 - self.now_us()) <= MAX_SKEW_US)
        )
        if not is_good:
            return refusal(401, "invalid_dpop")
        jti = (device_id, str(claims["jti"]))
        if jti in self.jtis:
            return refusal(409, "replay_detected")
        self.jtis.add(jti)
        return None

    def _policy(self, headers: dict[str, str], query: str) -> tuple[int, dict[str, str], bytes]:
        known, wait = headers.get("if-none-match", ""), query.partition("wait_ms=")[2]
        with self.published:
            if wait and self.holds:
                self.published.wait_for(lambda: self._etag() != known, timeout=int(wait) / 1000)
            etag = self._etag()
            if known and known == etag:
                return 304, {"etag": etag}, b""
            return 200, {"etag": etag}, json.dumps({"policy_bundle": self.policy, **self.siblings}).encode()

    def _etag(self) -> str:
        state = json.dumps([self.policy, self.siblings], sort_keys=True).encode()
        return f'"{hashlib.sha256(state).hexdigest()}"'

    def _receive(self, device_id: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        kept, stored = self.receipts.setdefault(device_id, []), 0
        sent = json.loads(body)["receipts"]
        if len(sent) > 500:
            return refusal(400, "too_many_receipts")
        known = {receipt["id"]: receipt["hash_hex"] for receipt in kept}
        for receipt in sent:
            if receipt["id"] in known:
                if known[receipt["id"]] != receipt["hash_hex"]:
                    return self._not_taken("receipt_fork", device_id)
                continue
            last_id, last_hash = (kept[-1]["id"], kept[-1]["hash_hex"]) if kept else (0, GENESIS)
            if receipt["id"] <= last_id:
                return self._not_taken("receipt_id_not_monotonic", device_id)
            if receipt["prev_hash_hex"] != last_hash:
                return self._not_taken("receipt_prev_hash_mismatch", device_id)
            event = json.dumps(receipt["event"], separators=(",", ":"), ensure_ascii=False)
            if hashlib.sha256((receipt["prev_hash_hex"] + event).encode()).hexdigest() != receipt["hash_hex"]:
                return self._not_taken("receipt_hash_mismatch", device_id)
            kept.append(receipt)
            stored += 1
        said = {"stored": stored} | ({"last_receipt_id": kept[-1]["id"]} if kept and self.says_last else {})
        return 200, {}, json.dumps(said).encode()

    def _not_taken(self, word: str, device_id: str) -> tuple[int, dict[str, str], bytes]:
        kept = self.receipts[device_id]
        last = {"last_receipt_id": kept[-1]["id"] if kept else 0} if self.says_last else {}
        return 400, {}, json.dumps({"code": word, "message": word, **last}).encode()


def refusal(status: int, word: str) -> tuple[int, dict[str, str], bytes]:
    """An answer that is no success."""
    return status, {}, json.dumps({"code": word, "message": word}).encode()


class ControlPlaneOutbound:
    """The way out to one control plane, at any address; `cut` is why a request fails, where it does."""

    def __init__(self, plane: FakeControlPlane) -> None:
        self.plane = plane
        self.cut: Callable[[HttpRequest], UpstreamError | None] = lambda _request: None

    async def request(self, request: HttpRequest) -> HttpResponse:
        problem = self.cut(request)
        if problem is not None:
            raise problem
        parts = urlsplit(request.url)
        base, target = f"{parts.scheme}://{parts.netloc}", request.url.removeprefix(f"{parts.scheme}://{parts.netloc}")
        status, headers, body = self.plane.handle(
            request.method, target, dict(request.headers), request.body or b"", base
        )
        if len(body) > request.max_body_bytes:
            raise UpstreamError("the upstream's answer is too large")
        return HttpResponse(status, headers, body)


class ControlPlaneServer:
    """A control plane over HTTP on loopback, for a daemon in a process of its own; use it with `with`."""

    def __init__(self, plane: FakeControlPlane) -> None:
        self.plane = plane

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                self.answer(b"")

            def do_POST(self) -> None:
                self.answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

            def answer(self, body: bytes) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                base = f"http://{self.headers['Host']}"
                status, fields, data = plane.handle(self.command, self.path, headers, body, base)
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **fields}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.address}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
