"""Why a call would be decided as it would: the policy's questions, risk, controls and budget, with no effect."""

from __future__ import annotations

from typing import Final

import msgspec

from briefcase.core import budgets, risk
from briefcase.core.controls import is_about
from briefcase.core.policy.explanation import Asked, Basis, outcome_of
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.core.wire.explanations import (
    BasisRecord,
    BudgetShown,
    ExplainRequest,
    Explanation,
    FlipRecord,
    QuestionRecord,
)
from briefcase.edges.api.routing import OPERATOR, Request, Route
from briefcase.edges.api.services import Services
from briefcase.model import reasons
from briefcase.model.errors import CallerError
from briefcase.model.types import (
    Allow,
    ApprovalKind,
    Deny,
    Principal,
    ToolSpec,
    Verdict,
    asking,
)


async def explain_call(services: Services, request: Request) -> Explanation:
    """`POST /v1/explain`: steps 3 to 7 of a call, told and not taken."""
    wanted = request.body_as(ExplainRequest)
    principal = _principal(services, request.principal, wanted)
    call, text = wanted.call, wanted.policy_text if isinstance(wanted.policy_text, str) else None

    # 3. and 4. the tool, and its arguments
    tool, refused_as = services.tools.resolve(call.tool_id), services.tools.refusal(call.tool_id)
    problem = None if tool is None else tool.check_args(call.args)
    if tool is None or refused_as is not None or problem is not None:
        reason = refused_as or reasons.UNKNOWN_TOOL if problem is None else _invalid(problem)
        digest_hex = services.policy.current()[1]
        return _explanation(principal, call.tool_id, Deny(reason), digest_hex)

    # 5. the policy
    spec, now_us = tool.spec, services.clock.now_us()
    signals = risk.assess_risk(canonical_bytes(call.args), tool)
    found = await services.policy.explain(Asked(principal, spec, call.args, signals, now_us), text)

    # 6. risk and controls, 7. budget
    controls = [control.id for control in services.controls.active() if is_about(control, principal, spec)]
    verdict = services.controls.apply(risk.tighten(found.verdict, signals), principal, spec, now_us)
    budget = _budget(services, spec, now_us)
    if budget is not None and budget.is_over and not isinstance(verdict, Deny):
        exceeded = reasons.BUDGET_EXCEEDED
        verdict = asking(verdict, ApprovalKind.LOCAL, exceeded)
    told = _explanation(principal, spec.id, verdict, found.digest_hex)
    return msgspec.structs.replace(
        told,
        category=spec.category,
        source=spec.source,
        policy_outcome=outcome_of(found.verdict),
        questions=[
            QuestionRecord(
                question.action,
                question.is_permitted,
                [_basis(basis) for basis in question.determining],
                [_basis(basis) for basis in question.erring],
            )
            for question in found.questions
        ],
        risk=list(signals.words),
        controls=controls,
        flips=[FlipRecord(change.kind, change.name, change.outcome) for change in found.changes],
        budget=msgspec.UNSET if budget is None else budget,
    )


def _principal(services: Services, asker: Principal, wanted: ExplainRequest) -> Principal:
    if not isinstance(wanted.agent, str):
        return asker
    agent = services.agents.by_name(wanted.agent)
    if agent is None:
        raise CallerError("no active agent has this name", code="not_found", hint="see `briefcase agents list`")
    return agent


def _budget(services: Services, spec: ToolSpec, now_us: int) -> BudgetShown | None:
    if not spec.cost_microusd:
        return None
    line = services.ledger.budget(spec.category, budgets.day_of(now_us))
    is_over = budgets.is_over(line, spec.cost_microusd)
    if line is None:
        return BudgetShown(spec.category, spec.cost_microusd, 0, 0, 0, is_over)
    return BudgetShown(
        spec.category,
        spec.cost_microusd,
        line.daily_limit_microusd,
        line.spent_microusd,
        line.reserved_microusd,
        is_over,
    )


def _explanation(principal: Principal, tool_id: str, verdict: Verdict, digest_hex: str) -> Explanation:
    return Explanation(
        outcome=outcome_of(verdict),
        reason="" if isinstance(verdict, Allow) else verdict.reason,
        detail="" if isinstance(verdict, Allow) else verdict.detail,
        advice=verdict.advice if isinstance(verdict, Deny) else "",
        policy_ids=list(verdict.policy_ids),
        policy_hash_hex=digest_hex,
        principal=principal.name,
        groups=list(principal.groups),
        tool_id=tool_id,
    )


def _basis(basis: Basis) -> BasisRecord:
    return BasisRecord(basis.id, basis.effect, basis.reason, basis.problem)


def _invalid(problem: str) -> str:
    return reasons.with_detail(reasons.INVALID_ARGS, problem)


ROUTES: Final = (
    Route(
        "POST",
        "/v1/explain",
        OPERATOR,
        explain_call,
        "Say what a call would come to, and why",
        Explanation,
        body=ExplainRequest,
    ),
)
