"""What the benchmarks share: a real daemon, the floor measured beside it, and a place for figures.

A figure is what a budget in `slo.toml` is about. It is kept in pytest-benchmark's JSON under `extra_info.figures`.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "tests")]

from floor import bare_echo, synced_commits_us
from load import UNLIMITED

from support.daemons import RunningDaemon

Figure = Callable[[str, float, str], None]


@pytest.fixture
def figure(benchmark) -> Figure:
    """Record one figure of this benchmark: `figure(name, value, unit)`."""
    figures = benchmark.extra_info.setdefault("figures", {})

    def record(name: str, value: float, unit: str) -> None:
        figures[name] = {"value": round(value, 4), "unit": unit}

    return record


@pytest.fixture(scope="session")
def echo_socket():
    """The socket of a bare echo server, for as long as the benchmarks run."""
    with bare_echo() as path:
        yield path


@pytest.fixture(scope="session")
def daemon(tmp_path_factory):
    """A daemon whose rate limits are out of the way."""
    data_dir = tmp_path_factory.mktemp("bench") / "data"
    data_dir.mkdir(mode=0o700)
    (data_dir / "briefcase.toml").write_text(UNLIMITED)
    with RunningDaemon(data_dir) as running:
        yield running


@pytest.fixture(scope="session")
def agent_token(daemon) -> str:
    """The token of an agent called `bench`."""
    status, answer = daemon.request("POST", "/v1/agents", {"name": "bench"})
    assert status == 200, answer
    return answer["token"]


@pytest.fixture
def commit_us(tmp_path) -> float:
    """The median time of one synced commit, measured now, in microseconds."""
    taken = synced_commits_us(tmp_path)
    return taken[len(taken) // 2]


def pytest_benchmark_update_machine_info(config, machine_info) -> None:
    """Describe the machine as far as it matters here."""
    machine_info["lmdb"] = ".".join(map(str, lmdb.version()))
    machine_info["filesystem"] = _filesystem_of(Path.cwd())
    machine_info["kernel"] = platform.release()


def _filesystem_of(path: Path) -> str:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    inside = [(len(mount), kind) for _, mount, kind, *_ in mounts if path.is_relative_to(mount)]
    return max(inside)[1]
