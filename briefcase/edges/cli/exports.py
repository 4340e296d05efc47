"""`briefcase receipts export` and `import`: receipts copied elsewhere, and such a copy held against the chain.

The live chain is append-only: nothing is ever put into it that the daemon did not decide. What an export has and the
chain has not (its end was cut off, or the directory was rolled back) is kept beside it, verified, in
`<data_dir>/archive`, as one more export.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import click
import msgspec

from briefcase.adapters.disk.checks import PRIVATE_FILE_MODE, reason_of
from briefcase.adapters.disk.directories import make_private_dir
from briefcase.adapters.disk.files import write_whole
from briefcase.core.receipts import verify_export
from briefcase.core.receipts.exports import ExportReader, export_line, lines_of
from briefcase.core.wire.reading import unexpected_answer
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.lazy import example
from briefcase.edges.cli.messages import complain, note
from briefcase.edges.cli.progress import working
from briefcase.edges.cli.receipts import PROBLEMS, parse_moment
from briefcase.edges.cli.sources import Source, open_source
from briefcase.model.effects import Head
from briefcase.model.errors import CODES, CallerError, ConfigError
from briefcase.model.ports import BadReceipt
from briefcase.model.types import Receipt

VERIFIER_NAME: Final = "verify_export.py"
ARCHIVE_DIR: Final = "archive"
_TELL_EVERY: Final = 1_000

data_dir_option: Final = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Read these files: no daemon runs.",
)


@click.command(
    epilog=example(
        "briefcase receipts export --out receipts.jsonl",
        "briefcase receipts export --out denied.jsonl --decision deny --since 7d",
        "briefcase receipts export --out receipts.jsonl --data-dir /mnt/copy",
    )
)
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="A new file.")
@click.option("--from-id", type=click.IntRange(1), default=1, show_default=True, help="The first receipt.")
@click.option("--to-id", type=click.IntRange(1), help="The last receipt; by default the newest one there is now.")
@click.option("--kind", help="Only of this kind.")
@click.option("--tool", "tool_id", help="Only of this tool.")
@click.option("--decision", help="Only with this decision.")
@click.option("--approval", "approval_id", metavar="ID", help="Only of this approval.")
@click.option("--since", metavar="TIME", help="A time as 2026-01-31T12:00:00Z, or how long ago: 30s, 15m, 2h, 7d.")
@click.option("--until", metavar="TIME", help="As --since.")
@data_dir_option
@json_option
@pass_app
def export(
    app: App,
    /,
    *,
    out: Path,
    from_id: int,
    to_id: int | None,
    data_dir: Path | None,
    as_json: bool,
    **by: str | None,
) -> None:
    """Copy receipts into a file that verifies by itself.

    One JSON object a line, oldest first, with the program that verifies it beside it: `python3 verify_export.py FILE`
    needs nothing but Python. Receipts that are appended meanwhile are left for the next export.
    """
    app.check_outside(out)
    now_us = time.time_ns() // 1_000
    wanted = {
        name: parse_moment(text, now_us) if name in {"since", "until"} else text for name, text in by.items() if text
    }
    with open_source(app, data_dir) as source, working("exporting") as progress:
        head = source.head()
        last_id = head.id if to_id is None else min(to_id, head.id)
        count = 0
        with new_file(out) as file:
            for receipt in source.receipts(from_id, last_id, wanted):
                file.write(_line_of(receipt))
                count += 1
                if count % _TELL_EVERY == 0:
                    progress(receipt.id - from_id + 1, last_id - from_id + 1)
    verifier = out.absolute().parent / VERIFIER_NAME
    with new_file(verifier, replaces=True) as file:
        file.write(Path(verify_export.__file__).read_bytes())
    if as_json:
        app.json({"file": str(out), "receipts": count, "from_id": from_id, "to_id": last_id, "head": _head_text(head)})
        return
    app.screen.line(f"{count:,} receipts in `{out}`")
    app.screen.fields([("head", _head_text(head))])
    note(f"verify it anywhere: python3 {verifier} {out}{' --filtered' if wanted else ''}")


@click.command(
    "import",
    epilog=example("briefcase receipts import receipts.jsonl", "briefcase receipts import receipts.jsonl --json"),
)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@data_dir_option
@json_option
@pass_app
def import_(app: App, *, file: Path, data_dir: Path | None, as_json: bool) -> int:
    """Compare an export with the chain; keep what is missing.

    The export is verified first, whole. Receipts that the chain does not have are kept in the data directory's
    `archive`, never put into the chain, which only the daemon appends to. Exits with 7 where the export is damaged or
    the two differ.
    """
    with open_source(app, data_dir) as source, working("comparing") as progress:
        bad, found = _compare(file, source, progress)
        if bad is not None:
            complain({
                "code": "receipt_chain_broken",
                "message": f"receipt {bad.id} of `{file}` is wrong: {PROBLEMS.get(bad.problem, bad.problem)}",
                "hint": f"expected hash {bad.expected_hash_hex or '-'}, found {bad.found_hash_hex or '-'}; "
                "an export that was made with a filter cannot be imported",
            }, as_json=as_json)  # fmt: skip
            return CODES["receipt_chain_broken"].exit_code
    archived = None
    if found.missing and not found.differ:
        archived = _archive(data_dir or app.data_dir, file, found)
    if as_json:
        app.json({**msgspec.to_builtins(found), "archived": None if archived is None else str(archived)})
    else:
        _show(app, file, found, archived)
    return CODES["receipt_chain_broken"].exit_code if found.differ else 0


class Compared(msgspec.Struct):
    """An export held against the chain: its receipts, and which of them the chain lacks or has otherwise.

    `links` tells whether the missing ones continue the chain exactly where it ends now; `begins_after` is the receipt
    before its first one.
    """

    receipts: int = 0
    same: int = 0
    missing: list[int] = []
    differ: list[int] = []
    links: bool = False
    head: str = ""
    begins_after: str = ""


def _compare(file: Path, source: Source, progress: Callable[[int, int], None]) -> tuple[BadReceipt | None, Compared]:
    reader, found, head = ExportReader(), Compared(), source.head()
    found.head = _head_text(head)
    first = None
    with file.open("rb") as lines:
        live: Iterator[Receipt] = iter(())
        for receipt in reader.read(lines_of(lines)):
            if first is None:
                first = receipt.id
                live = source.receipts(first, head.id, {})
            found.receipts += 1
            _note(found, receipt, head, next(live, None))
            if found.receipts % _TELL_EVERY == 0:
                progress(receipt.id - first + 1, max(receipt.id, head.id) - first + 1)
    if reader.verifier is None:
        raise CallerError(f"`{file}` holds no receipt")
    found.begins_after = _head_text(reader.begins_after)
    return reader.verifier.first_bad, found


def _note(found: Compared, receipt: Receipt, head: Head, here: Receipt | None) -> None:
    if here is None:
        if receipt.id == head.id + 1:
            found.links = receipt.prev_hash_hex == head.hash_hex
        found.missing.append(receipt.id)
    elif here.hash_hex == receipt.hash_hex:
        found.same += 1
    else:
        found.differ.append(receipt.id)


def _archive(data_dir: Path, file: Path, found: Compared) -> Path:
    """Copy the missing receipts; they are verified once more on the way."""
    directory = data_dir / ARCHIVE_DIR
    make_private_dir(directory, exist_ok=True)
    first, last = found.missing[0], found.missing[-1]
    archive = directory / f"receipts-{first}-{last}-{time.time_ns() // 1_000_000}.jsonl"
    with new_file(archive) as out, file.open("rb") as lines:
        for receipt in ExportReader().read(lines_of(lines)):
            if receipt.id >= first:
                out.write(_line_of(receipt))
    return archive


def _show(app: App, file: Path, found: Compared, archived: Path | None) -> None:
    app.screen.line(f"{found.receipts:,} receipts in `{file}` verify")
    app.screen.fields([
        ("begins after", found.begins_after),
        ("the same here", f"{found.same:,}"),
        ("missing here", _ids(found.missing)),
        ("different here", _ids(found.differ)),
        ("head here", found.head),
    ])  # fmt: skip
    if found.differ:
        complain({
            "message": f"receipt {found.differ[0]} here is not the one in the export: the chains parted there",
            "hint": "one of the two was rewritten, or two daemons ran from one copy; keep both, and compare them with a"
            " signed checkpoint",
        })  # fmt: skip
    if archived is not None:
        note(f"kept in `{archived}`, beside the chain: only the daemon appends to the chain itself")
        note(
            "they continue the chain where it ends: its end was cut off, or an older copy was put in its place"
            if found.links
            else "they do not follow on the end of this chain, so whether they are of it is not known"
        )


def _ids(ids: list[int]) -> str:
    return f"{ids[0]} to {ids[-1]} ({len(ids):,})" if ids else "none"


def _line_of(receipt: Receipt) -> bytes:
    """A receipt's line of an export.

    Raises:
        BriefcaseError: its event has no canonical form, so that it is no receipt's (`unexpected_answer`).
    """
    try:
        return export_line(msgspec.structs.asdict(receipt))
    except (TypeError, ValueError):
        raise unexpected_answer("GET /v1/receipts", f"receipt {receipt.id}: expected a canonical event") from None


def _head_text(head: Head) -> str:
    return f"{head.id}:{head.hash_hex}"


@contextmanager
def new_file(path: Path, *, replaces: bool = False, mode: int = PRIVATE_FILE_MODE) -> Iterator[IO[bytes]]:
    """A file that appears whole under its name, or not at all; one that exists is refused.

    Args:
        path: where; in a directory of everybody nothing that somebody put there is written to.
        replaces: take the place of one that exists, or of a link, but never write through it.
        mode: its mode, where it is not to be private.

    Raises:
        CallerError: it exists (`conflict`).
        ConfigError: it cannot be written.
    """
    try:
        with write_whole(path, replaces=replaces, mode=mode) as file:
            yield file
    except FileExistsError:
        raise CallerError(f"`{path}` exists", code="conflict", hint="choose another name, or remove it") from None
    except OSError as error:
        raise ConfigError(f"`{path}` cannot be written: {reason_of(error)}") from None
