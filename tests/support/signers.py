"""A device that signs, and a desk that takes what it signs."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from briefcase.adapters.signers.device_keys import DeviceKeys
from briefcase.adapters.signers.noise import Initiator
from briefcase.adapters.system import SystemEntropy
from briefcase.core.jose.base64url import decode_base64url, encode_base64url
from briefcase.core.operator.administration import Administration
from briefcase.core.operator.binding import binding_hex_of
from briefcase.core.operator.signers import Arrival, SignedRuling, SignerDesk, SignerParts
from briefcase.core.people import People, Person
from briefcase.core.signers.signers import Signers
from briefcase.core.signers.texts import Signed, list_text, ruling_text
from briefcase.model.types import Approval, ApprovalKind, ApprovalStatus, ShownCall, ShownTool, format_rfc3339
from support.clock import FakeClock
from support.grants import approvers_of
from support.ledger import MemoryLedger
from support.principals import AGENT

DID = "did:key:z6MkDaemon"
YES, NO = ApprovalStatus.APPROVED, ApprovalStatus.REJECTED


class Device:
    """An Ed25519 device; `signer_id` is there once it is paired."""

    def __init__(self, seed: int = 1) -> None:
        self.key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        self.signer_id = ""

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    def arrive(self, code: str, *, payload: bytes | None = None, name: str = "phone") -> tuple[Initiator, Arrival]:
        """The first message, which holds the key's digest unless another payload is given."""
        side = Initiator(decode_base64url(code))
        message = side.write_message(hashlib.sha256(self.public).digest() if payload is None else payload)
        return side, Arrival(encode_base64url(message), "ed25519", encode_base64url(self.public), name)

    def signed(self, now_us: int, text_of: Any, nonce: str | None = None) -> Signed:
        """A fresh signature over what `text_of` makes of it."""
        empty = Signed(self.signer_id, format_rfc3339(now_us), nonce or str(uuid.uuid4()))
        signature = encode_base64url(self.key.sign(text_of(empty)))
        return Signed(empty.signer_id, empty.ts, empty.nonce, signature)

    def listing(self, now_us: int, **kwargs: Any) -> Signed:
        return self.signed(now_us, list_text, **kwargs)

    def ruling(
        self, approval_id: str, now_us: int, to: ApprovalStatus = YES, binding: str | None = None, **kwargs: Any
    ) -> SignedRuling:
        signed = self.signed(now_us, lambda one: ruling_text(to, approval_id, one, binding), **kwargs)
        return SignedRuling(approval_id, to, signed, binding)


class SigningDesk:
    """Signers over a ledger in memory; `restart` reads them again."""

    def __init__(self, *, needs_bound: bool = False, did: str = DID, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self.did = did
        self.ledger = MemoryLedger(self.clock)
        self.needs_bound = needs_bound
        self.restart()

    def restart(self) -> None:
        self.people = People(self.ledger)
        self.signers = Signers(self.ledger, self.people, DeviceKeys())
        self.approvers = approvers_of(self.ledger, has_signer=lambda: self.signers.was_paired)
        parts = SignerParts(
            ledger=self.ledger,
            signers=self.signers,
            people=self.people,
            keys=DeviceKeys(),
            approvers=self.approvers,
            entropy=SystemEntropy(),
            device_did=self.did,
            needs_bound=self.needs_bound,
        )
        self.desk = SignerDesk(Administration(self.ledger), parts)

    @property
    def now_us(self) -> int:
        return self.ledger.now_us()

    async def let_in(self, name: str, role: Any = "approver") -> None:
        await self.people.add(Person(f"id-{name}", name, role, "0" * 64, "operator", 0), {"kind": "operator_added"})

    async def pair(self, device: Device, *, owner: str | None = None, **kwargs: Any) -> Device:
        pairing = self.desk.start_pairing(owner, "operator")
        side, arrival = device.arrive(pairing.code, **kwargs)
        answer = side.read_message(decode_base64url(await self.desk.complete_pairing(pairing.id, arrival)))
        device.signer_id = json.loads(answer)["signer_id"]
        return device

    def ask(self, approval_id: str = "a1", *, args_text: str = '{"text":"hi"}', **changes: Any) -> Approval:
        """An approval that waits for a signer, with its whole call."""
        fields: dict[str, Any] = {
            "id": approval_id,
            "status": ApprovalStatus.PENDING,
            "kind": ApprovalKind.MOBILE_SIGNER,
            "created_us": self.now_us,
            "expires_us": self.now_us + 900_000_000,
            "principal": AGENT.name,
            "tool_id": "note_add",
            "tool_digest_hex": "0" * 64,
            "args_digest_hex": "1" * 64,
            "binding_hex": "2" * 64,
            "reason": "signer_by_policy",
            "summary": f"note_add {args_text}",
        }
        approval = Approval(**{**fields, **changes})
        self.ledger.stored_approvals[approval.id] = approval
        self.ledger.shown[approval.id] = ShownCall(args_text, ShownTool("note_add", "Keeps a note", "write", 0, "here"))
        return approval

    def binding(self, approval_id: str = "a1") -> str:
        return binding_hex_of(self.approvers.shown(self.ledger.stored_approvals[approval_id]), self.did)
