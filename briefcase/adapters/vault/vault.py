"""The vault: named secrets over one backend, read from memory, changed durably.

Everything is read once (`read`, when the vault is opened) and served from memory, so a call never waits for a keyring
or for a key derivation. A change is durable in the backend before it is visible.
When another process has changed the backend, the next read sees it.

Names live in compartments, so that what the operator names (`Vault` itself is that one) can never be the daemon's
own key: `vault.compartment("identity")` has its own names. The backend sees `<compartment>/<name>`.

Deleting removes the value from the backend's current state and from this process's table. It promises nothing about
blocks that a file system, a solid-state disk, a snapshot or a backup kept: rotate the credential where that matters.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Final, Protocol, TypeVar

from briefcase.adapters.vault.secret import Secret
from briefcase.core.redaction.issued_tokens import check_issued_token
from briefcase.model.errors import CallerError, StoreError
from briefcase.model.identifiers import NAME_RULE, is_name

OPERATOR_COMPARTMENT: Final = "user"
BACKEND_TIMEOUT_S: Final = 30.0
MAX_VALUE_BYTES: Final = 64 << 10
MAX_RECENT_VALUES: Final = 4_096

_T = TypeVar("_T")


class Backend(Protocol):
    """Where secrets are kept. Never called on the event loop, `version` apart; one call at a time, unless one hangs.

    Durability: `store` and `remove` are durable when they return, and change nothing when they raise.
    Keys are `<compartment>/<name>`. Failures are `StoreError(secret_unavailable)` or `ConfigError`.
    """

    def load(self) -> dict[str, Secret]:
        """Everything that is kept."""
        ...

    def store(self, key: str, value: Secret) -> None:
        """Put one value; replaces."""
        ...

    def remove(self, key: str) -> None:
        """Remove one value; nothing happens where there is none."""
        ...

    def version(self) -> object:
        """Something that differs after another process changed what is kept; quick, and safe on the event loop."""
        ...


class MemoryBackend:
    """Secrets that end with the process: for tests and throw-away daemons."""

    def __init__(self) -> None:
        self._kept: dict[str, Secret] = {}

    def load(self) -> dict[str, Secret]:
        """Everything that is kept."""
        return dict(self._kept)

    def store(self, key: str, value: Secret) -> None:
        """Put one value; replaces."""
        self._kept[key] = value

    def remove(self, key: str) -> None:
        """Remove one value."""
        self._kept.pop(key, None)

    def version(self) -> object:
        """Nothing else can change it."""
        return None


class Compartment:
    """One compartment's names: a `ports.Secrets` of its own."""

    def __init__(self, custody: _Custody, label: str) -> None:
        self._custody = custody
        self._prefix = f"{label}/"

    async def get(self, name: str) -> Secret | None:
        """The secret's bytes, or None where it is not set.

        Raises:
            ConfigError: the backend cannot be opened: a wrong passphrase, a damaged file.
            StoreError: the backend failed (`secret_unavailable`).
        """
        check_secret_name(name)
        return (await self._custody.current()).get(self._prefix + name)

    async def put(self, name: str, value: bytes) -> None:
        """Store durably; replaces.

        Raises:
            CallerError: the name is not `[a-z0-9._-]{1,64}`, or the value is empty or larger than 64 KiB.
            ConfigError, StoreError: as `get`; the old value stays.
        """
        check_secret_name(name)
        if not 0 < len(value) <= MAX_VALUE_BYTES:
            raise CallerError(f"expected a secret of 1 to {MAX_VALUE_BYTES} bytes, got {len(value)}")
        await self._custody.store(self._prefix + name, Secret(value))

    async def delete(self, name: str) -> bool:
        """Remove; False where it was not set. Raises as `put`."""
        check_secret_name(name)
        return await self._custody.remove(self._prefix + name)

    async def names(self) -> Sequence[str]:
        """All names, sorted. Raises as `get`."""
        keys = await self._custody.current()
        return sorted(key.removeprefix(self._prefix) for key in keys if key.startswith(self._prefix))


class Vault(Compartment):
    """Custody of every secret; as a `ports.Secrets` it is the operator's own compartment.

    Args:
        backend: where secrets are kept.
        description: the backend in words an operator understands, for diagnostics.
        warning: what to tell an operator of how the backend was chosen; empty where there is nothing.
        new_files: the files that this vault makes, or that name it, none of which was there before it.
    """

    def __init__(
        self, backend: Backend, description: str, *, warning: str = "", new_files: Sequence[Path] = ()
    ) -> None:
        self.description = description
        self.warning = warning
        self.new_files = new_files
        super().__init__(_Custody(backend), OPERATOR_COMPARTMENT)
        self._public: list[bytes] = []

    def read(self) -> None:
        """Read everything now, where this thread may wait, so that no call does. Raises as `get`."""
        self._custody.read()

    def compartment(self, label: str) -> Compartment:
        """The names of one part of the daemon, apart from all others."""
        check_secret_name(label)
        return Compartment(self._custody, label)

    def redaction_set(self) -> frozenset[bytes]:
        """Every secret the redactor must know: all that is kept, and the last few thousand seen before.

        A value that was replaced a moment ago is still in it: an upstream may only now answer with it.
        """
        return self._custody.seen()

    def remember(self, value: bytes, owner: str) -> Secret:
        """Add a credential that an upstream issued (an access token, say) to `redaction_set`.

        Args:
            value: the credential.
            owner: the id of the provider or server that issued it.

        Raises:
            UpstreamError: it could be ordinary text, so redacting it would blank out what it is not; nothing was added
                (`upstream_refused`).
        """
        secret = Secret(value)
        if not self._custody.knows(secret):
            check_issued_token(value, owner, self._public)
        self._custody.see({secret: owner})
        return secret

    def keep_in_sight(self, value: bytes, owner: str) -> None:
        """Add a secret that is kept elsewhere to `redaction_set`, for as long as the process lives."""
        self._custody.keep(Secret(value), owner)

    def keep_public(self, value: bytes) -> None:
        """Let no upstream make a secret of this, or of a part of it: what is looked for in it would be cut out."""
        self._public.append(value)

    def owner_of(self, value: bytes) -> str:
        """Whose a secret of `redaction_set` is: its name in the operator's compartment, or the part that holds it."""
        return self._custody.owners().get(value, "")

    @property
    def revision(self) -> int:
        """Grows whenever `redaction_set` does: the redactor rebuilds when it differs."""
        return self._custody.revision


class _Custody:
    """The table in memory, the backend behind it, and the lock that keeps their order the same."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._table: dict[str, Secret] | None = None
        self._version: object = None
        self._changing = asyncio.Lock()
        self._recent: dict[Secret, str] = {}  # values seen and whose they are, oldest first; some no longer kept
        self._sighted: dict[Secret, str] = {}  # kept elsewhere, and never forgotten
        self.revision = 0

    async def current(self) -> Mapping[str, Secret]:
        if self._table is not None and self._version == self._backend.version():
            return self._table
        async with self._changing:
            return await self._reload()

    def read(self) -> None:
        version = self._backend.version()  # before reading: what changes in between is read again
        self._take(self._backend.load(), version)

    async def store(self, key: str, value: Secret) -> None:
        async with self._changing:
            table = await self._reload()
            self.see({value: _owner_in(key)})  # before it is anywhere else
            await self._change(lambda: self._backend.store(key, value))
            table[key] = value

    async def remove(self, key: str) -> bool:
        async with self._changing:
            table = await self._reload()
            if key not in table:
                return False
            await self._change(lambda: self._backend.remove(key))
            del table[key]
            return True

    def see(self, values: Mapping[Secret, str]) -> None:
        new = {value: owner for value, owner in values.items() if value not in self._recent}
        if not new:
            return
        self._recent.update(new)
        while len(self._recent) > MAX_RECENT_VALUES:
            del self._recent[next(iter(self._recent))]
        self.revision += 1

    def keep(self, value: Secret, owner: str) -> None:
        self._sighted[value] = owner
        self.revision += 1

    def seen(self) -> frozenset[bytes]:
        return frozenset(self._recent).union(self._sighted, (self._table or {}).values())

    def knows(self, value: Secret) -> bool:
        return value in self._recent or value in self._sighted or value in (self._table or {}).values()

    def owners(self) -> Mapping[bytes, str]:
        kept = ((value, _owner_in(key)) for key, value in (self._table or {}).items())
        return dict[bytes, str]((*self._recent.items(), *kept, *self._sighted.items()))

    async def _reload(self) -> dict[str, Secret]:
        version = self._backend.version()  # as in `read`
        if self._table is None or version != self._version:
            return self._take(await in_thread(self._backend.load), version)
        return self._table

    def _take(self, table: dict[str, Secret], version: object) -> dict[str, Secret]:
        self._table, self._version = table, version
        self.see({value: _owner_in(key) for key, value in table.items()})
        return table

    async def _change(self, work: Callable[[], None]) -> None:
        try:
            await in_thread(work)
        except BaseException:
            self._table = None  # it may have taken effect, or still will: read again what is kept
            raise
        self._version = self._backend.version()


def _owner_in(key: str) -> str:
    """Whose the value at a backend's key is: the operator's by its own name, a provider's or server's by its id."""
    compartment, _, name = key.partition("/")
    return name if compartment == OPERATOR_COMPARTMENT else name.rpartition(".")[0] or compartment


def check_secret_name(name: str) -> None:
    """Check a name.

    Raises:
        CallerError: it is not of `identifiers.NAME`.
    """
    if not is_name(name):
        raise CallerError(f"expected a secret name of {NAME_RULE}, got `{name[:80]}`")


def begin_in_thread(work: Callable[[], _T]) -> Future[_T]:
    """Begin to run a blocking function on a thread of its own.

    The thread is a daemon thread: a keyring that waits for a password prompt nobody sees must not keep the process
    from ending, as a pool's thread would.
    """
    answer: Future[_T] = Future()
    answer.set_running_or_notify_cancel()  # from now on nobody who stops waiting can cancel it

    def run() -> None:
        try:
            answer.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the work is awaited
            answer.set_exception(error)

    threading.Thread(target=run, name="briefcase-vault", daemon=True).start()
    return answer


async def answer_of(begun: Future[_T], *, timeout_s: float = BACKEND_TIMEOUT_S) -> _T:
    """What a function that was begun comes to.

    Raises:
        StoreError: it took longer than `timeout_s` (`secret_unavailable`); it may still take effect later.
    """
    try:
        return await asyncio.wait_for(asyncio.wrap_future(begun), timeout_s)
    except TimeoutError:
        raise StoreError(
            f"the secret store gave no answer within {timeout_s:g} s",
            code="secret_unavailable",
            hint="unlock the keyring, or use the encrypted file: BRIEFCASE_SECRET_BACKEND=file",
        ) from None


async def in_thread(work: Callable[[], _T], *, timeout_s: float = BACKEND_TIMEOUT_S) -> _T:
    """Run a blocking function on a thread of its own. Raises as `answer_of`."""
    return await answer_of(begin_in_thread(work), timeout_s=timeout_s)
