"""Backups: a copy of everything leaves the daemon, and no whole copy is anywhere that no receipt names.

 1. check the target
 2. the `backup_started` receipt: it is in the copy itself, so it opens no intent there
 3. copy, verify and digest: what is there now is no backup        a crash leaves files without a manifest, or nothing
 4. intent: the head and the manifest's digest, durable            likewise
 5. make it whole: the manifest, or the sealed file                a crash leaves files, or a whole backup
 6. the `backup_created` receipt                                   likewise

| a crash after the intent of | leaves | the next start |
|---|---|---|
| `create` | a whole backup, or files that are none | says so (`outcome_unknown`), with the manifest's digest |

A receipt holds no path, so nobody looks for the backup again: whoever has one finds its digest in the receipt.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from briefcase.core.operator.administration import Administration
from briefcase.core.receipts.events import backup_created_event, backup_started_event
from briefcase.model.effects import Entry
from briefcase.model.errors import CallerError

_Seal = TypeVar("_Seal")
_Made = TypeVar("_Made")
_Seal_contra = TypeVar("_Seal_contra", contravariant=True)
_Made_co = TypeVar("_Made_co", covariant=True)


class PreparedBackup(Protocol[_Made_co]):
    """A copy that is no backup yet."""

    @property
    def head_id(self) -> int:
        """Up to which receipt the copy goes."""
        ...

    @property
    def head_hash_hex(self) -> str:
        """That receipt's hash."""
        ...

    @property
    def manifest_digest_hex(self) -> str:
        """SHA-256 of its manifest."""
        ...

    async def finish(self) -> _Made_co:
        """Make it a whole backup, at its target; durable when this returns.

        Raises:
            CallerError: the target exists by now (`conflict`).
            StoreError: it could not be written.
        """
        ...

    async def discard(self) -> None:
        """Remove what there is of it, whole or not."""
        ...


class BackupStore(Protocol[_Seal_contra, _Made_co]):
    """Copies the data directory (`backup.create.Backups`)."""

    def check_target(self, out: str) -> None:
        """Raises `CallerError` where no backup may be made there."""
        ...

    async def prepare(self, out: str, seal: _Seal_contra | None, *, with_key: bool) -> PreparedBackup[_Made_co]:
        """Copy, verify and digest; on disk when this returns, and no backup yet.

        Raises:
            StoreError: something could not be read or written, or the chain does not verify.
        """
        ...


class BackupAdmin(Generic[_Seal, _Made]):
    """Makes backups, one at a time.

    Args:
        administration: takes the receipts.
        backups: makes the copies.
    """

    def __init__(self, administration: Administration, backups: BackupStore[_Seal, _Made]) -> None:
        self._administration = administration
        self._backups = backups
        self._is_under_way = False

    async def create(self, out: str, seal: _Seal | None, *, with_key: bool, by: str) -> _Made:
        """Make one.

        Args:
            out: the directory to make, or the file where it is sealed; its parent exists.
            seal: to whom or under what it is sealed, or None for a plain one.
            with_key: whether `vault.key` is copied too: then who has the backup has every secret.
            by: who asked, for the receipts.

        Raises:
            CallerError: the target exists, has no parent, is no absolute path or lies in the data directory; or
                another backup is being made.
            StoreError: something could not be read or written, or the chain does not verify.
        """
        if self._is_under_way:
            raise CallerError("another backup is being made", code="conflict", hint="wait for it to end")
        self._is_under_way = True
        try:
            # 1. and 2. the target, and that it was begun
            self._backups.check_target(out)
            started = backup_started_event(by, with_key=with_key, is_sealed=seal is not None)
            await self._administration.record(Entry(started))

            # 3. the copy
            prepared = await self._backups.prepare(out, seal, with_key=with_key)

            # 4. to 6. intent, effect, receipt
            event = backup_created_event(by, prepared.head_id, prepared.head_hash_hex, prepared.manifest_digest_hex)
            try:
                return await self._administration.make("backup", event, prepared.finish)
            except BaseException:
                await prepared.discard()  # whoever hears of a failure has no backup either
                raise
        finally:
            self._is_under_way = False
