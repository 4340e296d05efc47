"""What a control plane answers, applied: keys, freshness, the mandatory part, the bundle.

Each step that changes something is one transaction with its receipt, so a crash between two leaves each before or
after, and the next answer goes on:

 1. the keys that may sign: the pinned one, and those that follow it by their own words (`fleet.keys`)
 2. the word of freshness
 3. the mandatory part: it only forbids, so it comes before the bundle
 4. the bundle: `fleet.bundles` judges, the policy is prepared, and policy, budgets, enrolment and the pin of the key
    that signed it change at once
 5. the floor and the keys that were left, noted where a restore does not take them back; the next start notes them
    where a crash came before, and takes a pin forward that a restore took back

INVARIANT (floor): the id of the running bundle never falls, for one key, whatever a control plane sends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol, TypeVar

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
    Unchanged,
    judge_bundle,
)
from briefcase.core.fleet.enrolment import (
    FleetState,
    announced_of,
    enrolled,
    put_enrolment,
    put_state,
    read_fleet_state,
    standing_of,
    with_announced,
    with_floor,
    with_pin,
)
from briefcase.core.fleet.envelopes import read_freshness, read_mandatory
from briefcase.core.fleet.keys import KeyWalk, NamedKey, latest_key, walk_keys
from briefcase.core.fleet.words import BUNDLE_FELL, INVALID_MANDATORY, INVALID_POLICY, INVALID_SIGNATURE
from briefcase.core.operator.administration import Administration
from briefcase.core.operator.policy import PolicyService
from briefcase.core.policy.check import parse_policy
from briefcase.model.effects import Entry, SetBudgetLimit
from briefcase.model.errors import CallerError
from briefcase.model.ports import Clock, Ledger
from briefcase.model.types import JsonObject

MAX_PROBLEM_CHARS: Final = 300

_T = TypeVar("_T")


class Floors(Protocol):
    """How far each key's bundles have come, and which key came after which, where a restore does not take it back.

    Durability: what a method notes is on disk when it returns.
    """

    def floor(self, key_b64: PolicyKey) -> int:
        """The highest id noted of a key, or 0; from memory, at once."""
        ...

    async def note(self, key_b64: PolicyKey, bundle_id: int) -> None:
        """Note an id; a lower one than is noted changes nothing."""
        ...

    def successors(self) -> Mapping[PolicyKey, PolicyKey]:
        """Which key took the place of which, as it was noted; from memory, at once."""
        ...

    async def note_successors(self, successors: Mapping[PolicyKey, PolicyKey]) -> None:
        """Note which key took the place of which, beside what is noted."""
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
        """Make the ledger and what a restore does not take back agree; at a start.

        Raises:
            StoreError: the pin could not be made durable, or the floors could not be noted.
        """
        state = self.state()
        for key_b64, floor in state.floors.items():
            await self._floors.note(key_b64, floor)
        await self._floors.note_successors(state.successors)
        if state.enrolment is None:
            return
        pinned = state.enrolment.policy_key_b64
        latest = latest_key(pinned, self._floors.successors())
        if latest != pinned:  # the ledger is older than the pin: nothing that the earlier key signs counts any more
            await self._pin(KeyWalk(pinned, (NamedKey(latest, 0),)), latest)

    async def apply(self, answer: PolicyAnswer) -> Applied:
        """Apply what holds of an answer; what does not changes nothing, and is named.

        Raises:
            CallerError: this daemon is not enrolled (`conflict`).
            StoreError: a change could not be made durable; what was there before stays.
        """
        enrolled(self.state())
        problems: list[Refused] = []

        # 1. the keys
        walk = await self._take_keys(answer, problems)

        # 2. freshness
        fresh = self._freshness_of(answer, walk, problems)

        # 3. the mandatory part
        await self._take_mandatory(answer, walk, problems)

        # 4. the bundle
        judged, signer = self._judge(answer, walk, fresh)
        is_applied = isinstance(judged, Apply)
        if isinstance(judged, Apply):
            refused = await self._take_bundle(judged, walk, signer, is_fresh=fresh is not None)
            is_applied = refused is None
            judged = judged if refused is None else refused
        elif isinstance(judged, Unchanged) and signer != walk.pinned:
            await self._pin(walk, signer)
        if isinstance(judged, Refused):
            await self._note_refused(judged)
            problems.insert(0, judged)

        # 5. the floor, and the keys that were left
        state = self.state()
        running = enrolled(state)
        await self._floors.note(running.policy_key_b64, running.bundle_id)
        await self._floors.note_successors(state.successors)
        fresh_until_us = 0 if fresh is None or fresh.bundle_id != running.bundle_id else fresh.expires_us
        return Applied(is_applied, problems[0] if problems else None, fresh_until_us)

    async def _take_keys(self, answer: PolicyAnswer, problems: list[Refused]) -> KeyWalk:
        """Follow the words about keys, and keep what the pinned one says of the next."""
        state = self.state()
        enrolment = enrolled(state)
        announced = announced_of(enrolment)
        successors = {**state.successors, **self._floors.successors()}
        walk = walk_keys(answer.key_words(), enrolment.policy_key_b64, announced, successors)
        if walk.problem is not None:
            problems.append(Refused(walk.problem.reason, walk.problem.problem))
        following = walk.after(walk.pinned)
        if following is not None and following != announced:
            put = put_enrolment(state, with_announced(enrolment, following))
            await self._administration.record(
                Entry(events.key_event("announced", following.key_b64, enrolment), (put,))
            )
        return walk

    def _freshness_of(self, answer: PolicyAnswer, walk: KeyWalk, problems: list[Refused]) -> Fresh | None:
        if answer.freshness is None:
            return None
        try:
            return _read_signed(read_freshness, answer.freshness, walk)
        except BundleError as error:
            problems.append(Refused(error.reason, error.problem))
        return None

    async def _take_mandatory(self, answer: PolicyAnswer, walk: KeyWalk, problems: list[Refused]) -> None:
        try:
            part = self._next_mandatory(answer, walk)
            if part is not None:
                old_digest_hex = self._policy.active().digest_hex
                candidate = await self._policy.prepare(mandatory=part)
                digest_hex = candidate.compiled.digest_hex
                await self._policy.commit(candidate, events.mandatory_set_event(part, digest_hex, old_digest_hex))
        except BundleError as error:
            problems.append(Refused(error.reason, error.problem))
        except CallerError as error:
            problems.append(Refused(INVALID_MANDATORY, _told(error)))

    def _next_mandatory(self, answer: PolicyAnswer, walk: KeyWalk) -> MandatoryPart | None:
        """The mandatory part of an answer, where it is another than the present one.

        Raises:
            BundleError: it is not signed, older than the present one, or permits something.
            CallerError: it does not parse (`invalid_policy`).
        """
        if answer.mandatory is None:
            return None
        part, present = _read_signed(read_mandatory, answer.mandatory, walk), self._policy.mandatory()
        if part == present:
            return None
        if part.id <= present.id:
            raise BundleError(BUNDLE_FELL, f"expected a mandatory part after {present.id}, got {part.id}")
        _check_only_forbids(part)
        return part

    def _judge(self, answer: PolicyAnswer, walk: KeyWalk, fresh: Fresh | None) -> tuple[Judgement, PolicyKey]:
        """What the bundle comes to, and which of the keys that may sign did."""
        state, now_us = self.state(), self._clock.now_us()
        floor = max(max(self._floors.floor(key_b64), state.floors.get(key_b64, 0)) for key_b64 in walk.keys)
        standing = standing_of(enrolled(state), floor, needs_profile=self._needs_profile)
        judged: Judgement = judge_bundle(answer.policy_bundle, standing, fresh, now_us)
        for named in walk.named:
            if not isinstance(judged, Refused) or judged.reason != INVALID_SIGNATURE:
                break
            by_next = msgspec.structs.replace(standing, key_b64=named.key_b64)
            judged = judge_bundle(answer.policy_bundle, by_next, fresh, now_us)
            if not isinstance(judged, Refused) or judged.reason != INVALID_SIGNATURE:
                return judged, named.key_b64
        return judged, walk.pinned

    async def _take_bundle(self, judged: Apply, walk: KeyWalk, signer: PolicyKey, *, is_fresh: bool) -> Refused | None:
        """Let a bundle decide: policy, budgets, enrolment and pin in one transaction; or why its text cannot."""
        bundle = judged.bundle
        try:
            candidate = await self._policy.prepare(text=bundle.policy_text)
        except CallerError as error:
            return Refused(INVALID_POLICY, _told(error), bundle.bundle_id)
        state = self.state()
        enrolment = enrolled(state)
        if signer != enrolment.policy_key_b64:
            state = with_pin(state, enrolment, walk, signer)
            enrolment = enrolled(state)
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
        pinned = "" if signer == walk.pinned else signer
        event = events.applied_event(bundle, digest_hex, old_digest_hex, candidate.policies, pinned)
        await self._policy.commit(candidate, event, (*limits, put))
        return None

    async def _pin(self, walk: KeyWalk, key_b64: PolicyKey) -> None:
        """Take a key that follows the pinned one in its place, where the policy stays as it is."""
        state = self.state()
        enrolment = enrolled(state)
        put = put_state(with_pin(state, enrolment, walk, key_b64))
        await self._administration.record(Entry(events.key_event("pinned", key_b64, enrolment), (put,)))

    async def _note_refused(self, refused: Refused) -> None:
        """Receipt a refusal, once; what nobody vouches for is not receipted: a server could fill the chain with it."""
        state = self.state()
        enrolment = enrolled(state)
        mark = f"{refused.bundle_id}:{refused.reason}"
        if not refused.bundle_id or enrolment.refused == mark:
            return
        noted = msgspec.structs.replace(enrolment, refused=mark)
        await self._administration.record(Entry(events.refused_event(refused), (put_enrolment(state, noted),)))


def _read_signed(read: Callable[[JsonObject, PolicyKey], _T], value: JsonObject, walk: KeyWalk) -> _T:
    """A sibling that one of the keys that may sign did.

    Raises:
        BundleError: none of them did, or it is not as expected.
    """
    for named in reversed(walk.named):
        try:
            return read(value, named.key_b64)
        except BundleError as error:
            if error.reason != INVALID_SIGNATURE:
                raise
    return read(value, walk.pinned)


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
