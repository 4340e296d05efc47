"""What the gateway must not forget: proofs seen, calls used, tokens revoked, refresh tokens rotated, payments spent.

Every fact is one fixed record appended to `facts.log` with a single `write`, so a killed process loses nothing and
leaves at most one torn record, which the next start cuts off. Facts that someone was promised (`sync=True`: a
revocation, a rotation, a payment) are synced to disk. Proofs and call counts are not: a sync for each would cost more
than all checks together. What a power cut can take of them is made up for by refusing more, not less: the log names
the kernel's boot, and after a start in another boot `lost_before_s` tells to refuse every proof and every metered
token made before it.

The log is bounded: past `ROTATE_BYTES` a new one is begun with the facts that live long (few), and the old one is
kept as `facts.old` until the proofs in it are too old to matter.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from enum import IntEnum
from pathlib import Path
from typing import Final, NamedTuple

from briefcase.adapters.disk.directories import fsync_dir
from briefcase.adapters.disk.files import open_private, read_private
from briefcase.core.jose.replay import ReplayCache
from briefcase.edges.provider_gateway.settings import GatewaySettings
from briefcase.model.errors import ConfigError

LOG_FILE: Final = "facts.log"
OLD_FILE: Final = "facts.old"
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
ROTATE_BYTES: Final = 32 << 20
KEY_BYTES: Final = 16
MAX_LOG_BYTES: Final = 256 << 20

_RECORD: Final = struct.Struct(">B16sqqI")  # kind, key, value, expiry in seconds, CRC-32 of the rest
_BODY_BYTES: Final = _RECORD.size - 4


class Kind(IntEnum):
    """What a record says about its key, and what its value is."""

    BOOT = 1  # the log was written to in this boot (key: of its id; value: since when)
    PROOF = 2  # a proof was accepted (value: its `iat`)
    CALLS = 3  # a token has been used (value: how often)
    REVOKED = 4  # a token, or a family of refresh tokens, is revoked
    ROTATED = 5  # a family of refresh tokens is at a generation (value)
    SPENT = 6  # a payment has been used
    COUNTER = 7  # how many of something there are (value)


class Fact(NamedTuple):
    """One record. `expires_s` is when it can be forgotten."""

    kind: Kind
    key: bytes
    value: int
    expires_s: int


class Facts:
    """The facts of one state directory, in memory and in the log.

    Args:
        settings: where, and how many proofs at most.
        now_s: the time, seconds.

    Raises:
        ConfigError: the log is not a private file, or holds what was never written there.
    """

    def __init__(self, settings: GatewaySettings, now_s: int) -> None:
        self._path = settings.state_dir / LOG_FILE
        self._old_path = settings.state_dir / OLD_FILE
        self._old_until_s = 0
        self._latest_proof_s = 0
        self._long: dict[tuple[Kind, bytes], Fact] = {}
        self._window = settings.window
        self.lost_before_s = 0
        self.proofs = ReplayCache(settings.window.max_age_s, max_entries=settings.max_replay_entries)
        self._descriptor = -1
        self._load(now_s)

    def value(self, kind: Kind, key: bytes) -> int | None:
        """The newest value of a key, or None where nothing is known of it."""
        fact = self._long.get((kind, key))
        return None if fact is None else fact.value

    def add_proof(self, key: bytes, iat_s: int) -> None:
        """Keep a proof that `proofs` has just accepted."""
        self._latest_proof_s = max(self._latest_proof_s, iat_s)
        self._append((Fact(Kind.PROOF, key, iat_s, iat_s + self._window.max_age_s),))

    def add(self, fact: Fact, *, sync: bool) -> None:
        """Keep a fact; with `sync`, on disk when this returns."""
        self._long[fact.kind, fact.key] = fact
        self._append((fact,))
        if sync:
            os.fdatasync(self._descriptor)

    def tidy(self, now_s: int) -> None:
        """Forget what has expired, and begin a new log when this one is long. Called now and then."""
        self._long = {key: fact for key, fact in self._long.items() if fact.expires_s > now_s}
        if self._old_until_s and now_s > self._old_until_s:
            self._old_path.unlink(missing_ok=True)
            self._old_until_s = 0
        if not self._old_until_s and os.fstat(self._descriptor).st_size >= ROTATE_BYTES:
            self._rotate(now_s)

    def close(self) -> None:
        """Sync and close the log."""
        os.fdatasync(self._descriptor)
        os.close(self._descriptor)

    # --- the log ------------------------------------------------------------------------------------------------

    def _load(self, now_s: int) -> None:
        boots: list[bytes] = []
        for path in (self._old_path, self._path):
            for fact in _read(path):
                if fact.kind is Kind.BOOT:
                    boots.append(fact.key)
                elif fact.expires_s <= now_s - self._window.max_age_s:
                    continue
                elif fact.kind is Kind.PROOF:
                    self._latest_proof_s = max(self._latest_proof_s, fact.value)
                    self.proofs.restore(fact.key, fact.value)
                else:
                    self._long[fact.kind, fact.key] = fact
        if self._old_path.exists():
            self._old_until_s = self._latest_proof_s + self._window.max_age_s
        if boots and boots[-1] != _boot_key():
            self.lost_before_s = now_s
            self.proofs.horizon_s = now_s + self._window.max_future_s + 1  # `iat` may have been that far ahead
        self._open()
        self._append((_boot_fact(now_s),))

    def _open(self) -> None:
        self._descriptor = open_private(self._path, appends=True)
        size = os.fstat(self._descriptor).st_size
        os.ftruncate(self._descriptor, size - size % _RECORD.size)

    def _append(self, facts: Iterable[Fact]) -> None:
        data = b"".join(map(_encode, facts))
        if os.write(self._descriptor, data) != len(data):
            raise OSError(f"a record of `{self._path}` was cut short")

    def _rotate(self, now_s: int) -> None:
        """Crash order: the old log is renamed, then the new one written; until it is, the old one holds everything."""
        os.fdatasync(self._descriptor)
        os.close(self._descriptor)
        self._path.replace(self._old_path)
        self._old_until_s = self._latest_proof_s + self._window.max_age_s
        self._open()
        self._append((_boot_fact(now_s), *self._long.values()))
        os.fdatasync(self._descriptor)
        fsync_dir(self._path.parent)


def _read(path: Path) -> Iterator[Fact]:
    data = read_private(path, max_bytes=MAX_LOG_BYTES) or b""
    for offset in range(0, len(data) - _RECORD.size + 1, _RECORD.size):
        kind, key, value, expires_s, checksum = _RECORD.unpack_from(data, offset)
        if zlib.crc32(data[offset : offset + _BODY_BYTES]) != checksum:
            raise ConfigError(
                f"`{path}` is damaged at byte {offset}",
                hint="move it away: every token issued so far should then be revoked by removing `gateway.key`",
            )
        yield Fact(Kind(kind), key, value, expires_s)


def _encode(fact: Fact) -> bytes:
    body = _RECORD.pack(*fact, 0)[:_BODY_BYTES]
    return body + zlib.crc32(body).to_bytes(4)


def _boot_fact(now_s: int) -> Fact:
    return Fact(Kind.BOOT, _boot_key(), now_s, 0)


def _boot_key() -> bytes:
    """Names this run of the kernel; where it cannot be told, each start counts as another."""
    try:
        return bytes.fromhex(BOOT_ID.read_text().strip().replace("-", ""))[:KEY_BYTES]
    except (OSError, ValueError):
        return os.urandom(KEY_BYTES)
