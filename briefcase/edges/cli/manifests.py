"""`briefcase tools check`: manifests of an operator's own tools, before a daemon reads them."""

from __future__ import annotations

from pathlib import Path

import click

from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.late import render, tool_files, tool_manifests
from briefcase.edges.cli.lazy import example


@click.command("check", epilog=example("briefcase tools check ~/.local/share/briefcase/tools/tickets.toml"))
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@json_option
@pass_app
def check_manifest(app: App, *, files: tuple[Path, ...], as_json: bool) -> None:
    """Check tool manifests without loading them."""
    specs = [
        declared.spec
        for file in files
        for declared in tool_manifests.parse_manifests(tool_files.read_own_file(file), file.name)
    ]
    if as_json:
        app.json({"ok": True, "tools": [spec.id for spec in specs]})
        return
    rows = [(spec.id, spec.category, render.money(spec.cost_microusd), spec.description) for spec in specs]
    app.screen.table(("TOOL", "CATEGORY", ">COST", "DESCRIPTION"), rows, empty="the file declares no tool")
