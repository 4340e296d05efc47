"""The program as an operator runs it, in processes of their own: commands, and the reference provider."""

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from support.daemons import RunningDaemon
from support.providers import ADMIN_SECRET
from support.waiting import BOUND_S

ADDRESS = re.compile(r'^(?:.*"url": ?")?(http://127\.0\.0\.1:\d+[^;\s"]*)', re.MULTILINE)


def command_of(*words: str) -> list[str]:
    return [sys.executable, "-m", "briefcase", *words]


def run_command(
    env: Mapping[str, str], *words: str, stdin: str = "", cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """One command in an environment."""
    return subprocess.run(
        command_of(*words),
        env=env,
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )


def briefcase(
    daemon: RunningDaemon, *words: str, stdin: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """One command beside a daemon, as an operator types it."""
    return run_command({**daemon.env, **variables}, *words, stdin=stdin)


def await_address(process: subprocess.Popen[bytes]) -> str:
    """The first address a process writes to its standard error."""
    assert process.stderr is not None
    deadline_s, written = time.monotonic() + BOUND_S, b""
    while time.monotonic() < deadline_s and select.select([process.stderr], [], [], BOUND_S)[0]:
        piece = os.read(process.stderr.fileno(), 4_096)
        written += piece
        found = ADDRESS.search(written.decode())
        if found and written.endswith(b"\n"):
            return found[1]
        if not piece:
            break
    raise AssertionError(f"no address came: {written.decode()}")


@contextmanager
def provider_gateway(state_dir: Path, port: int = 0) -> Iterator[str]:
    """The reference provider as a process; gives its address."""
    words = ("provider-gateway", "--port", str(port), "--state-dir", str(state_dir), "--admin-secret-stdin")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BRIEFCASE_")}
    process = subprocess.Popen(
        command_of(*words), env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert process.stdin is not None
    with process:
        try:
            process.stdin.write(ADMIN_SECRET.encode())
            process.stdin.close()
            yield await_address(process)
        finally:
            process.terminate()
            process.wait(BOUND_S)
