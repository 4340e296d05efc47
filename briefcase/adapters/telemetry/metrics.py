"""Families of figures: what `exposition` writes for Prometheus and `otel` sends.

A source is a function that reads figures when somebody asks; nothing is kept here. Durations are microseconds inside
and seconds outside, as Prometheus wants its base units.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from briefcase import __version__
from briefcase.adapters.telemetry.memory import read_memory
from briefcase.adapters.telemetry.meter import Histogram, Meter

US_PER_S: Final = 1_000_000

Labels: TypeAlias = tuple[tuple[str, str], ...]


class Family(msgspec.Struct, frozen=True):
    """One metric: its name, what it is, and a value for each set of labels; of a histogram, its buckets."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    values: tuple[tuple[Labels, float], ...] = ()
    histogram: Histogram | None = None


Source: TypeAlias = Callable[[], Iterable[Family]]


class Metrics:
    """Every source of one daemon's figures."""

    def __init__(self) -> None:
        self._sources: list[Source] = []

    def add(self, source: Source) -> None:
        """Read this one too from now on."""
        self._sources.append(source)

    def collect(self) -> list[Family]:
        """All figures as of now."""
        return [family for source in self._sources for family in source()]


def counter(name: str, text: str, value: float) -> Family:
    """What only grows."""
    return Family(name, "counter", text, (((), value),))


def gauge(name: str, text: str, value: float) -> Family:
    """What goes up and down."""
    return Family(name, "gauge", text, (((), value),))


def by_label(
    name: str, kind: Literal["counter", "gauge"], text: str, label: str, values: Mapping[str, float]
) -> Family:
    """One value for each value of a label."""
    return Family(name, kind, text, tuple((((label, key),), value) for key, value in sorted(values.items())))


def meter_families(meter: Meter) -> list[Family]:
    """What calls came to."""
    answers = tuple(
        ((("status", status), ("reason", reason)), float(count))
        for (status, reason), count in sorted({("ok", ""): meter.answered_ok, **meter.others}.items())
    )
    return [
        Family("briefcase_calls_total", "counter", "Calls that were answered, by status and reason.", answers),
        by_label("briefcase_faults_total", "counter", "Requests that ended in an error.", "code", {**meter.faults}),
        by_label(
            "briefcase_approvals_decided_total",
            "counter",
            "Approvals that a person decided.",
            "decision",
            {**meter.decisions},
        ),
        Family("briefcase_call_duration_seconds", "histogram", "The whole call, in the daemon.", (), meter.whole),
        Family(
            "briefcase_call_overhead_seconds", "histogram", "The call without its upstream's time.", (), meter.overhead
        ),
    ]


def process_families() -> list[Family]:
    """What the process uses. Memory and open files are known on Linux only; elsewhere they are left out.

    Where no more files can be opened, those that are open cannot be listed: then as many are as may be.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    families = [
        Family("briefcase_build_info", "gauge", "The version that runs.", (((("version", __version__),), 1),)),
        counter("process_cpu_seconds_total", "Processor time used.", usage.ru_utime + usage.ru_stime),
    ]
    if sys.platform == "linux":
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        try:
            memory = read_memory()
            families += [
                gauge("briefcase_private_memory_bytes", "Memory that is the process's own.", memory.private),
                gauge("briefcase_mapped_memory_bytes", "Resident pages of mapped files: the ledger.", memory.mapped),
                gauge("process_resident_memory_bytes", "Private and mapped memory.", memory.resident),
            ]
            is_open = sum(1 for _ in Path("/proc/self/fd").iterdir())
        except OSError:
            is_open = most
        families += [
            gauge("process_open_fds", "Open files.", is_open),
            gauge("process_max_fds", "Most files that may be open.", most),
        ]
    return families
