"""The figures and the alert rules in a real Prometheus; where none is installed, each test says what was not tried."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from support.addresses import free_port
from support.daemons import RunningDaemon
from support.waiting import BOUND_S, wait_until

OPS = Path(__file__).parents[2] / "docs" / "ops"
UNIT_TESTS = Path(__file__).parent / "alerts_test.yml"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="promtool is not installed: no alert rule was fired on made-up data (Debian: apt-get install prometheus)",
)
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None,
    reason="prometheus is not installed: nothing scraped the daemon (Debian: apt-get install prometheus)",
)


def alerts() -> set[str]:
    return set(re.findall(r"- alert: (\w+)", (OPS / "alerts.yml").read_text()))


# --- the rules on made-up data ----------------------------------------------------------------------------------------


@needs_promtool
def test_every_alert_fires_on_its_fault_and_none_on_a_healthy_daemon():
    done = subprocess.run(["promtool", "test", "rules", UNIT_TESTS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_both_tests():
    healthy, faulty = UNIT_TESTS.read_text().split("- name: each fault")
    assert len(alerts()) > 5
    assert set(re.findall(r"alertname: (\w+), exp_alerts: \[\]", healthy)) == alerts()
    assert set(re.findall(r"alertname: (\w+)\n +exp_alerts:\n", faulty)) == alerts()


# --- a server that scrapes --------------------------------------------------------------------------------------------


class Prometheus:
    """A server on loopback that scrapes one daemon five times a second."""

    def __init__(self, directory: Path, target: str, token_file: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        config = {
            "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"},
            "rule_files": [str(OPS / "alerts.yml")],
            "scrape_configs": [
                {
                    "job_name": "briefcase",
                    "authorization": {"credentials_file": str(token_file)},
                    "static_configs": [{"targets": [target]}],
                }
            ],
        }
        (directory / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        self.log = (directory / "prometheus.log").open("wb")
        self.process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'tsdb'}",
                f"--web.listen-address={self.url.removeprefix('http://')}",
            ],
            stdout=self.log,
            stderr=self.log,
        )

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=BOUND_S)
        self.log.close()

    def get(self, path: str, **query: str):
        with urllib.request.urlopen(f"{self.url}{path}?{urllib.parse.urlencode(query)}", timeout=BOUND_S) as response:
            return json.loads(response.read())["data"]

    def value(self, query: str) -> float | None:
        result = self.get("/api/v1/query", query=query)["result"]
        return float(result[0]["value"][1]) if result else None

    def target(self) -> dict:
        """How its last scrape went; nothing before the first one."""
        return next(iter(self.get("/api/v1/targets")["activeTargets"]), {"health": "unknown"})


def wait_for(is_so) -> None:
    def asked() -> bool:
        with suppress(urllib.error.URLError, ConnectionError):  # it is still starting
            return is_so()
        return False

    wait_until(asked)


@contextmanager
def scraped(tmp_path, token: str = "auditor_token"):
    address = f"127.0.0.1:{free_port()}"
    with RunningDaemon(tmp_path / "data", BRIEFCASE_TCP_ADDR=address) as daemon:
        token_file = tmp_path / "token"
        token_file.touch(0o600)
        found = daemon.data_dir / token
        token_file.write_text(found.read_text() if found.exists() else token)
        prometheus = Prometheus(tmp_path, address, token_file)
        try:
            yield daemon, prometheus
        finally:
            prometheus.stop()


@needs_prometheus
def test_a_real_prometheus_scrapes_the_figures_evaluates_every_rule_and_sees_the_daemon_go(tmp_path):
    with scraped(tmp_path) as (daemon, prometheus):
        for _ in range(3):
            daemon.call("echo", {"text": "hi"})
        daemon.call("no_such_tool", {})
        wait_for(lambda: prometheus.value('briefcase_calls_total{status="ok"}') == 3)
        assert (prometheus.target()["health"], prometheus.target()["lastError"]) == ("up", "")
        assert prometheus.value('up{job="briefcase"}') == 1
        assert prometheus.value('briefcase_calls_total{status="denied",reason="unknown_tool"}') == 1
        assert prometheus.value("briefcase_call_duration_seconds_count") == 4
        assert prometheus.value("histogram_quantile(0.95, briefcase_call_overhead_seconds_bucket)") < 1
        assert prometheus.value("briefcase_ledger_gate_open") == 1
        assert prometheus.value("briefcase_ledger_entries_total") >= 7

        def rules() -> dict:
            return {
                rule["name"]: rule for group in prometheus.get("/api/v1/rules")["groups"] for rule in group["rules"]
            }

        wait_for(lambda: all(rule["health"] == "ok" for rule in rules().values()))
        assert set(rules()) == alerts()
        assert {rule["state"] for rule in rules().values()} == {"inactive"}

        daemon.kill()
        wait_for(lambda: prometheus.value('up{job="briefcase"}') == 0)
        wait_for(lambda: rules()["BriefcaseDown"]["state"] == "pending")  # it fires after a minute


@needs_prometheus
def test_a_prometheus_with_no_token_of_the_daemons_gets_nothing(tmp_path):
    with scraped(tmp_path, token="x" * 43) as (_, prometheus):
        wait_for(lambda: prometheus.target()["health"] == "down")
        assert "401" in prometheus.target()["lastError"]
        assert prometheus.value("briefcase_calls_total") is None
