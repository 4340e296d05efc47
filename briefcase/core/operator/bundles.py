"""What a control plane answers, applied: keys, freshness, the mandatory part, the bundle.

Each step that changes something is one transaction with its receipt, so a crash between two leaves each before or
after, and the next answer goes on:

 1. the next signing key, by the word of the pinned one
 2. the word of freshness
 3. the mandatory part: it only forbids, so it comes before the bundle
 4. the bundle: `fleet.bundles` judges, the policy is prepared, and policy, budgets and enrolment change at once
 5. the floor, noted where a restore does not take it back; the next start notes it where a crash came before

INVARIANT (floor): the id of the running bundle never falls, for one key, whatever a control plane sends.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from briefcase.core.fleet import events
from briefcase.core.fleet.answers import PolicyAnswer
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
    Enrolment,
    FleetState,
    enrolled,
    keys_of,
    put_enrolment,
    put_state,
    read_fleet_state,
    standing_of,
    with_floor,
)
from briefcase.core.fleet.envelopes import read_freshness, read_mandatory, read_next_key
from briefcase.core.fleet.words import BUNDLE_FELL, INVALID_MANDATORY, INVALID_POLICY, INVALID_SIGNATURE
from briefcase.core.operator.administration import Administration
from briefcase.core.operator.policy import PolicyService
from briefcase.core.policy.check import parse_policy
from briefcase.model.effects import Entry, SetBudgetLimit
from briefcase.model.errors import CallerError
from briefcase.model.ports import Clock, Ledger
from briefcase.model.types import JsonObject

MAX_PROBLEM_CHARS: Final = 300


class Floors(Protocol):
    """The highest bundle id of each key, where a restore does not take it back. Durable when `note` returns."""

    def floor(self, key_b64: PolicyKey) -> int:
        """The highest id noted of a key, or 0; from memory, at once."""
        ...

    async def note(self, key_b64: PolicyKey, bundle_id: int) -> None:
        """Note an id; a lower one than is noted changes nothing."""
        ...


class Applied(msgspec.Struct, frozen=True):
    """What came of an answer: whether the policy changed, what was refused, until when the bundle is fresh (or 0)."""

    policy_applied: bool = False
    refused: Refused | None = None
    fresh_until_us: int = 0


class BundleAdmin:
    """Applies answers, one at a time: `adapters.fleet.syncing` sees to it.

    Args:
        administration: takes the receipts.
        policy: the active policy.
        ledger: where the enrolment is.
        floors: the floors that a restore does not take back.
        clock: the time.
        needs_profile: whether a bundle for another profile is refused.
    """

    def __init__(
        self,
        administration: Administration,
        policy: PolicyService,
        ledger: Ledger,
        *,
        floors: Floors,
        clock: Clock,
        needs_profile: bool,
    ) -> None:
        self._administration = administration
        self._policy = policy
        self._ledger = ledger
        self._floors = floors
        self._clock = clock
        self._needs_profile = needs_profile

    def state(self) -> FleetState:
        """What the ledger has of the fleet now."""
        return read_fleet_state(self._ledger)

    async def tidy(self) -> None:
        """Note the floor of what runs, where a crash came before it was noted; at a start."""
        for key_b64, floor in self.state().floors.items():
            await self._floors.note(key_b64, floor)

    async def apply(self, answer: PolicyAnswer) -> Applied:
        """Apply what holds of an answer; what does not changes nothing, and is named.

        Raises:
            CallerError: this daemon is not enrolled (`conflict`).
            StoreError: a change could not be made durable; what was there before stays.
        """
        enrolled(self.state())
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
        running = enrolled(state)
        await self._floors.note(running.policy_key_b64, running.bundle_id)
        fresh_until_us = 0 if fresh is None or fresh.bundle_id != running.bundle_id else fresh.expires_us
        return Applied(is_applied, problems[0] if problems else None, fresh_until_us)

    async def _take_next_key(self, answer: PolicyAnswer, problems: list[Refused]) -> None:
        if answer.keys is None:
            return
        state = self.state()
        enrolment = enrolled(state)
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
        entry = Entry(events.key_event("announced", key_b64, enrolment), (put_enrolment(state, named),))
        await self._administration.record(entry)

    def _freshness_of(self, answer: PolicyAnswer, problems: list[Refused]) -> Fresh | None:
        if answer.freshness is None:
            return None
        found: BundleError | None = None
        for key_b64 in keys_of(enrolled(self.state())):
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
        pinned, *others = keys_of(enrolled(self.state()))
        try:
            return read_mandatory(value, pinned)
        except BundleError as error:
            if not others or error.reason != INVALID_SIGNATURE:
                raise
        return read_mandatory(value, others[0])

    def _judge(self, answer: PolicyAnswer, fresh: Fresh | None) -> tuple[Judgement, PolicyKey]:
        """What the bundle comes to, and which of the keys that are known signed it: the pinned one, or the next."""
        state, now_us = self.state(), self._clock.now_us()
        enrolment = enrolled(state)
        floor = max(self._floors.floor(key_b64) for key_b64 in keys_of(enrolment))
        standing = standing_of(state, enrolment, floor, needs_profile=self._needs_profile)
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
        enrolment = enrolled(state)
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
        put = put_state(msgspec.structs.replace(state, enrolment=running, floors=floors))
        digest_hex, old_digest_hex = candidate.compiled.digest_hex, self._policy.active().digest_hex
        event = events.applied_event(bundle, digest_hex, old_digest_hex, candidate.policies)
        await self._policy.commit(candidate, event, (*limits, put))
        return None

    async def _pin(self, state: FleetState, enrolment: Enrolment, key_b64: PolicyKey) -> Enrolment:
        """Take the key that the pinned one named in its place; ids go on from where the old key's were."""
        pinned = msgspec.structs.replace(enrolment, policy_key_b64=key_b64, next_key_b64="")
        floors = with_floor(state, key_b64, state.floors.get(enrolment.policy_key_b64, 0))
        put = put_state(msgspec.structs.replace(state, enrolment=pinned, floors=floors))
        await self._administration.record(Entry(events.key_event("pinned", key_b64, enrolment), (put,)))
        return pinned

    async def _note_refused(self, refused: Refused) -> None:
        """Receipt a refusal, once; what nobody vouches for is not receipted: a server could fill the chain with it."""
        state = self.state()
        enrolment = enrolled(state)
        mark = f"{refused.bundle_id}:{refused.reason}"
        if not refused.bundle_id or enrolment.refused == mark:
            return
        noted = msgspec.structs.replace(enrolment, refused=mark)
        await self._administration.record(Entry(events.refused_event(refused), (put_enrolment(state, noted),)))


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
