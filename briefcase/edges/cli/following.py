"""Following a chain: each receipt once, in order, as it is appended, over restarts of the daemon."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from briefcase.edges.cli.messages import note
from briefcase.edges.cli.sources import Source
from briefcase.model.errors import BriefcaseError
from briefcase.model.types import Receipt

PAUSE_S: Final = 0.5
AWAY: Final = frozenset({"daemon_unreachable", "request_timeout", "not_ready"})  # what a restart looks like


class Absence:
    """Notices that a daemon is away and back, and says each once.

    Args:
        say: tells a person.
    """

    def __init__(self, say: Callable[[str], None] = note) -> None:
        self._say = say
        self.is_away = False

    def begin(self, error: BriefcaseError) -> None:
        """Take an error as that the daemon is away.

        Raises:
            BriefcaseError: the error itself, where waiting does not mend it.
        """
        if error.code not in AWAY:
            raise error
        if not self.is_away:
            self._say(f"{error.message}: waiting for the daemon to come back")
        self.is_away = True

    def end(self) -> None:
        """Take an answer as that the daemon is back."""
        if self.is_away:
            self._say("the daemon is back")
        self.is_away = False


def follow(source: Source, after_id: int, wanted: Mapping[str, str]) -> Iterator[Receipt]:
    """The receipts after an id as they come, until interrupted; a wait for the daemon gives none twice and skips none.

    Raises:
        BriefcaseError: the chain ends before what was read of it (`receipt_chain_broken`): an older copy runs there.
    """
    absence = Absence()
    while True:
        try:
            head = source.head()
            absence.end()
            _check_goes_on(head.id, after_id)
            for receipt in source.receipts(after_id + 1, head.id, wanted):
                yield receipt
                after_id = receipt.id
            after_id = head.id
        except BriefcaseError as error:
            absence.begin(error)
        time.sleep(PAUSE_S)


def _check_goes_on(head_id: int, read_id: int) -> None:
    if head_id < read_id:
        raise BriefcaseError(
            f"the chain ends at receipt {head_id}, and receipt {read_id} was read from it",
            code="receipt_chain_broken",
            hint="an older copy of the data directory runs there: see `briefcase receipts verify --anchor`",
        )
