"""Logs: one JSON object a line on standard error, with the ids that join them to receipts, and nothing secret.

Tracebacks carry file, line and function, never the values of locals: those may hold arguments or credentials.
"""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import Processor

from briefcase.telemetry.log_context import add_ids


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
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
