"""The clients' own tools, as definitions that policy speaks of. The daemon decides their calls and runs none of them.

A tool is of category `read` where it changes nothing beyond the client's own session (its to-do list, its plan, its
subagents, whose calls are asked for one by one), and `write` where it may; a shell may do anything. A fetch is a
`write`: the address is the agent's to choose, and what stands in it leaves. So under the default policy reading runs by
itself, and shells, edits and fetches wait for a person.

Of arguments the required ones and the types of known ones are checked; a client's newer ones pass, and an approval
binds them like all others. An argument of `SHELL_MEDIA_TYPE` is a shell's command: policy reads it as `context.shell`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from briefcase.model.types import HOOK_SOURCE, SHELL_MEDIA_TYPE, JsonObject, JsonValue, ToolSpec

READ: Final = "read"
WRITE: Final = "write"

_TEXT: Final[JsonObject] = {"type": "string"}
_NUMBER: Final[JsonObject] = {"type": "number"}
_BOOL: Final[JsonObject] = {"type": "boolean"}
_LIST: Final[JsonObject] = {"type": "array"}
_OBJECT: Final[JsonObject] = {"type": "object"}
_COMMAND: Final[JsonObject] = {"type": "string", "contentMediaType": SHELL_MEDIA_TYPE}


class _Tool(msgspec.Struct, frozen=True):
    """A tool of a client: `reach` holds `f` for the file system and `n` for the network."""

    name: str
    category: str
    reach: str
    description: str
    required: dict[str, JsonObject] = {}
    optional: dict[str, JsonObject] = {}


_CLAUDE_CODE: Final = (
    _Tool(
        "Bash", WRITE, "fn", "Run a shell command", {"command": _COMMAND},
        {"description": _TEXT, "timeout": _NUMBER, "run_in_background": _BOOL},
    ),
    _Tool("PowerShell", WRITE, "fn", "Run a PowerShell command", {"command": _TEXT}, {"description": _TEXT}),
    _Tool("BashOutput", READ, "", "Read what a background shell put out", {}, {"bash_id": _TEXT, "filter": _TEXT}),
    _Tool("KillShell", READ, "", "End a background shell of the session", {}, {"shell_id": _TEXT}),
    _Tool("Monitor", WRITE, "fn", "Run a command in the background and watch its output", {}, {"command": _COMMAND}),
    _Tool(
        "Read", READ, "f", "Read a file", {"file_path": _TEXT},
        {"offset": _NUMBER, "limit": _NUMBER, "pages": _TEXT},
    ),
    _Tool("Write", WRITE, "f", "Create or overwrite a file", {"file_path": _TEXT, "content": _TEXT}),
    _Tool(
        "Edit", WRITE, "f", "Replace text in a file", {"file_path": _TEXT, "old_string": _TEXT, "new_string": _TEXT},
        {"replace_all": _BOOL},
    ),
    _Tool("MultiEdit", WRITE, "f", "Replace several texts in a file", {"file_path": _TEXT, "edits": _LIST}),
    _Tool(
        "NotebookEdit", WRITE, "f", "Change a cell of a notebook", {"notebook_path": _TEXT, "new_source": _TEXT},
        {"cell_id": _TEXT, "cell_type": _TEXT, "edit_mode": _TEXT},
    ),
    _Tool("NotebookRead", READ, "f", "Read a notebook", {"notebook_path": _TEXT}, {"cell_id": _TEXT}),
    _Tool("Glob", READ, "f", "Find files by their names", {"pattern": _TEXT}, {"path": _TEXT}),
    _Tool(
        "Grep", READ, "f", "Search in files", {"pattern": _TEXT},
        {"path": _TEXT, "glob": _TEXT, "type": _TEXT, "output_mode": _TEXT, "multiline": _BOOL, "head_limit": _NUMBER},
    ),
    _Tool("LS", READ, "f", "List a directory", {"path": _TEXT}, {"ignore": _LIST}),
    _Tool("LSP", READ, "f", "Ask a language server about code"),
    _Tool("WebFetch", WRITE, "n", "Fetch an address", {"url": _TEXT}, {"prompt": _TEXT}),
    _Tool(
        "WebSearch", READ, "n", "Search the web", {"query": _TEXT},
        {"allowed_domains": _LIST, "blocked_domains": _LIST},
    ),
    _Tool(
        "Task", READ, "", "Start a subagent", {"prompt": _TEXT},
        {"description": _TEXT, "subagent_type": _TEXT, "model": _TEXT},
    ),
    _Tool(
        "Agent", READ, "", "Start a subagent", {"prompt": _TEXT},
        {"description": _TEXT, "subagent_type": _TEXT, "model": _TEXT},
    ),
    _Tool("Skill", WRITE, "fn", "Run a skill", {"skill": _TEXT}, {"args": _TEXT}),
    _Tool("SlashCommand", WRITE, "fn", "Run a slash command", {"command": _TEXT}),
    _Tool("TodoWrite", READ, "", "Keep the session's to-do list", {"todos": _LIST}),
    _Tool("TaskCreate", READ, "", "Add to the session's task list"),
    _Tool("TaskGet", READ, "", "Read a task of the session"),
    _Tool("TaskList", READ, "", "List the session's tasks"),
    _Tool("TaskUpdate", READ, "", "Change a task of the session"),
    _Tool("TaskOutput", READ, "", "Read what a background task put out"),
    _Tool("TaskStop", READ, "", "End a background task of the session"),
    _Tool("AskUserQuestion", READ, "", "Ask the user", {"questions": _LIST}, {"answers": _OBJECT}),
    _Tool("EnterPlanMode", READ, "", "Begin to plan"),
    _Tool("ExitPlanMode", WRITE, "", "Leave planning, and begin what was planned", {}, {"plan": _TEXT}),
    _Tool("EnterWorktree", WRITE, "f", "Make a git worktree and go there"),
    _Tool("ExitWorktree", WRITE, "f", "Leave the git worktree"),
    _Tool("CronCreate", WRITE, "", "Have the session prompted later"),
    _Tool("CronDelete", READ, "", "Drop a later prompt of the session"),
    _Tool("CronList", READ, "", "List the session's later prompts"),
    _Tool("ToolSearch", READ, "", "Find tools of the session", {}, {"query": _TEXT}),
    _Tool("ListMcpResourcesTool", READ, "n", "List what MCP servers offer to read", {}, {"server": _TEXT}),
    _Tool("ReadMcpResourceTool", READ, "n", "Read a resource of an MCP server", {"server": _TEXT, "uri": _TEXT}),
)  # fmt: skip
_CODEX: Final = (
    _Tool("Bash", WRITE, "fn", "Run a shell command", {"command": _COMMAND}, {"description": _TEXT}),
    _Tool("shell", WRITE, "fn", "Run a shell command", {"command": _COMMAND}, {"description": _TEXT}),
    _Tool("apply_patch", WRITE, "f", "Change files by a patch", {"command": _TEXT}),
    _Tool("NetworkAccess", WRITE, "n", "Reach a host from the sandbox", {"command": _TEXT}, {"description": _TEXT}),
    _Tool("update_plan", READ, "", "Keep the session's plan"),
    _Tool("view_image", READ, "f", "Look at an image", {"path": _TEXT}),
    _Tool("web_search", READ, "n", "Search the web", {}, {"query": _TEXT}),
)
_GEMINI: Final = (
    _Tool(
        "run_shell_command", WRITE, "fn", "Run a shell command", {"command": _COMMAND},
        {"description": _TEXT, "dir_path": _TEXT, "directory": _TEXT, "is_background": _BOOL},
    ),
    _Tool("read_file", READ, "f", "Read a file", {}, {"file_path": _TEXT, "absolute_path": _TEXT, "offset": _NUMBER,
                                                     "limit": _NUMBER}),
    _Tool("read_many_files", READ, "f", "Read several files", {}, {"include": _LIST, "paths": _LIST}),
    _Tool("list_directory", READ, "f", "List a directory", {}, {"dir_path": _TEXT, "path": _TEXT, "ignore": _LIST}),
    _Tool("glob", READ, "f", "Find files by their names", {"pattern": _TEXT}, {"dir_path": _TEXT, "path": _TEXT}),
    _Tool("search_file_content", READ, "f", "Search in files", {"pattern": _TEXT}, {"dir_path": _TEXT}),
    _Tool("grep_search", READ, "f", "Search in files", {"pattern": _TEXT}, {"dir_path": _TEXT}),
    _Tool("write_file", WRITE, "f", "Create or overwrite a file", {"file_path": _TEXT, "content": _TEXT}),
    _Tool(
        "replace", WRITE, "f", "Replace text in a file",
        {"file_path": _TEXT, "old_string": _TEXT, "new_string": _TEXT}, {"instruction": _TEXT},
    ),
    _Tool("web_fetch", WRITE, "n", "Fetch addresses", {}, {"prompt": _TEXT, "url": _TEXT}),
    _Tool("google_web_search", READ, "n", "Search the web", {"query": _TEXT}),
    _Tool("save_memory", WRITE, "f", "Keep a fact for later sessions", {"fact": _TEXT}),
    _Tool("write_todos", READ, "", "Keep the session's to-do list", {"todos": _LIST}),
    _Tool("ask_user", READ, "", "Ask the user"),
    _Tool("activate_skill", READ, "", "Load a skill's instructions", {}, {"name": _TEXT}),
    _Tool("enter_plan_mode", READ, "", "Begin to plan"),
    _Tool("exit_plan_mode", WRITE, "", "Leave planning, and begin what was planned"),
)  # fmt: skip
_CURSOR: Final = (
    _Tool("Shell", WRITE, "fn", "Run a shell command", {"command": _COMMAND}, {"cwd": _TEXT, "timeout": _NUMBER}),
    _Tool("Read", READ, "f", "Read a file", {}, {"file_path": _TEXT, "path": _TEXT}),
    _Tool("Write", WRITE, "f", "Create or change a file", {}, {"file_path": _TEXT, "path": _TEXT, "content": _TEXT}),
    _Tool("StrReplace", WRITE, "f", "Replace text in a file", {}, {"path": _TEXT}),
    _Tool("Edit", WRITE, "f", "Change a file", {}, {"file_path": _TEXT, "path": _TEXT}),
    _Tool("Delete", WRITE, "f", "Delete a file", {}, {"file_path": _TEXT, "path": _TEXT}),
    _Tool("Grep", READ, "f", "Search in files", {}, {"pattern": _TEXT, "path": _TEXT}),
    _Tool("Glob", READ, "f", "Find files by their names"),
    _Tool("LS", READ, "f", "List a directory"),
    _Tool("ReadLints", READ, "f", "Read what linters say"),
    _Tool("Task", READ, "", "Start a subagent", {}, {"prompt": _TEXT}),
    _Tool("TodoWrite", READ, "", "Keep the session's to-do list"),
    _Tool("WebSearch", READ, "n", "Search the web"),
    _Tool("WebFetch", WRITE, "n", "Fetch an address", {}, {"url": _TEXT}),
)
_COPILOT: Final = (
    _Tool("bash", WRITE, "fn", "Run a shell command", {"command": _COMMAND}, {"description": _TEXT}),
    _Tool("powershell", WRITE, "fn", "Run a PowerShell command", {"command": _TEXT}, {"description": _TEXT}),
    _Tool("view", READ, "f", "Read a file", {}, {"path": _TEXT}),
    _Tool("create", WRITE, "f", "Create a file", {}, {"path": _TEXT, "file_text": _TEXT}),
    _Tool("edit", WRITE, "f", "Change a file", {}, {"path": _TEXT, "old_str": _TEXT, "new_str": _TEXT}),
    _Tool("str_replace_editor", WRITE, "f", "Change a file", {}, {"path": _TEXT}),
    _Tool("apply_patch", WRITE, "f", "Change files by a patch"),
    _Tool("grep", READ, "f", "Search in files", {}, {"pattern": _TEXT}),
    _Tool("rg", READ, "f", "Search in files", {}, {"pattern": _TEXT}),
    _Tool("glob", READ, "f", "Find files by their names", {}, {"pattern": _TEXT}),
    _Tool("web_fetch", WRITE, "n", "Fetch an address", {}, {"url": _TEXT}),
    _Tool("web_search", READ, "n", "Search the web", {}, {"query": _TEXT}),
    _Tool("task", READ, "", "Start a subagent"),
    _Tool("ask_user", READ, "", "Ask the user"),
    _Tool("update_todo", READ, "", "Keep the session's to-do list"),
)
_TOOLS: Final = {
    "claude-code": _CLAUDE_CODE,
    "codex": _CODEX,
    "gemini": _GEMINI,
    "cursor": _CURSOR,
    "copilot": _COPILOT,
}


def client_tools() -> Iterator[ToolSpec]:
    """Every tool of every client, without digests."""
    for client, tools in _TOOLS.items():
        for tool in tools:
            yield ToolSpec(
                id=f"{client}.{tool.name}",
                name=f"{client}.{tool.name}",
                description=tool.description,
                input_schema=_schema(tool),
                output_schema={"type": "object"},
                category=tool.category,
                net_access="n" in tool.reach,
                fs_access="f" in tool.reach,
                source=f"{HOOK_SOURCE}:{client}",
            )


def _schema(tool: _Tool) -> JsonObject:
    return {
        "type": "object",
        "properties": {**tool.required, **tool.optional},
        "required": list[JsonValue](sorted(tool.required)),
    }
