"""The one place that log records, spans and metric labels pass before they leave the process, without any secret.

A process has one standard error and one export, so it has one outlet. It knows no secret until `OUTLET.redactor` is
set, which the daemon does as soon as its vault is open; a process without a vault (the gateway) never sets it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, Final

from briefcase.core.redaction.redactor import redact_value
from briefcase.model.ports import Redactor


class Outlet:
    """Cuts known secrets out of what telemetry says. Safe to use from any thread."""

    def __init__(self) -> None:
        self.redactor: Redactor | None = None

    def text(self, text: str) -> str:
        """A text without any known secret."""
        return text if self.redactor is None else self.redactor.redact_text(text)

    def labels(self, labels: Iterable[tuple[str, str]]) -> dict[str, str]:
        """The labels of a figure without any known secret."""
        return {name: self.text(value) for name, value in labels}

    def record(self, _: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        """A structlog processor: the record without any known secret. Exceptions are rendered before."""
        return event if self.redactor is None else redact_value(self.redactor, dict(event))


OUTLET: Final = Outlet()
