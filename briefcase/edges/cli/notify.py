"""`briefcase notify`: whom the notifier tells (`notifier.toml`), and what it could not deliver."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Mapping
from typing import Final

import click

from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.late import (
    asyncio,
    net_urls,
    notifier_edits,
    notifier_events,
    notifier_sending,
    notifier_settings,
    notifier_stores,
    notifier_words,
)
from briefcase.edges.cli.lazy import LazyGroup, example
from briefcase.edges.cli.messages import note
from briefcase.edges.cli.secrets import read_secret
from briefcase.edges.notifier.settings import Target
from briefcase.edges.notifier.wording import Message
from briefcase.model.errors import CallerError, ConfigError, UpstreamError
from briefcase.model.types import JsonObject, JsonValue, format_rfc3339

SECRET_BYTES: Final = 32
SEVERITIES: Final = ("low", "medium", "high")
ALL: Final = "all"


@click.group(
    cls=LazyGroup,
    epilog=example("briefcase notify add ops < address.txt", "briefcase notify test ops", "briefcase notify list"),
)
def notify() -> None:
    """Say whom the notifier tells, and try it."""


@notify.command(
    "add",
    epilog=example(
        "briefcase notify add ops < address.txt",
        "briefcase notify add oncall --severity high --quiet 22:00-07:00 --zone Europe/Berlin < address.txt",
        "briefcase notify add hook --webhook < url.txt",
    ),
)
@click.argument("name")
@click.option("--webhook", is_flag=True, help="A URL that takes Standard Webhooks; prints its signing secret once.")
@click.option("--agent", "agents", multiple=True, metavar="GLOB", help="Only what these agents do.")
@click.option("--tool", "tools", multiple=True, metavar="GLOB", help="Only of these tools.")
@click.option("--severity", type=click.Choice(SEVERITIES), default="low", show_default=True, help="And above.")
@click.option("--every", "every_s", type=click.IntRange(1, 3_600), default=10, show_default=True, help="Seconds.")
@click.option("--quiet", metavar="HH:MM-HH:MM", help="Hold back in these hours what is not of high severity.")
@click.option("--zone", default="UTC", show_default=True, help="The time zone of --quiet.")
@pass_app
def add_target(  # noqa: PLR0913 - one parameter for each option
    app: App,
    *,
    name: str,
    webhook: bool,
    agents: tuple[str, ...],
    tools: tuple[str, ...],
    severity: notifier_events.Severity,
    every_s: int,
    quiet: str | None,
    zone: str,
) -> None:
    """Add a place that is told, or change it.

    Reads its address from a prompt or from standard input, since most addresses hold a secret: one of Apprise
    (`slack://…`, `ntfys://…`, `mailtos://…`, `dbus://`), or with --webhook a URL. A running notifier is to be
    restarted.
    """
    path = notifier_settings.config_path(app.environ)
    app.check_outside(path)
    address = read_secret("address", is_new=False)
    begins, _, ends = (quiet or "").partition("-")
    secret = f"whsec_{base64.b64encode(os.urandom(SECRET_BYTES)).decode()}" if webhook else ""
    target = Target(
        url="" if webhook else address,
        webhook=address if webhook else "",
        secret=secret,
        agents=agents,
        tools=tools,
        severity=severity,
        every_s=every_s,
        quiet=notifier_settings.quiet_of(begins, ends, zone) if quiet else None,
    )
    notifier_settings.check_target(name, target)
    notifier_sending.open_sender(name, target)
    try:
        notifier_edits.add_target(path, name, target)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"`notify add` needs `{error.name}`, which is not installed", hint=notifier_sending.EXTRA_HINT
        ) from None
    if secret:
        click.echo(secret)
        note("the secret that signs what goes there, shown this once: the receiver verifies with it")
    note(f"`{name}` is in `{path}`: `briefcase notify test {name}` tries it")


@notify.command("list", epilog=example("briefcase notify list", "briefcase notify list --json"))
@json_option
@pass_app
def list_targets(app: App, *, as_json: bool) -> None:
    """List the places that are told.

    Of an address only its kind is shown: the rest may be a secret.
    """
    path = notifier_settings.config_path(app.environ)
    settings = notifier_settings.read_settings(path)
    undelivered = [letter.target for letter in notifier_stores.Store(path).dead()]
    found = [_document_of(name, target, undelivered.count(name)) for name, target in settings.targets.items()]
    if as_json:
        app.json({"targets": list[JsonValue](found)})
        return
    rows = [
        (
            str(one["name"]),
            str(one["to"]),
            ", ".join(settings.targets[str(one["name"])].agents) or ALL,
            ", ".join(settings.targets[str(one["name"])].tools) or ALL,
            str(one["severity"]),
            str(one["quiet"] or ""),
            str(one["undelivered"]),
        )
        for one in found
    ]
    headings = ("NAME", "TO", "AGENTS", "TOOLS", "FROM", "QUIET", "UNDELIVERED")
    app.screen.table(headings, rows, empty="nobody is told: `briefcase notify add NAME`")


def _document_of(name: str, target: Target, undelivered: int) -> JsonObject:
    quiet = target.quiet
    return {
        "name": name,
        "to": _origin_of(target.webhook) if target.webhook else _scheme_of(target.url),
        "agents": list(target.agents),
        "tools": list(target.tools),
        "severity": target.severity,
        "every_s": target.every_s,
        "quiet": None if quiet is None else f"{quiet.begins}-{quiet.ends} {quiet.zone}",
        "undelivered": undelivered,
    }


def _origin_of(webhook: str) -> str:
    """Where a webhook is, without its path and query: they may hold a secret."""
    url = net_urls.parse_url(webhook)
    return f"{url.scheme}://{url.authority}"


def _scheme_of(url: str) -> str:
    """The kind of an address; of a form that nobody knows, nothing."""
    scheme, separator, _ = url.partition("://")
    return f"{scheme}://…" if separator and scheme.isalnum() else "…"


@notify.command("remove", epilog=example("briefcase notify remove ops"))
@click.argument("name")
@pass_app
def remove_target(app: App, *, name: str) -> None:
    """Remove a place that is told. A running notifier is to be restarted."""
    notifier_edits.remove_target(notifier_settings.config_path(app.environ), name)
    app.screen.line(f"removed `{name}`")


@notify.command("test", epilog=example("briefcase notify test", "briefcase notify test ops"))
@click.argument("name", required=False)
@pass_app
def test_targets(app: App, *, name: str | None) -> None:
    """Send a message that says it is a test, to one place or to all."""
    settings = notifier_settings.read_settings(notifier_settings.config_path(app.environ))
    targets = _chosen(settings.targets, name)
    now = format_rfc3339(time.time_ns() // 1_000)
    event = notifier_events.Event(f"test:{now}", "test", "low", now, "", "this is a test; nothing waits for you")
    _send_all(app, [(target, notifier_words.message_of([event], 0, "")) for target in targets], targets)


@notify.command("undelivered", epilog=example("briefcase notify undelivered", "briefcase notify undelivered --json"))
@json_option
@pass_app
def list_undelivered(app: App, *, as_json: bool) -> None:
    """List the messages that were given up: no attempt was taken."""
    letters = notifier_stores.Store(notifier_settings.config_path(app.environ)).dead()
    if as_json:
        found: list[JsonValue] = [
            {
                "id": one.id,
                "target": one.target,
                "title": one.message.title,
                "problem": one.problem,
                "at": one.given_up_at,
            }
            for one in letters
        ]
        app.json({"undelivered": found})
        return
    rows = [(one.id, one.target, one.given_up_at, one.problem, one.message.title) for one in letters]
    app.screen.table(("ID", "TARGET", "GIVEN UP", "BECAUSE", "MESSAGE"), rows, empty="every message was taken")


@notify.command("replay", epilog=example("briefcase notify replay 3f9a12bc3f9a12bc", "briefcase notify replay --all"))
@click.argument("letter_id", metavar="ID", required=False)
@click.option("--all", "everything", is_flag=True, help="Each of them.")
@click.option("--drop", is_flag=True, help="Forget it instead.")
@pass_app
def replay(app: App, *, letter_id: str | None, everything: bool, drop: bool) -> None:
    """Send a message again that was given up.

    It keeps its id, so that a receiver can tell, and is forgotten once it is taken.
    """
    path = notifier_settings.config_path(app.environ)
    store = notifier_stores.Store(path)
    if everything == (letter_id is not None):
        raise CallerError("expected an id, or `--all`", hint="see `briefcase notify undelivered`")
    letters = [one for one in store.dead() if everything or one.id == letter_id]
    if not letters and not everything:
        raise CallerError(f"no message `{letter_id}`", code="not_found", hint="see `briefcase notify undelivered`")
    targets = {} if drop else notifier_settings.read_settings(path).targets
    for letter in letters:
        if not drop:
            _send_all(app, [(letter.target, letter.message)], _chosen(targets, letter.target))
        store.forget(letter)


def _chosen(targets: Mapping[str, Target], name: str | None) -> dict[str, Target]:
    if name is not None and name not in targets:
        raise CallerError(f"no target `{name}`", code="not_found", hint="see `briefcase notify list`")
    return {one: target for one, target in targets.items() if name in {None, one}}


def _send_all(app: App, messages: list[tuple[str, Message]], targets: Mapping[str, Target]) -> None:
    """Send each message to its target.

    Raises:
        UpstreamError: one was not taken; the others were tried.
    """
    senders = {name: notifier_sending.open_sender(name, target) for name, target in targets.items()}

    async def send(name: str, message: Message) -> str:
        try:
            await senders[name].send(message)
        except notifier_sending.SendError as error:
            return f"`{name}`: {error.problem}"
        app.screen.line(f"`{name}` took it")
        return ""

    async def run() -> list[str]:
        return await asyncio.gather(*(send(name, message) for name, message in messages))

    problems = list(filter(None, asyncio.run(run())))
    if problems:
        raise UpstreamError("; ".join(problems), hint="see the address in notifier.toml")
