"""The configuration file, `<data_dir>/briefcase.toml`: the settings that have no variable. Read once, checked whole.

A wrong value stops the daemon with the key, what was expected and what was found; so does an unknown key.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from briefcase.core.approvals.lifecycle import MAX_SHOWN_BYTES
from briefcase.core.calls.decisions import MAX_OPEN_DECISIONS, MAX_OPEN_DECISIONS_PER_PRINCIPAL
from briefcase.core.calls.ratelimits import PrincipalLimit
from briefcase.model.errors import ConfigError

CONFIG_FILE: Final = "briefcase.toml"

_PositiveInt = Annotated[int, msgspec.Meta(ge=1)]


class CallLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[calls]`: rate of one agent on one tool, deadline of an execution, life and size of an approval, open decisions.

    A call that a person must approve and that is larger than `max_shown_bytes` is refused as `too_large_to_show`.
    """

    per_second: _PositiveInt = 1_000
    burst: _PositiveInt = 2_000
    deadline_ms: Annotated[int, msgspec.Meta(gt=0, le=3_600_000)] = 30_000  # our clients wait for ten minutes at most
    approval_ttl_s: _PositiveInt = 15 * 60
    max_open_decisions: _PositiveInt = MAX_OPEN_DECISIONS
    max_open_decisions_per_principal: _PositiveInt = MAX_OPEN_DECISIONS_PER_PRINCIPAL
    max_shown_bytes: _PositiveInt = MAX_SHOWN_BYTES


class ReceiptSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[receipts]`: what receipts keep of a call's arguments; where signed checkpoints are kept, if anywhere."""

    args: Literal["digest", "redacted", "full"] = "redacted"
    checkpoint_dir: str = ""
    checkpoint_interval_s: _PositiveInt = 3_600


class PolicySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[policy]`: one live decision in `shadow_every` is made again by the reference engine; 0 makes none."""

    shadow_every: Annotated[int, msgspec.Meta(ge=0)] = 0


class FileReadSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[file_read]`: the directories below which the built-in `file_read` may read; none by default."""

    prefixes: tuple[str, ...] = ()
    max_bytes: _PositiveInt = 1 << 20


class NetSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[net]`: upstreams on private addresses that are reached all the same, each as `host:port`."""

    allow_private: tuple[str, ...] = ()


class PrincipalSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[principal]`: what one principal may send, whatever it asks for."""

    per_second: Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)] = PrincipalLimit().per_second
    burst: _PositiveInt = PrincipalLimit().burst
    bytes_per_second: _PositiveInt = PrincipalLimit().bytes_per_second
    burst_bytes: _PositiveInt = PrincipalLimit().burst_bytes


class ServerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[server]`: bounds of the daemon's own HTTP; those of connections hold for each listener."""

    max_body_bytes: _PositiveInt = 1 << 20
    max_connections: _PositiveInt = 1_024
    max_connections_per_uid: _PositiveInt = 256
    max_connections_per_principal: _PositiveInt = 256
    operator_reserve: _PositiveInt = 32
    newcomer_reserve: _PositiveInt = 64
    max_unsent_bytes: _PositiveInt = 64 << 20
    drain_ms: _PositiveInt = 10_000


class FileConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The configuration file, every key optional."""

    calls: CallLimits = CallLimits()
    receipts: ReceiptSettings = ReceiptSettings()
    policy: PolicySettings = PolicySettings()
    file_read: FileReadSettings = FileReadSettings()
    net: NetSettings = NetSettings()
    server: ServerSettings = ServerSettings()
    principal: PrincipalSettings = PrincipalSettings()


def load_file(path: Path) -> FileConfig:
    """Read `briefcase.toml`; an absent file is all defaults.

    Raises:
        ConfigError: unreadable, not TOML, an unknown key or a value of another type.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return FileConfig()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"`{path}` cannot be read: {error}") from None
    try:
        config = msgspec.convert(tomllib.loads(text), FileConfig)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"`{path}`: {error}") from None
    if config.principal.burst_bytes < config.server.max_body_bytes:
        raise ConfigError(
            f"`{path}`: expected `principal.burst_bytes` of at least `max_body_bytes`, {config.server.max_body_bytes},"
            f" got `{config.principal.burst_bytes}`",
            hint="no request of that size would ever be taken",
        )
    return config
