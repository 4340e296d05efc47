"""The profile modes: what a check that does not hold means in each of them. The table is the whole difference.

| effect | means |
|---|---|
| `noted` | shown yellow; nothing is stopped |
| `failed` | shown red, and `briefcase diagnostics check` fails |
| `refused` | the daemon does not start with it; found later, it is shown red |

A strict host takes the rules of `STRICT` as `staging` does.

Two rules are enforced where they apply and not at start: in `ga` a remote MCP server that does not announce the
compatibility profile is refused when it connects, and a ledger whose gate is not open refuses every call in any mode.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import msgspec

Effect = Literal["noted", "failed", "refused"]
MODES: Final = ("reference", "staging", "ga")


class Rule(NamedTuple):
    """One rule: what must hold, and what follows in each mode where it does not."""

    reference: Effect
    staging: Effect
    ga: Effect
    requires: str


RULES: Final[dict[str, Rule]] = {
    # security
    "files": Rule("refused", "refused", "refused", "every file of the data directory is the daemon's user's alone"),
    "socket": Rule("refused", "refused", "refused", "the socket is ours, with mode 0600"),
    "socket_directory": Rule("noted", "failed", "refused", "no other user can put a file where the socket is"),
    "agent_socket": Rule("refused", "refused", "refused", "the agents' socket is 0660 in a directory of their group"),
    "listeners": Rule("refused", "refused", "refused", "every TCP listener of the process is on a loopback address"),
    "strict_host": Rule("refused", "refused", "refused", "with BRIEFCASE_STRICT_HOST: the socket is in the directory"),
    "secret_backend": Rule("noted", "failed", "refused", "secrets are kept encrypted or in the OS keyring"),
    "keys": Rule("noted", "failed", "failed", "the place of the daemon's own keys answers"),
    "receipt_arguments": Rule("noted", "failed", "refused", "receipts keep arguments redacted, or only their digest"),
    "core_dumps": Rule("noted", "failed", "refused", "the process leaves no core dump"),
    "not_dumpable": Rule("noted", "failed", "refused", "no other process of the user may read the daemon's memory"),
    "environment": Rule("noted", "failed", "refused", "no secret is in the environment that child processes get"),
    "children": Rule("noted", "failed", "failed", "a server the daemon starts is kept from its files and its process"),
    "agent_users": Rule("noted", "failed", "failed", "no agent's token is used by a user who can read the operator's"),
    "signers": Rule("noted", "noted", "failed", "a call that needs a signer gets one: a device is paired"),
    # compatibility
    "native_modules": Rule("failed", "failed", "refused", "hashing and policy matching run as compiled code"),
    "storage_engine": Rule("refused", "refused", "refused", "the LMDB engine and its durability flags are as tested"),
    "receipts": Rule("failed", "failed", "failed", "the ledger's gate is open"),
    "policy": Rule("failed", "failed", "failed", "the stored policy compiles, and was not set in the future"),
    "remote_mcp": Rule("noted", "failed", "failed", "no MCP server is let in without the compatibility profile"),
    "clock": Rule("failed", "failed", "failed", "the clock is not behind the newest receipt"),
    "disk": Rule("failed", "failed", "failed", "the disk has room for receipts"),
    "memory": Rule("noted", "noted", "noted", "the daemon's own memory is within what its bounds come to"),
}

STRICT: Final = frozenset({"children", "agent_users"})


class Check(msgspec.Struct, frozen=True):
    """One rule, measured. `detail` says what was found; `effect` what it means here where `ok` is false."""

    name: str
    ok: bool
    detail: str
    effect: Effect
    hint: str = ""


class Finding(NamedTuple):
    """What measuring one rule gave: the problem, or None, and otherwise what was found."""

    problem: str | None
    found: str = ""
    hint: str = ""


def check_of(name: str, finding: Finding, mode: str, *, strict_host: bool = False) -> Check:
    """A finding as the check of a rule in a mode.

    Args:
        name: a key of `RULES`.
        finding: what was measured.
        mode: one of `MODES`.
        strict_host: whether the host's own rules are strict.
    """
    effect: Effect = getattr(RULES[name], mode)
    if strict_host and name in STRICT and effect == "noted":
        effect = "failed"
    if finding.problem is None:
        return Check(name, ok=True, detail=finding.found, effect=effect)
    return Check(name, ok=False, detail=finding.problem, effect=effect, hint=finding.hint)
