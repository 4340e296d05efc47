"""The figures as Prometheus reads them: its own client writes the text (exposition format 0.0.4).

The client keeps no figure: each scrape hands it the families of that moment. Durations are seconds here, as Prometheus
wants its base units, and buckets are cumulative, the last one, `+Inf`, being the count.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from briefcase.adapters.telemetry.meter import BOUNDS_US, Histogram
from briefcase.adapters.telemetry.metrics import US_PER_S, Family

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
_BOUNDS_S: Final = tuple(f"{bound_us / US_PER_S:.6f}".rstrip("0").rstrip(".") for bound_us in BOUNDS_US)


class _Families(Collector):
    """Families of one moment, in the client's words."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return map(_metric_of, self._families)


def encode_text(families: Iterable[Family]) -> bytes:
    """The families as Prometheus reads them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(families))
    return generate_latest(registry)


def _metric_of(family: Family) -> Metric:
    if family.histogram is not None:
        buckets, sum_s = _buckets_of(family.histogram), family.histogram.sum_us / US_PER_S
        return HistogramMetricFamily(family.name, family.help, buckets=buckets, sum_value=sum_s)
    names = [name for name, _ in family.values[0][0]] if family.values else []
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=names)
    for labels, value in family.values:
        metric.add_metric([text for _, text in labels], value)
    return metric


def _buckets_of(histogram: Histogram) -> list[tuple[str, float]]:
    counts = itertools.accumulate(histogram.counts)
    return list(zip((*_BOUNDS_S, "+Inf"), map(float, counts), strict=True))
