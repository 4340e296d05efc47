"""`briefcase policy propose`, `proposals`, `apply`, `drop`: a policy asked for in words, seen, then set or let go."""

from __future__ import annotations

import sys
from typing import Final

import click

from briefcase.core.operator.approvals import shown_digest_of
from briefcase.core.wire.proposals import Applied, Compiled, Dropped, PolicyProposal, ProposalList
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.client import path_of
from briefcase.edges.cli.late import marks, render, rich_text
from briefcase.edges.cli.lazy import example
from briefcase.edges.cli.messages import note
from briefcase.edges.cli.policy_trials import replay
from briefcase.model.errors import CallerError

PROPOSALS: Final = "/v1/policy/proposals"
STYLES: Final = {"add": "green", "remove": "red"}
SIGNS: Final = {"add": "+", "remove": "-"}
LOOK_HINT: Final = "read `briefcase policy proposals ID` to its end; its last line is the digest"


@click.command(
    "propose",
    epilog=example(
        "briefcase policy propose 'let scout call note_add without asking'",
        "briefcase policy propose 'ask before group crew calls file_read' --backtest",
        'briefcase policy propose "cedar: $(cat more.cedar)"',
    ),
)
@click.argument("prompt")
@click.option("--backtest", is_flag=True, help="Replay it over the recorded receipts, too.")
@json_option
@pass_app
def propose(app: App, *, prompt: str, backtest: bool, as_json: bool) -> None:
    """Propose a policy in words; nothing is set.

    PROMPT is one of `let WHO call WHAT [without asking]`, `never let WHO call WHAT` and `ask before WHO calls WHAT`, or
    `cedar:` and policies to add, or what the command of `[policy] prompt_command` understands. WHO is an agent, `group
    NAME` or `anyone`; WHAT is a tool, `server NAME`, `provider NAME` or `anything`.
    """
    reply = app.client().post("/v1/policy/compile", Compiled, {"prompt": prompt})
    made = reply.answer.proposal
    if as_json:
        app.json(reply.document)
        return
    document = reply.document["proposal"]
    _show(app, made, shown_digest_of(document if isinstance(document, dict) else {}))
    if backtest:
        replay(app, made.proposed_policy_text)
    note(f"validated, and nothing is set: `briefcase policy apply {made.id}` sets it")


@click.command("proposals", epilog=example("briefcase policy proposals", "briefcase policy proposals 3f9a12bc"))
@click.argument("proposal_id", metavar="ID", required=False)
@json_option
@pass_app
def list_proposals(app: App, *, proposal_id: str | None, as_json: bool) -> None:
    """List the policies that are proposed, or show one of them whole."""
    if proposal_id is not None:
        reply = app.client().get(f"{PROPOSALS}/{_whole_id(app, proposal_id)}", PolicyProposal)
        if as_json:
            app.json(reply.document)
        else:
            _show(app, reply.answer, shown_digest_of(reply.document))
        return
    listed = app.client().get(PROPOSALS, ProposalList)
    if as_json:
        app.json(listed.document)
        return
    rows = [
        (
            app.screen.short_id(one.id),
            render.when(one.created_at),
            one.proposed_by,
            "" if one.is_current else "the policy changed since",
            one.prompt,
        )
        for one in listed.answer.proposals
    ]
    app.screen.table(("ID", "PROPOSED", "BY", "STILL APPLIES", "PROMPT"), rows, empty="nothing is proposed")


@click.command("apply", epilog=example("briefcase policy apply 3f9a12bc"))
@click.argument("proposal_id", metavar="ID")
@click.option("--digest", metavar="HEX", help="Only if the proposal is as it was shown with this digest.")
@json_option
@pass_app
def apply_proposal(app: App, *, proposal_id: str, digest: str | None, as_json: bool) -> None:
    """Set a proposed policy, exactly as it is shown.

    Shows what it changes and asks; without a terminal it takes `--digest`, the last line of `policy proposals ID`.
    """
    path = f"{PROPOSALS}/{_whole_id(app, proposal_id)}"
    reply = app.client().get(path, PolicyProposal)
    shown = shown_digest_of(reply.document)
    if digest is not None and digest.lower() != shown:
        raise CallerError("the proposal is not as it was shown with this digest", code="conflict", hint=LOOK_HINT)
    if digest is None:
        if as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise CallerError(
                "a policy is shown before it is set: expected `--digest`", code="conflict", hint=LOOK_HINT
            )
        _show(app, reply.answer, shown)
        click.confirm("Set all of the above?", abort=True, err=True)
    done = app.client().post(f"{path}/apply", Applied, {"shown_digest_hex": shown})
    if done.answer.status != "applied":
        raise CallerError(str(done.answer.message), code="conflict", hint=LOOK_HINT)
    if as_json:
        app.json(done.document)
    else:
        app.screen.line(f"the policy is now {done.answer.policy_hash_hex}")


@click.command("drop", epilog=example("briefcase policy drop 3f9a12bc"))
@click.argument("proposal_id", metavar="ID")
@json_option
@pass_app
def drop_proposal(app: App, *, proposal_id: str, as_json: bool) -> None:
    """Let a proposed policy go."""
    reply = app.client().post(path_of("v1", "policy", "proposals", _whole_id(app, proposal_id), "drop"), Dropped)
    if as_json:
        app.json(reply.document)
    else:
        app.screen.line(f"dropped {reply.answer.proposal_id}")


def _show(app: App, one: PolicyProposal, digest: str) -> None:
    """What it was asked for in, each line that differs, and the digest of all of it."""
    app.screen.fields([("id", one.id), ("asked for", one.prompt), ("by", one.proposed_by)])
    for change in one.policies:
        app.screen.line(rich_text.Text(f"{change.op} `{marks.visible_text(change.policy_id)}`", "bold"))
    for line in one.diff:
        text = f"{SIGNS.get(line.op, ' ')} {marks.visible_text(line.text)}"
        app.screen.line(rich_text.Text(text, STYLES.get(line.op, "dim")))
    if not one.is_current:
        note("the policy changed since: propose it again")
    app.screen.fields([("digest", digest)])


def _whole_id(app: App, written: str) -> str:
    """The id that was meant by its beginning.

    Raises:
        CallerError: no or several proposals begin so (`not_found`).
    """
    waiting = app.client().get(PROPOSALS, ProposalList).answer.proposals
    matching = [one.id for one in waiting if written and one.id.startswith(written.lower())]
    if len(matching) != 1:
        found = f"{len(matching)} proposals begin" if matching else "no proposal begins"
        raise CallerError(f"{found} with `{written}`", code="not_found", hint="see `briefcase policy proposals`")
    return matching[0]
