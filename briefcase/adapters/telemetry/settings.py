"""Whether OpenTelemetry is on, and what of it: `BRIEFCASE_OTEL` first, else the standard `OTEL_*` variables.

| variable | values |
|---|---|
| `BRIEFCASE_OTEL` | `1` `true`: on. `0` `false`: off. Unset: on where an `OTEL_EXPORTER_OTLP_*ENDPOINT` is set |
| `OTEL_SDK_DISABLED` | `true`: off, where `BRIEFCASE_OTEL` is not set |
| `OTEL_{TRACES,METRICS,LOGS}_EXPORTER` | `otlp` (default), `none` |
| `OTEL_EXPORTER_OTLP_PROTOCOL` | `http/protobuf` |
| `OTEL_TRACES_SAMPLER` `..._ARG` | `traceidratio` (default, 0.1), `always_on`, `always_off`; each also `parentbased_` |
| `OTEL_METRIC_EXPORT_INTERVAL` | milliseconds (60000) |
| `OTEL_SERVICE_NAME` | `briefcase`, the gateway `briefcase-gateway` |

The exporters themselves read the rest (`OTEL_EXPORTER_OTLP_ENDPOINT`, `_HEADERS`, `_TIMEOUT`, `_CERTIFICATE`, ...).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from briefcase.adapters.telemetry.tracing import Sampling
from briefcase.model.errors import ConfigError

ENDPOINTS: Final = tuple(f"OTEL_EXPORTER_OTLP_{signal}ENDPOINT" for signal in ("", "TRACES_", "METRICS_", "LOGS_"))
SAMPLERS: Final = ("traceidratio", "always_on", "always_off")
PARENT_BASED: Final = "parentbased_"
DEFAULT_SHARE: Final = 0.1


class OtelSettings(msgspec.Struct, frozen=True):
    """What is exported."""

    traces: bool = True
    metrics: bool = True
    logs: bool = True
    sampling: Sampling = Sampling()
    metrics_interval_ms: int = 60_000
    service_name: str = "briefcase"


def load_otel_settings(environ: Mapping[str, str], service_name: str = "briefcase") -> OtelSettings | None:
    """Read the variables above; None where it is off.

    Args:
        environ: the process's variables.
        service_name: what it is called where `OTEL_SERVICE_NAME` does not say.

    Raises:
        ConfigError: a value is none of those above; the message names the variable.
    """
    if not _is_on(environ):
        return None
    _one_of(environ, "OTEL_EXPORTER_OTLP_PROTOCOL", ("http/protobuf",))
    traces, metrics, logs = (
        _one_of(environ, f"OTEL_{signal}_EXPORTER", ("otlp", "none")) == "otlp"
        for signal in ("TRACES", "METRICS", "LOGS")
    )
    interval = environ.get("OTEL_METRIC_EXPORT_INTERVAL") or "60000"
    if not interval.isdecimal() or not int(interval):
        raise _wrong("OTEL_METRIC_EXPORT_INTERVAL", "milliseconds as a whole number", interval)
    name = environ.get("OTEL_SERVICE_NAME") or service_name
    return OtelSettings(traces, metrics, logs, _sampling(environ), int(interval), name)


def _is_on(environ: Mapping[str, str]) -> bool:
    chosen = environ.get("BRIEFCASE_OTEL", "").lower()
    if chosen not in {"", "0", "1", "true", "false"}:
        raise _wrong("BRIEFCASE_OTEL", "1, 0, true or false", chosen)
    if chosen:
        return chosen in {"1", "true"}
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    return any(environ.get(endpoint) for endpoint in ENDPOINTS)


def _sampling(environ: Mapping[str, str]) -> Sampling:
    words = (*SAMPLERS, *(PARENT_BASED + name for name in SAMPLERS))
    name = _one_of(environ, "OTEL_TRACES_SAMPLER", words)
    text = environ.get("OTEL_TRACES_SAMPLER_ARG") or str(DEFAULT_SHARE)
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise _wrong("OTEL_TRACES_SAMPLER_ARG", "a number from 0 to 1", text)
    kind = name.removeprefix(PARENT_BASED)
    return Sampling({"always_on": 1.0, "always_off": 0.0}.get(kind, share), name != kind)


def _one_of(environ: Mapping[str, str], name: str, words: tuple[str, ...]) -> str:
    """One of the words, the first by default."""
    word = environ.get(name) or words[0]
    if word not in words:
        raise _wrong(name, f"one of {', '.join(words)}", word)
    return word


def _wrong(name: str, expected: str, got: str) -> ConfigError:
    return ConfigError(f"`{name}`: expected {expected}, got `{got}`")
