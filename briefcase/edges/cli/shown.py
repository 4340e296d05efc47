"""The whole call as whoever decides reads it: what stands beside it, every argument in full, then the description.

Short arguments come first, long ones after them, each with its length; nothing is cut. Lines of the agent's or a
server's words are indented below a heading of ours, so that none can pass for a heading. What is shown is the document
of `GET /v1/approvals/{id}`, and its digest is computed here, from what is shown, not taken from it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import Final

from rich.cells import cell_len, chop_cells
from rich.text import Text

from briefcase.core.characters.marks import visible_text
from briefcase.core.json.members import members_of, paragraphs_of
from briefcase.core.operator.approvals import shown_digest_of
from briefcase.core.wire.approvals import (
    Approved,
    LastApproved,
    ShownApproval,
    ShownCost,
    ShownPayment,
    ShownToolRecord,
)
from briefcase.core.wire.fields import given
from briefcase.core.wire.grants import DraftedGrant
from briefcase.core.wire.tools import category_name
from briefcase.edges.cli.render import price, when
from briefcase.edges.client.reply import Reply
from briefcase.model.errors import CallerError
from briefcase.model.reasons import RISK, with_detail
from briefcase.model.types import MICROUSD_PER_USD

LONG_CHARS: Final = 160
LABEL_CHARS: Final = 13
MIN_TEXT_CHARS: Final = 8
MIN_COLUMNS: Final = 6  # the deepest indent, and the widest character
INDENT: Final = "  "
DEEPER: Final = "    "

_NO_TOOL: Final = ShownToolRecord("", "", "read", ShownCost(0))  # `digest_of` refuses a call without one


def digest_of(reply: Reply[ShownApproval]) -> str:
    """The digest of a document as it is shown here, of members that this version does not know too.

    Raises:
        CallerError: it shows no whole call (`forbidden`), or names a digest of something else (`conflict`).
    """
    approval = reply.answer
    if not isinstance(approval.args_text, str) or not isinstance(approval.tool, ShownToolRecord):
        raise CallerError(
            "the daemon shows no whole call of this approval",
            code="forbidden",
            hint="decide with an operator's token, and a daemon of this version",
        )
    try:
        digest = shown_digest_of(reply.document)
    except (TypeError, ValueError):  # a number or a text without a canonical form: nobody computed a digest of it
        digest = ""
    if not digest or digest != given(approval.shown_digest_hex, digest):  # some daemons name none
        raise CallerError("the daemon's digest of this call is not that of what it shows", code="conflict")
    return digest


def is_whole_in_summary(approval: ShownApproval) -> bool:
    """Whether the line in a list says all of the call, and nothing but the call is said yes to."""
    return (
        not isinstance(approval.grant, DraftedGrant)
        and approval.summary == f"{given(approval.tool, _NO_TOOL).name} {given(approval.args_text, '')}"
    )


def count_of_yes(said: Approved) -> str:
    """How far a yes has come that needs other people's beside it."""
    return f"your yes is {said.approvals_given} of {said.approvers}; it waits for another person's"


def lines_of(approval: ShownApproval, width: int) -> list[Text]:
    """All of a call in lines of at most so many columns (from `MIN_COLUMNS`), with nothing invisible in them."""
    tool = given(approval.tool, _NO_TOOL)
    return [
        *_facts(approval, tool, width),
        *_redacted(given(approval.redacted_places, 0), width),  # an older daemon counts none
        *_granted(approval, width),
        *_question(given(approval.question_text, ""), width),
        *_arguments(given(approval.args_text, ""), width),
        *_description(tool.description, width),
    ]


def lines_of_grant(drafted: DraftedGrant, width: int) -> list[Text]:
    """A grant as it is shown before the yes: the sentence, and the condition whole."""
    lines = [*_heading("the yes lets more pass than this call", width)]
    lines += _indented(wrap(drafted.sentence, width - len(DEEPER)), "yellow")
    for written in drafted.cedar.split("\n"):
        lines += _indented(wrap(written, width - len(DEEPER)))
    return lines


def wrap(text: str, width: int) -> list[str]:
    """Text in lines that fit, with nothing invisible and nothing dropped."""
    cells = max(width, 2)  # the widest character takes two
    lines = textwrap.wrap(visible_text(text), cells, drop_whitespace=False, break_on_hyphens=False)
    return [piece for line in lines for piece in (chop_cells(line, cells) if cell_len(line) > cells else (line,))]


def _facts(approval: ShownApproval, tool: ShownToolRecord, width: int) -> Iterator[Text]:
    places = (("server", tool.server), ("method", tool.method), ("host", tool.host))
    place = [given(approval.destination, ""), *(f"{name} {value}" for name, value in places if given(value, ""))]
    yield from _fact("asked by", approval.principal, width)
    yield from _fact(
        "tool",
        f"{approval.tool_id}  {category_name(tool.category)}, {price(tool.cost.estimated_usd)}",
        width,
        "bold",
    )
    if tool.name not in {"", approval.tool_id}:
        yield from _fact("named", tool.name, width)
    yield from _fact("goes to", " · ".join(filter(None, dict.fromkeys(place))) or "nothing is known", width)
    if isinstance(approval.payment, ShownPayment):
        yield from _payment(approval.payment, width)
    signals = given(approval.risk, [])
    by_risk = with_detail(RISK, ",".join(signals))
    first, *more = given(approval.reasons, []) or [approval.reason]
    for index, reason in enumerate((first, *(one for one in more if one != by_risk))):
        yield from _fact("because" if index == 0 else "", reason, width)
    if whom := given(approval.stands_in, ""):
        yield from _fact("you stand in", f"for a {whom}: no device is paired", width, "yellow")
    if policy_ids := given(approval.policy_ids, []):
        yield from _fact("policies", ", ".join(policy_ids), width)
    if (needed := given(approval.approvers, 1)) > 1:
        said = ", ".join(given(approval.approved_by, [])) or "nobody yet"
        yield from _fact("it takes", f"the yes of {needed} people; said by {said}", width, "yellow")
    if given(approval.approvers_exclude, ""):
        yield from _fact("not by", "whoever set the policy that decides now", width, "yellow")
    yield from _fact("risk", ", ".join(signals) or "no signal", width, "bold red" if signals else "")
    yield from _fact("last yes", _last_yes(approval), width)


def _payment(paid: ShownPayment, width: int) -> Iterator[Text]:
    """What the call pays to whom, on which rail."""
    yield from _fact("pays", f"${paid.amount_microusd / MICROUSD_PER_USD:,.6f} to {paid.pay_to}", width, "bold yellow")
    units = f"{given(paid.amount, '')} of {given(paid.asset, '')} on {given(paid.network, '')}"
    yield from _fact("", f"{paid.rail}: {units}" if given(paid.amount, "") else paid.rail, width)
    if resource := given(paid.resource, ""):
        yield from _fact("", f"for {resource} of the provider {paid.provider_id}", width)


def _last_yes(approval: ShownApproval) -> str:
    last = approval.last_approved
    if not isinstance(last, LastApproved):
        return "none for this agent and tool"
    which = "the same call" if last.is_same_call else "another call of this tool"
    return f"{which}, {when(last.at)}, by {last.by}"


def _fact(label: str, value: str, width: int, style: str = "") -> Iterator[Text]:
    room = width - LABEL_CHARS
    if room < MIN_TEXT_CHARS:  # too narrow for both beside each other
        yield from (Text(piece, "dim") for piece in wrap(label, width))
        yield from (Text(INDENT + piece, style) for piece in wrap(value, width - len(INDENT)))
        return
    for index, piece in enumerate(wrap(value, room) or [""]):
        shown = label if index == 0 else ""
        yield Text.assemble((f"{shown:<{LABEL_CHARS}}", "dim"), (piece, style))


def _heading(text: str, width: int) -> Iterator[Text]:
    return (Text(piece, "bold") for piece in wrap(text, width))


def _redacted(places: int, width: int) -> Iterator[Text]:
    if places:
        yield from _heading("1 place is redacted" if places == 1 else f"{places:,} places are redacted", width)


def _granted(approval: ShownApproval, width: int) -> Iterator[Text]:
    """What those who said yes before let pass beside the call."""
    if isinstance(approval.grant, DraftedGrant):
        yield from lines_of_grant(approval.grant, width)


def _question(text: str, width: int) -> Iterator[Text]:
    """What a server asked, where the call is the answer."""
    if text:
        yield from _heading(f"the server asks, {len(text):,} characters", width)
        yield from _members(text, width)


def _arguments(args_text: str, width: int) -> Iterator[Text]:
    members = members_of(args_text)
    count = f"{len(members)} argument{'' if len(members) == 1 else 's'}"
    yield from _heading(f"{count}, {len(args_text):,} characters", width)
    yield from _members(args_text, width)


def _members(text: str, width: int) -> Iterator[Text]:
    room = width - len(DEEPER)
    for name, value in members_of(text):
        if len(value) <= LONG_CHARS:
            yield from _indented(wrap(f"{name}: {value}" if name else value, room))
            continue
        yield from _indented(wrap(f"{name}: {len(value):,} characters", room), "bold")
        for paragraph in paragraphs_of(value):
            yield from (Text(DEEPER + piece) for piece in wrap(paragraph, room))


def _indented(pieces: Iterable[str], style: str = "") -> Iterator[Text]:
    for index, piece in enumerate(pieces):
        yield Text((INDENT if index == 0 else DEEPER) + piece, style)


def _description(described: str, width: int) -> Iterator[Text]:
    yield from _heading("the tool describes itself" if described else "the tool has no description", width)
    for piece in wrap(described, width - len(DEEPER)):
        yield Text(DEEPER + piece, "dim")
