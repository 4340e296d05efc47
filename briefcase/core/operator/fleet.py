"""The fleet: an operator enrols this daemon with a control plane, and leaves it; between, its bundles are applied.

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

`apply` takes an answer of the control plane apart. Each step that changes something is one transaction with its
receipt, so a crash between two leaves each before or after, and the next answer goes on:

 1. the next signing key, by the word of the pinned one
 2. the word of freshness
 3. the mandatory part: it only forbids, so it comes before the bundle
 4. the bundle: `fleet.bundles` judges, the policy is prepared, and policy, budgets and enrolment change at once
 5. the floor, noted where a restore does not take it back

INVARIANT (floor): the id of the running bundle never falls, for one key, whatever a control plane sends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from briefcase.core.fleet import events
from briefcase.core.fleet.answers import MAX_NAME_CHARS, EnrolmentAnswer, PolicyAnswer
from briefcase.core.fleet.bundles import (
    Apply,
    BundleError,
    Fresh,
    Judgement,
    MandatoryPart,
    PolicyKey,
    Refused,
    check_key,
    judge_bundle,
)
from briefcase.core.fleet.enrolment import (
    SETTING,
    Enrolment,
    FleetState,
    encode_fleet_state,
    read_fleet_state,
    standing_of,
    with_floor,
)
from briefcase.core.fleet.envelopes import read_freshness, read_mandatory, read_next_key
from briefcase.core.fleet.words import (
    BUNDLE_FELL,
    INVALID_DEVICE_NAME,
    INVALID_MANDATORY,
    INVALID_POLICY,
    INVALID_SIGNATURE,
    UNEXPECTED,
)
from briefcase.core.operator.administration import Administration, Settler
from briefcase.core.operator.policy import NO_MANDATORY, PolicyService
from briefcase.core.policy.check import parse_policy
from briefcase.core.receipts.events import change_undone_event
from briefcase.model.effects import Effect, Entry, PutSetting, SetBudgetLimit
from briefcase.model.errors import CallerError, UpstreamError
from briefcase.model.ports import Clock, Entropy, Ledger
from briefcase.model.types import JsonObject

SUBJECT: Final = "control_plane"
MAX_PROBLEM_CHARS: Final = 300


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


class Floors(Protocol):
    """The highest bundle id of each key, where a restore does not take it back. Durable when `note` returns."""

    def floor(self, key_b64: PolicyKey) -> int:
        """The highest id noted of a key, or 0; from memory, at once."""
        ...

    async def note(self, key_b64: PolicyKey, bundle_id: int) -> None:
        """Note an id; a lower one than is noted changes nothing."""
        ...


class FleetPorts(msgspec.Struct, frozen=True):
    """The control plane, and what is kept beside the ledger. `needs_profile` refuses bundles for another profile."""

    plane: ControlPlane
    tokens: DeviceTokens
    floors: Floors
    needs_profile: bool = False


class Applied(msgspec.Struct, frozen=True):
    """What came of an answer: whether the policy changed, what was refused, until when the bundle is fresh (or 0)."""

    policy_applied: bool = False
    refused: Refused | None = None
    fresh_until_us: int = 0


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

    async def enrol(self, base_url: str, admin_token: str, device_name: str, by: str) -> EnrolmentAnswer:
        """Enrol this daemon; enrolling again gives its device a new token.

        Args:
            base_url: where the control plane is.
            admin_token: its administrator's; used for one request.
            device_name: what people call this daemon, 1 to 128 characters.
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
        base_url = self._ports.plane.check_base_url(base_url)
        name = _checked_name(device_name)
        state = self.state()
        present = state.enrolment
        if present is not None and present.base_url != base_url:
            raise CallerError(
                f"this daemon is enrolled with `{present.base_url}`",
                code="conflict",
                hint="leave it first: `briefcase control-plane leave`",
            )
        device_id = state.device_id or self._entropy.uuid()
        request = EnrolmentRequest(base_url, admin_token, device_id, name)

        async def effect() -> EnrolmentAnswer:
            # 3. ask
            answer = await self._ports.plane.enrol(request)
            _check_answer(answer, device_id, present)
            # 4. keep the token
            await self._ports.tokens.keep(answer.device_token)
            return answer

        def effects(answer: EnrolmentAnswer) -> tuple[Effect, ...]:
            key_b64 = answer.policy_signing_pubkey_b64
            again = present if present is not None and present.policy_key_b64 == key_b64 else None
            enrolment = Enrolment(
                base_url=base_url,
                device_id=device_id,
                device_name=name,
                policy_key_b64=key_b64,
                enrolled_us=self._clock.now_us(),
                next_key_b64="" if again is None else again.next_key_b64,
                bundle_id=0 if again is None else again.bundle_id,
                bundle_digest_hex="" if again is None else again.bundle_digest_hex,
                expects_freshness=again is not None and again.expects_freshness,
            )
            return (_put(msgspec.structs.replace(state, device_id=device_id, enrolment=enrolment)),)

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
        enrolment = _enrolled(state)
        left = msgspec.structs.replace(state, enrolment=None)
        await self._administration.record(Entry(events.left_event(by, enrolment), (_put(left),)))
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

    async def _settle_enrolment(self, event: JsonObject) -> JsonObject | None:
        if self.state().enrolment is not None:
            return None
        await self._ports.tokens.forget()
        return change_undone_event(event)

    # --- applying what a control plane answers ------------------------------------------------------------------------

    async def apply(self, answer: PolicyAnswer) -> Applied:
        """Apply what holds of an answer; what does not changes nothing, and is named.

        Raises:
            CallerError: this daemon is not enrolled (`conflict`).
            StoreError: a change could not be made durable; what was there before stays.
        """
        _enrolled(self.state())
        problems: list[Refused] = []

        # 1. the next key
        await self._take_next_key(answer, problems)

        # 2. freshness
        fresh = self._freshness_of(answer, problems)

        # 3. the mandatory part
        await self._take_mandatory(answer, problems)

        # 4. the bundle
        judged, signer = self._judge(answer, fresh)
        is_applied = isinstance(judged, Apply)
        if isinstance(judged, Apply):
            refused = await self._take_bundle(judged, signer, is_fresh=fresh is not None)
            is_applied = refused is None
            judged = judged if refused is None else refused
        if isinstance(judged, Refused):
            await self._note_refused(judged)
            problems.insert(0, judged)

        # 5. the floor
        state = self.state()
        running = _enrolled(state)
        await self._ports.floors.note(running.policy_key_b64, running.bundle_id)
        fresh_until_us = 0 if fresh is None or fresh.bundle_id != running.bundle_id else fresh.expires_us
        return Applied(is_applied, problems[0] if problems else None, fresh_until_us)

    async def _take_next_key(self, answer: PolicyAnswer, problems: list[Refused]) -> None:
        if answer.keys is None:
            return
        state = self.state()
        enrolment = _enrolled(state)
        try:
            key_b64 = read_next_key(answer.keys, enrolment.policy_key_b64).policy_signing_pubkey_b64
            check_key(key_b64)
        except BundleError as error:
            if error.reason != INVALID_SIGNATURE:  # one of an earlier key's words is no fault: it was taken then
                problems.append(Refused(error.reason, error.problem))
            return
        if key_b64 in {enrolment.policy_key_b64, enrolment.next_key_b64}:
            return
        named = msgspec.structs.replace(enrolment, next_key_b64=key_b64)
        entry = Entry(events.key_event("announced", key_b64, enrolment), (_put_enrolment(state, named),))
        await self._administration.record(entry)

    def _freshness_of(self, answer: PolicyAnswer, problems: list[Refused]) -> Fresh | None:
        if answer.freshness is None:
            return None
        found: BundleError | None = None
        for key_b64 in _keys_of(_enrolled(self.state())):
            try:
                return read_freshness(answer.freshness, key_b64)
            except BundleError as error:
                found = found or error
        if found is not None:
            problems.append(Refused(found.reason, found.problem))
        return None

    async def _take_mandatory(self, answer: PolicyAnswer, problems: list[Refused]) -> None:
        try:
            part = self._next_mandatory(answer)
            if part is not None:
                old_digest_hex = self._policy.active().digest_hex
                candidate = await self._policy.prepare(mandatory=part)
                digest_hex = candidate.compiled.digest_hex
                await self._policy.commit(candidate, events.mandatory_set_event(part, digest_hex, old_digest_hex))
        except BundleError as error:
            problems.append(Refused(error.reason, error.problem))
        except CallerError as error:
            problems.append(Refused(INVALID_MANDATORY, _told(error)))

    def _next_mandatory(self, answer: PolicyAnswer) -> MandatoryPart | None:
        """The mandatory part of an answer, where it is another than the present one.

        Raises:
            BundleError: it is not signed, older than the present one, or permits something.
            CallerError: it does not parse (`invalid_policy`).
        """
        if answer.mandatory is None:
            return None
        part, present = self._mandatory_of(answer.mandatory), self._policy.mandatory()
        if part == present:
            return None
        if part.id <= present.id:
            raise BundleError(BUNDLE_FELL, f"expected a mandatory part after {present.id}, got {part.id}")
        _check_only_forbids(part)
        return part

    def _mandatory_of(self, value: JsonObject) -> MandatoryPart:
        pinned, *others = _keys_of(_enrolled(self.state()))
        try:
            return read_mandatory(value, pinned)
        except BundleError as error:
            if not others or error.reason != INVALID_SIGNATURE:
                raise
        return read_mandatory(value, others[0])

    def _judge(self, answer: PolicyAnswer, fresh: Fresh | None) -> tuple[Judgement, PolicyKey]:
        """What the bundle comes to, and which of the keys that are known signed it: the pinned one, or the next."""
        state, now_us = self.state(), self._clock.now_us()
        enrolment = _enrolled(state)
        floor = max(self._ports.floors.floor(key_b64) for key_b64 in _keys_of(enrolment))
        standing = standing_of(state, enrolment, floor, needs_profile=self._ports.needs_profile)
        judged = judge_bundle(answer.policy_bundle, standing, fresh, now_us)
        is_unsigned = isinstance(judged, Refused) and judged.reason == INVALID_SIGNATURE
        if not is_unsigned or not enrolment.next_key_b64:
            return judged, enrolment.policy_key_b64
        by_next = msgspec.structs.replace(standing, key_b64=enrolment.next_key_b64)
        return judge_bundle(answer.policy_bundle, by_next, fresh, now_us), enrolment.next_key_b64

    async def _take_bundle(self, judged: Apply, signer: PolicyKey, *, is_fresh: bool) -> Refused | None:
        """Let a bundle decide: policy, budgets and enrolment in one transaction; or why its text cannot."""
        bundle = judged.bundle
        try:
            candidate = await self._policy.prepare(text=bundle.policy_text)
        except CallerError as error:
            return Refused(INVALID_POLICY, _told(error), bundle.bundle_id)
        state = self.state()
        enrolment = _enrolled(state)
        if signer != enrolment.policy_key_b64:
            enrolment = await self._pin(state, enrolment, signer)
            state = self.state()
        running = msgspec.structs.replace(
            enrolment,
            bundle_id=bundle.bundle_id,
            bundle_digest_hex=judged.digest_hex,
            refused="",
            expects_freshness=enrolment.expects_freshness or is_fresh,
        )
        floors = with_floor(state, signer, bundle.bundle_id)
        limits = tuple(SetBudgetLimit(category, limit) for category, limit in sorted(bundle.budgets.items()))
        put = _put(msgspec.structs.replace(state, enrolment=running, floors=floors))
        digest_hex, old_digest_hex = candidate.compiled.digest_hex, self._policy.active().digest_hex
        event = events.applied_event(bundle, digest_hex, old_digest_hex, candidate.policies)
        await self._policy.commit(candidate, event, (*limits, put))
        return None

    async def _pin(self, state: FleetState, enrolment: Enrolment, key_b64: PolicyKey) -> Enrolment:
        """Take the key that the pinned one named in its place; ids go on from where the old key's were."""
        pinned = msgspec.structs.replace(enrolment, policy_key_b64=key_b64, next_key_b64="")
        floors = with_floor(state, key_b64, state.floors.get(enrolment.policy_key_b64, 0))
        put = _put(msgspec.structs.replace(state, enrolment=pinned, floors=floors))
        await self._administration.record(Entry(events.key_event("pinned", key_b64, enrolment), (put,)))
        return pinned

    async def _note_refused(self, refused: Refused) -> None:
        """Receipt a refusal, once; what nobody vouches for is not receipted: a server could fill the chain with it."""
        state = self.state()
        enrolment = _enrolled(state)
        mark = f"{refused.bundle_id}:{refused.reason}"
        if not refused.bundle_id or enrolment.refused == mark:
            return
        noted = msgspec.structs.replace(enrolment, refused=mark)
        await self._administration.record(Entry(events.refused_event(refused), (_put_enrolment(state, noted),)))


def _enrolled(state: FleetState) -> Enrolment:
    if state.enrolment is None:
        hint = "`briefcase control-plane enroll URL NAME`"
        raise CallerError("this daemon is not enrolled", code="conflict", hint=hint)
    return state.enrolment


def _keys_of(enrolment: Enrolment) -> list[PolicyKey]:
    """The keys that may sign, the pinned one first."""
    return [key_b64 for key_b64 in (enrolment.policy_key_b64, enrolment.next_key_b64) if key_b64]


def _put(state: FleetState) -> PutSetting:
    return PutSetting(SETTING, encode_fleet_state(state))


def _put_enrolment(state: FleetState, enrolment: Enrolment) -> PutSetting:
    return _put(msgspec.structs.replace(state, enrolment=enrolment))


def _checked_name(text: str) -> str:
    name = text.strip()
    if not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable():
        raise CallerError(f"{INVALID_DEVICE_NAME}: expected a name of 1 to {MAX_NAME_CHARS} visible characters")
    return name


def _check_answer(answer: EnrolmentAnswer, device_id: str, present: Enrolment | None) -> None:
    """Check that an enrolment is of this device, with a key, and with the pinned one where there is one.

    Raises:
        UpstreamError: it is not (`upstream_refused`).
    """
    problem = ""
    key_b64 = answer.policy_signing_pubkey_b64
    try:
        check_key(key_b64)
    except BundleError as error:
        problem = error.problem
    if answer.device_id != device_id:
        problem = "it is an enrolment of another device"
    elif present is not None and key_b64 not in _keys_of(present):
        problem = "it signs with another key than the pinned one: `briefcase control-plane leave`, then enrol again"
    if problem:
        message = f"{UNEXPECTED}: the control plane's enrolment is refused: {problem}"
        raise UpstreamError(message, code="upstream_refused")


def _check_only_forbids(part: MandatoryPart) -> None:
    """Check a mandatory part by itself: it is Cedar, and never permits.

    Raises:
        BundleError: it permits something (`invalid_mandatory`).
        CallerError: it does not parse (`invalid_policy`).
    """
    if not part.policy_text:
        return
    parsed = parse_policy(part.policy_text)
    permits = [name for name in parsed.names if name not in parsed.forbids]
    if permits:
        raise BundleError(INVALID_MANDATORY, f"expected only policies that forbid, got `{permits[0]}`")


def _told(error: CallerError) -> str:
    return error.message.splitlines()[0][:MAX_PROBLEM_CHARS]
