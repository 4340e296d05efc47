"""`briefcase setup` on files as each client writes them: what is written, that it works, and that it can be undone."""

import json
import stat
import sys
import tomllib
from pathlib import Path

import pytest

from briefcase.edges.cli import setup as setup_command
from briefcase.edges.cli.client_files import parse_commented
from support.cli import CannedDaemon, FakeRoot, run
from support.daemons import RunningDaemon

CLAUDE_SETTINGS = """{
  "$schema": "https://json.schemastore.org/claude-code-settings.json",
  "model": "opus",
  "hooks": {
    "PreToolUse": [
      { "matcher": "Bash", "hooks": [{ "type": "command", "command": "~/lint.sh" }] }
    ]
  }
}
"""
CLAUDE_STATE = '{"numStartups":7,"mcpServers":{"docs":{"type":"http","url":"https://docs.example/mcp"}},"projects":{}}'
CODEX = """# my Codex
model = "gpt-5"

[mcp_servers.docs] # reads documents
command = "docs-server"
args = ["--all"]

[tui]
theme = "dark"
"""
CURSOR_HOOKS = '{\n\t"version": 1,\n\t"hooks": {\n\t\t"afterFileEdit": [{"command": "./format.sh"}]\n\t}\n}\n'
CURSOR_SERVERS = '{\r\n  "mcpServers": {\r\n    "docs": {"url": "https://docs.example/mcp"}\r\n  }\r\n}\r\n'
VSCODE = """{
    // asked once
    "inputs": [],
    "servers": {
        "docs": { "type": "http", "url": "https://docs.example/mcp", }, // the documents
    },
}
"""
ZED = """// Zed settings
{
  "theme": "One Dark",
  "context_servers": {
    // reads documents
    "docs": { "command": "docs-server", "args": [] },
  },
}
"""
FOUND = {
    "claude-code": {".claude/settings.json": CLAUDE_SETTINGS, ".claude.json": CLAUDE_STATE},
    "codex": {".codex/config.toml": CODEX},
    "cursor": {".cursor/hooks.json": CURSOR_HOOKS, ".cursor/mcp.json": CURSOR_SERVERS},
    "vscode": {".config/Code/User/mcp.json": VSCODE},
    "zed": {".config/zed/settings.json": ZED},
}
TOKEN = "bca_" + "t" * 43
SECRET = TOKEN.encode()
PROGRAM = """#!{python}
import json, os, sys
from pathlib import Path
file = os.environ["BRIEFCASE_AUTH_TOKEN_FILE"] if sys.argv[1] == "gateway" else sys.argv[-1]
token = Path(file).read_text().strip()
assert token == "{token}"
if sys.argv[1] == "gateway":
    for line in sys.stdin:
        message = json.loads(line)
        if message.get("id") == 2:
            print(json.dumps({{"jsonrpc": "2.0", "id": 2, "result": {{"content": []}}}}), flush=True)
else:
    event = json.load(sys.stdin)
    with Path("{seen}").open("a") as seen:
        seen.write(f"{{sys.argv[1:3]}} {{event['hook_event_name']}}\\n")
sys.exit({code} if sys.argv[1] == "hook" else 0)
"""


class Desk:
    """A home, a daemon that says yes, and a program that stands for ours."""

    def __init__(self, home: Path, daemon: CannedDaemon) -> None:
        self.home, self.daemon = home, daemon
        self.seen = home / "seen"
        daemon.answers["POST", "/v1/agents"] = lambda: {
            "name": daemon.bodies("POST", "/v1/agents")[-1]["name"],
            "token": TOKEN,
        }
        for name in (*FOUND, "mine"):
            daemon.answers["POST", f"/v1/agents/{name}/revoke"] = {"name": name}
        daemon.answers["GET", "/v1/mcp/servers"] = {"servers": []}
        daemon.answers["GET", "/v1/secrets"] = {"secrets": []}
        daemon.answers["POST", "/v1/mcp/servers/docs"] = {"id": "docs", "endpoint_url": "x", "has_oauth_refresh": False}

    def program(self, code: int = 0) -> list[str]:
        path = self.home / "briefcase"
        path.write_text(PROGRAM.format(python=sys.executable, token=TOKEN, seen=self.seen, code=code))
        path.chmod(0o700)
        return [str(path)]

    def setup(self, *args: str):
        return run(FakeRoot(self.daemon.data_dir), "setup", *args, HOME=str(self.home), XDG_CONFIG_HOME="")

    def place(self, client: str) -> dict[str, str]:
        for name, content in FOUND[client].items():
            path = self.home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode())
        return FOUND[client]

    def files(self) -> dict[str, bytes]:
        kept = {"seen", "briefcase"}
        found = (path for path in self.home.rglob("*") if path.is_file() and path.name not in kept)
        return {str(path.relative_to(self.home)): path.read_bytes() for path in found}


@pytest.fixture
def desk(tmp_path, monkeypatch):
    with CannedDaemon() as daemon:
        made = Desk(tmp_path, daemon)
        words = made.program()
        monkeypatch.setattr(setup_command, "program", lambda: words)
        yield made


def entry_of(desk, client):
    """Our entry of a client's servers, as the client reads it."""
    path = {
        "claude-code": ".claude.json", "codex": ".codex/config.toml", "cursor": ".cursor/mcp.json",
        "vscode": ".config/Code/User/mcp.json", "zed": ".config/zed/settings.json",
    }[client]  # fmt: skip
    group = {"codex": "mcp_servers", "vscode": "servers", "zed": "context_servers"}.get(client, "mcpServers")
    data = (desk.home / path).read_bytes()
    return (tomllib.loads(data.decode()) if path.endswith("toml") else parse_commented(data))[group]["briefcase"]


@pytest.mark.parametrize("client", FOUND)
@pytest.mark.parametrize("has_files", [True, False])
def test_a_client_is_set_up_tried_and_left_as_it_was(desk, client, has_files):
    if has_files:
        desk.place(client)
    before = desk.files()
    ran = desk.setup(client)
    assert ran.code == 0, ran
    assert "`echo` answered" in ran.out

    entry = entry_of(desk, client)
    token_file = desk.home / ".config" / "briefcase" / f"{client}.token"
    assert (entry["command"], entry["args"]) == (str(desk.home / "briefcase"), ["gateway"])
    assert entry["env"]["BRIEFCASE_AUTH_TOKEN_FILE"] == str(token_file)
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    holding = {name for name, data in desk.files().items() if SECRET in data}
    assert holding == {f".config/briefcase/{client}.token"}
    for name, data in before.items():
        assert desk.files()[f"{name}.before-briefcase"] == data

    undone = desk.setup(client, "--undo")
    assert undone.code == 0, undone
    assert desk.files() == before
    assert ("POST", f"/v1/agents/{client}/revoke") in {seen[:2] for seen in desk.daemon.seen}


def test_what_a_person_wrote_stays_with_its_comments_and_order(desk):
    for client, (name, untouched) in {
        "codex": (".codex/config.toml", CODEX),
        "zed": (".config/zed/settings.json", ZED),
        "vscode": (".config/Code/User/mcp.json", VSCODE),
        "cursor": (".cursor/mcp.json", CURSOR_SERVERS),
        "claude-code": (".claude/settings.json", CLAUDE_SETTINGS),
    }.items():
        desk.place(client)
        assert desk.setup(client).code == 0
        lines = (desk.home / name).read_bytes().decode().splitlines(keepends=True)
        assert [line for line in untouched.splitlines(keepends=True) if line not in lines] == [], client


def test_hooks_block_where_they_fail_and_are_tried_before_they_are_left_there(desk):
    for client in ("claude-code", "codex", "cursor"):
        assert desk.setup(client).code == 0
    claude = json.loads((desk.home / ".claude/settings.json").read_text())["hooks"]
    assert set(claude) == {"PreToolUse", "PostToolUse", "PostToolUseFailure"}
    (hook,) = claude["PreToolUse"][0]["hooks"]
    assert (hook["type"], hook["onFailure"]) == ("command", "block")
    token_file = desk.home / ".config/briefcase/claude-code.token"
    assert hook["command"] == (
        f"BRIEFCASE_DATA_DIR={desk.daemon.data_dir} {desk.home}/briefcase hook claude-code --token-file {token_file}"
    )
    cursor = json.loads((desk.home / ".cursor/hooks.json").read_text())
    assert cursor["version"] == 1
    assert cursor["hooks"]["preToolUse"][0]["failClosed"] is True
    codex = tomllib.loads((desk.home / ".codex/config.toml").read_text())["hooks"]
    assert codex["PreToolUse"][0]["hooks"][0]["command"].endswith(
        f"hook codex --token-file {desk.home}/.config/briefcase/codex.token"
    )
    assert desk.seen.read_text().splitlines() == [
        "['hook', 'claude-code'] SessionStart", "['hook', 'codex'] SessionStart", "['hook', 'cursor'] sessionStart",
    ]  # fmt: skip


def test_a_hook_that_fails_is_not_left_in_a_clients_file(desk):
    desk.place("claude-code")
    desk.program(code=2)
    before = desk.files()
    ran = desk.setup("claude-code", "--json")
    assert ran.code == 8
    assert "was undone: the hook left with 2" in ran.error["message"]
    assert desk.files() == before
    assert ("POST", "/v1/agents/claude-code/revoke") in {seen[:2] for seen in desk.daemon.seen}


def test_a_gateway_that_does_not_answer_is_not_left_in_a_clients_file(desk, monkeypatch):
    desk.place("zed")
    monkeypatch.setattr(setup_command, "program", lambda: ["/bin/false"])
    before = desk.files()
    assert desk.setup("zed").code == 8
    assert desk.files() == before


def test_a_dry_run_shows_the_difference_and_does_nothing(desk):
    desk.place("codex")
    before = desk.files()
    ran = desk.setup("codex", "--dry-run")
    assert "+[mcp_servers.briefcase]" in ran.out.splitlines()
    assert desk.files() == before
    assert desk.daemon.seen == []


@pytest.mark.parametrize("client", FOUND)
def test_a_file_that_was_edited_since_is_not_restored_until_the_person_says_how(desk, client):
    desk.place(client)
    assert desk.setup(client).code == 0
    edited = desk.home / list(FOUND[client])[-1]
    text = edited.read_bytes().decode()
    change = ("dark", "light") if client == "codex" else ("docs", "papers")
    edited.write_bytes(text.replace(*change).encode())
    before = desk.files()
    ran = desk.setup(client, "--undo", "--json")
    assert (ran.error["code"], desk.files()) == ("conflict", before)
    assert "was edited since" in ran.error["message"]
    assert "--keep-edits" in ran.error["hint"]

    assert desk.setup(client, "--undo", "--keep-edits").code == 0
    left = edited.read_bytes().decode()
    expected = list(FOUND[client].values())[-1].replace(*change)
    read = tomllib.loads if client == "codex" else lambda words: parse_commented(words.encode())
    assert read(left) == read(expected)
    assert not (desk.home / ".config/briefcase" / f"{client}.json").exists()


def test_what_was_written_and_changed_since_is_left_to_the_person(desk):
    desk.place("zed")
    assert desk.setup("zed").code == 0
    path = desk.home / ".config/zed/settings.json"
    path.write_text(path.read_text().replace('"gateway"', '"gateway", "--tool-ids"'))
    before = desk.files()
    ran = desk.setup("zed", "--undo", "--keep-edits", "--json")
    assert ran.error["code"] == "conflict"
    assert "by hand" in ran.error["hint"]
    assert desk.files() == before


def test_one_file_that_was_edited_leaves_all_of_them_as_they_are(desk):
    desk.place("cursor")
    assert desk.setup("cursor").code == 0
    (desk.home / ".cursor/mcp.json").write_text("{}")
    before = desk.files()
    assert desk.setup("cursor", "--undo").code == 3
    assert desk.files() == before


@pytest.mark.parametrize("client", FOUND)
def test_the_servers_of_a_client_go_behind_the_daemon_and_out_of_its_file(desk, client):
    desk.place(client)
    ran = desk.setup(client, "--move-servers")
    assert ran.code == 0, ran
    assert "moved `docs` behind the daemon" in ran.out
    assert len(desk.daemon.bodies("POST", "/v1/mcp/servers/docs")) == 1
    assert entry_of(desk, client)["args"] == ["gateway"]
    text = (desk.home / list(FOUND[client])[-1]).read_text()
    assert "docs.example" not in text
    assert "docs-server" not in text
    assert desk.setup(client, "--undo").code == 0
    for name, content in FOUND[client].items():
        assert (desk.home / name).read_bytes() == content.encode()


def test_a_server_that_cannot_be_moved_stays_where_it_is(desk):
    desk.place("zed")
    desk.daemon.answers["GET", "/v1/mcp/servers"] = {
        "servers": [{"id": "docs", "endpoint_url": "x", "has_oauth_refresh": False}]
    }
    ran = desk.setup("zed", "--move-servers")
    assert ran.code == 0
    assert "left `docs`" in ran.err
    assert "docs-server" in (desk.home / ".config/zed/settings.json").read_text()


def test_a_project_has_files_of_its_own(desk):
    project = desk.home / "project"
    project.mkdir()
    for client, names in {
        "claude-code": {".claude/settings.local.json", ".mcp.json"},
        "codex": {".codex/config.toml"},
        "cursor": {".cursor/hooks.json", ".cursor/mcp.json"},
        "vscode": {".vscode/mcp.json"},
        "zed": {".zed/settings.json"},
    }.items():
        assert desk.setup(client, "--project", str(project), "--agent", "mine").code == 0
        assert {str(path.relative_to(project)) for path in project.rglob("*") if path.is_file()} == names
        assert desk.setup(client, "--project", str(project), "--undo").code == 0
        assert [path for path in project.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "expected JSON"), ('{"context_servers": []}', "as an object"), ("[]", "expected a JSON object"),
        ('{"context_servers": {"briefcase": {}}}', "already"), ('{"a": 1, "a": 2}', "twice"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_edited_is_left_alone_and_nothing_is_made(desk, content, says):
    path = desk.home / ".config/zed/settings.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    ran = desk.setup("zed", "--json")
    assert says in ran.error["message"]
    assert str(path) in ran.error["message"]
    assert (path.read_text(), desk.daemon.seen) == (content, [])


def test_a_second_setup_an_undo_of_none_and_an_unknown_client_are_refused(desk):
    assert desk.setup("zed", "--undo", "--json").error["code"] == "not_found"
    assert desk.setup("zed").code == 0
    assert desk.setup("zed", "--json").error["code"] == "conflict"
    assert desk.setup("emacs").code == 2
    assert desk.setup("zed", "--project", str(desk.home / "nowhere")).code == 2


def test_two_files_that_are_one_are_left_alone(desk):
    """Each would be undone over the other's entries, and neither as it was found."""
    desk.place("claude-code")
    settings = desk.home / ".claude/settings.json"
    settings.unlink()
    settings.symlink_to(desk.home / ".claude.json")
    before = desk.files()
    ran = desk.setup("claude-code", "--json")
    assert "different files" in ran.error["message"]
    assert (desk.files(), desk.daemon.seen) == (before, [])


def test_what_a_person_keeps_where_the_old_content_would_go_is_left_alone(desk):
    desk.place("zed")
    kept = desk.home / ".config/zed/settings.json.before-briefcase"
    kept.write_text("mine")
    before = desk.files()
    ran = desk.setup("zed", "--json")
    assert f"there is `{kept}` already" in ran.error["message"]
    assert (desk.files(), desk.daemon.seen) == (before, [])


def test_a_link_to_a_file_is_written_through(desk):
    real = desk.home / "dotfiles" / "settings.json"
    real.parent.mkdir()
    real.write_text(ZED)
    real.chmod(0o644)
    path = desk.home / ".config/zed/settings.json"
    path.parent.mkdir(parents=True)
    path.symlink_to(real)
    assert desk.setup("zed").code == 0
    assert path.is_symlink()
    assert "gateway" in real.read_text()
    assert stat.S_IMODE(real.stat().st_mode) == 0o644
    assert desk.setup("zed", "--undo").code == 0
    assert (path.is_symlink(), real.read_text()) == (True, ZED)


@pytest.mark.parametrize("client", FOUND)
def test_with_a_real_daemon_gateway_and_hook_the_call_that_is_tried_is_in_the_receipts(client, tmp_path, monkeypatch):
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setattr(setup_command, "program", lambda: [sys.executable, "-m", "briefcase"])
    with RunningDaemon(data_dir) as daemon:
        ours = {name: value for name, value in daemon.env.items() if name.startswith("BRIEFCASE_")}
        ran = run(FakeRoot(data_dir), "setup", client, HOME=str(home), XDG_CONFIG_HOME="", **ours)
        assert ran.code == 0, ran
        newest = daemon.request("GET", "/v1/receipts?limit=1&kind=outcome")[1]["receipts"][0]["event"]
        assert (newest["principal"], newest["tool_id"]) == (client, "echo")
        assert run(FakeRoot(data_dir), "setup", client, "--undo", HOME=str(home), XDG_CONFIG_HOME="", **ours).code == 0
        assert daemon.request("GET", "/v1/agents")[1]["agents"][0]["revoked_at"]
    assert [path for path in home.rglob("*") if path.is_file()] == []
