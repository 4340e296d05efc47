"""The clients whose hooks are served, by name."""

from __future__ import annotations

from typing import Final

from briefcase.core.hooks.claude import ClaudeCode, Codex
from briefcase.core.hooks.events import Client
from briefcase.core.hooks.others import Copilot, Cursor, Gemini

CLIENTS: Final[dict[str, Client]] = {
    client.name: client for client in (ClaudeCode(), Codex(), Gemini(), Cursor(), Copilot())
}
