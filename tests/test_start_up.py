"""Each program loads only its own rooms, and no library that another one needs."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from briefcase.edges.cli import late

LOADED = """
import sys
before = set(sys.modules)
import {module}
names = set(sys.modules) - before
own = {{tuple(name.split(".")[1:3]) for name in names if name.startswith("briefcase.")}}
print(*sorted("/".join(place) for place in own if len(place) == 2 and place[0] not in ("_native", "model")))
print(*sorted({{name.split(".")[0] for name in names}}))
"""
SHARED = {"adapters/disk", "adapters/peers", "adapters/telemetry", "core/jose", "core/json", "edges/http"}
GATEWAY = SHARED | {
    "adapters/service_manager", "adapters/store", "adapters/vault", "core/mcp", "core/receipts", "core/redaction",
    "core/wire", "edges/client", "edges/gateway",
}  # fmt: skip
PROVIDER_GATEWAY = SHARED | {"edges/provider_gateway"}
OF_THE_DAEMON = {"aiohttp", "cedarpy", "jsonschema_rs", "keyring", "lmdb", "sqlite3", "sqlalchemy", "opentelemetry"}
OF_A_FIRST_CALL = {"aiohttp", "joserfc", "opentelemetry", "prometheus_client"}  # the daemon loads them once it answers
OF_NOBODY = {"uvicorn", "click", "rich"}


@pytest.mark.parametrize(
    ("module", "rooms", "not_loaded"),
    [
        ("briefcase.edges.http.server", SHARED, {"blacksheep"} | OF_THE_DAEMON | OF_NOBODY),
        ("briefcase.edges.gateway.serve", GATEWAY, {"blacksheep"} | OF_THE_DAEMON | OF_NOBODY),
        ("briefcase.edges.provider_gateway.serving", PROVIDER_GATEWAY, OF_THE_DAEMON | OF_NOBODY),
        ("briefcase.daemon.composition", None, {"blacksheep", "jinja2"} | OF_A_FIRST_CALL | OF_NOBODY),
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


def test_structlog_is_imported_where_rich_is_hidden_and_nowhere_else():
    def imports(tree):
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield node.module or ""

    importers = {
        path.name
        for path in Path("briefcase").rglob("*.py")
        if any(name.partition(".")[0] == "structlog" for name in imports(ast.parse(path.read_text())))
    }
    assert importers == {"logger.py"}


def imports_of(stderr: str) -> list[str]:
    """The names that `-X importtime` wrote, in order."""
    return [line.split("|")[2].strip() for line in stderr.splitlines() if line.startswith("import time:")]


def imports_of_a_run(*args: str, **environ: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "briefcase", *args],
        check=False,
        env={"PATH": os.environ["PATH"], **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return imports_of(done.stderr)


def packages_of(imported: list[str]) -> set[str]:
    return {name.split(".")[0] for name in imported}


def test_the_gateway_that_is_started_loads_no_daemon(tmp_path):
    imported = imports_of_a_run("gateway", BRIEFCASE_DATA_DIR=str(tmp_path), BRIEFCASE_AUTH_TOKEN="bca_" + "t" * 40)
    assert "briefcase.edges.gateway.serve" in imported
    imported = [name for name in imported if name != "rich"]  # an attempt that finds nothing is a line too
    not_its_own = OF_THE_DAEMON | OF_NOBODY - {"click"} | {"joserfc"}
    assert [name for name in imported if name.startswith("briefcase.daemon")] == []
    assert sorted(packages_of(imported) & not_its_own) == []


TELLS_WHAT_IS_LOADED = """
import sys
from briefcase.__main__ import Root
from briefcase.edges.cli.main import main

class Telling(Root):
    def serve(self, environ, on_ready=None):
        super().serve(environ, lambda: print(*sys.modules, flush=True))

code = main(Telling())
print(*sys.modules)
sys.exit(code)
"""


def test_the_daemon_that_is_started_answers_before_it_loads_what_only_a_first_call_needs(tmp_path):
    environ = {
        "PATH": os.environ["PATH"],
        "BRIEFCASE_DATA_DIR": str(tmp_path / "data"),
        "BRIEFCASE_UNIX_SOCKET": str(tmp_path / "daemon.sock"),
        "BRIEFCASE_SECRET_BACKEND": "file",
        "BRIEFCASE_LOG_FILE": str(tmp_path / "log"),
    }
    with subprocess.Popen(
        [sys.executable, "-c", TELLS_WHAT_IS_LOADED, "daemon"], env=environ, stdout=subprocess.PIPE, text=True
    ) as daemon:
        at_ready = daemon.stdout.readline().split()
        daemon.terminate()
        at_end = daemon.stdout.read().split()
    assert daemon.returncode == 0, (tmp_path / "log").read_text()[-2_000:]
    assert "briefcase.daemon.serving" in at_ready
    loaded = [name for name in at_ready if name != "rich"]
    not_yet = OF_A_FIRST_CALL | OF_NOBODY - {"click"} | {"blacksheep", "jinja2", "keyring", "sqlalchemy"}
    assert sorted(packages_of(loaded) & not_yet) == []
    assert {"aiohttp", "joserfc", "prometheus_client"} <= packages_of(at_end)


@pytest.mark.parametrize(
    ("args", "rooms"),
    [
        (["--help"], {"edges/cli"}),
        (["--version"], {"edges/cli"}),
        (
            ["tools", "list", "--json"],  # as far as a daemon that does not answer
            {
                "adapters/disk", "adapters/peers", "adapters/store", "core/jose", "core/json", "core/wire", "edges/cli",
                "edges/client",
            },
        ),
    ],
)  # fmt: skip
def test_a_command_loads_only_its_own_rooms_and_no_table_writer_where_it_writes_none(tmp_path, args, rooms):
    imported = imports_of_a_run(*args, BRIEFCASE_DATA_DIR=str(tmp_path), HOME=str(tmp_path))
    assert "briefcase.edges.cli.main" in imported
    own = {"/".join(name.split(".")[1:3]) for name in imported if name.count(".") > 1 and name.startswith("briefcase.")}
    assert {room for room in own if not room.startswith(("_native", "model"))} == rooms
    assert sorted(packages_of(imported) & (OF_THE_DAEMON | OF_NOBODY - {"click"} | {"asyncio", "cryptography"})) == []


def test_what_a_command_loads_late_is_what_the_types_say_and_nothing_of_it_is_loaded_before():
    tree = ast.parse(Path(late.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {}
    for node in block.body:
        for alias in node.names:
            place = alias.name if isinstance(node, ast.Import) else f"{node.module}.{alias.name}"
            typed[alias.asname or alias.name] = place
    proxies = {name: vars(value)["_name"] for name, value in vars(late).items() if type(value).__name__ == "_Late"}
    assert proxies == typed
    assert sorted(late.__all__) == sorted(typed)
    code = "import sys, briefcase.edges.cli.main; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    )
    assert set(typed.values()) & loaded == set()
