"""What does one policy decision cost, by the number of policies, beside Cedar itself with prepared handles?

One decision is one answer for an agent, an action, a tool and a context: ours from a set specialised for the tool, as
the daemon holds it; Cedar's through cedarpy with parsed policies and entities, ten requests to a call, which is the
fastest way it offers. Both answers are compared before anything is timed.
"""

from __future__ import annotations

import json
import time
from statistics import median

import cedarpy
import pytest

from briefcase._native.entities import compile_entities
from briefcase._native.match import compile_policies
from briefcase._native.values import EntityUid
from briefcase.core.policy.check import DEFAULT_POLICY_TEXT
from briefcase.core.policy.engine import compile_policy
from briefcase.model.types import Principal, RiskSignals, Role
from support.tools import spec

AGENT, CALL, TOOL = EntityUid("Agent", "scout"), EntityUid("Action", "Call"), EntityUid("Tool", "files")
GROUPS = [{"type": "Group", "id": name} for name in ("scouts", "team7")]
AGENT_ENTITY = {"uid": {"type": "Agent", "id": "scout"}, "attrs": {}, "parents": GROUPS}
TOOL_ENTITY = {
    "uid": {"type": "Tool", "id": "files"},
    "attrs": {"category": "read", "cost_microusd": 50, "is_write": False, "net_access": False, "fs_access": True},
    "parents": [{"type": "Server", "id": "server7"}],
}
CONTEXT = {"args": {"path": "/srv/7/report.txt", "limit": 10}, "risk": [], "time": 0}
REQUEST = {
    "principal": str(AGENT),
    "action": str(CALL),
    "resource": str(TOOL),
    "context": json.dumps(CONTEXT),
}
BATCH = [REQUEST] * 10
ROUNDS = 101


def policies_of(count: int) -> str:
    """The default policy and rules for other teams, servers and arguments, as a fleet's set has them."""
    rules = [
        f'permit(principal in Group::"team{n}", action == Action::"Call", resource in Server::"server{n}")'
        f' when {{ context.args.path like "/srv/{n}/*" && resource.cost_microusd < 100 }};'
        for n in range(count - DEFAULT_POLICY_TEXT.count(";"))
    ]
    return DEFAULT_POLICY_TEXT + "\n".join(rules)


def each_us(function, calls: int) -> float:
    """The median time of one call, over rounds short enough that a busy machine interrupts few of them."""
    taken = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(calls):
            function()
        taken.append((time.perf_counter() - started) / calls * 1e6)
    return median(taken)


@pytest.mark.parametrize("count", [5, 100, 1_000, 10_000])
def bench_decision(benchmark, figure, count):
    name = "default" if count == 5 else str(count)
    text = DEFAULT_POLICY_TEXT if count == 5 else policies_of(count)
    policies = compile_policies(json.loads(cedarpy.policies_to_json_str(text)))
    everyone = compile_entities([AGENT_ENTITY, TOOL_ENTITY])
    special = policies.specialise(CALL, TOOL, compile_entities([TOOL_ENTITY]))
    groups = everyone.ancestors(AGENT)

    handle = cedarpy.PolicySet.from_str(text)
    entities = cedarpy.Entities.from_json_str(json.dumps([AGENT_ENTITY, TOOL_ENTITY]))
    cedar = cedarpy.is_authorized(REQUEST, handle, entities)
    ours = special.decide(AGENT, groups, CONTEXT)
    assert (ours.allowed, ours.determining) == (cedar.allowed, tuple(sorted(cedar.diagnostics.reasons)))

    benchmark(special.decide, AGENT, groups, CONTEXT)
    ours_us = each_us(lambda: special.decide(AGENT, groups, CONTEXT), 1_000)
    whole_us = each_us(lambda: policies.authorize(AGENT, CALL, TOOL, everyone, CONTEXT), 500)
    cedar_us = each_us(lambda: cedarpy.is_authorized_batch(BATCH, handle, entities), 1) / len(BATCH)
    figure(f"policy.{name}.median_us", ours_us, "µs")
    figure(f"policy.{name}.unspecialised_us", whole_us, "µs")
    figure(f"policy.{name}.cedarpy_us", cedar_us, "µs")
    figure(f"policy.{name}.speedup", cedar_us / ours_us, "×")


def bench_verdict_of_the_default_policy(benchmark, figure):
    """The three questions of a call, its context made from the arguments, and the verdict with its reason."""
    policy = compile_policy(DEFAULT_POLICY_TEXT)
    tool = spec("files", category="read", cost_microusd=50)
    agent, risk = Principal("scout", Role.AGENT, ("scouts",)), RiskSignals()
    benchmark(policy.decide, agent, tool, CONTEXT["args"], risk, 0)
    verdict_us = each_us(lambda: policy.decide(agent, tool, CONTEXT["args"], risk, 0), 1_000)
    figure("policy.default.verdict_us", verdict_us, "µs")


@pytest.mark.parametrize("count", [1_000, 10_000])
def bench_compile(benchmark, figure, count):
    """From Cedar's parse to the index; the parse itself beside it."""
    text = policies_of(count)
    started = time.perf_counter()
    source = json.loads(cedarpy.policies_to_json_str(text))
    figure(f"policy.{count}.parse_s", time.perf_counter() - started, "s")
    benchmark.pedantic(compile_policies, (source,), rounds=5)
    figure(f"policy.{count}.compile_s", benchmark.stats.stats.median, "s")
    policies = compile_policies(source)
    tool = compile_entities([TOOL_ENTITY])
    figure(f"policy.{count}.specialise_us", each_us(lambda: policies.specialise(CALL, TOOL, tool), 200), "µs")
