"""A database that is killed, away or read-only: 503 and come again, and nothing acknowledged is lost."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import pytest

from briefcase.edges.control_plane import connecting
from briefcase.edges.control_plane.connecting import Connector
from briefcase.edges.control_plane.database import Database, UnavailableError
from briefcase.edges.control_plane.embedded import EmbeddedPostgres
from briefcase.model.errors import ConfigError
from support.fleet_server import AUDITOR_TOKEN, RunningControlPlane, chain


@asynccontextmanager
async def plane_of_its_own(tmp_path):
    postgres = EmbeddedPostgres(tmp_path / "pg")
    await postgres.start()
    try:
        async with RunningControlPlane(postgres.url, tmp_path / "cp") as plane:
            yield postgres, plane
    finally:
        await postgres.stop()


async def until(asked, expected: int):
    """Ask again until this status comes; what takes longer than the test's own limit has failed."""
    while True:
        got = await asked()
        if got.status == expected:
            return got
        await asyncio.sleep(0.05)


async def test_a_killed_database_costs_answers_and_no_receipt(tmp_path):
    async with plane_of_its_own(tmp_path) as (postgres, plane):
        device = await plane.new_device()
        receipts = chain(40)
        acknowledged = 0
        keeping = asyncio.create_task(postgres.keep_running())
        for kill in range(3):
            await until(lambda: plane.send("GET", "/ready"), 200)
            os.kill(postgres.pid, signal.SIGKILL)
            while acknowledged < (kill + 1) * 10:
                got = await device.upload(receipts[acknowledged : acknowledged + 5])
                if got.status == 200:
                    acknowledged = got.body["last_receipt_id"]
                else:
                    assert (got.status, got.word, got.headers["retry-after"]) == (503, "not_ready", "1"), got
                    await asyncio.sleep(0.05)
        keeping.cancel()
        listed = await plane.admin("GET", f"/v1/audit/receipts?device_id={device.id}&limit=100", token=AUDITOR_TOKEN)
        assert [receipt["id"] for receipt in listed.body["receipts"]][::-1] == list(range(1, acknowledged + 1))


async def test_a_database_that_is_away_is_said_so_and_every_path_tells_to_come_again(tmp_path):
    async with plane_of_its_own(tmp_path) as (postgres, plane):
        device = await plane.new_device()
        os.kill(postgres.pid, signal.SIGKILL)
        await postgres._process.wait()
        for asked in (
            lambda: plane.send("GET", "/ready"),
            lambda: plane.admin(
                "POST", "/v1/admin/policy", {"policy_text": "permit(principal, action, resource);", "budgets": {}}
            ),
            lambda: plane.admin("GET", "/v1/admin/devices"),
            lambda: device.call("GET", "policy"),
            lambda: device.upload(chain(1)),
            lambda: device.call("GET", "remote-signer"),
        ):
            got = await asked()
            assert (got.status, got.word, got.headers["retry-after"]) == (503, "not_ready", "1"), got
        assert (await plane.send("GET", "/health")).status == 200


async def test_a_database_that_only_reads_decides_nothing(plane, database_url):
    device = await plane.new_device()
    connection = await asyncpg.connect(database_url)  # as the owner of the database
    name = await connection.fetchval("select current_database()")
    await connection.execute(f"alter database {name} set default_transaction_read_only = on")
    await connection.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and pid <> pg_backend_pid()", name
    )
    await connection.close()
    assert (await device.upload(chain(1))).status == 503
    assert (await device.call("GET", "policy")).status == 503


async def test_a_database_that_is_slow_is_said_so_and_takes_the_same_again_when_it_is_not(
    database_url, tmp_path, monkeypatch
):
    async with RunningControlPlane(database_url, tmp_path / "cp") as plane:
        device = await plane.new_device()
        monkeypatch.setattr(connecting, "STATEMENT_TIMEOUT_S", 0.5)  # of connections that are made from here on
        await plane.services.database._pool.expire_connections()
        await plane.services.database._engine.dispose()
        slow = await asyncpg.connect(database_url)
        holding = slow.transaction()
        await holding.start()
        await slow.execute("lock table device_heads in access exclusive mode")
        receipts = chain(3)
        for asked in (lambda: device.upload(receipts), lambda: plane.admin("GET", "/v1/admin/devices")):
            got = await asked()
            assert (got.status, got.word, got.headers["retry-after"]) == (503, "not_ready", "1"), got
        await holding.rollback()
        await slow.close()
        got = await until(lambda: device.upload(receipts), 200)
        assert got.body == {"stored": 3, "last_receipt_id": 3}


async def test_tables_of_a_newer_program_are_refused(database_url, tmp_path):
    database = Database(database_url)
    await database.open()
    await database.fetch("update alembic_version set version_num = '9999'")
    await database.close()
    newer = Database(database_url)
    with pytest.raises(ConfigError, match="newer version"):
        await newer.open()
    await newer.close()


async def test_processes_that_start_at_once_make_the_tables_once(database_url):
    databases = [Database(database_url) for _ in range(4)]
    await asyncio.gather(*(database.open() for database in databases))
    assert await databases[0].fetchval("select count(*) from alembic_version") == 1
    for database in databases:
        await database.close()


async def test_a_commit_that_no_standby_heard_of_is_not_believed(database_url):
    database = Database(database_url)
    await database.open()
    warning = "do $$ begin raise warning 'canceling wait for synchronous replication due to user request'; end $$"
    with pytest.raises(UnavailableError):
        await database.fetch(warning)
    await database.close()


@pytest.mark.parametrize("url", ["", "mysql://host/database", "postgresql://host", "nonsense"])
def test_a_url_that_names_no_postgresql_is_refused_without_being_shown(url):
    with pytest.raises(ConfigError, match="BRIEFCASE_CONTROL_PLANE_DATABASE_URL") as refused:
        Database(url)
    assert not url or url not in refused.value.message


# --- several hosts ----------------------------------------------------------------------------------------------------


async def test_of_two_servers_the_one_that_takes_writes_is_used_by_devices_and_administrators(tmp_path):
    async with AsyncExitStack() as stack:
        reads, writes = [EmbeddedPostgres(tmp_path / name) for name in ("reads", "writes")]
        for postgres in (reads, writes):
            await postgres.start()
            stack.push_async_callback(postgres.stop)
        connection = await asyncpg.connect(reads.superuser_url)
        await connection.execute("alter system set default_transaction_read_only = on")
        await connection.execute("select pg_reload_conf()")
        await connection.close()
        sockets = ",".join(str(tmp_path / name / "socket") for name in ("reads", "writes"))
        url = f"postgresql://briefcase@/briefcase?host={sockets}"
        plane = await stack.enter_async_context(RunningControlPlane(url, tmp_path / "cp"))
        device = await plane.new_device()
        for _ in range(3):
            await plane.services.database._engine.dispose()
            assert (await plane.admin("POST", f"/v1/admin/devices/{device.id}/rotate")).status == 200


class Connected:
    """A connection, by the host it is to."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.is_ended = False

    def terminate(self) -> None:
        self.is_ended = True


HOSTS = {
    "replica": asyncpg.TargetServerAttributeNotMatched("it reads"),
    "starting": asyncpg.CannotConnectNowError("it starts"),
    "away": ConnectionRefusedError(),
    "strange": asyncpg.InvalidAuthorizationSpecificationError("it knows nobody"),
}


@pytest.fixture
def network(monkeypatch):
    """Hosts that are well, dark or otherwise, by their names; gives every connection that was made."""
    made = []

    async def connect(_url, *, host, **_):
        if host == "dark":
            await asyncio.Event().wait()
        if host in HOSTS:
            raise HOSTS[host]
        made.append(Connected(host))
        return made[-1]

    monkeypatch.setattr(asyncpg, "connect", connect)
    return made


async def test_the_primary_is_found_beside_hosts_that_are_dark_or_starting_or_replicas(network):
    connector = Connector("postgresql://u@dark,replica,starting,away,strange,primary/d")
    assert (await connector.connect()).host == "primary"
    assert [connection.is_ended for connection in network] == [False]


async def test_a_second_connection_that_was_made_meanwhile_is_ended(network):
    chosen = await Connector("postgresql://u@one,other/d").connect()
    assert sorted(connection.is_ended for connection in network) == [False, True]
    assert not chosen.is_ended


@pytest.mark.parametrize("host", HOSTS)
async def test_where_no_host_takes_writes_the_database_is_not_available(network, host):
    database = Database(f"postgresql://u@{host}/d")
    with pytest.raises(UnavailableError):
        await database.open()
    await database.close()


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://u@h/d", [("h", 5432)]),
        ("postgres://u:p@h:1/d", [("h", 1)]),
        ("postgresql://u@a:1,b:2/d", [("a", 1), ("b", 2)]),
        ("postgresql://u@a,b:2/d", [("a", 5432), ("b", 2)]),
        ("postgresql://u@[::1]:1,[::2]/d", [("::1", 1), ("::2", 5432)]),
        ("postgresql://u@/d?host=a,b&port=1,2", [("a", 1), ("b", 2)]),
        ("postgresql://u@/d?host=a,b&port=7", [("a", 7), ("b", 7)]),
        ("postgresql://u@/d?host=/run/here", [("/run/here", 5432)]),
        ("postgresql:///d", []),
    ],
)
def test_every_host_of_a_url_is_asked(url, hosts):
    assert Connector(url)._hosts == hosts


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@a:1,b:x/d", "postgresql://u@a:0/d", "postgresql://u@a:65536/d", "postgresql://u@a/",
        "postgresql://u@/d?host=a,b,c&port=1,2", f"postgresql://u@{','.join('abcdefghijklmnopq')}/d", "postgresql://[/d",
    ],
)  # fmt: skip
def test_hosts_that_are_none_are_refused_without_being_shown(url):
    with pytest.raises(ConfigError, match="BRIEFCASE_CONTROL_PLANE_DATABASE_URL") as refused:
        Database(url)
    assert url not in refused.value.message
