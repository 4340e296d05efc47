"""The active policy: loaded from the ledger at start, replaced whole, and never by one that is not sound.

Setting a policy takes four steps; until the last one the old policy decides:

1. validate and compile it, off the event loop
2. commit it with its receipt: one transaction
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

from briefcase.core.policy.check import DEFAULT_POLICY_TEXT, check_policy
from briefcase.core.policy.engine import CompiledPolicy, compile_policy
from briefcase.core.receipts.events import policy_set_event
from briefcase.model.effects import Committed, Entry, PutSetting
from briefcase.model.errors import CallerError, StoreError
from briefcase.model.ports import Clock, Ledger, Policy, Tools
from briefcase.model.reasons import POLICY_ERROR
from briefcase.model.types import Deny, JsonObject, Principal, RiskSignals, ToolSpec, Verdict

SETTING: Final = "policy"
INSTALLER: Final = "first start"


class StoredPolicy(msgspec.Struct, frozen=True):
    """The setting: the policy's text and when it was set."""

    text: str
    updated_us: int


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

    async def open(self) -> None:
        """Load the stored policy; the first start stores the default one, with a receipt.

        Raises:
            StoreError: the default policy could not be made durable, or the setting is unreadable.
        """
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
            self._policy = await self._run_blocking(lambda: self._layer(compile_policy(stored.text)))
        except CallerError as error:
            digest_hex = hashlib.sha256(stored.text.encode(errors="surrogatepass")).hexdigest()
            self._policy = BrokenPolicy(digest_hex, f"the stored policy does not compile: {error.message}")

    def active(self) -> Policy:
        """The policy that decides now."""
        return self._policy

    def problem(self) -> str | None:
        """Why every call is denied, or None."""
        return self._policy.problem if isinstance(self._policy, BrokenPolicy) else None

    def current(self) -> tuple[str, str, int]:
        """The text, its SHA-256 in hex, and when it was set (microseconds)."""
        return self._stored.text, self._policy.digest_hex, self._stored.updated_us

    async def set(self, text: str, by: str) -> Committed:
        """Replace the active policy, whole.

        Args:
            text: the policy set.
            by: who sets it, for the receipt.

        Raises:
            CallerError: it does not parse, validate or compile (`invalid_policy`); the old one stays.
            StoreError: it could not be made durable; the old one stays.
        """
        # 1. validate and compile
        specs = tuple(self._tools.specs())
        policies = 0

        def prepare() -> Policy:
            nonlocal policies
            parsed = check_policy(text, specs)
            policies = len(parsed.names)
            return self._layer(CompiledPolicy(parsed))

        prepared = await self._run_blocking(prepare)

        # 2. commit
        stored = StoredPolicy(text, self._clock.now_us())
        event = policy_set_event(by, self._policy.digest_hex, prepared.digest_hex, policies)
        committed = await self._ledger.commit(Entry(event, (PutSetting(SETTING, msgspec.json.encode(stored)),)))
        if not isinstance(committed, Committed):
            raise StoreError("the policy could not be stored", detail=committed.reason)

        # 4. swap, in the order of the chain
        if committed.receipt_id > self._receipt_id:
            self._receipt_id = committed.receipt_id
            self._stored, self._policy = stored, prepared
        return committed
