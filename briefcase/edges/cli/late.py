"""What a command loads when it first uses it, so that `--help`, a wrong option and `--json` do not wait for it.

Each of these takes 30 to 200 ms, the whole program without them 80. A command names the module and its attribute
(`render.money`); the module is imported by the first such use. What is quick is imported as anywhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    import webbrowser

    import pyarrow as pa
    import pyrage
    import segno as qr_codes
    import uvloop
    from pyarrow import parquet
    from rich import console as rich_console
    from rich import markdown as rich_markdown
    from rich import progress as rich_progress
    from rich import text as rich_text

    from briefcase.adapters import service_manager, system
    from briefcase.adapters.backup import age as backup_age
    from briefcase.adapters.backup import restore as backup_restore
    from briefcase.adapters.backup import sealed as backup_sealed
    from briefcase.adapters.disk import data_dir as data_dirs
    from briefcase.adapters.disk import locks as disk_locks
    from briefcase.adapters.disk import own_files
    from briefcase.adapters.fleet import sealing as fleet_sealing
    from briefcase.adapters.ledger import files as ledger_files
    from briefcase.adapters.net import outbound as net_outbound
    from briefcase.adapters.net import urls as net_urls
    from briefcase.adapters.oauth import client as oauth_client
    from briefcase.adapters.oauth import loopback
    from briefcase.adapters.oauth import registration as oauth_registration
    from briefcase.adapters.openapi import importing as openapi
    from briefcase.adapters.signers import device as signer_devices
    from briefcase.adapters.signers import noise as signer_noise
    from briefcase.adapters.store import tokens as stored_tokens
    from briefcase.adapters.telemetry import logs, otel, signals
    from briefcase.adapters.tools import load as tool_files
    from briefcase.adapters.tools import manifest as tool_manifests
    from briefcase.adapters.vault import opening as vault_opening
    from briefcase.core.characters import marks
    from briefcase.core.policy import backtest as policy_backtest
    from briefcase.core.policy import check as policy_check
    from briefcase.core.policy import declared as policy_declared
    from briefcase.core.policy import diff as policy_diff
    from briefcase.core.policy import engine as policy_engine
    from briefcase.core.policy import testfiles as policy_tests
    from briefcase.core.policy import unknown as policy_unknown
    from briefcase.core.receipts import kinds as receipt_kinds
    from briefcase.core.wire import agents as wire_agents
    from briefcase.core.wire import budgets as wire_budgets
    from briefcase.core.wire import operators as wire_operators
    from briefcase.core.wire import secrets as wire_secrets
    from briefcase.core.wire import servers as wire_servers
    from briefcase.core.wire import tools as wire_tools
    from briefcase.edges.cli import client as daemon_client
    from briefcase.edges.cli import desktop as desktops
    from briefcase.edges.cli import device_signing, json_output, render, witness_checks
    from briefcase.edges.cli import following as receipt_followers
    from briefcase.edges.cli import formats as receipt_forms
    from briefcase.edges.cli import receipt_why as receipt_reasons
    from briefcase.edges.cli import shown as shown_calls
    from briefcase.edges.cli import sources as receipt_sources
    from briefcase.edges.cli import watch as approval_watch
    from briefcase.edges.client import expected as expected_daemons
    from briefcase.edges.client import pool as daemon_pool
    from briefcase.edges.client import proof as daemon_proof
    from briefcase.edges.conformance import control_plane as conformance_control_plane
    from briefcase.edges.conformance import fleet_subject as conformance_fleet
    from briefcase.edges.conformance import provider as conformance_provider
    from briefcase.edges.conformance import report as conformance_report
    from briefcase.edges.conformance import subject as conformance_subject
    from briefcase.edges.control_plane import serving as control_plane_serving
    from briefcase.edges.control_plane import settings as control_plane_settings
    from briefcase.edges.diagnostics import bundle as evidence_bundle
    from briefcase.edges.diagnostics import canary as canaries
    from briefcase.edges.diagnostics import evidence as soak_evidence
    from briefcase.edges.diagnostics import evidence_page, triage
    from briefcase.edges.diagnostics import manifest as evidence_manifest
    from briefcase.edges.diagnostics import slo as objectives
    from briefcase.edges.diagnostics import soak as soaks
    from briefcase.edges.gateway import serve as mcp_gateway
    from briefcase.edges.gateway import settings as gateway_settings
    from briefcase.edges.notifier import daemon as notified_daemons
    from briefcase.edges.notifier import editing as notifier_edits
    from briefcase.edges.notifier import events as notifier_events
    from briefcase.edges.notifier import notifier as notifiers
    from briefcase.edges.notifier import sending as notifier_sending
    from briefcase.edges.notifier import settings as notifier_settings
    from briefcase.edges.notifier import state as notifier_stores
    from briefcase.edges.notifier import wording as notifier_words
    from briefcase.edges.provider_gateway import serving as provider_serving
    from briefcase.edges.provider_gateway import settings as provider_settings
    from briefcase.edges.release import statement as release_statement
    from briefcase.edges.release import verifying as release_verifying
else:

    class _Late:
        """A module that is imported when one of its names is first used."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> object:
            # not `import_module`: `-X importtime` shows what goes through `import` alone
            return getattr(__import__(self._name, fromlist=(attribute,)), attribute)

    pa = _Late("pyarrow")
    asyncio = _Late("asyncio")
    backup_age = _Late("briefcase.adapters.backup.age")
    backup_restore = _Late("briefcase.adapters.backup.restore")
    backup_sealed = _Late("briefcase.adapters.backup.sealed")
    data_dirs = _Late("briefcase.adapters.disk.data_dir")
    own_files = _Late("briefcase.adapters.disk.own_files")
    ledger_files = _Late("briefcase.adapters.ledger.files")
    net_outbound = _Late("briefcase.adapters.net.outbound")
    net_urls = _Late("briefcase.adapters.net.urls")
    oauth_client = _Late("briefcase.adapters.oauth.client")
    loopback = _Late("briefcase.adapters.oauth.loopback")
    oauth_registration = _Late("briefcase.adapters.oauth.registration")
    openapi = _Late("briefcase.adapters.openapi.importing")
    stored_tokens = _Late("briefcase.adapters.store.tokens")
    system = _Late("briefcase.adapters.system")
    logs = _Late("briefcase.adapters.telemetry.logs")
    otel = _Late("briefcase.adapters.telemetry.otel")
    service_manager = _Late("briefcase.adapters.service_manager")
    signals = _Late("briefcase.adapters.telemetry.signals")
    tool_files = _Late("briefcase.adapters.tools.load")
    tool_manifests = _Late("briefcase.adapters.tools.manifest")
    vault_opening = _Late("briefcase.adapters.vault.opening")
    marks = _Late("briefcase.core.characters.marks")
    policy_backtest = _Late("briefcase.core.policy.backtest")
    policy_check = _Late("briefcase.core.policy.check")
    policy_declared = _Late("briefcase.core.policy.declared")
    policy_diff = _Late("briefcase.core.policy.diff")
    policy_engine = _Late("briefcase.core.policy.engine")
    policy_tests = _Late("briefcase.core.policy.testfiles")
    receipt_kinds = _Late("briefcase.core.receipts.kinds")
    wire_agents = _Late("briefcase.core.wire.agents")
    wire_operators = _Late("briefcase.core.wire.operators")
    device_signing = _Late("briefcase.edges.cli.device_signing")
    fleet_sealing = _Late("briefcase.adapters.fleet.sealing")
    signer_devices = _Late("briefcase.adapters.signers.device")
    signer_noise = _Late("briefcase.adapters.signers.noise")
    qr_codes = _Late("segno")
    wire_budgets = _Late("briefcase.core.wire.budgets")
    wire_secrets = _Late("briefcase.core.wire.secrets")
    wire_servers = _Late("briefcase.core.wire.servers")
    wire_tools = _Late("briefcase.core.wire.tools")
    policy_unknown = _Late("briefcase.core.policy.unknown")
    daemon_client = _Late("briefcase.edges.cli.client")
    receipt_reasons = _Late("briefcase.edges.cli.receipt_why")
    receipt_followers = _Late("briefcase.edges.cli.following")
    receipt_forms = _Late("briefcase.edges.cli.formats")
    receipt_sources = _Late("briefcase.edges.cli.sources")
    json_output = _Late("briefcase.edges.cli.json_output")
    render = _Late("briefcase.edges.cli.render")
    shown_calls = _Late("briefcase.edges.cli.shown")
    approval_watch = _Late("briefcase.edges.cli.watch")
    expected_daemons = _Late("briefcase.edges.client.expected")
    daemon_pool = _Late("briefcase.edges.client.pool")
    daemon_proof = _Late("briefcase.edges.client.proof")
    control_plane_serving = _Late("briefcase.edges.control_plane.serving")
    control_plane_settings = _Late("briefcase.edges.control_plane.settings")
    conformance_control_plane = _Late("briefcase.edges.conformance.control_plane")
    conformance_fleet = _Late("briefcase.edges.conformance.fleet_subject")
    conformance_provider = _Late("briefcase.edges.conformance.provider")
    conformance_report = _Late("briefcase.edges.conformance.report")
    conformance_subject = _Late("briefcase.edges.conformance.subject")
    evidence_bundle = _Late("briefcase.edges.diagnostics.bundle")
    canaries = _Late("briefcase.edges.diagnostics.canary")
    soak_evidence = _Late("briefcase.edges.diagnostics.evidence")
    evidence_page = _Late("briefcase.edges.diagnostics.evidence_page")
    evidence_manifest = _Late("briefcase.edges.diagnostics.manifest")
    objectives = _Late("briefcase.edges.diagnostics.slo")
    soaks = _Late("briefcase.edges.diagnostics.soak")
    triage = _Late("briefcase.edges.diagnostics.triage")
    mcp_gateway = _Late("briefcase.edges.gateway.serve")
    gateway_settings = _Late("briefcase.edges.gateway.settings")
    notifier_sending = _Late("briefcase.edges.notifier.sending")
    notifier_settings = _Late("briefcase.edges.notifier.settings")
    notifier_stores = _Late("briefcase.edges.notifier.state")
    notifier_words = _Late("briefcase.edges.notifier.wording")
    notifiers = _Late("briefcase.edges.notifier.notifier")
    notified_daemons = _Late("briefcase.edges.notifier.daemon")
    notifier_events = _Late("briefcase.edges.notifier.events")
    notifier_edits = _Late("briefcase.edges.notifier.editing")
    disk_locks = _Late("briefcase.adapters.disk.locks")
    desktops = _Late("briefcase.edges.cli.desktop")
    parquet = _Late("pyarrow.parquet")
    provider_serving = _Late("briefcase.edges.provider_gateway.serving")
    provider_settings = _Late("briefcase.edges.provider_gateway.settings")
    pyrage = _Late("pyrage")
    release_statement = _Late("briefcase.edges.release.statement")
    release_verifying = _Late("briefcase.edges.release.verifying")
    rich_console = _Late("rich.console")
    rich_markdown = _Late("rich.markdown")
    rich_progress = _Late("rich.progress")
    rich_text = _Late("rich.text")
    uvloop = _Late("uvloop")
    webbrowser = _Late("webbrowser")
    witness_checks = _Late("briefcase.edges.cli.witness_checks")

__all__ = [
    "approval_watch",
    "asyncio",
    "backup_age",
    "backup_restore",
    "backup_sealed",
    "canaries",
    "conformance_control_plane",
    "conformance_fleet",
    "conformance_provider",
    "conformance_report",
    "conformance_subject",
    "control_plane_serving",
    "control_plane_settings",
    "daemon_client",
    "daemon_pool",
    "daemon_proof",
    "data_dirs",
    "desktops",
    "device_signing",
    "disk_locks",
    "evidence_bundle",
    "evidence_manifest",
    "evidence_page",
    "expected_daemons",
    "fleet_sealing",
    "gateway_settings",
    "json_output",
    "ledger_files",
    "logs",
    "loopback",
    "marks",
    "mcp_gateway",
    "net_outbound",
    "net_urls",
    "notified_daemons",
    "notifier_edits",
    "notifier_events",
    "notifier_sending",
    "notifier_settings",
    "notifier_stores",
    "notifier_words",
    "notifiers",
    "oauth_client",
    "oauth_registration",
    "objectives",
    "openapi",
    "otel",
    "own_files",
    "pa",
    "parquet",
    "policy_backtest",
    "policy_check",
    "policy_declared",
    "policy_diff",
    "policy_engine",
    "policy_tests",
    "policy_unknown",
    "provider_serving",
    "provider_settings",
    "pyrage",
    "qr_codes",
    "receipt_followers",
    "receipt_forms",
    "receipt_kinds",
    "receipt_reasons",
    "receipt_sources",
    "release_statement",
    "release_verifying",
    "render",
    "rich_console",
    "rich_markdown",
    "rich_progress",
    "rich_text",
    "service_manager",
    "shown_calls",
    "signals",
    "signer_devices",
    "signer_noise",
    "soak_evidence",
    "soaks",
    "stored_tokens",
    "system",
    "tool_files",
    "tool_manifests",
    "triage",
    "uvloop",
    "vault_opening",
    "webbrowser",
    "wire_agents",
    "wire_budgets",
    "wire_operators",
    "wire_secrets",
    "wire_servers",
    "wire_tools",
    "witness_checks",
]
