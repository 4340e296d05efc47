"""The kinds of receipts: what a filter may name, and which of them are of a call.

The modules that build events describe each kind (`receipts/events.py`, `fleet/events.py`, `servers/events.py`); a test
holds this list to their tables. Pure.
"""

from __future__ import annotations

from typing import Final

CALL_KINDS: Final = (
    "refused",
    "refusals_counted",
    "denied",
    "approval_required",
    "intent",
    "delegated",
    "asked_client",
    "observed",
    "outcome",
    "outcome_unknown",
)
KINDS: Final = (
    *CALL_KINDS,
    "boot",
    "approval_decided",
    "approval_expired",
    "policy_set",
    "budget_set",
    "control_set",
    "control_lifted",
    "agent_added",
    "agent_revoked",
    "operator_added",
    "operator_revoked",
    "provider_set",
    "provider_deleted",
    "provider_login",
    "provider_revoked",
    "provider_credential",
    "provider_verdict",
    "provider_cleared",
    "tools_loaded",
    "secret_set",
    "secret_bound",
    "secret_removed",
    "mcp_login_made",
    "mcp_login_revoked",
    "mcp_login_ended",
    "mcp_server_set",
    "mcp_server_deleted",
    "mcp_definitions_pinned",
    "mcp_definitions_held",
    "mcp_server_refused",
    "change_intent",
    "change_failed",
    "backup_started",
    "backup_created",
    "receipts_archived",
    "restored",
    "payment_intent",
    "payment_outcome",
    "control_plane_enroll",
    "control_plane_leave",
    "control_plane_policy_sync",
    "control_plane_policy_bundle_incompatible",
    "control_plane_policy_bundle_refused",
    "control_plane_mandatory_set",
    "control_plane_mandatory_removed",
    "control_plane_key_announced",
    "control_plane_key_pinned",
)
