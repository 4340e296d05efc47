"""The shown call: all that whoever decides on an approval is told, redacted, and with nothing invisible in it."""

from __future__ import annotations

from briefcase.core import risk
from briefcase.core.calls.admission import Checked
from briefcase.core.characters.marks import visible_text as visible
from briefcase.core.json.strict import parse as parse_json
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.model.ports import Redactor, destination_of, payment_of
from briefcase.model.types import LastApproval, NeedsApproval, ShownCall, ShownTool


def shown_call(
    checked: Checked, verdict: NeedsApproval, redactor: Redactor, last_approved: LastApproval | None
) -> ShownCall:
    """The whole call as it is shown.

    Args:
        checked: the call.
        verdict: why it needs a person.
        redactor: cuts secrets out, and counts them.
        last_approved: what this owner was last allowed with this tool.
    """
    facts, spec = checked.facts, checked.tool.spec
    place = destination_of(checked.tool)
    by_risk = (risk.reason_of(facts.risk),) if facts.risk else ()
    args, question, description, address = map(
        redactor.redact_named,
        (
            checked.canonical_args,
            checked.question.encode(),
            canonical_bytes(spec.description),
            canonical_bytes(place.address),
        ),
    )
    is_told = verdict.detail.endswith(f"`: {verdict.reason}") and verdict.detail.count("`: ") == 1
    reasons = (verdict.reason, *([] if is_told else filter(None, [verdict.detail])), *by_risk)
    return ShownCall(
        args_text=visible(args[0].decode()),
        tool=ShownTool(
            name=visible(spec.name),
            description=visible(str(parse_json(description[0]))),
            category=spec.category,
            cost_microusd=spec.cost_microusd,
            destination=visible(str(parse_json(address[0]))),
            server=place.server,
            host=place.host,
            method=place.method,
        ),
        risk=facts.risk,
        policy_ids=verdict.policy_ids,
        reasons=tuple(dict.fromkeys(map(visible, reasons))),
        last_approved=last_approved,
        redacted_places=sum(count for _, count in (args, question, description, address)),
        question=visible(question[0].decode()),
        payment=payment_of(checked.tool),
    )
