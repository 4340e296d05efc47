"""One PostgreSQL for this folder; a database and a control plane for each test that asks."""

import pytest

from support.fleet_server import RunningControlPlane
from support.postgres import SharedPostgres


@pytest.fixture(scope="session")
def shared_postgres(tmp_path_factory):
    shared = SharedPostgres(tmp_path_factory.mktemp("pg") / "pg")
    yield shared
    shared.close()


@pytest.fixture
def database_url(shared_postgres):
    return shared_postgres.new_database()


@pytest.fixture
async def plane(database_url, tmp_path):
    async with RunningControlPlane(database_url, tmp_path / "control-plane") as running:
        yield running
