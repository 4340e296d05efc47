"""Logs: one JSON object a line on standard error, with the ids that join them to receipts, and nothing secret.

Tracebacks carry file, line and function, never the values of locals: those may hold arguments or credentials.

A line that can not be written, to a full disk or to a reader that has gone, is lost; what wrote it goes on.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from io import StringIO

import structlog
from structlog.typing import Processor

from briefcase.telemetry.log_context import add_ids


class StandardError(StringIO):
    """Standard error, as far as it can be written; nothing is kept."""

    def write(self, text: str) -> int:
        """Write it, or lose it."""
        with contextlib.suppress(OSError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        """Send what was written on its way."""
        with contextlib.suppress(OSError):
            sys.stderr.flush()


def configure_logs(*, level: int = logging.INFO, export: Processor | None = None) -> None:
    """Send every log line to standard error as JSON.

    Args:
        level: what is less than this is not logged.
        export: gets each line too, as a mapping that holds no exception any more, only its text.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            add_ids,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            *([] if export is None else [export]),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(StandardError()),
        cache_logger_on_first_use=True,
    )
