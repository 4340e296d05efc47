"""A log of a few leaves, and witnesses of it: Ed25519 and ML-DSA-44, with the protocol's own answers."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from briefcase.adapters.vault.note_signatures import verify_note_signature
from briefcase.core.jose.did import encode_did_key
from briefcase.core.receipts.cosignatures import cosign
from briefcase.core.receipts.note_keys import COSIGNER_ED25519, COSIGNER_MLDSA44, LOG_ED25519, NoteKey
from briefcase.core.receipts.notes import Checkpoint, SignatureLine, encode_note
from briefcase.core.receipts.tree import prove_consistency, tree_root
from briefcase.core.receipts.witnessing import (
    SIZE_TYPE,
    AddCheckpoint,
    Refusal,
    Seen,
    check_signed,
    judge,
    parse_request,
    read_origin,
)
from briefcase.model.errors import CallerError

NOW_S = 1_800_000_000


def leaf(number: int, history: str = "") -> bytes:
    """The hash of a receipt that never was."""
    return hashlib.sha256(f"{history}{number}".encode()).digest()


class Log:
    """A log that signs checkpoints of its leaves; `history` makes another log's leaves under the same key."""

    def __init__(self, seed: int = 1, history: str = "") -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        public_key = self._key.public_key().public_bytes_raw()
        self.origin = encode_did_key(public_key)
        self.key = NoteKey(self.origin, LOG_ED25519, public_key)
        self.history = history

    def leaves(self, size: int) -> list[bytes]:
        """The first ones."""
        return [leaf(number, self.history) for number in range(size)]

    def checkpoint(self, size: int) -> Checkpoint:
        """The state of so many leaves."""
        return Checkpoint(self.origin, size, tree_root(self.leaves(size)))

    def note(self, size: int) -> str:
        """The same, signed."""
        return encode_note(self.checkpoint(size), self.key.public_key, self._key.sign)

    def request(self, old_size: int, size: int) -> AddCheckpoint:
        """What an honest log sends."""
        proof = prove_consistency(self.leaves(size), old_size) if 0 < old_size < size else []
        return AddCheckpoint(old_size, tuple(proof), self.note(size))


class CosignerKey:
    """A witness's private key, of either type."""

    def __init__(self, name: str = "witness.example/w1", *, is_mldsa: bool = False, seed: int = 7) -> None:
        if is_mldsa:
            key = MLDSA44PrivateKey.from_seed_bytes(bytes([seed]) * 32)
            self.public = NoteKey(name, COSIGNER_MLDSA44, key.public_key().public_bytes_raw())
        else:
            ed25519 = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
            self.public = NoteKey(name, COSIGNER_ED25519, ed25519.public_key().public_bytes_raw())
        self.sign = key.sign if is_mldsa else ed25519.sign

    def cosign(self, checkpoint: Checkpoint, time_s: int = NOW_S) -> SignatureLine:
        """A cosignature."""
        return cosign(self.public, checkpoint, time_s, self.sign)


@dataclass
class FakeWitness:
    """A witness of the logs whose keys it was given."""

    cosigners: list[CosignerKey] = field(default_factory=lambda: [CosignerKey()])
    logs: dict[str, NoteKey] = field(default_factory=dict)
    seen: dict[str, Seen] = field(default_factory=dict)
    now_s: int = NOW_S
    requests: list[AddCheckpoint] = field(default_factory=list)

    def know(self, key: NoteKey) -> None:
        """Take a log."""
        self.logs[key.name] = key

    def answer(self, body: bytes) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        try:
            request = parse_request(body)
            self.requests.append(request)
            origin = read_origin(request)
            found = check_signed(request, [self.logs[origin]] if origin in self.logs else [], verify_note_signature)
        except CallerError as error:
            return HTTPStatus.BAD_REQUEST, "text/plain", error.message.encode()
        seen = self.seen.get(origin, Seen())
        refusal = found if isinstance(found, Refusal) else judge(request, found, seen)
        if isinstance(refusal, Refusal):
            if refusal.size is not None:
                return refusal.status, SIZE_TYPE, f"{refusal.size}\n".encode()
            return refusal.status, "text/plain", refusal.problem.encode()
        assert isinstance(found, Checkpoint)
        self.seen[origin] = Seen(found.size, found.root)
        lines = "".join(one.cosign(found, self.now_s).text for one in self.cosigners)
        return HTTPStatus.OK, "text/plain; charset=utf-8", lines.encode()


class WitnessServer:
    """A witness on loopback; while `is_down` it answers 503."""

    def __init__(self, witness: FakeWitness) -> None:
        self.witness = witness
        self.is_down = False
        self.asked = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                server.asked += 1
                status, content_type, answer = int(HTTPStatus.SERVICE_UNAVAILABLE), "text/plain", b""
                if not server.is_down:
                    status, content_type, answer = server.witness.answer(body)
                self.send_response(status)
                self.send_header("content-type", content_type)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.address}/submit"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
