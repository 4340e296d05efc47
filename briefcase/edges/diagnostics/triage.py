"""Triage: green, yellow or red for each part of a daemon, with what to do and where to read on.

Each part is asked by itself and judged by itself: one that fails, or answers something unexpected, is red and takes
nothing else with it. Where no daemon answers, what can be told from the files is told. No answer of a secret's
endpoint is ever asked for, so none can be shown.

| colour | means |
|---|---|
| green | as it should be, or absent on purpose |
| yellow | look at it: it waits for somebody, or could not be told |
| red | broken, or not allowed in this mode |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol, TypeVar

import msgspec

from briefcase.core.wire.approvals import ApprovalList, ApprovalRecord
from briefcase.core.wire.control_plane import ControlPlaneStatus, managed_by
from briefcase.core.wire.controls import ControlList, ControlRecord
from briefcase.core.wire.diagnostics import CheckRecord, Checks
from briefcase.core.wire.fields import given
from briefcase.core.wire.identity import Health, ProfileAnswer, Ready
from briefcase.core.wire.providers import ProviderHealth, ProviderHealthList, ProviderList
from briefcase.core.wire.reading import Kind
from briefcase.core.wire.receipts import VerificationRecord
from briefcase.core.wire.servers import ServerList, ServerSummary
from briefcase.core.wire.witnesses import WitnessList
from briefcase.edges.client.reply import Reply
from briefcase.edges.diagnostics.files import check_files
from briefcase.edges.diagnostics.host import check_disk
from briefcase.edges.diagnostics.profile import Finding
from briefcase.edges.diagnostics.providers import Colour, judge_providers, some
from briefcase.model.errors import BriefcaseError, ConfigError
from briefcase.model.ports import Verification
from briefcase.model.types import parse_rfc3339

_T = TypeVar("_T")
GUIDE: Final = "briefcase help operations"
CONTROL_PLANE: Final = "/v1/control-plane"
RUNBOOKS: Final = "briefcase help"
UNREACHABLE: Final = "daemon_unreachable"
HANGS: Final = "request_timeout"
_HANGS_DETAIL: Final = "takes connections, and does not answer"
_HANGS_HINT: Final = "look at its log and what it waits for (`/proc/PID/stack`), then kill it: no answered call is lost"

# Where to read on, by part.
READ: Final[dict[str, str]] = {
    "daemon": f"{GUIDE}#is-it-sound",
    "profile": f"{GUIDE}#modes",
    "compat": f"{GUIDE}#modes",
    "security": f"{GUIDE}#strict-host",
    "receipts": f"{RUNBOOKS} receipt-chain",
    "policy": f"{RUNBOOKS} policy-sync",
    "controls": f"{GUIDE}#incident-controls",
    "approvals": f"{GUIDE}#is-it-sound",
    "providers": f"{RUNBOOKS} provider-outage",
    "mcp_servers": f"{RUNBOOKS} provider-outage",
    "control_plane": f"{RUNBOOKS} policy-sync",
    "witnesses": "briefcase help receipts#witnesses",
    "disk": f"{GUIDE}#is-it-sound",
    "clock": f"{RUNBOOKS} capability-replay",
    "memory": f"{GUIDE}#what-is-bounded",
}
_OWN_PARTS: Final = frozenset(
    {"policy", "receipts", "disk", "clock", "memory"}
)  # checks of `compat` that are a part here

_OPTIONAL: Final = frozenset({"providers", "mcp_servers", "controls"})
_SILENT: Final = frozenset({"control_plane", "witnesses"})  # no row: `green` would say that somebody looked


class Part(msgspec.Struct, frozen=True):
    """One part, judged. `read` names the page and section for who wants to know more."""

    name: str
    colour: Colour
    detail: str
    hint: str = ""
    read: str = ""


class Daemon(Protocol):
    """The daemon as a client sees it; both raise `BriefcaseError`."""

    def get(self, path: str, kind: Kind[_T], /, **query: str | int | None) -> Reply[_T]:
        """Read."""
        ...

    def post(self, path: str, kind: Kind[_T], body: object = None) -> Reply[_T]:
        """Act."""
        ...


class _Judged(msgspec.Struct, frozen=True):
    colour: Colour
    detail: str
    hint: str = ""


def triage(daemon: Daemon, patient: Daemon, now_us: int) -> tuple[Part, ...]:
    """Judge every part of a daemon that may or may not answer; one part only where it does not, or hangs.

    Args:
        daemon: its client, which soon gives up: what hangs is a finding, and many are asked.
        patient: the same for what takes long where there are many receipts.
        now_us: this host's clock, in microseconds.
    """
    try:
        daemon.get("/health", Health)
        is_healthy = True
    except BriefcaseError as error:
        if error.code == UNREACHABLE:
            return (Part("daemon", "red", error.message, error.hint, READ["daemon"]),)
        if error.code == HANGS:
            return (Part("daemon", "red", _HANGS_DETAIL, _HANGS_HINT, READ["daemon"]),)
        is_healthy = False
    compat = _Asked(lambda: _checks(daemon, "compat"))
    judges: dict[str, Callable[[], _Judged]] = {
        "daemon": lambda: _judge_daemon(daemon, is_healthy=is_healthy),
        "profile": lambda: _judge_profile(daemon.get("/v1/profile", ProfileAnswer).answer),
        "compat": lambda: _worst([check for name, check in compat.value().items() if name not in _OWN_PARTS]),
        "security": lambda: _worst([*_checks(daemon, "security").values()]),
        "receipts": lambda: _judge_receipts(
            compat.value().get("receipts"), patient.post("/v1/receipts/verify", VerificationRecord).answer
        ),
        "policy": lambda: _judge_check(compat.value().get("policy")),
        "controls": lambda: _judge_controls(daemon.get("/v1/controls", ControlList).answer.controls),
        "approvals": lambda: _judge_approvals(daemon.get("/v1/approvals", ApprovalList).answer.approvals, now_us),
        "providers": lambda: _Judged(
            *judge_providers(daemon.get("/v1/providers", ProviderList).answer.providers, _behaved(daemon), now_us)
        ),
        "mcp_servers": lambda: _judge_servers(daemon.get("/v1/mcp/servers", ServerList).answer.servers),
        "control_plane": lambda: _judge_control_plane(daemon.get(CONTROL_PLANE, ControlPlaneStatus).answer),
        "witnesses": lambda: _judge_witnesses(daemon.get("/v1/witnesses", WitnessList).answer),
        "disk": lambda: _judge_check(compat.value().get("disk")),
        "clock": lambda: _judge_check(compat.value().get("clock")),
        "memory": lambda: _judge_check(compat.value().get("memory")),
    }
    return _parts(judges)


def triage_files(data_dir: Path, verify: Callable[[], Verification]) -> tuple[Part, ...]:
    """What can be told of a data directory without its daemon; nothing is written.

    Args:
        data_dir: the directory.
        verify: checks the chain in its files; raises `BriefcaseError` where it cannot be read.
    """

    def receipts() -> _Judged:
        try:
            found = verify()
        except ConfigError as error:
            if error.code != "already_running":
                raise
            return _Judged("yellow", "not known: a daemon has them open, and does not answer")
        return _judge_verification(msgspec.convert(msgspec.to_builtins(found), VerificationRecord))

    return _parts(
        {
            "security": lambda: _judge_finding(check_files(data_dir)),
            "receipts": receipts,
            "disk": lambda: _judge_finding(check_disk(data_dir)),
        }
    )


def worst_of(parts: tuple[Part, ...]) -> Colour:
    """The colour of the whole."""
    order: tuple[Colour, ...] = ("green", "yellow", "red")
    return max((part.colour for part in parts), key=order.index)


def unknown_parts(told: tuple[Part, ...]) -> tuple[Part, ...]:
    """A yellow part for each that could not be asked, because no daemon answers."""
    names = {part.name for part in told}
    return tuple(
        Part(name, "yellow", "not known: no daemon answers", "", read)
        for name, read in READ.items()
        if name not in names
    )


class _Asked:
    """One answer that several parts are judged by: asked for once, and its failure told to each."""

    def __init__(self, ask: Callable[[], dict[str, CheckRecord]]) -> None:
        self._ask = ask
        self._value: dict[str, CheckRecord] | None = None
        self._error: BriefcaseError | None = None

    def value(self) -> dict[str, CheckRecord]:
        """The answer. Raises what asking raised."""
        if self._error is not None:
            raise self._error
        if self._value is None:
            try:
                self._value = self._ask()
            except BriefcaseError as error:
                self._error = error
                raise
        return self._value


def _parts(judges: Mapping[str, Callable[[], _Judged]]) -> tuple[Part, ...]:
    parts = (_part(name, judge) for name, judge in judges.items())
    return tuple(part for part in parts if part is not None)


def _part(name: str, judge: Callable[[], _Judged]) -> Part | None:
    """One part, judged; None where the daemon does not have it and nothing need be said of it."""
    try:
        judged = judge()
    except BriefcaseError as error:
        is_absent = name in _OPTIONAL | _SILENT and error.code == "not_found"
        if is_absent and name in _SILENT:
            return None
        judged = _Judged("green", "none: not served") if is_absent else _Judged("red", error.message, error.hint)
    except ValueError as error:  # a time, say, that is none
        judged = _Judged("red", f"answered something unexpected ({type(error).__name__})", "is it the same version?")
    return Part(name, judged.colour, judged.detail, judged.hint, READ[name])


def _judge_daemon(daemon: Daemon, *, is_healthy: bool) -> _Judged:
    daemon.get("/ready", Ready)
    if not is_healthy:
        return _Judged("red", "what answers is no healthy daemon")
    return _Judged("green", "answers, and serves calls")


def _judge_profile(profile: ProfileAnswer) -> _Judged:
    strict = ", strict host" if profile.strict_host else ""
    return _Judged("green", f"{profile.mode} ({profile.compatibility_profile}){strict}")


def _checks(daemon: Daemon, which: str) -> dict[str, CheckRecord]:
    return {check.name: check for check in daemon.get(f"/v1/diagnostics/{which}", Checks).answer.checks}


def _judge_check(check: CheckRecord | None) -> _Judged:
    """One check that is a part of its own."""
    return _Judged("yellow", "not known: this daemon does not check it") if check is None else _worst([check])


def _worst(checks: list[CheckRecord]) -> _Judged:
    """The checks that do not hold, in one part: yellow where each is only noted."""
    bad = [check for check in checks if not check.ok]
    if not bad:
        return _Judged("green", checks[0].detail if len(checks) == 1 else f"{len(checks)} checks hold")
    colour: Colour = "yellow" if all(check.effect == "noted" for check in bad) else "red"
    detail = "; ".join(check.detail if len(checks) == 1 else f"{check.name}: {check.detail}" for check in bad)
    return _Judged(colour, detail, "; ".join(check.hint for check in bad if check.hint))


def _judge_receipts(gate: CheckRecord | None, verification: VerificationRecord) -> _Judged:
    return _judge_verification(verification) if gate is None or gate.ok else _worst([gate])


def _judge_verification(found: VerificationRecord) -> _Judged:
    if found.ok:
        return _Judged("green", f"{found.checked:,} verified now, head {found.head.id}:{found.head.hash_hex}")
    bad, other = found.first_bad, found.difference
    what = "the chain does not verify" if bad is None else f"receipt {bad.id} is wrong ({bad.problem})"
    if bad is None and other is not None:
        what = f"`{other.row}`: expected {other.expected}, found {other.found}"
    return _Judged(
        "red", what, "keep a copy of the data directory before anything else: `briefcase freeze`, then the runbook"
    )


def _judge_controls(controls: list[ControlRecord]) -> _Judged:
    actions = [f"{control.action} {control.subject} {control.name}".strip() for control in controls]
    if not actions:
        return _Judged("green", "nothing is tightened")
    return _Judged("yellow", some(actions), "`briefcase tighten list`, `briefcase thaw`")


def _judge_approvals(waiting: list[ApprovalRecord], now_us: int) -> _Judged:
    if not waiting:
        return _Judged("green", "none waits")
    oldest_s = max(0, now_us - min(parse_rfc3339(approval.created_at) for approval in waiting)) // 1_000_000
    return _Judged("yellow", f"{len(waiting)} wait, the oldest for {oldest_s:,} s", "`briefcase approvals watch`")


def _behaved(daemon: Daemon) -> list[ProviderHealth]:
    """How providers behave; none where the daemon does not tell."""
    try:
        return daemon.get("/v1/diagnostics/providers", ProviderHealthList).answer.providers
    except BriefcaseError as error:
        if error.code != "not_found":
            raise
        return []


def _judge_servers(servers: list[ServerSummary]) -> _Judged:
    wanting = [f"{server.id} wants a log-in" for server in servers if server.needs_login]
    down = [server for server in servers if server.state not in {"", "ready"} and not server.needs_login]
    bad = [*wanting, *(f"{server.id} is {server.state}" for server in down)]
    held = [f"{server.id} lists {server.held} changed tools" for server in servers if server.held]
    if bad or held:
        log_in = "`briefcase mcp servers oauth-login ID`, " if wanting else ""
        hint = f"{log_in}`briefcase mcp servers list`, `briefcase mcp servers diff ID`"
        return _Judged("yellow", some([*bad, *held]), hint)
    return _Judged("green", some([server.id for server in servers]) or "none")


def _judge_control_plane(status: ControlPlaneStatus) -> _Judged:
    base_url = managed_by(status, f"GET {CONTROL_PLANE}")
    if base_url is None:
        return _Judged("green", "not enrolled")
    last_error = given(status.last_error, "")
    if status.state == "revoked":
        hint = "the last good policy stays; `briefcase control-plane enroll` makes it a device again, or `leave`"
        return _Judged("red", f"the control plane knows this device no more: {last_error}", hint)
    if last_error:
        hint = "the last good policy stays; `briefcase control-plane sync` tries again"
        age = ", and the policy is not known to be the present one" if status.state == "stale" else ""
        return _Judged("yellow", f"the last sync failed: {last_error}{age}", hint)
    synced_at = given(status.last_sync_at_rfc3339, "") or "never"
    return _Judged("green", f"{base_url}, last sync {synced_at}")


def _judge_witnesses(found: WitnessList) -> _Judged:
    """Red where what one says does not fit this chain, or it is away for long; no call waits for any of them."""
    witnesses = found.witnesses
    if not witnesses:
        return _Judged("green", "none")
    bad = [one for one in witnesses if one.problem]
    if bad:
        detail = some([f"{one.name} {one.problem}" for one in bad])
        hints = "; ".join(dict.fromkeys(one.hint for one in bad if one.hint))
        is_alarm = any(one.state == "alarm" for one in bad)
        return _Judged("red" if is_alarm else "yellow", detail, hints or "`briefcase witness list`")
    new = [one.name for one in witnesses if one.state == "new"]
    if new:
        return _Judged("yellow", f"{some(new)} cosigned nothing yet", "`briefcase witness list`")
    return _Judged("green", f"{len(witnesses)} cosigned, up to receipt {min(one.size for one in witnesses):,}")


def _judge_finding(finding: Finding) -> _Judged:
    if finding.problem:
        return _Judged("red", finding.problem, finding.hint)
    return _Judged("green", finding.found)
