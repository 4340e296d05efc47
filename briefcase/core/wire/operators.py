"""People on the wire: operators, approvers and auditors by name."""

from __future__ import annotations

import msgspec

from briefcase.core.people import PersonRole


class OperatorSummary(msgspec.Struct, frozen=True):
    """One person; `revoked_at` is null while the token works."""

    name: str
    role: PersonRole = "operator"
    added_by: str = ""
    created_at: str = ""
    revoked_at: str | None = None


class OperatorList(msgspec.Struct, frozen=True):
    """All of them, the revoked too."""

    operators: list[OperatorSummary]


class OperatorRequest(msgspec.Struct, frozen=True):
    """A new person: what the token may do, and the name that receipts say."""

    name: str
    role: PersonRole


class OperatorCreated(msgspec.Struct, frozen=True):
    """The new person's token: it is not stored, so it cannot be shown again."""

    name: str
    role: PersonRole
    token: str


class OperatorRevoked(msgspec.Struct, frozen=True):
    """The person's token is refused from now on."""

    name: str
