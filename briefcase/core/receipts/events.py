"""The events that receipts record: one builder for each kind, and nothing that decides.

An event holds strings, safe integers, booleans, nulls, lists and objects, never a float and never a raw secret.
The ledger adds `id`, `ts` and `boot` in chain order. `decision` is `allow`, `deny` or `approval_required` on
every event of a call, so that one filter finds them.

| kind | when |
|---|---|
| boot | the daemon opened its ledger |
| refused | a request that was no call at all, or stood before an empty bucket |
| refusals_counted | the refusals of one kind that came after one with a receipt, in the same minute |
| denied, approval_required | a call that stopped at steps 3 to 8 |
| intent | step 9: allowed, durable before anything leaves |
| delegated | step 9 for a caller that need not report: allowed and closed at once, `outcome: not_observed` |
| asked_client | step 9 of a hook: a person must say yes, and the client's own prompt asks; no approval of ours |
| observed | what a client's hook told of a call that was delegated, or asked for at the client |
| outcome | step 12: what came of an intent |
| outcome_unknown | an intent found open at start, or never closed in time |
| approval_decided | a person said yes or no |
| grant_revoked | somebody ended a grant before its time |
| approval_expired | an approval whose time was over before somebody decided or used it |
| policy_set, budget_set | an operator changed a rule; `proposal_id` where that was proposed first |
| policy_proposed, policy_dropped | an operator had a policy proposed, or let the proposal go |
| control_set, control_lifted | an operator tightened or gave back |
| agent_added, agent_revoked | an operator let an agent in, or ended its access |
| operator_added, operator_revoked | an operator let a person in with a role, or ended their access |
| signer_paired, signer_revoked | a device or a passkey was let in as a signer, or an operator ended it |
| signer_listed | a paired device saw what waits |
| signer_authorized | a paired device signed a change that is about to be made: `operation`, `body_digest` |
| signers_only_set | the daemon was started to take signers only, or no longer |
| provider_set, provider_deleted | an operator said where a provider is, or removed it |
| provider_login, provider_revoked | an operator logged in to one, or out of it |
| provider_credential, provider_verdict | an operator had a credential issued, or had a provider examined |
| provider_cleared | an operator dropped a provider's capabilities |
| tools_loaded | an operator had the manifests loaded again: how many tools, and which are new, other or gone |
| secret_set, secret_bound, secret_removed | an operator changed a named secret or its hosts; no receipt has the value |
| mcp_login_made, mcp_login_revoked, mcp_login_ended | an operator logged in to an MCP server, or out; or it moved |
| change_intent | an operator is about to change something outside of the ledger: `change` is its outcome's kind |
| change_failed | a change was refused or failed: `error` is the code, `in_doubt` whether it may have happened |
| | `error: interrupted`: a crash cut it off, and the next start undid what there was of it |
| backup_started | an operator asked for a backup |
| backup_created | an operator took a backup |
| receipts_archived | an operator had the oldest receipts moved into an archive segment |
| restored | the ledger that was opened is a copy of another one |
| payment_intent | a provider's challenge is about to be paid, its amount reserved in the budget category `payments` |
| payment_outcome | what came of it: spent, or given back; `reason: outcome_unknown` where nobody knows |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from briefcase.model.effects import SettleBudget
from briefcase.model.grants import Grant
from briefcase.model.reasons import OUTCOME_UNKNOWN
from briefcase.model.types import Approval, JsonObject, JsonValue, Principal, Role, ToolSpec, format_rfc3339

MAX_REFUSED_ARGS_CHARS: Final = 2_048
EXCERPT_CHARS: Final = 512
MAX_LISTED_IDS: Final = 100

ALLOW: Final = "allow"
DENY: Final = "deny"
APPROVAL_REQUIRED: Final = "approval_required"
DELEGATED: Final = "delegated"
ASKED_CLIENT: Final = "asked_client"
OBSERVED: Final = "observed"
NOT_OBSERVED: Final = "not_observed"

_ROLE_WORDS: Final = {role: role.value for role in Role}

CHANGE_INTENT: Final = "change_intent"
CHANGE_FAILED: Final = "change_failed"
INTERRUPTED: Final = "interrupted"
_OF_THE_RECEIPT: Final = frozenset({"id", "ts", "boot", "state", "change"})  # what an intent has beside its change
CHANGES: Final = frozenset({  # the outcomes of a `change_intent`; receipts of before there were intents name none
    "agent_added", "agent_revoked",
    "backup_created",
    "control_plane_enroll",
    "control_set", "control_lifted",
    "mcp_login_made", "mcp_login_revoked", "mcp_login_ended",
    "provider_set", "provider_deleted", "provider_login", "provider_revoked", "provider_cleared",
    "provider_credential", "provider_verdict",
    "secret_set", "secret_bound", "secret_removed",
    "tools_loaded",
})  # fmt: skip


class CallFacts(msgspec.Struct, frozen=True, gc=False):
    """What every event of one call repeats: who, what, with which arguments, under which policy.

    `args_text` is the canonical JSON of the arguments in the form the operator configured, or None (digest only);
    as text it may hold numbers that an event itself may not. `continues` is the receipt of the first intent where the
    call goes on with an earlier one.
    """

    call_id: str
    request_id: str
    principal: Principal
    tool_id: str
    args_digest_hex: str
    args_text: str | None
    policy_digest_hex: str
    spec: ToolSpec | None
    risk: tuple[str, ...] = ()
    agent_id: str | None = None
    session_id: str | None = None
    continues: int | None = None


class Decided(msgspec.Struct, frozen=True, gc=False):
    """How a call was decided: the word, why, by which policies, on which approval, by which grant without one."""

    decision: str
    reason: str = ""
    detail: str = ""
    policy_ids: tuple[str, ...] = ()
    approval_id: str | None = None
    grant_id: str = ""


def call_event(kind: str, facts: CallFacts, decided: Decided, timing_us: Mapping[str, int]) -> JsonObject:
    """The event of a call that was decided: `intent`, `delegated`, `denied` or `approval_required`.

    Its fields stand as the receipt has them, sorted: then writing them sorts nothing.
    """
    principal = facts.principal
    spec = facts.spec
    event: JsonObject = {
        "approval_id": decided.approval_id,
        "args": facts.args_text,
        "args_digest": facts.args_digest_hex,
        "auth_method": principal.auth_method,
        "call_id": facts.call_id,
        "decision": decided.decision,
        "groups": list(principal.groups),
        "kind": kind,
        "policy_digest": facts.policy_digest_hex,
        "policy_ids": list(decided.policy_ids),
        "principal": principal.name,
        "reason": decided.reason,
        "request_id": facts.request_id,
        "risk": list(facts.risk),
        "role": _ROLE_WORDS[principal.role],
        "timing_us": dict(timing_us),
        "tool_digest": spec.digest_hex if spec else "",
        "tool_id": facts.tool_id,
    }
    if spec is not None:
        event["tool"] = {
            "category": spec.category,
            "cost_microusd": spec.cost_microusd,
            "fs_access": spec.fs_access,
            "net_access": spec.net_access,
            "source": spec.source,
        }
    if decided.detail:
        event["detail"] = decided.detail
    if decided.grant_id:
        event["grant_id"] = decided.grant_id
    if principal.asked_by:
        event["asked_by"] = principal.asked_by
    if facts.agent_id is not None:
        event["agent_id"] = facts.agent_id
    if facts.session_id is not None:
        event["session_id"] = facts.session_id
    if facts.continues is not None:
        event["continues"] = facts.continues
    return event


def denied_event(facts: CallFacts, decided: Decided, timing_us: Mapping[str, int]) -> JsonObject:
    """The event of a call that was denied: of large arguments their digest, their size and their beginning are kept."""
    event = call_event("denied", facts, decided, timing_us)
    text = facts.args_text
    if text is not None and len(text) > MAX_REFUSED_ARGS_CHARS:
        event["args"] = None
        event["args_excerpt"] = text[:EXCERPT_CHARS]
        event["args_chars"] = len(text)
    return event


def delegated_event(
    facts: CallFacts, decided: Decided, settle: SettleBudget | None, timing_us: Mapping[str, int]
) -> JsonObject:
    """The event of a call that was allowed and closed at once: nobody will say what came of it.

    `settle` is what counts as spent: the whole cost, since nothing less is known.
    """
    event = call_event(DELEGATED, facts, decided, timing_us)
    event["outcome"] = NOT_OBSERVED
    if settle is not None:
        event["spent"] = {"category": settle.category, "day": settle.day, "microusd": settle.spent_microusd}
    return event


def asked_client_event(facts: CallFacts, decided: Decided, timing_us: Mapping[str, int]) -> JsonObject:
    """The event of a call that is left to the prompt of the client that makes it."""
    return {**call_event(ASKED_CLIENT, facts, decided, timing_us), "outcome": NOT_OBSERVED}


class Observed(msgspec.Struct, frozen=True, gc=False):
    """What a client told of a call that it ran; `status` is `ok` or `error`, `error` what may be shown of it."""

    status: str
    output_digest_hex: str
    output_bytes: int
    error: str = ""


def observed_event(
    principal: Principal, tool_id: str, request_id: str, *, report_id: str, call_receipt_id: int, observed: Observed
) -> JsonObject:
    """The event of what a client told of a call; it takes `report_id`, so that each call is told of once.

    `request_id` of the event is the report's own, `of_request_id` the call's, and `of_receipt_id` its receipt.
    """
    event: JsonObject = {
        "kind": OBSERVED,
        "of_receipt_id": call_receipt_id,
        "of_request_id": request_id,
        "output_bytes": observed.output_bytes,
        "output_digest": observed.output_digest_hex,
        "principal": principal.name,
        "request_id": report_id,
        "status": observed.status,
        "tool_id": tool_id,
    }
    if observed.error:
        event["error"] = observed.error
    return event


class Settled(msgspec.Struct, frozen=True, gc=False):
    """How an execution ended. `status` is `ok` or `error`; `error` names the code and what may be shown.

    `tool_error`: it is `ok`, and what it answered says that the tool failed. `inexact` is `ToolResult.inexact`.
    """

    status: str
    cost_microusd: int
    source: str = ""
    output_digest_hex: str = ""
    output_bytes: int = 0
    error: str = ""
    reported_cost_microusd: int | None = None
    redactions: int = 0
    cost_over_reserved: bool = False
    tool_error: bool = False
    inexact: tuple[str, ...] = ()


class Called(Protocol):
    """What an outcome's receipt repeats of its call (`CallFacts`, `decisions.OpenDecision`)."""

    @property
    def call_id(self) -> str:
        """The daemon's id of the call."""
        ...

    @property
    def request_id(self) -> str:
        """The caller's."""
        ...

    @property
    def principal(self) -> Principal:
        """Who called."""
        ...

    @property
    def tool_id(self) -> str:
        """What was called."""
        ...


def outcome_event(facts: Called, intent_id: int, settled: Settled, timing_us: Mapping[str, int]) -> JsonObject:
    """The event that closes an intent."""
    event: JsonObject = {
        "call_id": facts.call_id,
        "cost_microusd": settled.cost_microusd,
        "decision": ALLOW,
        "intent_id": intent_id,
        "kind": "outcome",
        "output_bytes": settled.output_bytes,
        "output_digest": settled.output_digest_hex,
        "principal": facts.principal.name,
        "request_id": facts.request_id,
        "source": settled.source,
        "status": settled.status,
        "timing_us": dict(timing_us),
        "tool_id": facts.tool_id,
    }
    if settled.error:
        event["error"] = settled.error
    if settled.redactions:
        event["redactions"] = settled.redactions
    if settled.reported_cost_microusd is not None:
        event["reported_cost_microusd"] = settled.reported_cost_microusd
    if settled.cost_over_reserved:
        event["cost_over_reserved"] = True
    if settled.tool_error:
        event["tool_error"] = True
    if settled.inexact:
        event["inexact"] = list[JsonValue](settled.inexact)
    return event


def change_intent_event(event: Mapping[str, JsonValue]) -> JsonObject:
    """The event before a change: all that the change's own event says, under a kind of its own."""
    return {**event, "kind": CHANGE_INTENT, "change": event["kind"]}


def change_failed_event(event: Mapping[str, JsonValue], error: str, *, is_doubtful: bool) -> JsonObject:
    """The event of a change that was refused or failed; `error` is the fault's code."""
    return {**event, "kind": CHANGE_FAILED, "change": event["kind"], "error": error, "in_doubt": is_doubtful}


def intended_change(intent: Mapping[str, JsonValue]) -> tuple[int, JsonObject]:
    """The id of a `change_intent` receipt, and the event of the change itself, as it was before its intent."""
    event = {name: value for name, value in intent.items() if name not in _OF_THE_RECEIPT}
    return int(str(intent["id"])), {**event, "kind": str(intent["change"])}


def change_undone_event(event: Mapping[str, JsonValue]) -> JsonObject:
    """The event of a change that a crash cut off and that is not made now; the next start saw to it."""
    return {**change_failed_event(event, INTERRUPTED, is_doubtful=False), "is_settled": True}


def change_finished_event(event: Mapping[str, JsonValue]) -> JsonObject:
    """The event of a change that a crash cut off and that is made now; the next start saw to it."""
    return {**event, "is_settled": True}


def outcome_unknown_event(intent_id: int, intent: Mapping[str, JsonValue], cause: str) -> JsonObject:
    """The event that closes an intent nobody knows the outcome of: its whole reservation counts as spent."""
    if intent.get("kind") == CHANGE_INTENT:
        about: JsonObject = {name: value for name, value in intent.items() if name not in _OF_THE_RECEIPT}
        about |= {"kind": "outcome_unknown", "intent_id": intent_id, "change": intent["change"]}
        return about | {"reason": OUTCOME_UNKNOWN, "cause": cause}
    return {
        "kind": "outcome_unknown",
        "intent_id": intent_id,
        "call_id": str(intent.get("call_id", "")),
        "principal": str(intent.get("principal", "")),
        "tool_id": str(intent.get("tool_id", "")),
        "decision": ALLOW,
        "reason": OUTCOME_UNKNOWN,
        "cause": cause,
    }


def refused_event(principal: Principal, reason: str, detail: str, body_digest_hex: str, body_bytes: int) -> JsonObject:
    """The event of a request that was no call at all; its bytes are kept as a digest only."""
    return {
        "kind": "refused",
        "principal": principal.name,
        "role": principal.role.value,
        "auth_method": principal.auth_method,
        "decision": DENY,
        "reason": reason,
        "detail": detail,
        "body_digest": body_digest_hex,
        "body_bytes": body_bytes,
    }


class RefusalKind(msgspec.Struct, frozen=True):
    """What refusals that are counted together have in common. `tool_id` is empty where no tool was named."""

    principal: str
    reason: str
    tool_id: str = ""


def refusals_counted_event(
    kind: RefusalKind, count: int, first_receipt_id: int, when: tuple[str, str], *, complete: bool = True
) -> JsonObject:
    """The event of refusals that have no receipt of their own.

    Args:
        kind: whose, and why.
        count: how many.
        first_receipt_id: the receipt of the one they followed, whose id each of their answers carries.
        when: the first one's time, and the last one's.
        complete: False where a crash lost the count.
    """
    return {
        "kind": "refusals_counted",
        "principal": kind.principal,
        "decision": DENY,
        "reason": kind.reason,
        "tool_id": kind.tool_id,
        "count": count,
        "first_receipt_id": first_receipt_id,
        "since": when[0],
        "until": when[1],
        "complete": complete,
    }


def approval_decided_event(
    approval: Approval,
    status: str,
    by: str,
    reason: str = "",
    shown_digest_hex: str | None = None,
    *,
    grant: JsonObject | None = None,
) -> JsonObject:
    """The event of a person's yes or no. `status` is the daemon's word, `reason` the person's own.

    `was` is the state that was decided on: a no to what is `approved` takes the yes back. `stands_in` is there where an
    operator decided in place of a signer. Where several people must say yes, `approvers` says how many, and
    `approved_by` who did before this one; `status` is `pending` while it takes more. `grant` is what the yes lets pass
    beside the call: its bounds and the digest of what was shown of it, never an argument.
    """
    event: JsonObject = {
        "kind": "approval_decided",
        "approval_id": approval.id,
        "status": status,
        "was": approval.status.value,
        "by": by,
        "principal": approval.principal,
        "tool_id": approval.tool_id,
        "tool_digest": approval.tool_digest_hex,
        "args_digest": approval.args_digest_hex,
        "shown_digest": shown_digest_hex,
        "reason": reason,
    }
    if approval.stands_in:
        event["stands_in"] = approval.stands_in
    if approval.approvers > 1:
        event["approvers"], event["approved_by"] = approval.approvers, list(approval.approved_by)
    if grant:
        event["grant"] = grant
    return event


def grant_revoked_event(grant: Grant, by: str) -> JsonObject:
    """The event of somebody ending a grant; what was used of it by then is beside it."""
    return {
        "kind": "grant_revoked",
        "grant_id": grant.id,
        "principal": grant.principal,
        "tool_id": grant.tool_id,
        "uses": grant.uses,
        "spent_microusd": grant.spent_microusd,
        "by": by,
    }


def approval_expired_event(approval: Approval) -> JsonObject:
    """The event of an approval that nobody used in its time; `status` is what it waited as."""
    return {
        "kind": "approval_expired",
        "approval_id": approval.id,
        "status": approval.status.value,
        "principal": approval.principal,
        "tool_id": approval.tool_id,
        "args_digest": approval.args_digest_hex,
        "expires_at": format_rfc3339(approval.expires_us),
    }


def policy_set_event(by: str, old_digest_hex: str, new_digest_hex: str, policies: int) -> JsonObject:
    """The event of an operator replacing the policy."""
    return {
        "kind": "policy_set",
        "by": by,
        "old_policy_digest": old_digest_hex,
        "policy_digest": new_digest_hex,
        "policies": policies,
    }


def policy_proposal_event(what: str, proposal_id: str, digest_hex: str, by: str) -> JsonObject:
    """The event of a policy being `proposed`, or a proposal being `dropped`; applying one is `policy_set`."""
    return {"kind": f"policy_{what}", "proposal_id": proposal_id, "policy_digest": digest_hex, "by": by}


def budget_set_event(by: str, category: str, daily_limit_microusd: int) -> JsonObject:
    """The event of an operator changing a daily limit."""
    return {"kind": "budget_set", "by": by, "category": category, "daily_limit_microusd": daily_limit_microusd}


def control_event(what: str, control_id: str, action: str, about: str, by: str) -> JsonObject:
    """The event of an incident control being `set` or `lifted`."""
    return {"kind": f"control_{what}", "control_id": control_id, "action": action, "about": about, "by": by}


def provider_event(what: str, provider_id: str, by: str) -> JsonObject:
    """The event of a provider being `set`, `deleted`, `revoked`, `cleared`, or of a `login` at it."""
    return {"kind": f"provider_{what}", "provider": provider_id, "by": by}


def login_event(what: str, by: str, server_id: str) -> JsonObject:
    """The event of a log-in at an MCP server: `made`, `revoked`, or `ended` because its server moved or went."""
    return {"kind": f"mcp_login_{what}", "by": by, "server_id": server_id}


def provider_verdict_event(base_url: str, by: str, *, ok: bool) -> JsonObject:
    """The event of what `briefcase conformance provider` found at an address being kept."""
    return {"kind": "provider_verdict", "base_url": base_url, "by": by, "ok": ok}


def witness_event(what: str, by: str, label: str, url: str, algorithm: str) -> JsonObject:
    """The event of a witness being `added` or `removed`; `label` is its key's name and id."""
    return {"kind": f"witness_{what}", "by": by, "witness": label, "url": url, "algorithm": algorithm}


def agent_event(what: str, name: str, groups: Sequence[str], by: str, decides_for: str = "") -> JsonObject:
    """The event of an agent being `added` or `revoked`; its token is in none."""
    event: JsonObject = {"kind": f"agent_{what}", "agent": name, "groups": list(groups), "by": by}
    if decides_for:
        event["decides_for"] = decides_for
    return event


def operator_event(what: str, name: str, role: str, by: str) -> JsonObject:
    """The event of a person being `added` or `revoked`; the token is in none."""
    return {"kind": f"operator_{what}", "operator": name, "role": role, "by": by}


def signer_event(what: str, signer_id: str, by: str, about: Mapping[str, str]) -> JsonObject:
    """The event of a signer being `paired` or `revoked`, or having `listed` what waits, or `authorized` a change.

    `about` describes the signer, and the change.
    """
    return {"kind": f"signer_{what}", "signer_id": signer_id, **about, "by": by}


def backup_started_event(by: str, *, with_key: bool, is_sealed: bool) -> JsonObject:
    """The event of a backup being begun; it is in the backup itself, so it opens no intent there."""
    return {"kind": "backup_started", "by": by, "with_key": with_key, "is_sealed": is_sealed}


def backup_created_event(by: str, head_id: int, head_hash_hex: str, manifest_digest_hex: str) -> JsonObject:
    """The event of an operator taking a copy of everything, up to a head."""
    return {
        "kind": "backup_created",
        "by": by,
        "head_id": head_id,
        "head_hash": head_hash_hex,
        "manifest_digest": manifest_digest_hex,
    }


def receipts_archived_event(
    by: str, first_id: int, last: tuple[int, str], segment: str, segment_bytes: int
) -> JsonObject:
    """The event of the oldest live receipts having moved into a segment; `last` is the last one's id and hash."""
    return {
        "kind": "receipts_archived",
        "by": by,
        "from_id": first_id,
        "to_id": last[0],
        "to_hash": last[1],
        "segment": segment,
        "segment_bytes": segment_bytes,
    }


def restored_event(copied_at: str, head_id: int, head_hash_hex: str, epoch: str, day: str) -> JsonObject:
    """The event of a daemon opening a copy. `epoch` is random: two daemons that open the same copy differ in it.

    `not_known` says what the copied ledger may have taken after the copy and this one cannot know.
    """
    return {
        "kind": "restored",
        "epoch": epoch,
        "copied_at": copied_at,
        "head_id": head_id,
        "head_hash": head_hash_hex,
        "budgets_spent_for": day,
        "not_known": ["receipts_after_copy", "request_ids_after_copy", "spend_after_copy"],
    }


def secret_event(what: str, name: str, by: str, hosts: Sequence[str] | None = None) -> JsonObject:
    """The event of a named secret being `set`, `bound` or `removed`; `hosts` where these were said."""
    event: JsonObject = {"kind": f"secret_{what}", "name": name, "by": by}
    return event if hosts is None else event | {"hosts": list[JsonValue](hosts)}


def tools_loaded_event(
    by: str, tools: int, added: Sequence[str], changed: Sequence[str], removed: Sequence[str]
) -> JsonObject:
    """The event of the manifests being loaded again; of many ids, each list has the first, and counts say how many."""
    lists = {"added": added, "changed": changed, "removed": removed}
    return {
        "kind": "tools_loaded",
        "by": by,
        "tools": tools,
        "counts": {name: len(ids) for name, ids in lists.items()},
        **{name: list[JsonValue](ids[:MAX_LISTED_IDS]) for name, ids in lists.items()},
    }


def boot_event(version: str, *, clean: bool, closed_intents: int) -> JsonObject:
    """The event of the daemon opening its ledger. `clean` tells whether the last run ended by itself."""
    return {"kind": "boot", "version": version, "clean": clean, "closed_intents": closed_intents}
