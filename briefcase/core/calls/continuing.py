"""Calls that go on with an earlier one, held to what is decided of that one by now."""

from __future__ import annotations

import msgspec

from briefcase.core import risk
from briefcase.core.calls.admission import Checked
from briefcase.core.controls import Controls, stricter
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.model import reasons
from briefcase.model.ports import Ledger, Origin, Policy
from briefcase.model.types import Deny, Verdict


def going_on(
    verdict: Verdict, checked: Checked, policy: Policy, origin: Origin | Deny, rules: tuple[Controls, Ledger]
) -> tuple[Verdict, Checked]:
    """Hold what goes on with a call to what is decided of that call by now: the stricter of both counts.

    Where that call needs a person, this one does too: what it brings along was in no earlier approval. What brings
    nothing along (`Origin.first`) is denied where that call is by now, and what ends it is not held to it.

    Args:
        verdict: on the call itself.
        checked: it.
        policy: the one in force.
        origin: the call it goes on with.
        rules: what the operator tightened, and the ledger that knows which seals are used.
    """
    if isinstance(origin, Deny):
        return stricter(verdict, origin), checked
    controls, ledger = rules
    principal, now_us = checked.facts.principal, checked.now_us
    facts = msgspec.structs.replace(checked.facts, spec=origin.going_on.spec, continues=origin.first_intent_id)
    continued = msgspec.structs.replace(
        checked, facts=facts, tool=origin.going_on, claim=origin.claim, question=origin.question
    )
    if origin.claim is not None and ledger.is_nonce_taken(
        origin.claim
    ):  # asked again in the intent's transaction, where it counts
        return stricter(verdict, Deny(reasons.REPLAY_DETECTED)), continued
    if origin.first == "is_past":
        return verdict, continued
    signals = risk.assess_risk(canonical_bytes(origin.args), origin.tool)
    spec = origin.tool.spec
    first = risk.tighten(policy.decide(principal, spec, origin.args, signals, now_us), signals)
    by_now = controls.apply(first, principal, spec, now_us)
    if origin.first == "denies" and not isinstance(by_now, Deny):
        return verdict, continued
    return stricter(verdict, by_now), continued
