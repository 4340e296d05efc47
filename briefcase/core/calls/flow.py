"""One tool call, from the authenticated request to the answer: read `Calls.call` top to bottom.

The steps, numbered as in docs/design.md:

 1. authenticate                 (the edge did it: `principal` is the proof)
 2. parse strictly, once         (`read`: everything from here on takes the value)
 3. resolve the tool
 4. validate the arguments
 5. decide policy
 6. risk signals and the operator's controls, which can only tighten
 7. rate limit, budget
 8. approval: attach one, or create one and stop
 9. intent: one durable transaction; nothing has left before it
10. execute with the value that was decided on
11. output firewall
12. outcome: one durable transaction
13. answer

Every exit from 2 to 8 leaves one receipt, or is counted in one (`refusals`). A fault of the ledger leaves as
`StoreError` from wherever it happened, and the caller is told nothing else: no answer without its receipt.

`decide` is steps 3 to 9 for a gateway that executes by itself; `close` is its step 12. `delegate` is steps 3 to 9 for a
caller that never reports: what it may do is decided and closed in one transaction. `hook` is the same for a coding
agent, which may tell later what came of it (`reports`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from briefcase._native.stopwatch import Stopwatch
from briefcase.core import budgets, risk
from briefcase.core.approvals import lifecycle as approvals
from briefcase.core.calls.admission import Admitted, Checked
from briefcase.core.calls.answers import ALLOWED, Answer, RememberedAnswers, encode_answer
from briefcase.core.calls.asking import Asking, new_approval
from briefcase.core.calls.call_log import CallLog
from briefcase.core.calls.continuing import going_on
from briefcase.core.calls.decisions import OpenDecision, OpenDecisions
from briefcase.core.calls.expiry import Expiry
from briefcase.core.calls.granting import NOBODYS, Granting
from briefcase.core.calls.ratelimits import RateLimiter
from briefcase.core.calls.refusals import Refusals
from briefcase.core.calls.reports import Reports
from briefcase.core.calls.results import encode_result, outcome_entry, settling
from briefcase.core.calls.rulings import Rulings
from briefcase.core.calls.settings import CallSettings
from briefcase.core.calls.shown import shown_call
from briefcase.core.characters.marks import visible_text
from briefcase.core.controls import Controls
from briefcase.core.grants.held import Grants
from briefcase.core.pieces import in_turns
from briefcase.core.receipts import events
from briefcase.core.receipts.events import CallFacts, Decided, Settled
from briefcase.core.redaction.redactor import repeatable
from briefcase.core.wire.approvals import wire_approval
from briefcase.core.wire.call_requests import parse_call, parse_outcome
from briefcase.model import reasons
from briefcase.model.effects import (
    ClaimRequest,
    Committed,
    CreateApproval,
    Effect,
    Entry,
    OpenIntent,
    Refused,
    ReserveBudget,
    SettleBudget,
)
from briefcase.model.errors import CallerError, InternalError, UpstreamError
from briefcase.model.grants import Grant
from briefcase.model.ports import (
    CallContext,
    Clock,
    Entropy,
    Event,
    Ledger,
    Policy,
    Redactor,
    Tool,
    Tools,
    Turns,
)
from briefcase.model.types import (
    Allow,
    Approval,
    ApprovalKind,
    Deny,
    JsonObject,
    NeedsApproval,
    Principal,
    RiskSignals,
    ToolCall,
    ToolResult,
    ToolSpec,
    Verdict,
    asking,
)

NS_PER_MS: Final = 1_000_000
CALL: Final = "call"
DECIDE: Final = "decide"
DELEGATE: Final = "delegate"
HOOK: Final = "hook"
HOOK_ASKS: Final = "hook_asks"  # a hook whose client asks its own user
_CLOSED_AT_ONCE: Final = frozenset({DELEGATE, HOOK, HOOK_ASKS})
_HOOKS: Final = frozenset({HOOK, HOOK_ASKS})
SIGNER: Final = "signer"  # whom an operator stands in for


class Calls:
    """The flow of a tool call over ports. One event loop; any number of calls in flight."""

    def __init__(  # noqa: PLR0913 - the ports of the flow, each named once, here
        self,
        *,
        ledger: Ledger,
        policy: Callable[[], Policy],
        tools: Tools,
        controls: Controls,
        grants: Grants,
        redactor: Redactor,
        clock: Clock,
        entropy: Entropy,
        limiter: RateLimiter,
        new_event: Callable[[], Event],
        turns: Turns,
        log: CallLog,
        settings: CallSettings,
    ) -> None:
        self._ledger = ledger
        self._policy = policy
        self._tools = tools
        self._controls = controls
        self._grants = grants
        self._redactor = redactor
        self._clock = clock
        self._now_ns = clock.monotonic_ns
        self._entropy = entropy
        self._limiter = limiter
        self._new_event = new_event
        self._turns = turns
        self._log = log
        self._settings = settings
        self._asking = Asking(new_event)
        self._rulings = Rulings(ledger, settings.denial_ttl_us)
        self._granting = Granting(ledger, grants, controls, self._rulings)
        self._answers = RememberedAnswers()
        self._running: dict[tuple[str, str], Event | None] = {}  # by principal and request id; what a retry waits for
        self.refusals = Refusals(ledger, clock, redactor, new_event)
        self.reports = Reports(ledger, redactor)
        self._open_decisions = OpenDecisions(settings.max_open_decisions, settings.max_open_decisions_per_principal)
        self.expiry = Expiry(ledger, clock, self._open_decisions)

    async def read(self, principal: Principal, body: bytes) -> ToolCall:
        """Take step 2, once for each request: the value that everything from here on is about.

        Args:
            principal: who the edge authenticated.
            body: the request's JSON, `{"call": ToolCall}`.

        Raises:
            CallerError: the body is no call; its refusal is receipted.
            StoreError: that receipt could not be made durable.
        """
        try:
            return parse_call(body, self._now_ns())
        except CallerError as error:
            raise await self.refusals.refuse(principal, error, body) from None

    async def call(self, principal: Principal, call: ToolCall) -> Answer:
        """Take one call through steps 3 to 13.

        Args:
            principal: who the edge authenticated.
            call: what `read` made of the request.

        Raises:
            StoreError: a receipt could not be made durable; nothing may be concluded about the call.
        """
        watch = Stopwatch(self._now_ns, call.began_ns)
        admitted = await self._admit(CALL, principal, call, watch)  # steps 3 to 9
        if isinstance(admitted, Answer):
            return admitted

        facts = admitted.checked.facts
        try:
            # 10. execute, with the value that was decided on and never the caller's bytes
            outcome = await self._execute(call, admitted)
            watch.mark("execute")

            # 11. output firewall; what is large waits for a turn of its principal
            work = settling(admitted, outcome, self._redactor)
            del outcome  # as objects it weighs up to thirty times its bytes, which are kept
            settled, content = await in_turns(work, partial(self._turns.turn, facts.principal))
            watch.mark("firewall")

            # 12. outcome
            intent_id = admitted.intent.receipt_id
            entry = outcome_entry(facts, intent_id, admitted.settle, settled, watch.timing_us)
            closed = await self._ledger.commit(entry)
            if isinstance(closed, Refused):
                raise _not_closed(intent_id, closed)
            watch.mark("outcome")

            # 13. answer
            answer = encode_result(settled, content, closed, watch.timing_us)
            self._answers.remember(CALL, facts, answer)
            return answer
        finally:
            self._end(facts)

    async def decide(self, principal: Principal, call: ToolCall) -> Answer:
        """Take one call through steps 3 to 9 and leave its execution to the caller, who must `close` it.

        Raises:
            StoreError: as `call`.
        """
        watch = Stopwatch(self._now_ns, call.began_ns)
        admitted = await self._admit(DECIDE, principal, call, watch)
        if isinstance(admitted, Answer):
            return admitted
        facts, spec = admitted.checked.facts, admitted.checked.tool.spec
        deadline_ns = self._now_ns() + self._settings.deadline_ms * NS_PER_MS
        self._open_decisions.add(
            admitted.intent.receipt_id,
            OpenDecision(
                facts.call_id, facts.request_id, facts.principal, spec.id, spec.source, admitted.settle, deadline_ns
            ),
        )
        return self._allowed(DECIDE, admitted, watch)

    async def delegate(self, principal: Principal, call: ToolCall) -> Answer:
        """Take one call through steps 3 to 9 for a caller that executes it and never says what came of it.

        The whole cost counts as spent, and the receipt says that the outcome was not observed.

        Raises:
            StoreError: as `call`.
        """
        return await self._close_at_once(DELEGATE, principal, call)

    async def hook(self, principal: Principal, call: ToolCall, *, asks_client: bool) -> Answer:
        """Take one call through steps 3 to 9 for a coding agent's hook; what came of it may be reported.

        A yes that waits for this very call is used without a token, since a hook can bring none along.

        Args:
            principal: as `call`.
            call: as `call`.
            asks_client: leave what needs the operator's yes, and costs nothing, to the client's own prompt.

        Raises:
            StoreError: as `call`.
        """
        return await self._close_at_once(HOOK_ASKS if asks_client else HOOK, principal, call)

    async def close(self, principal: Principal, body: bytes) -> Answer:
        """Record what became of a decided call: step 12 for `decide`.

        Args:
            principal: who decided it; nobody else may close it.
            body: `{"receipt_id", "status": "ok" | "error", "cost_microusd"?, "output_digest"?, "output_bytes"?,
                "error"?}`.

        Raises:
            CallerError: the body is no outcome, or names no open decision of this principal (`not_found`).
            StoreError: as `call`.
        """
        watch = Stopwatch(self._now_ns)
        wire = parse_outcome(body)
        decision = self._open_decisions.take(wire.receipt_id, principal)
        if decision is None:
            raise CallerError(f"no open decision `{wire.receipt_id}`", code="not_found")
        settled = Settled(
            status=wire.status,
            cost_microusd=budgets.settled_cost(decision.reserved_microusd, wire.cost_microusd),
            source=decision.source,
            output_digest_hex=wire.output_digest,
            output_bytes=wire.output_bytes,
            error=visible_text(self._redacted(wire.error)),
            reported_cost_microusd=wire.cost_microusd,
            cost_over_reserved=budgets.is_over_reserved(decision.reserved_microusd, wire.cost_microusd),
            tool_error=wire.tool_error and wire.status == "ok",
        )
        entry = outcome_entry(decision, wire.receipt_id, decision.settle, settled, watch.timing_us)
        closed = await self._ledger.commit(entry)
        if isinstance(closed, Refused):
            raise _not_closed(wire.receipt_id, closed)
        watch.mark("outcome")
        return encode_answer({"status": "recorded", "receipt_id": closed.receipt_id}, watch.timing_us, is_filtered=True)

    @property
    def open_decisions(self) -> int:
        """How many decisions wait for their caller to close them."""
        return len(self._open_decisions)

    async def _close_at_once(self, flow: str, principal: Principal, call: ToolCall) -> Answer:
        watch = Stopwatch(self._now_ns, call.began_ns)
        admitted = await self._admit(flow, principal, call, watch)
        return admitted if isinstance(admitted, Answer) else self._allowed(flow, admitted, watch)

    def _allowed(self, flow: str, admitted: Admitted, watch: Stopwatch) -> Answer:
        """What the caller that executes by itself gets; a retry gets the same."""
        facts = admitted.checked.facts
        payload: JsonObject = {
            "status": events.ASKED_CLIENT if admitted.asked_for else ALLOWED,
            "call_id": facts.call_id,
            "receipt_id": admitted.intent.receipt_id,
            "tool_digest_hex": admitted.checked.tool.spec.digest_hex,
            "args_digest_hex": facts.args_digest_hex,
        }
        if admitted.asked_for:
            payload["reason"] = admitted.asked_for
        receipt_id = admitted.intent.receipt_id
        answer = encode_answer(payload, watch.timing_us, is_filtered=True, receipt_id=receipt_id)
        self._answers.remember(flow, facts, answer)
        self._end(facts)
        return answer

    # --- steps 3 to 9 -------------------------------------------------------------------------------------------

    async def _admit(self, flow: str, principal: Principal, call: ToolCall, watch: Stopwatch) -> Admitted | Answer:
        canonical_args = call.canonical_args
        watch.mark("parse")

        # 3. resolve the tool
        policy = self._policy()
        tool = self._tools.resolve(call.tool_id)
        signals = risk.assess_risk(canonical_args, tool)
        raised = RiskSignals(signals.words + call.classified) if call.classified else signals
        facts = self._facts_of(principal, call, canonical_args, policy, tool, raised)
        self._log.began(facts.call_id, facts.request_id)
        watch.mark("resolve")
        repeated = await self._repeated(flow, facts, watch)
        if repeated is not None:
            return repeated
        refused_as = self._tools.refusal(call.tool_id)
        if tool is None or refused_as is not None:
            return await self._deny(facts, Deny(refused_as or reasons.UNKNOWN_TOOL), watch)

        # 4. validate the arguments
        problem = tool.check_args(call.args)
        if problem is not None:
            told = repeatable(self._redactor, CallerError(problem, code=reasons.INVALID_ARGS), canonical_args)
            return await self._deny(facts, Deny(reasons.with_detail(reasons.INVALID_ARGS, told.message)), watch)
        watch.mark("validate")

        # 5. decide policy
        now_us = self._clock.now_us()
        verdict = policy.decide(principal, tool.spec, call.args, signals, now_us)
        watch.mark("policy")

        # 6. risk signals and the operator's controls, which can only tighten
        verdict = risk.tighten(verdict, raised)
        verdict = self._controls.apply(verdict, principal, tool.spec, now_us)
        checked = Checked(facts, tool, canonical_args, now_us)
        origin = self._tools.origin(call, principal)
        if origin is not None:
            verdict, checked = going_on(verdict, checked, policy, origin, (self._controls, self._ledger))

        # 7. rate limit, budget
        verdict = self._limit(flow, principal, checked.tool.spec, verdict, now_us)
        watch.mark("limits")

        # 8. approval: attach one, or create one and stop
        token, approval, grant = call.approval_token, None, None
        if token is not None or not isinstance(verdict, Allow):
            approval, verdict = self._rulings.attach(token, checked, verdict, for_hook=flow in _HOOKS)
            if isinstance(verdict, Allow):
                approval = None  # one that is not needed is not used up
            elif isinstance(verdict, Deny):
                return await self._deny(checked.facts, verdict, watch)
            elif approval is None or not approvals.covers(approval, verdict, self._kind_for(verdict)):
                grant = self._granting.of(checked, verdict) if self._grants.held else None
                if grant is None and not self._is_asked_at_client(flow, checked, verdict):
                    return await self._ask(checked, verdict, watch)
                approval = None
        watch.mark("approval")

        # 9. intent: durable before anything leaves
        return await self._intend(flow, checked, verdict, approval or grant, watch)

    def _facts_of(  # noqa: PLR0917 - what steps 2 and 3 learnt, each once
        self,
        principal: Principal,
        call: ToolCall,
        canonical_args: bytes,
        policy: Policy,
        tool: Tool | None,
        signals: RiskSignals,
    ) -> CallFacts:
        form = self._settings.args_form
        recorded = self._redactor.redact(canonical_args) if form == "redacted" else canonical_args
        return CallFacts(
            call_id=self._entropy.uuid(),
            request_id=call.request_id,
            principal=principal,
            tool_id=call.tool_id if tool else self._redacted(call.tool_id),
            args_digest_hex=hashlib.sha256(canonical_args).hexdigest(),
            args_text=None if form == "digest" else recorded.decode(),
            policy_digest_hex=policy.digest_hex,
            spec=tool.spec if tool else None,
            risk=signals.words,
            agent_id=None if call.agent_id is None else self._redacted(call.agent_id),
            session_id=None if call.session_id is None else self._redacted(call.session_id),
        )

    def _redacted(self, text: str) -> str:
        """What a caller wrote, as it may be recorded."""
        return self._redactor.redact_text(text)

    async def _repeated(self, flow: str, facts: CallFacts, watch: Stopwatch) -> Answer | None:
        """What a retry of an executed request gets: the same answer, and never a second execution.

        # INVARIANT (one at a time): from a None of this to the entry in `_running` nothing is awaited.
        """
        key = (facts.principal.name, facts.request_id)
        while key in self._running:
            running = self._running[key] = self._running[key] or self._new_event()
            await running.wait()
        if self._ledger.claimed_request(*key) is None:
            return None  # and so nothing is remembered either
        known = self._answers.recall(flow, facts)
        if known is not None and flow is DECIDE and known.receipt_id not in self._open_decisions:
            known = None  # its caller ran it already: the same yes would run it again
        if known is not None:  # what became a secret since it was remembered is cut out where it is encoded
            return msgspec.structs.replace(known, is_filtered=False)
        return await self._deny(facts, Deny(reasons.REPLAY_DETECTED), watch)

    def _end(self, facts: CallFacts) -> None:
        """Let retries of the request go on: its answer is remembered, or there is none."""
        waited_for = self._running.pop((facts.principal.name, facts.request_id))
        if waited_for is not None:
            waited_for.set()

    def _limit(self, flow: str, principal: Principal, spec: ToolSpec, verdict: Verdict, now_us: int) -> Verdict:
        if isinstance(verdict, Deny):
            return verdict
        if flow is DECIDE and self._open_decisions.is_full(principal, len(self._running)):
            return Deny(reasons.TOO_MANY_OPEN_DECISIONS, verdict.policy_ids)
        if not self._limiter.take(principal.name, spec.id, self._now_ns()):
            return Deny(reasons.RATE_LIMITED, verdict.policy_ids)
        if not spec.cost_microusd:
            return verdict  # what costs nothing passes no limit
        line = self._ledger.budget(spec.category, budgets.day_of(now_us))
        if budgets.is_over(line, spec.cost_microusd):
            kind = verdict.kind if isinstance(verdict, NeedsApproval) else ApprovalKind.LOCAL
            return asking(verdict, kind, reasons.BUDGET_EXCEEDED)
        return verdict

    def _kind_for(self, verdict: NeedsApproval) -> ApprovalKind:
        """Who must approve: the operator stands in for a signer device where none is paired."""
        return verdict.kind if self._settings.has_signer() else ApprovalKind.LOCAL

    def _is_asked_at_client(self, flow: str, checked: Checked, verdict: NeedsApproval) -> bool:
        """Whether the client's own prompt asks: never for what costs, nor in place of a signer device or of several."""
        if verdict.approvers > 1 or verdict.excludes_author:
            return False
        is_free = not checked.tool.spec.cost_microusd
        return flow is HOOK_ASKS and is_free and self._kind_for(verdict) is ApprovalKind.LOCAL

    async def _ask(self, checked: Checked, verdict: NeedsApproval, watch: Stopwatch) -> Answer:
        """Stop with an approval to wait for, the one that waits for this very call or a new one, or with its denial."""
        facts, spec = checked.facts, checked.tool.spec
        effects: tuple[Effect, ...] = ()
        binding = checked.binding_hex
        await self._asking.settled(binding)
        denial = self._rulings.denial(checked, verdict)
        if denial is not None:
            return await self._deny(facts, denial, watch)
        approval = self._ledger.pending_approval(binding)
        kind = self._kind_for(verdict)
        stands_in = "" if kind is verdict.kind else SIGNER
        now_us = self._ledger.now_us()
        waits = approval is not None and approvals.is_waiting(approval, now_us)
        is_same = approval is not None and waits and approval.stands_in == stands_in
        if approval is None or not is_same or not approvals.covers(approval, verdict, kind):
            last_approved = self._ledger.last_approval(facts.principal.owner, spec.id)
            shown = shown_call(checked, verdict, self._redactor, last_approved)
            is_untold = checked.claim is not None and not checked.question
            if is_untold or shown.size_bytes > self._settings.max_shown_bytes:
                return await self._deny(facts, Deny(reasons.TOO_LARGE_TO_SHOW, verdict.policy_ids), watch)
            times_us = (now_us, now_us + self._settings.approval_ttl_us)
            approval = new_approval(
                self._entropy.uuid(), checked, verdict, shown=shown, times_us=times_us, who=(kind, stands_in)
            )
            effects = (CreateApproval(approval, shown),)
        detail = verdict.detail and self._redacted(verdict.detail)
        decided = Decided(events.APPROVAL_REQUIRED, verdict.reason, detail, verdict.policy_ids, approval.id)
        watch.mark("approval")
        event = events.call_event("approval_required", facts, decided, watch.timing_us)
        if approval.stands_in:
            event["stands_in"] = approval.stands_in
        with self._asking.writing(binding, is_new=bool(effects)):
            committed = await self._ledger.commit(Entry(event, effects, is_filtered=True))
        if isinstance(committed, Refused):
            return await self._deny(facts, Deny(committed.reason, verdict.policy_ids), watch)
        if effects:
            self._log.waits(approval.id, spec.id, facts.principal.name)
        watch.mark("receipt")
        waiting = {"status": "approval_required", "approval": wire_approval(approval)}
        return encode_answer(waiting, watch.timing_us, receipt_id=committed.receipt_id)

    async def _intend(
        self, flow: str, checked: Checked, verdict: Allow | NeedsApproval, by: Approval | Grant | None, watch: Stopwatch
    ) -> Admitted | Answer:
        facts, spec = checked.facts, checked.tool.spec
        effects: list[Effect] = [ClaimRequest(facts.principal.name, facts.request_id)]
        yes = NOBODYS if by is None else self._granting.used(by, checked)
        if yes.effect is not None:
            effects.append(yes.effect)
        settle: SettleBudget | None = None
        if spec.cost_microusd:
            day = budgets.day_of(checked.now_us)
            effects.append(ReserveBudget(spec.category, day, spec.cost_microusd, approved=yes.passes_budget))
            settle = SettleBudget(spec.category, day, spec.cost_microusd, spec.cost_microusd, yes.grant_id)
        if checked.claim is not None:
            effects.append(checked.claim)
        asked_for = verdict.reason if by is None and isinstance(verdict, NeedsApproval) else ""
        word = events.APPROVAL_REQUIRED if asked_for else events.ALLOW
        decided = Decided(word, asked_for, "", verdict.policy_ids, yes.approval_id, yes.grant_id)
        if asked_for:
            event = events.asked_client_event(facts, decided, watch.timing_us)
        elif flow in _CLOSED_AT_ONCE:
            effects += [] if settle is None else [settle]
            event = events.delegated_event(facts, decided, settle, watch.timing_us)
        else:
            effects.append(OpenIntent(settle))
            event = events.call_event("intent", facts, decided, watch.timing_us)
        # later requests with this id wait until this one ends: its claim is seen before its answer is there
        self._running[facts.principal.name, facts.request_id] = None
        try:
            committed = await self._ledger.commit(Entry(event, tuple(effects), is_filtered=True))
        except BaseException:
            self._end(facts)
            raise
        watch.mark("intent")
        if isinstance(committed, Committed):
            return Admitted(checked, committed, settle, yes.approval_id is not None, asked_for)  # the flow ends it
        self._end(facts)
        if isinstance(verdict, NeedsApproval) and yes.has_no_grant_left(committed):
            return await self._ask(checked, verdict, watch)  # another call had the last of the grant
        return await self._deny(facts, Deny(committed.reason, verdict.policy_ids), watch)

    async def _deny(self, facts: CallFacts, verdict: Deny, watch: Stopwatch) -> Answer:
        """Stop with a denial, its receipt on disk first."""
        reason, detail = self._redacted(verdict.reason), verdict.detail and self._redacted(verdict.detail)
        decided = Decided(events.DENY, reason, detail, verdict.policy_ids)
        answer: JsonObject = {"status": "denied", "reason": reason}
        if verdict.reason == reasons.POLICY_DENIED:  # of an error the ids would say which argument to change
            answer["policy_ids"] = [self._redacted(name) for name in verdict.policy_ids]
            if verdict.advice:
                answer["advice"] = self._redacted(verdict.advice)
        kind = self.refusals.kind_of(facts.principal.name, verdict.reason, facts.tool_id)
        if kind is not None:
            timing_us = watch.timing_us
            receipt_id = answer["receipt_id"] = await self.refusals.record(
                kind, lambda: events.denied_event(facts, decided, timing_us)
            )
        else:
            entry = Entry(events.denied_event(facts, decided, watch.timing_us), is_filtered=True)
            committed = await self._ledger.commit(entry)
            receipt_id = committed.receipt_id if isinstance(committed, Committed) else 0
        watch.mark("receipt")
        return encode_answer(answer, watch.timing_us, is_filtered=True, receipt_id=receipt_id)

    # --- steps 10 to 12 -----------------------------------------------------------------------------------------

    async def _execute(self, call: ToolCall, admitted: Admitted) -> ToolResult | UpstreamError:
        checked = admitted.checked
        decided_on = checked.facts.spec
        context = CallContext(
            call_id=checked.facts.call_id,
            principal=checked.facts.principal.owner,
            request_id=checked.facts.request_id,
            deadline_ns=self._now_ns() + (checked.tool.spec.timeout_ms or self._settings.deadline_ms) * NS_PER_MS,
            is_approved=admitted.is_approved,
            first_intent_id=checked.facts.continues or admitted.intent.receipt_id,
            channel=call.channel,
            tool_digest_hex="" if decided_on is None else decided_on.digest_hex,
        )
        try:
            return await checked.tool.execute(call.args, context)
        except UpstreamError as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever a tool does, its intent is closed and the caller is told
            self._log.tool_failed(checked.facts.tool_id, error)
            return UpstreamError("the tool failed inside", code="internal", detail=repr(error))


def _not_closed(intent_id: int, refused: Refused) -> InternalError:
    return InternalError(f"intent {intent_id} could not be closed: {refused.reason}")
