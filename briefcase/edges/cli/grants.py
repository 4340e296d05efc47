"""`briefcase grants`: what passes without being asked again, and its end; and the options of a yes that grants."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from typing import Any, Final

import click
import msgspec
from click.shell_completion import CompletionItem

from briefcase.core.wire.fields import given
from briefcase.core.wire.grants import DraftedGrant, GrantList, GrantRecord, GrantRevoked
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.client import path_of
from briefcase.edges.cli.ends import end_of
from briefcase.edges.cli.late import render, shown_calls
from briefcase.edges.cli.lazy import LazyGroup, example
from briefcase.edges.client.reply import Reply
from briefcase.model.errors import BriefcaseError, CallerError
from briefcase.model.types import JsonObject

GRANTS: Final = "/v1/grants"
COMPLETION_TIMEOUT_S: Final = 1.0
LOOK_HINT: Final = "run it without `--grant-digest`: it shows the grant, and its digest last"


class Wished(msgspec.Struct, frozen=True):
    """What the options of a yes ask for beside the call."""

    exact: bool
    fixed: tuple[str, ...]
    max_uses: int | None
    max_usd: str | None
    span: str | None
    until: str | None
    digest: str | None

    def terms(self) -> JsonObject | None:
        """What is asked for, as the daemon takes it; None where nothing is.

        Raises:
            CallerError: a bound is none.
            UsageError: the options do not go together.
        """
        bounds = (self.max_uses, self.max_usd, self.span, self.until, self.digest)
        if not self.exact and not self.fixed:
            if any(one is not None for one in bounds):
                raise click.UsageError("expected --grant-exact or --grant-fixed beside a bound of a grant")
            return None
        if self.exact and self.fixed:
            raise click.UsageError("expected --grant-exact or --grant-fixed, got both")
        terms: JsonObject = {"args": "exact" if self.exact else {"fixed": list(self.fixed)}}
        if self.max_uses is not None:
            terms["max_uses"] = self.max_uses
        if self.max_usd is not None:
            try:
                terms["max_microusd"] = render.parse_dollars(self.max_usd)
            except ValueError as error:
                raise CallerError(f"`--max-usd`: {error}") from None
        if (expires_at := end_of(self.span, self.until)) is not None:
            terms["expires_at"] = expires_at
        return terms


def grant_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options by which a yes lets further calls pass."""
    for option in reversed(
        (
            click.option(
                "--grant-exact", is_flag=True, help="Let the very same call pass again, within the bounds below."
            ),
            click.option(
                "--grant-fixed",
                multiple=True,
                metavar="POINTER",
                help="Let calls pass with this argument as shown (/to), the rest within what is shown. Repeatable.",
            ),
            click.option("--max-uses", type=click.IntRange(1), help="Of a grant: at most so many calls."),
            click.option("--max-usd", metavar="USD", help="Of a grant: at most so much in all."),
            click.option("--for", "span", metavar="SPAN", help="Of a grant: for so long, as 30m, 2h, 7d."),
            click.option("--until", metavar="TIME", help="Of a grant: until a time, as 2026-12-24T18:00:00Z."),
            click.option(
                "--grant-digest", metavar="HEX", help="Only if the grant is as it was shown with this digest."
            ),
        )
    ):
        command = option(command)
    return command


def wished_by(options: dict[str, Any]) -> Wished:
    """What was asked for, by the options as click hands them over."""
    return Wished(
        exact=options["grant_exact"],
        fixed=options["grant_fixed"],
        max_uses=options["max_uses"],
        max_usd=options["max_usd"],
        span=options["span"],
        until=options["until"],
        digest=options["grant_digest"],
    )


def asked_for(app: App, path: str, wished: Wished, *, as_json: bool) -> JsonObject:
    """What the yes says of a grant, once the person has seen it; empty where none is asked for.

    Args:
        app: this run.
        path: of the approval.
        wished: by the options.
        as_json: nobody is asked, so the digest must be there.

    Raises:
        CallerError: it is another grant than the one they saw, or they did not see it (`conflict`).
        Abort: they said no.
    """
    terms = wished.terms()
    if terms is None:
        return {}
    drafted = app.client().post(f"{path}/grant", DraftedGrant, terms).answer
    if wished.digest is not None:
        if wished.digest.lower() != drafted.grant_digest_hex:
            raise CallerError("the grant is not as it was shown with this digest", code="conflict", hint=LOOK_HINT)
        return {"grant": terms, "grant_digest_hex": drafted.grant_digest_hex}
    for line in shown_calls.lines_of_grant(drafted, shutil.get_terminal_size().columns):
        click.echo(line.plain, err=True)
    if as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CallerError(
            "a grant is shown before it is given: expected `--grant-digest`",
            code="conflict",
            hint=f"the digest of what is shown above is {drafted.grant_digest_hex}; give its end with `--until`",
        )
    click.confirm("Grant all of the above?", abort=True, err=True)
    return {"grant": terms, "grant_digest_hex": drafted.grant_digest_hex}


def _complete_id(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    app = ctx.find_object(App)
    if app is None:
        return []
    try:
        held = app.client(COMPLETION_TIMEOUT_S).get(GRANTS, GrantList).answer.grants
    except BriefcaseError:
        return []
    return [CompletionItem(one.id, help=one.tool_id) for one in held if one.id.startswith(incomplete)]


@click.group(cls=LazyGroup, epilog=example("briefcase grants list", "briefcase grants revoke 3f9a12bc"))
def grants() -> None:
    """See what passes without being asked again, and end it."""


@grants.command("list", epilog=example("briefcase grants list", "briefcase grants list --all --json"))
@click.option("--all", "everything", is_flag=True, help="Those that have ended, too.")
@json_option
@pass_app
def list_grants(app: App, *, everything: bool, as_json: bool) -> None:
    """List what was granted and what was used of it, the oldest first."""
    reply: Reply[GrantList] = app.client().get(GRANTS, GrantList, status="all" if everything else "active")
    if as_json:
        app.json(reply.document)
        return
    rows = [
        (
            app.screen.short_id(one.id),
            render.styled(one.status),
            one.principal,
            one.tool_id,
            _used(one),
            render.when(ends) if (ends := given(one.expires_at, "")) else "",
            ", ".join(one.granted_by),
            one.sentence,
        )
        for one in reply.answer.grants
    ]
    app.screen.table(
        ("ID", "STATUS", "WHO", "TOOL", "USED", "UNTIL", "BY", "WHAT"), rows, empty="nothing passes without being asked"
    )


def _used(one: GrantRecord) -> str:
    uses = f"{one.uses:,}" if (most := given(one.max_uses, 0)) == 0 else f"{one.uses:,} of {most:,}"
    if one.max_microusd in {None, msgspec.UNSET}:
        return uses
    spent = render.money(one.spent_microusd + one.reserved_microusd)
    return f"{uses}, {spent} of {render.money(given(one.max_microusd, 0))}"


@grants.command("revoke", epilog=example("briefcase grants revoke 3f9a12bc"))
@click.argument("grant_id", metavar="ID", shell_complete=_complete_id)
@json_option
@pass_app
def revoke_grant(app: App, *, grant_id: str, as_json: bool) -> None:
    """End a grant at once. ID may be the first characters of one in force."""
    held = app.client().get(GRANTS, GrantList).answer.grants
    matching = [one.id for one in held if grant_id and one.id.startswith(grant_id.lower())]
    if len(matching) != 1:
        found = f"{len(matching)} grants begin" if matching else "no grant in force begins"
        raise CallerError(f"{found} with `{grant_id}`", code="not_found", hint="see `briefcase grants list`")
    reply = app.client().post(path_of("v1", "grants", matching[0], "revoke"), GrantRevoked)
    if as_json:
        app.json(reply.document)
    else:
        app.screen.line(f"revoked {reply.answer.grant_id}: calls like it are asked about again")
