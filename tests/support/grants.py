"""Whoever decides approvals, with the grants of a ledger."""

from __future__ import annotations

from collections.abc import Callable

from briefcase.core.grants.held import Grants
from briefcase.core.operator.approvals import EITHER, Approvers, Means
from briefcase.core.operator.grants import GrantAdmin
from briefcase.model.ports import Ledger, Redactor
from support.redaction import NoRedaction


def approvers_of(
    ledger: Ledger,
    redactor: Redactor | None = None,
    grants: Grants | None = None,
    *,
    author: Callable[[], str] = str,
    has_signer: Callable[[], bool] = bool,
    yes_by: frozenset[Means] = EITHER,
) -> Approvers:
    """What decides the approvals of a ledger; `grants` are those of the flow beside it."""
    redactor = redactor or NoRedaction()
    admin = GrantAdmin(ledger, grants or Grants(ledger), redactor)
    return Approvers(ledger, redactor, admin, author=author, has_signer=has_signer, yes_by=yes_by)
