"""Receipts of a fleet as Parquet, for whoever reads them by columns; `pyarrow` writes it (extra `parquet`).

`event` is the text that the receipt's hash is over. What of it many ask for is in columns of its own, null where an
event has no such text. A file has its receipts in the order of their ids, in groups of `ROWS` rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec

from briefcase.edges.cli.late import pa, parquet
from briefcase.model.errors import ConfigError

if TYPE_CHECKING:
    from briefcase.core.wire.fleet import FleetReceipt

ROWS: Final = 32_768
WHOLE: Final = ("device_id", "ts", "prev_hash_hex", "hash_hex")
OF_EVENT: Final = ("kind", "principal", "session_id", "tool_id", "decision", "reason", "approval_id")


class ParquetReceipts:
    """A file that is being written.

    Args:
        file: where it goes.
    """

    def __init__(self, file: IO[bytes]) -> None:
        text = pa.string()
        self._schema = pa.schema([("id", pa.int64()), *((name, text) for name in (*WHOLE, "event", *OF_EVENT))])
        self._writer = parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[Mapping[str, object]] = []

    def write(self, receipts: Sequence[FleetReceipt]) -> None:
        """Add receipts."""
        self._rows += map(_row, receipts)
        if len(self._rows) >= ROWS:
            self._write_rows()

    def close(self) -> None:
        """Write what is left, and the file's end."""
        self._write_rows()
        self._writer.close()

    def _write_rows(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows.clear()


@contextmanager
def writing_parquet(file: IO[bytes]) -> Iterator[ParquetReceipts]:
    """A Parquet file that is whole when the block ends."""
    receipts = ParquetReceipts(file)
    yield receipts
    receipts.close()


def check_installed() -> None:
    """Load what writes.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        _ = parquet.ParquetWriter
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"Parquet needs `{error.name}`, which is not installed",
            hint="pip install 'agentic-briefcase[parquet]'; in a checkout: pip install '.[parquet]'",
        ) from None


def _row(receipt: FleetReceipt) -> dict[str, object]:
    event: dict[str, Any] = msgspec.json.decode(receipt.event, type=dict[str, Any])
    shown = {name: value if isinstance(value := event.get(name), str) else None for name in OF_EVENT}
    return {
        "id": receipt.id,
        **{name: getattr(receipt, name) for name in WHOLE},
        "event": bytes(receipt.event).decode(),
        **shown,
    }
