"""Signed checkpoints: the whole chain verified, its tree's root signed by the daemon's identity, and kept elsewhere.

The tree grows with the chain: only receipts since the last checkpoint are hashed into it. The chain is verified off the
event loop, so that nothing is signed that does not verify, and against the last head that was signed, so that nothing
is signed that was put back. Who asks for one has the whole chain verified; a schedule that signs often for witnesses
has only what came since this process last did (the tree in memory is of what was verified then).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from briefcase.adapters.disk.files import write_private
from briefcase.adapters.disk.own_files import OwnFiles
from briefcase.adapters.telemetry.logger import get_logger
from briefcase.core.receipts.notes import Checkpoint, encode_note
from briefcase.core.receipts.tree import ConsistencyProver, Frontier
from briefcase.model.effects import Head
from briefcase.model.errors import BriefcaseError, ConfigError, StoreError
from briefcase.model.ports import Ledger, Verification

PAGE: Final = 500  # leaves a thread hashes while it holds the interpreter: about a millisecond
MAX_TREES: Final = 16  # earlier ones at hand, of at most 64 hashes each

_log: Final = get_logger("briefcase.checkpoints")


class SignedCheckpoint(msgspec.Struct, frozen=True):
    """A signed note, and the head of the chain it was signed over."""

    note: str
    checkpoint: Checkpoint
    head: Head


class Checkpoints:
    """Signs checkpoints of one ledger.

    Args:
        ledger: whose receipts.
        did: the identity, which is the log's name.
        public_key: its 32 bytes.
        sign: signs as it.
    """

    def __init__(self, ledger: Ledger, did: str, public_key: bytes, sign: Callable[[bytes], bytes]) -> None:
        self._ledger = ledger
        self._did = did
        self._public_key = public_key
        self._sign = sign
        self._frontier = Frontier()
        self._trees: dict[int, Frontier] = {}
        self._signed: Head | None = None
        self._one_at_a_time = asyncio.Lock()

    async def sign(self, *, is_whole: bool = True) -> SignedCheckpoint:
        """Verify the chain and sign its tree as it is now.

        Args:
            is_whole: whether all of it is verified again, or only what came since the last checkpoint.

        Raises:
            StoreError: the chain does not verify (`receipt_chain_broken`); nothing was signed.
        """
        async with self._one_at_a_time:
            found = await self._verified(is_whole=is_whole)
            if found.first_bad is not None:
                raise _broken(f"receipt {found.first_bad.id} does not verify ({found.first_bad.problem})")
            last = ""
            while self._frontier.size < found.head.id:
                count = min(PAGE, found.head.id - self._frontier.size)
                hashes = await self._ledger.hashes(self._frontier.size, count)
                if not hashes:
                    raise _broken(f"receipt {self._frontier.size + 1} is missing")
                await asyncio.to_thread(self._append, hashes)
                last = hashes[-1]
            if last not in {"", found.head.hash_hex}:
                self._frontier = Frontier()
                raise _broken("the receipts changed while they were read")
            self._signed = found.head
            self._trees = dict([*self._trees.items(), (found.head.id, self._frontier.copy())][-MAX_TREES:])
            checkpoint = Checkpoint(self._did, self._frontier.size, self._frontier.root())
            return SignedCheckpoint(encode_note(checkpoint, self._public_key, self._sign), checkpoint, found.head)

    async def prove(self, old_size: int, size: int) -> list[bytes]:
        """The proof that the tree of `size` receipts extends that of the first `old_size`.

        Only the hashes since the earlier one are read where it was signed a short while ago, else all of them.

        Args:
            old_size: 1 at least.
            size: that of a signed checkpoint, or less.

        Raises:
            StoreError: the hashes cannot be read.
        """
        prover = ConsistencyProver(old_size, size, self._trees.get(old_size))
        while not prover.is_complete:
            hashes = await self._ledger.hashes(prover.next_leaf, min(PAGE, size - prover.next_leaf))
            if not hashes:
                raise _broken(f"receipt {prover.next_leaf + 1} is missing")
            await asyncio.to_thread(_feed, prover, hashes)
        return prover.proof()

    async def keep(self, directory: Path, interval_s: int) -> None:
        """Write one into a directory now and in intervals until cancelled; a failure is logged, and tried again.

        Each is a file of its own, `checkpoint-SIZE.txt`, written whole; none is ever replaced by another size. What a
        crash left half written, as `checkpoint-SIZE.txt.new`, is removed first.
        """
        await asyncio.to_thread(_remove_half_written, directory)
        while True:
            try:
                signed = await self.sign()
                path = directory / f"checkpoint-{signed.checkpoint.size:016d}.txt"
                if not path.exists():
                    await asyncio.to_thread(write_private, path, signed.note.encode())
            except (BriefcaseError, OSError) as error:
                _log.error("checkpoint_failed", directory=str(directory), problem=str(error))
            await asyncio.sleep(interval_s)

    async def _verified(self, *, is_whole: bool) -> Verification:
        if is_whole or self._signed is None or self._frontier.size < self._signed.id:
            return await self._ledger.verify(self._signed)
        return await self._ledger.verify(after=self._signed)

    def _append(self, hashes: Sequence[str]) -> None:
        for hash_hex in hashes:
            self._frontier.append(bytes.fromhex(hash_hex))


def _feed(prover: ConsistencyProver, hashes: Sequence[str]) -> None:
    for hash_hex in hashes:
        prover.append(bytes.fromhex(hash_hex))


def _remove_half_written(directory: Path) -> None:
    for path in directory.glob("checkpoint-*.txt.new"):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("checkpoint_left_half_written", path=str(path), problem=str(error))


def check_checkpoint_dir(directory: Path, own: OwnFiles) -> None:
    """Check where checkpoints are to be kept.

    Raises:
        ConfigError: it is no directory, or lies in the data directory: what rolls that back would roll it back too.
    """
    if not directory.is_absolute() or not directory.is_dir():
        raise ConfigError(f"`[receipts] checkpoint_dir`: expected an absolute path of a directory, got `{directory}`")
    if own.holds_directory(directory):
        raise ConfigError(
            f"`[receipts] checkpoint_dir`: expected a place outside of `{own.data_dir}`, got `{directory}`",
            hint="a checkpoint beside the chain goes back with it: keep it on another disk, or another host",
        )


def _broken(message: str) -> StoreError:
    return StoreError(message, code="receipt_chain_broken", hint="run `briefcase receipts verify`")
