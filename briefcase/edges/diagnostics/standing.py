"""How a running daemon stands: the security and the compatibility checks, in the order they are shown.

`check_start` is the same checks before the first request is served: what the mode refuses stops the start.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from briefcase.edges.diagnostics import files, host
from briefcase.edges.diagnostics.host import Host
from briefcase.edges.diagnostics.profile import RULES, Check, Finding, check_of
from briefcase.model.errors import ConfigError
from briefcase.model.types import US_PER_S

CLOCK_TOLERANCE_US: Final = 2 * US_PER_S
_DAY_S: Final = 86_400


class Moment(msgspec.Struct, frozen=True):
    """What the event loop knows at one moment, so that measuring needs no lock: times in microseconds."""

    now_us: int
    newest_receipt_us: int | None
    policy_hash_hex: str
    policy_set_us: int
    gate_problem: str | None
    receipts: int
    servers: Mapping[str, str]
    incompatible: tuple[str, ...]


def security_checks(at: Host, mode: str, wants: Callable[[str], bool] = lambda _: True) -> tuple[Check, ...]:
    """Measure everything that keeps others out. Blocks on the file system for about a millisecond.

    The first time `children` is measured it blocks for the start of a process.

    Args:
        at: where the daemon runs.
        mode: one of `profile.MODES`.
        wants: whether a rule is to be measured.
    """
    findings: dict[str, Callable[[], Finding]] = {
        "files": lambda: files.check_files(at.data_dir),
        "socket": lambda: files.check_socket(at.unix_socket),
        "socket_directory": lambda: files.check_socket_directory(at.unix_socket),
        "agent_socket": lambda: files.check_agent_socket(at.agent_socket),
        "listeners": host.check_listeners,
        "strict_host": lambda: host.check_strict_host(at.data_dir, at.unix_socket, strict_host=at.strict_host),
        "secret_backend": lambda: host.check_secret_backend(at.secret_backend),
        "keys": lambda: host.check_keys(at.key_places),
        "receipt_arguments": lambda: host.check_receipt_arguments(at.args_form),
        "core_dumps": host.check_core_dumps,
        "not_dumpable": host.check_not_dumpable,
        "environment": lambda: host.check_environment(at.environ),
        "children": lambda: host.check_children(at.missing_layers(), is_root=os.geteuid() == 0),
        "agent_users": lambda: host.check_agent_users(at.exposed_agents()),
        "signers": lambda: host.check_signers(has_signer=at.has_signer()),
    }
    return tuple(
        check_of(name, measure(), mode, strict_host=at.strict_host) for name, measure in findings.items() if wants(name)
    )


def compat_checks(at: Host, mode: str, moment: Moment) -> tuple[Check, ...]:
    """Measure everything the answers and the receipts depend on.

    Args:
        at: where the daemon runs.
        mode: one of `profile.MODES`.
        moment: read on the event loop just before.
    """
    engine = at.engine_problem()
    findings = {
        "native_modules": host.check_native_modules(),
        "storage_engine": Finding(engine, "LMDB and its durability flags are as tested"),
        "receipts": Finding(moment.gate_problem, f"{moment.receipts:,} receipts, the gate is open"),
        "policy": _check_policy(at.policy_problem(), moment),
        "remote_mcp": _check_servers(moment),
        "clock": _check_clock(moment),
        "disk": host.check_disk(at.data_dir),
        "memory": host.check_memory(),
    }
    return tuple(check_of(name, finding, mode) for name, finding in findings.items())


def check_start(at: Host, mode: str) -> None:
    """Refuse to serve where the mode refuses what is found.

    Raises:
        ConfigError: naming the rule, what was found and what was expected (`insecure_host`).
    """
    at_start = (
        *security_checks(at, mode, lambda name: getattr(RULES[name], mode) == "refused"),
        check_of("native_modules", host.check_native_modules(), mode),
        check_of("storage_engine", Finding(at.engine_problem()), mode),
    )
    for check in at_start:
        if not check.ok and check.effect == "refused":
            raise ConfigError(
                f"mode `{mode}` refuses to start ({check.name}): {check.detail}", code="insecure_host", hint=check.hint
            )


def _check_policy(problem: str | None, moment: Moment) -> Finding:
    if problem:
        return Finding(problem, hint="set a sound one: `briefcase policy set FILE`")
    age_s = (moment.now_us - moment.policy_set_us) // US_PER_S
    if age_s < 0:
        return Finding(f"the policy was set {-age_s:,} s in the future", hint="check the clock")
    days, seconds = divmod(age_s, _DAY_S)
    return Finding(None, f"{moment.policy_hash_hex[:12]}, set {days} d {seconds // 3600} h ago")


def _check_servers(moment: Moment) -> Finding:
    if moment.incompatible:
        names = ", ".join(f"`{name}`" for name in moment.incompatible)
        return Finding(f"let in without our profile: {names}", hint="see `briefcase mcp servers list`")
    shown = ", ".join(f"{name} {state}" for name, state in moment.servers.items())
    return Finding(None, shown or "no MCP servers")


def _check_clock(moment: Moment) -> Finding:
    if moment.newest_receipt_us is None:
        return Finding(None, "no receipts yet")
    behind_us = moment.newest_receipt_us - moment.now_us
    if behind_us > CLOCK_TOLERANCE_US:
        return Finding(
            f"the clock is {behind_us / US_PER_S:,.0f} s behind the newest receipt",
            hint="check time synchronisation: proofs and approvals depend on it",
        )
    return Finding(None, "not behind the newest receipt")
