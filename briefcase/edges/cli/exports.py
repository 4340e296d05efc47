"""`briefcase receipts export` and `import`: receipts copied elsewhere, and such a copy held against the chain.

The live chain is append-only: nothing is ever put into it that the daemon did not decide. What an export has and the
chain has not (its end was cut off, or the directory was rolled back) is kept beside it, verified, in
`<data_dir>/archive`, as one more export.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, NamedTuple

import click
import msgspec

from briefcase.adapters.disk.checks import PRIVATE_FILE_MODE, reason_of
from briefcase.adapters.disk.directories import make_private_dir
from briefcase.adapters.disk.files import write_whole
from briefcase.core.receipts import verify_export
from briefcase.core.receipts.exports import ExportReader, lines_of
from briefcase.core.wire.identity import IdentityAnswer
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.following import follow as receipts_after
from briefcase.edges.cli.formats import FORMATS, JSONL, Lines, lines_in
from briefcase.edges.cli.lazy import example
from briefcase.edges.cli.messages import complain, note
from briefcase.edges.cli.progress import working
from briefcase.edges.cli.receipt_filters import check_words, filter_options, wanted_of
from briefcase.edges.cli.receipts import PROBLEMS
from briefcase.edges.cli.sources import Source, open_source
from briefcase.model.effects import Head
from briefcase.model.errors import CODES, CallerError, ConfigError
from briefcase.model.ports import BadReceipt
from briefcase.model.types import Receipt

VERIFIER_NAME: Final = "verify_export.py"
ARCHIVE_DIR: Final = "archive"
STANDARD_OUTPUT: Final = "-"
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
        "briefcase receipts export --out denied.csv --format csv --decision deny --since 7d",
        "briefcase receipts export --out - --format ocsf --follow --from-id 1201",
        "briefcase receipts export --out receipts.jsonl --data-dir /mnt/copy",
    )
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="A new file, or - for the output."
)
@click.option("--from-id", type=click.IntRange(1), default=1, show_default=True, help="The first receipt.")
@click.option("--to-id", type=click.IntRange(1), help="The last receipt; by default the newest one there is now.")
@filter_options
@click.option("--format", "form", type=click.Choice(FORMATS), default=JSONL, show_default=True, help="Of each line.")
@click.option("--follow", is_flag=True, help="Then write each new one as it comes, until interrupted; with --out -.")
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
    form: str,
    follow: bool,
    data_dir: Path | None,
    as_json: bool,
    **by: str | None,
) -> None:
    """Copy receipts into a file that verifies by itself.

    One JSON object a line, oldest first, with the program that verifies it beside it: `python3 verify_export.py FILE`
    needs nothing but Python. Receipts that are appended meanwhile are left for the next export, or are what --follow
    waits for. Of the other forms no line verifies by itself: csv is for a spreadsheet, ocsf (API Activity of schema
    1.8) for a SIEM; ocsf-1.9 has each event's hash and the one before it in the profile record_integrity.
    """
    is_file = str(out) != STANDARD_OUTPUT
    if follow and (is_file or data_dir is not None or to_id is not None):
        raise click.UsageError("`--follow` asks a running daemon and has no end: give it with `--out -`")
    if as_json and not is_file:
        raise click.UsageError("`--json` says what is in a file: give it with `--out FILE`")
    wanted = wanted_of(by)
    with open_source(app, data_dir) as source:
        head = source.head()
        ids = range(from_id, (head.id if to_id is None else min(to_id, head.id)) + 1)
        lines = lines_in(form, lambda: _did_of(app, data_dir))
        if is_file:
            app.check_outside(out)
            with new_file(out) as file, working("exporting") as progress:
                count = _copy(source, ids, wanted, _Sink(lines, file.write, progress))
        else:
            count = _copy(source, ids, wanted, _Sink(lines, _write_out, lambda _done, _all: None))
        if follow:
            for receipt in receipts_after(source, max(ids.stop, from_id) - 1, wanted):
                _write_out(lines.line(receipt))
    if is_file:
        exported = Exported(str(out), count, from_id, ids.stop - 1, _head_text(head))
        _tell(app, exported, form, is_filtered=bool(wanted), as_json=as_json)


class Exported(msgspec.Struct, frozen=True):
    """What an export holds; `head` is the chain's when it was made."""

    file: str
    receipts: int
    from_id: int
    to_id: int
    head: str


class _Sink(NamedTuple):
    """Where an export's lines go, and who is told how far it is."""

    lines: Lines
    write: Callable[[bytes], object]
    progress: Callable[[int, int], None]


def _copy(source: Source, ids: range, wanted: Mapping[str, str], to: _Sink) -> int:
    """Write the receipts of a range, and give how many; none, because of a word that can match none, is refused."""
    count = 0
    to.write(to.lines.head)
    for receipt in source.receipts(ids.start, ids.stop - 1, wanted):
        to.write(to.lines.line(receipt))
        count += 1
        if count % _TELL_EVERY == 0:
            to.progress(receipt.id - ids.start + 1, len(ids))
    if not count:
        check_words(source, wanted)
    return count


def _write_out(line: bytes) -> None:
    click.echo(line, nl=False)


def _did_of(app: App, data_dir: Path | None) -> str:
    """Who vouches for the receipts: the daemon that was asked; of files nobody says it."""
    return "" if data_dir is not None else app.client().get("/v1/identity", IdentityAnswer).answer.did


def _tell(app: App, exported: Exported, form: str, *, is_filtered: bool, as_json: bool) -> None:
    """Say what was exported; beside what verifies by itself lies the program that does it."""
    verifier = Path(exported.file).absolute().parent / VERIFIER_NAME
    if form == JSONL:
        with new_file(verifier, replaces=True) as file:
            file.write(Path(verify_export.__file__).read_bytes())
    if as_json:
        app.json(msgspec.to_builtins(exported))
        return
    app.screen.line(f"{exported.receipts:,} receipts in `{exported.file}`")
    app.screen.fields([("head", exported.head)])
    if form == JSONL:
        note(f"verify it anywhere: python3 {verifier} {exported.file}{' --filtered' if is_filtered else ''}")


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
    line = lines_in(JSONL).line
    with new_file(archive) as out, file.open("rb") as lines:
        for receipt in ExportReader().read(lines_of(lines)):
            if receipt.id >= first:
                out.write(line(receipt))
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
