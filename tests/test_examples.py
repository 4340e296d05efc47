"""Every example of every page is run, against one daemon, or is listed with the reason why it is not.

The runbooks have a test of their own (`test_runbooks.py`). A line of a shell must leave with 0, or as `EXITS` says; a
comment behind a `curl` is what its answer holds. A policy is checked against the schema and decides as its page says, a
piece of a configuration file or a manifest is loaded as the daemon loads it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path

import pytest
import yaml

from briefcase.adapters.tools.caller import parse_caller_tools
from briefcase.adapters.tools.manifest import parse_manifests
from briefcase.daemon.config_file import CONFIG_FILE, FileConfig, load_file
from briefcase.edges.notifier.settings import parse_settings
from support.cli import FakeRoot
from support.cli import run as run_with
from support.commands import provider_gateway
from support.daemons import RunningDaemon

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
OTHERS = {"adr", "runbooks"}  # decisions hold no examples to follow
PAGES = [
    page
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if OTHERS.isdisjoint(page.parts) and "```" in page.read_text()
]
PASSPHRASE = "correct horse battery staple"

NOT_RUN = {
    "builds, or takes minutes; a target of the Makefile": (
        "make run", "make test", "make faults", ".venv/bin/python tests/faults/", "pip install '.[",
        "pipx install .",
    ),
    "serves until it is stopped; tests of that program run it": (
        "briefcase up", "briefcase provider-gateway", "BRIEFCASE_PROVIDER_BASE_URL=", "BRIEFCASE_MCP_HTTP_ADDR=",
        "OTEL_EXPORTER_OTLP_ENDPOINT=", "briefcase control-plane serve", "briefcase receipts list --follow",
        "briefcase receipts export --out - --format ocsf --follow", "export BRIEFCASE_CONTROL_PLANE_ADMIN_TOKEN=",
        "BRIEFCASE_PAYMENT_HELPER=",
    ),
    "asks a person at a terminal: test_cli_watch.py": ("briefcase approvals watch",),
    "names a proposal of the reader's: test_cli_proposals.py": ("briefcase policy apply", "briefcase policy drop"),
    "changes the host, as root": (
        "python3 -m venv /opt", "install -m", "systemctl", "sudo -u", "usermod", "BRIEFCASE_AGENT_SOCKET=",
    ),
    "opens a browser: test_providers_end_to_end.py, test_mcp_login_end_to_end.py": (
        "briefcase providers oauth-", "briefcase tools call quote", "briefcase mcp servers oauth-",
    ),
    "needs a control plane: test_control_plane_story.py": (
        "briefcase control-plane enroll", "briefcase control-plane leave", "briefcase control-plane remove-mandatory",
        "briefcase fleet", "export BRIEFCASE_FLEET_URL=", "briefcase conformance control-plane",
    ),
    "needs a definition that changed: test_servers_end_to_end.py": (
        "briefcase mcp servers diff", "briefcase mcp servers accept",
    ),
    "takes a file of the reader's through the shell: test_cli_proposals.py": ('briefcase policy propose "cedar: $(',),
    "needs another host: test_cli_ui.py": ("ssh -L",),
    "needs the line of a pairing, and a device: test_cli_signer.py, test_signers_only.py": (
        "briefcase signer ", "briefcase --sign-with", "briefcase signers revoke", "briefcase policy set strict.cedar",
    ),
    "needs a release: tests/release": (
        "briefcase release verify", "pip download", "pip install --no-index", "make qualify",
    ),
    "names an approval of the reader's: test_cli_commands.py, test_cli_grants.py": (
        "briefcase approvals show", "briefcase approvals deny", "briefcase approvals approve 3f9a12bc --grant",
        "briefcase grants revoke",
    ),
    "needs a place to tell: tests/notifier": (
        "pip install 'agentic-briefcase[notify]'", "briefcase operators add notifier", "briefcase notify",
        "BRIEFCASE_AUTH_TOKEN_FILE=",
    ),
    "needs a witness: tests of `witness` and of proofs": (
        "briefcase witness", "briefcase receipts prove --check receipt-12.tlog-proof",
        "briefcase receipts prove 12 --format tlog-proof",
    ),
    "needs a token, or a TPM: tests/keys": (
        "softhsm2-util", "export BRIEFCASE_IDENTITY_KEY=", "export BRIEFCASE_PKCS11_MODULE=", "read -rs",
    ),
    "needs the program `age`: test_backup_age.py": ("sed -n 2p", "tail --lines", "age --decrypt"),
    "reads a program of the reader's: tests/client": (
        "python -c 'import program", 'chmod 600 "$BRIEFCASE_DATA_DIR/tools/program.json"',
    ),
    "reads cases that the reader has: test_policy_testfiles.py": ("briefcase policy test tests/",),
}  # fmt: skip
EXITS = {
    "briefcase tools call note_add": {10},  # it waits for a person
    "briefcase diagnostics check": {0, 7},  # as sound as this host is
    "briefcase slo check": {0, 7},
    "briefcase diagnostics soak": {0, 7},
    "briefcase soak summarize": {0, 7},
    "briefcase soak verify": {0, 7},
    "briefcase diagnostics canary": {0},
}
SHORTER = (("--duration-secs 3600", "--duration-secs 1"), ("--duration-secs 600", "--duration-secs 1"),
           ("--duration-secs 30", "--duration-secs 1"))  # fmt: skip
DESK = {
    "openapi": "3.1.0",
    "info": {"title": "desk", "version": "1"},
    "servers": [{"url": "https://desk.example.com"}],
    "security": [{"key": []}],
    "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    "paths": {
        "/tickets": {"get": {"operationId": "listTickets", "responses": {"200": {"description": "ok"}}}},
        "/tickets/close": {"post": {"operationId": "closeTicket", "responses": {"200": {"description": "ok"}}}},
    },
}
MANIFEST = """
[[tools]]
id = "ticket_close"
description = "Close a ticket"
method = "POST"
url = "https://desk.example.com/close"
category = "read"
arguments = {{ {argument} = "body" }}
allowed_hosts = ["desk.example.com"]
[tools.input_schema]
type = "object"
required = ["{argument}"]
properties = {{ {argument} = {{ type = "{kind}" }} }}
"""


def blocks_of(page: Path, *languages: str) -> list[str]:
    return [block for language, block in FENCE.findall(page.read_text()) if language in languages]


def lines_of(page: Path) -> list[str]:
    text = "".join(blocks_of(page, "sh")).replace("\\\n", " ")
    shown = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    for block in blocks_of(page, "console"):
        shown += [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    return shown


def reason_of(line: str) -> str | None:
    """Why a line is not run."""
    found = [reason for reason, begins in NOT_RUN.items() if line.startswith(begins)]
    return found[0] if found else None


class Reader:
    """Somebody who follows the pages, with what they have at hand."""

    def __init__(self, top: Path, daemon: RunningDaemon, provider_url: str) -> None:
        self.top, self.daemon = top, daemon
        for name in ("backup", "safe", "backups", "new-parent", ".cursor", "mnt"):
            (top / name).mkdir(mode=0o700)
        (top / "desk.json").write_text(json.dumps(DESK))
        (top / "tickets.yaml").write_text(json.dumps(DESK))  # JSON is YAML, too
        (top / ".cursor" / "mcp.json").write_text('{"mcpServers":{"notes":{"url":"https://notes.example/mcp"}}}')
        active = daemon.request("GET", "/v1/policy")[1]
        (top / "candidate.cedar").write_text(active["policy_text"])
        assert daemon.request("PUT", "/v1/policy", {"policy_text": f"{active['policy_text']}// later\n"})[0] == 200
        for name in ("docs-token", "git-token", "tools-key", "search-key"):
            assert daemon.request("PUT", f"/v1/secrets/{name}", {"value": f"the-value-of-{name}"})[0] == 200
        self._declare_tools()
        for number in range(65):
            daemon.call("echo", {"text": str(number)})
        self.anchor = daemon.request("GET", "/v1/receipts/120")[1]["hash_hex"]
        self.root = FakeRoot(daemon.data_dir)
        self.env = {
            "HOME": str(top),
            "BRIEFCASE_DATA_DIR": str(daemon.data_dir),
            "BRIEFCASE_UNIX_SOCKET": daemon.socket_path,
            "BRIEFCASE_DAEMON_UNIX_SOCKET": daemon.socket_path,
            "BRIEFCASE_BACKUP_PASSPHRASE": PASSPHRASE,
        }
        (top / "safe" / "vault.key").write_bytes((daemon.data_dir / "vault.key").read_bytes())
        (top / "safe" / "vault.key").chmod(0o600)
        self.places = [
            *SHORTER,
            ("/backup/", f"{top}/backup/"),
            ("/safe/", f"{top}/safe/"),
            ("/var/lib/briefcase-new", f"{top}/new-parent/new"),
            ("/var/log/briefcased.log", daemon.log.name),
            ("policy show 3f9a12bc", f"policy show {active['policy_hash_hex'][:8]}"),
            ("did:key:z6Mk…", daemon.request("GET", "/v1/identity")[1]["did"]),
            ("http://127.0.0.1:8787", provider_url),
            ("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", self.anchor),
            ("python3 ", f"{sys.executable} "),
        ]

    def _declare_tools(self) -> None:
        """The tools that the policies of their page speak of; what they decide is asked, and nothing is executed."""
        tools = self.daemon.data_dir / "tools"
        tools.mkdir(mode=0o700, exist_ok=True)
        path = tools / "examples.toml"
        text = MANIFEST.format(argument="queue", kind="string")
        text += MANIFEST.format(argument="amount_cents", kind="integer").replace("ticket_close", "refund")
        path.write_text(text)
        path.chmod(0o600)
        assert self.daemon.request("POST", "/v1/tools/reload")[0] == 200

    def placed(self, line: str) -> str:
        """The line as it is typed here."""
        for there, here in self.places:
            line = line.replace(there, here)
        return line

    def follow(self, line: str) -> None:
        """One line of a page; it must leave as expected."""
        line = self.placed(line)
        command = line.partition(" # ")[0].strip()
        words = shlex.split(command)
        if words[:3] == ["briefcase", "agents", "add"]:
            self.daemon.request("POST", f"/v1/agents/{words[3]}/revoke")  # it may be there of another page
        elif "scout" in words:
            self.daemon.request("POST", "/v1/agents", {"name": "scout"})
        if "tuesday.txt" in words:
            assert run_with(self.root, "receipts", "checkpoint", "--out", "tuesday.txt", **self.env).code == 0
        ran = run_with(self.root, *words[1:], stdin=b"a-value-that-is-asked-for", **self.env)
        expected = next((codes for begins, codes in EXITS.items() if command.startswith(begins)), {0})
        assert ran.code in expected, f"`{line}`: {ran}"
        made = re.search(r"age1[0-9a-z]+", ran.out)
        if "keygen" in words and made:
            self.places.append(("age1…", made[0]))

    def shell(self, lines: list[str]) -> None:
        """The lines of a page in one shell, each of whose answers holds what its comment says."""
        script = ["set -eu"]
        expected = []
        for number, line in enumerate(lines):
            command, _, says = line.partition(" # ")
            script.append(f"echo '== {number}'\n{command}\necho" if says else command)
            if says:
                expected.append((number, says.strip()))
        done = subprocess.run(
            ["bash", "-c", "\n".join(script)],
            cwd=self.top,
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        answers = dict(re.findall(r"^== (\d+)\n(.*?)(?=^== |\Z)", done.stdout, re.MULTILINE | re.DOTALL))
        for number, says in expected:
            assert says in answers[str(number)], f"`{lines[number]}` answered {answers[str(number)]}"


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    top = tmp_path_factory.mktemp("reader")
    (top / "provider").mkdir(mode=0o700)
    with (
        provider_gateway(top / "provider") as url,
        RunningDaemon(top / "data", BRIEFCASE_PROVIDER_BASE_URL=url) as daemon,
    ):
        yield Reader(top, daemon, url)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if lines_of(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_every_line_of_a_page_that_is_shown_works(reader, page, monkeypatch):
    monkeypatch.chdir(reader.top)
    lines = [line for line in lines_of(page) if reason_of(line) is None]
    if any(line.startswith("curl ") for line in lines):
        reader.shell(lines)
        return
    for line in lines:
        if line.startswith("briefcase "):
            reader.follow(line)
        else:
            reader.shell([reader.placed(line)])


def test_what_is_not_run_is_still_shown_somewhere():
    shown = [line for page in PAGES for line in lines_of(page)]
    begun = [begin for begins in NOT_RUN.values() for begin in begins]
    assert [begin for begin in begun if not any(line.startswith(begin) for line in shown)] == []


def test_every_language_of_an_example_has_a_test():
    found = {language for page in PAGES for language, _ in FENCE.findall(page.read_text())}
    # text is no program's, and a block without a name is a formula
    assert found <= {"sh", "console", "toml", "json", "yaml", "cedar", "python", "text", ""}


@pytest.mark.parametrize("block", [block for page in PAGES for block in blocks_of(page, "python")])
def test_a_program_of_a_page_compiles(block):
    compile(block, "page", "exec")  # it needs an account of the reader's


@pytest.mark.parametrize(
    ("page", "block"),
    [(page.relative_to(ROOT), block) for page in PAGES for block in blocks_of(page, "toml")],
    ids=lambda value: str(value) if isinstance(value, Path) else "",
)
def test_a_piece_of_a_file_is_loaded_as_the_daemon_loads_it(page, block, tmp_path):
    written = tomllib.loads(block)
    if "caller_tools" in written:
        assert parse_caller_tools(block.encode(), "program.toml")
        return
    if "tools" in written:
        assert parse_manifests(block.encode(), "desk.toml")
        return
    if "targets" in written:
        assert parse_settings(block, tmp_path / "notifier.toml").targets
        return
    (tmp_path / CONFIG_FILE).write_text(block)
    load_file(tmp_path / CONFIG_FILE)
    assert set(written) <= set(FileConfig.__struct_fields__)


@pytest.mark.parametrize(
    ("page", "block"),
    [(page.relative_to(ROOT), block) for page in PAGES for block in blocks_of(page, "json", "yaml")],
    ids=lambda value: str(value) if isinstance(value, Path) else "",
)
def test_a_document_that_is_shown_can_be_read(page, block):
    assert yaml.safe_load(block)


# --- policies ---------------------------------------------------------------------------------------------------------


def test_the_policies_of_their_page_pass_the_check_and_decide_as_it_says(reader):
    daemon = reader.daemon
    (examples,) = blocks_of(ROOT / "docs" / "policy.md", "cedar")
    path = reader.top / "examples.cedar"
    path.write_text(examples)
    checked = run_with(reader.root, "policy", "check", str(path), **reader.env)
    assert checked.code == 0, checked
    active = daemon.request("GET", "/v1/policy")[1]["policy_text"]
    general = '\n@id("examples-by-themselves")\npermit (principal, action, resource == Tool::"refund");\n'
    assert daemon.request("PUT", "/v1/policy", {"policy_text": active + examples + general})[0] == 200
    token = daemon.request("POST", "/v1/agents", {"name": "ranger", "groups": ["scouts"]})[1]["token"]

    def decided(tool: str, **args: object) -> tuple[str, str]:
        call = {"tool_id": tool, "args": args, "context": {"request_id": str(uuid.uuid4())}}
        answer = daemon.request("POST", "/v1/decide", {"call": call}, token=token)[1]
        return answer["status"], answer.get("reason", "")

    try:
        assert decided("refund", amount_cents=5_000)[0] != "approval_required"
        assert decided("refund", amount_cents=5_001)[0] == "approval_required"
        assert decided("ticket_close", queue="inbound")[0] != "denied"
        assert decided("echo", text="AKIAIOSFODNN7EXAMPLE is a key")[0] == "approval_required"
        assert decided("echo", text="nothing")[0] != "approval_required"
    finally:
        daemon.request("PUT", "/v1/policy", {"policy_text": active})


def test_the_policies_of_the_page_of_hooks_let_run_what_it_says_and_nothing_else(reader):
    daemon, page = reader.daemon, ROOT / "docs" / "hooks.md"
    edits, commands, signer = blocks_of(page, "cedar")
    active = daemon.request("GET", "/v1/policy")[1]["policy_text"]
    own_rule = active.index('@id("signer-for-writes-that-reach-out")')
    policy = f"{active[:own_rule]}{edits}{commands}{signer}"
    assert daemon.request("PUT", "/v1/policy", {"policy_text": policy})[0] == 200
    token = daemon.request("POST", "/v1/agents", {"name": "coder"})[1]["token"]

    def lets_run(tool: str, **args: object) -> bool:
        call = {"tool_id": f"claude-code.{tool}", "args": args, "context": {"request_id": str(uuid.uuid4())}}
        return daemon.request("POST", "/v1/decide", {"call": call}, token=token)[1]["status"] == "allowed"

    try:
        assert lets_run("Bash", command="git status --short")
        assert lets_run("Bash", command="ls -la")
        for command in ("git status; rm -rf /", "ls $(rm -rf /)", "ls\nrm", "A=b ls", "sudo ls", "git push", "l\\s"):
            assert not lets_run("Bash", command=command), command
        edit = {"old_string": "a", "new_string": "b"}
        assert not lets_run("Edit", file_path="/home/me/project/../.ssh/config", **edit)
    finally:
        daemon.request("PUT", "/v1/policy", {"policy_text": active})
