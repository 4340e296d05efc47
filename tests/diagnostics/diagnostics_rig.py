"""The command line as an operator runs it, against a real daemon."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import NamedTuple


class Ran(NamedTuple):
    """One run of the command line."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        return json.loads(self.out)


def briefcase(env: Mapping[str, str], *words: str, cwd=None) -> Ran:
    command = [sys.executable, "-m", "briefcase", *words]
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)
    return Ran(done.returncode, done.stdout, done.stderr)


def newest(daemon, count: int = 1) -> list[dict]:
    """The newest receipts' events, oldest of them first."""
    receipts = daemon.request("GET", f"/v1/receipts?limit={count}")[1]["receipts"]
    return [receipt["event"] for receipt in reversed(receipts)]
