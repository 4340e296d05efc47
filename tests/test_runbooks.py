"""Every command of every runbook is run, in its order, against a live daemon with a provider and an MCP server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.commands import provider_gateway
from support.daemons import RunningDaemon

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
FIXTURE = str(Path(__file__).parent / "servers" / "fixture_server.py")
FENCE = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
STOP, START = "# stop the daemon", "# start the daemon"
SHORT = (("--duration-secs 60", "--duration-secs 2"), ("slo check ", "slo check --duration-secs 2 "))


def lines_of(page: Path) -> list[str]:
    return [line for block in FENCE.findall(page.read_text()) for line in block.splitlines() if line.strip()]


class Incident:
    """A daemon as an operator has one, and the shell they type into."""

    def __init__(self, top: Path, daemon: RunningDaemon, provider_url: str) -> None:
        self.top, self.daemon = top, daemon
        for name in ("bin", "my-agent", "safe"):
            (top / name).mkdir(mode=0o700)
        wrapper = top / "bin" / "briefcase"
        wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} -m briefcase "$@"\n')
        wrapper.chmod(0o700)
        (top / "my-agent" / "agent.log").write_text("nothing to see\n")
        (top / "policy.cedar").write_text(daemon.request("GET", "/v1/policy")[1]["policy_text"])
        self.env = {**daemon.env, "PATH": f"{top / 'bin'}:{os.environ['PATH']}"}
        daemon.request("PUT", "/v1/secrets/crm", {"value": "the-credential-of-the-crm"})
        daemon.request("POST", "/v1/agents", {"name": "scout"})
        body = {"command": sys.executable, "args": [FIXTURE, "stdio"]}
        assert daemon.request("POST", "/v1/mcp/servers/files", body)[0] == 200
        assert daemon.request("POST", "/v1/mcp/servers/docs", {"endpoint_url": f"{provider_url}/mcp"})[0] == 200
        for number in range(70):
            daemon.call("echo", {"text": str(number)})
        self.anchor = daemon.request("GET", "/v1/receipts/120")[1]["hash_hex"]
        self.run(f"briefcase receipts export --out {top}/receipts.jsonl")
        made = self.run(f"briefcase backup create --out {top}/monday")
        self.did = re.search(r"did:key:\w+", made)[0]
        (top / "safe" / "vault.key").write_bytes((daemon.data_dir / "vault.key").read_bytes())
        (top / "safe" / "vault.key").chmod(0o600)
        self.places = (
            *SHORT,
            ("/var/log/briefcased.log", daemon.log.name),
            ("/var/log/my-agent/", f"{top}/my-agent/"),
            ("/safe/place/copy", f"{top}/safe/copy"),
            ("/safe/vault.key", f"{top}/safe/vault.key"),
            ("/backup/monday", f"{top}/monday"),
            ("/var/lib/briefcase-new", f"{top}/new"),
            ("did:key:z6Mk…", self.did),
            ("https://provider.example", provider_url),
            ("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", self.anchor),
            ("secrets set crm", "secrets set crm <<< another-credential"),
        )

    def run(self, line: str) -> str:
        """One line of a shell; it must succeed."""
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.top, env=self.env, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, f"`{line}` left with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def follow(self, line: str) -> None:
        """One line of a page."""
        if line.startswith(STOP):
            self.daemon.stop()
            return
        if line.startswith(START):
            self.daemon.start()
            return
        if line.startswith("export "):
            self.daemon.data_dir = self.top / "new"
            self.env["BRIEFCASE_DATA_DIR"] = str(self.top / "new")
            return
        for there, here in self.places:
            line = line.replace(there, here)
        self.run(line)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_runbook_works_in_its_order(page, tmp_path):
    lines = lines_of(page)
    assert len(lines) > 5
    (tmp_path / "provider").mkdir(mode=0o700)
    with (
        provider_gateway(tmp_path / "provider") as url,
        RunningDaemon(tmp_path / "data", BRIEFCASE_PROVIDER_BASE_URL=url) as daemon,
    ):
        incident = Incident(tmp_path, daemon, url)
        for line in lines:
            incident.follow(line)
        assert daemon.request("POST", "/v1/receipts/verify")[1]["ok"]
        assert daemon.call("echo", {"text": "afterwards"})["status"] == "ok"
