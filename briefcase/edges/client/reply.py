"""A daemon's answer: what was read of it, and the whole as it came, which is all that may be handed on or kept."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from briefcase.core.wire.reading import read_document
from briefcase.model.types import JsonObject, JsonValue

_T = TypeVar("_T")


class Reply(NamedTuple, Generic[_T]):
    """One answer.

    `answer` is what `core/wire` reads of `body`, `endpoint` the method and path that were asked, and `timing_us` what
    the answer's `Server-Timing` said, in order, in microseconds.
    """

    answer: _T
    body: bytes
    endpoint: str
    timing_us: tuple[tuple[str, int], ...] = ()

    @property
    def document(self) -> JsonObject:
        """The answer as it came, what this version does not know included. Raises as `read_document`."""
        return read_document(self.body, self.endpoint)

    def listed(self, member: str) -> list[JsonValue]:
        """What a list of the answer holds, as it came. Raises as `document`."""
        found = self.document.get(member)
        return found if isinstance(found, list) else []
