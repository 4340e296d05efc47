"""The control plane on the wire: how this daemon stands with one, enrolling, syncing, leaving."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from briefcase.core.fleet.device import DeviceState
from briefcase.core.wire.fields import HashHex, Maybe, Natural, given
from briefcase.core.wire.reading import unexpected_answer

DeviceStateWord = Annotated[str, msgspec.Meta(extra_json_schema={"enum": [state.value for state in DeviceState]})]


class MandatoryRecord(msgspec.Struct, frozen=True):
    """What an organisation forbids on its devices, whatever their policies say; id 0 where it is nothing."""

    id: Natural
    policy_text: str


class ControlPlaneStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How this daemon stands: `not_enrolled`, with nothing more than a mandatory part that was left, or `enrolled`.

    `state` says how the sync stands. `last_error` is a word and a sentence, null where the last sync went well, and
    `last_sync_at_rfc3339` is when one last did. `last_receipt_upload_id` is the last receipt that the control plane
    acknowledged. `fresh_until_rfc3339` is until when the running policy is known to be the present one.
    """

    status: Literal["not_enrolled", "enrolled"]
    base_url: Maybe[str] = msgspec.UNSET
    device_id: Maybe[str] = msgspec.UNSET
    device_name: Maybe[str] = msgspec.UNSET
    policy_signing_pubkey_b64: Maybe[str] = msgspec.UNSET
    last_policy_bundle_id: Maybe[Natural] = msgspec.UNSET
    last_receipt_upload_id: Maybe[Natural] = msgspec.UNSET
    last_sync_at_rfc3339: Maybe[str] = msgspec.UNSET
    last_error: Maybe[str] = msgspec.UNSET
    updated_at_rfc3339: Maybe[str] = msgspec.UNSET
    state: Maybe[DeviceStateWord] = msgspec.UNSET
    fresh_until_rfc3339: Maybe[str] = msgspec.UNSET
    policy_hash_hex: Maybe[HashHex] = msgspec.UNSET
    mandatory: Maybe[MandatoryRecord] = msgspec.UNSET


class EnrolBody(msgspec.Struct, frozen=True):
    """Where to enrol, by whose word, under which name. The admin token is used for one request and kept nowhere.

    `as_new_device` makes this daemon another device than it was: its receipts begin anew at the control plane.
    """

    base_url: str
    admin_token: str
    device_name: str
    as_new_device: bool = False

    def __repr__(self) -> str:
        return f"EnrolBody(base_url={self.base_url!r}, ...)"


class SyncResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a sync came to."""

    status: Literal["not_enrolled", "synced"]
    policy_applied: Maybe[bool] = msgspec.UNSET
    receipts_uploaded: Maybe[Natural] = msgspec.UNSET


class ControlPlaneLeft(msgspec.Struct, frozen=True):
    """The policy is the operator's again; `mandatory_stays` says that a part of it still is the organisation's."""

    status: Literal["not_enrolled"] = "not_enrolled"
    mandatory_stays: bool = False


class MandatoryDeleted(msgspec.Struct, frozen=True):
    """The mandatory part of this id decides no more."""

    mandatory_id: Natural


def managed_by(status: ControlPlaneStatus, endpoint: str) -> str | None:
    """The address of the control plane that manages a daemon; None where none does.

    Raises:
        BriefcaseError: the daemon is enrolled, and the answer does not say where (`unexpected_answer`).
    """
    if status.status == "not_enrolled":
        return None
    if not given(status.base_url, ""):
        raise unexpected_answer(endpoint, "expected the field `base_url` where `status` is `enrolled`, got none")
    return given(status.base_url, "")
