"""`briefcase tools check`, `reload` and `remove`: manifests of an operator's own tools, before and in the daemon.

What is written, changed or removed is in force when the daemon has loaded the manifests again, all of them or none:
`reload` asks for that, and `import` and `remove` do so themselves.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from briefcase.core.wire.tools import ToolsLoaded
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.client import START_HINT
from briefcase.edges.cli.late import render, tool_files
from briefcase.edges.cli.lazy import example
from briefcase.edges.cli.messages import note
from briefcase.edges.client.reply import Reply
from briefcase.model.errors import BriefcaseError, CallerError
from briefcase.model.types import JsonValue

MANIFEST_DIR: Final = "tools"
RELOAD: Final = "/v1/tools/reload"


@click.command("check", epilog=example("briefcase tools check ~/.local/share/briefcase/tools/tickets.toml"))
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@json_option
@pass_app
def check_manifest(app: App, *, files: tuple[Path, ...], as_json: bool) -> None:
    """Check tool manifests without loading them."""
    specs = [spec for file in files for spec in tool_files.specs_of(file)]
    if as_json:
        app.json({"ok": True, "tools": [spec.id for spec in specs]})
        return
    rows = [(spec.id, spec.category, render.money(spec.cost_microusd), spec.description) for spec in specs]
    app.screen.table(("TOOL", "CATEGORY", ">COST", "DESCRIPTION"), rows, empty="the file declares no tool")


@click.command("reload", epilog=example("briefcase tools reload"))
@json_option
@pass_app
def reload_manifests(app: App, *, as_json: bool) -> None:
    """Put in force what the manifests say now.

    All of them or none, without a restart.
    """
    reply = app.client().post(RELOAD, ToolsLoaded)
    if as_json:
        app.json(reply.document)
    else:
        _show_loaded(app, reply.answer)


@click.command("remove", epilog=example("briefcase tools remove listTickets closeTicket"))
@click.argument("tools", nargs=-1, required=True, metavar="TOOL...")
@json_option
@pass_app
def remove_tools(app: App, *, tools: tuple[str, ...], as_json: bool) -> None:
    """Remove the manifests of tools.

    A daemon that runs loads the others. A file that declares other tools too is left alone: edit it, then
    `briefcase tools reload`.
    """
    paths = _files_of(app.data_dir / MANIFEST_DIR, tools)
    for path in paths:
        path.unlink(missing_ok=True)
    loaded = load_into_daemon(app)
    if as_json:
        removed: list[JsonValue] = [str(path) for path in paths]
        app.json({"removed": removed, "loaded": None if loaded is None else loaded.document})
        return
    for path in paths:
        app.screen.line(f"removed {path}")
    say_loaded(loaded)


def load_into_daemon(app: App) -> Reply[ToolsLoaded] | None:
    """Have the daemon load the manifests again; None where no daemon runs, which loads them as it starts.

    Raises:
        BriefcaseError: it refuses them; what was loaded stays.
    """
    try:
        return app.client().post(RELOAD, ToolsLoaded)
    except BriefcaseError as error:
        if error.hint == START_HINT:
            return None
        hint = "the files are as they were written; mend what is named, then `briefcase tools reload`"
        raise CallerError(f"not loaded: {error.message}", code=error.code, hint=hint) from None


def say_loaded(loaded: Reply[ToolsLoaded] | None) -> None:
    """Say whether the manifests are in force."""
    if loaded is None:
        note("no daemon runs here: it loads them as it starts")
    else:
        note(f"loaded: {_changes(loaded.answer)}")


def _show_loaded(app: App, loaded: ToolsLoaded) -> None:
    for name, ids in _lists(loaded):
        for tool_id in ids:
            app.screen.line(f"{name} {tool_id}")
    note(f"{loaded.tools} tools of manifests: {_changes(loaded)}")


def _changes(loaded: ToolsLoaded) -> str:
    said = [f"{len(ids)} {name}" for name, ids in _lists(loaded) if ids]
    return ", ".join(said) or "nothing has changed"


def _lists(loaded: ToolsLoaded) -> tuple[tuple[str, Sequence[str]], ...]:
    return ("added", loaded.added), ("changed", loaded.changed), ("removed", loaded.removed)


def _files_of(directory: Path, tools: Sequence[str]) -> list[Path]:
    """The files that declare these tools and no others.

    Raises:
        CallerError: no manifest declares one, or its file declares others too.
    """
    by_file = {path.name: ids for path, ids in tool_files.declared_ids(directory)}
    known = {tool_id: name for name, ids in by_file.items() for tool_id in ids}
    for tool_id in tools:
        if tool_id not in known:
            near = difflib.get_close_matches(tool_id, known, n=1)
            hint = f"did you mean `{near[0]}`?" if near else "the daemon's own tools cannot be removed"
            raise CallerError(f"no manifest declares `{tool_id}`", code="not_found", hint=hint)
        others = by_file[known[tool_id]] - set(tools)
        if others:
            raise CallerError(
                f"`{directory / known[tool_id]}` declares `{min(others)}` too",
                code="conflict",
                hint="edit the file, then `briefcase tools reload`",
            )
    return [directory / name for name in dict.fromkeys(known[tool_id] for tool_id in tools)]
