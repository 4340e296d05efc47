"""The receipts' events about a control plane: one builder for each kind.

| kind | when |
|---|---|
| control_plane_enroll | an operator enrolled this daemon, or enrolled it again |
| control_plane_leave | an operator ended that |
| control_plane_policy_sync | a bundle was applied: its policy, its budgets, and the key that is pinned with it |
| control_plane_policy_bundle_incompatible | a bundle for another profile was refused |
| control_plane_policy_bundle_refused | a bundle was refused for another reason, once for each reason |
| control_plane_mandatory_set | the organisation's mandatory part changed, by the organisation's own word |
| control_plane_mandatory_removed | an operator removed what a control plane had left |
| control_plane_key_announced | the pinned key named the one that signs after it |
| control_plane_key_pinned | that key signed what runs already: it is the pinned one now |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from briefcase.core.fleet.bundles import MandatoryPart, PolicyBundle, PolicyKey, Refused
from briefcase.core.fleet.enrolment import Enrolment
from briefcase.core.fleet.words import INCOMPATIBLE_PROFILE
from briefcase.model.types import COMPATIBILITY_PROFILE, JsonObject

ENROLL: Final = "control_plane_enroll"


def enrolled_event(by: str, base_url: str, device_id: str, device_name: str) -> JsonObject:
    """The event of an enrolment; neither the admin token nor the device's is in it."""
    return {
        "kind": ENROLL,
        "by": by,
        "base_url": base_url,
        "device_id": device_id,
        "device_name": device_name,
    }


def left_event(by: str, enrolment: Enrolment) -> JsonObject:
    """The event of an operator leaving the control plane."""
    return {
        "kind": "control_plane_leave",
        "by": by,
        "base_url": enrolment.base_url,
        "device_id": enrolment.device_id,
        "bundle_id": enrolment.bundle_id,
    }


def applied_event(
    bundle: PolicyBundle, policy_digest_hex: str, old_digest_hex: str, policies: int, pinned: PolicyKey = ""
) -> JsonObject:
    """The event of a bundle being applied.

    Args:
        bundle: what is applied.
        policy_digest_hex: of the text that decides from now on.
        old_digest_hex: of the text that decided.
        policies: how many there are.
        pinned: the key that is pinned from now on, where it is another than before.
    """
    about: JsonObject = {
        "kind": "control_plane_policy_sync",
        "bundle_id": bundle.bundle_id,
        "policy_hash_hex": policy_digest_hex,
        "old_policy_digest": old_digest_hex,
        "policies": policies,
        "budgets": dict(sorted(bundle.budgets.items())),
    }
    return about | {"pinned_key_b64": pinned} if pinned else about


def refused_event(refused: Refused) -> JsonObject:
    """The event of a bundle that is not applied; the old policy stays."""
    if refused.reason == INCOMPATIBLE_PROFILE:
        return {
            "kind": "control_plane_policy_bundle_incompatible",
            "bundle_id": refused.bundle_id,
            "expected_compatibility_profile": COMPATIBILITY_PROFILE,
            "got_compatibility_profile": refused.profile,
        }
    return {
        "kind": "control_plane_policy_bundle_refused",
        "bundle_id": refused.bundle_id,
        "reason": refused.reason,
        "detail": refused.problem,
    }


def mandatory_set_event(part: MandatoryPart, policy_digest_hex: str, old_digest_hex: str) -> JsonObject:
    """The event of the organisation's mandatory part having changed; it ends where its text is empty."""
    return {
        "kind": "control_plane_mandatory_set",
        "mandatory_id": part.id,
        "has_text": bool(part.policy_text),
        "policy_hash_hex": policy_digest_hex,
        "old_policy_digest": old_digest_hex,
    }


def mandatory_removed_event(by: str, part: MandatoryPart, policy_digest_hex: str, old_digest_hex: str) -> JsonObject:
    """The event of an operator removing the mandatory part that a control plane had left."""
    return {
        "kind": "control_plane_mandatory_removed",
        "by": by,
        "mandatory_id": part.id,
        "policy_hash_hex": policy_digest_hex,
        "old_policy_digest": old_digest_hex,
    }


def key_event(what: str, key_b64: str, enrolment: Enrolment) -> JsonObject:
    """The event of a signing key being `announced` by the pinned one, or `pinned` in its place."""
    about: Mapping[str, str] = {"base_url": enrolment.base_url, "policy_signing_pubkey_b64": key_b64}
    return {"kind": f"control_plane_key_{what}", **about}
