"""How many recorded receipts a second can a candidate policy be replayed over?

The lines are what `receipts export` writes: they are read, parsed and decided on, all of it counted. Arguments, agents
and tools vary, so that a memory of past answers helps as much as it does on real traffic and no more.
"""

from __future__ import annotations

import random

import orjson

from briefcase.core.policy.backtest import Backtest, read_lines
from briefcase.core.policy.check import DEFAULT_POLICY_TEXT
from briefcase.core.policy.engine import compile_policy
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.core.receipts.events import ALLOW, CallFacts, Decided, call_event
from briefcase.model.types import Principal, Role, format_rfc3339
from support.clock import START_US, FakeClock
from support.tools import spec

RECEIPTS = 100_000
EXTRA = """
@id("large-amounts-need-a-person")
forbid (principal, action == Action::"CallWithoutApproval", resource)
when { context.args has amount && context.args.amount > 900 };
"""
SCHEMA = {"type": "object", "properties": {"amount": {"type": "integer"}, "text": {"type": "string"}}}
TOOLS = [
    spec(f"tool_{number}", category=("read", "write")[number % 2], cost_microusd=100, input_schema=SCHEMA)
    for number in range(40)
]


def recorded_lines() -> bytes:
    """Intents of twenty agents on forty tools, each with arguments of its own."""
    chosen = random.Random(1)
    tools = TOOLS
    agents = [Principal(f"agent_{number}", Role.AGENT, ("scouts",)) for number in range(20)]
    lines = []
    for number in range(1, RECEIPTS + 1):
        tool, agent = chosen.choice(tools), chosen.choice(agents)
        args = canonical_bytes({"amount": chosen.randrange(1_000), "text": f"order {number}"}).decode()
        facts = CallFacts(
            call_id=f"{number:032x}",
            request_id=f"{number:032x}",
            principal=agent,
            tool_id=tool.id,
            args_digest_hex="0" * 64,
            args_text=args,
            policy_digest_hex="0" * 64,
            spec=tool,
        )
        event = call_event("intent", facts, Decided(ALLOW), {"parse": 10, "policy": 1})
        event |= {"id": number, "ts": format_rfc3339(START_US + number * 1_000), "boot": 1}
        lines.append(orjson.dumps({"id": number, "prev_hash_hex": "0" * 64, "hash_hex": "0" * 64, "event": event}))
    return b"\n".join(lines) + b"\n"


def bench_backtest(benchmark, figure):
    candidate = compile_policy(DEFAULT_POLICY_TEXT + EXTRA)
    lines = recorded_lines()

    def replay():
        backtest = Backtest(candidate, FakeClock(), TOOLS)
        backtest.add(read_lines(lines))
        return backtest.report()

    report = benchmark.pedantic(replay, rounds=5, warmup_rounds=1)

    assert report.replayed == RECEIPTS
    figure("backtest.per_second", RECEIPTS / benchmark.stats.stats.median, "/s")
