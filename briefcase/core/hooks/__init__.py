"""Hooks of coding agents: what their events say, and what each client understands as an answer. Nothing here decides.

| module | what it holds |
|---|---|
| `events` | an event read strictly, whichever client wrote it, and the ruling on it |
| `claude` | Claude Code, and Codex, which writes the same events |
| `others` | Gemini CLI, Cursor and Copilot |
| `clients` | the clients by name |
| `tools` | the clients' own tools, as definitions that policy speaks of |

Callers: adapters, edges.
"""
