"""The daemon's own words: event kinds, reasons, codes, and the names of what receipts and answers hold.

A secret is looked for in everything that leaves, and cut out there. One that is a word of these, or a part of one,
would be cut out of every receipt and answer that says it: such a secret is refused where it is set.
"""

from __future__ import annotations

from typing import Final

from briefcase.model.errors import CODES, CallerError
from briefcase.model.reasons import REASONS

_NAMES: Final = """
    agent_added agent_id agent_revoked algorithm allow_all allow_incompatible allow_paths amount_microusd approval
    approval_decided approval_expired approval_id approval_required approvals_given approved approved_by approvers
    approvers_exclude args_chars args_digest args_digest_hex args_excerpt args_text asked_by auth_method backup_created
    backup_started base_url body_bytes body_digest budget_set budgets_spent_for bundle_changed bundle_id bundle_id_fell
    call_intent_id category change_failed change_intent closed_intents complete consumed continues control_id
    control_lifted control_plane_enroll control_plane_key_announced control_plane_key_pinned control_plane_leave
    control_plane_mandatory_removed control_plane_mandatory_set control_plane_policy_bundle_incompatible
    control_plane_policy_bundle_refused control_plane_policy_sync control_plane_unreachable control_set copied_at
    cost_microusd cost_over_reserved cost_usd created_at daily_limit_microusd decided_at decided_by decides_for decision
    decision_reason definitions_digest delegated description destination device_id device_name estimated_usd exchange
    expected_compatibility_profile expires_at first_receipt_id fs_access got_compatibility_profile grant_id
    grant_revoked has_text head_hash in_doubt incompatible_profile intent_id interrupted invalid_budget
    invalid_device_name invalid_device_pubkey invalid_dpop invalid_mandatory invalid_policy_text invalid_signature
    invalid_token is_approved is_same_call is_sealed is_settled last_approved malformed_bundle mandatory_id
    manifest_digest mcp_definitions_held mcp_definitions_pinned mcp_login_ended mcp_login_made mcp_login_revoked
    mcp_server_deleted mcp_server_refused mcp_server_set microusd missing_dpop missing_token mobile_signer net_access
    no_freshness not_fresh not_known not_observed old_policy_digest operator operator_added operator_revoked
    output_bytes output_digest payment_intent asked_client observed of_receipt_id of_request_id payment_outcome
    pinned_key_b64 policies policy_digest policy_hash_hex policy_ids policy_set policy_proposed policy_dropped
    proposal_id proposed_by policy_signing_pubkey_b64 principal provenance provider provider_cleared provider_credential
    provider_deleted provider_id provider_login provider_revoked provider_set provider_verdict question_digest_hex
    question_text receipt_fork receipt_hash_mismatch receipt_id receipt_id_not_monotonic receipt_prev_hash_mismatch
    receipts_after_copy receipts_archived recorded redacted_places redactions refusals_counted rejected
    reported_cost_microusd request_id request_ids_after_copy resource restored secret_bound secret_removed secret_set
    key_digest pairing_form segment_bytes server_id session_id shown_digest signed_form signer_authorized signer_id
    signer_listed signer_paired signer_revoked signers_only_set signing_key_fell spend_after_copy spent_microusd
    stands_in timestamp timing_us too_many_receipts tool_digest tool_digest_hex tool_error tools_loaded transaction
    unknown_device variables with_key witness_added witness_removed
"""
WORDS: Final = frozenset({*CODES, *REASONS, *_NAMES.split()})


def check_no_word(value: bytes) -> None:
    """Check a secret before it is kept.

    Raises:
        CallerError: it is a word of ours, or a part of one.
    """
    text = value.decode("utf-8", "replace")
    word = next((word for word in sorted(WORDS) if text in word), None)
    if word is not None:
        raise CallerError(
            "expected a secret that is no word of the daemon's own, such as an event's kind, got one that is",
            hint="it would be cut out of every receipt that says the word: have its issuer make another one",
        )
