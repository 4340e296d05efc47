"""OpenTelemetry over OTLP/HTTP: traces, metrics and logs, sent in batches from threads of their own.

Imported only where it is switched on: off, it costs nothing. The endpoint is the operator's (`OTEL_EXPORTER_OTLP_*`),
so it is not held against the rules for upstreams. What cannot be sent is dropped and said in the log, never waited
for: a collector that is down slows no call.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Final, cast

import msgspec
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import export as points
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, TraceFlags

from briefcase import __version__
from briefcase.adapters.telemetry.logger import get_logger
from briefcase.adapters.telemetry.meter import BOUNDS_US
from briefcase.adapters.telemetry.metrics import US_PER_S, Family, Metrics
from briefcase.adapters.telemetry.otlp_trace import encode_request, encode_trace
from briefcase.adapters.telemetry.outlet import OUTLET
from briefcase.adapters.telemetry.settings import OtelSettings
from briefcase.adapters.telemetry.tracing import Trace

MAX_PROBLEM_CHARS: Final = 500
SCOPE: Final = InstrumentationScope("briefcase", __version__)
WRITTEN_AT_ONCE: Final = 16  # traces: only the first finds its code in no cache, and 0.2 ms hold nobody up
BOUNDS_S: Final = tuple(bound / US_PER_S for bound in BOUNDS_US)
_SAMPLED: Final = SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
_SEVERITIES: Final = {
    "debug": SeverityNumber.DEBUG,
    "info": SeverityNumber.INFO,
    "warning": SeverityNumber.WARN,
    "error": SeverityNumber.ERROR,
    "critical": SeverityNumber.FATAL,
}
_OWN: Final = "exporter"  # marks a log line about exporting, which is not itself exported
_log: Final = get_logger("briefcase.telemetry")


class Exporting:
    """Sends until it is closed. Made on the event loop's thread, before the first log line."""

    def __init__(self, settings: OtelSettings) -> None:
        self._settings = settings
        self._started_ns = time.time_ns()
        self._resource = Resource.create({"service.name": settings.service_name, "service.version": __version__})
        self._traces = BatchSpanProcessor(_TraceExporter(self._resource)) if settings.traces else None
        self._unwritten: list[_Queued] = []
        self._points = OTLPMetricExporter() if settings.metrics else None
        self._logs: LoggerProvider | None = None
        if settings.logs:
            self._logs = LoggerProvider(self._resource, shutdown_on_exit=False)
            self._logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
            self._logger = self._logs.get_logger(SCOPE.name, SCOPE.version)
        own = logging.getLogger("opentelemetry")
        own.propagate = False
        own.addHandler(_Complaints())

    # --- traces -------------------------------------------------------------------------------------------------------

    def send_trace(self, trace: Trace) -> None:
        """Queue the spans of one finished request; past the queue's bound whole traces are dropped."""
        if self._traces is None:
            return
        queued = _Queued(trace)
        self._traces.on_end(cast("ReadableSpan", queued))
        self._unwritten.append(queued)
        if len(self._unwritten) == WRITTEN_AT_ONCE:
            for one in self._unwritten:
                one.written()
            self._unwritten.clear()

    # --- metrics ------------------------------------------------------------------------------------------------------

    async def send_metrics(self, metrics: Metrics) -> None:
        """Send all figures every `metrics_interval_ms`, and once more when cancelled."""
        if self._points is None:
            return
        try:
            while True:
                await asyncio.sleep(self._settings.metrics_interval_ms / 1_000)
                await self._send_once(self._points, metrics)
        finally:
            await self._send_once(self._points, metrics)

    async def _send_once(self, exporter: OTLPMetricExporter, metrics: Metrics) -> None:
        """Send all figures; a round that fails is said, and the next one comes all the same."""
        try:
            await asyncio.to_thread(exporter.export, self._metrics_data(metrics))
        except Exception as error:  # noqa: BLE001 - a source of figures, or the exporter, that nobody foresaw
            _log.warning(
                "telemetry is not sent", problem=OUTLET.text(repr(error))[:MAX_PROBLEM_CHARS], **{_OWN: "metrics"}
            )

    def _metrics_data(self, metrics: Metrics) -> points.MetricsData:
        now_ns = time.time_ns()
        made = [self._metric(family, now_ns) for family in metrics.collect()]
        return points.MetricsData(
            [points.ResourceMetrics(self._resource, [points.ScopeMetrics(SCOPE, made, "")], schema_url="")]
        )

    def _metric(self, family: Family, now_ns: int) -> points.Metric:
        cumulative = points.AggregationTemporality.CUMULATIVE
        data: points.Histogram | points.Sum | points.Gauge
        if family.histogram is not None:
            counts = list(family.histogram.counts)
            total_s = family.histogram.sum_us / US_PER_S
            point = points.HistogramDataPoint(
                {}, self._started_ns, now_ns, sum(counts), total_s, counts, BOUNDS_S, min=0.0, max=total_s
            )
            data = points.Histogram([point], cumulative)
        else:
            numbers = [
                points.NumberDataPoint(OUTLET.labels(labels), self._started_ns, now_ns, value)
                for labels, value in family.values
            ]
            data = (
                points.Sum(numbers, cumulative, is_monotonic=True)
                if family.kind == "counter"
                else points.Gauge(numbers)
            )
        return points.Metric(family.name, family.help, "s" if family.name.endswith("_seconds") else "", data)

    # --- logs ---------------------------------------------------------------------------------------------------------

    def send_log(self, _: object, method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        """A structlog processor: queue a copy of one line, and pass it on."""
        if self._logs is not None and _OWN not in event:
            shown = {name: value if isinstance(value, str | int | float | bool) else _text(value)
                     for name, value in event.items() if name not in {"event", "level", "timestamp"}}  # fmt: skip
            self._logger.emit(
                LogRecord(
                    timestamp=time.time_ns(),
                    severity_text=method,
                    severity_number=_SEVERITIES.get(method, SeverityNumber.UNSPECIFIED),
                    body=str(event.get("event", "")),
                    attributes=shown,
                )
            )
        return event

    async def close(self) -> None:
        """Send what waits, bounded by the exporters' own timeouts, and end their threads."""
        for part in (self._traces, self._points, self._logs):
            if part is not None:
                await asyncio.to_thread(part.shutdown)


class _Queued:
    """A trace on its way to the exporter: of a span, the queue reads but the `context`."""

    __slots__ = ("_data", "_trace")
    context: Final = _SAMPLED

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._data = b""

    def written(self) -> bytes:
        """The trace as it is sent; made when it is first asked for, by whichever thread."""
        if not self._data:
            self._data = encode_trace(self._trace)
        return self._data


class _TraceExporter(SpanExporter):
    """Encodes whole traces (ADR 0022), and sends them as the SDK's own exporter does."""

    def __init__(self, resource: Resource) -> None:
        self._otlp = OTLPSpanExporter()
        self._send = self._otlp._client.export  # noqa: SLF001 - there is no public way to send bytes
        none = ReadableSpan("", context=_SAMPLED, resource=resource, instrumentation_scope=SCOPE)
        [around] = encode_spans([none]).resource_spans
        self._resource = around.resource.SerializeToString()
        self._scope = around.scope_spans[0].scope.SerializeToString()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send one batch of `_Queued` traces; the client retries and complains by itself."""
        batch = cast("Sequence[_Queued]", spans)
        request = encode_request(self._resource, self._scope, [queued.written() for queued in batch])
        return SpanExportResult.SUCCESS if self._send(request).success else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Send nothing more."""
        self._otlp.shutdown()  # type: ignore[no-untyped-call]


class _Complaints(logging.Handler):
    """What the exporters complain of, as lines of our own log."""

    def emit(self, record: logging.LogRecord) -> None:
        _log.warning(
            "telemetry is not sent", problem=OUTLET.text(record.getMessage())[:MAX_PROBLEM_CHARS], **{_OWN: record.name}
        )


def _text(value: object) -> str:
    return msgspec.json.encode(value, enc_hook=repr).decode()
