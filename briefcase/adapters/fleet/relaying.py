"""The relay at a device: tells its control plane what waits, sealed, and takes signers' answers from it.

One round, while something waits:

 1. report what waits, what ended, and what became of answers    `RelayReport`; all of it may be sent again
 2. let the control plane hold a request for answers; meanwhile look at what waits, and report what is new
 3. take each answer: the signature of a pinned signer over the binding, by the function of the direct way
                                                                  `SignerDesk.rule`
 4. say what became of it, with the next report

Nothing is asked while nothing waits, or no signer is paired that could open it. Nothing is kept on disk: after a start,
the first report says what the control plane has, and all that waits is put again. No failure in here stops a call.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from http import HTTPStatus
from itertools import islice
from typing import Final, TypeAlias

import msgspec

from briefcase.adapters.fleet.client import ControlPlaneClient, Device, Refusal, refusal_words
from briefcase.adapters.fleet.custody import DeviceTokens
from briefcase.adapters.fleet.sealing import seal
from briefcase.adapters.telemetry.logger import get_logger
from briefcase.core.approvals.lifecycle import status_at
from briefcase.core.fleet.enrolment import Enrolment
from briefcase.core.jose.base64url import decode_base64url, encode_base64url
from briefcase.core.operator.approvals import DECIDING_ROLES, Approvers
from briefcase.core.operator.relay import write_carried
from briefcase.core.operator.signers import SignedRuling, SignerDesk
from briefcase.core.signers.signers import Signer, Signers
from briefcase.core.signers.texts import Signed
from briefcase.core.wire.relay import (
    MAX_HEAD_CHARS,
    MAX_MESSAGE_CHARS,
    MAX_SEALED_BYTES,
    MAX_WAITING,
    TAKEN,
    AnswerSaid,
    EndStatus,
    RelayedAnswer,
    RelayedEnd,
    RelayedHead,
    RelayedPut,
    RelayReport,
)
from briefcase.model.errors import BriefcaseError, CallerError
from briefcase.model.ports import Ledger
from briefcase.model.types import Approval, ApprovalStatus, format_rfc3339

LOOK_S: Final = 0.25
IDLE_S: Final = 0.5
WAIT_MS: Final = 50_000
MAX_PAUSE_S: Final = 60.0
UNSERVED_S: Final = 600.0
PUTS_A_REPORT: Final = 8  # the largest ones fit a request
MAX_REMEMBERED: Final = 1_000

_NOT_SERVED: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})
_TO: Final = {"approve_binding": ApprovalStatus.APPROVED, "deny_binding": ApprovalStatus.REJECTED}
_ENDS: Final[Mapping[str, EndStatus]] = {
    "approved": "approved",
    "rejected": "rejected",
    "expired": "expired",
    "consumed": "consumed",
}
_log: Final = get_logger("briefcase.fleet")

Mark: TypeAlias = tuple[Approval, tuple[Signer, ...]]
"""What a put was made of: another one is put anew."""


class RelayParts(msgspec.Struct, frozen=True, kw_only=True):
    """What the relay works with.

    `enrolment` gives the present one, or None. `sign` signs as the device, and may block. `tell` wakes who waits for an
    approval that was decided. `says_heads` has tool, agent, reason and kind travel in clear.
    """

    enrolment: Callable[[], Enrolment | None]
    client: ControlPlaneClient
    tokens: DeviceTokens
    ledger: Ledger
    approvers: Approvers
    desk: SignerDesk
    signers: Signers
    sign: Callable[[bytes], bytes]
    tell: Callable[[Approval, ApprovalStatus], None]
    says_heads: bool


class NotRelayedError(Exception):
    """The control plane did not take a report, or gave no answers: what it said."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal_words(refusal))
        self.refusal = refusal


class ApprovalRelay:
    """Relays one device's approvals. One event loop.

    Args:
        parts: what it works with.
    """

    def __init__(self, parts: RelayParts) -> None:
        self._parts = parts
        self._failures = 0
        self._forget("")

    async def run(self) -> None:
        """Relay until cancelled."""
        while True:
            pause_s = IDLE_S
            try:
                enrolment = self._parts.enrolment()
                if enrolment is not None:
                    await self._round(enrolment)
                self._failures = 0
            except NotRelayedError as error:
                pause_s = UNSERVED_S if error.refusal.status in _NOT_SERVED else self._backed_off()
                _log.warning("the control plane relays no approvals", problem=str(error))
            except BriefcaseError as error:
                pause_s = self._backed_off()
                _log.warning("approvals could not be relayed", problem=error.message, detail=error.detail)
            except Exception as error:  # noqa: BLE001 - a relay that stops leaves every approval unseen
                pause_s = self._backed_off()
                _log.error("the relay failed inside", detail=repr(error), exc_info=error)
            await asyncio.sleep(pause_s)

    def _backed_off(self) -> float:
        self._failures += 1
        return min(MAX_PAUSE_S, IDLE_S * 2.0**self._failures)

    def _forget(self, device_id: str) -> None:
        """Begin anew: another enrolment, or a start."""
        self._device_id = device_id
        self._marks: dict[str, Mark] = {}
        self._kept: frozenset[str] | None = None  # what the control plane has; None where nobody has asked
        self._said: dict[str, AnswerSaid] = {}
        self._unsaid: list[AnswerSaid] = []

    # --- one round ----------------------------------------------------------------------------------------------------

    async def _round(self, enrolment: Enrolment) -> None:
        if enrolment.device_id != self._device_id:
            self._forget(enrolment.device_id)
        if not self._marks and not self._kept and not self._waiting():
            return
        device = Device(enrolment.base_url, enrolment.device_id, await self._parts.tokens.current() or "")
        # 1. what waits here, and there
        await self._report(device)
        if not self._marks:
            return
        # 2. until a signer answers
        answers = await self._answers(enrolment, device)
        if not self._is_still(enrolment):
            return  # it left, or enrolled anew: nothing more is said under the one before
        for answer in answers:
            # 3. and 4. verified and decided here, and said
            said = await self._take(answer)
            self._unsaid.append(said)
        await self._report(device, is_due=True)

    async def _answers(self, enrolment: Enrolment, device: Device) -> list[RelayedAnswer]:
        """What signers answered, after at most `WAIT_MS`; none where nothing waits any more."""
        polling = asyncio.ensure_future(self._parts.client.answers(device, WAIT_MS))
        try:
            while self._marks:
                await asyncio.wait({polling}, timeout=LOOK_S)
                if polling.done():
                    found = polling.result()
                    if isinstance(found, Refusal):
                        raise NotRelayedError(found)
                    return found.answers
                if not self._is_still(enrolment):
                    break
                await self._report(device)
        finally:
            polling.cancel()
            with contextlib.suppress(asyncio.CancelledError, BriefcaseError):
                await polling
        return []

    def _is_still(self, enrolment: Enrolment) -> bool:
        """Whether the device is enrolled as it was; a bundle that was applied since changes nothing here."""
        now = self._parts.enrolment()
        return now is not None and (now.base_url, now.device_id) == (enrolment.base_url, enrolment.device_id)

    async def _take(self, answer: RelayedAnswer) -> AnswerSaid:
        """Decide by an answer, once; one that comes again is told what became of it."""
        said = self._said.get(answer.answer_id)
        if said is None:
            said = await self._decide(answer)
            self._said[answer.answer_id] = said
            if len(self._said) > MAX_REMEMBERED:
                del self._said[next(iter(self._said))]
        return said

    async def _decide(self, answer: RelayedAnswer) -> AnswerSaid:
        to = _TO[answer.action]
        signed = Signed(answer.signer_id, answer.ts_rfc3339, answer.nonce, answer.sig_b64)
        ruling = SignedRuling(answer.approval_id, to, signed, answer.binding_hex)
        try:
            approval = await self._parts.desk.rule(ruling, is_relayed=True)
        except CallerError as error:
            self._marks.pop(answer.approval_id, None)  # what is shown may be another since: it is put again
            _log.warning("an answer of the relay was refused", code=error.code, approval_id=answer.approval_id)
            return AnswerSaid(answer.answer_id, error.code, error.message[:MAX_MESSAGE_CHARS])
        self._parts.tell(approval, to)
        return AnswerSaid(answer.answer_id, TAKEN)

    # --- a report -----------------------------------------------------------------------------------------------------

    async def _report(self, device: Device, *, is_due: bool = False) -> None:
        """Say what is new; nothing where nothing is, unless it is due.

        Raises:
            NotRelayedError: it was refused.
            UpstreamError: nobody knows whether it was taken.
        """
        signers = self._recipients()
        waiting = self._waiting()
        self._marks = {approval_id: mark for approval_id, mark in self._marks.items() if approval_id in waiting}
        puts: list[RelayedPut] = []
        marks: dict[str, Mark] = {}
        for approval_id, approval in waiting.items():
            mark = (approval, signers)
            if self._marks.get(approval_id) != mark:
                marks[approval_id] = mark
                put = await self._put(approval, signers)
                if put is not None:
                    puts.append(put)
        ended = [RelayedEnd(each, self._end_of(each)) for each in sorted((self._kept or frozenset()) - waiting.keys())]
        if not (puts or ended or self._unsaid or is_due or self._kept is None):
            self._marks |= marks
            return
        said = tuple(self._unsaid)
        for first in range(0, max(1, len(puts)), PUTS_A_REPORT):
            report = RelayReport(puts[first : first + PUTS_A_REPORT], ended, list(said))
            answer = await self._parts.client.relay(device, report)
            if isinstance(answer, Refusal):
                raise NotRelayedError(answer)
            taken = answer
        del self._unsaid[: len(said)]  # where it was not taken, it is said again
        self._marks |= marks
        self._kept = frozenset(taken.waiting)
        lost = self._marks.keys() - self._kept - {each.approval_id for each in taken.not_kept}
        sent = {put.approval_id for put in puts}
        for approval_id in lost - sent:  # a control plane that lost its database
            self._marks.pop(approval_id, None)

    async def _put(self, approval: Approval, signers: tuple[Signer, ...]) -> RelayedPut | None:
        """An approval as it travels; None where it cannot be shown, or nothing of it may be said."""
        sealed = b""
        if signers:
            try:
                document = self._parts.approvers.shown(approval)
            except CallerError:
                return None
            did, sign = self._parts.desk.device_did, self._parts.sign
            keys = [decode_base64url(signer.public_key_b64) for signer in signers]
            sealed = await asyncio.to_thread(lambda: seal(write_carried(document, did, sign), keys))
            if len(sealed) > MAX_SEALED_BYTES:
                sealed = b""
        head = _head_of(approval) if self._parts.says_heads else None
        if not sealed and head is None:
            return None
        return RelayedPut(approval.id, format_rfc3339(approval.expires_us), encode_base64url(sealed), head)

    def _waiting(self) -> Mapping[str, Approval]:
        """What waits here and may travel, oldest first."""
        if not (self._parts.says_heads or self._recipients()):
            return {}
        now_us = self._parts.ledger.now_us()
        pending = self._parts.ledger.approvals(ApprovalStatus.PENDING)
        waiting = (each for each in pending if status_at(each, now_us) is ApprovalStatus.PENDING)
        return {each.id: each for each in islice(waiting, MAX_WAITING)}

    def _recipients(self) -> tuple[Signer, ...]:
        """The signers that can open what is sealed, and whose answers count."""
        signers = self._parts.signers
        return tuple(
            each
            for each in signers.all()
            if each.algorithm == "ed25519" and not each.is_revoked and signers.owner_role(each) in DECIDING_ROLES
        )

    def _end_of(self, approval_id: str) -> EndStatus:
        """What became of an approval that the control plane has as waiting; `withdrawn` where it waits on here."""
        ledger = self._parts.ledger
        approval = ledger.approval(approval_id)
        status = ApprovalStatus.PENDING if approval is None else status_at(approval, ledger.now_us())
        return _ENDS.get(status.value, "withdrawn")


def _head_of(approval: Approval) -> RelayedHead:
    """What is said in clear: words of the daemon's and names that an operator gave, none of the call's."""
    texts = (approval.tool_id, approval.principal, approval.reason, approval.kind.value)
    return RelayedHead(*(text[:MAX_HEAD_CHARS] for text in texts))
