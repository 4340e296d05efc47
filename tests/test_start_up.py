"""Each program loads only its own rooms, and no library that another one needs."""

import subprocess
import sys

import pytest

LOADED = """
import sys
before = set(sys.modules)
import {module}
names = set(sys.modules) - before
print(*sorted({{name.split(".")[1] for name in names if name.startswith("briefcase.")}}))
print(*sorted({{name.split(".")[0] for name in names}}))
"""
SHARED = {"__version__", "_native", "http", "model", "strict_json"}
GATEWAY = SHARED | {
    "client", "disk", "gateway", "jose", "mcp", "receipts", "redaction", "secret_forms", "telemetry", "vault", "wire",
}  # fmt: skip
PROVIDER_GATEWAY = SHARED | {"disk", "jose", "provider_gateway"}
SERVER = {"http", "jose", "model", "strict_json", "_native"}
OF_THE_DAEMON = {"aiohttp", "cedarpy", "jsonschema_rs", "keyring", "lmdb", "sqlite3", "sqlalchemy", "opentelemetry"}
OF_NOBODY = {"uvicorn", "click"}


@pytest.mark.parametrize(
    ("module", "rooms", "not_loaded"),
    [
        ("briefcase.http.server", SERVER, {"blacksheep"} | OF_THE_DAEMON | OF_NOBODY),
        ("briefcase.gateway.serve", GATEWAY, {"blacksheep"} | OF_THE_DAEMON | OF_NOBODY),
        ("briefcase.provider_gateway.serving", PROVIDER_GATEWAY, OF_THE_DAEMON | OF_NOBODY),
        ("briefcase.daemon", None, {"blacksheep"} | OF_NOBODY),
    ],
)
def test_a_program_loads_only_its_own_rooms(module, rooms, not_loaded):
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(module=module)], check=True, capture_output=True, text=True
    )
    own, all_names = (set(line.split()) for line in done.stdout.splitlines())
    if rooms is not None:
        assert own <= rooms, f"`{module}` loads rooms that are not its own"
    assert sorted(all_names & not_loaded) == []
