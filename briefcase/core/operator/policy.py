"""The active policy: loaded from the ledger at start, replaced whole, and never by one that is not sound.

What decides is a text, and after it the mandatory part of an organisation, where there is one (`operator.fleet`). An
operator sets the text, unless a control plane manages this daemon; nothing but the organisation's own word, or an
operator who removes it by name, takes the mandatory part away.

Replacing either takes four steps; until the last one the old policy decides:

1. validate and compile both together, off the event loop     `prepare`
2. commit them with their receipt: one transaction            `commit`
3. (a crash right here leaves the new policy stored; the next start loads it)
4. swap, unless a policy committed later already did

A stored policy that does not compile at start denies every call and says why (`problem`); an operator can still set
another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from briefcase.core.fleet.bundles import MandatoryPart
from briefcase.core.fleet.enrolment import read_fleet_state
from briefcase.core.operator.policy_history import KeptPolicy, PolicyHistory
from briefcase.core.policy.check import DEFAULT_POLICY_TEXT, check_policy
from briefcase.core.policy.engine import CompiledPolicy, compile_policy
from briefcase.core.policy.explanation import Asked, PolicyExplanation, explain
from briefcase.core.receipts.events import policy_set_event
from briefcase.model.effects import Committed, Effect, Entry, PutSetting
from briefcase.model.errors import BriefcaseError, CallerError, StoreError
from briefcase.model.ports import Clock, Ledger, Policy, Tools
from briefcase.model.reasons import POLICY_ERROR
from briefcase.model.types import Deny, JsonObject, Principal, RiskSignals, ToolSpec, Verdict

SETTING: Final = "policy"
INSTALLER: Final = "first start"


NO_MANDATORY: Final = MandatoryPart(0, "")


class StoredPolicy(msgspec.Struct, frozen=True, omit_defaults=True):
    """The setting: the policy's text, when it was set, and the organisation's mandatory part after it."""

    text: str
    updated_us: int
    mandatory: MandatoryPart = NO_MANDATORY

    @property
    def deciding_text(self) -> str:
        """The text that decides."""
        part = self.mandatory.policy_text
        return f"{self.text}\n{part}" if part else self.text


def digest_of(text: str) -> str:
    """SHA-256 of a policy's text, whatever is in it."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


class Candidate(msgspec.Struct, frozen=True):
    """A policy that is sound and not yet set. `over` is the one it was prepared to replace."""

    stored: StoredPolicy
    compiled: Policy
    policies: int
    over: StoredPolicy


class BrokenPolicy(msgspec.Struct, frozen=True):
    """Stands in for a stored policy that cannot decide: every call is denied."""

    digest_hex: str
    problem: str

    @property
    def reads_arguments(self) -> bool:
        """False: nothing is read."""
        return False

    def decide(self, principal: Principal, tool: ToolSpec, args: JsonObject, risk: RiskSignals, now_us: int) -> Verdict:
        """Deny (`policy_error`)."""
        del principal, tool, args, risk, now_us
        return Deny(POLICY_ERROR, detail=self.problem)


class PolicyService:
    """Holds the active policy. One event loop.

    Args:
        ledger: where the policy is kept.
        clock: tells when it was set.
        tools: the registered tools, for what policies say about arguments.
        run_blocking: runs a function that takes long (seconds, for 10,000 policies) off the event loop.
        layer: puts something around each compiled policy, which then decides in its place (`shadow.Shadow.over`).
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        clock: Clock,
        tools: Tools,
        run_blocking: Callable[[Callable[[], Policy]], Awaitable[Policy]],
        layer: Callable[[CompiledPolicy], Policy] = lambda compiled: compiled,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._tools = tools
        self._run_blocking = run_blocking
        self._layer = layer
        self._policy: Policy = BrokenPolicy("", "no policy is loaded")
        self._stored = StoredPolicy("", 0)
        self._receipt_id = 0
        self._history = PolicyHistory(ledger)

    async def open(self) -> None:
        """Load the stored policy; the first start stores the default one, with a receipt.

        Raises:
            StoreError: the default policy could not be made durable, or the setting is unreadable.
        """
        self._history.load()
        kept = self._ledger.setting(SETTING)
        if kept is None:
            await self.set(DEFAULT_POLICY_TEXT, INSTALLER)
            return
        try:
            stored = msgspec.json.decode(kept, type=StoredPolicy)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StoreError("the stored policy is unreadable", detail=str(error)) from error
        self._stored = stored
        try:
            self._policy = await self._run_blocking(lambda: self._layer(compile_policy(stored.deciding_text)))
        except CallerError as error:
            self._policy = BrokenPolicy(
                digest_of(stored.deciding_text), f"the stored policy does not compile: {error.message}"
            )

    def active(self) -> Policy:
        """The policy that decides now."""
        return self._policy

    def problem(self) -> str | None:
        """Why every call is denied, or None."""
        return self._policy.problem if isinstance(self._policy, BrokenPolicy) else None

    def current(self) -> tuple[str, str, int]:
        """The text that decides, its SHA-256 in hex, and when it was set (microseconds)."""
        return self._stored.deciding_text, self._policy.digest_hex, self._stored.updated_us

    def newest_digest_hex(self) -> str:
        """The digest of the policy that was set last, while its receipt is not durable yet as well."""
        kept = self._history.kept()
        return kept[-1].digest_hex if kept else self._policy.digest_hex

    def author(self) -> str:
        """Who set the policy that decides now; empty where an earlier release did."""
        kept = self._history.kept()
        return kept[-1].by if kept else ""

    def own_text(self) -> str:
        """The operator's text, without the mandatory part."""
        return self._stored.text

    def mandatory(self) -> MandatoryPart:
        """The organisation's mandatory part; its text is empty where there is none."""
        return self._stored.mandatory

    def history(self) -> tuple[KeptPolicy, ...]:
        """The policies that were set, oldest first, the active one last."""
        return self._history.kept()

    def kept(self, digest_hex: str) -> StoredPolicy:
        """A policy of the history, by the digest of the text that decided.

        Raises:
            CallerError: none of them has it (`not_found`).
            StoreError: what was stored of it is unreadable.
        """
        found = self._history.stored(digest_hex)
        try:
            stored = None if found is None else msgspec.json.decode(found, type=StoredPolicy)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StoreError("a policy of the history is unreadable", detail=str(error)) from error
        if stored is None or digest_of(stored.deciding_text) != digest_hex:
            raise CallerError(
                "no policy of the history has this digest", code="not_found", hint="see `briefcase policy history`"
            )
        return stored

    async def roll_back(self, digest_hex: str, by: str) -> Committed:
        """Let a policy of the history decide again, with the mandatory part as it is now; raises as both."""
        return await self.set(self.kept(digest_hex).text, by)

    async def set(self, text: str, by: str) -> Committed:
        """Replace the text, as an operator. A text that ends with the mandatory part is taken without it.

        Args:
            text: the policy set.
            by: who sets it, for the receipt.

        Raises:
            CallerError: a control plane manages the policy (`managed_by_control_plane`), or it does not parse, validate
                or compile (`invalid_policy`), or another change came first (`conflict`); the old one stays.
            StoreError: it could not be made durable; the old one stays.
        """
        self.check_own()
        part = self._stored.mandatory.policy_text
        candidate = await self.prepare(text=text.removesuffix(f"\n{part}") if part else text)
        self.check_own()  # it may have been enrolled while the policy was compiled
        event = policy_set_event(by, self._policy.digest_hex, candidate.compiled.digest_hex, candidate.policies)
        return await self.commit(candidate, event)

    async def prepare(self, *, text: str | None = None, mandatory: MandatoryPart | None = None) -> Candidate:
        """Validate and compile what may decide next; what is not given stays as it is.

        Raises:
            CallerError: it does not parse, validate or compile (`invalid_policy`).
        """
        over = self._stored
        stored = StoredPolicy(
            over.text if text is None else text,
            self._clock.now_us(),
            over.mandatory if mandatory is None else mandatory,
        )
        specs = tuple(self._tools.specs())
        policies = 0

        def compiled() -> Policy:
            nonlocal policies
            parsed = check_policy(stored.deciding_text, specs)
            policies = len(parsed.names)
            return self._layer(CompiledPolicy(parsed))

        return Candidate(stored, await self._run_blocking(compiled), policies, over)

    async def explain(self, asked: Asked, text: str | None = None) -> PolicyExplanation:
        """Why a policy decides a call as it does: the one that decides now, or a candidate, which stays one.

        Args:
            asked: the call.
            text: the candidate, with the mandatory part in force behind it; None for what decides now.

        Raises:
            CallerError: the candidate does not parse, validate or compile (`invalid_policy`).
        """
        stored = self._stored if text is None else msgspec.structs.replace(self._stored, text=text)
        specs = tuple(self._tools.specs())
        found: list[PolicyExplanation] = []

        def compiled() -> Policy:
            parsed = check_policy(stored.deciding_text, specs)
            policy = CompiledPolicy(parsed)
            found.append(explain(parsed, policy, asked))
            return policy

        await self._run_blocking(compiled)
        return found[0]

    async def commit(self, candidate: Candidate, event: JsonObject, effects: tuple[Effect, ...] = ()) -> Committed:
        """Let a candidate decide from now on, in the transaction of its receipt.

        Args:
            candidate: what `prepare` gave.
            event: the receipt's.
            effects: what changes with it.

        Raises:
            CallerError: the mandatory part is another than the candidate was prepared with (`conflict`).
            StoreError: it could not be made durable; the old one stays.
        """
        # 2. commit
        if self._stored.mandatory != candidate.over.mandatory:
            raise CallerError("the mandatory part of the policy changed meanwhile", code="conflict", hint="try again")
        before = self._history
        history, kept = self._with(candidate, str(event.get("by", "")))
        self._history = history  # whoever sets the next one meanwhile extends this
        put = PutSetting(SETTING, msgspec.json.encode(candidate.stored))
        try:
            committed = await self._ledger.commit(Entry(event, (put, *kept, *effects)))
            if not isinstance(committed, Committed):
                raise StoreError("the policy could not be stored", detail=committed.reason)
        except BriefcaseError:
            if self._history is history:
                self._history = before
            raise

        # 4. swap, in the order of the chain
        if committed.receipt_id > self._receipt_id:
            self._receipt_id = committed.receipt_id
            self._stored, self._policy = candidate.stored, candidate.compiled
        return committed

    def _with(self, candidate: Candidate, by: str) -> tuple[PolicyHistory, tuple[Effect, ...]]:
        """The history with a candidate; it begins with the policy that an earlier release has set."""
        history, first = self._history, self._stored
        puts: tuple[Effect, ...] = ()
        if not history.kept() and first.text:
            before = KeptPolicy(self._policy.digest_hex, first.updated_us, "", policies=0, place=0)
            history, puts = history.extended(before, msgspec.json.encode(first))
        digest_hex, stored = candidate.compiled.digest_hex, candidate.stored
        one = KeptPolicy(digest_hex, stored.updated_us, by, candidate.policies, place=0)
        history, further = history.extended(one, msgspec.json.encode(stored))
        return history, (*puts, *further)

    def check_own(self) -> None:
        """Check that the policy is the operator's to set.

        Raises:
            CallerError: a control plane manages it (`managed_by_control_plane`).
        """
        enrolment = read_fleet_state(self._ledger).enrolment
        if enrolment is not None:
            raise CallerError(
                f"the control plane `{enrolment.base_url}` manages the policy",
                code="managed_by_control_plane",
                hint="publish it there; `briefcase control-plane leave` gives the policy back to you",
            )
