"""The fleet: an operator enrols this daemon with a control plane, and leaves it.

`enrol` is a change outside of the ledger, and its enrolment is in the transaction of its outcome:

 1. check what can be checked: the address, the name, that no other control plane manages this daemon
 2. intent
 3. ask the control plane                       a crash leaves a device whose token nobody has
 4. keep the token in the vault                 a crash leaves a token of no use
 5. outcome, and the enrolment                  one transaction

| a crash after the intent of | leaves | the next start |
|---|---|---|
| `enrol`, where nothing was enrolled | what 3 and 4 say | removes the token: enrol again |
| `enrol` again | the old token, which may have ended, or the new one | says so (`outcome_unknown`): see the status |
| `leave` | a token of no use | removes it |

What the control plane answers between is `operator.bundles`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from briefcase.core.fleet import events
from briefcase.core.fleet.answers import MAX_NAME_CHARS, EnrolmentAnswer, UnexpectedAnswerError
from briefcase.core.fleet.bundles import BundleError, check_key
from briefcase.core.fleet.enrolment import (
    Enrolment,
    FleetState,
    announced_of,
    enrolled,
    put_state,
    read_fleet_state,
    with_known_way,
)
from briefcase.core.fleet.keys import walk_keys
from briefcase.core.fleet.words import INVALID_DEVICE_NAME, KEY_FELL
from briefcase.core.operator.administration import Administration, Settler
from briefcase.core.operator.bundles import Floors
from briefcase.core.operator.policy import NO_MANDATORY, PolicyService
from briefcase.core.receipts.events import change_undone_event
from briefcase.model.effects import Effect, Entry
from briefcase.model.errors import CallerError
from briefcase.model.ports import Clock, Entropy, Ledger
from briefcase.model.types import JsonObject

SUBJECT: Final = "control_plane"


class Wanted(msgspec.Struct, frozen=True):
    """What an operator asks for: where to enrol, by which admin token, under which name.

    `is_new_device` makes it another device than it was, whose receipts begin anew at the control plane: for a data
    directory that is a copy, or that was restored.
    """

    base_url: str
    admin_token: str
    device_name: str
    is_new_device: bool = False

    def __repr__(self) -> str:
        return f"Wanted(base_url={self.base_url!r}, ...)"


class EnrolmentRequest(msgspec.Struct, frozen=True):
    """What a control plane is asked for; the admin token is used once and kept nowhere."""

    base_url: str
    admin_token: str
    device_id: str
    device_name: str

    def __repr__(self) -> str:
        return f"EnrolmentRequest(base_url={self.base_url!r}, device_id={self.device_id!r}, ...)"


class ControlPlane(Protocol):
    """A control plane, before there is a device (`adapters.fleet.client`)."""

    def check_base_url(self, base_url: str) -> str:
        """The address as it is kept. Raises `CallerError` where it is none."""
        ...

    async def enrol(self, request: EnrolmentRequest) -> EnrolmentAnswer:
        """Make this daemon a device of the control plane, or give its device a new token.

        Raises:
            UpstreamError: it refused, answered something else or could not be reached.
        """
        ...


class DeviceTokens(Protocol):
    """The device's token in the vault. Durability: a change is on disk when it returns."""

    async def keep(self, token: str) -> None:
        """Store it; replaces.

        Raises:
            UpstreamError: it could be ordinary text, and would be cut out of what is none of it.
        """
        ...

    async def forget(self) -> None:
        """Remove it, where there is one."""
        ...


class FleetPorts(msgspec.Struct, frozen=True):
    """The control plane, and what is kept beside the ledger. `needs_profile` refuses bundles for another profile."""

    plane: ControlPlane
    tokens: DeviceTokens
    floors: Floors
    needs_profile: bool = False


class FleetAdmin:
    """Enrols, applies and leaves. One at a time: `adapters.fleet.syncing` sees to it.

    Args:
        administration: takes the receipts.
        policy: the active policy.
        ledger: where the enrolment is.
        ports: the outside.
        clock: the time.
        entropy: makes the device's id.
    """

    def __init__(
        self,
        administration: Administration,
        policy: PolicyService,
        ledger: Ledger,
        *,
        ports: FleetPorts,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._administration = administration
        self._policy = policy
        self._ledger = ledger
        self._ports = ports
        self._clock = clock
        self._entropy = entropy

    def state(self) -> FleetState:
        """What the ledger has of the fleet now."""
        return read_fleet_state(self._ledger)

    # --- enrolling and leaving ----------------------------------------------------------------------------------------

    async def enrol(self, wanted: Wanted, by: str) -> EnrolmentAnswer:
        """Enrol this daemon; enrolling again gives its device a new token.

        Args:
            wanted: where, by whose word, and as what.
            by: who does it, for the receipt.

        Raises:
            CallerError: the address or the name is not as expected, or another control plane manages this daemon
                (`conflict`).
            UpstreamError: the control plane refused, answered something else, or could not be reached.
            StoreError: as `Administration.make`.

        Returns:
            Its answer, whose policy is yet to be applied.
        """
        # 1. check
        base_url = self._ports.plane.check_base_url(wanted.base_url)
        name = _checked_name(wanted.device_name)
        state = self.state()
        present = state.enrolment
        if present is not None and present.base_url != base_url:
            raise CallerError(
                f"this daemon is enrolled with `{present.base_url}`",
                code="conflict",
                hint="leave it first: `briefcase control-plane leave`",
            )
        known_id = "" if wanted.is_new_device else state.device_id
        device_id = known_id or self._entropy.uuid()
        request = EnrolmentRequest(base_url, wanted.admin_token, device_id, name)

        async def effect() -> EnrolmentAnswer:
            # 3. ask
            answer = await self._ports.plane.enrol(request)
            self._check_answer(answer, device_id, present)
            # 4. keep the token
            await self._ports.tokens.keep(answer.device_token)
            return answer

        def effects(answer: EnrolmentAnswer) -> tuple[Effect, ...]:
            enrolment = Enrolment(
                base_url=base_url,
                device_id=device_id,
                device_name=name,
                policy_key_b64=answer.policy_signing_pubkey_b64,
                enrolled_us=self._clock.now_us(),
            )
            if present is not None:  # a later key of the same chain is pinned with the first bundle it signs
                enrolment = msgspec.structs.replace(
                    present, device_id=device_id, device_name=name, enrolled_us=enrolment.enrolled_us, refused=""
                )
            known = with_known_way(state, answer.key_words(), enrolment.policy_key_b64)
            return (put_state(msgspec.structs.replace(known, device_id=device_id, enrolment=enrolment)),)

        # 2. to 5.
        event = events.enrolled_event(by, base_url, device_id, name)
        return await self._administration.make(SUBJECT, event, effect, effects=effects)

    async def leave(self, by: str) -> None:
        """Leave the control plane: its policy stays and is the operator's again; its mandatory part stays, too.

        Raises:
            CallerError: this daemon is not enrolled (`conflict`).
            StoreError: it could not be made durable, or the token could not be removed.
        """
        state = self.state()
        enrolment = enrolled(state)
        left = msgspec.structs.replace(state, enrolment=None)
        await self._administration.record(Entry(events.left_event(by, enrolment), (put_state(left),)))
        await self._ports.tokens.forget()  # a crash right here leaves a token of no use, which the next start removes

    async def remove_mandatory(self, by: str) -> None:
        """Remove the mandatory part that a control plane left.

        Raises:
            CallerError: a control plane manages it (`managed_by_control_plane`), or there is none (`not_found`).
            StoreError: it could not be made durable; it stays.
        """
        part = self._policy.mandatory()
        if not part.policy_text:
            raise CallerError("there is no mandatory part", code="not_found")
        enrolment = self.state().enrolment
        if enrolment is not None:
            raise CallerError(
                f"the control plane `{enrolment.base_url}` manages the mandatory part", code="managed_by_control_plane"
            )
        old_digest_hex = self._policy.active().digest_hex
        candidate = await self._policy.prepare(mandatory=NO_MANDATORY)
        digest_hex = candidate.compiled.digest_hex
        await self._policy.commit(candidate, events.mandatory_removed_event(by, part, digest_hex, old_digest_hex))

    def settlers(self) -> Mapping[str, Settler]:
        """What the next start does after a crash: see the module's table."""
        return {events.ENROLL: self._settle_enrolment}

    async def tidy(self) -> None:
        """Remove a token of no use; at a start."""
        if self.state().enrolment is None:
            await self._ports.tokens.forget()

    def _check_answer(self, answer: EnrolmentAnswer, device_id: str, present: Enrolment | None) -> None:
        """Check that an enrolment is of this device, and with a key that follows the pinned one, where there is one.

        Raises:
            UnexpectedAnswerError: it is not.
        """
        problem = ""
        key_b64 = answer.policy_signing_pubkey_b64
        successors = {**self.state().successors, **self._ports.floors.successors()}
        try:
            check_key(key_b64)
        except BundleError as error:
            problem = error.problem
        if answer.device_id != device_id:
            problem = "it is an enrolment of another device"
        elif key_b64 in successors:
            problem = f"{KEY_FELL}: another signing key took the place of the one it signs with"
        elif present is not None:
            walk = walk_keys(answer.key_words(), present.policy_key_b64, announced_of(present), successors)
            if key_b64 not in walk.keys:
                problem = "it signs with another key than the pinned one: leave it first, then enrol again"
        if problem:
            raise UnexpectedAnswerError(f"the control plane's enrolment is refused: {problem}")

    async def _settle_enrolment(self, event: JsonObject) -> JsonObject | None:
        if self.state().enrolment is not None:
            return None
        await self._ports.tokens.forget()
        return change_undone_event(event)


def _checked_name(text: str) -> str:
    name = text.strip()
    if not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable():
        raise CallerError(f"{INVALID_DEVICE_NAME}: expected a name of 1 to {MAX_NAME_CHARS} visible characters")
    return name
