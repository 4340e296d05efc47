"""Strict host and the daemon's own process: measured at start, and again whenever somebody asks."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.machinery
import ipaddress
import os
import re
import resource
import socket
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from briefcase.adapters.telemetry.memory import read_memory
from briefcase.edges.diagnostics.canary import Canary
from briefcase.edges.diagnostics.profile import Finding
from briefcase.model.variables import SECRET_NAMES

PIPE_PREFIX: Final = r"\\.\pipe\briefcased-"
MAX_PRIVATE_BYTES: Final = 1 << 30  # all bounds together come to less than half of it
MIN_FREE_BYTES: Final = 256 << 20
NATIVE_PACKAGE: Final = "briefcase._native"
DEPLOY_PAGE: Final = "`briefcase help deploy`"
BOUNDS_PAGE: Final = "`briefcase help operations#what-is-bounded`"

# What a child can do where all of these layers are missing (`children.launcher`).
_STILL_ABLE: Final = (
    (("namespace", "landlock"), "read the data directory, with the operator's token in it"),
    (("namespace",), "list the names in the data directory, and connect to the daemon's socket without a token"),
    (("landlock",), "signal the daemon and trace the user's other processes"),
    (("scopes",), "signal the daemon and reach abstract sockets"),
    (("filter",), "use the system calls for namespaces, mounts and tracing"),
    (("capabilities",), "use the capabilities the daemon has"),
)
_PR_GET_DUMPABLE: Final = 3  # prctl(2)
_PIPE_NAME: Final = re.compile(r"\\\\\.\\pipe\\[^\\]{1,240}", re.IGNORECASE)


class KeyPlaces(msgspec.Struct, frozen=True):
    """Where the daemon's own keys are, for people; `problem` says why a place does not answer now, or None."""

    identity: str = ""
    proofs: str = ""
    problem: Callable[[], str | None] = lambda: None


class Host(msgspec.Struct, frozen=True):
    """Where a daemon runs, and what of it can be asked at any time.

    `secret_backend` is the vault's own description, and `canary` looks for what the vault keeps; `environ` is the
    environment that child processes get; `engine_problem` and
    `policy_problem` say what is wrong with the storage engine and the active policy, or None; `sign` is the daemon's
    identity key. `missing_layers` are those a child is started without, and why; `exposed_agents` the agents whose
    token came from a user who can read the operator's, and that user. `has_signer` tells whether a signer was
    ever paired.
    """

    data_dir: Path
    unix_socket: Path
    strict_host: bool
    args_form: str
    secret_backend: str
    canary: Canary
    environ: Mapping[str, str]
    engine_problem: Callable[[], str | None]
    policy_problem: Callable[[], str | None]
    sign: Callable[[bytes], bytes]
    missing_layers: Callable[[], Mapping[str, str]]
    exposed_agents: Callable[[], Mapping[str, int]]
    agent_socket: Path | None = None
    has_signer: Callable[[], bool] = bool
    key_places: KeyPlaces = KeyPlaces()


def default_pipe_name(data_dir: str, token: str) -> str:
    """The Windows pipe a daemon listens on: derived from its directory and its token.

    Whoever cannot read the token cannot foretell the name, wait under it for a client, and take the client's token.
    A pipe's name is public; 128 bits of SHA-256 over a 256-bit token tell nothing about the token.

    Args:
        data_dir: the data directory as Windows writes it; case and slashes do not matter.
        token: the operator's token.
    """
    place = data_dir.replace("/", "\\").rstrip("\\").lower()
    return PIPE_PREFIX + hashlib.sha256(f"briefcase pipe\0{place}\0{token}".encode()).hexdigest()[:32]


def check_pipe_name(name: str, data_dir: str, token: str, *, strict_host: bool) -> Finding:
    """The pipe-name rule: a local pipe, and with strict host exactly the derived default."""
    if not _PIPE_NAME.fullmatch(name):
        return Finding(f"expected a local pipe like `{PIPE_PREFIX}…`, got `{name}`")
    if strict_host and name.lower() != default_pipe_name(data_dir, token):
        hint = "leave BRIEFCASE_NAMED_PIPE unset: a name that can be foretold can be waited under for your token"
        return Finding(f"strict host: expected the derived pipe name, got `{name}`", hint=hint)
    return Finding(None, f"`{name}`")


def check_strict_host(data_dir: Path, unix_socket: Path, *, strict_host: bool) -> Finding:
    """The rule of strict host that no other check measures in every mode: where the socket is."""
    if not strict_host:
        return Finding(None, "not asked for")
    if data_dir.resolve() not in unix_socket.resolve().parents:
        hint = "leave BRIEFCASE_UNIX_SOCKET unset: the socket is then in the data directory"
        return Finding(f"expected the socket inside `{data_dir}`, got `{unix_socket}`", hint=hint)
    return Finding(None, f"the socket is inside `{data_dir}`")


def check_listeners() -> Finding:
    """Every TCP socket this process listens on, as the kernel knows them, whoever opened it."""
    try:
        found = sorted(_listening())
    except OSError as error:
        hint = "find what keeps so many files open: `ls -l /proc/PID/fd`"
        return Finding(f"its sockets cannot be listed: {os.strerror(error.errno or 0).lower()}", hint=hint)
    outside = [f"`{host}:{port}`" for host, port in found if not ipaddress.ip_address(host).is_loopback]
    if outside:
        return Finding(f"expected loopback addresses only, got {', '.join(outside)}", hint="stop the daemon now")
    return Finding(None, ", ".join(f"{host}:{port}" for host, port in found) or "no TCP listener")


def check_secret_backend(description: str) -> Finding:
    """Where the vault keeps what it keeps."""
    if description.startswith("memory"):
        hint = "use BRIEFCASE_SECRET_BACKEND=file or keyring"
        return Finding(f"expected secrets to be kept, got {description}", hint=hint)
    return Finding(None, description)


def check_keys(places: KeyPlaces) -> Finding:
    """Where the daemon's own keys are, and whether that place answers."""
    hint = "put the token in, or see the TPM's log, then start the daemon again: `briefcase help keys`"
    return Finding(places.problem(), f"identity: {places.identity}; proof keys: {places.proofs}", hint=hint)


def check_receipt_arguments(args_form: str) -> Finding:
    """What receipts keep of a call's arguments."""
    if args_form == "full":
        hint = 'set `args = "redacted"` under `[receipts]` in briefcase.toml'
        return Finding("receipts keep arguments as they are", hint=hint)
    return Finding(None, args_form)


def check_core_dumps() -> Finding:
    """The limit a crash obeys."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if (soft, hard) != (0, 0):
        return Finding(f"expected a core dump limit of 0, got soft {soft} and hard {hard}", hint="run `ulimit -c 0`")
    return Finding(None, "a crash leaves no core dump")


def check_not_dumpable() -> Finding:
    """Whether the kernel keeps other processes of this user out of this one's memory."""
    if sys.platform != "linux":
        return Finding(None, f"not measured on {sys.platform}")
    dumpable = ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0)
    if dumpable != 0:
        return Finding(f"expected PR_GET_DUMPABLE 0, got {dumpable}", hint="restart the daemon")
    return Finding(None, "other processes of the user cannot read its memory")


def check_environment(environ: Mapping[str, str]) -> Finding:
    """What a program the daemon starts would be given."""
    kept = [name for name in SECRET_NAMES if name in environ]
    if kept:
        return Finding(f"child processes would get {', '.join(f'`{name}`' for name in kept)}", hint="unset them")
    return Finding(None, "child processes get no secret")


def check_children(missing: Mapping[str, str], *, is_root: bool) -> Finding:
    """What a server that the daemon starts can still do to it.

    Args:
        missing: the layers of confinement this host does not have, and why.
        is_root: whether the daemon runs as root, and so its children.
    """
    still = [able for layers, able in _STILL_ABLE if all(layer in missing for layer in layers)]
    if is_root:
        still.append("ask everything that trusts root (disks, the service manager)")
    if not still:
        return Finding(None, "sees neither the data directory nor the sockets, and cannot reach the daemon's process")
    why = "; ".join(f"{layer}: {problem}" for layer, problem in missing.items())
    hint = f"run the daemon as a user of its own, and servers as others: {DEPLOY_PAGE}"
    return Finding(f"a server the daemon starts can still {', '.join(still)}" + (f" ({why})" if why else ""), hint=hint)


def check_signers(*, has_signer: bool) -> Finding:
    """Who says yes to a call that needs a signer."""
    if has_signer:
        return Finding(None, "what needs a signer takes the yes of a paired one alone")
    hint = "what needs a signer says `stands_in: signer`; a policy without `CallWithoutSigner` asks for one"
    return Finding("no device is paired: the operator stands in for a signer", hint=hint)


def check_agent_users(exposed: Mapping[str, int]) -> Finding:
    """Which agents run as somebody who needs no agent's token."""
    if not exposed:
        return Finding(None, "no agent's token came from a user who can read the operator's (over TCP: not known)")
    names = ", ".join(f"`{name}` (uid {uid})" for name, uid in sorted(exposed.items()))
    return Finding(
        f"the user of {names} can read the operator's token, and approve its own calls",
        hint=f"give agents a user of their own and BRIEFCASE_AGENT_SOCKET: {DEPLOY_PAGE}",
    )


def check_native_modules() -> Finding:
    """Whether what was loaded of the native ring is machine code, and not a Python file in its place."""
    loaded = {name: module for name, module in sys.modules.items() if name.startswith(f"{NATIVE_PACKAGE}.")}
    if not loaded:
        return Finding(f"nothing of `{NATIVE_PACKAGE}` is loaded", hint="build it: `make run`")
    slow = [
        name
        for name, module in sorted(loaded.items())
        if not isinstance(getattr(module, "__loader__", None), importlib.machinery.ExtensionFileLoader)
    ]
    if slow:
        return Finding(f"expected compiled modules, got Python for {', '.join(slow)}", hint="build them: `make run`")
    return Finding(None, f"{len(loaded)} modules, compiled")


def check_disk(data_dir: Path) -> Finding:
    """What this user may still write where receipts are kept."""
    try:
        found = os.statvfs(data_dir)
    except OSError as error:
        return Finding(f"`{data_dir}` cannot be looked at: {os.strerror(error.errno or 0).lower()}")
    free = found.f_bavail * found.f_frsize
    shown = f"{free >> 20:,} MiB free"
    if free < MIN_FREE_BYTES:
        hint = "free some space: below 64 MiB the daemon accepts no new call, and goes on by itself afterwards"
        return Finding(f"expected at least {MIN_FREE_BYTES >> 20} MiB, got {shown}", hint=hint)
    return Finding(None, shown)


def check_memory() -> Finding:
    """The daemon's own memory; the mapped pages of the ledger are the kernel's to take back."""
    try:
        memory = read_memory()
    except OSError:
        return Finding(None, "not known on this host")
    shown = f"{memory.private >> 20:,} MiB private, {memory.mapped >> 20:,} MiB of mapped files"
    if memory.private > MAX_PRIVATE_BYTES:
        hint = f"look at `briefcase_held_bytes`, `briefcase_open_decisions` and the other bounds: {BOUNDS_PAGE}"
        return Finding(f"expected at most {MAX_PRIVATE_BYTES >> 20} MiB private, got {shown}", hint=hint)
    return Finding(None, shown)


def _listening() -> Iterator[tuple[str, int]]:
    for name in [path.name for path in Path("/dev/fd").iterdir()]:
        with suppress(OSError):  # closed since it was listed
            descriptor = int(name)
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
            with socket.socket(fileno=os.dup(descriptor)) as sock:
                is_inet = sock.family in {socket.AF_INET, socket.AF_INET6}
                if is_inet and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    host, port = sock.getsockname()[:2]
                    yield host, port
