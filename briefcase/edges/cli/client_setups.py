"""What `briefcase setup` writes into each client's own files, as each client documents them.

| client | MCP servers | hooks | where a hook that fails blocks |
|---|---|---|---|
| Claude Code | `mcpServers` of `~/.claude.json` | `hooks` of `~/.claude/settings.json` | `onFailure: "block"` |
| Codex | `[mcp_servers]` of `~/.codex/config.toml` | `[[hooks]]` of the same file | it has no such word |
| Cursor | `mcpServers` of `~/.cursor/mcp.json` | `~/.cursor/hooks.json` | `failClosed: true` |
| VS Code | `servers` of its user's `mcp.json` | it has none | |
| Zed | `context_servers` of its `settings.json` | it has none | |

With a project the files are that directory's own. Each file names the token's file and never holds the token: whoever
is shown the file, commits it or syncs it gives nothing away. Nothing here does I/O.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from briefcase.edges.cli import client_edits
from briefcase.model.errors import CallerError
from briefcase.model.types import JsonObject, JsonValue

TOKEN_FILE: Final = "BRIEFCASE_AUTH_TOKEN_FILE"
OURS: Final = "briefcase"  # the name of our entry in each client's list of servers
HOOK_TIMEOUT_S: Final = (
    660  # above the longest `[hooks] wait_ms`: most clients let a call go on whose hook took too long
)
OTHERS_TOOLS: Final = "^(?!mcp__briefcase__).*"  # the gateway decides its own calls

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")


class Runs(msgspec.Struct, frozen=True):
    """How a client runs this program: its words, the variables that lead to the daemon, and the token's file."""

    program: Sequence[str]
    daemon: Mapping[str, str]
    token_file: str

    @property
    def env(self) -> dict[str, str]:
        """The variables of the gateway."""
        return {TOKEN_FILE: self.token_file, **self.daemon}

    @property
    def gateway(self) -> JsonObject:
        """The entry of a server that is started by a command."""
        command, *args = self.program
        return {"command": command, "args": [*args, "gateway"], "env": dict[str, JsonValue](self.env)}

    def hook(self, client: str) -> str:
        """The command line of a hook, for a shell."""
        variables = [f"{name}={shlex.quote(value)}" for name, value in self.daemon.items()]
        return " ".join([*variables, shlex.join([*self.program, "hook", client, "--token-file", self.token_file])])


class Edit(msgspec.Struct, frozen=True):
    """One thing that is written: a member at `path`, an item of the list there, or tables of TOML (`text`)."""

    path: tuple[str, ...] = ()
    value: Any = None  # of JSON; a type that names itself cannot be read back
    is_item: bool = False
    text: str = ""

    def put(self, content: str) -> str:
        """The file's text with it. Raises `CallerError` where it cannot be put there."""
        if self.text:
            return client_edits.with_tables(content, self.text)
        put = client_edits.with_first_item if self.is_item else client_edits.with_member
        return put(content, self.path, self.value)

    def take_out(self, content: str) -> str:
        """The file's text without it. Raises `CallerError` where it does not stand there unchanged."""
        if self.text:
            return client_edits.without_text(content, self.text)
        if self.is_item:
            return client_edits.without_item(content, self.path, self.value)
        return client_edits.without_member(content, self.path, self.value)

    @property
    def name(self) -> str:
        """What a person looks for in the file."""
        return "the tables of `briefcase`" if self.text else f"`{'.'.join(self.path)}`"


class ClientFile(msgspec.Struct, frozen=True):
    """One file of a client, and what is written into it; `servers` names its list of MCP servers, where it has it."""

    path: Path
    edits: tuple[Edit, ...]
    servers: str = ""

    @property
    def is_toml(self) -> bool:
        """Whether it is TOML."""
        return self.path.suffix == ".toml"


class Client(msgspec.Struct, frozen=True):
    """One client: its files for a home or a project, and the first event that its hooks are tried with."""

    files: Callable[[Runs, Path, Mapping[str, str], Path | None], tuple[ClientFile, ...]]
    first_event: JsonObject | None = None


def _claude(runs: Runs, home: Path, environ: Mapping[str, str], project: Path | None) -> tuple[ClientFile, ...]:
    named = environ.get("CLAUDE_CONFIG_DIR")
    settings = Path(named) if named else home / ".claude"
    servers = Path(named) / ".claude.json" if named else home / ".claude.json"
    if project is not None:
        settings, servers = project / ".claude", project / ".mcp.json"
    hook: JsonObject = {
        "type": "command", "command": runs.hook("claude-code"), "timeout": HOOK_TIMEOUT_S, "onFailure": "block",
    }  # fmt: skip
    events = ("PreToolUse", "PostToolUse", "PostToolUseFailure")
    hooks = [Edit(("hooks", event), {"matcher": OTHERS_TOOLS, "hooks": [hook]}, is_item=True) for event in events]
    entry: JsonObject = {"type": "stdio", **runs.gateway}
    return (
        ClientFile(settings / ("settings.json" if project is None else "settings.local.json"), tuple(hooks)),
        ClientFile(servers, (Edit(("mcpServers", OURS), entry),), "mcpServers"),
    )


def _codex(runs: Runs, home: Path, environ: Mapping[str, str], project: Path | None) -> tuple[ClientFile, ...]:
    named = environ.get("CODEX_HOME")
    directory = project / ".codex" if project is not None else Path(named) if named else home / ".codex"
    entry = runs.gateway
    env = ", ".join(f"{name} = {_toml(value)}" for name, value in runs.env.items())
    lines = [
        f"[mcp_servers.{OURS}]",
        f"command = {_toml(entry['command'])}",
        f"args = {_toml(entry['args'])}",
        f"env = {{ {env} }}",
    ]
    for event in ("PreToolUse", "PostToolUse"):
        lines += [
            "",
            f"[[hooks.{event}]]",
            f"matcher = {_toml('.*')}",
            f"[[hooks.{event}.hooks]]",
            'type = "command"',
            f"command = {_toml(runs.hook('codex'))}",
            f"timeout = {HOOK_TIMEOUT_S}",
        ]
    return (ClientFile(directory / "config.toml", (Edit(text="\n".join(lines) + "\n"),), "mcp_servers"),)


def _cursor(runs: Runs, home: Path, _: Mapping[str, str], project: Path | None) -> tuple[ClientFile, ...]:
    directory = (home if project is None else project) / ".cursor"
    hook: JsonObject = {"command": runs.hook("cursor"), "timeout": HOOK_TIMEOUT_S, "failClosed": True}
    events = ("preToolUse", "postToolUse", "postToolUseFailure")
    hooks = [Edit(("hooks", event), hook, is_item=True) for event in events]
    return (
        ClientFile(directory / "hooks.json", (Edit(("version",), 1), *hooks)),
        ClientFile(directory / "mcp.json", (Edit(("mcpServers", OURS), runs.gateway),), "mcpServers"),
    )


def _vscode(runs: Runs, home: Path, environ: Mapping[str, str], project: Path | None) -> tuple[ClientFile, ...]:
    path = _config_home(home, environ) / "Code" / "User" / "mcp.json"
    if project is not None:
        path = project / ".vscode" / "mcp.json"
    entry: JsonObject = {"type": "stdio", **runs.gateway}
    return (ClientFile(path, (Edit(("servers", OURS), entry),), "servers"),)


def _zed(runs: Runs, home: Path, environ: Mapping[str, str], project: Path | None) -> tuple[ClientFile, ...]:
    path = _config_home(home, environ) / "zed" / "settings.json"
    if project is not None:
        path = project / ".zed" / "settings.json"
    return (ClientFile(path, (Edit(("context_servers", OURS), runs.gateway),), "context_servers"),)


CLIENTS: Final[Mapping[str, Client]] = {
    "claude-code": Client(_claude, {"hook_event_name": "SessionStart", "session_id": "briefcase-setup"}),
    "codex": Client(_codex, {"hook_event_name": "SessionStart", "session_id": "briefcase-setup"}),
    "cursor": Client(_cursor, {"hook_event_name": "sessionStart", "conversation_id": "briefcase-setup"}),
    "vscode": Client(_vscode),
    "zed": Client(_zed),
}


def edited(file: ClientFile, content: str) -> str:
    """The text of a client's file with everything that is written into it.

    Raises:
        CallerError: it has an entry of ours already, or cannot be edited.
    """
    for edit in file.edits:
        if edit.path == ("version",) and '"version"' in content:
            continue  # of Cursor's hooks, as the file has it
        content = edit.put(content)
    return content


def servers_of(file: ClientFile, content: str) -> bytes:
    """The client's MCP servers as the JSON that an import reads, `mcpServers`."""
    found = client_edits.servers_in(content, file.servers, is_toml=file.is_toml)
    return json.dumps({"mcpServers": found}).encode()


def without_servers(file: ClientFile, content: str, names: Sequence[str]) -> str:
    """The text of a client's file without these servers. Raises `CallerError` where they cannot be taken out."""
    if not names:
        return content
    if file.is_toml:
        return client_edits.without_tables(content, file.servers, names)
    return client_edits.without_members(content, (file.servers,), names)


def _config_home(home: Path, environ: Mapping[str, str]) -> Path:
    """Where programs of a user keep their settings (XDG Base Directory 0.8)."""
    named = environ.get("XDG_CONFIG_HOME")
    return Path(named) if named else home / ".config"


def _toml(value: JsonValue) -> str:
    """A text or a list of texts as TOML, whose basic strings take every escape that JSON writes."""
    if not isinstance(value, str | list):
        raise CallerError("expected text")
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
