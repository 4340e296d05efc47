"""`briefcase diagnostics soak`, `briefcase soak summarize`, `briefcase slo check`: measure, join, and judge.

All three end with an exit code a CI job can use: 0 where every objective is met, 7 where one is not.
"""

from __future__ import annotations

import asyncio
import math
import signal
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec
import orjson

from briefcase.adapters.disk.checks import REPORT_MODE
from briefcase.core.json.strict import parse as parse_json
from briefcase.core.wire.fleet import Convergence
from briefcase.core.wire.identity import IdentityAnswer
from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.client import Address, address_of, token_of
from briefcase.edges.cli.evidence import show_verdict, signer
from briefcase.edges.cli.exports import new_file
from briefcase.edges.cli.fleet_client import CONVERGENCE, FleetClient
from briefcase.edges.cli.late import (
    canaries,
    daemon_pool,
    evidence_manifest,
    evidence_page,
    expected_daemons,
    objectives,
    render,
    soak_evidence,
    soaks,
)
from briefcase.edges.cli.lazy import LazyGroup, example
from briefcase.edges.cli.messages import note
from briefcase.model.errors import CODES, CallerError
from briefcase.model.types import JsonObject, JsonValue

NOT_MET: Final = CODES["receipt_chain_broken"].exit_code
SLO_CHECK_RATE: Final = 50.0
SLO_CHECK_CONNECTIONS: Final = 8
_F = TypeVar("_F", bound=Callable[..., Any])
_OURS: Final = frozenset({"evidence.json", "MANIFEST.json"})
_UCRED: Final = struct.Struct("3i")  # pid, uid, gid: unix(7), SO_PEERCRED

MAX_RATE: Final = 10_000.0  # more than one client can send
MAX_DURATION_S: Final = 366 * 86_400.0  # as much as one report may cover


class _Measured(msgspec.Struct, frozen=True):
    """What a report measured, as far as it is shown."""

    by_reason: dict[str, int]


class _Finding(msgspec.Struct, frozen=True):
    """One objective of a report; `value` is None where nothing was measured."""

    objective: str
    value: float | None
    target: float
    ok: bool


class _Number(click.FloatRange):
    """A number of a range; what is none (`nan`, which lies in every range) is refused."""

    def convert(self, value: float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number.", param, ctx)
        return number


_objectives = [
    click.option("--availability", type=_Number(0, 1), default=0.999, show_default=True),
    click.option("--append-success", type=_Number(0, 1), default=0.9999, show_default=True),
    click.option("--call-success", type=_Number(0, 1), default=0.999, show_default=True),
    click.option("--overhead-p95-ms", type=_Number(0), default=150.0, show_default=True),
]


def _with_objectives(command: _F) -> _F:
    for option in _objectives:
        command = option(command)
    return command


@click.command(
    "soak",
    epilog=example(
        'briefcase diagnostics soak --duration-secs 3600 --interval-ms 1000 --tool echo --args-json \'{"text":"x"}\''
        " --out dist/soak-report.json",
        "briefcase diagnostics soak --duration-secs 600 --rate 200 --connections 64 --tool notes_list --out soak.json",
    ),
)
@click.option("--duration-secs", type=_Number(0.1, MAX_DURATION_S), required=True, help="How long to go on.")
@click.option("--interval-ms", type=_Number(1_000 / MAX_RATE, 86_400_000), help="One call every so many milliseconds.")
@click.option("--rate", type=_Number(0.001, MAX_RATE), help="So many calls a second instead.")
@click.option("--connections", type=click.IntRange(1, 1_024), default=1, show_default=True, help="At most so many.")
@click.option("--tool", "tool_id", required=True, help="What to call.")
@click.option("--args-json", default="{}", show_default=True, help="Its arguments.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Where the report goes.")
@_with_objectives
@pass_app
def soak_command(app: App, /, *, out: Path, interval_ms: float | None, rate: float | None, **given: Any) -> int:
    """Call one tool on a schedule and measure what was promised.

    The report has availability, append success, latency and what the daemon itself adds to it, and a verdict.
    A late answer is late from the moment its call was due. Ctrl-C, or the end of the terminal, ends the run early and
    still writes the report.
    """
    if (interval_ms is None) == (rate is None):
        raise click.UsageError("expected --interval-ms or --rate")
    interval = interval_ms if interval_ms is not None else 1_000 / (rate or 1)
    plan = soaks.SoakPlan(
        given["duration_secs"],
        interval,
        given["tool_id"],
        _arguments_of(given["args_json"]),
        given["connections"],
        _objectives_of(given),
    )
    app.check_outside(out)
    with suppress(OSError):  # which is said of the file itself
        out.parent.mkdir(parents=True, exist_ok=True)
    with new_file(out, replaces=True, mode=REPORT_MODE) as file:  # before an hour is spent
        report = _measure(app, plan)
        file.write(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    note(f"wrote {out}")
    return 0 if report["ok"] else NOT_MET


@click.group(cls=LazyGroup, epilog=example("briefcase soak summarize dist/soak"))
def soak() -> None:
    """Join soak reports into evidence."""


@soak.command("summarize", epilog=example("briefcase soak summarize dist/soak"))
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
@_with_objectives
@json_option
@pass_app
def summarize_command(app: App, /, *, directory: Path, as_json: bool, **given: float) -> int:
    """Join the reports of a directory: days covered, gaps, verdict.

    Writes evidence.json and evidence.html there, and a manifest with the digest of every file, signed by the daemon.
    """
    reports = sorted(path for path in directory.glob("*.json") if path.name not in _OURS and path.is_file())
    for path in reports:
        if canaries.utf8(path.name) != path.name:
            raise CallerError(f"expected names in UTF-8, got `{canaries.utf8(path.name)}`", hint="rename it")
    statement = soak_evidence.summarize(reports, _objectives_of(given))
    summary = statement.as_json()
    written = {
        "evidence.json": orjson.dumps(summary, option=orjson.OPT_INDENT_2),
        "evidence.html": evidence_page.page(statement).encode(),
    }
    files = {path.name: path.read_bytes() for path in reports} | written
    for name, data in (written | evidence_manifest.write_manifest(files, signer(app), datetime.now(UTC))).items():
        with new_file(directory / name, replaces=True, mode=REPORT_MODE) as file:
            file.write(data)
    if as_json:
        app.json(summary)
    else:
        covered = f"{summary['hours_covered']} hours, {summary['days_covered']} whole days"
        app.screen.line(f"{summary['reports']} reports, {covered}, {len(statement.gaps)} gaps")
        _show_findings(app, summary["findings"])
        for problem in statement.unreadable:
            note(problem)
        note(f"wrote {directory / 'evidence.html'}")
    return 0 if statement.ok else NOT_MET


@soak.command(
    "verify",
    epilog=example("briefcase soak verify dist/soak", "briefcase soak verify dist/soak --did did:key:z6MkhaXg"),
)
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--did", help="The identity that must have signed: `briefcase identity show` on that daemon.")
@json_option
@pass_app
def verify_command(app: App, *, directory: Path, did: str | None, as_json: bool) -> int:
    """Check every file of the evidence against its signed manifest.

    Needs no daemon. Exits with 7 where a file is missing, changed or added, or nobody signed.
    """
    files = {
        canaries.utf8(path.relative_to(directory).as_posix()): path.read_bytes() if path.is_file() else b""
        for path in directory.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    return show_verdict(app, files, did, as_json=as_json)


@click.group(cls=LazyGroup, epilog=example("briefcase slo check --duration-secs 30"))
def slo() -> None:
    """Hold a running deployment against its objectives."""


@slo.command("check", epilog=example("briefcase slo check", "briefcase slo check --overhead-p95-ms 15"))
@click.option("--duration-secs", type=_Number(0.1, MAX_DURATION_S), default=10.0, show_default=True, help="How long.")
@click.option("--tool", "tool_id", default="echo", show_default=True, help="A free tool to call.")
@click.option("--args-json", default='{"text":"slo"}', show_default=True, help="Its arguments.")
@click.option(
    "--convergence-p99-ms", type=_Number(0), help="Also: 99% of a fleet's devices run its policy within so long."
)
@_with_objectives
@json_option
@pass_app
def check(app: App, /, *, as_json: bool, convergence_p99_ms: float | None, **given: Any) -> int:
    """Call a tool fifty times a second for a while and judge what the daemon adds.

    With --convergence-p99-ms the fleet of BRIEFCASE_FLEET_URL is held to that, too, by what its devices report.
    """
    fleet = [] if convergence_p99_ms is None else [_judge_fleet(app, convergence_p99_ms)]
    plan = soaks.SoakPlan(
        given["duration_secs"],
        1_000 / SLO_CHECK_RATE,
        given["tool_id"],
        _arguments_of(given["args_json"]),
        SLO_CHECK_CONNECTIONS,
        _objectives_of(given),
    )
    report = _measure(app, plan, quiet=as_json, others=fleet)
    if as_json:
        app.json(report)
    return 0 if report["ok"] else NOT_MET


def _judge_fleet(app: App, target_ms: float) -> objectives.Finding:
    """How soon 99% of a fleet's devices ran the bundle for all; not met until so many do."""
    p99_ms = FleetClient(app.environ).get(CONVERGENCE, Convergence).answer.p99_ms
    return objectives.Finding("convergence_p99_ms", target_ms, p99_ms, p99_ms is not None and p99_ms <= target_ms)


def _with_others(report: JsonObject, others: Sequence[objectives.Finding]) -> JsonObject:
    """A report that is held to other objectives, too."""
    if not others:
        return report
    judged = report["findings"]
    findings = [*(judged if isinstance(judged, list) else ()), *map(msgspec.to_builtins, others)]
    are_met = all(finding.ok for finding in others)
    verdict = objectives.NOT_MET if report["verdict"] == objectives.MET and not are_met else report["verdict"]
    return {**report, "findings": findings, "ok": report["ok"] is True and are_met, "verdict": verdict}


def _measure(
    app: App, plan: soaks.SoakPlan, *, quiet: bool = False, others: Sequence[objectives.Finding] = ()
) -> JsonObject:
    """Run a plan against this environment's daemon, showing how it goes, and give its report, with other findings."""
    address = address_of(app.environ, lambda: app.socket_path)
    app.client().get("/v1/identity", IdentityAnswer)  # a clear error where nothing answers, before an hour is spent
    expected = expected_daemons.expected_daemon(app.environ, lambda: app.data_dir)
    token = token_of(app.environ, lambda: app.data_dir)

    async def run() -> JsonObject:
        stop = asyncio.Event()
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(name, stop.set)
        place = daemon_pool.Place(address.socket_path, address.host, address.port)
        client = soaks.SoakClient(place, expected, token=token, connections=plan.connections)
        async with client:
            show = _show_nothing if quiet or not sys.stderr.isatty() else _Progress(plan.duration_s)
            return await soaks.soak(plan, client, pid=_pid_of(address), on_tick=show, stop=stop)

    report = _with_others(asyncio.run(run()), others)
    if not quiet:
        _show_findings(app, report["findings"])
        _show_verdict(report)
    return report


def _show_nothing(_tally: soaks.Tally, _elapsed_s: float) -> None:
    """For programs."""


class _Progress:
    """One line on the terminal's standard error, rewritten each second."""

    def __init__(self, duration_s: float) -> None:
        self._duration_s = duration_s

    def __call__(self, tally: soaks.Tally, elapsed_s: float) -> None:
        measured = tally.measured()
        p95 = "-" if measured.overhead_p95_ms is None else f"{measured.overhead_p95_ms:.2f} ms"
        errors = sum(tally.errors.values())
        line = (
            f"{elapsed_s:,.0f} of {self._duration_s:,.0f} s   {measured.answered:,} answered   {errors:,} errors"
            f"   overhead p95 {p95}"
        )
        click.echo(f"\r\x1b[2K{line}", err=True, nl=elapsed_s >= self._duration_s - 1)


def _pid_of(address: Address) -> int | None:
    """The daemon's process, as the kernel says of the socket's other end; None over TCP or where it does not say."""
    if not address.socket_path or sys.platform != "linux":
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(address.socket_path)
            return int(_UCRED.unpack(probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))[0])
        except OSError:
            return None


def _objectives_of(given: dict[str, Any]) -> objectives.Objectives:
    return objectives.Objectives(
        given["availability"], given["overhead_p95_ms"], given["append_success"], given["call_success"]
    )


def _arguments_of(text: str) -> JsonObject:
    args = parse_json(text.encode())
    if not isinstance(args, dict):
        raise CallerError("`--args-json`: expected a JSON object", code="invalid_args")
    return args


def _show_verdict(report: JsonObject) -> None:
    """Name the verdict, and why calls were not allowed where that is what it says."""
    by_reason = msgspec.convert(report["measured"], _Measured).by_reason
    why = ", ".join(f"{reason}: {count:,}" for reason, count in by_reason.items())
    note(f"verdict: {report['verdict']}" + (f" ({why})" if why else ""))


def _show_findings(app: App, findings: JsonValue) -> None:
    rows = []
    for finding in msgspec.convert(findings, list[_Finding]):
        shown = "not measured" if finding.value is None else f"{finding.value:.6g}"
        rows.append(
            (
                finding.objective,
                shown,
                f"{finding.target:g}",
                render.styled("ok" if finding.ok else "error"),
            )
        )
    app.screen.table(("OBJECTIVE", ">MEASURED", ">TARGET", ""), rows, empty="nothing was judged")
