"""Named secrets on the wire: names and where they may go, never a value."""

from __future__ import annotations

import msgspec


class SecretNames(msgspec.Struct, frozen=True):
    """All names, sorted, and where each secret that is bound may go."""

    secrets: list[str]
    hosts: dict[str, list[str]] = {}


class SecretHosts(msgspec.Struct, frozen=True):
    """Where a secret may go: `host`, `host:port`, or `process/ID` for the MCP server ID that is started."""

    hosts: list[str]


class SecretName(msgspec.Struct, frozen=True):
    """The secret that was set or removed."""

    name: str
