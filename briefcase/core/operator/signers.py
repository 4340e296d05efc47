"""Signers: pairing a device, what it sees, and its yes or no, each verified here. The rules: `core.signers`.

A ruling reads as five steps: the signature over exactly this text, its nonce once, the call as it stands now, the
binding that the signer computed from what it showed, and then `Approvers.decide`, which every yes goes through. The
relay hands in what it carried by the same function (`SignerDesk.rule`), as `is_relayed`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from typing import Final, Literal

import msgspec

from briefcase.core.approvals.lifecycle import status_at
from briefcase.core.characters.marks import visible_text
from briefcase.core.jose.base64url import JoseError, decode_base64url, encode_base64url
from briefcase.core.operator.administration import Administration
from briefcase.core.operator.approvals import DECIDING_ROLES, SHOWN_DIGEST, Approvers, Means, Ruling
from briefcase.core.operator.binding import binding_hex_of
from briefcase.core.people import People, Person
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.core.receipts.events import signer_event
from briefcase.core.signers.keys import DeviceAlgorithm, SignerKeys
from briefcase.core.signers.pairing import PAIRING_TTL_US, Pairing, Pairings
from briefcase.core.signers.signers import (
    FIRST_OPERATOR,
    MAX_RELAYED_AGE_US,
    MAX_SKEW_US,
    Signer,
    Signers,
)
from briefcase.core.signers.texts import Form, Signed, list_text, ruling_text
from briefcase.model.effects import Effect, Entry, PutSetting, Refused
from briefcase.model.errors import CallerError, ConfigError, StoreError
from briefcase.model.ports import Entropy, Ledger
from briefcase.model.types import Approval, ApprovalStatus, JsonObject, Role, format_rfc3339

MAX_SIGNERS: Final = 1_000  # the revoked too: each stays, so that an id in a receipt can be looked up
MAX_SHOWN: Final = 50
ONLY_SETTING: Final = "signers_only"
MAX_NAME_CHARS: Final = 64


class Arrival(msgspec.Struct, frozen=True):
    """A device that completes a pairing: message 1, and its public key, base64url."""

    msg1_b64: str
    algorithm: DeviceAlgorithm
    public_key_b64: str
    name: str = ""


class SignedRuling(msgspec.Struct, frozen=True):
    """A signer's yes (`approved`) or no (`rejected`), as it was sent, whichever way it came.

    `binding_hex` is the signer's own digest of all it showed (`operator.binding`), or None in the plain form. `reason`
    is in the signer's words, which no signature covers: it is shown and decides nothing.
    """

    approval_id: str
    to: ApprovalStatus
    signed: Signed
    binding_hex: str | None = None
    reason: str = ""

    @property
    def form(self) -> Form:
        """Whether the signature covers what was shown, or the approval's id alone."""
        return "plain" if self.binding_hex is None else "binding"


class Waiting(msgspec.Struct, frozen=True):
    """What waits, as whoever decides reads it, oldest first, and how many more do."""

    documents: tuple[JsonObject, ...]
    left_off: int


class SignerParts(msgspec.Struct, frozen=True, kw_only=True):
    """What signers work on.

    `needs_bound` refuses a pairing whose key came beside the handshake (mode `ga`). `device_did` names this daemon.
    `signers_only` takes no token's yes, and no change that could widen anything without a signature.
    """

    ledger: Ledger
    signers: Signers
    people: People
    keys: SignerKeys
    approvers: Approvers
    entropy: Entropy
    device_did: str
    needs_bound: bool
    signers_only: bool = False


class SignerDesk:
    """Pairs and revokes signers, and takes what they sign.

    Args:
        administration: tells whether a receipt can be made durable, and keeps changes of one signer apart.
        parts: what signers work on.
    """

    def __init__(self, administration: Administration, parts: SignerParts) -> None:
        self._administration = administration
        self._parts = parts
        self.pairings = Pairings()

    @property
    def device_did(self) -> str:
        """The `did:key` that a binding names."""
        return self._parts.device_did

    def start_pairing(self, owner: str | None, by: str) -> Pairing:
        """Open a pairing for one device.

        Args:
            owner: whose yes the device will give; None for whoever opens it.
            by: the operator who opens it.

        Raises:
            CallerError: nobody who may decide has the name (`not_found`), or too many are open (`rate_limited`).
            StoreError: no receipt can be made durable now.
        """
        self._administration.check_open()
        whose = by if owner is None else owner
        self.owner_id(whose)
        now_us, entropy = self._parts.ledger.now_us(), self._parts.entropy
        pairing = Pairing(entropy.uuid(), entropy.token(), whose, by, now_us + PAIRING_TTL_US)
        self.pairings.add(pairing, now_us)
        return pairing

    async def complete_pairing(self, pairing_id: str, arrival: Arrival) -> str:
        """Let the device in that has the pairing's code.

        Raises:
            CallerError: no such pairing is open (`pairing_not_found`), or what was sent is not as it must be
                (`invalid_msg1_b64`, `invalid_noise_msg1`, `invalid_signer_pubkey`, `invalid_signer_pubkey_len`);
                the pairing stays open then. The mode wants the key in the handshake (`forbidden`).
            StoreError: it could not be made durable; no signer was added, and the pairing is used.

        Returns:
            Message 2, base64url: to whoever has the code it tells the signer's id, and this daemon's.
        """
        # 1. the pairing
        parts = self._parts
        now_us = parts.ledger.now_us()
        pairing = self.pairings.get(pairing_id, now_us)

        # 2. made with its code
        try:
            message = decode_base64url(arrival.msg1_b64)
        except JoseError as error:
            raise CallerError(f"`msg1_b64`: {error}", code="invalid_msg1_b64") from None
        try:
            opened = parts.keys.open_message(decode_base64url(pairing.code), message)
        except ValueError:
            raise _bad_message() from None

        # 3. the key, and whether the handshake held it
        try:
            key = decode_base64url(arrival.public_key_b64)
        except JoseError as error:
            raise CallerError(f"`signer_pubkey_b64`: {error}", code="invalid_signer_pubkey") from None
        parts.keys.check_key(arrival.algorithm, key)
        form = _form_of(opened.payload, key)
        if form == "plain" and parts.needs_bound:
            raise CallerError(
                "this daemon pairs a device only with its key's SHA-256 in the first message",
                code="forbidden",
                hint="pair with `briefcase signer pair`, or another device that binds its key",
            )
        self._check_room(arrival.public_key_b64)

        # 4. used, from here on
        self.pairings.use(pairing)
        signer = Signer(
            id=parts.entropy.uuid(),
            name=visible_text(arrival.name)[:MAX_NAME_CHARS] or arrival.algorithm,
            algorithm=arrival.algorithm,
            public_key_b64=arrival.public_key_b64,
            owner=pairing.owner,
            owner_id=self.owner_id(pairing.owner),
            by=pairing.by,
            paired_us=now_us,
            form=form,
        )
        await self.add(signer, pairing.by)
        answer: JsonObject = {"signer_id": signer.id, "ts": format_rfc3339(now_us), "device_did": parts.device_did}
        return encode_base64url(opened.answer(canonical_bytes(answer)))

    async def add(self, signer: Signer, by: str) -> None:
        """Let a signer in whose key was proven.

        Raises:
            StoreError: it could not be made durable; no signer was added.
        """
        self._administration.check_open()
        await self._parts.signers.pair(signer, signer_event("paired", signer.id, by, _about(signer)))

    async def revoke(self, signer_id: str, by: str) -> None:
        """End a signer: its signatures count no more, from now on; what was decided with it stays decided.

        Raises:
            CallerError: no signer has the id, or it was revoked before (`not_found`).
            StoreError: it could not be made durable; the signer is refused until the daemon restarts.
        """
        self._administration.check_open()
        async with self._administration.alone(f"signer:{signer_id}"):
            signer = next((one for one in self._parts.signers.all() if one.id == signer_id), None)
            if signer is None or signer.is_revoked:
                raise CallerError("no signer has this id", code="not_found", hint="see `briefcase signers list`")
            self._check_another(lambda one: one == signer)
            event = signer_event("revoked", signer.id, by, _about(signer))
            await self._parts.signers.revoke(signer, self._parts.ledger.now_us(), event)

    def check_may_go(self, person: Person) -> None:
        """Check that an operator has a device still once a person is revoked, and their devices with them.

        Raises:
            CallerError: none would, and only signers are taken (`conflict`).
        """
        self._check_another(lambda one: one.owner_id == person.id)

    async def waiting(self, signed: Signed, approval_id: str | None = None) -> Waiting:
        """What waits, shown whole to a signer, and receipted.

        Args:
            signed: over `texts.list_text`.
            approval_id: only this one.

        Raises:
            CallerError: as `Signers.check_signed`.
            StoreError: the use of the nonce could not be made durable.
        """
        parts, now_us = self._parts, self._parts.ledger.now_us()
        signer = parts.signers.check_signed(signed, list_text(signed), now_us)
        pending = [
            approval
            for approval in parts.ledger.approvals(ApprovalStatus.PENDING)
            if status_at(approval, now_us) is ApprovalStatus.PENDING
            and approval_id in {None, approval.id}
            and not approval.stands_in  # asked before the first pairing: a yes would serve no call
        ]
        documents = tuple(parts.approvers.shown(approval) for approval in pending[:MAX_SHOWN])
        event = signer_event("listed", signer.id, signer.owner, _about(signer))
        committed = await parts.ledger.commit(Entry(event, (parts.signers.noted(),)))
        if isinstance(committed, Refused):
            raise StoreError(f"the list was not recorded: {committed.reason}")
        return Waiting(documents, max(0, len(pending) - MAX_SHOWN))

    async def rule(self, ruling: SignedRuling, *, is_relayed: bool = False) -> Approval:
        """Carry out a signer's ruling, wherever it came from; it is durable when this returns.

        Args:
            ruling: as it was sent.
            is_relayed: it came over a control plane: only a signature over what was shown is taken, and it may have
                been on its way for `MAX_RELAYED_AGE_US`.

        Raises:
            CallerError: as `Signers.check_signed` and `Approvers.decide`; or the plain form was sent where it is not
                taken (`forbidden`), or the signer showed something else than what waits now (`conflict`).
            StoreError: as `Ledger.commit`.

        Returns:
            The approval as decided.
        """
        if is_relayed and ruling.binding_hex is None:
            raise CallerError(
                "expected a signature over what was shown (`approve_binding` or `deny_binding`)", code="forbidden"
            )
        signed = ruling.signed

        # 1. and 2. the signature over this text, and its nonce once
        text = ruling_text(ruling.to, ruling.approval_id, signed, ruling.binding_hex)
        max_age_us = MAX_RELAYED_AGE_US if is_relayed else MAX_SKEW_US
        signer = self._parts.signers.check_signed(signed, text, self._parts.ledger.now_us(), max_age_us=max_age_us)

        # 3. to 5.
        return await self.rule_as(signer, ruling)

    async def rule_as(self, signer: Signer, ruling: SignedRuling, *effects: Effect) -> Approval:
        """Carry out the ruling of a signer whose signature over it was verified, and whose nonce was taken.

        Args:
            signer: whose it is.
            ruling: what was signed.
            effects: what changes in the same transaction (a passkey's counter).

        Raises:
            CallerError, StoreError: as `rule`.
        """
        parts = self._parts
        # 3. the call as it stands now
        stored = parts.ledger.approval(ruling.approval_id)
        if stored is None:
            raise CallerError("no approval has this id", code="not_found")
        approval = msgspec.structs.replace(stored, status=status_at(stored, parts.ledger.now_us()))

        # 4. what the signer showed
        shown_digest_hex = None
        if ruling.binding_hex is not None:
            document = parts.approvers.shown(approval)
            expected = binding_hex_of(document, parts.device_did)
            if not hmac.compare_digest(expected.encode(), ruling.binding_hex.encode()):
                raise CallerError(
                    "the signature is for a call that is not as this one stands now",
                    code="conflict",
                    hint="look at it again, and sign again",
                )
            shown_digest_hex = str(document[SHOWN_DIGEST])

        # 5. decided, durably, with the nonce
        role = parts.signers.owner_role(signer)
        if role is None:
            raise CallerError("the signer's owner was revoked", code="unknown_signer")
        return await parts.approvers.decide(
            Ruling(
                approval_id=approval.id,
                to=ruling.to,
                by=signer.owner,
                role=role,
                means=Means.SIGNER,
                shown_digest_hex=shown_digest_hex,
                reason=ruling.reason,
                evidence={"signer_id": signer.id, "signed_form": ruling.form},
                effects=(parts.signers.noted(), *effects),
            )
        )

    async def authorize(self, signed: Signed, text: bytes, operation: str, body_digest_hex: str) -> Signer:
        """Take a signature over a change; it has its receipt when this returns.

        Args:
            signed: as it was sent.
            text: `texts.change_text` of the request.
            operation: method and path of the route, for the receipt.
            body_digest_hex: SHA-256 of the request's body, for the receipt.

        Raises:
            CallerError: as `Signers.check_signed`, or its owner is no operator (`forbidden`).
            StoreError: the receipt could not be made durable.

        Returns:
            The signer.
        """
        parts = self._parts
        signer = parts.signers.check_signed(signed, text, parts.ledger.now_us())
        if parts.signers.owner_role(signer) is not Role.OPERATOR:
            raise CallerError("only the signer of an operator may sign a change", code="forbidden")
        about = {**_about(signer), "operation": operation, "body_digest": body_digest_hex}
        event = signer_event("authorized", signer.id, signer.owner, about)
        committed = await parts.ledger.commit(Entry(event, (parts.signers.noted(),)))
        if isinstance(committed, Refused):
            raise StoreError(f"the signature was not recorded: {committed.reason}")
        return signer

    async def settle(self, end_grants: Callable[[], Awaitable[None]]) -> None:
        """Record at a start whether only signers are taken, where that is other than at the last one.

        Args:
            end_grants: ends the grants in force, which are tokens' yeses, before only signers are taken.

        Raises:
            ConfigError: only signers are to be taken, and no operator has one.
            StoreError: the receipt could not be made durable.
        """
        parts = self._parts
        if parts.signers_only and not self._may_authorize():
            raise ConfigError(
                "`[approvals] operator_token = false`: expected a paired signer of an operator, got none",
                hint="start without it, pair one with `briefcase signers pair`, then set it",
            )
        stored = b"on" if parts.signers_only else b"off"
        if (parts.ledger.setting(ONLY_SETTING) or b"off") != stored:
            if parts.signers_only:
                await end_grants()  # a crash after some of them comes here again
            effect = PutSetting(ONLY_SETTING, stored)
            event: JsonObject = {"kind": "signers_only_set", "is_on": parts.signers_only, "by": "configuration"}
            committed = await parts.ledger.commit(Entry(event, (effect,)))
            if isinstance(committed, Refused):
                raise StoreError(f"the change was not recorded: {committed.reason}")

    def _check_another(self, goes: Callable[[Signer], bool]) -> None:
        if self._parts.signers_only and self._may_authorize() and not self._may_authorize(goes):
            raise CallerError(
                "this is the last signer of an operator, and this daemon takes signers only",
                code="conflict",
                hint="pair another one first",
            )

    def _may_authorize(self, goes: Callable[[Signer], bool] = lambda _: False) -> bool:
        """Whether an operator has a device that can sign a change, beside those that go."""
        return any(
            not one.is_revoked
            and one.algorithm != "webauthn"
            and not goes(one)
            and self._parts.signers.owner_role(one) is Role.OPERATOR
            for one in self._parts.signers.all()
        )

    def owner_id(self, owner: str) -> str:
        """The id of a person who may decide; empty of the first operator.

        Raises:
            CallerError: nobody who may decide has the name (`not_found`).
        """
        if owner == FIRST_OPERATOR:
            return ""
        person = self._parts.people.by_name(owner)
        if person is None or person.role not in {role.value for role in DECIDING_ROLES}:
            raise CallerError(
                f"nobody who may decide is named `{owner}`", code="not_found", hint="see `briefcase operators list`"
            )
        return person.id

    def _check_room(self, public_key_b64: str) -> None:
        known = self._parts.signers.all()
        if len(known) >= MAX_SIGNERS:
            raise CallerError(f"{MAX_SIGNERS} signers are kept already, the revoked too", code="conflict")
        if any(one.is_revoked and one.public_key_b64 == public_key_b64 for one in known):
            raise CallerError("this key was revoked", code="conflict", hint="make a new key on the device")


def _about(signer: Signer) -> dict[str, str]:
    """What a receipt says of a signer; the key by its SHA-256."""
    return {
        "signer": signer.name,
        "algorithm": signer.algorithm,
        "key_digest": hashlib.sha256(signer.public_key_b64.encode()).hexdigest(),
        "owner": signer.owner,
        "pairing_form": signer.form,
    }


def _form_of(payload: bytes, key: bytes) -> Literal["bound", "plain"]:
    """Whether the first message held the key's SHA-256.

    Raises:
        CallerError: it held that of another key: somebody put theirs beside it (`invalid_noise_msg1`).
    """
    digest = hashlib.sha256(key).digest()
    if len(payload) != len(digest):
        return "plain"
    if not hmac.compare_digest(payload, digest):
        raise _bad_message()
    return "bound"


def _bad_message() -> CallerError:
    return CallerError(
        "message 1 was not made with this pairing's code, or not for this key",
        code="invalid_noise_msg1",
        hint="the pairing stays open: try again with its code",
    )
