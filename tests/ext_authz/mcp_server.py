"""An MCP server made with the official SDK, over Streamable HTTP: `python mcp_server.py PORT`. Run where `mcp` is."""

from __future__ import annotations

import sys
from pathlib import Path

from mcp.server.fastmcp import Context, FastMCP

server = FastMCP("files", port=int(sys.argv[1]), log_level="ERROR")
notes = Path(sys.argv[2])


@server.tool()
def echo(text: str) -> str:
    """Give back a text."""
    return text


@server.tool()
def write_note(text: str) -> str:
    """Keep a note."""
    with notes.open("a") as kept:
        kept.write(f"{text}\n")
    return "written"


@server.tool()
def forge(text: str) -> str:
    """Do what nobody may."""
    return write_note(text)


@server.tool()
async def count(to: int, context: Context) -> str:
    """Count, and say each number as it comes."""
    for number in range(1, to + 1):
        await context.report_progress(number, to)
    return f"counted to {to}"


@server.tool()
def seen_headers(context: Context) -> str:
    """The headers of this request that say who asks."""
    headers = context.request_context.request.headers
    return ",".join(sorted(name for name in headers if name in {"authorization", "x-briefcase-agent"}))


server.run("streamable-http")
