"""`briefcase approvals`: what waits for a person, and the person's yes or no.

An id may be given by its beginning (eight characters or more), as the tables show it, where only one open approval
starts so; `show` finds those that have ended, too.
"""

from __future__ import annotations

import shutil
import sys
import time
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from briefcase.core.wire.approvals import MAX_LISTED, ApprovalList, Approved, Denied, ShownApproval
from briefcase.core.wire.fields import given
from briefcase.core.wire.receipts import ReceiptList
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.client import path_of
from briefcase.edges.cli.grants import asked_for, grant_options, wished_by
from briefcase.edges.cli.late import approval_watch, desktops, render, shown_calls
from briefcase.edges.cli.lazy import LazyGroup, example
from briefcase.edges.cli.messages import note
from briefcase.edges.client.reply import Reply
from briefcase.model.errors import BriefcaseError, CallerError

UUID_CHARS: Final = 36
MIN_PREFIX_CHARS: Final = 8
COMPLETION_TIMEOUT_S: Final = 1.0
WAITING: Final = frozenset({"pending", "approved"})
OPEN: Final = "open"
ALL: Final = "all"
EMPTY: Final = {
    OPEN: "nothing waits for approval",
    "pending": "nothing waits for approval",
    "approved": "no approval waits to be used",
    "rejected": "no approval was denied",
    "expired": "no approval expired",
    "consumed": "no approval was used",
    ALL: "no approval was ever asked for",
}
LISTED: Final = tuple(EMPTY)
DEFAULT_LIMIT: Final = 100
MAX_RECEIPTS: Final = 100  # of one approval
LOOK_HINT: Final = "read `briefcase approvals show ID` to its end; its last line is the digest"


@click.group(cls=LazyGroup, epilog=example("briefcase approvals watch", "briefcase approvals approve 3f9a12bc"))
def approvals() -> None:
    """See what waits for a person; approve it, deny it, or take a yes back."""


def _complete_id(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    app = ctx.find_object(App)
    if app is None:
        return []
    try:
        waiting = app.client(COMPLETION_TIMEOUT_S).get("/v1/approvals", ApprovalList, status=OPEN).answer.approvals
    except BriefcaseError:
        return []
    return [CompletionItem(one.id, help=one.tool_id) for one in waiting if one.id.startswith(incomplete)]


@approvals.command("list", epilog=example("briefcase approvals list", "briefcase approvals list --all --json"))
@click.option("--status", type=click.Choice(LISTED), default=OPEN, show_default=True, help="Only those in this state.")
@click.option("--all", "everything", is_flag=True, help="Those that have ended, too: as --status all.")
@click.option(
    "--limit",
    type=click.IntRange(1, MAX_LISTED),
    default=DEFAULT_LIMIT,
    show_default=True,
    help="Of those that have ended, at most so many: the newest.",
)
@json_option
@pass_app
def list_approvals(app: App, *, status: str, everything: bool, limit: int, as_json: bool) -> None:
    """List what waits, and each yes that was not used yet, the oldest first.

    `approvals deny` takes such a yes back. With --all, what was decided, used or expired is listed, too.
    """
    status = ALL if everything else status
    is_open = status in {OPEN, *WAITING}
    reply = app.client().get("/v1/approvals", ApprovalList, status=status, limit=None if is_open else limit)
    if as_json:
        app.json(reply.document)
        return
    now_us = time.time_ns() // 1_000
    if not is_open:
        _list_ended(app, reply.answer, EMPTY[status], now_us)
        if len(reply.answer.approvals) == limit:
            note(f"the newest {limit}: `--limit` lists more")
        return
    rows = [
        (
            app.screen.short_id(one.id),
            render.styled(one.status),
            one.principal,
            render.time_left(one.expires_at, now_us),
            one.reason,
            one.summary,
        )
        for one in reply.answer.approvals
    ]
    app.screen.table(("ID", "STATUS", "WHO", "EXPIRES IN", "WHY", "CALL"), rows, empty=EMPTY[status])


def _list_ended(app: App, found: ApprovalList, empty: str, now_us: int) -> None:
    rows = [
        (
            app.screen.short_id(one.id),
            render.styled(one.status),
            one.principal,
            app.screen.short_time(one.created_at, now_us),
            given(one.decided_by, ""),
            given(one.decision_reason, ""),
            one.summary,
        )
        for one in found.approvals
    ]
    app.screen.table(("ID", "STATUS", "WHO", "ASKED", "DECIDED BY", "BECAUSE", "CALL"), rows, empty=empty)


@approvals.command("show", epilog=example("briefcase approvals show 3f9a12bc"))
@click.argument("approval_id", metavar="ID", shell_complete=_complete_id)
@json_option
@pass_app
def show_approval(app: App, *, approval_id: str, as_json: bool) -> None:
    """Show one approval: the whole call, and what stands beside it.

    Its last line is the digest of all that is shown, for `approvals approve --digest`.
    """
    reply = app.client().get(path_of("v1", "approvals", _whole_id(app, approval_id, has_ended=True)), ShownApproval)
    if as_json:
        app.json(reply.document)
        return
    one = reply.answer
    left = render.time_left(one.expires_at, time.time_ns() // 1_000)
    app.screen.fields([("id", one.id), ("status", render.styled(one.status)), ("expires in", left)])
    if one.status not in WAITING:
        _show_ended(app, one)
        return
    digest = shown_calls.digest_of(reply)
    for line in shown_calls.lines_of(one, app.screen.console.width):
        app.screen.line(line)
    token = [("token", given_token)] if (given_token := given(one.approval_token, "")) else []
    app.screen.fields([*token, ("digest", digest)])


def _show_ended(app: App, one: ShownApproval) -> None:
    """One that has ended: the whole call went with its end, and receipts keep what they keep."""
    app.screen.fields([("who", one.principal), ("call", one.summary), ("asked because", one.reason)])
    if given(one.decided_at, ""):
        by, why = given(one.decided_by, "") or "unknown", given(one.decision_reason, "")
        app.screen.fields([("decided by", by), ("decided", render.when(given(one.decided_at, ""))), ("because", why)])
    try:
        receipts = (
            app.client()
            .get("/v1/receipts", ReceiptList, approval_id=one.id, limit=MAX_RECEIPTS, order="oldest")
            .answer.receipts
        )
    except BriefcaseError as error:
        note(f"its receipts cannot be read: {error.message}")
        return
    for receipt in receipts:
        event = receipt.event
        said = " ".join(str(event[name]) for name in ("kind", "status", "reason", "args") if event.get(name))
        app.screen.line(f"receipt {receipt.id}  {render.when(receipt.ts)}  {said}")


@approvals.command(
    "approve",
    epilog=example(
        "briefcase approvals approve 3f9a12bc",
        "briefcase approvals approve 3f9a12bc --grant-fixed /to --max-uses 20 --for 8h",
    ),
)
@click.argument("approval_id", metavar="ID", shell_complete=_complete_id)
@click.option("--digest", metavar="HEX", help="Only if the call is as `approvals show` showed it with this digest.")
@click.option("--reason", default="", help="Why, for the receipt.")
@grant_options
@json_option
@pass_app
def approve(app: App, /, *, approval_id: str, digest: str | None, reason: str, as_json: bool, **wished: Any) -> None:
    """Say yes to exactly one call, once, or by a grant to others like it.

    Writes the call to standard error, and says yes to what it wrote. A call too long for one line of a list is first to
    be read: on a terminal the command asks, elsewhere it takes the `--digest` that `approvals show` wrote below it.

    Prints the token that attaches the approval to the repeated call; the agent that asked can read it as well.
    Where the policy asks for several people, only the last one's yes gives it.
    """
    path = path_of("v1", "approvals", _whole_id(app, approval_id))
    seen = _seen(app.client().get(path, ShownApproval), digest, as_json=as_json)
    granted = asked_for(app, path, wished_by(wished), as_json=as_json)
    said = {"shown_digest_hex": seen, **({"reason": reason} if reason else {}), **granted}
    reply = app.client().post(f"{path}/approve", Approved, said)
    if as_json:
        app.json(reply.document)
        return
    if reply.answer.status == "pending":
        note(f"{reply.answer.approval_id}: {shown_calls.count_of_yes(reply.answer)}")
        return
    click.echo(given(reply.answer.approval_token, ""))
    if grant_id := given(reply.answer.grant_id, ""):
        note(f"granted: `briefcase grants revoke {grant_id}` ends it")
    note(f"approved {reply.answer.approval_id}: repeat the command, or call with `--approval-token` and this token")


def _seen(reply: Reply[ShownApproval], digest: str | None, *, as_json: bool) -> str:
    """The digest of what the person has seen of a call, by then.

    Raises:
        CallerError: it is another call than the one they saw, or they did not see all of it (`conflict`).
        Abort: they said no.
    """
    shown, approval = shown_calls.digest_of(reply), reply.answer
    if digest is not None:
        if digest.lower() != shown:
            raise CallerError("the call is not as it was shown with this digest", code="conflict", hint=LOOK_HINT)
        return shown
    if not as_json:
        width = shutil.get_terminal_size().columns
        for line in shown_calls.lines_of(approval, width):
            click.echo(line.plain, err=True)
    if approval.status == "pending" and not shown_calls.is_whole_in_summary(approval):
        if as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise CallerError(
                "this call is longer than a line of the list: expected `--digest` of all of it",
                code="conflict",
                hint=LOOK_HINT,
            )
        click.confirm("Approve all of the above?", abort=True, err=True)
    return shown


@approvals.command("deny", epilog=example("briefcase approvals deny 3f9a12bc --reason 'wrong customer'"))
@click.argument("approval_id", metavar="ID", shell_complete=_complete_id)
@click.option("--reason", default="", help="Why, for the receipt and for the agent.")
@json_option
@pass_app
def deny(app: App, *, approval_id: str, reason: str, as_json: bool) -> None:
    """Say no, or take back an unused yes.

    The receipt records who and why; the agent is told why.
    """
    path = path_of("v1", "approvals", _whole_id(app, approval_id), "deny")
    reply = app.client().post(path, Denied, {"reason": reason} if reason else None)
    if as_json:
        app.json(reply.document)
    else:
        app.screen.line(f"denied {reply.answer.approval_id}")


@approvals.command(
    "watch", epilog=example("briefcase approvals watch --agent scout", "briefcase approvals watch --json | jq .summary")
)
@click.option("--agent", metavar="NAME", help="Only what this agent asks for.")
@click.option("--tool", metavar="ID", help="Only calls of this tool.")
@click.option("--bell/--no-bell", default=True, show_default=True, help="Ring the terminal when one arrives.")
@click.option("--notify", is_flag=True, help="Show it on the desktop, too.")
@json_option
@pass_app
def watch(app: App, *, agent: str | None, tool: str | None, bell: bool, notify: bool, as_json: bool) -> None:
    """Watch what waits, and decide with a key.

    Up and down choose, space reads on, b goes back, a approves what was read to its end, d denies, q quits. Needs a
    terminal; with --json, each approval is written on one line when it arrives. It goes on over restarts of the daemon.
    """
    wanted = approval_watch.Wanted(agent, tool)
    if as_json:
        if notify:
            raise click.UsageError("`--notify` is for the screen: `--json` is read by a program")
        approval_watch.follow(app, wanted)
    else:
        desktop = desktops.Desktop(app.environ) if notify else None
        approval_watch.run(app, wanted, rings=bell, desktop=desktop)


def _whole_id(app: App, written: str, *, has_ended: bool = False) -> str:
    """The id that was meant.

    Raises:
        CallerError: no or several open approvals, or with `has_ended` any, begin so (`not_found`), or it is too short.
    """
    if len(written) >= UUID_CHARS:
        return written
    if len(written) < MIN_PREFIX_CHARS:
        raise CallerError(
            f"expected an approval id, or at least its first {MIN_PREFIX_CHARS} characters, got `{written}`"
        )
    status, limit = (ALL, MAX_LISTED) if has_ended else (OPEN, None)
    listed = app.client().get("/v1/approvals", ApprovalList, status=status, limit=limit).answer.approvals
    matching = [one.id for one in listed if one.id.startswith(written.lower())]
    if len(matching) != 1:
        open_ = "" if has_ended else "open "
        how_many = f"{len(matching)} {open_}approvals begin" if matching else f"no {open_}approval begins"
        raise CallerError(f"{how_many} with `{written}`", code="not_found", hint="see `briefcase approvals list`")
    return matching[0]
