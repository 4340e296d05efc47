"""The words of the fleet: what a control plane answers, why a device refuses a bundle, why an upload stops.

A control plane's words are the contract's (`aacp_v1`, "Control plane"); each answer of 400 or more holds one as `code`.
The words of a device appear in `last_error`, in receipts and in its log, each before a sentence that says more.
"""

from __future__ import annotations

from typing import Final

# --- what a control plane answers -------------------------------------------------------------------------------------

MISSING_TOKEN: Final = "missing_token"  # noqa: S105 - an error's name
INVALID_TOKEN: Final = "invalid_token"  # noqa: S105 - an error's name
UNKNOWN_DEVICE: Final = "unknown_device"
MISSING_DPOP: Final = "missing_dpop"
INVALID_DPOP: Final = "invalid_dpop"
REPLAY_DETECTED: Final = "replay_detected"
INVALID_POLICY_TEXT: Final = "invalid_policy_text"
INVALID_BUDGET: Final = "invalid_budget"
INVALID_DEVICE_NAME: Final = "invalid_device_name"
INVALID_DEVICE_PUBKEY: Final = "invalid_device_pubkey"
TOO_MANY_RECEIPTS: Final = "too_many_receipts"
NOT_MONOTONIC: Final = "receipt_id_not_monotonic"
PREV_HASH_MISMATCH: Final = "receipt_prev_hash_mismatch"
HASH_MISMATCH: Final = "receipt_hash_mismatch"
FORK: Final = "receipt_fork"

NOT_OURS_ANY_MORE: Final = frozenset({INVALID_TOKEN, UNKNOWN_DEVICE})
"""A device that is answered with one of these was revoked, or enrolled again elsewhere: only an operator mends that."""

# --- why a device refuses a bundle ------------------------------------------------------------------------------------

MALFORMED: Final = "malformed_bundle"
INVALID_SIGNATURE: Final = "invalid_signature"
INCOMPATIBLE_PROFILE: Final = "incompatible_profile"
BUNDLE_FELL: Final = "bundle_id_fell"
BUNDLE_CHANGED: Final = "bundle_changed"
NO_FRESHNESS: Final = "no_freshness"
NOT_FRESH: Final = "not_fresh"
KEY_FELL: Final = "signing_key_fell"
INVALID_POLICY: Final = "invalid_policy"
INVALID_MANDATORY: Final = "invalid_mandatory"

# --- why an upload stops ----------------------------------------------------------------------------------------------

UNREACHABLE: Final = "control_plane_unreachable"
UNEXPECTED: Final = "unexpected_answer"
