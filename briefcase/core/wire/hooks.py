"""Hooks of coding agents on the wire, as far as one struct can say: each client's documentation has the rest."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from briefcase.core.wire.fields import Maybe

_IN_THEIR_WORDS: Final = {
    "hook_specific_output": "hookSpecificOutput",
    "permission_decision": "permissionDecision",
    "permission_decision_reason": "permissionDecisionReason",
    "goes_on": "continue",
    "stop_reason": "stopReason",
}


class HookEvent(msgspec.Struct, frozen=True):
    """An event as its client writes it; Copilot's own format has `sessionId`, `toolName` and `toolArgs`."""

    hook_event_name: Maybe[str] = msgspec.UNSET
    session_id: Maybe[str] = msgspec.UNSET
    tool_name: Maybe[str] = msgspec.UNSET
    tool_input: Maybe[Any] = msgspec.UNSET
    tool_use_id: Maybe[str] = msgspec.UNSET


class HookAnswer(msgspec.Struct, frozen=True, rename=_IN_THEIR_WORDS):
    """The answer as its client reads it; empty where nothing is to be said.

    `hookSpecificOutput` of Claude Code and Codex, `decision` and `reason` of Gemini CLI and of a call that has run,
    `permission` and its messages of Cursor, `permissionDecision` and `behavior` of Copilot. `continue` is false where
    an event is none.
    """

    hook_specific_output: Maybe[dict[str, Any]] = msgspec.UNSET
    decision: Maybe[str] = msgspec.UNSET
    reason: Maybe[str] = msgspec.UNSET
    permission: Maybe[str] = msgspec.UNSET
    user_message: Maybe[str] = msgspec.UNSET
    agent_message: Maybe[str] = msgspec.UNSET
    permission_decision: Maybe[str] = msgspec.UNSET
    permission_decision_reason: Maybe[str] = msgspec.UNSET
    behavior: Maybe[str] = msgspec.UNSET
    message: Maybe[str] = msgspec.UNSET
    goes_on: Maybe[bool] = msgspec.UNSET
    stop_reason: Maybe[str] = msgspec.UNSET
