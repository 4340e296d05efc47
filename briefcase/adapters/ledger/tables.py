"""The LMDB environment: its tables, its flags, and the one engine it runs on.

| table | key | value |
|---|---|---|
| receipts | receipt id, 8 bytes | `receipts.chain`'s stored record; the oldest may be in `archive` instead |
| approvals | approval id | msgpack of `StoredApproval` |
| waiting | see `approvals_table` | approvals that are pending or approved, by principal and by binding |
| shown | see `approvals_table` | their whole calls, the last yes of each principal and tool, what was denied |
| grants | approval id | msgpack of `StoredGrant`, with what was used of it |
| spend | `YYYY-MM-DD` and category | spent and reserved micro-USD, 8 bytes each |
| limits | category | daily limit in micro-USD, 8 bytes |
| settings | name | bytes |
| claims | receipt id, 8 bytes | request ids taken up to that receipt, packed (`intents`) |
| nonces | see `nonces` | the receipt that used a sealed state up, 8 bytes |
| meta | name | see `META_*` |

INVARIANT (durability): sync and metasync are on, WRITEMAP and MAPASYNC are off; checked on every open.
INVARIANT (map): the map is grown only where no transaction of this process is open, on the event loop's thread, with
`map_lock` held; every other thread reads under `map_lock`.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

import lmdb

from briefcase.adapters.disk.checks import PRIVATE_FILE_MODE
from briefcase.adapters.ledger.archive import Archive
from briefcase.adapters.ledger.directory import close_on_exec
from briefcase.model.errors import StoreError

ENGINE_VERSION: Final = (0, 9, 36)
ENGINE: Final = 0  # py-lmdb's name for the 0.9 series; it carries a 1.0 engine as well (docs/adr/0002)
MAX_KEY_BYTES: Final = 511
FORMAT: Final = b"1"

META_FORMAT: Final = b"format"
META_SECRET: Final = b"approval_secret"
META_BOOT: Final = b"boot"
META_CLEAN: Final = b"clean"
META_CHECKPOINT: Final = b"checkpoint"
META_COPY: Final = b"copy"
META_NONCES: Final = b"nonces"
META_STORE: Final = b"store_id"
META_STATE: Final = b"state_noted"
CLEAN: Final = b"1"
NOT_CLEAN: Final = b"0"

TABLES: Final = (
    "receipts",
    "approvals",
    "waiting",
    "spend",
    "limits",
    "settings",
    "claims",
    "nonces",
    "meta",
    "shown",
    "grants",
)
_FLAGS: Final = {
    "readonly": False,
    "sync": True,
    "metasync": True,
    "map_async": False,
    "writemap": False,
    "meminit": True,
    "lock": True,
}


class Tables:
    """The open environment and its tables.

    Args:
        path: the directory, already prepared and locked.
        map_bytes: the map's first size; it doubles when it is full.

    Raises:
        StoreError: not an environment of this engine, damaged, or opened with other flags.
    """

    def __init__(self, path: Path, map_bytes: int) -> None:
        try:
            self.env = lmdb.open(
                str(path),
                map_size=map_bytes,
                max_dbs=len(TABLES),
                mode=PRIVATE_FILE_MODE,
                max_spare_txns=2,
                lib_version=ENGINE,
            )
        except lmdb.Error as error:
            raise StoreError(f"the ledger in `{path}` cannot be opened", detail=str(error)) from None
        try:
            close_on_exec(path)
            self._check_engine()
            (
                self.receipts,
                self.approvals,
                self.waiting,
                self.spend,
                self.limits,
                self.settings,
                self.claims,
                self.nonces,
                self.meta,
                self.shown,
                self.grants,
            ) = (self.env.open_db(name.encode()) for name in TABLES)
        except lmdb.Error as error:
            self.env.close()
            raise StoreError(f"the ledger in `{path}` cannot be opened", detail=str(error)) from None
        except BaseException:
            self.env.close()
            raise
        self.replayed = {  # whose rows receipts name (`state`)
            self.approvals: "approval",
            self.limits: "limit",
            self.settings: "setting",
            self.shown: "shown",
            self.grants: "grant",
        }
        self.archive = Archive(path)
        self.map_lock = threading.Lock()

    def _check_engine(self) -> None:
        problem = self.engine_problem()
        if problem is not None:
            raise StoreError(problem, hint="install the `lmdb` release that pyproject.toml names")

    def engine_problem(self) -> str | None:
        """What is not as tested of the engine that runs and the flags it was opened with, or None."""
        if self.env.lib_version() != ENGINE_VERSION:
            found = ".".join(map(str, self.env.lib_version()))
            return f"expected LMDB {'.'.join(map(str, ENGINE_VERSION))}, got {found}"
        flags = self.env.flags()
        wrong = [name for name, expected in _FLAGS.items() if flags.get(name) is not expected]
        if wrong:
            return f"the ledger's environment was opened with other durability flags: {', '.join(wrong)}"
        return None

    def begin_read(self) -> lmdb.Transaction[bytes]:
        """A read transaction, for a `with`.

        Raises:
            StoreError: the engine gave up, as it does when its root could not be written: only a restart helps.
        """
        try:
            return self.env.begin()
        except lmdb.Error as error:
            raise StoreError("the ledger cannot be read", hint="restart the daemon", detail=str(error)) from None

    def grow(self) -> None:
        """Double the map. Only from the event loop's thread, and with no transaction open on it."""
        with self.map_lock:
            self.env.set_mapsize(self.env.info()["map_size"] * 2)

    def close(self) -> None:
        """Close the environment; what was committed stays."""
        with self.map_lock:
            self.env.close()


def is_key(key: bytes) -> bool:
    """Whether LMDB takes a key of this length."""
    return 0 < len(key) <= MAX_KEY_BYTES


def state_name(kind: str, key: bytes) -> str:
    """How a receipt names a row."""
    return f"{kind}:{key.hex()}" if kind == "shown" else f"{kind}:{key.decode()}"
