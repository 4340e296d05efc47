"""`briefcase tools import openapi`: operations of an OpenAPI document as tool manifests.

What an import writes is for the operator to read: category, cost and credential are theirs to set in the file. What a
request will not have, and what is checked less than the document says, is named on standard error.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import click
from msgspec import UNSET

from briefcase.adapters.disk.checks import PRIVATE_DIR_MODE
from briefcase.adapters.disk.files import write_private
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.late import openapi, tool_files, tool_manifests
from briefcase.edges.cli.lazy import LazyGroup, example
from briefcase.edges.cli.manifests import MANIFEST_DIR, load_into_daemon, say_loaded
from briefcase.edges.cli.messages import note
from briefcase.model.errors import BriefcaseError, CallerError
from briefcase.model.types import JsonObject, JsonValue

MAX_SHOWN: Final = 20  # remarks of one import on standard error; `--json` has them all
_TAKEN: Final = frozenset({"echo", "file_read", "note_add", "notes_list", "quote"})  # the daemon's own tools


@click.group(
    "import",
    cls=LazyGroup,
    epilog=example("briefcase tools import openapi tickets.json --operation listTickets"),
)
def import_tools() -> None:
    """Write tool manifests from an API description."""


@import_tools.command(
    "openapi",
    epilog=example(
        "briefcase tools import openapi tickets.yaml",
        "briefcase tools import openapi tickets.json --operation listTickets --operation 'POST /tickets'",
        "briefcase tools import openapi tickets.json --all --name tickets --dry-run",
    ),
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--operation", "chosen", multiple=True, metavar="ID", help="Its id, or `METHOD /path`; repeat for more.")
@click.option("--all", "every", is_flag=True, help="Every operation that can be imported; the others are named.")
@click.option("--base-url", metavar="URL", help="Where the API is, instead of the document's servers.")
@click.option("--name", metavar="NAME", help="What the API is called: ids begin with it, and secrets are named so.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Where to write; else the data directory.")
@click.option("--credential", metavar="NAME", help="The secret's name, instead of the API's.")
@click.option("--leave-out", is_flag=True, help="Import without optional parts that cannot be carried.")
@click.option("--dry-run", is_flag=True, help="Show what would be written, and write nothing.")
@click.option("--force", is_flag=True, help="Replace manifests that are there already.")
@json_option
@pass_app
def import_openapi(  # noqa: PLR0913 - a command's options
    app: App,
    *,
    file: Path,
    chosen: tuple[str, ...],
    every: bool,
    base_url: str | None,
    name: str | None,
    out: Path | None,
    credential: str | None,
    leave_out: bool,
    dry_run: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Write a manifest for each chosen operation of an OpenAPI document.

    Without --operation and --all, the operations that can be chosen are listed. The document is JSON or YAML, OpenAPI
    3.0 or 3.1 or Swagger 2.0; nothing it refers to is fetched. An operation with a part that cannot be carried is
    refused by name.
    """
    document = openapi.read_document(_read(file))
    if document.was_swagger:
        note("the document is Swagger 2.0: it is read as OpenAPI 3.0")
    if not chosen and not every:
        _list_operations(app, openapi.operations_of(document), as_json=as_json)
        return
    directory = out or app.data_dir / MANIFEST_DIR
    choices = openapi.Choices(base_url, name or "", credential, leave_out)
    written, refused = _import(document, () if every else chosen, choices, directory)
    _check_credentials(directory, written)
    paths = [directory / each.name for each in written]
    if dry_run:
        _check_free(paths, force=force)
    else:
        _write(directory, {each.name: each.text for each in written}, force=force)
    is_loaded = out is None and not dry_run
    loaded = load_into_daemon(app) if is_loaded else None
    if as_json:
        said = _as_json(paths, written, refused, is_dry=dry_run)
        app.json({**said, "loaded": None if loaded is None else loaded.document} if is_loaded else said)
        return
    for path in paths:
        app.screen.line(f"{'would write' if dry_run else 'wrote'} {path}")
    _say(written, refused)
    if not dry_run:
        note("category, cost and credential are yours to set in the file; then `briefcase tools reload`")
    if is_loaded:
        say_loaded(loaded)


def _import(
    document: openapi.Document, chosen: Sequence[str], choices: openapi.Choices, directory: Path
) -> tuple[list[openapi.Written], list[openapi.Refused]]:
    """The manifests of what was chosen, or of every operation where nothing was; with ids that nothing else has."""
    prefix = openapi.slug_of(choices.api)
    if choices.api and not prefix:
        raise CallerError(f"`--name`: expected letters or digits, got `{choices.api}`")
    written, refused = _import_with(document, chosen, choices, prefix)
    api = prefix or openapi.slug_of(document.title)
    taken = next((each for each in written if _is_taken(each, api, directory)), None)
    if taken is None:
        return written, refused
    taken_id = taken.imported.operation.id
    if prefix or not api:
        raise CallerError(f"the id `{taken_id}` is another tool's", code="conflict", hint="name the API: `--name NAME`")
    note(f"the id `{taken_id}` is another tool's: ids begin with `{api}_`")
    return _import_with(document, chosen, choices, api)


def _is_taken(written: openapi.Written, api: str, directory: Path) -> bool:
    """Whether an id is the daemon's own, or that of a tool which was imported from another API."""
    path = directory / written.name
    if written.imported.operation.id in _TAKEN:
        return True
    if not os.path.lexists(path):
        return False
    try:
        there = tool_manifests.parse_manifests(tool_files.read_own_file(path), path.name)
    except BriefcaseError:
        return False  # replaced with `--force` alone
    return any(each.manifest.api not in {UNSET, api} for each in there)


def _import_with(
    document: openapi.Document, chosen: Sequence[str], choices: openapi.Choices, prefix: str
) -> tuple[list[openapi.Written], list[openapi.Refused]]:
    operations = openapi.operations_of(document, prefix)
    if chosen:
        picked = [openapi.chosen_operation(operations, wanted) for wanted in dict.fromkeys(chosen)]
        return [openapi.import_operation(document, operation, choices) for operation in picked], []
    written, refused = [], []
    for each in openapi.import_each(document, operations, choices):
        if isinstance(each, openapi.Written):
            written.append(each)
        else:
            refused.append(each)
    if refused and not written:
        raise refused[0].error
    return written, refused


def _say(written: Iterable[openapi.Written], refused: Iterable[openapi.Refused]) -> None:
    """Name what was left out, what is otherwise, and which secrets are wanted."""
    said = [f"left out: `{each.operation.key}`: {each.error.message}" for each in refused]
    for each in written:
        said += [f"{each.imported.operation.id}: left out: {problem}" for problem in each.imported.left_out]
        said += [f"{each.imported.operation.id}: {remark}" for remark in each.imported.remarks]
    for line in said[:MAX_SHOWN]:
        note(line)
    if len(said) > MAX_SHOWN:
        note(f"and {len(said) - MAX_SHOWN} more: see `--json`")
    for secret, host in sorted(_secrets_of(written)):
        note(f"set the secret: briefcase secrets set {secret} --host {host}")


def _secrets_of(written: Iterable[openapi.Written]) -> set[tuple[str, str]]:
    return {
        (credential.name, each.declared.template.origin.partition("://")[2].removesuffix(":443"))
        for each in written
        for credential in each.declared.manifest.all_credentials
    }


def _as_json(
    paths: Sequence[Path], written: Sequence[openapi.Written], refused: Sequence[openapi.Refused], *, is_dry: bool
) -> JsonObject:
    tools: list[JsonValue] = [
        {
            "id": each.imported.operation.id,
            "operation": each.imported.operation.key,
            "left_out": [*each.imported.left_out],
            "remarks": [*each.imported.remarks],
            **({"manifest": each.imported.manifest} if is_dry else {}),
        }
        for each in written
    ]
    return {
        "would_write" if is_dry else "written": [str(path) for path in paths],
        "tools": tools,
        "refused": [{"operation": each.operation.key, "problem": each.error.message} for each in refused],
        "secrets": [{"name": name, "host": host} for name, host in sorted(_secrets_of(written))],
    }


def _list_operations(app: App, operations: Sequence[openapi.Operation], *, as_json: bool) -> None:
    if as_json:
        listed: list[JsonValue] = [{"id": one.id, "method": one.method, "path": one.path} for one in operations]
        app.json({"operations": listed})
        return
    rows = [(one.id, one.method, one.path, one.summary) for one in operations]
    app.screen.table(("OPERATION", "METHOD", "PATH", "SUMMARY"), rows, empty="the document has no operations")
    note("choose with `--operation ID`, or take them `--all`")


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(openapi.MAX_DOCUMENT_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise CallerError(f"`{file}` cannot be read: {reason}") from None


def _check_credentials(directory: Path, written: Sequence[openapi.Written]) -> None:
    """Refuse manifests that name a secret which another one there, that stays, names for another host."""
    ids = {each.imported.operation.id for each in written}
    there = tool_files.load_manifests(directory, leave_out={each.name for each in written})
    first: dict[str, tool_manifests.Declared] = {}
    for declared in there:
        for named in declared.manifest.all_credentials if declared.manifest.id not in ids else ():
            first.setdefault(named.name, declared)
    for declared in (each.declared for each in written):
        for named in declared.manifest.all_credentials:
            known = first.setdefault(named.name, declared)
            if known.template.origin != declared.template.origin:
                raise CallerError(
                    f"the tool `{known.manifest.id}` sends the secret `{named.name}` to {known.template.origin},"
                    f" and `{declared.manifest.id}` would send it to {declared.template.origin}",
                    code="conflict",
                    hint="name a secret of its own: `--credential NAME`",
                )


def _check_free(paths: Iterable[Path], *, force: bool) -> None:
    taken = next((path for path in paths if os.path.lexists(path)), None)
    if taken is not None and not force:
        raise CallerError(f"`{taken}` is there already", code="conflict", hint="replace it with `--force`")


def _write(directory: Path, manifests: Mapping[str, str], *, force: bool) -> None:
    """Write every manifest, or none where one is there already."""
    _check_free((directory / name for name in manifests), force=force)
    try:
        directory.mkdir(mode=PRIVATE_DIR_MODE, parents=True, exist_ok=True)
        for name, text in manifests.items():
            write_private(directory / name, text.encode())
    except OSError as error:
        raise CallerError(f"`{directory}` cannot be written: {(error.strerror or '').lower()}") from None
