"""A trace of each sampled request of a control plane: `http.request`, and below it each `db.query` it waited for.

    http.request                    method, path as the table has it, status; the word of a refusal
      db.query                      a transaction of an administrator's, or a statement of a device's

What devices ask by groups is one statement for many of them and stands in nobody's trace. Nothing of a span is a
caller's own text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus

from briefcase.adapters.telemetry.tracing import Sampling, Trace, parse_traceparent

SPAN = "http.request"


class RequestTraces:
    """Traces of one process.

    Args:
        sampling: which requests are traced.
        send: takes each trace that is finished.
    """

    def __init__(self, sampling: Sampling, send: Callable[[Trace], None]) -> None:
        self._sampling = sampling
        self._send = send

    def begin(self, traceparents: Iterable[bytes]) -> Trace | None:
        """A trace of a request under its caller's; None where it is not sampled.

        Args:
            traceparents: every `traceparent` field of the request.
        """
        parent = None
        for value in traceparents:
            parent = parse_traceparent(value)
        if not self._sampling.takes(parent):
            return None
        trace = Trace(parent)
        trace.execute_id = trace.span_id  # what is asked of the database hangs under the request itself
        return trace

    def end(self, trace: Trace, method: str, path: str, status: int, word: str) -> None:
        """A request was answered.

        Args:
            trace: that began with it.
            method: of the request.
            path: the table's, empty where there is none.
            status: of the answer.
            word: of a refusal, else empty.
        """
        attributes: dict[str, str | int] = {"http.request.method": method, "http.response.status_code": status}
        if path:
            attributes["http.route"] = path
        if word:
            attributes["briefcase.reason"] = word
        trace.finish(SPAN, attributes, is_error=status >= HTTPStatus.INTERNAL_SERVER_ERROR)
        self._send(trace)
