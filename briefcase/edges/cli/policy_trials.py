"""`briefcase policy test` and `policy backtest`: a policy tried before it decides anything.

`test` needs no daemon. `backtest` reads the daemon's receipts, newest first, and says which of the recorded calls the
candidate would have decided otherwise, and how often people would have been asked.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import click
import msgspec

from briefcase.core.wire.receipts import ReceiptList, ReceiptRecord
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.client import Client
from briefcase.edges.cli.late import policy_backtest, policy_check, policy_engine, policy_tests, render, system
from briefcase.edges.cli.lazy import example
from briefcase.edges.cli.messages import note
from briefcase.edges.cli.policy import known_tools, read_policy
from briefcase.edges.cli.progress import working
from briefcase.edges.cli.receipt_filters import parse_moment
from briefcase.model.errors import CallerError

MAX_TEST_BYTES: Final = 16 << 20
PAGE_RECEIPTS: Final = 1_000
EXIT_FAILED: Final = 3


@click.command("test", epilog=example("briefcase policy test policies/", "briefcase policy test login.test.json"))
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True), metavar="PATH...")
@json_option
@pass_app
def run_tests(app: App, *, paths: tuple[Path, ...], as_json: bool) -> int:
    """Run policy test files: requests, and the decisions they must get.

    A file names its policies, its entities and its schema beside it or from a directory above, in the format of Cedar's
    integration tests. Of a directory, every test file in it and below it runs. Exits with 3 where a decision is not the
    expected one.
    """
    results: dict[str, policy_tests.FileResult] = {}
    with working("testing") as progress:
        files = list(_test_files(paths))
        for done, (file, text) in enumerate(files, start=1):
            results[str(file)] = _run(file, text, is_named=file in paths)
            progress(done, len(files))
    if not results:
        raise CallerError("there is no test file", code="not_found", hint="one has `policies` and `requests`")
    passed = all(result.is_passed for result in results.values())
    if as_json:
        app.json({"ok": passed, "files": msgspec.to_builtins(results)})
        return 0 if passed else EXIT_FAILED
    for name, result in results.items():
        if result.is_passed and Path(name) not in paths:
            continue  # of a directory, what is not as expected; the last line counts the others
        app.screen.line(
            render.styled("ok" if result.is_passed else "failed"), f" {name}: {len(result.requests)} requests"
        )
        for problem in result.problems:
            app.screen.line(f"  {problem}")
        for request in result.requests:
            for difference in request.differences:
                app.screen.line(f"  {request.description}: {difference}")
    if len(results) > 1:
        failed = sum(not result.is_passed for result in results.values())
        asked = sum(len(result.requests) for result in results.values())
        app.screen.line(f"{len(results):,} files, {asked:,} requests: {failed or 'none'} failed")
    return 0 if passed else EXIT_FAILED


def _test_files(paths: tuple[Path, ...]) -> Iterator[tuple[Path, str]]:
    """The test files that were named, and those of the directories that were."""
    for path in paths:
        if not path.is_dir():
            yield path, _read_test(path)
            continue
        for file in sorted(path.rglob("*.json")):
            text = _read_test(file)
            try:
                is_test = policy_tests.is_test_file(text)
            except CallerError:
                is_test = True  # which says what is wrong with it
            if is_test:
                yield file, text


def _run(file: Path, text: str, *, is_named: bool) -> policy_tests.FileResult:
    """One file's result. Of a directory, a file that cannot be read is one that failed, and the others run."""
    try:
        return policy_tests.run_test_file(text, partial(_read_beside, file))
    except CallerError as error:
        if is_named:
            raise
        return policy_tests.FileResult((error.message,), ())


@click.command("backtest", epilog=example("briefcase policy backtest policy.cedar --since 7d"))
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--since", metavar="TIME", help="A time as 2026-01-31T12:00:00Z, or how long ago: 30s, 15m, 2h, 7d.")
@json_option
@pass_app
def backtest(app: App, *, file: Path, since: str | None, as_json: bool) -> None:
    """Replay a policy over the recorded receipts.

    FILE is a path, or `-` for standard input. Nothing is set: the policy that decides now stays.
    """
    replay(app, read_policy(file), since, as_json=as_json)


def replay(app: App, text: str, since: str | None = None, *, as_json: bool = False) -> None:
    """Replay a policy's text over the recorded receipts, and show what it would have decided otherwise.

    Raises:
        CallerError: it does not validate, or `since` is no time.
    """
    client, tools = app.client(), known_tools(app) or []
    after = parse_moment(since, time.time_ns() // 1_000) if since else None
    replayed = policy_backtest.Backtest(
        policy_engine.CompiledPolicy(policy_check.check_policy(text, tools)), system.SystemClock(), tools
    )
    with working("replaying") as progress:
        done, total = 0, 0
        for page in _pages(client, after):
            total = total or page[0].id
            replayed.add(policy_backtest.read_page(msgspec.json.encode(ReceiptList(page))))
            done += len(page)
            progress(done, total)
    report = replayed.report()
    if as_json:
        app.json({**msgspec.to_builtins(report), "approvals_per_hour": report.approvals_per_hour})
    else:
        _show_report(app, report)


def _pages(client: Client, since: str | None) -> Iterator[list[ReceiptRecord]]:
    """The receipts, newest first, page by page: each begins at the time the one before ended at, less what it held.

    What is appended meanwhile is newer than the first page, so it moves nothing. Where the clock stood still for more
    than a page, the offset goes on.
    """
    until, below, offset = None, None, 0
    while True:
        reply = client.get("/v1/receipts", ReceiptList, limit=PAGE_RECEIPTS, offset=offset, since=since, until=until)
        page = reply.answer.receipts
        fresh = [receipt for receipt in page if below is None or receipt.id < below]
        if fresh:
            yield fresh
            until, below, offset = fresh[-1].ts, fresh[-1].id, 0
        elif len(page) < PAGE_RECEIPTS:
            return
        else:
            offset += PAGE_RECEIPTS


def _show_report(app: App, report: policy_backtest.BacktestReport) -> None:
    screen = app.screen
    screen.fields(
        [
            ("receipts", f"{report.receipts:,}, {report.replayed:,} of them replayed"),
            ("people asked", f"{report.approvals_before:,} times, with this policy {report.approvals_after:,}"),
            ("an hour", f"{report.approvals_per_hour:.1f} times, over {report.hours:.1f} h"),
        ]
    )
    rows = [
        (
            f"{found.calls:,}",
            found.flip.principal,
            found.flip.tool_id,
            render.styled(found.flip.before),
            render.styled(found.flip.after),
            str(found.first_receipt_id),
            ", ".join(found.flip.policy_ids),
        )
        for found in report.flips
    ]
    headers = (">CALLS", "WHO", "TOOL", "NOW", "THEN", ">FIRST", "BY POLICY")
    screen.table(headers, rows, empty="every one of them would be decided as it was")
    for cause, count in sorted(report.left_out.items()):
        note(f"left out: {count:,} {cause}")
    if report.redacted:
        note(f"{report.redacted:,} replayed with redacted arguments: a policy that reads those may differ")


def _read_test(file: Path) -> str:
    return read_policy(file, MAX_TEST_BYTES)


def _read_beside(file: Path, name: str) -> str:
    """What a test file names, from the directory it is in, else from the nearest above that has it.

    Cedar's own tests name files from the top of their repository.
    """
    above = file.absolute().parents
    found = next((directory for directory in above if (directory / name).is_file()), above[0])
    return _read_test(found / name)
