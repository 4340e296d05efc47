"""`briefcase tools import` and `tools check`: manifests of an operator's own tools, before a daemon reads them.

What an import writes is for the operator to read: category, cost and credential are theirs to set in the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import click

from briefcase.adapters.disk.files import write_private
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.late import openapi_import, render, tool_files, tool_manifests
from briefcase.edges.cli.lazy import example
from briefcase.edges.cli.messages import note
from briefcase.model.errors import CallerError
from briefcase.model.types import JsonValue

MANIFEST_DIR: Final = "tools"
MANIFEST_DIR_MODE: Final = 0o700
MAX_FILE_BYTES: Final = 32 << 20


@click.group("import", epilog=example("briefcase tools import openapi tickets.json --operation listTickets"))
def import_tools() -> None:
    """Write tool manifests from an API description."""


@import_tools.command(
    "openapi",
    epilog=example(
        "briefcase tools import openapi tickets.json",
        "briefcase tools import openapi tickets.json --operation listTickets --operation 'POST /tickets'",
    ),
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--operation", "chosen", multiple=True, metavar="ID", help="Its id, or `METHOD /path`; repeat for more.")
@click.option("--base-url", metavar="URL", help="Where the API is, instead of the document's first server.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Where to write; else the data directory.")
@click.option("--credential", metavar="NAME", help="The secret's name, instead of the document's for the scheme.")
@click.option("--force", is_flag=True, help="Replace manifests that are there already.")
@json_option
@pass_app
def import_openapi(
    app: App,
    *,
    file: Path,
    chosen: tuple[str, ...],
    base_url: str | None,
    out: Path | None,
    credential: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write a manifest for each chosen operation of an OpenAPI document.

    Without --operation, the operations that can be chosen are listed. The document is JSON, OpenAPI 3.0 or 3.1;
    nothing it refers to is fetched.
    """
    text = _read(file)
    if not chosen:
        _list_operations(app, openapi_import.operations_of(openapi_import.parse_document(text)), as_json=as_json)
        return
    manifests = openapi_import.import_openapi(text, chosen, base_url=base_url, credential=credential)
    directory = out or app.data_dir / MANIFEST_DIR
    _check_credentials(directory, manifests)
    paths = _write(directory, manifests, force=force)
    if as_json:
        app.json({"written": [str(path) for path in paths]})
        return
    for path in paths:
        app.screen.line(f"wrote {path}")
    note("set category, cost and credential in the file, then restart the daemon")


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


def _list_operations(app: App, operations: Sequence[openapi_import.Operation], *, as_json: bool) -> None:
    if as_json:
        listed: list[JsonValue] = [{"id": one.id, "method": one.method, "path": one.path} for one in operations]
        app.json({"operations": listed})
        return
    rows = [(one.id, one.method, one.path, str(one.definition.get("summary", ""))) for one in operations]
    app.screen.table(("OPERATION", "METHOD", "PATH", "SUMMARY"), rows, empty="the document has no operations")
    note("choose with `--operation ID`")


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_FILE_BYTES)
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise CallerError(f"`{file}` cannot be read: {reason}") from None


def _check_credentials(directory: Path, manifests: Mapping[str, str]) -> None:
    """Refuse manifests that name a secret which another one there, that stays, names for another host."""
    new = [
        declared for name, text in manifests.items() for declared in tool_manifests.parse_manifests(text.encode(), name)
    ]
    ids = {declared.manifest.id for declared in new}
    there = [
        declared
        for declared in tool_files.load_manifests(directory, leave_out=manifests)
        if declared.manifest.id not in ids
    ]
    first: dict[str, tool_manifests.Declared] = {}
    for declared in (*there, *new):
        named = declared.manifest.credential
        if named is None:
            continue
        known = first.setdefault(named.name, declared)
        if declared in new and known.template.origin != declared.template.origin:
            raise CallerError(
                f"the tool `{known.manifest.id}` sends the secret `{named.name}` to {known.template.origin},"
                f" and `{declared.manifest.id}` would send it to {declared.template.origin}",
                code="conflict",
                hint="name a secret of its own: `--credential NAME`",
            )


def _write(directory: Path, manifests: Mapping[str, str], *, force: bool) -> list[Path]:
    """Write every manifest, or none where one is there already."""
    paths = [directory / name for name in manifests]
    taken = next((path for path in paths if os.path.lexists(path)), None)
    if taken is not None and not force:
        raise CallerError(f"`{taken}` is there already", code="conflict", hint="replace it with `--force`")
    try:
        directory.mkdir(mode=MANIFEST_DIR_MODE, parents=True, exist_ok=True)
        for path, text in zip(paths, manifests.values(), strict=True):
            write_private(path, text.encode())
    except OSError as error:
        raise CallerError(f"`{directory}` cannot be written: {(error.strerror or '').lower()}") from None
    return paths
