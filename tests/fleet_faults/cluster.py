"""A replicated PostgreSQL: three servers under Patroni, which agree over etcd on who is the primary.

A commit is acknowledged once a standby has it too (`synchronous_mode_strict`), so that a failover loses nothing of what
was acknowledged. Configuration: the manuals of Patroni 3.0 and etcd 3.4.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg
from machines import NETWORK, Machine, until

NODES: Final = 3
DISK_MIB: Final = 640
TTL_S: Final = 20  # the least that Patroni takes
HEALTHY_S: Final = 90.0
ROLE: Final = "briefcase"

_WELL: Final = frozenset({"running", "streaming"})


class Cluster:
    """The servers and their etcd.

    Args:
        directory: for everything.
        binaries: of PostgreSQL.
    """

    def __init__(self, directory: Path, binaries: Path) -> None:
        self._binaries = binaries
        self.etcd = Machine("etcd", 10, directory)
        self.nodes = [Machine(f"db{number}", 10 + number, directory) for number in range(1, NODES + 1)]
        for node in self.nodes:
            node.mount_disk(DISK_MIB)

    @property
    def url(self) -> str:
        """Where the control plane's database is: every server is named, the one that takes writes is used."""
        return f"postgresql://{ROLE}@{','.join(f'{node.address}:5432' for node in self.nodes)}/{ROLE}"

    async def start(self, session: aiohttp.ClientSession) -> None:
        """Start everything, and make the role and its database."""
        self._session = session
        client = f"http://{self.etcd.address}:2379"
        self.etcd.start(
            ["etcd", "--data-dir", str(self.etcd.directory / "data"), "--listen-client-urls", client,
             "--advertise-client-urls", client, "--listen-peer-urls", f"http://{self.etcd.address}:2380",
             "--unsafe-no-fsync"]
        )  # fmt: skip
        for node in self.nodes:
            config = node.directory / "patroni.yml"
            config.write_text(json.dumps(self._config(node)))  # JSON is YAML
            node.start(["/usr/bin/patroni", str(config)], is_nobody=True, environ={"LC_ALL": "C.UTF-8"})
        await self.healthy()
        connection = await self.connect("postgres", "postgres")
        await connection.execute(f"create role {ROLE} login")
        await connection.execute(f"create database {ROLE} owner {ROLE}")
        await connection.close()

    async def members(self) -> list[dict[str, Any]]:
        """What Patroni says of the servers, by the first that answers; none where nobody does."""
        for node in self.nodes:
            try:
                async with self._session.get(
                    f"http://{node.address}:8008/cluster", timeout=aiohttp.ClientTimeout(total=1)
                ) as answer:
                    members: list[dict[str, Any]] = (await answer.json())["members"]
                    return members
            except (TimeoutError, OSError, aiohttp.ClientError, KeyError):
                continue
        return []

    async def healthy(self, count: int = NODES) -> None:
        """Wait until so many servers are well, one of them the primary and one its synchronous standby.

        Raises:
            TimeoutError: it took too long.
        """

        async def is_healthy() -> bool:
            roles = [member["role"] for member in await self.members() if member["state"] in _WELL]
            return len(roles) >= count and "leader" in roles and "sync_standby" in roles

        await until(is_healthy, HEALTHY_S)

    async def primary(self) -> Machine:
        """The primary."""
        return (await self._with_role("leader"))[0]

    async def standby(self) -> Machine:
        """The synchronous standby."""
        return (await self._with_role("sync_standby"))[0]

    async def _with_role(self, role: str) -> Sequence[Machine]:
        names = [member["name"] for member in await self.members() if member["role"] == role]
        return [node for node in self.nodes if node.name in names]

    def kill(self, node: Machine) -> None:
        """Kill PostgreSQL on a machine; Patroni stays."""
        pid = int((node.directory / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
        os.kill(pid, signal.SIGKILL)

    async def connect(self, user: str, database: str) -> asyncpg.Connection:
        """A connection to the primary."""
        hosts = ",".join(f"{node.address}:5432" for node in self.nodes)
        return await asyncpg.connect(f"postgresql://{user}@{hosts}/{database}?target_session_attrs=read-write")

    def _config(self, node: Machine) -> dict[str, Any]:
        data = node.directory / "data"
        return {
            "scope": "fleet",
            "name": node.name,
            "restapi": {"listen": f"{node.address}:8008", "connect_address": f"{node.address}:8008"},
            "etcd3": {"hosts": f"{self.etcd.address}:2379"},
            "bootstrap": {
                "dcs": {
                    "ttl": TTL_S,
                    "loop_wait": 1,
                    "retry_timeout": 3,
                    "primary_start_timeout": 0,
                    "synchronous_mode": True,
                    "synchronous_mode_strict": True,
                    "postgresql": {
                        "use_pg_rewind": True,
                        "parameters": {
                            "max_wal_size": "64MB",
                            "min_wal_size": "32MB",
                            "wal_keep_size": "64MB",
                            "wal_log_hints": "on",
                        },
                    },
                },
                "initdb": ["no-locale", "data-checksums", {"encoding": "UTF8"}],
                "pg_hba": [
                    "local all all trust",
                    f"host all all {NETWORK}.0/24 trust",
                    f"host replication all {NETWORK}.0/24 trust",
                ],
            },
            "postgresql": {
                "listen": f"{node.address}:5432",
                "connect_address": f"{node.address}:5432",
                "data_dir": str(data),
                "bin_dir": str(self._binaries),
                "pgpass": str(node.directory / "pgpass"),
                "authentication": {
                    "superuser": {"username": "postgres"},
                    "replication": {"username": "replicator"},
                    "rewind": {"username": "rewinder"},
                },
                "parameters": {"unix_socket_directories": str(node.directory)},
            },
        }


def missing() -> list[str]:
    """What has to be installed for all of this, by Debian's names of packages."""
    needed = {
        "patroni": Path("/usr/bin/patroni").exists(),
        "etcd-server": shutil.which("etcd") is not None,
        "haproxy": shutil.which("haproxy", path="/usr/sbin:/usr/bin") is not None,
        "faketime": bool(list(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))),
        "iproute2": shutil.which("ip") is not None,
        "util-linux": shutil.which("unshare") is not None and shutil.which("setpriv") is not None,
    }
    return [package for package, is_there in needed.items() if not is_there]


def binaries_problem(binaries: Path) -> str:
    """What a directory of PostgreSQL lacks, or nothing."""
    lacking = [name for name in ("postgres", "initdb", "pg_basebackup", "pg_rewind") if not (binaries / name).exists()]
    if lacking:
        return f"`{binaries}` has no `{lacking[0]}`"
    subprocess.run([binaries / "postgres", "--version"], check=True, capture_output=True)
    return ""
