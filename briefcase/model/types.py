"""The words of the domain: values and identifiers, each with its unit in its name.

Nothing here acts. Every value is frozen; a verdict is a value, never an exception. Values that each call makes, here
and elsewhere, are declared `gc=False`: they hold no cycle, so the collector need not look at them.
Times are integer microseconds since the Unix epoch (`*_us`); money is integer micro-USD (`*_microusd`).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Final, TypeAlias

import msgspec

from briefcase.model.grants import GrantTerms

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
JsonObject: TypeAlias = dict[str, JsonValue]

COMPATIBILITY_PROFILE: Final = "aacp_v1"
MAX_APPROVERS: Final = 10  # different people who must say yes to one call
MICROUSD_PER_USD: Final = 1_000_000
US_PER_S: Final = 1_000_000
MAX_SAFE_INTEGER: Final = 2**53 - 1  # RFC 8785 section 3.2.2.3: beyond it, JSON numbers are not exact everywhere
MAX_PORT: Final = 65_535
HOOK_SOURCE: Final = "hook"  # of tools that a coding agent runs itself
SHELL_MEDIA_TYPE: Final = "application/x-sh"  # `contentMediaType` of an argument that is a shell's command

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_US: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_LAST_US: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_UTC_OFFSET: Final = len("+00:00")


@lru_cache(maxsize=64)  # the calls of one group, and its receipts, share their time
def format_rfc3339(ts_us: int) -> str:
    """Write a time as RFC 3339 UTC with microseconds, for example `2026-01-02T03:04:05.000006Z`."""
    text = (_EPOCH + timedelta(microseconds=ts_us)).isoformat(timespec="microseconds")
    return f"{text[:-_UTC_OFFSET]}Z"


def parse_rfc3339(text: str) -> int:
    """Read an RFC 3339 time with an offset.

    Raises:
        ValueError: the text is no RFC 3339 date-time, names no offset, or in UTC is none of the years 1 to 9999.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"expected an RFC 3339 time with an offset, got `{text}`")
    ts_us = (moment - _EPOCH) // timedelta(microseconds=1)
    if not _FIRST_US <= ts_us <= _LAST_US:
        raise ValueError(f"expected a time of the years 1 to 9999 in UTC, got `{text}`")
    return ts_us


class Role(StrEnum):
    """What a bearer token may do (CONTRACT: roles). An agent can never approve."""

    OPERATOR = "operator"
    APPROVER = "approver"
    AGENT = "agent"
    AUDITOR = "auditor"


class Principal(msgspec.Struct, frozen=True):
    """Who is calling: the policy's principal.

    `name` is the agent's or person's name as the operator gave it, or `operator`/`auditor`. A name may be taken again
    after its owner was revoked; `identity` never is. `owner` is whose approvals, open decisions and remembered answers
    these are: the identity, where there is one, whatever was given for it.

    `decides_for` is the glob of the agents' names that this one may ask decisions for, empty for none but itself.
    `asked_by` is the agent that asked for a decision of this one's calls.
    """

    name: str
    role: Role
    groups: tuple[str, ...] = ()
    auth_method: str = "bearer"
    identity: str = ""
    owner: str = ""
    decides_for: str = ""
    asked_by: str = ""

    def __post_init__(self) -> None:
        """Fill in `owner`: a field, since each request asks for it five times."""
        msgspec.structs.force_setattr(self, "owner", self.identity or self.name)


class FirewallMode(StrEnum):
    """How much of a tool's result may come back."""

    ALLOW_ALL = "allow_all"
    ALLOW_PATHS = "allow_paths"


class OutputFirewall(msgspec.Struct, frozen=True):
    """The bound on a tool's result: its size, and the JSON pointers that may pass (`allow_paths`)."""

    mode: FirewallMode = FirewallMode.ALLOW_ALL
    allowed_paths: tuple[str, ...] = ()
    max_bytes: int = 1 << 20


class ToolSpec(msgspec.Struct, frozen=True):
    """A tool's definition, as listed, decided on and pinned.

    `category` is `read`, `write`, `admin` or an operator's own word. `source` names what executes it: `builtin`,
    `http`, `caller`, `provider:<id>`, `mcp:<server>` or `hook:<client>`. `timeout_ms` is its own deadline, 0 for the
    one of all calls. `approvers` is how many people must say yes to a call of it where one must. `digest_hex` is the
    SHA-256 of the canonical definition; a changed definition is another tool to an approval.
    """

    id: str
    name: str
    description: str
    input_schema: JsonObject
    output_schema: JsonObject
    category: str
    cost_microusd: int = 0
    output_firewall: OutputFirewall = OutputFirewall()
    net_access: bool = False
    fs_access: bool = False
    source: str = "builtin"
    timeout_ms: int = 0
    digest_hex: str = ""
    approvers: int = 1

    @property
    def is_write(self) -> bool:
        """Whether a call may change something: everything that is not plainly `read`."""
        return self.category != "read"

    @property
    def runs_at_client(self) -> bool:
        """Whether a coding agent runs it, and calls are only decided here."""
        return self.source.partition(":")[0] == HOOK_SOURCE


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    """One strictly parsed tool call, read once at the edge and a value from then on.

    `args` holds only JSON values with exact integers, and `canonical_args` is what they are in canonical JSON. Nothing
    changes `args`: what is decided on, shown, bound and executed is one value. `began_ns` is when its reading began, on
    the monotonic clock. `exchange` is what the request says beside the call, unread; `channel` is the edge's own way to
    the client while the call runs, which the core only passes on. `classified` is what a risk classifier says of it.
    """

    tool_id: str
    args: JsonObject
    canonical_args: bytes
    request_id: str
    began_ns: int
    agent_id: str | None = None
    session_id: str | None = None
    approval_token: str | None = None
    exchange: JsonValue = None
    channel: object = None
    classified: tuple[str, ...] = ()


class ApprovalStatus(StrEnum):
    """The states of `briefcase.core.approvals.lifecycle.LIFECYCLE`."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CONSUMED = "consumed"


class ApprovalKind(StrEnum):
    """Who must approve: an operator here, or a paired signer device."""

    LOCAL = "local"
    MOBILE_SIGNER = "mobile_signer"


class Approval(msgspec.Struct, frozen=True):
    """One request for a person's approval, bound to exactly one call.

    `binding_hex` is the SHA-256 over the principal's `owner`, tool id, definition digest and canonical arguments.
    `owner` is empty in approvals of older versions, whose principals had no identity beside their names.
    `summary` is what the approver reads: invisible characters are made visible in it. `stands_in` says whom the
    operator stands in for: `signer` while the call needs one and no device is paired; empty otherwise. `request_id` is
    the request that asked first: its retry needs no token.
    `decision_reason` is why whoever decided said so, in their words, without secrets. `approvers` is how many different
    people must say yes, and `approved_by` names those who have; it is pending until they are enough. `grant` is what
    they let pass beside this call. None of them is who set the policy, where it `excludes_author`.
    """

    id: str
    status: ApprovalStatus
    kind: ApprovalKind
    created_us: int
    expires_us: int
    principal: str
    tool_id: str
    tool_digest_hex: str
    args_digest_hex: str
    binding_hex: str
    reason: str
    summary: str
    decided_by: str | None = None
    decided_us: int | None = None
    owner: str = ""
    stands_in: str = ""
    request_id: str = ""
    decision_reason: str = ""
    approvers: int = 1
    approved_by: tuple[str, ...] = ()
    grant: GrantTerms | None = None
    excludes_author: bool = False


class LastApproval(msgspec.Struct, frozen=True):
    """The last yes that one principal got for one tool.

    `binding_hex` is what it was for; empty where an older version stored it.
    """

    approval_id: str
    args_digest_hex: str
    at_us: int
    by: str
    binding_hex: str = ""


class PaymentTerms(msgspec.Struct, frozen=True):
    """What a provider asks to be paid before it serves a call: everything that decides what money goes where.

    `rail` is `x402_v2`, `x402` or `l402`. `pay_to` is the recipient; of version 2 `asset`, `network` (CAIP-2) and
    `amount` (in the asset's smallest units) say what it gets. `resource` is what is paid for.
    """

    provider_id: str
    rail: str
    amount_microusd: int
    pay_to: str
    asset: str = ""
    network: str = ""
    amount: str = ""
    resource: str = ""


class ShownTool(msgspec.Struct, frozen=True):
    """What an approver reads of a tool: its definition when the call was asked for, and where the call goes.

    `destination` is what the call reaches; beside it `server` names an MCP server, or `host` and `method` a request.
    """

    name: str
    description: str
    category: str
    cost_microusd: int
    destination: str
    server: str = ""
    host: str = ""
    method: str = ""


class ShownCall(msgspec.Struct, frozen=True):
    """The whole call as an approver reads it. Known secrets are cut out, and nothing in it is invisible.

    `args_text` is the canonical JSON of the arguments. `reasons` are all the reasons for asking, the first one first;
    `risk` holds the signals also where the policy asked before they were looked at. `redacted_places` counts what was
    cut out: a mark that the agent wrote itself is not among them. `question` is the canonical JSON of what a server
    asked, where the call is the answer. `payment` is what a provider is to be paid before it serves the call.
    """

    args_text: str
    tool: ShownTool
    risk: tuple[str, ...] = ()
    policy_ids: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    last_approved: LastApproval | None = None
    redacted_places: int = 0
    question: str = ""
    payment: PaymentTerms | None = None

    @property
    def size_bytes(self) -> int:
        """What an approver has to read, in UTF-8."""
        return sum(len(text.encode()) for text in (self.args_text, self.tool.description, self.question))


class BudgetLine(msgspec.Struct, frozen=True):
    """A category's limit and use on one UTC day."""

    category: str
    daily_limit_microusd: int
    spent_microusd: int = 0
    reserved_microusd: int = 0


class Receipt(msgspec.Struct, frozen=True):
    """One link of the chain. `event` is the parsed canonical JSON whose bytes `hash_hex` covers."""

    id: int
    ts: str
    prev_hash_hex: str
    hash_hex: str
    event: JsonObject


class Allow(msgspec.Struct, frozen=True):
    """The policy lets the call run now; where something else asks for a person, `approvers` of them must say yes.

    None of them is who set the policy, where it `excludes_author`.
    """

    policy_ids: tuple[str, ...] = ()
    approvers: int = 1
    excludes_author: bool = False


class Deny(msgspec.Struct, frozen=True):
    """The call does not run. `reason` is a stable word; `detail` is for the operator only, `advice` for the agent."""

    reason: str
    policy_ids: tuple[str, ...] = ()
    detail: str = ""
    advice: str = ""


class NeedsApproval(msgspec.Struct, frozen=True):
    """A person, or as many different ones as `approvers` says, must approve first; they and the agent read `reason`.

    None of them is who set the policy, where it `excludes_author`.
    """

    kind: ApprovalKind
    reason: str
    policy_ids: tuple[str, ...] = ()
    detail: str = ""
    approvers: int = 1
    excludes_author: bool = False


def asking(verdict: Allow | NeedsApproval, kind: ApprovalKind, reason: str, detail: str = "") -> NeedsApproval:
    """The verdict where something asks for a person for a reason of its own: who must say yes stays as it was."""
    return NeedsApproval(kind, reason, verdict.policy_ids, detail, verdict.approvers, verdict.excludes_author)


Verdict: TypeAlias = Allow | Deny | NeedsApproval


class RiskSignals(msgspec.Struct, frozen=True):
    """What looked risky about a call. Signals can only tighten a verdict."""

    words: tuple[str, ...] = ()


class ToolResult(msgspec.Struct, frozen=True):
    """What an upstream answered, before the output firewall.

    `cost_microusd` is the upstream's own figure where it gave one; it is checked before it is settled.
    `source` is the provenance shown to the caller (`builtin`, a provider id, a host, a server id). `is_error`: the tool
    itself says that it failed, and its content says how. `inexact` names what of the answer was no strict JSON and was
    read by the table of `core.json.lenient`.
    """

    content: JsonValue
    source: str
    cost_microusd: int | None = None
    is_error: bool = False
    inexact: tuple[str, ...] = ()
