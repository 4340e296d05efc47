"""One PostgreSQL for this folder; a database and a control plane for each test that asks.

It is the wheel's newest, or of the version that `BRIEFCASE_TEST_POSTGRESQL` names (`make postgresql`).
"""

import os

import pytest

from support.fleet_server import RunningControlPlane
from support.postgres import SharedPostgres
from support.postgres_versions import find_version, missing


@pytest.fixture(scope="session")
def shared_postgres(tmp_path_factory):
    wanted = os.environ.get("BRIEFCASE_TEST_POSTGRESQL", "")
    binaries = find_version(int(wanted)) if wanted else None
    if wanted and binaries is None:
        pytest.fail(missing(int(wanted)))
    shared = SharedPostgres(tmp_path_factory.mktemp("pg") / "pg", binaries)
    yield shared
    shared.close()


@pytest.fixture
def database_url(shared_postgres):
    return shared_postgres.new_database()


@pytest.fixture
async def plane(database_url, tmp_path):
    async with RunningControlPlane(database_url, tmp_path / "control-plane") as running:
        yield running
