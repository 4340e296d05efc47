"""Claude Code's hooks (code.claude.com/docs/en/hooks), and Codex's, which write the same events.

An answer of HTTP that is no 2xx, and any text that is no answer, lets the call go on: so each denial is a 200 with a
decision in it. `updatedInput` is never sent: what runs is what was decided on.

| event | what is answered |
|---|---|
| PreToolUse | `permissionDecision`: allow, deny, ask |
| PermissionRequest | `decision.behavior`: allow, deny; nothing where the client's own prompt is to ask |
| PostToolUse, PostToolUseFailure | nothing; `decision: block` with the reason where nobody decided the call |
| SessionStart, SessionEnd | nothing |
| any other | `continue: false`: no hook of ours serves it, and a silent yes would look like a decision |
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
from briefcase.model.types import JsonObject, JsonValue

BEFORE: Final = "PreToolUse"
PERMISSION: Final = "PermissionRequest"
AFTER: Final = "PostToolUse"
FAILED: Final = "PostToolUseFailure"
PHASES: Final = {
    BEFORE: Phase.BEFORE,
    PERMISSION: Phase.PERMISSION,
    AFTER: Phase.AFTER,
    FAILED: Phase.AFTER,
    "SessionStart": Phase.SESSION,
    "SessionEnd": Phase.SESSION,
}


class ClaudeCode:
    """`events.Client`: Claude Code."""

    name, title, before = "claude-code", "Claude Code", BEFORE
    can_ask = True

    def read(self, document: JsonValue) -> Event:
        """See `events.Client`."""
        event = members_of(document)
        name, session_id = text_of(event, "hook_event_name"), text_of(event, "session_id")
        phase = PHASES.get(name)
        if phase is None:
            raise EventError(f"expected an event of {', '.join(PHASES)}, got another")
        if phase is Phase.SESSION:
            return Event(name, phase, session_id)
        return Event(
            name=name,
            phase=phase,
            session_id=session_id,
            tool_id=tool_id_of(self.name, name_of(event, "tool_name")),
            args=object_of(event, "tool_input"),
            request_id=self._request_id(event, phase, session_id),
            output=event.get("tool_response"),
            error=error_of(event, "error") if name == FAILED else None,
        )

    def answer(self, event: Event, ruling: Ruling) -> JsonObject:
        """See `events.Client`."""
        if ruling.answer is Answer.NOTHING:
            return {}
        if event.phase is Phase.BEFORE:
            return self._before(ruling)
        if event.phase is Phase.PERMISSION:
            return _permission(ruling)
        return {"decision": "block", "reason": ruling.told} if ruling.answer is Answer.DENY else {}

    def refuse(self, document: JsonValue, told: str) -> JsonObject:
        """See `events.Client`."""
        name = document.get("hook_event_name") if isinstance(document, dict) else None
        phase = PHASES.get(name) if isinstance(name, str) else None
        if isinstance(name, str) and phase is not None:
            return self.answer(Event(name, phase), Ruling(Answer.DENY, told))
        return {"continue": False, "stopReason": told, **_decision(Ruling(Answer.DENY, told))}

    def _request_id(self, event: JsonObject, phase: Phase, session_id: str) -> str | None:
        if phase is Phase.PERMISSION and "tool_use_id" not in event:
            return None  # the client names none there
        return request_id_of(self.name, session_id, text_of(event, "tool_use_id"))

    def _before(self, ruling: Ruling) -> JsonObject:
        return _decision(ruling)


class Codex(ClaudeCode):
    """`events.Client`: Codex. Its hooks can deny a call and say nothing to one; a yes leaves its own rules in force."""

    name, title = "codex", "Codex"
    can_ask = False

    def _before(self, ruling: Ruling) -> JsonObject:
        return _decision(ruling) if ruling.answer is Answer.DENY else {}


def _decision(ruling: Ruling) -> JsonObject:
    decision: JsonObject = {"hookEventName": BEFORE, "permissionDecision": ruling.answer.value}
    if ruling.told:
        decision["permissionDecisionReason"] = ruling.told
    return {"hookSpecificOutput": decision}


def _permission(ruling: Ruling) -> JsonObject:
    if ruling.answer is Answer.ASK:
        return {}
    decision: JsonObject = {"behavior": ruling.answer.value}
    if ruling.answer is Answer.DENY:
        decision["message"] = ruling.told
    return {"hookSpecificOutput": {"hookEventName": PERMISSION, "decision": decision}}
