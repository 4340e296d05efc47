"""`briefcase notifier`: the process that tells people what waits and what is wrong."""

from __future__ import annotations

import os
from typing import Final

import click

from briefcase.edges.cli.app import App, pass_app
from briefcase.edges.cli.late import (
    asyncio,
    disk_locks,
    logs,
    notified_daemons,
    notifier_sending,
    notifier_settings,
    notifier_stores,
    notifiers,
    service_manager,
    signals,
    stored_tokens,
)
from briefcase.edges.cli.lazy import example
from briefcase.edges.notifier.settings import Settings
from briefcase.model.errors import CallerError

ANSWER_TIMEOUT_S: Final = 10.0
TOKEN_HINT: Final = "`briefcase operators add notifier --role auditor` makes one; name its file as `token_file`"


@click.command("notifier", epilog=example("briefcase notify add ops < address.txt", "briefcase notifier"))
@pass_app
def notifier(app: App) -> None:
    """Tell people what waits and what is wrong.

    It runs until SIGTERM or Ctrl-C. It needs a token of its own, an auditor's or an approver's, from `token_file` of
    notifier.toml or from BRIEFCASE_AUTH_TOKEN; the operator's is refused. An auditor's decides nothing and tells of
    alarms, too; an approver's tells the redacted summary of what waits. What was not told yet is told after a restart.
    """
    app.serves = True
    path = notifier_settings.config_path(app.environ)
    settings = notifier_settings.read_settings(path)
    if not settings.targets:
        raise CallerError(f"`{path}` names no target", hint="`briefcase notify add NAME` adds one")
    senders = {name: notifier_sending.open_sender(name, target) for name, target in settings.targets.items()}
    token = _token_of(app, settings)
    daemon = app.client(ANSWER_TIMEOUT_S, lambda: token)
    following = notified_daemons.Following(daemon, with_summaries=settings.summaries)
    store = notifier_stores.Store(path)
    lock = disk_locks.take_lock(store.lock_path)
    app.begin_log("notifier")

    async def run() -> None:
        stop = signals.stop_on_signals()
        logs.LOG.say("ready", targets=", ".join(senders))
        async with service_manager.managed(app.environ):
            await notifiers.Notifier(settings, senders, store, following.read).run(stop)

    try:
        asyncio.run(run())
    finally:
        os.close(lock)
    logs.LOG.say("stopped")


def _token_of(app: App, settings: Settings) -> str:
    """The notifier's own token; never the operator's of the data directory.

    Raises:
        CallerError: there is none (`unauthorized`).
        ConfigError: a file is not private, or holds no token.
    """
    path = notifier_settings.token_path(settings, app.environ)
    token = stored_tokens.named_token(app.environ) if path is None else stored_tokens.load_token(path)
    if not token:
        what = (
            "expected a token of the notifier's own" if path is None else f"expected a token in `{path}`, got no file"
        )
        raise CallerError(what, code="unauthorized", hint=TOKEN_HINT)
    return token
