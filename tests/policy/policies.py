"""What the policy tests share: tools, agents, and a decision in one line."""

from briefcase.core.policy.engine import compile_policy
from briefcase.model.types import RiskSignals
from support.clock import START_US
from support.principals import AGENT
from support.tools import spec

NO_RISK = RiskSignals()
PERMIT_CALL = '@id("call") permit(principal, action == Action::"Call", resource);\n'
PERMIT_ALL = '@id("all") permit(principal, action, resource);\n'

FILE_READ = spec(
    "file_read",
    fs_access=True,
    input_schema={
        "type": "object",
        "properties": {"path": {"type": "string"}, "max_bytes": {"type": "integer"}},
        "required": ["path"],
        "additionalProperties": False,
    },
)
PAY = spec(
    "pay",
    category="write",
    net_access=True,
    source="provider:bank",
    cost_microusd=2_000,
    input_schema={
        "type": "object",
        "properties": {
            "amount": {"type": "number"},
            "to": {"type": "object", "properties": {"iban": {"type": "string"}, "share": {"type": "number"}}},
            "memo": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["amount", "to"],
    },
)


def decide(text, tool=None, args=None, *, principal=AGENT, risk=NO_RISK, now_us=START_US):
    return compile_policy(text).decide(principal, tool or spec(), args or {}, risk, now_us)
