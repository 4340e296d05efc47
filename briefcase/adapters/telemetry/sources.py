"""Figures of adapters that keep plain integers themselves: the ledger's commits."""

from __future__ import annotations

from typing import Protocol

from briefcase.adapters.telemetry.metrics import US_PER_S, Family, counter, gauge


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


def ledger_families(counters: LedgerCounters) -> list[Family]:
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
