"""Passkeys: registered at the page by who is logged in there, and their yes or no to the call that the page shows.

A passkey is a signer whose owner is whoever registers it. An operator registers their own; an approver, and anybody
where only signers are taken, does with the code of a pairing that an operator opened for them, so that a token alone
makes nobody a signer, not even while a pairing is open for the device of who it belongs to. What is signed is
`signers.ceremonies`; the ruling then goes the way of every signer's (`SignerDesk.rule_as`).
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from briefcase.core.approvals.lifecycle import status_at
from briefcase.core.characters.marks import visible_text
from briefcase.core.jose.base64url import encode_base64url
from briefcase.core.operator.approvals import SHOWN_DIGEST
from briefcase.core.operator.binding import binding_hex_of
from briefcase.core.operator.signers import MAX_NAME_CHARS, SignedRuling, SignerDesk, SignerParts
from briefcase.core.signers.ceremonies import (
    CEREMONY_TTL_US,
    RP_ID,
    Assertion,
    Ceremonies,
    Registration,
    check_origin,
)
from briefcase.core.signers.keys import Passkeys
from briefcase.core.signers.signers import Signer
from briefcase.core.signers.texts import Signed
from briefcase.model.errors import CallerError
from briefcase.model.types import Approval, ApprovalStatus, JsonObject, Role, format_rfc3339

ALGORITHM: Final = "webauthn"


class Asked(msgspec.Struct, frozen=True):
    """What the page shows and wants decided: `shown_digest_hex` is of the document it shows, `origin` its own."""

    approval_id: str
    to: ApprovalStatus
    shown_digest_hex: str
    origin: str
    signer_id: str | None = None


class PasskeyDesk:
    """Registers passkeys, and takes what they sign.

    Args:
        desk: takes the ruling, once its signature is verified.
        parts: what signers work on.
        passkeys: verifies what a browser answers.
    """

    def __init__(self, desk: SignerDesk, parts: SignerParts, passkeys: Passkeys) -> None:
        self._desk = desk
        self._parts = parts
        self._passkeys = passkeys
        self._registrations: Ceremonies[Registration] = Ceremonies()
        self._assertions: Ceremonies[Assertion] = Ceremonies()

    def begin_registration(self, name: str, origin: str, owner: str, role: Role, code: str = "") -> Registration:
        """Ask for a new passkey.

        Args:
            name: what it is called in lists and receipts.
            origin: the page's own, `http://localhost:PORT`.
            owner: who is logged in there.
            role: theirs.
            code: of the pairing that was opened for them, where they need one.

        Raises:
            CallerError: the page is at another origin (`bad_request`), or they need a pairing and none of theirs with
                this code is open (`pairing_not_found`).
        """
        check_origin(origin)
        now_us, entropy = self._parts.ledger.now_us(), self._parts.entropy
        pairing_id = self._desk.pairings.of_code(owner, code, now_us).id if self._needs_pairing(role) else ""
        registration = Registration(
            entropy.uuid(),
            hashlib.sha256(entropy.token().encode()).digest(),
            visible_text(name)[:MAX_NAME_CHARS] or "passkey",
            owner,
            origin,
            now_us + CEREMONY_TTL_US,
            pairing_id,
        )
        self._registrations.add(registration, now_us)
        return registration

    async def register(self, registration_id: str, credential: JsonObject, owner: str) -> Signer:
        """Let the passkey in that answered.

        Raises:
            CallerError: nothing was asked for under this id (`replay`), the answer is not the browser's to what was
                asked (`invalid_signature`), the passkey is known already (`conflict`), or the pairing it needs is used
                or over (`pairing_not_found`).
            StoreError: it could not be made durable; no signer was added.
        """
        parts, now_us = self._parts, self._parts.ledger.now_us()
        # 1. what was asked, once
        registration = self._registrations.use(registration_id, owner, now_us)

        # 2. the browser's answer
        made = self._passkeys.check_registration(credential, registration.challenge, RP_ID, registration.origin)
        credential_id_b64 = encode_base64url(made.credential_id)
        if any(one.credential_id_b64 == credential_id_b64 for one in parts.signers.all()):
            raise CallerError("this passkey is known already", code="conflict", hint="make a new one")

        # 3. it uses up the pairing whose code began it
        by = owner
        if registration.pairing_id:
            pairing = self._desk.pairings.get(registration.pairing_id, now_us)
            self._desk.pairings.use(pairing)
            by = pairing.by

        # 4. durable
        signer = Signer(
            id=parts.entropy.uuid(),
            name=registration.name,
            algorithm=ALGORITHM,
            public_key_b64=encode_base64url(made.public_key),
            owner=owner,
            owner_id=self._desk.owner_id(owner),
            by=by,
            paired_us=now_us,
            form="bound",
            rp_id=RP_ID,
            origin=registration.origin,
            credential_id_b64=credential_id_b64,
            sign_count=made.sign_count,
        )
        await self._desk.add(signer, by)
        return signer

    def begin_ruling(self, asked: Asked, owner: str) -> Assertion:
        """Ask for a passkey's signature over one yes or no to what the page shows.

        Raises:
            CallerError: no such approval (`not_found`), it is not as the page shows it (`conflict`), or who is logged
                in has no passkey at this origin (`unknown_signer`).
        """
        parts, now_us = self._parts, self._parts.ledger.now_us()
        # 1. whose passkey
        signer = self._passkey_of(owner, asked.origin, asked.signer_id)

        # 2. the call, as the page shows it
        stored = parts.ledger.approval(asked.approval_id)
        if stored is None:
            raise CallerError("no approval has this id", code="not_found")
        approval = msgspec.structs.replace(stored, status=status_at(stored, now_us))
        document = parts.approvers.shown(approval)
        if document[SHOWN_DIGEST] != asked.shown_digest_hex:
            raise CallerError("the call is not as the page shows it", code="conflict", hint="look at it again")

        # 3. the text, with our time and nonce
        assertion = Assertion(
            parts.entropy.uuid(),
            approval.id,
            asked.to,
            Signed(signer.id, format_rfc3339(now_us), parts.entropy.uuid()),
            binding_hex_of(document, parts.device_did),
            owner,
            now_us + CEREMONY_TTL_US,
        )
        self._assertions.add(assertion, now_us)
        return assertion

    async def rule(
        self, assertion_id: str, credential: JsonObject, owner: str, reason: str
    ) -> tuple[Approval, ApprovalStatus]:
        """Carry out the ruling that a passkey signed; durable when this returns.

        Raises:
            CallerError: nothing was asked for under this id (`replay`), the passkey is not known any more
                (`unknown_signer`), its answer is none to what was asked (`invalid_signature`), or as `SignerDesk.rule`.
            StoreError: as `Ledger.commit`.

        Returns:
            The approval as decided, and what was signed: a yes or a no.
        """
        parts, now_us = self._parts, self._parts.ledger.now_us()
        # 1. what was asked, once; and whose passkey it still is
        assertion = self._assertions.use(assertion_id, owner, now_us)
        signer = parts.signers.by_id(assertion.signed.signer_id)

        # 2. its signature over this very text, and a counter that went on
        count = self._passkeys.check_assertion(credential, assertion.challenge, signer)

        # 3. once, and decided with its nonce and its counter
        parts.signers.take_nonce(signer, assertion.signed.nonce, now_us)
        ruling = SignedRuling(assertion.approval_id, assertion.to, assertion.signed, assertion.binding_hex, reason)
        approval = await self._desk.rule_as(signer, ruling, parts.signers.counted(signer, count))
        return approval, assertion.to

    def credential_of(self, signer_id: str) -> str:
        """The credential's id, base64url, for the browser's list of those it may use."""
        return self._parts.signers.by_id(signer_id).credential_id_b64

    def _needs_pairing(self, role: Role) -> bool:
        """Whether a token alone registers nothing: an approver's, or where only signers are taken."""
        return role is not Role.OPERATOR or self._parts.signers_only

    def _passkey_of(self, owner: str, origin: str, signer_id: str | None) -> Signer:
        """The newest passkey of a person at an origin, or the one that is named."""
        for signer in reversed(self._parts.signers.all()):
            is_theirs = signer.owner == owner and signer.origin == origin and not signer.is_revoked
            if signer.algorithm == ALGORITHM and is_theirs and signer_id in {None, signer.id}:
                return self._parts.signers.by_id(signer.id)
        raise CallerError(
            f"`{owner}` has no passkey at this page", code="unknown_signer", hint="register one on the page first"
        )
