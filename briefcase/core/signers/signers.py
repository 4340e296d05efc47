"""The paired signers, and which of their nonces were used, kept in the ledger.

A signer is changed in the transaction of its receipt, so a row that somebody wrote by hand is found (`receipts verify
--state`). Revoking holds at once, before the disk has it; a new signer counts only after. A nonce is noted once a
signature over it was good, never before: a stranger who saw one cannot use it up. It is kept for ten minutes in the
transaction of what was signed, so a restart forgets none that a signature could still be young enough for.

INVARIANT (once paired): from the first pairing on `was_paired` is true, whatever is revoked later: what needs a signer
never falls back to an operator's token.
"""

from __future__ import annotations

import hashlib
from typing import Final, Literal

import msgspec

from briefcase.core.jose.base64url import JoseError, decode_base64url
from briefcase.core.people import People
from briefcase.core.signers.keys import Algorithm, SignerKeys
from briefcase.core.signers.texts import Signed, check_nonce, parse_ts
from briefcase.model.effects import Effect, Entry, PutSetting, Refused
from briefcase.model.errors import CallerError, StoreError
from briefcase.model.ports import Ledger
from briefcase.model.types import US_PER_S, JsonObject, Role

SETTING: Final = "signers"
NONCES_SETTING: Final = "signer_nonces"
MAX_SKEW_US: Final = 120 * US_PER_S
MAX_RELAYED_AGE_US: Final = 300 * US_PER_S  # of what a control plane carried; see `Signers.check_signed`
NONCE_TTL_US: Final = 600 * US_PER_S
MAX_USES: Final = 1_000  # of one signer within `NONCE_TTL_US`
FIRST_OPERATOR: Final = Role.OPERATOR.value


class Signer(msgspec.Struct, frozen=True):
    """A paired device or a passkey.

    `public_key_b64` is base64url: raw of Ed25519, SEC1 of P-256, COSE of a passkey. `owner` is the person whose yes it
    gives: a name, with the person's id in `owner_id`, or the first operator without one. `by` opened its pairing.
    `form` is `bound` where the handshake held the key, `plain` where the key came beside it. A passkey signs for one
    `rp_id` at one `origin`, counts in `sign_count`, and is named by `credential_id_b64`.
    """

    id: str
    name: str
    algorithm: Algorithm
    public_key_b64: str
    owner: str
    owner_id: str
    by: str
    paired_us: int
    form: Literal["bound", "plain"]
    revoked_us: int | None = None
    rp_id: str = ""
    origin: str = ""
    credential_id_b64: str = ""
    sign_count: int = 0

    @property
    def is_revoked(self) -> bool:
        """Whether its signatures count no more."""
        return self.revoked_us is not None


class Nonce(msgspec.Struct, frozen=True, array_like=True):
    """A nonce that was used: by which signer, the SHA-256 of it, and when."""

    signer_id: str
    digest_hex: str
    used_us: int


class Signers:
    """The signers. All methods are called from one event loop.

    Args:
        ledger: where they are kept, each change with its receipt.
        people: whose signers they are: a person who was revoked takes theirs with them.
        keys: the cryptography.
    """

    def __init__(self, ledger: Ledger, people: People, keys: SignerKeys) -> None:
        self._ledger = ledger
        self._people = people
        self._keys = keys
        stored, nonces = ledger.setting(SETTING), ledger.setting(NONCES_SETTING)
        self._signers = msgspec.json.decode(stored, type=tuple[Signer, ...]) if stored else ()
        self._asked = self._signers  # what the last commit asked for stores; commits take effect in their order
        self._nonces = msgspec.json.decode(nonces, type=tuple[Nonce, ...]) if nonces else ()
        self.was_paired = bool(self._signers)

    def all(self) -> tuple[Signer, ...]:
        """Each that was ever paired, the revoked too, oldest first."""
        return self._signers

    def owner_role(self, signer: Signer) -> Role | None:
        """What the signer's owner may do here; None where the owner was revoked."""
        if not signer.owner_id:
            return Role.OPERATOR
        owner = self._people.by_name(signer.owner)
        return Role(owner.role) if owner is not None and owner.id == signer.owner_id else None

    def by_id(self, signer_id: str) -> Signer:
        """A signer whose signatures count.

        Raises:
            CallerError: there is none: never paired, revoked, or its owner was (`unknown_signer`).
        """
        signer = next((one for one in self._signers if one.id == signer_id), None)
        if signer is None or signer.is_revoked or self.owner_role(signer) is None:
            raise CallerError(
                "no signer has this id", code="unknown_signer", hint="pair the device: `briefcase signers pair`"
            )
        return signer

    def check_signed(self, signed: Signed, text: bytes, now_us: int, *, max_age_us: int = MAX_SKEW_US) -> Signer:
        """Check a device's signature over a text, and take its nonce.

        Args:
            signed: as it was sent.
            text: what must have been signed (`texts`), with `signed`'s own id, time and nonce.
            now_us: the ledger's time.
            max_age_us: how long ago it may have been signed. With `MAX_SKEW_US` it stays below `NONCE_TTL_US`: a
                nonce is used at the earliest `MAX_SKEW_US` before its time.

        Raises:
            CallerError: the signer is not known (`unknown_signer`), the time is none or too far from ours
                (`invalid_ts`, `timestamp_skew`), the signature is none or another's (`invalid_sig`,
                `invalid_signature`), or the nonce was used (`replay`).
        """
        # 1. who
        signer = self.by_id(signed.signer_id)
        if signer.algorithm == "webauthn":
            raise CallerError("a passkey signs at the page", code="invalid_signature", hint="run `briefcase ui`")

        # 2. when
        check_nonce(signed.nonce)
        if not -MAX_SKEW_US <= now_us - parse_ts(signed.ts) <= max_age_us:
            raise CallerError(
                f"expected `ts_rfc3339` from {max_age_us // US_PER_S} s before the daemon's time to"
                f" {MAX_SKEW_US // US_PER_S} s after it",
                code="timestamp_skew",
                hint="check the device's clock",
            )

        # 3. the signature
        try:
            signature = decode_base64url(signed.sig_b64)
        except JoseError as error:
            raise CallerError(f"`sig_b64`: {error}", code="invalid_sig") from None
        if not self._keys.is_signature(signer.algorithm, decode_base64url(signer.public_key_b64), text, signature):
            raise CallerError("the signature is not this signer's over this request", code="invalid_signature")

        # 4. once
        self.take_nonce(signer, signed.nonce, now_us)
        return signer

    def take_nonce(self, signer: Signer, nonce: str, now_us: int) -> None:
        """Note that a good signature used a nonce; `noted` makes it durable.

        Raises:
            CallerError: it was used before (`replay`), or the signer used too many (`rate_limited`).
        """
        digest_hex = hashlib.sha256(nonce.encode()).hexdigest()
        kept = tuple(one for one in self._nonces if one.used_us + NONCE_TTL_US > now_us)
        own = [one.digest_hex for one in kept if one.signer_id == signer.id]
        if digest_hex in own:
            raise CallerError("this nonce was used before", code="replay", hint="sign again, with a new nonce")
        if len(own) >= MAX_USES:
            raise CallerError("too many requests of this signer", code="rate_limited", hint="wait some minutes")
        self._nonces = (*kept, Nonce(signer.id, digest_hex, now_us))

    def noted(self) -> Effect:
        """What keeps the used nonces, for the transaction of what was signed."""
        return PutSetting(NONCES_SETTING, msgspec.json.encode(self._nonces))

    def counted(self, signer: Signer, sign_count: int) -> Effect:
        """Note how often a passkey counted by now, for the transaction of what it signed."""
        known = next(one for one in self._asked if one.id == signer.id)
        changed = msgspec.structs.replace(known, sign_count=sign_count)
        self._asked = _with(self._asked, changed)
        self._signers = _with(self._signers, changed)
        return PutSetting(SETTING, msgspec.json.encode(self._asked))

    async def pair(self, signer: Signer, event: JsonObject) -> None:
        """Let a signer in, once that is durable.

        Raises:
            StoreError: it could not be made durable; nothing changed.
        """
        try:
            await self._store((*self._asked, signer), event)
        except BaseException:
            self._asked = tuple(one for one in self._asked if one.id != signer.id)
            raise
        self._signers, self.was_paired = (*self._signers, signer), True

    async def revoke(self, signer: Signer, now_us: int, event: JsonObject) -> None:
        """Let a signer's signatures count no more, at once. Durable when this returns.

        Raises:
            StoreError: it could not be made durable. The signer is refused until the daemon restarts: revoke again.
        """
        ended = msgspec.structs.replace(signer, revoked_us=now_us)
        self._signers = _with(self._signers, ended)
        try:
            await self._store(_with(self._asked, ended), event)
        except BaseException:
            self._asked = _with(self._asked, signer)
            raise

    async def _store(self, signers: tuple[Signer, ...], event: JsonObject) -> None:
        self._asked = signers
        committed = await self._ledger.commit(Entry(event, (PutSetting(SETTING, msgspec.json.encode(signers)),)))
        if isinstance(committed, Refused):
            raise StoreError(f"the change was not stored: {committed.reason}")


def _with(signers: tuple[Signer, ...], changed: Signer) -> tuple[Signer, ...]:
    return tuple(changed if one.id == changed.id else one for one in signers)
