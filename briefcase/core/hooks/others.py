"""The hooks of Gemini CLI, Cursor and Copilot.

| client | before a call | the answer | which events name the tool use |
|---|---|---|---|
| Gemini CLI | BeforeTool | `decision` and `reason` | none |
| Cursor | preToolUse, before{Shell,MCP}Execution, beforeReadFile | `permission` | preToolUse, postToolUse[Failure] |
| Copilot | preToolUse, permissionRequest | `permissionDecision`, `behavior` | none |

Cursor's `beforeShellExecution` and `beforeReadFile` are calls of its tools `Shell` and `Read`. Copilot's events name
themselves only in the format of VS Code; else an event is told by its members.
"""

from __future__ import annotations

from typing import Final

from briefcase.core.hooks.events import (
    Answer,
    Event,
    EventError,
    Phase,
    Ruling,
    error_of,
    members_of,
    name_of,
    object_of,
    request_id_of,
    text_of,
    tool_id_of,
)
from briefcase.core.json.strict import parse as parse_json
from briefcase.model.errors import CallerError
from briefcase.model.types import JsonObject, JsonValue


class Gemini:
    """`events.Client`: Gemini CLI (geminicli.com/docs/hooks/reference). It has no prompt that a hook may ask for."""

    name, title, before = "gemini", "Gemini CLI", "BeforeTool"
    can_ask = False

    _PHASES: Final = {
        "BeforeTool": Phase.BEFORE,
        "AfterTool": Phase.NOTHING,
        "SessionStart": Phase.SESSION,
        "SessionEnd": Phase.SESSION,
    }

    def read(self, document: JsonValue) -> Event:
        """See `events.Client`."""
        event = members_of(document)
        name, session_id = text_of(event, "hook_event_name"), text_of(event, "session_id")
        phase = _phase_of(self._PHASES, name)
        if phase is not Phase.BEFORE:
            return Event(name, phase, session_id)
        tool_id = tool_id_of(self.name, name_of(event, "tool_name"))
        return Event(name, phase, session_id, tool_id, object_of(event, "tool_input"))

    def answer(self, event: Event, ruling: Ruling) -> JsonObject:
        """See `events.Client`."""
        if ruling.answer is Answer.NOTHING or event.phase is not Phase.BEFORE:
            return {}
        return _with({"decision": ruling.answer.value}, "reason", ruling.told)

    def refuse(self, document: JsonValue, told: str) -> JsonObject:
        """See `events.Client`."""
        del document
        return {"decision": "deny", "reason": told}


class Cursor:
    """`events.Client`: Cursor (cursor.com/docs/hooks)."""

    name, title, before = "cursor", "Cursor", "preToolUse"
    can_ask = False  # `ask` is not of every event

    _PHASES: Final = {
        "preToolUse": Phase.BEFORE,
        "beforeShellExecution": Phase.BEFORE,
        "beforeMCPExecution": Phase.BEFORE,
        "beforeReadFile": Phase.BEFORE,
        "postToolUse": Phase.AFTER,
        "postToolUseFailure": Phase.AFTER,
        "afterShellExecution": Phase.NOTHING,
        "afterMCPExecution": Phase.NOTHING,
        "afterFileEdit": Phase.NOTHING,
        "sessionStart": Phase.SESSION,
        "sessionEnd": Phase.SESSION,
    }

    def read(self, document: JsonValue) -> Event:
        """See `events.Client`."""
        event = members_of(document)
        name = text_of(event, "hook_event_name")
        phase = _phase_of(self._PHASES, name)
        session_id = text_of(event, "conversation_id" if "conversation_id" in event else "session_id")
        if phase in {Phase.SESSION, Phase.NOTHING}:
            return Event(name, phase, session_id)
        tool_id, args = self._called(name, event)
        request_id = None
        if name in {"preToolUse", "postToolUse", "postToolUseFailure"}:
            request_id = request_id_of(self.name, session_id, text_of(event, "tool_use_id"))
        has_failed = name == "postToolUseFailure"
        return Event(
            name=name,
            phase=phase,
            session_id=session_id,
            tool_id=tool_id,
            args=args,
            request_id=request_id,
            output=event.get("tool_output"),
            error=error_of(event, "error_message") if has_failed else None,
        )

    def answer(self, event: Event, ruling: Ruling) -> JsonObject:
        """See `events.Client`."""
        if ruling.answer is Answer.NOTHING or event.phase is not Phase.BEFORE:
            return {}
        return _permission(ruling)

    def refuse(self, document: JsonValue, told: str) -> JsonObject:
        """See `events.Client`."""
        del document
        return {"continue": False, **_permission(Ruling(Answer.DENY, told))}

    def _called(self, name: str, event: JsonObject) -> tuple[str, JsonObject]:
        if name == "beforeShellExecution":
            command = event.get("command")
            if not isinstance(command, str):
                raise EventError("expected `command` as a text")
            return f"{self.name}.Shell", {"command": command}
        if name == "beforeReadFile":
            path = event.get("file_path")
            if not isinstance(path, str):
                raise EventError("expected `file_path` as a text")
            return f"{self.name}.Read", {"file_path": path}
        tool_name = name_of(event, "tool_name")
        if name == "beforeMCPExecution" and "server" in event:
            return tool_id_of(self.name, f"mcp__{name_of(event, 'server')}__{tool_name}"), _written(event, "tool_input")
        if name == "beforeMCPExecution":
            tool_name = f"MCP:{tool_name}"
        return tool_id_of(self.name, tool_name), _written(event, "tool_input")


class Copilot:
    """`events.Client`: GitHub Copilot (docs.github.com/en/copilot/reference/hooks-reference)."""

    name, title, before = "copilot", "GitHub Copilot", "PreToolUse"
    can_ask = True

    _PHASES: Final = {
        "PreToolUse": Phase.BEFORE,
        "PermissionRequest": Phase.PERMISSION,
        "PostToolUse": Phase.NOTHING,
        "PostToolUseFailure": Phase.NOTHING,
        "SessionStart": Phase.SESSION,
        "SessionEnd": Phase.SESSION,
    }
    _OWN_NAMES: Final = {  # what the format of VS Code calls each tool
        "Bash": "bash", "Read": "view", "Write": "create", "Edit": "edit", "Grep": "grep", "Glob": "glob",
        "WebFetch": "web_fetch", "WebSearch": "web_search", "AskUserQuestion": "ask_user", "TodoWrite": "update_todo",
        "Agent": "task", "Task": "task",
    }  # fmt: skip

    def read(self, document: JsonValue) -> Event:
        """See `events.Client`."""
        event = members_of(document)
        if "hook_event_name" in event:
            name, session, tool, args = text_of(event, "hook_event_name"), "session_id", "tool_name", "tool_input"
        else:
            name, session, tool, args = self._told_by(event), "sessionId", "toolName", "toolArgs"
        session_id, phase = text_of(event, session), _phase_of(self._PHASES, name)
        if phase in {Phase.SESSION, Phase.NOTHING}:
            return Event(name, phase, session_id)
        tool_name = name_of(event, tool)
        own_name = self._OWN_NAMES.get(tool_name, tool_name)
        return Event(name, phase, session_id, tool_id_of(self.name, own_name), _written(event, args))

    def answer(self, event: Event, ruling: Ruling) -> JsonObject:
        """See `events.Client`."""
        if ruling.answer is Answer.NOTHING or event.phase not in {Phase.BEFORE, Phase.PERMISSION}:
            return {}
        if event.phase is Phase.PERMISSION:
            if ruling.answer is Answer.ASK:
                return {}
            return _with({"behavior": ruling.answer.value}, "message", ruling.told)
        return _with({"permissionDecision": ruling.answer.value}, "permissionDecisionReason", ruling.told)

    def refuse(self, document: JsonValue, told: str) -> JsonObject:
        """See `events.Client`."""
        del document
        denied: JsonObject = {"permissionDecision": "deny", "permissionDecisionReason": told}
        return {**denied, "behavior": "deny", "message": told}

    def _told_by(self, event: JsonObject) -> str:
        """Which event it is, by its members: what a tool is called with is never taken for what came of it."""
        if "toolName" in event:
            if "toolResult" in event:
                return "PostToolUse"
            return "PostToolUseFailure" if "error" in event else "PreToolUse"
        if "reason" in event:
            return "SessionEnd"
        if "source" in event:
            return "SessionStart"
        raise EventError("expected an event of a tool or a session, got another")


def _phase_of(phases: dict[str, Phase], name: str) -> Phase:
    phase = phases.get(name)
    if phase is None:
        raise EventError(f"expected an event of {', '.join(phases)}, got another")
    return phase


def _written(event: JsonObject, name: str) -> JsonObject:
    """Arguments that a client gives as an object, or as the JSON text of one."""
    value = event.get(name)
    if not isinstance(value, str):
        return object_of(event, name)
    try:
        return object_of({name: parse_json(value.encode())}, name)
    except UnicodeEncodeError:
        raise EventError(f"expected `{name}` as text") from None
    except EventError:
        raise
    except CallerError as error:
        raise EventError(f"`{name}`: {error.message}") from None


def _permission(ruling: Ruling) -> JsonObject:
    answer: JsonObject = {"permission": ruling.answer.value}
    return {**answer, "user_message": ruling.told, "agent_message": ruling.told} if ruling.told else answer


def _with(answer: JsonObject, name: str, told: str) -> JsonObject:
    return {**answer, name: told} if told else answer
