"""Where a command reads receipts from: a daemon, or the files of a data directory where none runs.

Both give the same things in the same form, so what a command does with them is written once. A range is read page by
page up to an id fixed at the start: receipts are only appended, so the pages fit together while a daemon writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Final, Protocol

import msgspec

from briefcase.adapters.ledger.files import LedgerFiles, open_files
from briefcase.core.receipts.chain import GENESIS, decode_key, decode_record, hash_hex_of
from briefcase.core.wire.agents import AgentList
from briefcase.core.wire.reading import unexpected_answer
from briefcase.core.wire.receipts import HashList, ReceiptList
from briefcase.core.wire.tools import ToolList
from briefcase.edges.cli.app import App
from briefcase.edges.cli.client import Client
from briefcase.edges.cli.receipt_filters import holds
from briefcase.model.effects import Head
from briefcase.model.types import Receipt

PAGE: Final = 500  # receipts an answer: about half a megabyte
HASHES_PAGE: Final = 10_000
READ_TIMEOUT_S: Final = 120.0
FIXED_PRINCIPALS: Final = ("operator", "auditor")  # who has no name of an agent


class Source(Protocol):
    """Receipts to read."""

    def head(self) -> Head:
        """The last receipt."""
        ...

    def receipts(self, first_id: int, last_id: int, wanted: Mapping[str, str]) -> Iterator[Receipt]:
        """Those of a range, oldest first, whose events hold what is wanted (`FILTERS`, `since`, `until`)."""
        ...

    def hashes(self, last_id: int) -> Iterator[bytes]:
        """The 32-byte hash of each receipt from the first to the last, in order."""
        ...

    def agents(self) -> set[str]:
        """The names that `principal` may be: agents, revoked ones too, and who has a fixed name."""
        ...

    def tools(self) -> set[str]:
        """The tools there are."""
        ...


class DaemonSource:
    """Asks a daemon."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def head(self) -> Head:
        """The last receipt."""
        newest = self._client.get("/v1/receipts", ReceiptList, limit=1).answer.receipts
        return Head(newest[0].id, newest[0].hash_hex) if newest else GENESIS

    def receipts(self, first_id: int, last_id: int, wanted: Mapping[str, str]) -> Iterator[Receipt]:
        """As the port says."""
        after_id = first_id - 1
        while after_id < last_id:
            reply = self._client.get(
                "/v1/receipts", ReceiptList, order="oldest", limit=PAGE, after_id=after_id, to_id=last_id, **wanted
            )
            page = reply.answer.receipts
            if any(before.id >= after.id for before, after in pairwise(page)) or (page and page[0].id <= after_id):
                raise unexpected_answer(
                    reply.endpoint, f"expected receipts after {after_id}, each after the one before"
                )
            if any(not holds(record.event, wanted) for record in page):
                raise unexpected_answer(reply.endpoint, "expected receipts that the filter lets pass")
            yield from (Receipt(*msgspec.structs.astuple(record)) for record in page)
            if len(page) < PAGE:
                return
            after_id = page[-1].id

    def hashes(self, last_id: int) -> Iterator[bytes]:
        """As the port says."""
        after_id = 0
        while after_id < last_id:
            limit = min(HASHES_PAGE, last_id - after_id)
            page = self._client.get("/v1/receipts/hashes", HashList, after_id=after_id, limit=limit).answer.hashes
            if not page:
                return
            yield from map(bytes.fromhex, page)
            after_id += len(page)

    def agents(self) -> set[str]:
        """As the port says."""
        return {agent.name for agent in self._client.get("/v1/agents", AgentList).answer.agents} | {*FIXED_PRINCIPALS}

    def tools(self) -> set[str]:
        """As the port says."""
        return {tool.id for tool in self._client.get("/v1/tools", ToolList, clients="true").answer.tools}


class FileSource:
    """Reads the files."""

    def __init__(self, files: LedgerFiles) -> None:
        self._files = files

    def head(self) -> Head:
        """The last receipt."""
        return self._files.head()

    def receipts(self, first_id: int, last_id: int, wanted: Mapping[str, str]) -> Iterator[Receipt]:
        """As the port says."""
        since, until = wanted.get("since", ""), wanted.get("until", "~")  # times as the wire writes them sort as text
        for key, record in self._records(first_id, last_id):
            receipt = decode_record(decode_key(key), record)
            if since <= receipt.ts <= until and holds(receipt.event, wanted):
                yield receipt

    def hashes(self, last_id: int) -> Iterator[bytes]:
        """As the port says."""
        for _, record in self._records(1, last_id):
            yield bytes.fromhex(hash_hex_of(record))

    def agents(self) -> set[str]:
        """Those that the receipts name."""
        return self._named("principal") | {*FIXED_PRINCIPALS}

    def tools(self) -> set[str]:
        """Those that the receipts name."""
        return self._named("tool_id")

    def _named(self, member: str) -> set[str]:
        events = (receipt.event for receipt in self.receipts(1, self.head().id, {}))
        return {name for event in events if isinstance(name := event.get(member), str) and name}

    def _records(self, first_id: int, last_id: int) -> Iterator[tuple[bytes, bytes]]:
        while first_id <= last_id:
            records = self._files.slice_from(first_id, min(PAGE, last_id - first_id + 1))
            if not records:
                return
            yield from records
            first_id += len(records)


@contextmanager
def open_source(app: App, data_dir: Path | None) -> Iterator[Source]:
    """The files of a directory where one is given, else the daemon this environment names.

    Raises:
        BriefcaseError: as `ledger.files.open_files`.
    """
    if data_dir is None:
        yield DaemonSource(app.client(READ_TIMEOUT_S))
        return
    with open_files(data_dir) as files:
        yield FileSource(files)
