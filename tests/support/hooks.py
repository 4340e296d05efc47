"""Daemons with an agent, and the way to send them the events of a coding agent's hooks."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

import pytest

from support.daemons import RunningDaemon, UnixConnection

_USES = count()


class Hooks:
    """A daemon, the token of one agent, and the way to send it events."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self.daemon = daemon
        status, made = daemon.request("POST", "/v1/agents", {"name": "scout"})
        assert status == 200, made
        self.token: str = made["token"]

    def send(
        self, event: object, client: str = "claude-code", *, token: str | None = None, path: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        """One event; gives the status and the answer. `event` may be bytes."""
        connection = UnixConnection(self.daemon.socket_path)
        data = event if isinstance(event, bytes) else json.dumps(event).encode()
        headers = {"Authorization": f"Bearer {token or self.token}", "Content-Type": "application/json"}
        connection.request("POST", path or f"/v1/hooks/{client}", body=data, headers=headers)
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
        connection.close()
        return response.status, answer

    def answer(self, event: object, client: str = "claude-code") -> dict[str, Any]:
        """The answer to an event that is answered as one."""
        status, answer = self.send(event, client)
        assert status == 200, answer
        return answer

    def receipts(self, **chosen: object) -> list[dict[str, Any]]:
        """The events of receipts, the newest first."""
        query = "&".join(f"{name}={value}" for name, value in chosen.items())
        found = self.daemon.request("GET", f"/v1/receipts?limit=200&{query}")[1]["receipts"]
        return [receipt["event"] for receipt in found]

    def head(self) -> int:
        """The id of the last receipt."""
        head: int = self.daemon.request("GET", "/v1/receipts?limit=1")[1]["receipts"][0]["id"]
        return head

    def since(self, head: int) -> list[dict[str, Any]]:
        """The events of the receipts after one, the oldest first."""
        return sorted(self.receipts(after_id=head), key=lambda event: event["id"])


def daemon_of(tmp_path_factory: pytest.TempPathFactory, config: str) -> RunningDaemon:
    """A daemon with a configuration file, not started yet."""
    data_dir = tmp_path_factory.mktemp("hooks") / "data"
    data_dir.mkdir(mode=0o700)
    (data_dir / "briefcase.toml").write_text(config)
    return RunningDaemon(data_dir)


def claude_event(
    name: str = "PreToolUse", tool: str = "Read", args: dict[str, Any] | None = None, **fields: object
) -> dict[str, Any]:
    """An event as Claude Code writes it, of a tool use of its own."""
    return {
        "session_id": "00893aaf-19fa-41d2-8238-13269b9b3ca0",
        "transcript_path": "/home/u/.claude/projects/p/00893aaf-19fa-41d2-8238-13269b9b3ca0.jsonl",
        "cwd": "/home/u/p",
        "permission_mode": "default",
        "hook_event_name": name,
        "tool_name": tool,
        "tool_input": {"file_path": "/home/u/p/a.py"} if args is None else args,
        "tool_use_id": f"toolu_01{next(_USES):020}",
        **fields,
    }
