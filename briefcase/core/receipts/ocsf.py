"""Receipts as OCSF events: class 6003, API Activity, of schema 1.8.0, or of 1.9.0 with the `record_integrity` profile.

Source: the Open Cybersecurity Schema Framework, `events/application/api_activity.json`, `objects/attestation.json` and
`objects/prev_event.json` (schema.ocsf.io). Each receipt is one event, calls and operators' changes alike. `raw_data` is
the receipt's canonical event, so that `SHA-256(unmapped.prev_hash_hex || raw_data)` is `metadata.uid`: an event can be
held against the chain wherever it ends up. What has no attribute in OCSF stands in `unmapped`.

With `record_integrity`, each event carries the SHA-256 of its own RFC 8785 form, less that very fingerprint, and names
the event written before it: an export is one chain, whose `chain_uid` is the `metadata.uid` it begins with. Pure.
"""

from __future__ import annotations

import hashlib
from typing import Final

from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.core.receipts.kinds import CALL_KINDS
from briefcase.model.types import JsonObject, JsonValue, Receipt, Role, parse_rfc3339

VERSION: Final = "1.8.0"
INTEGRITY_VERSION: Final = "1.9.0"
CATEGORY_UID: Final = 6
CLASS_UID: Final = 6003
PRODUCT: Final = "briefcase"
DAEMON: Final = "briefcase daemon"  # who acted where a receipt names nobody

_US_PER_MS: Final = 1_000
_UNKNOWN, _CREATE, _READ, _UPDATE, _DELETE, _OTHER = 0, 1, 2, 3, 4, 99
_ACTIVITY_NAMES: Final = {
    _UNKNOWN: "Unknown", _CREATE: "Create", _READ: "Read", _UPDATE: "Update", _DELETE: "Delete", _OTHER: "Other",
}  # fmt: skip
_ACTIVITY_OF_CATEGORY: Final = {"read": _READ, "write": _UPDATE}
_ACTIVITY_OF_ENDING: Final = {
    "added": _CREATE, "created": _CREATE, "made": _CREATE, "login": _CREATE, "credential": _CREATE, "enroll": _CREATE,
    "set": _UPDATE, "bound": _UPDATE, "loaded": _UPDATE, "decided": _UPDATE, "pinned": _UPDATE, "sync": _UPDATE,
    "deleted": _DELETE, "removed": _DELETE, "revoked": _DELETE, "cleared": _DELETE, "lifted": _DELETE,
    "ended": _DELETE, "leave": _DELETE,
}  # fmt: skip
_SUCCESS, _FAILURE = 1, 2
_STATUS_NAMES: Final = {_UNKNOWN: "Unknown", _SUCCESS: "Success", _FAILURE: "Failure", _OTHER: "Other"}
_ALLOWED, _DENIED = 1, 2
_DISPOSITIONS: Final = {  # by decision: action_id, disposition_id, disposition
    "allow": (_ALLOWED, 1, "Allowed"),
    "deny": (_DENIED, 2, "Blocked"),
    "approval_required": (_UNKNOWN, _OTHER, "Approval required"),
}
_ACTION_NAMES: Final = {_UNKNOWN: "Unknown", _ALLOWED: "Allowed", _DENIED: "Denied"}
_INFORMATIONAL, _LOW, _MEDIUM = 1, 2, 3
_SEVERITY_NAMES: Final = {_INFORMATIONAL: "Informational", _LOW: "Low", _MEDIUM: "Medium"}
_ADMIN, _SYSTEM, _SERVICE = 2, 3, 4
_USER_TYPES: Final = {_ADMIN: "Admin", _SYSTEM: "System", _SERVICE: "Service"}
_FAILED_KINDS: Final = frozenset({"refused", "refusals_counted", "denied", "change_failed"})
_UNOBSERVED: Final = frozenset({"outcome_unknown", "delegated", "asked_client"})
_SHA_256: Final = 3


class OcsfWriter:
    """Writes receipts as events, in the order they are given.

    Args:
        with_integrity: carry the `record_integrity` profile of schema 1.9.0; the events are then a chain.
        authority_uid: who vouches for that chain: the daemon's did; empty where it is not known.
    """

    def __init__(self, *, with_integrity: bool = False, authority_uid: str = "") -> None:
        self._with_integrity = with_integrity
        self._authority_uid = authority_uid
        self._chain_uid = ""
        self._before: JsonObject | None = None

    def event(self, receipt: Receipt) -> JsonObject:
        """One receipt's event."""
        event = _event_of(receipt, with_integrity=self._with_integrity)
        if self._with_integrity:
            self._attest(event, receipt.hash_hex)
        return event

    def _attest(self, event: JsonObject, uid: str) -> None:
        self._chain_uid = self._chain_uid or uid
        attestation: JsonObject = {"chain_uid": self._chain_uid}
        if self._authority_uid:
            attestation["authority_uid"] = self._authority_uid
        if self._before is not None:
            attestation["prev_event"] = self._before
        event["attestation"] = attestation
        digest_hex = hashlib.sha256(canonical_bytes(event)).hexdigest()
        fingerprint: JsonObject = {"algorithm": "SHA-256", "algorithm_id": _SHA_256, "value": digest_hex}
        attestation["fingerprint"] = fingerprint
        self._before = {"uid": uid, "type_uid": event["type_uid"], "fingerprint": fingerprint}


def _event_of(receipt: Receipt, *, with_integrity: bool) -> JsonObject:
    said = receipt.event
    kind, decision = _text(said, "kind"), _text(said, "decision")
    activity, status, severity = _activity_of(said), _status_of(said), _severity_of(said)
    action_id, disposition_id, disposition = _DISPOSITIONS.get(decision, (_UNKNOWN, _UNKNOWN, "Unknown"))
    who = _text(said, "principal") or _text(said, "by")
    event: JsonObject = {
        "activity_id": activity,
        "activity_name": _ACTIVITY_NAMES[activity],
        "actor": {"user": _user_of(said, who)},
        "api": _api_of(said),
        "category_name": "Application Activity",
        "category_uid": CATEGORY_UID,
        "class_name": "API Activity",
        "class_uid": CLASS_UID,
        "message": _message_of(said),
        "metadata": _metadata_of(receipt, with_integrity=with_integrity),
        "raw_data": canonical_bytes(said).decode(),
        "severity": _SEVERITY_NAMES[severity],
        "severity_id": severity,
        "src_endpoint": {"name": who or DAEMON, "svc_name": _text(said, "auth_method") or PRODUCT},
        "status": _STATUS_NAMES[status],
        "status_id": status,
        "time": parse_rfc3339(receipt.ts) // _US_PER_MS,
        "type_name": f"API Activity: {_ACTIVITY_NAMES[activity]}",
        "type_uid": CLASS_UID * 100 + activity,
        "unmapped": {"kind": kind, "receipt_id": receipt.id, "prev_hash_hex": receipt.prev_hash_hex},
    }
    if decision:
        event |= {
            "action": _ACTION_NAMES[action_id],
            "action_id": action_id,
            "disposition": disposition,
            "disposition_id": disposition_id,
        }
    if detail := _text(said, "reason") or _text(said, "error"):
        event["status_detail"] = detail
    if tool_id := _text(said, "tool_id"):
        event["resources"] = [{"name": tool_id, "type": "tool"}]
    if digest := _text(said, "policy_digest"):
        ids = said.get("policy_ids")
        named: JsonObject = {"name": ", ".join(map(str, ids))} if isinstance(ids, list) and ids else {}
        event["policy"] = {"uid": digest, **named}
    return event


def _metadata_of(receipt: Receipt, *, with_integrity: bool) -> JsonObject:
    said = receipt.event
    profiles: list[JsonValue] = ["security_control"]
    metadata: JsonObject = {
        "event_code": _text(said, "kind"),
        "log_name": "receipts",
        "original_time": receipt.ts,
        "product": {"name": PRODUCT, "vendor_name": PRODUCT},
        "profiles": [*profiles, "record_integrity"] if with_integrity else profiles,
        "sequence": receipt.id,
        "uid": receipt.hash_hex,
        "version": INTEGRITY_VERSION if with_integrity else VERSION,
    }
    if call_id := _text(said, "call_id"):
        metadata["correlation_uid"] = call_id
    return metadata


def _api_of(said: JsonObject) -> JsonObject:
    is_call = _text(said, "kind") in CALL_KINDS
    api: JsonObject = {
        "operation": (_text(said, "tool_id") if is_call else "") or _text(said, "kind"),
        "service": {"name": PRODUCT},
    }
    if request_id := _text(said, "request_id"):
        api["request"] = {"uid": request_id}
    if error := _text(said, "error"):
        api["response"] = {"error": error}
    return api


def _user_of(said: JsonObject, who: str) -> JsonObject:
    role = _text(said, "role")
    if not who:
        type_id = _SYSTEM
    elif role == Role.OPERATOR.value or (not _text(said, "principal") and _text(said, "by")):
        type_id = _ADMIN
    else:
        type_id = _SERVICE
    user: JsonObject = {"name": who or DAEMON, "type": _USER_TYPES[type_id], "type_id": type_id}
    if isinstance(groups := said.get("groups"), list) and groups:
        user["groups"] = [{"name": str(group)} for group in groups]
    return user


def _activity_of(said: JsonObject) -> int:
    tool, kind = said.get("tool"), _text(said, "kind")
    if isinstance(tool, dict):
        return _ACTIVITY_OF_CATEGORY.get(str(tool.get("category")), _OTHER)
    if kind in CALL_KINDS:
        return _UNKNOWN  # an outcome does not repeat what its intent said of the tool
    return _ACTIVITY_OF_ENDING.get(kind.rpartition("_")[2], _OTHER)


def _status_of(said: JsonObject) -> int:
    kind, status = _text(said, "kind"), _text(said, "status")
    if kind in _FAILED_KINDS or status == "error" or said.get("tool_error"):
        return _FAILURE
    if kind in _UNOBSERVED:
        return _UNKNOWN
    if kind in {"intent", "approval_required", "change_intent", "payment_intent"}:
        return _OTHER  # nothing came of it yet
    return _SUCCESS


def _severity_of(said: JsonObject) -> int:
    if _text(said, "kind") == "outcome_unknown":
        return _MEDIUM
    return _LOW if _status_of(said) == _FAILURE else _INFORMATIONAL


def _message_of(said: JsonObject) -> str:
    words = (_text(said, name) for name in ("kind", "tool_id", "decision", "status", "reason"))
    return " ".join(word for word in words if word)


def _text(said: JsonObject, name: str) -> str:
    """A member of an event that is a text, or nothing."""
    value = said.get(name)
    return value if isinstance(value, str) else ""
