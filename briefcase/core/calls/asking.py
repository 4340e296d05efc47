"""The same call made twice at once asks one person once: while an approval is written, that very call waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from briefcase.model.ports import Event


class Asking:
    """The approvals that are being written, by the call they are for.

    Args:
        new_event: makes a signal that many may await.
    """

    def __init__(self, new_event: Callable[[], Event]) -> None:
        self._new_event = new_event
        self._written: dict[str, Event] = {}

    async def settled(self, binding_hex: str) -> None:
        """Return once no approval of this call is being written. Whoever was first may have failed: look again."""
        while (written := self._written.get(binding_hex)) is not None:
            await written.wait()

    @contextmanager
    def writing(self, binding_hex: str, *, is_new: bool) -> Iterator[None]:
        """Write an approval of this call, where it is a new one; none is, as `settled` said without a pause since."""
        if not is_new:
            yield
            return
        written = self._written[binding_hex] = self._new_event()
        try:
            yield
        finally:
            del self._written[binding_hex]
            written.set()
