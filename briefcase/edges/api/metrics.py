"""Figures for Prometheus, and the ones that are read from what the API answers from."""

from __future__ import annotations

from collections import Counter
from typing import Final

from briefcase.adapters.telemetry.metrics import Family, by_label, counter, gauge
from briefcase.core.approvals.lifecycle import status_at
from briefcase.core.budgets import day_of
from briefcase.edges.api.routing import READERS, Request, Route
from briefcase.edges.api.services import Services
from briefcase.edges.http.routing import Reply
from briefcase.model.types import US_PER_S, ApprovalStatus


async def show_metrics(services: Services, _: Request) -> Reply:
    """`GET /metrics`: text exposition format 0.0.4."""
    from briefcase.adapters.telemetry.exposition import CONTENT_TYPE, encode_text

    return Reply(encode_text(services.metrics.collect()), headers=((b"content-type", CONTENT_TYPE),))


def service_families(services: Services) -> list[Family]:
    """What waits, what holds, and what is left: read when somebody asks."""
    ledger, now_us = services.ledger, services.clock.now_us()
    waiting = sum(
        status_at(approval, now_us) is ApprovalStatus.PENDING for approval in ledger.approvals(ApprovalStatus.PENDING)
    )
    lines = ledger.budgets(day_of(now_us))
    tools = sum(not spec.runs_at_client for spec in services.tools.specs())
    controls = Counter[str](control.action for control in services.controls.active())
    return [
        gauge("briefcase_approvals_pending", "Approvals that wait for a person.", waiting),
        counter(
            "briefcase_approvals_expired_total",
            "Approvals whose time was over before they were decided or used.",
            services.calls.expiry.expired_approvals,
        ),
        gauge(
            "briefcase_ledger_gate_open", "1 while receipts can be made durable.", int(ledger.gate_problem() is None)
        ),
        gauge("briefcase_receipts_head", "The id of the last durable receipt.", ledger.head().id),
        gauge(
            "briefcase_policy_set_timestamp_seconds",
            "When the policy was set.",
            services.policy.current()[2] / US_PER_S,
        ),
        gauge("briefcase_open_decisions", "Decisions that nobody has closed yet.", services.calls.open_decisions),
        gauge("briefcase_tools", "Tools that can be called.", tools),
        by_label("briefcase_controls", "gauge", "Incident controls in force.", "action", {**controls}),
        by_label(
            "briefcase_budget_limit_microusd",
            "gauge",
            "A category's daily limit.",
            "category",
            {line.category: line.daily_limit_microusd for line in lines},
        ),
        by_label(
            "briefcase_budget_spent_microusd",
            "gauge",
            "Spent of a category today.",
            "category",
            {line.category: line.spent_microusd for line in lines},
        ),
        by_label(
            "briefcase_budget_reserved_microusd",
            "gauge",
            "Set aside of a category for calls under way.",
            "category",
            {line.category: line.reserved_microusd for line in lines},
        ),
    ]


ROUTES: Final = (Route("GET", "/metrics", READERS, show_metrics, "Figures for Prometheus", str, media="text/plain"),)
