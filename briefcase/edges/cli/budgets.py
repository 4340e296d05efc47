"""`briefcase budgets`: what may be spent on each category of tools in one UTC day."""

from __future__ import annotations

import click

from briefcase.core.wire.budgets import BudgetList, BudgetRecord
from briefcase.edges.cli.app import App, check_name, json_option, pass_app
from briefcase.edges.cli.client import path_of
from briefcase.edges.cli.late import render
from briefcase.edges.cli.lazy import LazyGroup, example
from briefcase.edges.cli.names import complete_category
from briefcase.model.errors import CallerError


@click.group(
    cls=LazyGroup, epilog=example("briefcase budgets list", "briefcase budgets set --daily-limit-usd 2.50 read")
)
def budgets() -> None:
    """See and set what may be spent in a day."""


@budgets.command("list", epilog=example("briefcase budgets list"))
@json_option
@pass_app
def list_budgets(app: App, *, as_json: bool) -> None:
    """List the daily limits and what was spent today (UTC)."""
    reply = app.client().get("/v1/budgets", BudgetList)
    if as_json:
        app.json(reply.document)
        return
    rows = []
    for line in reply.answer.budgets:
        limit, spent, reserved = line.daily_limit_microusd, line.spent_microusd, line.reserved_microusd
        rows.append((line.category, *map(render.money, (limit, spent, reserved, max(0, limit - spent - reserved)))))
    app.screen.table(("CATEGORY", ">LIMIT A DAY", ">SPENT", ">RESERVED", ">LEFT"), rows, empty="no budgets")


@budgets.command("set", epilog=example("briefcase budgets set --daily-limit-usd 2.50 read"))
@click.option("--daily-limit-usd", "limit", required=True, metavar="USD", help="Decimal dollars, exact to $0.000001.")
@click.argument("category", callback=check_name, shell_complete=complete_category)
@json_option
@pass_app
def set_budget(app: App, *, limit: str, category: str, as_json: bool) -> None:
    """Set the daily limit of a category. Calls that would pass it wait for approval."""
    try:
        limit_microusd = render.parse_dollars(limit)
    except ValueError as error:
        raise CallerError(f"`--daily-limit-usd`: {error}") from None
    body = {"daily_limit_microusd": limit_microusd}
    reply = app.client().post(path_of("v1", "budgets", category), BudgetRecord, body)
    if as_json:
        app.json(reply.document)
    else:
        budget = reply.answer
        app.screen.line(f"`{budget.category}` may spend {render.money(budget.daily_limit_microusd)} a day")
