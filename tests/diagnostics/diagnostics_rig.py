"""The command line as an operator runs it, against a real daemon."""

from __future__ import annotations

from collections.abc import Mapping

from support.cli import Ran
from support.commands import run_command


def briefcase(env: Mapping[str, str], *words: str, cwd=None) -> Ran:
    done = run_command(env, *words, cwd=cwd)
    return Ran(done.returncode, done.stdout, done.stderr)


def newest(daemon, count: int = 1) -> list[dict]:
    """The newest receipts' events, oldest of them first."""
    receipts = daemon.request("GET", f"/v1/receipts?limit={count}")[1]["receipts"]
    return [receipt["event"] for receipt in reversed(receipts)]
