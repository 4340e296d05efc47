"""`briefcase conformance`: hold someone else's server to the contract, and leave a report."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
import msgspec

from briefcase.core.wire.providers import VerdictKept
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.client import path_of
from briefcase.edges.cli.late import (
    asyncio,
    conformance_provider,
    conformance_report,
    conformance_subject,
    net_outbound,
    net_urls,
    render,
    system,
)
from briefcase.edges.cli.lazy import example
from briefcase.edges.cli.messages import note
from briefcase.edges.cli.secrets import read_secret
from briefcase.model.errors import CODES, BriefcaseError, CallerError

BROKEN: Final = CODES["receipt_chain_broken"].exit_code  # 7, as for every other objective that is not met


@click.group(epilog=example("briefcase conformance provider --base-url https://provider.example --out report.json"))
def conformance() -> None:
    """Hold a server to the contract and write a report."""


@conformance.command(
    "provider",
    epilog=example(
        "briefcase conformance provider --base-url https://provider.example --out report.json",
        "briefcase conformance provider --base-url URL --out report.json --admin-secret-stdin < admin-secret.txt",
    ),
)
@click.option("--base-url", required=True, metavar="URL", help="The provider's address.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Where the report goes.")
@click.option("--admin-secret-stdin", is_flag=True, help="Read the provider's admin secret, to try revocation.")
@json_option
@pass_app
def check_provider_command(app: App, *, base_url: str, out: Path, admin_secret_stdin: bool, as_json: bool) -> int:
    """Check a provider against aacp_v1.

    Logs in, mints capabilities, calls with good proofs and with wrong ones. Exits with 0 where every check that could
    be made passed, with 7 where one failed. The report holds no token and no key. A daemon that has a provider at this
    address keeps the verdict, for `briefcase diagnostics check`.
    """
    app.check_outside(out)
    report = _examine(base_url.rstrip("/"), read_secret("admin secret") if admin_secret_stdin else None)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    kept_for = _tell_daemon(app, report)
    if as_json:
        app.json(msgspec.to_builtins(report))
    else:
        _show(app, report)
        note(f"wrote {out}")
        if kept_for:
            note(f"`briefcase diagnostics check` shows the verdict, for {', '.join(kept_for)}")
    return 0 if report.ok else BROKEN


def _tell_daemon(app: App, report: conformance_report.Report) -> list[str]:
    """Leave the verdict with the daemon; gives the providers it is of, none where no daemon wants it."""
    body = {
        "base_url": report.subject,
        "ok": report.ok,
        "passed": report.passed,
        "failed": report.failed,
        "skipped": report.skipped,
        "finished_at": report.finished_at,
        "failing": [check.name for check in report.checks if check.status is conformance_report.Status.FAILED],
    }
    try:
        kept = app.client().post(path_of("v1", "diagnostics", "providers", "verdict"), VerdictKept, body).answer
    except BriefcaseError:
        return []  # the harness needs no daemon: the report is what was asked for
    return kept.providers


def _examine(base_url: str, admin_secret: str | None) -> conformance_report.Report:
    try:
        authority = net_urls.parse_url(base_url).authority
    except ValueError as error:
        raise CallerError(f"`--base-url`: {error}") from None

    async def run() -> conformance_report.Report:
        outbound = net_outbound.GuardedOutbound([authority])  # the person names it, on their own machine or not
        clock = system.SystemClock()
        try:
            return await conformance_provider.check_provider(
                conformance_subject.Subject(base_url, outbound, clock, system.SystemEntropy(), admin_secret), clock
            )
        finally:
            await outbound.close()

    return asyncio.run(run())


def _show(app: App, report: conformance_report.Report) -> None:
    rows = [
        (render.styled(check.status.value), check.name, check.detail or check.expectation, f"{check.duration_ms:,}")
        for check in report.checks
    ]
    app.screen.table(("STATUS", "CHECK", "WHAT WAS EXPECTED, OR FOUND", ">MS"), rows, empty="nothing was checked")
    verdict = "conforms" if report.ok else "does not conform"
    app.screen.line(
        f"{report.subject} {verdict} to {report.compatibility_profile}:"
        f" {report.passed} passed, {report.failed} failed, {report.skipped} skipped"
    )
