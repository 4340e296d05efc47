"""Grants over a crash: each is there, or ended, with its receipt, or not at all."""

import pytest
from test_operator_approvals import YES, Counter

from briefcase.core.grants.drafting import grant_digest
from briefcase.core.grants.held import Grants
from briefcase.core.operator.approvals import Ruling
from briefcase.core.operator.grants import GrantAdmin, GrantRequest
from briefcase.model.grants import GrantTerms
from briefcase.model.types import Role
from support.crash import Crash, crashed
from support.redaction import NoRedaction

WHEN = pytest.mark.parametrize("when", ["before", "after"])
TERMS = GrantTerms(max_uses=3)


def admin_of(counter) -> GrantAdmin:
    return GrantAdmin(counter.ledger, Grants(counter.ledger), NoRedaction())


async def give(counter) -> None:
    """A yes to the counter's approval, with a grant."""
    kept = counter.ledger.shown["id"]
    counter.ledger.shown["id"] = type(kept)(kept.args_text, kept.tool)  # with no risk signal, which asks each time
    digest = grant_digest(admin_of(counter).preview("id", TERMS))
    request = GrantRequest(TERMS, digest)
    shown = counter.document["shown_digest_hex"]
    await counter.approvers.decide(Ruling("id", YES, "ann", Role.APPROVER, shown_digest_hex=shown, grant=request))


@WHEN
async def test_a_grant_is_there_with_the_yes_and_its_receipt_or_not_at_all(monkeypatch, when):
    counter = Counter()
    with crashed(monkeypatch, counter.ledger, "commit", when), pytest.raises(Crash):
        await give(counter)
    is_made = when == "after"
    assert [grant.id for grant in counter.ledger.grants()] == ["id"] * is_made
    assert (counter.ledger.approval("id").status is YES) == is_made
    assert counter.ledger.kinds() == ["approval_decided"] * is_made
    assert len(Grants(counter.ledger).held) == is_made


@WHEN
async def test_a_grant_is_ended_with_its_receipt_or_not_at_all(monkeypatch, when):
    counter = Counter()
    await give(counter)
    with crashed(monkeypatch, counter.ledger, "commit", when), pytest.raises(Crash):
        await admin_of(counter).revoke("id", "bo")
    is_made = when == "after"
    assert (counter.ledger.grant("id").revoked_us is not None) == is_made
    assert counter.ledger.kinds() == ["approval_decided", *["grant_revoked"] * is_made]
    assert len(Grants(counter.ledger).held) != is_made
