"""How providers stand: what entitles to calls, how the calls went, and what the contract harness last said.

The stable words a provider refuses with are explained here, where somebody reads them in an incident.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from briefcase.core.wire.providers import ProviderHealth, ProviderSummary
from briefcase.model.reasons import CAPABILITY_REVOKED, REPLAY_DETECTED, VC_STATUS_UNKNOWN
from briefcase.model.types import parse_rfc3339

Colour = Literal["green", "yellow", "red"]
SHOWN_IDS: Final = 3

# A word a provider refused with, and what it comes of (docs/providers.md).
EXPLAINED: Final[dict[str, str]] = {
    REPLAY_DETECTED: "a clock is wrong, or something on the way repeats requests",
    CAPABILITY_REVOKED: "the provider ended what it issued",
    "invalid_dpop_proof": "a clock is wrong, or the provider sees another address than we call",
    "use_dpop_nonce": "the provider changes its nonce faster than it can be sent back",
    "invalid_token": "the capability is of another key, or the provider lost it",
    VC_STATUS_UNKNOWN: "the list that says whether the credential is good cannot be had",
}


class Judgement(NamedTuple):
    """How all providers stand together, and what to do."""

    colour: Colour
    detail: str
    hint: str = ""


def judge_providers(held: list[ProviderSummary], health: list[ProviderHealth], now_us: int) -> Judgement:
    """Judge them by what is held of each, how it behaved, and its verdict.

    Args:
        held: all of them, of `GET /v1/providers`.
        health: how they behave, of `GET /v1/diagnostics/providers`; none where the daemon does not tell.
        now_us: this host's clock, in microseconds.
    """
    rules: tuple[tuple[Iterable[str], str], ...] = (
        (
            map(_failed_verdict, health),
            "`briefcase conformance provider --base-url URL --out report.json` has the details",
        ),
        (
            map(_failing_calls, health),
            "`GET /v1/diagnostics/providers`; `briefcase providers disable ID` contains it",
        ),
        ((_expired(provider, now_us) for provider in held), "`briefcase providers vc-fetch`"),
        (map(_needs_login, held), "`briefcase providers oauth-login --id ID`"),
    )
    problems, hints = list[str](), list[str]()
    for told, hint in rules:
        found = [problem for problem in told if problem]
        if found:
            problems.append(some(found))
            hints.append(hint)
    if problems:
        return Judgement("yellow", "; ".join(problems), "; ".join(hints))
    standing = [_standing(provider) for provider in health] or [provider.id for provider in held]
    return Judgement("green", some(standing) or "none")


def some(names: list[str]) -> str:
    """The first few of a list, and how many more there are."""
    more = f" and {len(names) - SHOWN_IDS} more" if len(names) > SHOWN_IDS else ""
    return ", ".join(names[:SHOWN_IDS]) + more


def _failed_verdict(provider: ProviderHealth) -> str:
    verdict = provider.verdict
    if verdict is None or verdict.ok:
        return ""
    return (
        f"{provider.id} fails the contract harness ({some(verdict.failing) or 'nothing passed'}, {verdict.finished_at})"
    )


def _failing_calls(provider: ProviderHealth) -> str:
    """The last call failed, or some were taken for replays: counted since the daemon started."""
    problem_at, ok_at = provider.last_problem_at, provider.last_ok_at
    if problem_at is not None and (ok_at is None or parse_rfc3339(ok_at) < parse_rfc3339(problem_at)):
        problem = provider.last_problem
        return f"the last call of {provider.id} failed: {problem}{_explained(problem)}"
    if provider.replays:
        word = REPLAY_DETECTED
        return f"{provider.replays:,} calls of {provider.id} ended in `{word}`{_explained(word)}"
    return ""


def _explained(problem: str) -> str:
    return next((f" ({cause})" for word, cause in EXPLAINED.items() if word in problem), "")


def _expired(provider: ProviderSummary, now_us: int) -> str:
    expires_at = provider.vc_expires_at_rfc3339
    is_over = expires_at is not None and parse_rfc3339(expires_at) <= now_us
    return f"the credential has expired of {provider.id}" if is_over else ""


def _needs_login(provider: ProviderSummary) -> str:
    """Enabled, and nothing entitles to its calls. Never logged in to is as good as ended."""
    is_wanting = provider.needs_login and not provider.has_vc and provider.is_enabled
    return f"nobody is logged in to {provider.id}" if is_wanting else ""


def _standing(provider: ProviderHealth) -> str:
    verdict = provider.verdict
    tried = "never held to the contract" if verdict is None else f"harness passed {verdict.finished_at}"
    disabled = "" if provider.is_enabled else ", disabled"
    return f"{provider.id}: {provider.calls:,} calls, {provider.failures:,} failed, {tried}{disabled}"
