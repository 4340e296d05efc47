"""`briefcase conformance`: hold someone else's server to the contract, and leave a report."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import click
import msgspec

from briefcase.core.wire.providers import VerdictKept
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.client import path_of
from briefcase.edges.cli.late import (
    asyncio,
    conformance_control_plane,
    conformance_fleet,
    conformance_provider,
    conformance_report,
    conformance_subject,
    net_outbound,
    net_urls,
    render,
    system,
)
from briefcase.edges.cli.lazy import LazyGroup, example
from briefcase.edges.cli.messages import complain, note
from briefcase.edges.cli.progress import working
from briefcase.edges.cli.secrets import read_secret
from briefcase.model.errors import CODES, BriefcaseError, CallerError

if TYPE_CHECKING:
    from briefcase.model.ports import Outbound

BROKEN: Final = CODES["receipt_chain_broken"].exit_code  # 7, as for every other objective that is not met
MAX_TOKEN_BYTES: Final = 4_096


@click.group(
    cls=LazyGroup,
    epilog=example(
        "briefcase conformance provider --base-url https://provider.example --out report.json",
        "briefcase conformance control-plane --base-url https://fleet.example --admin-token-file admin.token",
    ),
)
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
    _write(report, out)
    kept_for = _tell_daemon(app, report)
    if as_json:
        app.json(msgspec.to_builtins(report))
    else:
        _show(app, report)
        note(f"wrote {out}")
        if kept_for:
            note(f"`briefcase diagnostics check` shows the verdict, for {', '.join(kept_for)}")
    return 0 if report.ok else BROKEN


@conformance.command(
    "control-plane",
    epilog=example(
        "briefcase conformance control-plane --base-url https://fleet.example --admin-token-file admin.token",
        "briefcase conformance control-plane --base-url URL --admin-token-file - --only proof_once < admin.token",
    ),
)
@click.option("--base-url", required=True, metavar="URL", help="The control plane's address, as devices call it.")
@click.option("--admin-token-file", type=click.File("rb"), help="Where an administrator's token is; `-` reads it.")
@click.option("--auditor-token-file", type=click.File("rb"), help="Where an auditor's token is.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Where the report goes, too.")
@click.option("--only", "only", multiple=True, metavar="CHECK", help="Only this check; repeat for more.")
@json_option
@pass_app
def check_control_plane_command(
    app: App,
    *,
    base_url: str,
    admin_token_file: IO[bytes] | None,
    auditor_token_file: IO[bytes] | None,
    out: Path | None,
    only: tuple[str, ...],
    as_json: bool,
) -> int:
    """Check a control plane against aacp_v1.

    Publishes, enrols devices and uploads receipts as they must be, and in every way that must be refused. What it
    publishes decides as the policy that it found, and that is published once more at the end. Without an
    administrator's token only what anybody may ask is checked. Exits with 7 where a check failed, and names the first.
    """
    if out is not None:
        app.check_outside(out)
    admin_token, auditor_token = _read_token(admin_token_file), _read_token(auditor_token_file)
    checked = base_url.rstrip("/")

    async def examine(outbound: Outbound) -> conformance_report.Report:
        clock = system.SystemClock()
        subject = conformance_fleet.FleetSubject(
            checked, outbound, clock, system.SystemEntropy(), admin_token=admin_token, auditor_token=auditor_token
        )
        total = len(only) + 1 if only else len(conformance_control_plane.CHECKS)
        with working("checks") as progress:
            done = iter(range(1, total + 1))
            return await conformance_control_plane.check_control_plane(
                subject, clock, only=only, progress=lambda _: progress(next(done, total), total)
            )

    report = _reach(checked, examine)
    if out is not None:
        _write(report, out)
    if as_json:
        app.json(msgspec.to_builtins(report))
    else:
        _show(app, report)
    broken = next((check for check in report.checks if check.name == report.first_broken), None)
    if broken is not None:
        complain({"message": f"`{broken.name}`: {broken.expectation}: {broken.detail}"}, label="first broken")
    return 0 if report.ok else BROKEN


def _read_token(file: IO[bytes] | None) -> str | None:
    if file is None:
        return None
    token = file.read(MAX_TOKEN_BYTES).strip()
    if not token or not token.isascii() or len(token.split()) != 1:
        raise CallerError(f"`{file.name}`: expected a token on one line")
    return token.decode()


def _write(report: conformance_report.Report, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


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
    async def examine(outbound: Outbound) -> conformance_report.Report:
        clock = system.SystemClock()
        return await conformance_provider.check_provider(
            conformance_subject.Subject(base_url, outbound, clock, system.SystemEntropy(), admin_secret), clock
        )

    return _reach(base_url, examine)


def _reach(
    base_url: str, examine: Callable[[Outbound], Awaitable[conformance_report.Report]]
) -> conformance_report.Report:
    """Examine a server over a way out of its own."""
    try:
        authority = net_urls.parse_url(base_url).authority
    except ValueError as error:
        raise CallerError(f"`--base-url`: {error}") from None

    async def run() -> conformance_report.Report:
        outbound = net_outbound.GuardedOutbound([authority])  # the person names it, on their own machine or not
        try:
            return await examine(outbound)
        finally:
            await outbound.close()

    return asyncio.run(run())


def _show(app: App, report: conformance_report.Report) -> None:
    rows = [
        (
            render.styled(check.status.value.replace("_", " ")),
            check.name,
            check.detail or check.expectation,
            f"{check.duration_ms:,}",
        )
        for check in report.checks
    ]
    app.screen.table(("STATUS", "CHECK", "WHAT WAS EXPECTED, OR FOUND", ">MS"), rows, empty="nothing was checked")
    verdict = "conforms" if report.ok else "does not conform"
    app.screen.line(
        f"{report.subject} {verdict} to {report.compatibility_profile}:"
        f" {report.passed} passed, {report.failed} failed, {report.skipped} skipped"
        + (f", {report.not_offered} not offered" if report.not_offered else "")
    )
