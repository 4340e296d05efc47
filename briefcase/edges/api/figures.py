"""Every source of figures a daemon has, gathered for `GET /metrics` and for OpenTelemetry."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from briefcase.adapters.store.sync_progress import SyncProgress
from briefcase.adapters.telemetry.logs import LOG
from briefcase.adapters.telemetry.metrics import Family, counter, gauge, meter_families, process_families
from briefcase.edges.api.auth import Authenticator
from briefcase.edges.api.metrics import service_families
from briefcase.edges.api.services import Services
from briefcase.edges.http.server import HttpServer
from briefcase.model.types import US_PER_S


class LedgerCounters(Protocol):
    """What the ledger counts (`ledger.group.Counters`). Times in microseconds."""

    entries: int
    refused: int
    commits: int
    inline_commits: int
    failures: int
    map_grown: int
    last_group: int
    max_group: int
    last_sync_us: int
    max_sync_us: int


def watch(services: Services, ledger: LedgerCounters, server: HttpServer, authenticator: Authenticator) -> None:
    """Have the services' metrics read everything that is counted."""
    for source in (
        partial(meter_families, services.meter),
        partial(_ledger_families, ledger),
        partial(service_families, services),
        partial(_edge_families, server, authenticator),
        partial(_provider_families, services),
        partial(_fleet_families, services),
        partial(_witness_families, services),
        process_families,
        _log_families,
    ):
        services.metrics.add(source)


def _ledger_families(counters: LedgerCounters) -> list[Family]:
    """Commits, how many entries shared them, and how long the disk took."""
    return [
        counter("briefcase_ledger_entries_total", "Entries that became durable.", counters.entries),
        counter("briefcase_ledger_refused_total", "Entries refused because an effect did not hold.", counters.refused),
        counter("briefcase_ledger_commits_total", "Synced commits, each of a group of entries.", counters.commits),
        counter("briefcase_ledger_inline_commits_total", "Commits made on the loop itself.", counters.inline_commits),
        counter("briefcase_ledger_failures_total", "Commits or syncs that failed.", counters.failures),
        counter("briefcase_ledger_map_grown_total", "Times the map was enlarged.", counters.map_grown),
        gauge("briefcase_ledger_last_group_entries", "Entries in the last commit.", counters.last_group),
        gauge("briefcase_ledger_max_group_entries", "Most entries in one commit.", counters.max_group),
        gauge("briefcase_ledger_last_sync_seconds", "The last synced commit.", counters.last_sync_us / US_PER_S),
        gauge("briefcase_ledger_max_sync_seconds", "The longest synced commit.", counters.max_sync_us / US_PER_S),
    ]


def _edge_families(server: HttpServer, authenticator: Authenticator) -> list[Family]:
    places = server.places
    return [
        gauge("briefcase_open_connections", "Connections to the daemon.", server.open_connections),
        counter("briefcase_connections_gave_way_total", "Idle connections closed for new ones.", places.gave_way),
        counter("briefcase_connections_refused_total", "Connections for which there was no place.", places.refused),
        gauge("briefcase_held_bytes", "Bodies and answers that wait for slow clients.", places.held.total_bytes),
        counter("briefcase_slow_readers_closed_total", "Connections closed with an unread answer.", places.held.closed),
        counter("briefcase_auth_failures_total", "Requests without a known token.", authenticator.failures),
    ]


def _provider_families(services: Services) -> list[Family]:
    return [
        counter("briefcase_token_waits_total", "Calls that waited for a capability.", services.providers.token_waits)
    ]


def _fleet_families(services: Services) -> list[Family]:
    progress = services.fleet.progress or SyncProgress()
    return [
        gauge(
            "briefcase_control_plane_last_sync_timestamp_seconds",
            "When a sync with the control plane last went well, in Unix time; 0 where none has.",
            progress.last_sync_us / US_PER_S,
        ),
        gauge("briefcase_control_plane_sync_failures", "Syncs that failed since then.", progress.failures),
        gauge(
            "briefcase_control_plane_uploaded_receipt",
            "The last receipt that the control plane acknowledged.",
            progress.uploaded_id,
        ),
    ]


def _witness_families(services: Services) -> list[Family]:
    witnesses, failing, size = services.witnessing.figures()
    return [
        gauge("briefcase_witnesses", "Witnesses of the receipt log.", witnesses),
        gauge("briefcase_witnesses_failing", "Witnesses that did not cosign in the last round.", failing),
        gauge("briefcase_witnessed_receipt", "Up to which receipt a quorum of witnesses vouches.", size),
    ]


def _log_families() -> list[Family]:
    return [counter("briefcase_log_lines_lost_total", "Log lines that could not be written.", LOG.lost_lines)]
