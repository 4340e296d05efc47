"""`briefcase policy explain`: what a call would come to now, and why, on one screen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from briefcase.core.wire.explanations import BasisRecord, Explanation, FlipRecord, QuestionRecord
from briefcase.core.wire.fields import given
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.late import render
from briefcase.edges.cli.lazy import example
from briefcase.edges.cli.policy import read_policy
from briefcase.edges.cli.tools import parse_args

if TYPE_CHECKING:
    from rich.text import Text

ASKED: Final = {
    "Call": "may it run?",
    "CallWithoutApproval": "without a person?",
    "CallWithoutSigner": "without a signer's device?",
}
CHANGES: Final = {
    "without_policy": "without the policy `{}`",
    "with_group": "with the group `{}`",
    "without_group": "without the group `{}`",
}


@click.command(
    "explain",
    epilog=example(
        'briefcase policy explain note_add --args-json \'{"text":"hi"}\' --agent scout',
        'briefcase policy explain quote --args-json \'{"symbol":"ACME"}\' --policy policy.cedar',
    ),
)
@click.argument("tool")
@click.option("--args-json", default="{}", metavar="JSON", help="The arguments, a JSON object; `-` reads them.")
@click.option("--agent", metavar="NAME", help="Whose call it would be; the operator's without.")
@click.option(
    "--policy",
    "file",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="A policy to try instead of the one that decides now.",
)
@json_option
@pass_app
def explain_call(app: App, *, tool: str, args_json: str, agent: str | None, file: Path | None, as_json: bool) -> None:
    """Say what a call would come to now, and why.

    Nothing is decided: no receipt is written, no approval is asked for. Rates and approvals are not looked at.
    """
    wanted = {
        "call": {"tool_id": tool, "args": parse_args(args_json)},
        **({} if agent is None else {"agent": agent}),
        **({} if file is None else {"policy_text": read_policy(file)}),
    }
    reply = app.client().post("/v1/explain", Explanation, wanted)
    if as_json:
        app.json(reply.document)
    else:
        _show(app, reply.answer)


def _show(app: App, told: Explanation) -> None:
    why = "; ".join(filter(None, (told.reason, told.detail)))
    fields: list[tuple[str, str | Text]] = [
        ("outcome", render.styled(told.outcome)),
        ("because", why or "every question is permitted"),
        ("call", f"{told.tool_id} by {told.principal}" + (f" of {', '.join(told.groups)}" if told.groups else "")),
    ]
    if told.advice:
        fields.append(("the agent reads", told.advice))
    if told.risk:
        fields.append(("risk", ", ".join(told.risk)))
    if told.controls:
        fields.append(("controls", ", ".join(told.controls)))
    budget = given(told.budget, None)
    if budget is not None:
        left = budget.limit_microusd - budget.spent_microusd - budget.reserved_microusd
        costs, has = (render.money(amount) for amount in (budget.cost_microusd, max(left, 0)))
        fields.append(("budget", f"costs {costs}; `{budget.category}` has {has} left today"))
    fields.append(("policy", told.policy_hash_hex))
    app.screen.fields(fields)
    if told.questions:
        app.screen.table(("QUESTION", "ANSWER", "RESTS ON"), [_row(question) for question in told.questions], empty="")
    for flip in told.flips:
        app.screen.line(f"{_said(flip)}: ", render.styled(flip.outcome))


def _row(question: QuestionRecord) -> tuple[str | Text, ...]:
    named = [*map(_named, question.determining), *map(_named, question.erring)]
    answer = render.styled("allowed" if question.permitted else "denied")
    return (ASKED.get(question.action, question.action), answer, "\n".join(named) or "no policy permits it")


def _named(basis: BasisRecord) -> str:
    said = basis.problem or basis.reason
    return f"{basis.effect} `{basis.id}`" + (f": {said}" if said else "")


def _said(flip: FlipRecord) -> str:
    return CHANGES.get(flip.kind, "{}").format(flip.name)
