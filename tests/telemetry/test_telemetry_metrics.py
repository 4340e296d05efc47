"""The figures: what a call adds, how Prometheus reads them, who may, and what no label can hold."""

from __future__ import annotations

import errno
import itertools
import json
import re
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

from briefcase.adapters.telemetry.exposition import encode_text
from briefcase.adapters.telemetry.meter import BOUNDS_US, MAX_REASONS, Meter
from briefcase.adapters.telemetry.metrics import Family, by_label, counter, gauge, meter_families, process_families
from briefcase.core.calls.answers import encode_answer
from support.daemons import RunningDaemon, UnixConnection

OPS = Path(__file__).parents[2] / "docs" / "ops"
LINE = re.compile(r'[a-z_]+(\{[a-z]+="(?:[^"\\\n]|\\.)*"(,[a-z]+="(?:[^"\\\n]|\\.)*")*\})? [0-9.e+-]+')
SCRAPED = re.compile(r"\b((?:briefcase|process)_[a-z_]+)")

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="promtool is not here: nothing checked the rules and the text (Debian: apt-get install prometheus)",
)


def scrape(daemon: RunningDaemon, token: str | None = None) -> tuple[int, str, str]:
    """Status, content type and text of `/metrics`."""
    connection = UnixConnection(daemon.socket_path)
    connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {token or daemon.operator_token}"})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, response.headers["Content-Type"], text


def value_of(text: str, sample: str) -> float:
    """The value of one line."""
    return float(next(line for line in text.splitlines() if line.startswith(f"{sample} ")).rsplit(" ", 1)[1])


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with RunningDaemon(tmp_path_factory.mktemp("metrics") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def agent(daemon) -> str:
    return daemon.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]


# --- the daemon's answer ----------------------------------------------------------------------------------------------


def test_operator_and_auditor_may_read_the_figures_and_nobody_else(daemon, agent):
    auditor = (daemon.data_dir / "auditor_token").read_text().strip()
    assert [scrape(daemon, token)[0] for token in (None, auditor, agent, "unknown")] == [200, 200, 403, 401]
    assert scrape(daemon)[1] == "text/plain; version=0.0.4; charset=utf-8"


def test_what_happens_shows_in_the_figures(daemon, agent):
    before = scrape(daemon)[2]
    daemon.call("echo", {"text": "hi"}, token=agent)
    daemon.call("no_such_tool", {}, token=agent)
    daemon.call("echo", {"text": 7}, token=agent)
    waiting = daemon.call("note_add", {"text": "remember"}, token=agent)["approval"]["id"]
    pending = scrape(daemon)[2]
    daemon.request("POST", f"/v1/approvals/{waiting}/approve")
    daemon.request("GET", "/v1/tools", token="guess")
    daemon.request("POST", "/v1/tools/call", b"{", token=agent)
    after = scrape(daemon)[2]

    assert value_of(after, 'briefcase_calls_total{reason="",status="ok"}') == 1
    assert value_of(after, 'briefcase_calls_total{reason="unknown_tool",status="denied"}') == 1
    assert value_of(after, 'briefcase_calls_total{reason="invalid_args",status="denied"}') == 1
    assert value_of(after, 'briefcase_calls_total{reason="other",status="approval_required"}') == 1
    assert value_of(after, 'briefcase_faults_total{code="bad_request"}') == 1
    assert value_of(after, 'briefcase_approvals_decided_total{decision="approved"}') == 1
    assert (value_of(pending, "briefcase_approvals_pending"), value_of(after, "briefcase_approvals_pending")) == (1, 0)
    grown = {name: value_of(after, name) - value_of(before, name) for name in (
        "briefcase_auth_failures_total",
        "briefcase_ledger_entries_total",
        "briefcase_call_duration_seconds_count",
    )}  # fmt: skip
    assert grown == {
        "briefcase_auth_failures_total": 1,
        "briefcase_ledger_entries_total": 7,  # intent, outcome, two denials, a question, its answer, a refused body
        "briefcase_call_duration_seconds_count": 4,
    }
    head = daemon.request("GET", "/v1/receipts?limit=1")[1]["receipts"][0]["id"]
    assert value_of(after, "briefcase_receipts_head") == head
    assert value_of(after, "briefcase_ledger_gate_open") == 1
    assert value_of(after, "process_resident_memory_bytes") > 10_000_000
    assert value_of(after, "process_open_fds") > 5
    assert value_of(after, 'briefcase_budget_limit_microusd{category="write"}') >= 0


def test_each_line_has_the_form_of_the_exposition_format(daemon):
    for line in scrape(daemon)[2].splitlines():
        assert line.startswith(("# HELP ", "# TYPE ")) or LINE.fullmatch(line), line


def test_nothing_a_caller_writes_becomes_a_label(daemon, agent):
    marks = [f"mark{number}" for number in range(5)]
    context = {"request_id": str(uuid.uuid4()), "agent_id": marks[0], "session_id": marks[1]}
    call = {"tool_id": marks[2], "args": {marks[3]: marks[4]}, "context": context}
    daemon.request("POST", "/v1/tools/call", {"call": call}, token=agent)
    daemon.call("echo", {marks[3]: 1}, token=agent)
    daemon.request("GET", f"/v1/{marks[0]}", token=agent)
    text = scrape(daemon)[2]
    assert not [mark for mark in marks if mark in text]


@needs_promtool
def test_prometheus_own_tool_reads_the_text_without_complaint(daemon):
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=scrape(daemon)[2], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


# --- the parts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "label"),
    [
        ({"status": "ok", "result": {"content": "denied"}}, ("ok", "")),
        ({"status": "denied", "reason": "policy_denied"}, ("denied", "policy_denied")),
        ({"status": "denied", "reason": "invalid_args: `/text`: 7 is not a string"}, ("denied", "invalid_args")),
        ({"status": "denied", "reason": "Made up by someone"}, ("denied", "other")),
        ({"status": "denied", "reason": "x" * 49}, ("denied", "other")),
        ({"status": "error", "message": "upstream_failed: sk-live-1"}, ("error", "upstream_failed")),
        ({"status": "error", "message": "sk-live-1"}, ("error", "other")),
        ({"status": "approval_required", "approval": {"reason": "budget"}}, ("approval_required", "budget")),
        ({"status": "allowed"}, ("allowed", "")),
    ],
)  # fmt: skip
def test_an_answer_is_counted_under_its_status_and_the_word_of_its_reason(payload, label):
    meter = Meter()
    answer = encode_answer(payload, {})
    meter.count_answer(answer.status, answer.reason, {})
    [answers] = [family for family in meter_families(meter) if family.name == "briefcase_calls_total"]
    assert {labels: value for labels, value in answers.values if value} == {
        (("status", label[0]), ("reason", label[1])): 1
    }


def test_the_number_of_reasons_is_bounded_whatever_a_policy_says():
    meter = Meter()
    for number in range(10 * MAX_REASONS):
        meter.count_answer("denied", f"r{number}", {})
    assert len(meter.others) <= MAX_REASONS + 1
    assert sum(meter.others.values()) == 10 * MAX_REASONS


def test_the_overhead_is_the_call_without_its_upstream():
    meter = Meter()
    meter.count_answer("ok", "", {"parse": 300, "execute": 90_000, "outcome": 400})
    assert (meter.whole.sum_us, meter.overhead.sum_us) == (90_700, 700)
    assert [BOUNDS_US[h.counts.index(1)] for h in (meter.whole, meter.overhead)] == [100_000, 1_000]


@pytest.mark.parametrize(("us", "bucket"), [(0, 0), (250, 0), (251, 1), (60_000_000, 19), (60_000_001, 20)])
def test_a_bucket_holds_what_is_at_most_its_bound(us, bucket):
    meter = Meter()
    meter.count_answer("ok", "", {"parse": us})
    assert meter.whole.counts.index(1) == bucket


def test_buckets_are_cumulative_and_the_last_is_the_count():
    meter = Meter()
    for us in (100, 900, 900, 70_000_000):
        meter.count_answer("ok", "", {"parse": us})
    lines = [line for line in encode_text(meter_families(meter)).decode().splitlines() if "duration_seconds_b" in line]
    counts = [float(line.rsplit(" ", 1)[1]) for line in lines]
    assert counts == sorted(counts)
    assert all(later >= earlier for earlier, later in itertools.pairwise(counts))
    assert (lines[2], lines[-1].rsplit("{", 1)[1]) == (
        'briefcase_call_duration_seconds_bucket{le="0.001"} 3.0',
        'le="+Inf"} 4.0',
    )


def test_label_values_are_escaped():
    family = by_label("n", "gauge", "text", "category", {'a"b\\c\nd': 1})
    assert encode_text([family]).decode().splitlines()[-1] == r'n{category="a\"b\\c\nd"} 1.0'


@pytest.mark.parametrize("value", [0, 3.0, 0.25, 1_795_896_440.002, 120_000_000, 1e-7])
def test_a_number_is_read_back_as_it_was(value):
    assert float(encode_text([gauge("n", "text", value)]).split()[-1]) == value


def test_the_series_are_the_ones_of_before_the_library_wrote_them():
    meter = Meter()
    meter.count_answer("denied", "policy_denied", {"parse": 900})
    families = [*meter_families(meter), Family("n", "counter", "text"), counter("n_total", "text", 1)]
    lines = encode_text(families[:1] + families[5:]).decode().splitlines()
    assert lines == [
        "# HELP briefcase_calls_total Calls that were answered, by status and reason.",
        "# TYPE briefcase_calls_total counter",
        'briefcase_calls_total{reason="policy_denied",status="denied"} 1.0',
        'briefcase_calls_total{reason="",status="ok"} 0.0',
        "# HELP n_total text",
        "# TYPE n_total counter",
        "# HELP n_total text",
        "# TYPE n_total counter",
        "n_total 1.0",
    ]
    [histogram] = [family for family in families if family.name == "briefcase_call_duration_seconds"]
    lines = encode_text([histogram]).decode().splitlines()
    bounds = ["0.00025", "0.0005", "0.001", "0.002", "0.004", "0.006", "0.01", "0.015", "0.025", "0.05", "0.1", "0.15"]
    bounds += ["0.25", "0.5", "1", "2.5", "5", "10", "30", "60", "+Inf"]
    counts = [0.0] * 2 + [1.0] * 19
    name = "briefcase_call_duration_seconds"
    assert lines[2:] == [
        *(f'{name}_bucket{{le="{bound}"}} {count}' for bound, count in zip(bounds, counts, strict=True)),
        f"{name}_count 1.0",
        f"{name}_sum 0.0009",
    ]


def no_file_left(*_, **__):
    raise OSError(errno.EMFILE, "Too many open files")


def test_a_process_that_can_open_no_file_says_that_it_has_as_many_as_may_be(monkeypatch):
    monkeypatch.setattr("os.listdir", no_file_left)
    monkeypatch.setattr("pathlib.Path.read_text", no_file_left)
    told = {family.name: family.values[0][1] for family in process_families()}
    assert told["process_open_fds"] == told["process_max_fds"] > 0
    assert "process_cpu_seconds_total" in told


# --- what ships -------------------------------------------------------------------------------------------------------


@needs_promtool
def test_prometheus_own_tool_accepts_the_alert_rules():
    checked = subprocess.run(
        ["promtool", "check", "rules", OPS / "alerts.yml"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_rules_and_dashboard_speak_only_of_figures_there_are(daemon):
    known = {line.split()[2] for line in scrape(daemon)[2].splitlines() if line.startswith("# TYPE")}
    known |= {f"{name}{suffix}" for name in known for suffix in ("_bucket", "_sum", "_count")}
    dashboard = json.loads((OPS / "dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += re.findall(r"expr: ([^\n]*(?:\n {10,}[^\n]*)*)", (OPS / "alerts.yml").read_text())
    named = {name for text in asked for name in SCRAPED.findall(text)}
    assert len(named) > 15
    assert named <= known
