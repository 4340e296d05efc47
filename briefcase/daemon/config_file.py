"""The configuration file, `<data_dir>/briefcase.toml`: the settings that have no variable. Read once, checked whole.

A wrong value stops the daemon with the key, what was expected and what was found; so does an unknown key.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from briefcase.adapters.disk.data_dir import path_of
from briefcase.core.anomalies import AnomalySettings
from briefcase.core.approvals.lifecycle import MAX_SHOWN_BYTES
from briefcase.core.calls.decisions import MAX_OPEN_DECISIONS, MAX_OPEN_DECISIONS_PER_PRINCIPAL
from briefcase.core.calls.ratelimits import PrincipalLimit
from briefcase.core.payments.x402 import ASSET
from briefcase.model.errors import ConfigError
from briefcase.model.identifiers import PROVIDER_ID

CONFIG_FILE: Final = "briefcase.toml"

PAGES: Final = {
    "calls": "operations.md#limits",
    "approvals": "people.md#signers-only",
    "receipts": "receipts.md#signed-checkpoints",
    "policy": "policy.md",
    "risk": "operations.md#a-risk-classifier",
    "file_read": "tools.md",
    "net": "tools.md",
    "hooks": "hooks.md",
    "fleet": "fleet.md#approvals-of-a-fleet",
    "providers": "providers.md#what-entitles-to-a-call",
    "payments": "payments.md",
    "server": "operations.md#limits",
    "principal": "operations.md#limits",
    "page": "page.md",
    "anomalies": "receipts.md#anomalies",
}  # the page that explains each section


class CallLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[calls]`: what one agent may ask of one tool, how long an execution takes, and what waits.

    A call that a person must approve and that is larger than `max_shown_bytes` is refused as `too_large_to_show`.
    """

    per_second: Annotated[int, Meta(ge=1, description="calls of one principal on one tool")] = 1_000
    burst: Annotated[int, Meta(ge=1, description="of them at once")] = 2_000
    deadline_ms: Annotated[int, Meta(gt=0, le=3_600_000, description="how long an execution may take")] = (
        30_000  # our clients wait for ten minutes at most
    )
    approval_ttl_s: Annotated[int, Meta(ge=1, description="how long an approval waits for a person")] = 15 * 60
    denial_ttl_s: Annotated[
        int, Meta(ge=0, description="how long a denied call is refused before it asks again; 0: it asks at once")
    ] = 15 * 60
    max_open_decisions: Annotated[int, Meta(ge=1, description="decisions whose outcome nobody reported yet")] = (
        MAX_OPEN_DECISIONS
    )
    max_open_decisions_per_principal: Annotated[int, Meta(ge=1, description="of one principal")] = (
        MAX_OPEN_DECISIONS_PER_PRINCIPAL
    )
    max_shown_bytes: Annotated[int, Meta(ge=1, description="the largest call that a person can approve")] = (
        MAX_SHOWN_BYTES
    )


class ApprovalSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[approvals]`: whether a token's yes counts."""

    operator_token: Annotated[
        bool, Meta(description="whether a token says yes; false: only paired signers do, and sign what widens anything")
    ] = True


class ReceiptSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[receipts]`: what receipts keep of a call's arguments; where signed checkpoints are kept, if anywhere.

    `witness_policy` is a file that says which witnesses are enough (C2SP tlog-policy), and `witness_interval_s` how
    often they are asked.
    """

    args: Annotated[
        Literal["digest", "redacted", "full"], Meta(description="what receipts keep of a call's arguments")
    ] = "redacted"
    checkpoint_dir: Annotated[
        str, Meta(description="where signed checkpoints are kept, outside of the data directory; empty: nowhere")
    ] = ""
    checkpoint_interval_s: Annotated[int, Meta(ge=1, description="how often one is made")] = 3_600
    witness_policy: Annotated[
        str, Meta(description="a file that says which witnesses are enough (C2SP tlog-policy); empty: each of them")
    ] = ""
    witness_interval_s: Annotated[int, Meta(ge=1, description="how often witnesses are asked to cosign")] = 60


class PolicySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[policy]`: whether live decisions are made again by the reference engine, and what makes policies of prompts.

    `prompt_command` is a program and its arguments; what it answers is only ever proposed.
    """

    shadow_every: Annotated[
        int, Meta(ge=0, description="one live decision in so many is made again by the reference engine; 0: none")
    ] = 0
    prompt_command: Annotated[
        tuple[Annotated[str, Meta(min_length=1)], ...],
        Meta(description="a program, and its arguments, that makes a policy of a prompt, to be proposed; empty: none"),
    ] = ()


class RiskSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[risk]`: what follows where the risk classifier gives no answer."""

    on_classifier_failure: Annotated[
        Literal["approve", "note"],
        Meta(
            description="a call that the risk classifier gave no answer to: a person decides, or the receipt notes it"
        ),
    ] = "approve"


class FileReadSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[file_read]`: what the built-in `file_read` may read; nothing by default."""

    prefixes: Annotated[tuple[str, ...], Meta(description="the directories below which `file_read` may read")] = ()
    max_bytes: Annotated[int, Meta(ge=1, description="the largest file it reads")] = 1 << 20


class NetSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[net]`: upstreams on private addresses that are reached all the same."""

    allow_private: Annotated[
        tuple[str, ...], Meta(description="upstreams on private addresses that are reached, each as `host:port`")
    ] = ()


class HookKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[hooks]`: what a coding agent's hook gets for a call that a person must approve.

    Keep `wait_ms` below the timeout that the client gives its hooks: past that, most clients let the call go on.
    """

    on_approval: Annotated[
        Literal["wait", "ask"],
        Meta(description="hold the hook for a person, or leave the call to the client's own prompt"),
    ] = "wait"
    wait_ms: Annotated[int, Meta(ge=0, le=600_000, description="how long a hook is held, then denied")] = 25_000


class FleetKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[fleet]`: what a control plane is told of approvals that wait here."""

    relay: Annotated[
        Literal["sealed", "redacted", "off"],
        Meta(
            description="approvals travel sealed to paired signers; with tool, agent and reason in clear; or not at all"
        ),
    ] = "sealed"


class ProviderSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[providers]`: what is taken from a provider that is not as the others are.

    The status of such a credential is unknown: `BRIEFCASE_VC_STATUS_UNKNOWN_MODE` says what follows.
    """

    opaque_credentials: Annotated[
        tuple[Annotated[str, Meta(pattern=rf"^{PROVIDER_ID}$")], ...],
        Meta(description="providers whose credentials are kept though only they can verify them; never in `ga`"),
    ] = ()


class PaymentKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[payments]`: how a provider is paid."""

    rail: Annotated[Literal["x402", "l402"], Meta(description="the rail that a provider is asked for")] = "x402"
    assets: Annotated[
        tuple[Annotated[str, Meta(pattern=ASSET)], ...],
        Meta(
            description="dollar tokens to pay in beside USDC on Base, as `eip155:137/erc20:0x…`, and decimals if not 6"
        ),
    ] = ()


class PrincipalSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[principal]`: what one principal may send, whatever it asks for."""

    per_second: Annotated[int, Meta(ge=1, le=1_000_000_000, description="requests of one principal")] = (
        PrincipalLimit().per_second
    )
    burst: Annotated[int, Meta(ge=1, description="of them at once")] = PrincipalLimit().burst
    bytes_per_second: Annotated[int, Meta(ge=1, description="bytes of their bodies")] = (
        PrincipalLimit().bytes_per_second
    )
    burst_bytes: Annotated[int, Meta(ge=1, description="of them at once; at least `[server] max_body_bytes`")] = (
        PrincipalLimit().burst_bytes
    )


class ServerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[server]`: bounds of the daemon's own HTTP; those of connections hold for each listener."""

    max_body_bytes: Annotated[int, Meta(ge=1, description="the largest body of a request")] = 1 << 20
    max_connections: Annotated[int, Meta(ge=1, description="connections of one listener")] = 1_024
    max_connections_per_uid: Annotated[int, Meta(ge=1, description="of one user other than the daemon's own")] = 256
    max_connections_per_principal: Annotated[int, Meta(ge=1, description="of one agent or auditor")] = 256
    operator_reserve: Annotated[int, Meta(ge=1, description="beyond those, for the operator and newcomers")] = 32
    newcomer_reserve: Annotated[int, Meta(ge=1, description="beyond those, for agents that have fewer than two")] = 64
    max_unsent_bytes: Annotated[int, Meta(ge=1, description="bodies that come and answers that nobody reads")] = (
        64 << 20
    )
    drain_ms: Annotated[int, Meta(ge=1, description="how long a stop waits for requests under way")] = 10_000


class PageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[page]`: where `briefcase ui` opens the operator page, once somebody asks for it."""

    port: Annotated[
        int, Meta(ge=0, le=65_535, description="the loopback port of `briefcase ui`; 0: any, another after each start")
    ] = 8_774


class FileConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The configuration file, every key optional."""

    calls: CallLimits = CallLimits()
    approvals: ApprovalSettings = ApprovalSettings()
    receipts: ReceiptSettings = ReceiptSettings()
    policy: PolicySettings = PolicySettings()
    risk: RiskSettings = RiskSettings()
    file_read: FileReadSettings = FileReadSettings()
    net: NetSettings = NetSettings()
    hooks: HookKeys = HookKeys()
    fleet: FleetKeys = FleetKeys()
    providers: ProviderSettings = ProviderSettings()
    payments: PaymentKeys = PaymentKeys()
    server: ServerSettings = ServerSettings()
    principal: PrincipalSettings = PrincipalSettings()
    page: PageSettings = PageSettings()
    anomalies: AnomalySettings = AnomalySettings()


def load_file(path: Path, environ: Mapping[str, str] = os.environ) -> FileConfig:
    """Read `briefcase.toml`; an absent file is all defaults.

    Args:
        path: the file.
        environ: says where `~` is.

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
    return _at_home(config, environ)


def _at_home(config: FileConfig, environ: Mapping[str, str]) -> FileConfig:
    """The same configuration, the `~` of its paths expanded."""
    kept, read = config.receipts, config.file_read
    checkpoint_dir = kept.checkpoint_dir and str(path_of(kept.checkpoint_dir, "receipts.checkpoint_dir", environ))
    prefixes = tuple(str(path_of(prefix, "file_read.prefixes", environ)) for prefix in read.prefixes)
    return replace(
        config, receipts=replace(kept, checkpoint_dir=checkpoint_dir), file_read=replace(read, prefixes=prefixes)
    )
