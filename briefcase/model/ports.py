"""Protocols for everything outside the core, each with its durability and concurrency contract.

The core takes these as arguments; adapters implement them; the tests own an in-memory one of each. What a ledger
commits are the values of `briefcase.model.effects`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import msgspec

from briefcase.model.effects import Archived, ClaimNonce, Committed, Entry, Head, Refused
from briefcase.model.grants import Grant
from briefcase.model.types import (
    Approval,
    ApprovalStatus,
    BudgetLine,
    Deny,
    JsonObject,
    LastApproval,
    PaymentTerms,
    Principal,
    Receipt,
    RiskSignals,
    ShownCall,
    ToolCall,
    ToolResult,
    ToolSpec,
    Verdict,
)


class Clock(Protocol):
    """Time. `now_us` may step; `monotonic_ns` may not."""

    def now_us(self) -> int:
        """Wall clock, microseconds since the Unix epoch."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds from an arbitrary point, never decreasing."""
        ...


class Event(Protocol):
    """A one-shot signal that many may await (`asyncio.Event` is one)."""

    def set(self) -> None:
        """Wake everyone who waits, now and later."""
        ...

    async def wait(self) -> object:
        """Return once it is set."""
        ...


class Entropy(Protocol):
    """Unpredictable identifiers."""

    def uuid(self) -> str:
        """A random (version 4) UUID in its canonical text form."""
        ...

    def token(self) -> str:
        """256 random bits, base64url without padding."""
        ...


class ReceiptFilter(msgspec.Struct, frozen=True):
    """Which receipts to list, newest first unless `oldest_first`.

    `after_id` keeps ids greater than it (for followers), `to_id` those up to it and itself (for whoever reads a fixed
    range page by page).
    """

    limit: int = 100
    offset: int = 0
    after_id: int | None = None
    to_id: int | None = None
    kind: str | None = None
    tool_id: str | None = None
    principal: str | None = None
    decision: str | None = None
    approval_id: str | None = None
    since_us: int | None = None
    until_us: int | None = None
    oldest_first: bool = False


class BadReceipt(msgspec.Struct, frozen=True):
    """The first receipt that does not verify, what was expected there and what was found."""

    id: int
    problem: str
    expected_prev_hash_hex: str
    found_prev_hash_hex: str
    expected_hash_hex: str
    found_hash_hex: str


class ActiveAgent(msgspec.Struct, frozen=True):
    """An agent whose token works, as its row says: `token_digest` is SHA-256 in hex."""

    name: str
    groups: tuple[str, ...]
    token_digest: str
    decides_for: str = ""


class AgentRecord(Protocol):
    """One agent as stored (`store.agents.Agent`)."""

    @property
    def name(self) -> str:
        """The policy's principal."""
        ...

    @property
    def groups(self) -> tuple[str, ...]:
        """Its groups, sorted."""
        ...

    @property
    def decides_for(self) -> str:
        """The glob of the names it may ask decisions for; empty for its own only."""
        ...

    @property
    def created_us(self) -> int:
        """When it was added."""
        ...

    @property
    def revoked_us(self) -> int | None:
        """When its token ended, or None."""
        ...


class AgentStore(Protocol):
    """The named agents, and the SHA-256 of each one's token.

    Durability: a change is on disk when it returns. Concurrency: all methods are called from one event loop.
    """

    def by_token_digest(self, digest: bytes) -> Principal | None:
        """The agent whose token has this SHA-256 (32 bytes), unless it was revoked; from memory, at once."""
        ...

    def by_name(self, name: str) -> Principal | None:
        """The agent of this name whose token works; from memory, at once."""
        ...

    def active(self) -> Awaitable[Sequence[ActiveAgent]]:
        """Those whose tokens work, as their rows say now."""
        ...

    async def add(
        self, name: str, groups: tuple[str, ...], token_digest: bytes, now_us: int, decides_for: str = ""
    ) -> None:
        """Create an agent; durable when this returns.

        Raises:
            CallerError: an active agent has the name (`conflict`).
            StoreError: it could not be stored.
        """
        ...

    async def revoke(self, name: str, now_us: int) -> bool:
        """End an agent's access at once, and durably when this returns; False where no active agent has the name."""
        ...

    def list(self) -> Awaitable[Sequence[AgentRecord]]:
        """All agents, revoked ones too."""
        ...


class StateDifference(msgspec.Struct, frozen=True):
    """A row that is not what the receipts say: its name, what they say, and what was found."""

    row: str
    expected: str
    found: str


class Verification(msgspec.Struct, frozen=True):
    """The result of checking the chain. `not_checked` says what this run could not exclude.

    `archived` is up to which receipt the chain lies in archive segments; `difference` is the first row of the tables
    that is not what the chain says, where they were held against it.
    """

    ok: bool
    checked: int
    head: Head
    first_bad: BadReceipt | None = None
    not_checked: tuple[str, ...] = ()
    archived: int = 0
    difference: StateDifference | None = None


class Ledger(Protocol):
    """Receipts, approvals, budgets, request ids and settings: what must change together commits together.

    Durability: `commit` returns `Committed` only after the transaction is synced to disk. Any error from a commit
    or a sync raises `StoreError(receipts_unavailable)` to every caller of that group and closes the gate: each later
    `commit` raises the same until the process has restarted and verified the tail. Disk full refuses before
    anything is written and recovers by itself.
    Order: entries take effect in the order `commit` was called; the receipt id is that order.
    Concurrency: all methods are called from one event loop. Reads see every committed entry.
    """

    def commit(self, entry: Entry) -> Awaitable[Committed | Refused]:
        """Apply one entry, whole or not at all."""
        ...

    async def commit_all(self, entries: Sequence[Entry]) -> Sequence[Committed | Refused]:
        """Apply several entries, each whole or not at all by itself, synced together where they fit one group.

        Raises:
            StoreError: as `commit`.
            InternalError: no correct program commits one of them; the others took effect.
        """
        ...

    def head(self) -> Head:
        """The last durable receipt."""
        ...

    def gate_problem(self) -> str | None:
        """Why commits are refused now, or None when they are served."""
        ...

    def files_problem(self) -> str | None:
        """Which file of the store is not the one that was opened, and how, or None. Names no path."""
        ...

    def changes_left_open(self) -> Sequence[JsonObject]:
        """The events of the `change_intent` receipts that an earlier run left open, oldest first."""
        ...

    def approval(self, approval_id: str) -> Approval | None:
        """One approval as stored; expiry is the reader's to judge (`approvals.status_at`)."""
        ...

    def pending_approval(self, binding_hex: str) -> Approval | None:
        """The newest pending or approved, not yet consumed approval of one binding."""
        ...

    def denied_approval(self, binding_hex: str) -> Approval | None:
        """The last denied approval of one binding, unless another of that binding was approved since."""
        ...

    def approvals(self, status: ApprovalStatus) -> Sequence[Approval]:
        """All approvals stored in one state, oldest first."""
        ...

    async def newest_approvals(self, wanted: frozenset[ApprovalStatus], most: int) -> Sequence[Approval]:
        """The newest approvals that are in these states by now, ended ones too, at most so many, oldest first."""
        ...

    def expired_approvals(self, most: int) -> list[Approval]:
        """Those that are stored as waiting although their time is over, at most so many."""
        ...

    def now_us(self) -> int:
        """The time by which approvals end: never before the last receipt's, and never back (`ledger.SteadyClock`)."""
        ...

    def shown_call(self, approval_id: str) -> ShownCall | None:
        """The whole call of an approval that waits; None where it has ended, or an older version stored it."""
        ...

    def last_approval(self, owner: str, tool_id: str) -> LastApproval | None:
        """The last yes that a principal, by its `owner`, got for a tool."""
        ...

    def grant(self, grant_id: str) -> Grant | None:
        """One grant, with what was used of it by now."""
        ...

    def grants(self) -> Sequence[Grant]:
        """All grants, the ended too, in the order they were given."""
        ...

    def approval_secret(self) -> bytes:
        """The 32-byte key from which approval tokens are derived; made with the ledger."""
        ...

    def claimed_request(self, principal: str, request_id: str) -> int | None:
        """The receipt id of the intent that took this request id, if any."""
        ...

    def is_nonce_taken(self, claim: ClaimNonce) -> bool:
        """Whether a `ClaimNonce` would be refused now."""
        ...

    def budget(self, category: str, day: str) -> BudgetLine | None:
        """One category's line on a UTC day, or None where no limit is set."""
        ...

    def budgets(self, day: str) -> Sequence[BudgetLine]:
        """All lines on a UTC day, by category."""
        ...

    def setting(self, name: str) -> bytes | None:
        """One named setting."""
        ...

    async def receipt(self, receipt_id: int) -> Receipt | None:
        """One receipt by id."""
        ...

    async def receipts(self, chosen: ReceiptFilter) -> Sequence[Receipt]:
        """Receipts in the order the filter asks for; a long scan does not hold the event loop."""
        ...

    async def hashes(self, after_id: int, limit: int) -> Sequence[str]:
        """The hashes of consecutive receipts, oldest first, as they are stored."""
        ...

    async def verify(
        self, anchor: Head | None = None, *, after: Head | None = None, agents: Sequence[ActiveAgent] | None = None
    ) -> Verification:
        """Check the whole chain, streaming, off the event loop; where agents are given, the tables against it too."""
        ...

    async def archive(self, by: str, keep: int, before_us: int | None = None) -> Archived:
        """Move the oldest receipts but the newest `keep` into segments that are durable before anything is removed."""
        ...


class Policy(Protocol):
    """The active policy set. `decide` never raises: what goes wrong inside is a `Deny(policy_error)`."""

    @property
    def digest_hex(self) -> str:
        """SHA-256 of the policy text."""
        ...

    @property
    def reads_arguments(self) -> bool:
        """Whether a policy of the set reads the arguments of a call."""
        ...

    def decide(self, principal: Principal, tool: ToolSpec, args: JsonObject, risk: RiskSignals, now_us: int) -> Verdict:
        """Decide one call: `Call`, then `CallWithoutApproval`, then `CallWithoutSigner`."""
        ...


class CallContext(msgspec.Struct, frozen=True, gc=False):
    """What an executing tool may know of its call. `deadline_ns` is on the monotonic clock.

    `is_approved` tells that a person approved this very call. `first_intent_id` is the receipt of its intent, or of the
    first call's where this one goes on with it. `channel` is the edge's way to the client (`ToolCall.channel`).
    `tool_digest_hex` is the definition that was decided on.
    """

    call_id: str
    principal: str
    request_id: str
    deadline_ns: int
    is_approved: bool = False
    first_intent_id: int = 0
    channel: object = None
    tool_digest_hex: str = ""


class Tool(Protocol):
    """One callable tool: its definition, the check of its arguments, and its execution."""

    @property
    def spec(self) -> ToolSpec:
        """The definition, with its digest."""
        ...

    def check_args(self, args: JsonObject) -> str | None:
        """Validate against the compiled schema: None, or what is wrong with which path."""
        ...

    async def execute(self, args: JsonObject, context: CallContext) -> ToolResult:
        """Run with the value that was decided on, change nothing in it, and reach whom it was decided for.

        Raises:
            UpstreamError: it failed, or leads elsewhere since; `sent` says whether the effect is unknown.
        """
        ...


@runtime_checkable
class SignallingTool(Protocol):
    """A tool that knows of a risk its arguments do not show (`vc_status_unknown`); read with the other signals."""

    def signals(self) -> tuple[str, ...]:
        """The words of the signals that hold now; from memory, at once."""
        ...


# How an earlier call's verdict of now counts for what goes on with it: as its own; where it denies; not at all.
FirstCall: TypeAlias = Literal["counts", "denies", "is_past"]


class Origin(msgspec.Struct, frozen=True):
    """What a call goes on with, as the seal it brings along says.

    `tool` and `args` are the first call's. `going_on` is what runs now: the tool that goes on, with the category, the
    cost and the definition of `tool`, so that it is charged, approved and settled as `tool` is. `claim` uses the seal
    up. `question` is what was asked, as canonical JSON without secrets, for who approves the answers; where it is
    empty, nobody can approve them. `first` says how what is decided of the first call by now counts.
    """

    tool: Tool
    args: JsonObject
    going_on: Tool
    first_intent_id: int
    claim: ClaimNonce | None = None
    question: str = ""
    first: FirstCall = "counts"


class Destination(msgspec.Struct, frozen=True):
    """Where a tool's calls go: what they reach, and the MCP server's id, or the request's host and method."""

    address: str
    server: str = ""
    host: str = ""
    method: str = ""


def destination_of(tool: Tool) -> Destination:
    """Where a tool's calls go: as the tool tells (`destination`), else the source that its definition names."""
    told = getattr(tool, "destination", None)
    return told if isinstance(told, Destination) else Destination(tool.spec.source)


def payment_of(tool: Tool) -> PaymentTerms | None:
    """What a call of a tool pays before it is served, where a person is to approve that: the tool tells (`payment`)."""
    told = getattr(tool, "payment", None)
    return told if isinstance(told, PaymentTerms) else None


class Tools(Protocol):
    """The registry: tools by id."""

    def resolve(self, tool_id: str) -> Tool | None:
        """The tool of that id, or None."""
        ...

    def refusal(self, tool_id: str) -> str | None:
        """The reason word where that id may not be called, whatever policy says."""
        ...

    def origin(self, call: ToolCall, principal: Principal) -> Origin | Deny | None:
        """The earlier call that a call goes on with; None where it is a call of its own.

        A state that is not ours, expired, another principal's, another call's, or whose tool is not what it was when
        the state was sealed, is a `Deny` (`invalid_args`) that says so.
        """
        ...

    def specs(self) -> Sequence[ToolSpec]:
        """All definitions, sorted by id."""
        ...


class Turns(Protocol):
    """Whose turn the loop is, where what a principal's call needs is a stretch of work that nobody can interrupt."""

    async def turn(self, principal: Principal) -> None:
        """Wait until the principal may have the loop for one such stretch, which it does before it awaits anything."""
        ...


class Redactor(Protocol):
    """Removes the vault's own secrets from what goes out."""

    def redact(self, value: bytes) -> bytes:
        """The same JSON bytes with every known secret, in any common encoding, replaced by `[redacted]`."""
        ...

    def redact_text(self, text: str) -> str:
        """The text with every known secret replaced; where it cannot be told, the mark alone."""
        ...

    def redact_named(self, value: bytes) -> tuple[bytes, int]:
        """As `redact`, for whoever decides: each mark names the secret's owner; and how many there are."""
        ...


class Secrets(Protocol):
    """Custody of named secrets. Names are `[a-z0-9._-]{1,64}`. Values never print."""

    async def get(self, name: str) -> bytes | None:
        """The secret's bytes, or None where it is not set."""
        ...

    async def put(self, name: str, value: bytes) -> None:
        """Store durably; replaces."""
        ...

    async def delete(self, name: str) -> bool:
        """Remove; False where it was not set."""
        ...

    async def names(self) -> Sequence[str]:
        """All names, sorted."""
        ...


class BoundSecrets(Protocol):
    """The operator's secrets on their way out: each goes only to the destinations it is bound to."""

    async def get_for(self, name: str, destination: str) -> bytes | None:
        """The secret's bytes for one destination (`host`, `host:port` or `process/ID`), or None where it is not set.

        Raises:
            UpstreamError: it is not bound to that destination (`sandbox_violation`); nothing was sent.
        """
        ...


class Claim(msgspec.Struct, frozen=True):
    """That something sends a secret somewhere; `by` says what, for people."""

    secret: str
    destination: str
    by: str


class BindableSecrets(Protocol):
    """The operator's secrets with where each may go. Durability: a change is on disk when it returns."""

    async def put(self, name: str, value: bytes, destinations: Sequence[str] | None = None) -> None:
        """Set a secret, bound to these destinations; None keeps what it was bound to."""
        ...

    async def bind(self, name: str, destinations: Sequence[str]) -> tuple[str, ...]:
        """Say where a secret may go, in place of what was said; gives the destinations, sorted."""
        ...

    async def delete(self, name: str) -> bool:
        """Remove a secret and where it may go; False where it was not set."""
        ...

    async def names(self) -> Sequence[str]:
        """The names of all secrets, sorted."""
        ...

    async def check_claims(self, claims: Sequence[Claim]) -> None:
        """Check what a new registration says, before anything of it is kept.

        Raises:
            CallerError: a secret is bound to, or named for, another destination (`conflict`).
        """
        ...

    async def settle(self) -> None:
        """Bind every secret that nobody bound and that one destination names."""
        ...


class HttpRequest(msgspec.Struct, frozen=True):
    """One outbound request. Connections are shared only between requests with the same `pool_key`.

    `keeps_connection` lets one that may act go on a connection that another such one used a moment ago. It is never
    sent twice all the same: where the upstream closes the connection just then, it is in doubt.
    """

    method: str
    url: str
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    timeout_ms: int = 10_000
    max_body_bytes: int = 1 << 20
    pool_key: str = ""
    keeps_connection: bool = False


class HttpResponse(msgspec.Struct, frozen=True):
    """A bounded upstream answer, body whole. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpStream(NamedTuple):
    """An upstream's answer as it comes. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]


class Outbound(Protocol):
    """The one guarded way out: resolved-address check, no redirects, bounded bodies and time."""

    async def request(self, request: HttpRequest) -> HttpResponse:
        """Send one request to an allowed address and read its whole bounded answer.

        Raises:
            UpstreamError: refused before sending (`sent=False`), or failed after.
        """
        ...
